"""Figures that put many maps, or one whole path, onto one sheet; in the style and by the rules of `helpers.plots`.

Every function returns a `Figure`, shown by ``plots.show(figure, alt)``. Text is larger than in `helpers.plots`:
a sheet is wide, and pages show it at half its size or less.

**Overlays.** The image turns grey and pale, and the map lies over it: red supports, blue opposes (or one scale of
magnitudes), and the smaller a value the more of the image shines through, so that 0 leaves the image alone. A
small minus stands where the mean over a square of a 16 x 16 grid is strongly negative, for grey prints.
"""

import math
import textwrap
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from torch import Tensor

from helpers import plots
from helpers.checks import require_count
from helpers.evaluation import pool
from helpers.nonlinear import Explanation
from helpers.plots import COLOUR_MAPS
from helpers.scores import LogOdds, Score, as_score

LARGE, SMALL = 14, 12
SCALES = ("map", "row", "column", "common")
# The greyed image keeps to these lightnesses: below, red and blue would not be told apart on it.
PALE = (0.45, 1.0)
# What an overlay's colour bar shows as the image.
MIDDLE = 0.5 * sum(PALE)
MARKS = 16


# ---- many maps ---------------------------------------------------------------------------------------------


@plots._styled
def comparison_sheet(
    maps: Mapping[str, Sequence[Tensor]],
    classes: Sequence[str],
    probabilities: Sequence[float] | Tensor | None = None,
    costs: Mapping[str, object] | None = None,
    image: Tensor | Sequence[Tensor] | None = None,
    over: bool = False,
    signed: bool = True,
    scale: str = "map",
    percentile: float = 99.5,
    square: int = 1,
    label: str = "support",
    outlines: Sequence[Tensor | None] | None = None,
    size: float = 1.9,
    title: str = "",
) -> Figure:
    """Rows of classes, columns of methods, one colour rule for all of them, and each method's cost below it.

    Args:
        maps: method -> one map a class, each (h, w) or (C, h, w), the channels of which are summed; for example
            what ``attribute`` returns for the image repeated once a class.
        classes: name of the class of each row.
        probabilities: the model's, one a row, in [0, 1]; None: not shown.
        costs: method -> text or `helpers.peers.Cost`; methods that are missing get none. A `Cost` with finite
            work gets it as a second line, in forward passes of one image.
        image: one for all rows, (H, W), (1, H, W) or (3, H, W), values in [0, 1], drawn once, at the left; or
            one a row; None: no image.
        over: whether the maps lie over the image, as in `overlay`; False: they stand for themselves.
        signed: True: diverging colours, symmetric about 0. False: magnitudes |map| from 0.
        scale: what a map is divided by before it is drawn: "map": its own limit (where, whatever the unit);
            "row", "column": that of its row, its method; "common": one for all, for maps of one unit. The
            colour bar says so.
        percentile: of |map|, which is the limit; a few large values do not blind the rest.
        square: side in pixels of the squares over which maps are averaged before all else, as in
            `helpers.evaluation.grid_pointing`; single pixels of a photograph cannot be seen on a sheet anyway,
            and make a large file. Maps that are smaller than the largest (a layer's) stay as they are.
        label: of the colour bar.
        outlines: one a row, a bool mask (H, W) the bounding box of which is outlined, or None.
        size: width of a panel, in inches.

    Returns:
        An axes a panel, row by row, the image's in front (once, or once a row), and one colour bar.

    Raises:
        ValueError: nothing to draw, numbers of rows that differ, values that are not finite or no
            probabilities, costs of unknown methods, images outside [0, 1], another scale or percentile.

    Example:
        >>> import torch
        >>> maps = {"flow": torch.rand(2, 8, 8), "Grad-CAM": torch.rand(2, 4, 4)}  # one map a class
        >>> options = {"probabilities": [0.75, 0.2], "costs": {"flow": "33 gradients"}}
        >>> figure = comparison_sheet(maps, ["tabby", "tiger cat"], **options)
        >>> [axes.get_ylabel().splitlines() for axes in figure.axes[::2][:2]]
        [['tabby', '75 %'], ['tiger cat', '20 %']]
    """
    names, rows = list(maps), len(classes)
    if not names or not rows:
        raise ValueError(
            f"maps, classes: expected at least one method and one class; got {len(names)}, {rows}."
        )
    shared = image is None or torch.is_tensor(image) and image.ndim < 4
    images = None if image is None else [plots._image(picture) for picture in ([image] if shared else image)]
    for name, got in (
        *((f"maps[{name!r}]", len(column)) for name, column in maps.items()),
        ("probabilities", rows if probabilities is None else len(probabilities)),
        ("image", rows if shared else len(images)),
        ("outlines", rows if outlines is None else len(outlines)),
    ):
        if got != rows:
            raise ValueError(f"{name}: expected {rows}, one a class; got {got}.")
    unknown = [name for name in costs or {} if name not in maps]
    if unknown:
        raise ValueError(f"costs: expected methods of the maps ({', '.join(names)}); got {unknown[0]!r}.")
    if over and images is None:
        raise ValueError("over: expected an image to lay the maps over; got none.")
    labels = _row_labels(classes, probabilities)
    planes = [[plots._plane(f"maps[{name!r}]", maps[name][i]) for name in names] for i in range(rows)]
    # What the panels' coordinates count: the image's pixels, or those of the largest map.
    shape = images[0].shape[:2] if images else max((p.shape for row in planes for p in row), key=np.prod)
    planes, limit, colour_label = _scaled(_pooled(planes, square, signed), scale, percentile, label)
    colour_label += _square_of(square)

    first = 0 if images is None else 1
    span = first and shared and rows > 1
    ratio = _ratio(shape)
    widths = [*([1.6 if span else 1.0] if first else []), *[1.0] * len(names)]
    heading = max(len(_wrapped(name).splitlines()) for name in names) * 0.24 + (0.35 if title else 0.1)
    under = [_cost_text((costs or {}).get(name)) for name in names]
    footer = max(len(text.splitlines()) for text in under) * 0.22 if costs else 0.0
    figure = Figure(figsize=(size * sum(widths) + 2.6, rows * size * ratio + heading + footer + 0.1))
    grid = figure.add_gridspec(rows, len(widths), width_ratios=widths)
    if span:
        _draw_image(figure.add_subplot(grid[:, 0]), images[0], "image")
    norm = Normalize(-limit if signed else 0.0, limit)
    for i, row in enumerate(planes):
        picture = None if images is None else images[0 if shared else i]
        frames = []
        if first and not span:
            frames.append(figure.add_subplot(grid[i, 0]))
            _draw_image(frames[0], picture, "image" if i == 0 else "")
            if outlines is not None and outlines[i] is not None:
                plots._box(frames[0], torch.as_tensor(outlines[i]).cpu(), *shape)
        for j, plane in enumerate(row):
            axes = figure.add_subplot(grid[i, first + j])
            frames.append(axes)
            _draw_map(axes, plane, norm, signed, shape, picture if over else None, size)
            if i == 0:
                axes.set_title(_wrapped(names[j]), fontsize=LARGE)
            if i == rows - 1 and under[j]:
                axes.set_xlabel(under[j], fontsize=SMALL)
            if outlines is not None and outlines[i] is not None:
                plots._box(axes, torch.as_tensor(outlines[i]).cpu(), *shape)
        frames[0].set_ylabel(labels[i], fontsize=LARGE, rotation=0, ha="right", va="center", labelpad=8)
    _colour_bar(figure, norm, signed, over, colour_label, percentile, rows)
    if title:
        figure.suptitle(title, fontsize=LARGE + 1)
    return figure


