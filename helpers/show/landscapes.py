"""Functions of two features: level sets, and the paths upon them."""

import itertools
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from helpers.show.style import COLOUR_MAPS, COLOURS, REFERENCE_MARK, STYLE, halo, line_style, styled

STAR = {"marker": "*", "color": "black", "markeredgecolor": "white", "zorder": 7}
BANDS = 16
# Width of the level line where a picture has one panel, and where it has several.
SINGLE, SEVERAL = 2.6, 2.0


@styled
def level_sets(
    function: Callable[[Tensor], Tensor],
    extent: tuple[float, float, float, float],
    start: Tensor,
    paths: Mapping[str, Tensor],
    level: float,
    names: Sequence[str] = ("x1", "x2"),
    score_name: str = "score",
    tangent: bool = True,
    resolution: int = 161,
    title: str = "",
) -> Figure:
    """A score over two features, its level line, the tangent plane's, and the paths that lead there.

    Args:
        function: scores (n,) or (n, 1) of inputs (n, 2), differentiable at the start.
        extent: left, right, bottom, top, in the units of the features.
        start: the input, (2,) or (1, 2).
        paths: name -> points (T, 2) from the start on, for example ``explanation.path_points[:, 0]``.
        level: the score to reach.
        names: of the two features.
        score_name: for the colour bar, with its unit.
        tangent: whether to draw the tangent plane's level line and its step; where the gradient is 0 there is
            none, and the legend says so.
        resolution: points along each axis at which the score is evaluated.

    Returns:
        One axes and a colour bar; white is the level, which is also drawn as a thick black line.

    Raises:
        ValueError: a start or path of another shape, or scores that are not one a point.

    Example:
        >>> import torch
        >>> circle = lambda x: x.square().sum(1) - 1
        >>> way = torch.tensor([[1.2, 1.6], [0.9, 1.2]])
        >>> figure = level_sets(circle, (-2, 2, -2, 2), way[0], {"flow": way}, level=0.0, resolution=21)
        >>> [text.get_text() for text in figure.legends[0].get_texts()]
        ['input', 'level 0', "tangent plane's level", 'tangent step', 'flow']
    """
    start = torch.as_tensor(start).detach()
    if start.numel() != 2:
        raise ValueError(f"start: expected shape (2,) or (1, 2); got {tuple(start.shape)}.")
    start = start.reshape(2)
    ways = {name: torch.as_tensor(way).detach().cpu() for name, way in paths.items()}
    for name, way in ways.items():
        if way.ndim != 2 or way.shape[1] != 2:
            raise ValueError(f"paths: expected points (T, 2) for {name!r}; got {tuple(way.shape)}.")
    window = _window(extent, resolution, start)
    height = _heights(function, *window) - level
    figure = Figure(figsize=(6.4, 4.6))
    axes = figure.subplots()
    mesh = _draw_relief(axes, *window, height, _limit(height), SINGLE, fine=True)
    figure.colorbar(mesh, ax=axes, label=f"{score_name} minus level", ticks=MaxNLocator(7))
    handles = [_input_handle()]
    if _crosses(height):
        handles.append(Line2D([], [], color="black", linewidth=SINGLE, label=f"level {level:.3g}"))
    else:
        handles.append(Line2D([], [], color="none", label=f"level {level:.3g}: not in this window"))
    if tangent:
        handles += _draw_tangent(axes, function, start, level, extent)
    for k, (name, way) in enumerate(ways.items()):
        if _draw_way(axes, way, line_style(k), width=2.4, glow=4.5, markersize=7):
            handles.append(Line2D([], [], **line_style(k), linewidth=2.4, label=name))
        else:
            handles.append(Line2D([], [], color="none", label=f"{name}: does not move"))
    axes.plot(*start.cpu(), **STAR, markersize=15)
    left, right, bottom, top = extent
    # On one scale, steepest steps are seen to be perpendicular to the level lines.
    axes.set_aspect("equal" if 0.5 <= (top - bottom) / (right - left) <= 2 else "auto")
    axes.set(xlim=(left, right), ylim=(bottom, top), xlabel=names[0], ylabel=names[1], title=title)
    # Below the axes: inside, it would hide the very place where plane and function part.
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
    return figure


