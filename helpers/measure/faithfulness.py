"""Is a map true to the model? What the model says when the squares that the map names are taken away, or put back.

Deletion and insertion (Petsiuk, Das & Saenko 2018, arXiv 1806.07421): squares are replaced by a fill in the
order of the map, or put back into the fill; the score is followed. A fill is a function from images to images
of the same shape (`saliency.references`): every one makes images that the model has not met, each in its own
way, so results are given for several. For contributions, which are in units of the score, captum's infidelity
and sensitivity (Yeh et al. 2019, arXiv 1901.09392).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal

import numpy as np
import pandas as pd
import torch
from captum import metrics
from scipy.stats import spearmanr
from torch import Tensor
from torch.nn import functional

from helpers.checks import require_count
from helpers.measure.maps import pool
from helpers.saliency import Blurred, LogOdds, OwnMean, OwnNoise, Score

Fill = Callable[[Tensor], Tensor]
Kind = Literal["deletion", "insertion"]
BATCH = 8


def fills(width: float, seed: int = 0) -> dict[str, Fill]:
    """The three fills of the tables: the image's mean colour, a blurred copy, noise like the image.

    Args:
        width: of the blur, in pixels: wide enough that no object is left.
        seed: of the noise.

    Example:
        >>> images = torch.rand(2, 3, 8, 8)
        >>> {name: tuple(fill(images).shape) for name, fill in fills(width=2.0).items()}
        {'mean': (2, 3, 8, 8), 'blurred': (2, 3, 8, 8), 'noise': (2, 3, 8, 8)}
    """
    return {"mean": OwnMean(), "blurred": Blurred(width), "noise": OwnNoise(seed)}


def order(saliency: Tensor, square: int, seed: int = 0) -> Tensor:
    """The squares of each map from the largest mean value to the smallest; ties in random order.

    Args:
        saliency: (N, H, W), finite.
        square: side of a square in pixels; it must divide H and W.
        seed: of the order of ties, so that a constant map gives a random order.

    Returns:
        int64, (N, P): indices of squares, counted row by row.

    Raises:
        ValueError: another shape, values that are not finite, a square that does not divide the map.

    Example:
        >>> saliency = torch.zeros(1, 4, 4)
        >>> saliency[0, 2:, :2] = 1.0  # the lower left of four squares
        >>> order(saliency, square=2)[0, 0].item()
        2
    """
    if saliency.ndim != 3 or not torch.isfinite(saliency).all():
        raise ValueError(
            f"saliency: expected finite maps of shape (N, H, W); got {tuple(saliency.shape)}"
            f"{'' if torch.isfinite(saliency).all() else ' with NaN or infinity'}."
        )
    values = pool(saliency.detach().double().cpu(), square).flatten(1)
    shuffle = torch.randperm(values.shape[1], generator=torch.Generator().manual_seed(seed))
    return shuffle[values[:, shuffle].argsort(dim=1, descending=True, stable=True)]


def perturbation_curve(
    model: Callable[[Tensor], Tensor],
    images: Tensor,
    target: Tensor,
    saliency: Tensor,
    fill: Fill,
    kind: Kind,
    square: int,
    steps: int = 16,
    scores: Sequence[Score] = (LogOdds(),),
    seed: int = 0,
) -> Tensor:
    """The scores while the squares of the map are replaced by the fill, or put back into it, largest first.

    Args:
        model: from images (N, C, H, W) to logits (N, K).
        images: (N, C, H, W).
        target: class indices (N,).
        saliency: (N, H, W); signed maps are taken as they are, so that what speaks against the class comes
            last.
        fill: from images to what takes a square's place.
        kind: "deletion" starts with the image and ends with the fill; "insertion" the other way round.
        square: side of a square in pixels.
        steps: how many times more squares are changed, in equal numbers: ``steps + 1`` passes an image.
        scores: what is followed; all from the same passes.
        seed: of the order of ties.

    Returns:
        (len(scores), N, steps + 1). A faithful map makes deletion fall early and insertion rise early.

    Raises:
        ValueError: another kind, maps that do not fit the images, more steps than squares, a fill of another
            shape, and what `order` raises.

    Example:
        >>> model = lambda images: torch.stack([images.sum((1, 2, 3)), torch.zeros(len(images))], 1)
        >>> image, saliency = torch.eye(2)[None, None], torch.eye(2)[None]
        >>> blank = lambda images: 0 * images
        >>> perturbation_curve(model, image, torch.tensor([0]), saliency, blank, "deletion", square=1, steps=4)
        tensor([[[2., 1., 0., 0., 0.]]], dtype=torch.float64)
    """
    values = []
    with torch.no_grad():
        for changed in perturbed(images, saliency, fill, kind, square, steps, seed):
            logits = model(changed)
            values.append(torch.stack([score(logits, target).double().cpu() for score in scores]))
    return torch.stack(values, -1)


def perturbed(
    images: Tensor, saliency: Tensor, fill: Fill, kind: Kind, square: int, steps: int = 16, seed: int = 0
) -> Iterator[Tensor]:
    """The images of `perturbation_curve`, one after the other: ``steps + 1`` times (N, C, H, W).

    Arguments and errors are those of `perturbation_curve`; the errors come with the first images.

    Example:
        >>> image, saliency = torch.eye(2)[None, None], torch.eye(2)[None]
        >>> [x.sum().item() for x in perturbed(image, saliency, lambda x: 0 * x, "deletion", square=1, steps=2)]
        [2.0, 0.0, 0.0]
    """
    if kind not in ("deletion", "insertion"):
        raise ValueError(f'kind: expected "deletion" or "insertion"; got {kind!r}.')
    require_count("steps", steps)
    if images.ndim != 4 or saliency.shape != (len(images), *images.shape[-2:]):
        raise ValueError(
            "saliency: expected one map (N, H, W) for the images (N, C, H, W); got shapes "
            f"{tuple(saliency.shape)} and {tuple(images.shape)}."
        )
    places = order(saliency, square, seed)
    if steps > places.shape[1]:
        raise ValueError(f"steps: expected at most one a square, {places.shape[1]}; got {steps}.")
    other = fill(images)
    if other.shape != images.shape:
        raise ValueError(f"fill: expected images of shape {tuple(images.shape)}; got {tuple(other.shape)}.")
    first, last = (images, other) if kind == "deletion" else (other, images)
    turn = places.argsort(dim=1)  # when it is each square's turn
    for count in torch.linspace(0, places.shape[1], steps + 1).round().tolist():
        yield torch.where(_pixels(turn < count, images, square), last, first)


def probability(logits: Tensor, target: Tensor) -> Tensor:
    """The probability of each example's class, (N,), of logits (N, K) and classes (N,): a score to follow.

    Example:
        >>> probability(torch.zeros(1, 4), torch.tensor([2]))
        tensor([0.2500])
    """
    return logits.softmax(1).gather(1, target[:, None])[:, 0]


def insertion_minus_deletion(
    model: Callable[[Tensor], Tensor],
    images: Tensor,
    target: Tensor,
    saliency: Tensor,
    fill: Fill,
    square: int = 16,
    steps: int = 7,
) -> Tensor:
    """The class's probability while the map's squares are put back, less that while they are taken away, (N,).

    The difference of the areas under the two curves of `perturbation_curve`: above 0 for a map that names what the
    model uses, about 0 for squares in random order.

    Arguments and errors are those of `perturbation_curve`.

    Example:
        >>> model = lambda images: torch.stack([9 * images[:, 0, 0, 0], torch.zeros(len(images))], 1)
        >>> image, right, wrong = torch.ones(1, 1, 2, 2), torch.eye(2)[None], 1 - torch.eye(2)[None]
        >>> right[0, 1, 1] = 0  # the model looks at the upper left pixel alone
        >>> asked = model, image, torch.tensor([0])
        >>> [insertion_minus_deletion(*asked, m, lambda x: 0 * x, 1, 4).item() > 0 for m in (right, wrong)]
        [True, False]
    """
    grown, shrunk = (
        perturbation_curve(model, images, target, saliency, fill, kind, square, steps, [probability])
        for kind in ("insertion", "deletion")
    )
    return area(grown - shrunk)[0]


def area(curve: Tensor) -> Tensor:
    """Mean height of a curve (..., T + 1) by the trapezoidal rule, (...): for deletion less is better.

    Raises:
        ValueError: fewer than two values.

    Example:
        >>> area(torch.tensor([2.0, 1.0, 0.0]))
        tensor(1.)
    """
    if curve.ndim < 1 or curve.shape[-1] < 2:
        raise ValueError(f"curve: expected at least two values along the last dimension; got {curve.shape}.")
    return (curve[..., :-1] + curve[..., 1:]).mean(-1) / 2


def infidelity(
    function: Callable[[Tensor], Tensor],
    images: Tensor,
    contributions: Tensor,
    fill: Fill,
    square: int,
    samples: int = 32,
    seed: int = 0,
) -> Tensor:
    """How badly contributions add up to what the score loses when a random window is replaced; 0 is best.

    captum's infidelity with ``normalize=True``: the mean squared difference between the sum of the window's
    contributions, scaled by the best factor, and the change of the score (Yeh et al. 2019, arXiv 1901.09392,
    section 2), here divided by the mean squared change: 0 for sums that are right up to a factor, 1 for those
    that say nothing. A map that is the same everywhere may come out well below 1, because larger windows
    change more: a random map belongs in every table.

    Args:
        function: from images (N, C, H, W) to scores (N,), without a target.
        images: (N, C, H, W).
        contributions: of the pixels, in units of the score: (N, H, W), or (N, C, H, W).
        fill: what takes a square's place; the contributions' own reference, if it is to be fair to them.
        square: side of a square in pixels; windows are rectangles of squares, up to half of the image's side.
        samples: random windows.
        seed: of the windows: the same for every map and image.

    Returns:
        (N,), float64; NaN where the score does not change.

    Raises:
        ValueError: contributions of another shape.

    Example:
        >>> images = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        >>> score, blank = lambda x: x.sum((1, 2, 3)), lambda x: 0 * x
        >>> right, wrong = images[:, 0], images[:, 0].flip(-1)  # of a sum: the pixels
        >>> [round(infidelity(score, images, map_, blank, square=2).item(), 2) + 0.0 for map_ in (right, wrong)]
        [0.0, 0.13]
    """
    if contributions.shape == (len(images), *images.shape[2:]):
        # a third to each of three channels: squares are replaced in all of them at once
        contributions = contributions[:, None] / images.shape[1] * torch.ones_like(images)
    if contributions.shape != images.shape:
        raise ValueError(
            "contributions: expected those of the images, shape (N, H, W) or (N, C, H, W); got shapes "
            f"{tuple(contributions.shape)} and {tuple(images.shape)}."
        )
    require_count("samples", samples)
    drawn = _windows(images.shape[2] // square, images.shape[3] // square, samples, seed)
    with torch.no_grad():
        other = fill(images)
        values = []
        # image by image and a few samples at a time: memory is that of a few images
        for image, filled, own in zip(images.split(1), other.split(1), contributions.split(1), strict=True):
            mask = _pixels(drawn, image, square)
            changed = torch.where(mask, filled, image)
            steps = iter(zip(mask.to(image).split(BATCH), changed.split(BATCH), strict=True))

            def next_samples(inputs: Tensor, steps=steps) -> tuple[Tensor, Tensor]:
                mask, changed = next(steps)
                return mask.expand_as(inputs), changed

            value = metrics.infidelity(
                function,
                next_samples,
                image,
                own.to(image),
                n_perturb_samples=samples,
                max_examples_per_batch=BATCH,
                normalize=True,
            )
            after = torch.cat([function(few) for few in changed.split(BATCH)])
            size = (function(image) - after).square().mean()
            values.append((value[0] / size if size > 0 else torch.full_like(size, torch.nan)).double().cpu())
    return torch.stack(values)


def _windows(height: int, width: int, samples: int, seed: int) -> Tensor:
    """Rectangles of squares, of random sides up to half of the image's: bool, (samples, height * width)."""
    draw = np.random.default_rng(seed)
    masks = torch.zeros(samples, height, width, dtype=torch.bool)
    for mask in masks:
        high, wide = (draw.integers(1, max(1, side // 2) + 1) for side in (height, width))
        top, left = draw.integers(height - high + 1), draw.integers(width - wide + 1)
        mask[top : top + high, left : left + wide] = True
    return masks.flatten(1)


def sensitivity(
    method: Callable[[Tensor], Tensor],
    images: Tensor,
    radius: float = 0.02,
    samples: int = 4,
    seed: int = 0,
) -> Tensor:
    """The largest relative change of a map when the image moves by at most `radius`: captum's sensitivity_max.

    Yeh et al. 2019, arXiv 1901.09392, definition 3, by sampling: a lower bound of the maximum.

    Args:
        method: from images (N, C, H, W) to maps (N, ...).
        images: (N, C, H, W).
        radius: of the uniform noise, in units of the pixels, above 0.
        samples: noisy copies, seen one after the other.
        seed: of the noise; the global state of the random numbers is put back afterwards.

    Returns:
        (N,).

    Raises:
        ValueError: a radius that is not above 0, and what the method raises.

    Example:
        >>> images = torch.ones(1, 1, 2, 2)
        >>> sensitivity(lambda x: torch.ones_like(x), images), bool(sensitivity(lambda x: x, images) <= 0.02)
        (tensor([0.], dtype=torch.float64), True)
    """
    if not radius > 0:
        raise ValueError(f"radius: expected a number above 0; got {radius!r}.")
    require_count("samples", samples)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # captum draws from the global generator
        return metrics.sensitivity_max(
            # captum hands over tuples, and takes a single tensor for a tuple of its rows
            lambda inputs, **_: (method(*inputs),),
            images,
            perturb_radius=radius,
            n_perturb_samples=samples,
            max_examples_per_batch=len(images),
        ).double()


def rank_agreement(values: pd.DataFrame, better: Mapping[str, bool]) -> pd.DataFrame:
    """Do two metrics put the methods in the same order? Spearman's rank correlation of every pair of metrics.

    Args:
        values: one row a method, one column a metric, finite.
        better: column -> whether a larger value is better (True), or a smaller one.

    Returns:
        (metrics, metrics): 1 the same order from good to bad, -1 the reverse, NaN if one has no order.

    Raises:
        ValueError: a column that `better` does not name, fewer than three methods, values that are not finite.

    Example:
        >>> values = pd.DataFrame({"deletion": [1.0, 2.0, 3.0], "insertion": [3.0, 2.0, 1.0]})
        >>> float(rank_agreement(values, {"deletion": False, "insertion": True}).loc["deletion", "insertion"])
        1.0
    """
    missing = [name for name in values.columns if name not in better]
    if missing:
        raise ValueError(f"better: expected an entry for each of the columns; got none for {missing[0]!r}.")
    if len(values) < 3 or not np.isfinite(values.to_numpy(dtype=float)).all():
        raise ValueError(f"values: expected at least three methods, finite values; got {len(values)} rows.")
    signed = values * [1.0 if better[name] else -1.0 for name in values.columns]
    table = [
        [
            float("nan")
            if signed[a].nunique() < 2 or signed[b].nunique() < 2
            else spearmanr(signed[a], signed[b])[0]
            for b in signed
        ]
        for a in signed
    ]
    return pd.DataFrame(table, index=signed.columns, columns=signed.columns)


def _pixels(squares: Tensor, images: Tensor, square: int) -> Tensor:
    """Truth values of squares, (N, P), as pixels: (N, 1, H, W) on the images' device."""
    height, width = images.shape[-2] // square, images.shape[-1] // square
    planes = squares.reshape(-1, 1, height, width).float()
    return functional.interpolate(planes, scale_factor=square, mode="nearest").bool().to(images.device)
