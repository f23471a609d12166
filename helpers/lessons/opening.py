"""What notebook 00 shows: one picture of four classes; the tangent step and the nonlinear path to a boundary."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from torch import Tensor

from helpers.measure.grids import CELLS
from helpers.measure.maps import pool
from helpers.saliency import Explanation, Softmax, fitted
from helpers.saliency.smoothing import gaussian_blur
from helpers.show.landscapes import path_lengths, refined, scores_at
from helpers.show.maps import as_picture, as_plane, colour_limit, draw_image, draw_map
from helpers.show.style import COLOUR_MAPS, COLOURS, halo, number_text, percent_text, styled

LARGE = 14
RIGHT = "#00C2A8"  # the frame around the right quarter: neither in the maps' colours nor in the picture's
FINE = 4  # side, in px, of the squares over which a map as fine as the picture's pixels is averaged
PLANE = {"color": "0.15", "linestyle": "--", "linewidth": 1.6}
STEP = {"color": "0.15", "linestyle": ":", "linewidth": 2.0}
PATH = {"color": COLOURS[0], "linewidth": 2.8}
RING = {"marker": "o", "markersize": 10, "color": "white", "markeredgecolor": "0.15", "zorder": 5}


def contrasted(method, image: Tensor, targets: Sequence[int], logits: Tensor, rivals: int = 8) -> Tensor:
    """Another method's maps with the contrast of `helpers.saliency.presets.contrasts`.

    Args:
        method: has ``attribute(images, targets)``, as every method here.
        image: (1, C, H, W).
        targets: K classes.
        logits: (classes,), the model's on the image: each target's rivals are the highest others.
        rivals: how many.

    Returns:
        (K, H, W): of every class, what its rivals' maps leave of its own at each place.

    Example:
        >>> import torch
        >>> from helpers.measure.peers import Gradient
        >>> from helpers.zoo.networks import digit_net
        >>> digit = torch.rand(1, 1, 28, 28)
        >>> contrasted(Gradient(digit_net()), digit, [3, 5], digit_net()(digit)[0]).shape
        torch.Size([2, 28, 28])
    """
    ranked = logits.argsort(descending=True).tolist()
    against = [[label for label in ranked if label != target][:rivals] for target in targets]
    labels = sorted({*targets, *(label for each in against for label in each)})
    asked = image.expand(len(labels), -1, -1, -1)
    maps = gaussian_blur(
        fitted(method.attribute(asked, labels).detach(), asked), 3 / 56 * max(image.shape[-2:])
    )
    of = {label: found.sum(0)[None, None] for label, found in zip(labels, maps, strict=True)}
    compare = Softmax(rivals, temperature=0.25).compare
    pairs = zip(targets, against, strict=True)
    return torch.cat(
        [compare(of[own], torch.stack([of[label] for label in each], 1))[0] for own, each in pairs]
    )


@styled
def mosaic_figure(
    image: Tensor,
    maps: Mapping[str, Tensor],
    classes: Sequence[str],
    probabilities: Sequence[float] | Tensor,
    fine: Sequence[str] = (),
    values: Mapping[str, float] | None = None,
    size: float = 1.75,
) -> Figure:
    """A mosaic of four photographs, and laid over it maps of its four classes: a row a class, a column a method.

    Args:
        image: (3, H, W), values in [0, 1], four photographs row by row.
        maps: method -> (4, H, W), one map a quarter, not negative where it supports the class.
        classes: names of the quarters' classes.
        probabilities: the model's on the whole picture, one a class.
        fine: methods whose maps are as fine as the pixels: they are averaged over squares, or nothing is seen.
        values: method -> its rank AUC, written below its name.
        size: of a panel, in inches.

    Returns:
        The picture, then a panel a map, row by row. Every map is on a scale of its own, from 0; the frame is the
        quarter that holds the class.

    Raises:
        ValueError: not four maps, names or probabilities.

    Example:
        >>> import torch
        >>> maps = {"flow": torch.rand(4, 8, 8), "gradient": torch.rand(4, 8, 8)}
        >>> figure = mosaic_figure(torch.rand(3, 8, 8), maps, ["cat", "cup", "dog", "car"], [0.4, 0.3, 0.2, 0.1])
        >>> len(figure.axes), figure.axes[1].get_title()
        (9, 'flow')
    """
    lengths = {len(m) for m in maps.values()} | {len(classes), len(probabilities)}
    if not maps or lengths != {CELLS}:
        raise ValueError(f"maps, classes, probabilities: expected {CELLS} of each; got {sorted(lengths)}.")
    picture = as_picture(image)
    height, width = picture.shape[0] / 2, picture.shape[1] / 2
    figure = Figure(figsize=(size * (len(maps) + 2) + 1.3, size * CELLS + (1.0 if values else 0.45)))
    grid = figure.add_gridspec(CELLS, len(maps) + 1, width_ratios=[2.0, *[1.0] * len(maps)])
    draw_image(figure.add_subplot(grid[:, 0]), picture, "one picture, four classes")
    for row, (name, sure) in enumerate(zip(classes, torch.as_tensor(probabilities).tolist(), strict=True)):
        corner = (row % 2 * width - 0.5, row // 2 * height - 0.5)
        for column, (method, found) in enumerate(maps.items()):
            axes = figure.add_subplot(grid[row, column + 1])
            plane = as_plane(method, found[row]).clip(0)
            plane = pool(torch.as_tensor(plane), FINE).numpy() if method in fine else plane
            norm = Normalize(0, colour_limit([plane], 99.5))
            draw_map(axes, plane, norm, False, picture.shape[:2], picture, size)
            axes.add_patch(Rectangle(corner, width, height, fill=False, edgecolor=RIGHT, linewidth=2.2))
            if row == 0:
                below = f"\nrank AUC {values[method]:.3f}" if values else ""
                axes.set_title(method + below, fontsize=LARGE)
        first = figure.axes[1 + row * len(maps)]
        words = "\n".join(name.split())
        first.set_ylabel(
            f"{words}\n{percent_text(sure)}", fontsize=LARGE, rotation=0, ha="right", va="center", labelpad=6
        )
    return figure


@styled
def moons_frame(
    score: Callable[[Tensor], Tensor],
    linear: Explanation,
    nonlinear: Explanation,
    extent: tuple[float, float, float, float],
    share: float = 1.0,
    names: Sequence[str] = ("x1", "x2"),
) -> Figure:
    """The tangent step and the nonlinear path to a boundary, and the score along both; a frame of a film.

    Args:
        score: (n,) or (n, 1) of inputs (n, 2).
        linear: the tangent's run from one input.
        nonlinear: another run from it to the same level, with its path (``trace=True``).
        extent: left, right, bottom, top, in the units of the features.
        share: of the path's length that is drawn, 0 to 1; of 0 there is the tangent step alone.
        names: of the two features.

    Returns:
        The landscape and, beside it, the score over the distance from the input. All frames are of one size.

    Raises:
        ValueError: a run without its path, or of more than two features.

    Example:
        >>> import torch
        >>> from helpers.saliency import Flow, Logit, NonlinearSaliency, Tangent
        >>> circle = lambda x: x.square().sum(1, keepdim=True) - 1
        >>> runs = [NonlinearSaliency(circle, Logit(), path=path) for path in (Tangent(), Flow(8))]
        >>> runs = [run.explain(torch.tensor([[1.2, 1.1]]), level=0.0, trace=True) for run in runs]
        >>> moons_frame(circle, *runs, (-2, 2, -2, 2)).axes[1].get_title().splitlines()
        ['score after the step: 0.26', 'score on the path: 0']
    """
    if nonlinear.path_points is None:
        raise ValueError("nonlinear: expected a run with its path; call explain(..., trace=True).")
    path = nonlinear.path_points[:, 0].detach().double().cpu()
    if path.shape[1:] != (2,):
        raise ValueError(f"nonlinear: expected points of two features; got {tuple(path.shape)}.")
    level, dtype = float(nonlinear.level[0]), nonlinear.path_points.dtype
    whole = linear.displacement[0].detach().double().cpu()
    step = path[0] + torch.linspace(0, 1, 50, dtype=torch.float64)[:, None] * whole
    lines = {"step": step, "path": refined(path, 3)}
    scores = {name: scores_at(score, line.to(dtype)) for name, line in lines.items()}
    relief = _relief(score, extent, dtype, level)
    along = path_lengths(lines["path"])
    shown = along <= along[-1] * share + 1e-9
    figure = Figure(figsize=(7.2, 3.7))
    ground, beside = figure.subplots(1, 2, width_ratios=[1.35, 1.0])
    _draw_ground(ground, relief, linear, step, extent, names)
    _draw_scores(beside, lines, scores, shown, level)
    if share:
        ground.plot(*lines["path"][shown].T, path_effects=halo(4.5), **PATH)
        end = {"color": PATH["color"], "markeredgecolor": "white", "zorder": 6}
        ground.plot(*lines["path"][shown][-1], "o", **end)
    ground.plot(*path[0], "*", color="black", markeredgecolor="white", markersize=15, zorder=7)
    figure.legend(handles=_handles(), loc="outside lower center", ncols=5, frameon=False)
    return figure


def _handles() -> list[Line2D]:
    star = {"color": "black", "marker": "*", "markersize": 11, "linestyle": "none"}
    return [
        Line2D([], [], label="input", **star),
        Line2D([], [], color="black", linewidth=2.6, label="boundary"),
        Line2D([], [], label="where the plane puts it", **PLANE),
        Line2D([], [], label="tangent step", marker="o", markerfacecolor="white", **STEP),
        Line2D([], [], label="nonlinear path", **PATH),
    ]


def _relief(score, extent, dtype: torch.dtype, level: float):
    """Places across and up, and the scores there less the level."""
    left, right, bottom, top = extent
    across, up = (torch.linspace(low, high, 121, dtype=dtype) for low, high in ((left, right), (bottom, top)))
    heights = scores_at(score, torch.cartesian_prod(up, across).flip(1)).reshape(len(up), len(across))
    return across, up, heights - level


def _draw_ground(axes, relief, linear: Explanation, step: Tensor, extent, names: Sequence[str]) -> None:
    """The landscape with its boundary, the tangent plane's, and the tangent step."""
    limit = np.abs(relief[2]).max()
    axes.contourf(*relief, levels=np.linspace(-limit, limit, 16), cmap=COLOUR_MAPS["landscape"])
    axes.contour(*relief, levels=[0], colors="black", linewidths=2.6)
    slope = linear.mean_gradient[0].detach().double().cpu()
    if slope.norm() > 0:
        end = step[-1]
        axes.axline(end.tolist(), (end + torch.stack([-slope[1], slope[0]])).tolist(), **PLANE)
        axes.plot(*step.T, path_effects=halo(3.5), **STEP)
        axes.plot(*end, **RING)
    left, right, bottom, top = extent
    axes.set(xlim=(left, right), ylim=(bottom, top), xlabel=names[0], ylabel=names[1], aspect="equal")