@styled
def level_panels(
    functions: Mapping[str, Callable[[Tensor], Tensor]],
    levels: Mapping[str, float],
    paths: Mapping[str, Mapping[str, Tensor]],
    extent: tuple[float, float, float, float],
    names: Sequence[str] = ("x1", "x2"),
    score_name: str = "score",
    reference: Tensor | None = None,
    resolution: int = 121,
    size: float = 2.5,
) -> Figure:
    """Scores over two features side by side on one colour scale, each with its level line and paths.

    Args:
        functions: name of the panel -> scores (n,) or (n, 1) of inputs (n, 2).
        levels: the same names -> the score to reach.
        paths: the same names -> label -> points (T, 2) from an input on, or several such ways (W, T, 2). Each
            way's first point gets a star. A label has one style in all panels.
        extent: left, right, bottom, top, in the units of the features.
        names: of the two features.
        score_name: for the colour bar, with its unit.
        reference: drawn as a square, (2,) or (1, 2); None: none.
        resolution: points along each axis at which the scores are evaluated.
        size: width of a panel, in inches.

    Returns:
        One axes a panel and a colour bar; white is the level, which is also drawn as a thick black line.

    Raises:
        ValueError: no panel, names that differ, ways of another shape, or scores that are not one a point.

    Example:
        >>> import torch
        >>> circle = lambda x: x.square().sum(1) - 1
        >>> way = torch.tensor([[1.2, 1.6], [0.9, 1.2]])
        >>> functions = {"circle": circle, "square": lambda x: x.abs().amax(1) - 1}
        >>> levels, paths = dict.fromkeys(functions, 0.0), dict.fromkeys(functions, {"flow": way})
        >>> figure = level_panels(functions, levels, paths, (-2, 2, -2, 2), resolution=21)
        >>> [axes.get_title() for axes in figure.axes[:2]]
        ['circle', 'square']
    """
    if not functions or not set(functions) == set(levels) == set(paths):
        raise ValueError(
            f"functions, levels, paths: expected the same names, at least one; got {list(functions)}, "
            f"{list(levels)}, {list(paths)}."
        )
    left, right, bottom, top = extent
    window = _window(extent, resolution, torch.empty((), dtype=torch.float64))
    heights = {name: _heights(function, *window) - levels[name] for name, function in functions.items()}
    limit = _limit(*heights.values())
    labels = dict.fromkeys(label for ways in paths.values() for label in ways)
    styles = {label: line_style(k) for k, label in enumerate(labels)}
    tall = size * min((top - bottom) / (right - left), 2.0)
    figure = Figure(figsize=(size * len(functions) + 1.3, tall + 1.1))
    row = figure.subplots(1, len(functions), sharex=True, sharey=True, squeeze=False)[0]
    if reference is not None:
        reference = torch.as_tensor(reference).detach().cpu().reshape(2)
    for axes, (name, height) in zip(row, heights.items(), strict=True):
        mesh = _draw_relief(axes, *window, height, limit, SEVERAL)
        for label, ways in paths[name].items():
            _draw_ways(axes, name, label, ways, styles[label])
        if reference is not None:
            axes.plot(*reference, gid="reference", **REFERENCE_MARK)
        axes.set(xlim=(left, right), ylim=(bottom, top), xlabel=names[0], title=name, aspect="equal")
    row[0].set_ylabel(names[1])
    bar = {"fraction": 0.04, "pad": 0.02, "aspect": 16}
    figure.colorbar(mesh, ax=row, label=f"{score_name} minus level", ticks=MaxNLocator(5), **bar)
    handles = [
        _input_handle(),
        *([] if reference is None else [Line2D([], [], label="reference", **REFERENCE_MARK)]),
        Line2D([], [], color="black", linewidth=SEVERAL, label="level"),
        *(Line2D([], [], label=label, **style) for label, style in styles.items()),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
    return figure


def draw_landscape(
    axes, function: Callable[[Tensor], Tensor], extent, level: float, paths: Mapping[str, Tensor]
) -> None:
    """A score over two features on axes of a figure that has more: its level line and paths, a colour each.

    Args:
        function, extent, level: as in `level_sets`.
        paths: colour -> points (T, 2) from the input on.

    Example:
        >>> import torch
        >>> axes = Figure().subplots()
        >>> way = torch.tensor([[1.2, 1.6], [0.6, 0.8]])
        >>> draw_landscape(axes, lambda x: x.square().sum(1) - 1, (-2, 2, -2, 2), 0.0, {"red": way})
        >>> axes.lines[0].get_color()
        'red'
    """
    window = _window(extent, 81, next(iter(paths.values())))
    height = _heights(function, *window) - level
    _draw_relief(axes, *window, height, _limit(height), SEVERAL)
    for colour, way in paths.items():
        way = way.detach().cpu()
        _draw_way(axes, way, {"color": colour, "linestyle": "-", "marker": "o"}, 2.0, 3.5, 6)
        axes.plot(*way[0], **STAR, markersize=13)
    axes.set(xlim=extent[:2], ylim=extent[2:])


@styled
def score_along(
    function: Callable[[Tensor], Tensor],
    paths: Mapping[str, Tensor],
    level: float | None = None,
    score_name: str = "score",
    against: str = "length",
    between: int = 8,
    title: str = "",
) -> Figure:
    """The score along each path, beside what the tangent plane at the input predicts for the same points.

    Args:
        function: scores (n,) or (n, 1) of points (n, ...), differentiable at the start.
        paths: name -> points (T, ...) from the input on, the same input for all, for example
            ``explanation.path_points[:, 0]``. The score is evaluated on the chords between them too.
        level: the score to reach, drawn as a line; None: none.
        score_name: label of the vertical axis, with its unit.
        against: "length": Euclidean length along the path, in the input's units; "share": of the whole
            length.
        between: points evaluated on each chord.

    Returns:
        One axes a path, side by side, on one scale: solid the score, dashed the tangent's prediction.

    Raises:
        ValueError: no path, a path without two points, paths with other starts, or another `against`.

    Example:
        >>> import torch
        >>> circle = lambda x: x.square().sum(1) - 1
        >>> way = torch.tensor([[1.2, 1.6], [0.9, 1.2]])
        >>> (axes,) = score_along(circle, {"flow": way}, level=0.0).axes
        >>> {line.get_label(): round(float(line.get_ydata()[-1]), 2) for line in axes.lines[:2]}
        {'score': 1.25, 'tangent predicts': 1.0}
    """
    if against not in ("length", "share"):
        raise ValueError(f'against: expected "length" or "share"; got {against!r}.')
    if not paths:
        raise ValueError("paths: expected at least one path; got none.")
    ways = {name: torch.as_tensor(way).detach() for name, way in paths.items()}
    for name, way in ways.items():
        if way.ndim < 2 or len(way) < 2:
            raise ValueError(
                f"paths: expected points (T, ...), at least two, for {name!r}; got {tuple(way.shape)}."
            )
    start = next(iter(ways.values()))[0]
    value, gradient = slope_at(function, start)
    figure = Figure(figsize=(max(3.6, 3.2 * len(ways)), 3.2))
    row = figure.subplots(1, len(ways), sharey=True, squeeze=False)[0]
    for axes, (name, way), colour in zip(row, ways.items(), itertools.cycle(COLOURS), strict=False):
        if way.shape[1:] != start.shape or not torch.allclose(way[0], start):
            raise ValueError(f"paths: expected every path to begin at the same input; {name!r} does not.")
        points = refined(way, between)
        length = path_lengths(points)
        if against == "share":
            length = length / length[-1].clamp_min(torch.finfo(length.dtype).tiny)
        predicted = value + ((points - start) * gradient).flatten(1).sum(1)
        axes.plot(length.cpu(), scores_at(function, points), color=colour, label="score")
        axes.plot(length.cpu(), predicted.cpu(), color="black", linestyle="--", label="tangent predicts")
        if level is not None:
            axes.axhline(level, color="0.5", linewidth=1.2, linestyle=":", label=f"level {level:.3g}")
        axes.set(title=name, xlabel="length of the path" if against == "length" else "share of the path")
        axes.grid(True)
    row[0].set_ylabel(score_name)
    row[0].legend()
    if title:
        figure.suptitle(title, fontsize=STYLE["axes.titlesize"])
    return figure


def scores_at(function: Callable[[Tensor], Tensor], points: Tensor) -> np.ndarray:
    """Scores (n,) in float64, without a gradient."""
    with torch.no_grad():
        scores = function(points)
    if scores.numel() != len(points):
        raise ValueError(
            f"function: expected one score a point, shape ({len(points)},) or ({len(points)}, 1); got "
            f"{tuple(scores.shape)}."
        )
    return scores.detach().double().reshape(-1).cpu().numpy()


def slope_at(function: Callable[[Tensor], Tensor], start: Tensor) -> tuple[Tensor, Tensor]:
    """Score and gradient at one point (...)."""
    point = start.detach()[None].requires_grad_()
    value = function(point).sum()
    if not value.requires_grad:  # a constant
        return value, torch.zeros_like(start)
    (gradient,) = torch.autograd.grad(value, point, allow_unused=True)
    return value.detach(), torch.zeros_like(start) if gradient is None else gradient[0]


def refined(way: Tensor, between: int) -> Tensor:
    """The points (T, ...) and, evenly spaced on each chord, more between them; chords of length 0 are left out."""
    moved = (way[1:] != way[:-1]).flatten(1).any(1)
    starts, ends = way[:-1][moved], way[1:][moved]
    share = torch.arange(between + 1, dtype=way.dtype, device=way.device) / (between + 1)
    share = share.reshape(1, -1, *[1] * (way.ndim - 1))
    points = (starts[:, None] + share * (ends - starts)[:, None]).flatten(0, 1)
    return torch.cat([points, way[-1:]])


def path_lengths(way: Tensor) -> Tensor:
    """Euclidean length from the first point to each of the points (T, ...), (T,)."""
    return torch.cat([way.new_zeros(1), (way[1:] - way[:-1]).flatten(1).norm(dim=1)]).cumsum(0)


def _window(extent, resolution: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Coordinates across and upwards, (resolution,) each, of the type of `like`."""
    left, right, bottom, top = extent
    options = {"dtype": like.dtype, "device": like.device}
    return torch.linspace(left, right, resolution, **options), torch.linspace(
        bottom, top, resolution, **options
    )


def _heights(function: Callable[[Tensor], Tensor], across: Tensor, up: Tensor) -> np.ndarray:
    """Scores on the grid, (up, across)."""
    return scores_at(function, torch.cartesian_prod(up, across).flip(1)).reshape(len(up), len(across))


def _limit(*heights: np.ndarray) -> float:
    return max(*(float(np.abs(height).max()) for height in heights), np.finfo(float).tiny)


def _crosses(height: np.ndarray) -> bool:
    """Whether the level is within the window."""
    return height.min() < 0 < height.max()


def _draw_relief(axes, across, up, height: np.ndarray, limit: float, width: float, fine: bool = False):
    """Heights in bands of colour, white at 0, and the level line if it is in the window; returns the bands."""
    across, up = across.cpu(), up.cpu()
    # Bands, not a smooth picture: they can be counted in grey, and the PNG stays small.
    bands = np.linspace(-limit, limit, BANDS)
    look = {"cmap": COLOUR_MAPS["landscape"], "norm": Normalize(-limit, limit)}
    mesh = axes.contourf(across, up, height, levels=bands, **look)
    if fine:
        thin = axes.contour(across, up, height, levels=bands, colors="0.45", linewidths=0.4, linestyles="-")
        thin.set_gid("score lines")
    if _crosses(height):
        line = axes.contour(across, up, height, levels=[0], colors="black", linewidths=width, linestyles="-")
        line.set_gid("level line")
    return mesh


def _input_handle() -> Line2D:
    return Line2D([], [], color="black", marker="*", markersize=11, linestyle="none", label="input")


def _draw_way(axes, way: Tensor, style: dict, width: float, glow: float, markersize: float, gid=None) -> bool:
    """A way (T, 2) with a marker at its end; False, and nothing drawn, if it does not move."""
    if (way == way[0]).all():
        return False
    line = {"color": style["color"], "linestyle": style["linestyle"], "path_effects": halo(glow)}
    axes.plot(*way.T, linewidth=width, gid=gid, **line)
    end = {"color": style["color"], "marker": style["marker"], "markeredgecolor": "white"}
    axes.plot(*way[-1], markersize=markersize, zorder=6.5, **end)
    return True


def _draw_ways(axes, panel: str, label: str, ways: Tensor, style: dict) -> None:
    """Ways (T, 2) or (W, T, 2), each with a star at its start."""
    ways = torch.as_tensor(ways).detach().cpu()
    ways = ways[None] if ways.ndim == 2 else ways
    if ways.ndim != 3 or ways.shape[2] != 2:
        raise ValueError(
            f"paths: expected points (T, 2) or (W, T, 2) for {label!r} in {panel!r}; got {tuple(ways.shape)}."
        )
    for way in ways:
        _draw_way(axes, way, style, width=1.8, glow=3.5, markersize=6, gid=label)
        axes.plot(*way[0], **STAR, markersize=13 if len(ways) == 1 else 8)


def _draw_tangent(axes, function, start: Tensor, level: float, extent) -> list[Line2D]:
    """The tangent plane's level line (dashed) and the shortest step to it; returns handles for the legend."""
    value, gradient = slope_at(function, start)
    squared = float(gradient.square().sum())
    if squared == 0:
        return [Line2D([], [], color="none", label="gradient 0: no tangent step")]
    end = start + (level - value) * gradient / squared
    along = torch.stack([-gradient[1], gradient[0]])
    plane = {"color": "0.15", "linestyle": "--", "linewidth": 1.6}
    step = {"color": "0.15", "linestyle": ":", "linewidth": 1.8}
    axes.axline(end.tolist(), (end + along).tolist(), gid="tangent level line", **plane)
    axes.plot(*torch.stack([start, end]).cpu().T, gid="tangent step", path_effects=halo(3.5), **step)
    ring = {"marker": "o", "color": "white", "markeredgecolor": "0.15", "markeredgewidth": 1.6}
    axes.plot(*end.cpu(), markersize=12, zorder=6, **ring)
    left, right, bottom, top = extent
    inside = left <= end[0] <= right and bottom <= end[1] <= top
    named = f"tangent step{'' if inside else ' (ends outside)'}"
    return [
        Line2D([], [], label="tangent plane's level", **plane),
        Line2D([], [], marker="o", markerfacecolor="white", label=named, **step),
    ]
