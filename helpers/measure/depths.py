"""Linear and nonlinear member at every depth of a network, on mosaics of photographs: where does the path pay?

The paper's claim, as its abstract has it, is that nonlinear maps gain "where nonlinearities are more pronounced".
Here the two members differ by the path alone: same coordinates (the output of one block), same geometry, same
reference. `helpers.saliency.StraightTangent` believes the slope at the image all the way to the reference,
`helpers.saliency.Straight` looks at the slope on the way. How far the tangent misses is its residual.
"""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
import torch
from scipy.optimize import linear_sum_assignment
from scipy.stats import rankdata
from torch import Tensor, nn
from tqdm.auto import tqdm

from helpers.measure.grids import CELLS, Grids, grid_pointing, put_together
from helpers.measure.statistics import Interval, bootstrap_interval
from helpers.saliency import (
    Coordinates,
    Input,
    Layer,
    Logit,
    NonlinearSaliency,
    Score,
    Straight,
    StraightTangent,
    blocks,
    fitted,
)
from helpers.saliency.scores import as_score
from helpers.saliency.values import like
from helpers.zoo.networks import predict

INPUT = "input"
LINEAR, NONLINEAR = "linear", "nonlinear"
TINY = torch.finfo(torch.double).tiny
# How `per_depth` summarises each column: the residual has outliers where there was little to explain.
MEASURES = {LINEAR: np.mean, NONLINEAR: np.mean, "gain": np.mean, "residual": np.median}


def distinct_classes(probabilities: Tensor) -> Tensor:
    """One class for each image, no two the same, as probable as can be: the largest product of probabilities.

    The top-ranked classes where these differ. An assignment problem, solved by scipy.

    Args:
        probabilities: (M, K), M <= K.

    Returns:
        int64, (M,).

    Raises:
        ValueError: another shape, or values that are not finite.

    Example:
        >>> import torch
        >>> distinct_classes(torch.tensor([[0.6, 0.3, 0.1], [0.9, 0.05, 0.05]]))  # both are class 0 at first
        tensor([1, 0])
    """
    if probabilities.ndim != 2 or len(probabilities) > probabilities.shape[1]:
        raise ValueError(
            f"probabilities: expected shape (M, K) with M <= K; got {tuple(probabilities.shape)}."
        )
    if not torch.isfinite(probabilities).all():
        raise ValueError("probabilities: expected finite values; got NaN or infinity.")
    logs = probabilities.double().clamp_min(torch.finfo(torch.double).tiny).log()
    return torch.as_tensor(linear_sum_assignment(logs.cpu().numpy(), maximize=True)[1])