@plots._styled
def overlay(
    image: Tensor,
    maps: Tensor | Mapping[str, Tensor],
    signed: bool = True,
    scale: str = "map",
    percentile: float = 99.5,
    square: int = 1,
    label: str = "support",
    size: float = 3.0,
    title: str = "",
) -> Figure:
    """Maps over the greyed image: colour tells the sign, and the larger the magnitude the less shines through.

    Args:
        image: (H, W), (1, H, W) or (3, H, W), values in [0, 1]; drawn as it is at the left.
        maps: one map (h, w) or (C, h, w), the channels of which are summed, or name -> map. A map smaller than
            the image (a layer's) is stretched over it.
        signed: True: red supports, blue opposes. False: magnitudes |map|.
        scale: "map" or "common", as in `comparison_sheet`.
        percentile: of |map|, from which on the colour is opaque.
        square: as in `comparison_sheet`.
        label: of the colour bar.
        size: width of a panel, in inches.

    Returns:
        The image's axes, one a map, and a colour bar.

    Raises:
        ValueError: as `comparison_sheet`.

    Example:
        >>> import torch
        >>> figure = overlay(torch.rand(3, 8, 8), {"flow": torch.rand(8, 8), "Grad-CAM": torch.rand(4, 4)})
        >>> [axes.get_title() for axes in figure.axes[:3]]
        ['image', 'flow', 'Grad-CAM']
    """
    named = dict(maps) if isinstance(maps, Mapping) else {"": maps}
    if not named:
        raise ValueError("maps: expected at least one map; got none.")
    picture = plots._image(image)
    planes = [[plots._plane(f"maps[{name!r}]", saliency) for name, saliency in named.items()]]
    (row,), limit, colour_label = _scaled(_pooled(planes, square, signed), scale, percentile, label)
    colour_label += _square_of(square)
    norm = Normalize(-limit if signed else 0.0, limit)
    ratio = _ratio(picture.shape)
    figure = Figure(figsize=(size * (1 + len(row)) + 1.3, size * ratio + (0.75 if title else 0.45)))
    axes = figure.subplots(1, 1 + len(row))
    _draw_image(axes[0], picture, "image")
    for place, name, plane in zip(axes[1:], named, row, strict=True):
        _draw_map(place, plane, norm, signed, picture.shape[:2], picture, size)
        place.set_title(_wrapped(name, 24), fontsize=LARGE)
    _colour_bar(figure, norm, signed, True, colour_label, percentile, 1)
    if title:
        figure.suptitle(title, fontsize=LARGE + 1)
    return figure