def _draw_scores(axes, lines: Mapping[str, Tensor], scores: Mapping, shown: Tensor, level: float) -> None:
    """The score along both, that along the path as far as it is shown; the title says where they are."""
    step, path = (path_lengths(lines[name]).numpy() for name in ("step", "path"))
    so_far, now = path[shown.numpy()], scores["path"][shown.numpy()]
    axes.axhline(level, color="black", linewidth=2.6)
    axes.plot(step[[0, -1]], [scores["step"][0], level], **PLANE)
    axes.plot(step, scores["step"], **STEP)
    axes.plot(step[-1], scores["step"][-1], **RING)
    axes.plot(so_far, now, **PATH)
    axes.plot(so_far[-1], now[-1], "o", color=PATH["color"], zorder=6)
    every = np.concatenate([scores["step"], scores["path"], [level]])
    margin = 0.08 * (every.max() - every.min())
    axes.set(
        xlim=(0, 1.06 * max(step[-1], path[-1]) or 1.0), ylim=(every.min() - margin, every.max() + margin)
    )
    axes.set(xlabel="distance from the input", ylabel="score")
    at = [number_text(value, decimals=True) for value in (scores["step"][-1], now[-1])]
    axes.set_title(f"score after the step: {at[0]}\nscore on the path: {at[1]}")
    axes.grid(True)