def mosaics(model: Callable[[Tensor], Tensor], images: Tensor, targets: Tensor) -> Grids:
    """2x2 mosaics of given images in the given order, four at a time; what is left over is not used.

    For a handful of photographs; `helpers.measure.grids.make_grids` draws from many that the model is sure of.

    Args:
        model: from images to logits; it must take the mosaics, (n, C, 2S, 2S).
        images: (M, C, S, S).
        targets: (M,) class indices, distinct among each four.

    Raises:
        ValueError: fewer than four images, shapes that do not agree, or a mosaic with one class twice.

    Example:
        >>> import torch
        >>> model = lambda x: x.mean((2, 3))
        >>> images = torch.eye(4)[:, :, None, None].expand(4, 4, 2, 2)
        >>> mosaics(model, images, torch.arange(4)).images.shape
        torch.Size([1, 4, 4, 4])
    """
    if images.ndim != 4 or targets.shape != images.shape[:1] or len(images) < CELLS:
        raise ValueError(
            f"images, targets: expected shapes (M, C, S, S) and (M,) with M >= {CELLS}; got "
            f"{tuple(images.shape)} and {tuple(targets.shape)}."
        )
    members = torch.arange(len(images) // CELLS * CELLS).reshape(-1, CELLS)
    for row in targets.cpu()[members].tolist():
        if len(set(row)) < CELLS:
            raise ValueError(f"targets: expected four distinct classes in a mosaic; got {row}.")
    return put_together(model, images, targets, members, CELLS)


def by_depth(
    model: nn.Module,
    grids: Grids,
    reference: float | Tensor | Callable[[Tensor], Tensor],
    modules: Mapping[str, nn.Module] | None = None,
    score: Score = Logit(),
    steps: int = 4,
    smoothing: float = 0.0,
    square: int = 8,
    show_progress: bool = True,
) -> pd.DataFrame:
    """Linear and nonlinear member at the input and at every block: rank AUC of both, and the tangent's residual.

    The four classes of a mosaic share their passes: each step (the linear member has a single one) costs one
    forward pass and four backward passes, through what comes after the block only.

    Args:
        model: from images to logits; it must take the mosaics.
        grids: of `mosaics` or `helpers.measure.grids.make_grids`.
        reference: an image without the evidence, as in `helpers.saliency.Input`; it is carried to the block.
        modules: name -> module in the order of a pass; None: `blocks` of the model.
        score: which number is explained.
        steps: of `Straight`, for every block.
        smoothing, square: of `helpers.measure.grids.grid_pointing`, in pixels of the mosaic, the same for both.
        show_progress: a progress bar over depths, members and mosaics.

    Returns:
        One row a (depth, mosaic, cell): depth (0 the input, then the blocks from 1), module (its name, "input"
        at depth 0), grid, cell, target, member, rank (0: best-ranked of the four), linear, nonlinear (rank AUC of
        each), gain (nonlinear - linear), residual: |score that the tangent predicts for the reference - score
        there| as a share of the change from the image to the reference; 0 is a score that is linear on the
        way, 1 misses as much as there was to explain. It is large where there was little to explain: take medians.

    Raises:
        TypeError, ValueError: a wrong argument (named in the message).

    Example:
        >>> import torch
        >>> from helpers.zoo.networks import digit_net
        >>> model, images = digit_net(), torch.rand(4, 1, 28, 28)
        >>> grids = mosaics(model, images, torch.arange(4))
        >>> places = {"features": model.features}
        >>> table = by_depth(model, grids, 0.0, places, steps=1, square=4, show_progress=False)
        >>> table.groupby("depth")["module"].first().to_dict(), len(table)
        ({0: 'input', 1: 'features'}, 8)
    """
    score = as_score(score)
    modules = blocks(model, grids.images[:1]) if modules is None else modules
    inner = Input(reference=reference)
    places: dict[str, Coordinates] = {
        INPUT: inner,
        **{name: Layer(part, inner) for name, part in modules.items()},
    }
    paths = {LINEAR: StraightTangent(), NONLINEAR: Straight(steps)}
    changes = _changes(model, grids, reference, score)
    tables, total = [], len(places) * len(grids) * len(paths)
    with tqdm(total=total, desc="depths", unit="map", leave=False, disable=not show_progress) as bar:
        for depth, (name, place) in enumerate(places.items()):
            maps = {}
            for kind, path in paths.items():
                maps[kind], change = _supports(NonlinearSaliency(model, score, place, path=path), grids, bar)
                if kind == LINEAR:
                    # `Explanation.completeness_error` as a share; the record has it for its own class alone
                    residuals = (change - changes).abs() / changes.abs().clamp_min(TINY)
            scores = grid_pointing(maps, grids, square, smoothing, with_controls=False, show_progress=False)
            tables.append(_one_depth(depth, name, scores, residuals))
    return pd.concat(tables, ignore_index=True)


def _supports(member: NonlinearSaliency, grids: Grids, bar: tqdm) -> tuple[Tensor, Tensor]:
    """The maps of all cells, (N, 4, H, W), and the change of each cell's score that they add up to, (N, 4)."""
    maps, changes = [], []
    for image, targets in zip(grids.images.split(1), grids.targets.tolist(), strict=True):
        run = member.explain(image, targets[0], competitors=targets[1:])
        support = torch.cat([run.support(), run.competing_support()[0]])
        maps.append(fitted(support, image)[:, 0])
        # what is taken away counts as support: the change is its negative
        changes.append(-support.double().flatten(1).sum(1).cpu())
        bar.update()
    return torch.stack(maps), torch.stack(changes)


def _changes(model: nn.Module, grids: Grids, reference, score: Score) -> Tensor:
    """Score at the reference minus score at the mosaic, of each cell's class, (N, 4), on the CPU."""
    rows = []
    for image, targets in zip(grids.images.split(1), grids.targets.tolist(), strict=True):
        ends = torch.cat([image, like("reference", reference, image)])
        before, after = predict(model, ends, len(ends)).double().cpu().split(1)
        rows.append(torch.cat([score(after, target) - score(before, target) for target in targets]))
    return torch.stack(rows)


def _one_depth(depth: int, name: str, scores: pd.DataFrame, residuals: Tensor) -> pd.DataFrame:
    """The rows of one depth, from the table of `grid_pointing` and the residuals, (n, 4)."""
    keys = ["grid", "cell", "target", "member", "rank"]
    table = scores.pivot(index=keys, columns="method", values="rank_auc").reset_index()
    table = table.rename_axis(columns=None)[[*keys, LINEAR, NONLINEAR]]
    table.insert(0, "depth", depth)
    table.insert(1, "module", name)
    table["gain"] = table[NONLINEAR] - table[LINEAR]
    table["residual"] = residuals.numpy()[table["grid"].to_numpy(), table["cell"].to_numpy()]
    return table


def per_depth(table: pd.DataFrame, samples: int = 2000, seed: int = 0) -> pd.DataFrame:
    """Summary of `by_depth`: means with 95 % intervals by bootstrap over the photographs, medians of the residual.

    Args:
        table: as `by_depth` gives it, or some of its rows (the best-ranked classes alone, say).
        samples, seed: of `helpers.measure.statistics.bootstrap_interval`; whole photographs are drawn.

    Returns:
        One row a depth, with the depth as index: module; linear, nonlinear, gain (means) with columns
        "linear low", "linear high" and so on; residual (median), "residual low", "residual high" (its interval,
        too).

    Raises:
        ValueError: columns that are missing, or no rows.

    Example:
        >>> import pandas as pd
        >>> places = {"depth": [0, 0, 1, 1], "module": ["input"] * 2 + ["block"] * 2, "member": [0, 1] * 2}
        >>> aucs = {"linear": [0.5, 0.5, 0.6, 0.8], "nonlinear": 0.9, "gain": [0.4, 0.4, 0.3, 0.1]}
        >>> table = pd.DataFrame(places).assign(**aucs, residual=[2.0, 4.0, 0.1, 0.3])
        >>> per_depth(table, samples=50)[["linear", "gain", "residual"]].round(3).to_dict("list")
        {'linear': [0.5, 0.7], 'gain': [0.4, 0.2], 'residual': [3.0, 0.2]}
    """
    missing = [name for name in ("depth", "module", "member", *MEASURES) if name not in table.columns]
    if missing or not len(table):
        raise ValueError(
            f"table: expected rows with the columns of by_depth; got {len(table)} rows with "
            f"{', '.join(map(str, table.columns))}."
        )
    rows = {}
    for depth, part in table.groupby("depth"):
        row = {"module": part["module"].iloc[0]}
        for name, statistic in MEASURES.items():
            interval = bootstrap_interval(part[name], part["member"], statistic, samples, seed)
            row |= {name: interval.estimate, f"{name} low": interval.low, f"{name} high": interval.high}
        rows[depth] = row
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("depth")


def within_depth(table: pd.DataFrame, samples: int = 2000, seed: int = 0) -> Interval:
    """Does the gain grow with the residual *at one depth*? Rank correlation over the cells, mean of the depths.

    Over depths both grow with depth, which says nothing of either; so each depth is looked at alone.

    Args:
        table: as `by_depth` gives it.
        samples, seed: of the bootstrap, which draws whole photographs, the same ones at every depth.

    Returns:
        The mean of the depths' Spearman correlations, with its 95 % interval.

    Raises:
        ValueError: columns that are missing.

    Example:
        >>> import pandas as pd
        >>> cells = pd.DataFrame({"depth": [0] * 4 + [1] * 4, "member": [0, 1, 2, 3] * 2})
        >>> within_depth(cells.assign(gain=[1, 2, 3, 4] * 2, residual=[1, 2, 3, 4] * 2), samples=20).estimate
        1.0
    """
    missing = [name for name in ("depth", "member", "gain", "residual") if name not in table.columns]
    if missing or not len(table):
        raise ValueError(
            f"table: expected rows with depth, member, gain and residual; got {len(table)} rows with "
            f"{', '.join(map(str, table.columns))}."
        )
    parts = [part for _, part in table.groupby("depth")]
    if any(part["member"].tolist() != parts[0]["member"].tolist() for part in parts):
        raise ValueError("table: expected the same cells, in one order, at every depth; got others.")
    gain, residual = (
        np.stack([part[name].to_numpy(float) for part in parts]) for name in ("gain", "residual")
    )
    members, number = np.unique(parts[0]["member"], return_inverse=True)
    rows = [np.flatnonzero(number == member) for member in range(len(members))]

    def mean(drawn: np.ndarray) -> float:
        cells = np.concatenate([rows[member] for member in drawn])
        ranks = [rankdata(values[:, cells], axis=1) for values in (gain, residual)]
        centred = [values - values.mean(1, keepdims=True) for values in ranks]
        with np.errstate(invalid="ignore"):  # a draw of one photograph alone has no correlation
            found = (centred[0] * centred[1]).sum(1) / np.sqrt(np.prod([(c**2).sum(1) for c in centred], 0))
        return float(np.nanmean(found)) if np.isfinite(found).any() else np.nan

    generator = np.random.default_rng(seed)
    draws = [mean(generator.choice(len(members), len(members))) for _ in range(samples)]
    whole = mean(np.arange(len(members)))
    return Interval(whole, *(float(q) for q in np.nanquantile(draws, [0.025, 0.975])))