# ---- one path ----------------------------------------------------------------------------------------------


@plots._styled
def film_strip(
    explanation: Explanation,
    example: int = 0,
    frames: int = 6,
    score_name: str = "score",
    function: Callable[[Tensor], Tensor] | None = None,
    to_image: Callable[[Tensor], Tensor] | None = None,
    changes: bool = True,
    end_name: str | None = None,
    percentile: float = 99.5,
    size: float = 1.8,
    title: str = "",
) -> Figure:
    """The input as it travels from the start to the level, the score under every frame.

    Args:
        explanation: of images with one or three channels, explained at the input, with ``trace=True``.
        example: which one of the batch.
        frames: how many, at even distances along the path, the first and the last point among them; fewer where
            the path has fewer points.
        score_name: with its unit.
        function: scores (n,) or (n, 1) of points (n, C, H, W), in place of the recorded ones. A straight path
            evaluates the score at its ends only; None: a dash stands where there is none.
        to_image: from points (T, C, H, W) to pixel values in [0, 1], for a model that takes other ones; None:
            as they are. Values beyond [0, 1] are cut, and the title says so.
        changes: whether a second row shows what has changed since the start, channels summed, on one scale.
        end_name: what stands above the last frame; None: whether the level has been reached.
        percentile: of the changes, at which the colours end.
        size: width of a frame, in inches.

    Returns:
        An axes a frame, below it one with the change (none below the first, which is the input), and, with
        changes, a colour bar.

    Raises:
        ValueError: no trace, an example that is not there, points that are no images, fewer than two frames.

    Example:
        >>> import torch
        >>> from helpers.nonlinear import NonlinearSaliency
        >>> from helpers.scores import Logit
        >>> model = lambda x: x.flatten(1).sum(1, keepdim=True)
        >>> inputs = torch.full((1, 1, 4, 4), 0.5)
        >>> run = NonlinearSaliency(model, Logit()).explain(inputs, level=4.0, trace=True)
        >>> [axes.get_xlabel() for axes in film_strip(run, frames=3, changes=False).axes]  # scores on the way
        ['8.00', '6.00', '4.00']
    """
    if explanation.path_points is None:
        raise ValueError("explanation: expected one with its path; call explain(..., trace=True).")
    points, scores = explanation.path_points, explanation.path_scores
    _require_example(explanation, example)
    if isinstance(frames, bool) or not isinstance(frames, int) or frames < 2:
        raise ValueError(f"frames: expected an integer of at least 2; got {frames!r}.")
    way = points[:, example].detach().cpu()
    if way.ndim != 4 or way.shape[1] not in (1, 3):
        raise ValueError(
            "explanation: expected the path of images with one or three channels, (T, N, C, H, W); got "
            f"{tuple(points.shape)}. A path at a layer is no film: explain at the input."
        )
    chosen = _evenly(way, frames)
    scores = (
        scores[chosen, example].detach().cpu()
        if function is None
        else plots._scores(function, points[chosen, example].detach())
    )
    way, scores = way[chosen], scores.tolist()
    pixels = (way if to_image is None else to_image(way)).detach().double()
    cut = bool((pixels.min() < -0.01) | (pixels.max() > 1.01))
    difference = [plots._plane("explanation", frame - way[0]) for frame in way]
    limit = plots._limit(difference, percentile)
    norm = Normalize(-limit, limit)

    rows = 2 if changes and len(way) > 1 else 1
    ratio = _ratio(way.shape[2:])
    width = size * len(way) + (1.3 if rows == 2 else 0.3)
    note = "values beyond [0, 1] are drawn as 0 or 1" if cut else ""
    # A narrow figure has no room for both on one line.
    heading = f"{title}\n({note})" if title and note else title or note
    lines = len(heading.splitlines())
    figure = Figure(figsize=(width, rows * size * ratio + 0.85 + 0.28 * lines))
    grid = figure.subplots(rows, len(way), squeeze=False)
    for k, (axes, picture, score) in enumerate(zip(grid[0], pixels.clamp(0, 1), scores, strict=True)):
        name = _frame_name(explanation, example, end_name, k, len(way))
        _draw_image(axes, plots._image(picture), name)
        axes.set_xlabel(_number(score), fontsize=LARGE)
    grid[0][0].set_ylabel(f"{score_name}:", fontsize=SMALL, rotation=0, ha="right", va="top")
    grid[0][0].yaxis.set_label_coords(-0.04, -0.045)
    if rows == 2:
        for k, (axes, plane) in enumerate(zip(grid[1], difference, strict=True)):
            if k == 0:
                axes.axis("off")
                axes.text(
                    1.0,
                    0.5,
                    "change\nso far",
                    fontsize=LARGE,
                    ha="right",
                    va="center",
                    transform=axes.transAxes,
                )
            else:
                _draw_map(axes, plane, norm, True, plane.shape, None, size)
        end = textwrap.fill(_end_of(percentile).strip(), 16)
        _colour_bar(figure, norm, True, False, f"change\n{end}".strip(), percentile, 1, grid[1])
    if heading:
        figure.suptitle(heading, fontsize=LARGE)
    return figure


