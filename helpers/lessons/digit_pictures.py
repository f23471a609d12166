"""What notebook 04 shows: digits in rows with maps over their ink, and a digit that loses its ink, in frames."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from helpers.saliency import NonlinearSaliency
from helpers.show.maps import as_picture, as_plane, colour_limit
from helpers.show.style import COLOUR_MAPS, COLOURS, framed, percent_text, styled

PALE = 0.25  # how grey full ink is where a map lies over it
STRONGEST = 99.5  # percentile of a map at which its colour is full
FRAME = "#E69F00"


class Drawn(NamedTuple):
    """One panel: a digit, in its row as it is or, with a map, in pale grey below it.

    image: (H, W) or (1, H, W), in [0, 1], ink 1. saliency: (h, w) or (C, h, w), or None. note: below the panel.

    Example:
        >>> import torch
        >>> Drawn(torch.zeros(4, 4)).note
        ''
    """

    image: Tensor
    saliency: Tensor | None = None
    note: str = ""


@styled
def digit_rows(
    rows: Mapping[str, Sequence[Drawn]],
    heads: Sequence[str] = (),
    frames: Sequence[Tensor] = (),
    size: float = 1.2,
) -> Figure:
    """Rows of digits; where a panel has a map, what supports is red over pale ink, on its own scale.

    Args:
        rows: name of the row -> its panels, as many in each.
        heads: titles of the columns; none: no titles.
        frames: a bool mask (H, W) a column, whose bounding box gets a frame in every row; none: no frames.
        size: of a panel, in inches.

    Returns:
        An axes a panel, row by row.

    Raises:
        ValueError: no panels, rows of different lengths, heads or frames that do not fit.

    Example:
        >>> import torch
        >>> digit = torch.rand(1, 28, 28)
        >>> figure = digit_rows({"digit": [Drawn(digit)], "flow": [Drawn(digit, digit, "a 9")]}, heads=["9"])
        >>> [axes.get_xlabel() for axes in figure.axes]
        ['', 'a 9']
    """
    columns = {len(panels) for panels in rows.values()}
    wrong = any(given and {len(given)} != columns for given in (heads, frames))
    if len(columns) != 1 or 0 in columns or wrong:
        raise ValueError(f"rows, heads, frames: expected as many panels in each; got {sorted(columns)}.")
    count = columns.pop()
    notes = sum(any(panel.note for panel in panels) for panels in rows.values())
    lines = max((len(head.splitlines()) for head in heads), default=0)
    figure = Figure(figsize=(size * count + 1.1, size * len(rows) + 0.28 * notes + 0.22 * lines + 0.2))
    grid = figure.subplots(len(rows), count, squeeze=False)
    for line, (name, panels) in zip(grid, rows.items(), strict=True):
        for column, (axes, panel) in enumerate(zip(line, panels, strict=True)):
            framed(axes)
            axes.imshow(over_ink(panel.image, panel.saliency))
            axes.set_xlabel(panel.note, fontsize=11)
            if frames:
                axes.add_patch(_box(frames[column]))
        line[0].set_ylabel(name, fontsize=12, rotation=0, ha="right", va="center")
    for axes, head in zip(grid[0], heads, strict=False):
        axes.set_title(head, fontsize=12)
    return figure


def over_ink(image: Tensor, saliency: Tensor | None = None, limit: float | None = None) -> np.ndarray:
    """The digit as it is, white on black; or, with a map, in pale grey on white with the map in red over it.

    Args:
        image, saliency: as in `Drawn`; what is negative in the map is left out.
        limit: where the red is full, above 0; None: near the map's largest value.

    Returns:
        (H, W, 3), values in [0, 1].

    Example:
        >>> import torch
        >>> over_ink(torch.ones(1, 1)).tolist(), over_ink(torch.ones(1, 1), torch.zeros(1, 1)).tolist()
        ([[[1.0, 1.0, 1.0]]], [[[0.75, 0.75, 0.75]]])
    """
    picture = as_picture(image)[..., None].repeat(3, axis=-1)
    if saliency is None:
        return picture
    plane = as_plane("saliency", saliency).clip(0)
    share = (plane / (colour_limit([plane], STRONGEST) if limit is None else limit)).clip(0, 1)[..., None]
    red, veil = np.array(COLOUR_MAPS["signed"](0.9)[:3]), share**0.8
    return (1 - PALE * picture) * (1 - veil) + red * veil


def patch_maps(images: Tensor, seed: int = 0) -> Tensor:
    """A control that marks one patch: nearness to a pixel of the ink, drawn at random for each image.

    Args:
        images: (N, 1, H, W), at least one pixel above 0 in each; brighter pixels are drawn more often.

    Returns:
        (N, 1, H, W), largest (0) at the pixel that was drawn.

    Raises:
        RuntimeError: an image without ink.

    Example:
        >>> import torch
        >>> patch_maps(torch.tensor([[[[0.0, 0.0, 1.0]]]]))
        tensor([[[[-2., -1., -0.]]]])
    """
    height, width = images.shape[-2:]
    drawn = torch.multinomial(images.flatten(1), 1, generator=torch.Generator().manual_seed(seed))
    down = torch.arange(height)[:, None] - (drawn // width)[:, :, None, None]
    across = torch.arange(width) - (drawn % width)[:, :, None, None]
    return -(down.square() + across.square()).to(images.dtype).sqrt()


def fading_frames(
    saliency: NonlinearSaliency, image: Tensor, target: int, name: str, frames: int = 10
) -> list[Figure]:
    """A digit on its path, as frames of a film: its ink goes, the map grows, the score falls.

    Args:
        saliency: a path that takes ink away, with a score that is 0 at even odds.
        image: (1, 1, H, W), values in [0, 1].
        target: the explained class, name what it is called.
        frames: how many at most, evenly among the points of the path.

    Returns:
        Figures of one size: the digit, the map so far over the ink, and the score over the ink that is gone,
        beside what the tangent plane says of the same pictures.

    Raises:
        ValueError: fewer than two points on the path.

    Example:
        >>> import torch
        >>> from helpers.saliency import LogOdds, Removal
        >>> model = lambda x: torch.stack([x.sum((1, 2, 3)), 1 + 0 * x.sum((1, 2, 3))], 1)
        >>> saliency = NonlinearSaliency(model, LogOdds(), Removal(0.0))
        >>> figures = fading_frames(saliency, torch.ones(1, 1, 2, 2), 0, "a 4", frames=3)
        >>> figures[0].axes[0].get_title(), figures[-1].axes[0].get_title()
        ('a 4: 95.3 %', 'a 4: 50.0 %')
    """
    run = saliency.explain(image, target, trace=True)
    points, scores = run.path_points[:, 0], run.path_scores[:, 0]
    if len(points) < 2:
        raise ValueError(f"frames: the path does not move: {run.reason[0]}.")
    chosen = sorted({round(place) for place in np.linspace(0, len(points) - 1, frames)})
    start = image.detach().clone().requires_grad_()
    (gradient,) = torch.autograd.grad(saliency.score(saliency.forward_func(start), target).sum(), start)
    promised = scores[0] + ((points - image[0]) * gradient[0]).flatten(1).sum(1)
    gone = 100 * (1 - points.flatten(1).sum(1) / image.sum())
    maps = [torch.zeros_like(image[0])] + [
        saliency.explain(image, target, level=float(scores[k])).support()[0] for k in chosen if k > 0
    ]
    limit = colour_limit([as_plane("map", maps[-1]).clip(0)], STRONGEST)
    curves = [values.detach().cpu().numpy() for values in (gone, scores, promised)]
    with torch.no_grad():
        sure = saliency.forward_func(points).softmax(1)[:, target].tolist()
    return [
        _fading(
            points[k],
            over_ink(image[0], so_far, limit),
            curves,
            k,
            f"{name}: {percent_text(sure[k], decimal=True)}",
        )
        for k, so_far in zip(chosen, maps, strict=True)
    ]


@styled
def _fading(point: Tensor, laid: np.ndarray, curves: list[np.ndarray], k: int, title: str) -> Figure:
    gone, scores, promised = curves
    figure = Figure(figsize=(7.4, 2.75))
    digit, so_far, curve = figure.subplots(1, 3, width_ratios=[1, 1, 1.25])
    for axes, pixels, head in ((digit, over_ink(point), title), (so_far, laid, "map so far")):
        framed(axes)
        axes.imshow(pixels)
        axes.set_title(head, fontsize=13)
    curve.axhline(0, color="black", linewidth=1.5)
    curve.plot(gone, promised, ":", color="0.15", linewidth=2)
    curve.plot(gone[: k + 1], scores[: k + 1], color=COLOURS[0], linewidth=3)
    curve.plot(gone[k], scores[k], "o", color=COLOURS[0], markersize=8)
    every = np.concatenate([scores, promised, [0.0]])
    margin = 0.12 * (every.max() - every.min())
    curve.set(
        xlim=(0, 1.05 * max(float(gone.max()), 1e-9)), ylim=(every.min() - margin, every.max() + margin)
    )
    curve.set(xlabel="ink gone, in %", ylabel="log-odds", title="score (dotted: tangent)")
    return figure


def _box(mask: Tensor) -> Rectangle:
    down, right = mask.any(1).nonzero()[:, 0].tolist(), mask.any(0).nonzero()[:, 0].tolist()
    corner, width, height = (right[0] - 0.5, down[0] - 0.5), right[-1] - right[0] + 1, down[-1] - down[0] + 1
    return Rectangle(corner, width, height, fill=False, edgecolor=FRAME, linewidth=3, gid="frame")
