"""Does another network follow? A witness that no path has seen is asked about the path's end.

A path raises the score of one model, and may do it with changes that mean something to that model alone, as
adversarial examples do (Szegedy et al. 2014, arXiv 1312.6199). So a second network of another build (for digits
`helpers.zoo.networks.digit_witness`) looks at the path's start and end: which share of its own way to even odds
did it go, and does it name the class that the path asks for? 0: it saw nothing; 1: for it, too, the end is as
likely the class as not; below 0: it went the other way. A witness speaks about images, not about reasons: it
trusts what looks like its own training data, whatever the model did there.
"""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from helpers.measure.statistics import Interval, bootstrap_interval, proportion_interval
from helpers.saliency.scores import LogOdds, Score, as_score, class_indices
from helpers.zoo.networks import predict

Network = Callable[[Tensor], Tensor]
ENDS = ("", " low", " high")


def witness_share(
    witness: Network, start: Tensor, end: Tensor, target: Tensor | int, score: Score = LogOdds()
) -> Tensor:
    """The share of its own way to even odds that the witness goes between two images: (w1 - w0) / (even - w0).

    w0 and w1 are the witness's scores of the class at the start and at the end; even is the score's boundary,
    0 for log-odds. Shares are not bounded: 1 is even odds, more is beyond, negative is away from the class.

    Args:
        witness: from images (N, ...) to logits (N, K), K >= 2; in eval mode.
        start, end: images (N, ...) of the same shape, finite.
        target: the class that the path asks for, one or one an image (N,).
        score: what is followed, in the witness's own units; with a boundary, so not `Logit`.

    Returns:
        (N,), float64; NaN where the witness stands at or beyond even odds from the start: it has no way to go.

    Raises:
        ValueError: start and end of different shapes, not finite; no examples; what the score refuses.

    Example:
        >>> witness = lambda x: torch.cat([x, 0 * x], dim=1)  # log-odds of class 0: the number itself
        >>> start, end = torch.tensor([[-4.0], [-4.0], [1.0]]), torch.tensor([[-1.0], [2.0], [5.0]])
        >>> witness_share(witness, start, end, target=0)
        tensor([0.7500, 1.5000,    nan], dtype=torch.float64)
    """
    _require_ends("end", start, end)
    score = as_score(score)
    before = predict(witness, start)
    begin, finish = (score(outputs, target).double().cpu() for outputs in (before, predict(witness, end)))
    way = score.boundary(before.shape[1]) - begin
    return ((finish - begin) / way).masked_fill(way <= 0, torch.nan)


def names_class(witness: Network, end: Tensor, target: Tensor | int) -> Tensor:
    """Whether the class is the witness's first at the path's end, (N,), bool.

    Args:
        witness: from images (N, ...) to logits (N, K), K >= 2; in eval mode.
        end: images (N, ...).
        target: the class that the path asks for, one or one an image (N,).

    Raises:
        ValueError: no examples, outputs of a single column, a target out of [0, K).

    Example:
        >>> names_class(lambda x: torch.cat([x, 0 * x], dim=1), torch.tensor([[-1.0], [2.0]]), target=0)
        tensor([False,  True])
    """
    outputs = predict(witness, end)
    if outputs.ndim != 2 or outputs.shape[1] < 2:
        raise ValueError(
            f"witness: expected outputs of shape (N, K), K >= 2, a column a class; got {tuple(outputs.shape)}. "
            "Give a network with a single column z two of them, [0, z]."
        )
    outputs = outputs.cpu()
    return outputs.argmax(dim=1) == class_indices(target, *outputs.shape)


def witness_table(
    witness: Network,
    model: Network,
    start: Tensor,
    ends: Mapping[str, Tensor],
    target: Tensor | int,
    score: Score = LogOdds(),
    samples: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """What the witness says about the ends of several paths from the same images to the same classes.

    Images at which the witness stands at or beyond even odds from the start are left out, for every path and
    every column, and counted: nothing can be learnt from them.

    Args:
        witness, model: from images (N, ...) to logits (N, K), in eval mode; the paths saw the model alone.
        start: images (N, ...).
        ends: path -> its ends (N, ...).
        target: the class that the paths ask for, one or one an image (N,).
        score: as in `witness_share`.
        samples, seed: of the bootstrap.

    Returns:
        One row a path, in their order. Columns: path; median and mean of the witness's share, `own way`, the
        median of the model's share of its own way (NaN where the model stands at even odds before); named, named
        by model: how often each names the class at the end; images, left out. All but `own way`, images and left
        out have 95 % limits beside them, "median low", "median high" and so on: bootstrap by image, Wilson for
        how often. NaN where no image is left.

    Raises:
        ValueError: no paths, or what `witness_share` and `names_class` refuse.

    Example:
        >>> witness, model = (lambda x, k=k: torch.cat([k * x, 0 * x], dim=1) for k in (1.0, 2.0))
        >>> start, ends = torch.tensor([[-4.0], [-2.0], [3.0]]), {"half": torch.tensor([[-2.0], [-1.0], [4.0]])}
        >>> table = witness_table(witness, model, start, ends, target=0)
        >>> table[["path", "median", "own way", "named", "images", "left out"]].values.tolist()
        [['half', 0.5, 0.5, 0.0, 2, 1]]
    """
    if not ends:
        raise ValueError("ends: expected at least one path's ends, {name: images}; got none.")
    rows = []
    for path, end in ends.items():
        _require_ends(f"ends[{path!r}]", start, end)
        share = witness_share(witness, start, end, target, score).numpy()
        kept = ~np.isnan(share)
        own = witness_share(model, start, end, target, score).numpy()[kept]
        own = own[~np.isnan(own)]
        if kept.any():
            found = {
                "median": bootstrap_interval(share[kept], statistic=np.median, samples=samples, seed=seed),
                "mean": bootstrap_interval(share[kept], samples=samples, seed=seed),
                "named": proportion_interval(names_class(witness, end, target)[kept]),
                "named by model": proportion_interval(names_class(model, end, target)[kept]),
            }
        else:
            nothing = Interval(np.nan, np.nan, np.nan)
            found = dict.fromkeys(("median", "mean", "named", "named by model"), nothing)
        row = {"path": path}
        for name, interval in found.items():
            row |= {name + part: value for part, value in zip(ENDS, interval, strict=True)}
        row["own way"] = float(np.median(own)) if len(own) else np.nan
        rows.append(row | {"images": int(kept.sum()), "left out": int((~kept).sum())})
    return pd.DataFrame(rows)


def _require_ends(name: str, start: Tensor, end: Tensor) -> None:
    if end.shape != start.shape:
        raise ValueError(
            f"{name}: expected an image for each of start, shape {tuple(start.shape)}; got {tuple(end.shape)}."
        )
    for which, images in (("start", start), (name, end)):
        wrong = ~torch.isfinite(images)
        if wrong.any():
            raise ValueError(
                f"{which}: expected finite values; got {int(wrong.sum())} NaN or infinite. Look at whether the "
                "path converged."
            )