def score_path(
    explanations: Explanation | Mapping[str, Explanation],
    model: Callable[[Tensor], Tensor],
    score: Score | Callable[[Tensor], Tensor] = LogOdds(),
    target: int | None = None,
    example: int = 0,
    score_name: str = "score",
    **options,
) -> Figure:
    """The score along recorded paths, beside what the tangent plane at the input predicts for their points.

    `helpers.plots.score_along` for runs with ``trace=True`` at the input; the dots are the points of the path.

    Args:
        explanations: one, or name -> explanation of the same input.
        model, score, target: those of the runs; of a run with noise the curve is the score without it.
        example: which one of the batch.
        score_name: label of the vertical axis, with its unit.
        options: against, between, title of `helpers.plots.score_along`.

    Returns:
        One axes a path, side by side, on one scale. The level is drawn where all runs aimed at the same.

    Raises:
        ValueError: no trace, an example that is not there; and what `helpers.plots.score_along` raises.

    Example:
        >>> import torch
        >>> from helpers.nonlinear import NonlinearSaliency
        >>> from helpers.scores import Logit
        >>> model = lambda x: x.flatten(1).sum(1, keepdim=True)
        >>> inputs = torch.full((1, 1, 4, 4), 0.5)
        >>> run = NonlinearSaliency(model, Logit()).explain(inputs, level=4.0, trace=True)
        >>> (axes,) = score_path({"flow": run}, model, Logit()).axes
        >>> axes.get_title(), axes.get_xlabel()
        ('flow', 'length of the path')
    """
    named = explanations if isinstance(explanations, Mapping) else {"": explanations}
    ways, levels = {}, []
    for name, explanation in named.items():
        if explanation.path_points is None:
            raise ValueError(
                f"explanations: expected runs with their path; call explain(..., trace=True) for {name!r}."
            )
        _require_example(explanation, example)
        ways[name] = explanation.path_points[:, example].detach()
        levels.append(float(explanation.level[example]))
    value = as_score(score)

    def function(points: Tensor) -> Tensor:
        return value(model(points)) if target is None else value(model(points), target)

    same = levels and np.allclose(levels, levels[0], rtol=1e-6, atol=1e-9)
    figure = plots.score_along(
        function, ways, level=levels[0] if same else None, score_name=score_name, **options
    )
    for axes, way in zip(figure.axes, ways.values(), strict=True):
        curve = axes.lines[0]
        length = plots._lengths(way)
        if options.get("against", "length") == "share":
            length = length / max(float(length[-1]), np.finfo(float).tiny)
        heights = np.interp(length.cpu(), curve.get_xdata(), curve.get_ydata())
        axes.plot(
            length.cpu(), heights, "o", color=curve.get_color(), markersize=4.5, gid="points of the path"
        )
    return figure


# ---- inside ------------------------------------------------------------------------------------------------


def _pooled(planes: list[list[np.ndarray]], square: int, signed: bool) -> list[list[np.ndarray]]:
    """The maps averaged over squares, all but the smaller ones, and their magnitudes if the sign does not count."""
    require_count("square", square)
    largest = max(p.size for row in planes for p in row)
    planes = [
        [pool(torch.as_tensor(p), square).numpy() if p.size == largest else p for p in row] for row in planes
    ]
    return planes if signed else [[np.abs(p) for p in row] for row in planes]


def _scaled(
    planes: list[list[np.ndarray]], scale: str, percentile: float, label: str
) -> tuple[list[list[np.ndarray]], float, str]:
    """The maps divided as the scale says, the limit of the colours, and the label that tells of both."""
    if scale not in SCALES:
        raise ValueError(f"scale: expected one of {', '.join(SCALES)}; got {scale!r}.")
    if not 0 < percentile <= 100:
        raise ValueError(f"percentile: expected a number in (0, 100]; got {percentile!r}.")
    if scale == "common":
        return (
            planes,
            plots._limit([p for row in planes for p in row], percentile),
            label + _end_of(percentile),
        )
    columns = list(zip(*planes, strict=True))
    groups = {
        "map": lambda i, j: [planes[i][j]],
        "row": lambda i, j: planes[i],
        "column": lambda i, j: list(columns[j]),
    }[scale]
    scaled = [
        [p / plots._limit(groups(i, j), percentile) for j, p in enumerate(row)]
        for i, row in enumerate(planes)
    ]
    end = "largest value" if percentile == 100 else f"{percentile:g}th percentile"
    owner = {"map": "the map's", "row": "the row's", "column": "the method's"}[scale]
    return scaled, 1.0, f"{label}\n/ {owner} {end}"


def _end_of(percentile: float) -> str:
    return "" if percentile == 100 else f"\n(ends at {percentile:g}th percentile)"


def _square_of(square: int) -> str:
    return "" if square == 1 else f"\n(mean over {square} px squares)"


def _row_labels(classes: Sequence[str], probabilities) -> list[str]:
    """Class, and under it its probability."""
    names = [textwrap.fill(str(name), 14) for name in classes]
    if probabilities is None:
        return names
    values = torch.as_tensor(probabilities).detach().double().reshape(-1).tolist()
    if not all(0 <= p <= 1 for p in values):  # also refuses NaN
        raise ValueError(f"probabilities: expected numbers in [0, 1]; got {values}.")
    return [f"{name}\n{_percent(p)}" for name, p in zip(names, values, strict=True)]


def _percent(probability: float) -> str:
    if 0 < probability < 0.001:
        return "< 0.1 %"
    return f"{100 * probability:.{0 if probability >= 0.0995 else 1}f} %"


def _number(value: float) -> str:
    """Three significant digits, whole numbers from 100 on, no minus before a zero, a dash for NaN."""
    if not math.isfinite(value):
        return "–" if math.isnan(value) else "infinite"
    text = f"{value:.0f}" if abs(value) >= 100 else f"{value:#.3g}" if abs(value) >= 0.01 else f"{value:.2f}"
    text = text.rstrip(".").replace("-", "−")
    return text.removeprefix("−") if not any(c in "123456789" for c in text) else text


def _wrapped(name: str, width: int = 14) -> str:
    return textwrap.fill(name, width, break_long_words=False)


def _cost_text(cost) -> str:
    """A method's cost in short lines; empty where there is none."""
    if cost is None:
        return ""
    lines = [_wrapped(part, 17) for part in str(cost).replace(" + ", "\n+ ").splitlines()]
    work = getattr(cost, "work", math.nan)
    if math.isfinite(work) and work > 0:
        lines.append(f"work: {work:.{3 if work >= 10 else 2}g} passes")
    return "\n".join(lines)


def _draw_image(axes, picture: np.ndarray, title: str) -> None:
    plots._framed(axes)
    height, width = picture.shape[:2]
    axes.imshow(
        picture,
        cmap=COLOUR_MAPS["image"],
        vmin=0,
        vmax=1,
        extent=(-0.5, width - 0.5, height - 0.5, -0.5),
        interpolation="auto",
    )
    axes.set_title(title, fontsize=LARGE)


def _draw_map(axes, plane: np.ndarray, norm, signed: bool, shape, picture, inches: float) -> None:
    """One map, stretched over a panel of so many pixels, and over the greyed picture if there is one."""
    plots._framed(axes)
    height, width = shape
    extent = (-0.5, width - 0.5, height - 0.5, -0.5)
    # A map with more pixels than the panel has dots is averaged; one with fewer keeps its squares.
    how = "auto" if max(plane.shape) > inches * plots.STYLE["savefig.dpi"] else "nearest"
    if picture is not None:
        grey = picture if picture.ndim == 2 else picture @ np.array([0.2126, 0.7152, 0.0722])
        pale = PALE[0] + (PALE[1] - PALE[0]) * grey
        axes.imshow(pale, cmap=COLOUR_MAPS["image"], vmin=0, vmax=1, extent=extent, interpolation="auto")
        axes.imshow(plane, cmap=_veil(signed), norm=norm, extent=extent, interpolation=how)
    else:
        axes.imshow(
            plane,
            cmap=COLOUR_MAPS["signed" if signed else "magnitude"],
            norm=norm,
            extent=extent,
            interpolation=how,
        )
    if signed:
        coarse = plane if max(plane.shape) <= 2 * MARKS else _coarse(plane)
        plots._mark_negative(axes, coarse, norm.vmax, extent, inches)


def _coarse(plane: np.ndarray) -> np.ndarray:
    """Means over the squares of a grid with 16 on the longer side."""
    planes = torch.as_tensor(plane)[None, None]
    sizes = [max(1, round(MARKS * n / max(plane.shape))) for n in plane.shape]
    return torch.nn.functional.adaptive_avg_pool2d(planes, sizes)[0, 0].numpy()


def _veil(signed: bool) -> ListedColormap:
    """Colours that are transparent at 0 and opaque at the limit."""
    if signed:
        share = np.linspace(-1, 1, 257)
        ends = COLOUR_MAPS["signed"](np.where(share < 0, 0.08, 0.92))
    else:
        share = np.linspace(0, 1, 257)
        # The dark end would blacken the image where there is little: it is left out.
        ends = COLOUR_MAPS["magnitude"](0.35 + 0.6 * share)
    ends[:, 3] = np.abs(share) ** 0.75 * 0.92
    return ListedColormap(ends, name="signed veil" if signed else "magnitude veil")


def _colour_bar(figure, norm, signed, over, label, percentile, rows, axes=None) -> None:
    cmap = COLOUR_MAPS["signed" if signed else "magnitude"]
    if over:
        # As it looks over a middle grey; a bar with transparency would show the page instead.
        colours = _veil(signed).colors
        cmap = ListedColormap(colours[:, :3] * colours[:, 3:] + MIDDLE * (1 - colours[:, 3:]))
    bar = figure.colorbar(
        ScalarMappable(norm, cmap),
        ax=figure.axes if axes is None else list(axes),
        fraction=0.03,
        pad=0.015,
        aspect=16 + 6 * (rows - 1),
        extend=plots._extend(percentile, signed),
    )
    bar.set_label(label, fontsize=SMALL)
    bar.ax.tick_params(labelsize=SMALL)
    bar.ax.locator_params(nbins=5)


def _ratio(shape: Sequence[int]) -> float:
    """Height of a panel over its width; a very long image gets no very long panel."""
    return min(max(shape[0] / shape[1], 0.4), 2.5)


def _evenly(way: Tensor, frames: int) -> list[int]:
    """Numbers of the points nearest to even distances along the path, ascending, none twice."""
    length = plots._lengths(way.double())
    if length[-1] == 0:
        return [0]
    # The last point that moves: an example that has arrived stays where it is.
    last = int((length < length[-1]).sum())
    wanted = torch.linspace(0, float(length[-1]), frames, dtype=length.dtype)[1:-1]
    inner = {int((length[: last + 1] - place).abs().argmin()) for place in wanted}
    return sorted({0, last} | inner)


def _frame_name(explanation: Explanation, example: int, end_name: str | None, k: int, count: int) -> str:
    if k == 0:
        return "input"
    if k < count - 1:
        return ""
    if end_name is not None:
        return _wrapped(end_name)
    return "end: level\nreached" if bool(explanation.converged[example]) else "end: level\nnot reached"


def _require_example(explanation: Explanation, example: int) -> None:
    count = explanation.path_points.shape[1]
    if isinstance(example, bool) or not isinstance(example, int) or not 0 <= example < count:
        raise ValueError(f"example: expected an integer in [0, {count}); got {example!r}.")
