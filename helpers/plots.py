"""The figures of the notebooks, in one style. Every function takes plain arguments and returns a `Figure`.

**Showing a figure.** The last line of a cell is ``show(figure, alt)``, and that makes exactly one PNG. The
figures are made without pyplot: no backend keeps them open, nothing is drawn a second time at the end of the
cell, ``plt.show()`` does not know them. `show` sends the PNG with the description `alt` in three places: as
metadata of the image (where IPython and Jupyter keep it; nbconvert's classic template writes it as the alt
attribute), as the text/plain alternative (terminals, diffs, readers that cannot show images), and in the PNG
itself. JupyterLab 4 and nbconvert's lab template show the image but pass no alt text on
(jupyter/enhancement-proposals issue 120), and an HTML img tag, which they would, is not shown everywhere: so
the prose around a figure must carry its message as well.

**Colours.** Signed maps: red supports, blue opposes, white is 0, and the scale is symmetric about 0;
lightness alone tells the magnitude, and a small minus marks what is strongly negative (below minus 0.4 of the
scale, on maps whose pixels are drawn large enough: about 32 across at the default size), so that a grey print
keeps the sign. Magnitudes: a perceptually uniform map. Lines and bars differ in dash, marker or hatch as well
as in colour (Okabe & Ito's palette).

A single map is a tensor (H, W), or (C, H, W), whose channels are summed; an image is (H, W), (1, H, W) or (3,
H, W) with values in [0, 1].
"""

import base64
import functools
import io
import itertools
from collections.abc import Callable, Mapping, Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
import torch
from IPython.display import display
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from helpers.evaluation import log_log_slope

COLOUR_MAPS = {
    "signed": mpl.colormaps["RdBu_r"],
    "magnitude": mpl.colormaps["magma"],
    "image": mpl.colormaps["gray"],
    # The middle of "signed": a background on which lines can be seen.
    "landscape": LinearSegmentedColormap.from_list(
        "landscape", mpl.colormaps["RdBu_r"](np.linspace(0.2, 0.8, 256))
    ),
}
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)), (0, (1, 1)))
HATCHES = ("", "///", "...", "xxx", "\\\\\\", "ooo", "++")
_REFERENCE = {
    "marker": "s",
    "color": "white",
    "markeredgecolor": "black",
    "markersize": 8,
    "linestyle": "none",
}
# Beyond this share of the colour scale a negative pixel carries a minus.
STRONG = 0.4
STYLE = {
    "figure.dpi": 100,
    "savefig.dpi": 100,
    "figure.constrained_layout.use": True,
    "figure.facecolor": "white",
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.labelsize": 10,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
    "legend.framealpha": 0.9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": False,
    "grid.color": "0.85",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.8,
    "hatch.linewidth": 0.6,
    "image.interpolation": "nearest",
}


def _styled(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """The same function, drawing in the style of this module and leaving the caller's as it was."""

    @functools.wraps(draw)
    def styled(*args, **kwargs) -> Figure:
        with mpl.rc_context(STYLE):
            return draw(*args, **kwargs)

    return styled


def line_style(number: int) -> dict:
    """Colour, dash and marker of a line, counted from 0, as keywords of matplotlib's `plot`.

    All three change from line to line, so that grey prints and every eye tell them apart; from the eighth on
    the colours come again, with other dashes.

    Example:
        >>> line_style(0)
        {'color': '#0072B2', 'linestyle': '-', 'marker': 'o'}
        >>> line_style(7)
        {'color': '#0072B2', 'linestyle': '--', 'marker': 'o'}
    """
    return {
        "color": COLOURS[number % len(COLOURS)],
        "linestyle": DASHES[(number + number // len(COLOURS)) % len(DASHES)],
        "marker": MARKERS[number % len(MARKERS)],
    }


# ---- showing -----------------------------------------------------------------------------------------------


def png(figure: Figure, alt: str = "") -> bytes:
    """The figure as a PNG; the same figure gives the same bytes.

    Args:
        alt: what the figure shows, in words; kept in the file as its description.

    Example:
        >>> from matplotlib.figure import Figure
        >>> png(Figure(), alt="an empty page")[1:4]
        b'PNG'
    """
    buffer = io.BytesIO()
    metadata = {"Software": None} | ({"Description": alt} if alt else {})
    with mpl.rc_context(STYLE):
        figure.savefig(buffer, format="png", metadata=metadata, pil_kwargs={"optimize": True})
    return buffer.getvalue()


def show(figure: Figure, alt: str) -> None:
    """Show the figure in the notebook as one PNG, with a description for those who cannot see it.

    Args:
        alt: what the figure shows, in words: axes, and what is to be seen; without numbers that may differ
            between machines, because nbval compares it.

    Raises:
        ValueError: no description.

    Example:
        >>> import io
        >>> from contextlib import redirect_stdout
        >>> from matplotlib.figure import Figure
        >>> with redirect_stdout(io.StringIO()) as shown:  # without a notebook the description is printed
        ...     show(Figure(), alt="an empty page")
        >>> "an empty page" in shown.getvalue()
        True
    """
    if not isinstance(alt, str) or not alt.strip():
        raise ValueError(f"alt: expected a description of the figure in words; got {alt!r}.")
    data = base64.b64encode(png(figure, alt)).decode()
    display(
        {"image/png": data, "text/plain": alt}, metadata={"image/png": {"alt": alt}}, raw=True, include=None
    )


# ---- two dimensions ----------------------------------------------------------------------------------------


@_styled
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
    """A score over two features, its level line, the tangent plane's, and the ways that lead there.

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
    left, right, bottom, top = extent
    across = torch.linspace(left, right, resolution, dtype=start.dtype, device=start.device)
    up = torch.linspace(bottom, top, resolution, dtype=start.dtype, device=start.device)
    points = torch.cartesian_prod(up, across).flip(1)
    height = _scores(function, points).reshape(resolution, resolution) - level
    across, up = across.cpu(), up.cpu()
    limit = max(float(np.abs(height).max()), np.finfo(float).tiny)

    figure = Figure(figsize=(6.4, 4.6))
    axes = figure.subplots()
    # Bands, not a smooth picture: they can be counted in grey, and the PNG stays small.
    bands = np.linspace(-limit, limit, 16)
    mesh = axes.contourf(
        across, up, height, levels=bands, cmap=COLOUR_MAPS["landscape"], norm=Normalize(-limit, limit)
    )
    figure.colorbar(mesh, ax=axes, label=f"{score_name} minus level", ticks=MaxNLocator(7))
    thin = axes.contour(across, up, height, levels=bands, colors="0.45", linewidths=0.4, linestyles="-")
    thin.set_gid("score lines")
    handles = []
    if height.min() < 0 < height.max():
        line = axes.contour(across, up, height, levels=[0], colors="black", linewidths=2.6, linestyles="-")
        line.set_gid("level line")
        handles.append(Line2D([], [], color="black", linewidth=2.6, label=f"level {level:.3g}"))
    else:
        handles.append(Line2D([], [], color="none", label=f"level {level:.3g}: not in this window"))
    if tangent:
        handles += _draw_tangent(axes, function, start, level, extent)
    for k, (name, way) in enumerate(paths.items()):
        style = line_style(k)
        colour, dash, marker = style["color"], style["linestyle"], style["marker"]
        way = torch.as_tensor(way).detach().cpu()
        if way.ndim != 2 or way.shape[1] != 2:
            raise ValueError(f"paths: expected points (T, 2) for {name!r}; got {tuple(way.shape)}.")
        moves = bool((way != way[0]).any())
        if moves:
            axes.plot(
                way[:, 0], way[:, 1], linestyle=dash, color=colour, linewidth=2.4, path_effects=_halo(4.5)
            )
            axes.plot(
                *way[-1], marker=marker, color=colour, markersize=7, markeredgecolor="white", zorder=6.5
            )
        shown = (
            {**style, "linewidth": 2.4, "label": name}
            if moves
            else {"color": "none", "label": f"{name}: does not move"}
        )
        handles.append(Line2D([], [], **shown))
    axes.plot(*start.cpu(), marker="*", color="black", markersize=15, markeredgecolor="white", zorder=7)
    handles.insert(
        0, Line2D([], [], color="black", marker="*", markersize=11, linestyle="none", label="input")
    )
    # On one scale, steepest steps are seen to be perpendicular to the level lines.
    axes.set_aspect("equal" if 0.5 <= (top - bottom) / (right - left) <= 2 else "auto")
    axes.set(xlim=(left, right), ylim=(bottom, top), xlabel=names[0], ylabel=names[1], title=title)
    # Below the axes: inside, it would hide the very place where plane and function part.
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
    return figure


@_styled
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
    across = torch.linspace(left, right, resolution, dtype=torch.float64)
    up = torch.linspace(bottom, top, resolution, dtype=torch.float64)
    points = torch.cartesian_prod(up, across).flip(1)
    heights = {
        name: _scores(function, points).reshape(resolution, resolution) - levels[name]
        for name, function in functions.items()
    }
    limit = max(max(float(np.abs(h).max()) for h in heights.values()), np.finfo(float).tiny)
    bands = np.linspace(-limit, limit, 16)
    labels = list(dict.fromkeys(label for ways in paths.values() for label in ways))
    styles = {label: line_style(k) for k, label in enumerate(labels)}
    tall = size * min((top - bottom) / (right - left), 2.0)
    figure = Figure(figsize=(size * len(functions) + 1.3, tall + 1.1))
    row = figure.subplots(1, len(functions), sharex=True, sharey=True, squeeze=False)[0]
    for axes, (name, height) in zip(row, heights.items(), strict=True):
        mesh = axes.contourf(
            across, up, height, levels=bands, cmap=COLOUR_MAPS["landscape"], norm=Normalize(-limit, limit)
        )
        if height.min() < 0 < height.max():
            line = axes.contour(across, up, height, levels=[0], colors="black", linewidths=2.0)
            line.set_gid("level line")
        for label, ways in paths[name].items():
            _draw_ways(axes, name, label, ways, styles[label])
        if reference is not None:
            axes.plot(*torch.as_tensor(reference).detach().cpu().reshape(2), gid="reference", **_REFERENCE)
        axes.set(xlim=(left, right), ylim=(bottom, top), xlabel=names[0], title=name, aspect="equal")
    row[0].set_ylabel(names[1])
    bar = {"fraction": 0.04, "pad": 0.02, "aspect": 16}
    figure.colorbar(mesh, ax=row, label=f"{score_name} minus level", ticks=MaxNLocator(5), **bar)
    handles = [
        Line2D([], [], color="black", marker="*", markersize=11, linestyle="none", label="input"),
        Line2D([], [], color="black", linewidth=2.0, label="level"),
        *(Line2D([], [], label=label, **style) for label, style in styles.items()),
    ]
    if reference is not None:
        handles.insert(1, Line2D([], [], label="reference", **_REFERENCE))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
    return figure


@_styled
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
    value, gradient = _slope(function, start)
    figure = Figure(figsize=(max(3.6, 3.2 * len(ways)), 3.2))
    row = figure.subplots(1, len(ways), sharey=True, squeeze=False)[0]
    for axes, (name, way), colour in zip(row, ways.items(), itertools.cycle(COLOURS), strict=False):
        if way.shape[1:] != start.shape or not torch.allclose(way[0], start):
            raise ValueError(f"paths: expected every path to begin at the same input; {name!r} does not.")
        points = _refined(way, between)
        length = torch.cat([way.new_zeros(1), (points[1:] - points[:-1]).flatten(1).norm(dim=1)]).cumsum(0)
        if against == "share":
            length = length / length[-1].clamp_min(torch.finfo(length.dtype).tiny)
        predicted = value + ((points - start) * gradient).flatten(1).sum(1)
        axes.plot(length.cpu(), _scores(function, points), color=colour, label="score")
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


# ---- maps --------------------------------------------------------------------------------------------------


@_styled
def map_grid(
    maps: Sequence[Sequence[Tensor | None]],
    row_labels: Sequence[str] | None = None,
    column_labels: Sequence[str] | None = None,
    images: Sequence[Tensor] | None = None,
    signed: bool = True,
    percentile: float = 100.0,
    scale: str = "common",
    label: str = "contribution",
    outlines: Sequence[Tensor | None] | None = None,
    size: float = 1.7,
    title: str = "",
) -> Figure:
    """Rows and columns of maps on one colour scale, with the image of each row in front.

    Args:
        maps: one sequence a row, of maps (h, w) or (C, h, w), the channels of which are summed; None leaves a
            gap. A map that is smaller than the row's image (a layer's) is stretched over it.
        row_labels, column_labels: one a row, one a column (that of the images is not counted).
        images: one a row, (H, W), (1, H, W) or (3, H, W), values in [0, 1]; None: no images.
        signed: True: diverging colours, symmetric about 0. False: the magnitude |map| on a scale from 0.
        percentile: of |map|, at which the colours end; below 100 a few large values do not blind the rest,
            and the colour bar says so.
        scale: "common": one limit for all maps, which must then have one unit; "row": each row's maps are
            divided by the row's limit; "map": each map is divided by its own, for maps of different units. The
            colour bar says so.
        label: of the colour bar, with its unit.
        outlines: one a row, a bool mask (H, W) of which the bounding box is outlined on the row's panels, or
            None.
        size: of a panel, in inches.

    Returns:
        An axes a panel, row by row, and one colour bar.

    Raises:
        ValueError: nothing to draw, rows or labels that do not fit, values that are not finite, images
            outside [0, 1], another scale or percentile.

    Example:
        >>> import torch
        >>> maps = [[torch.rand(4, 4), torch.rand(8, 8)], [torch.rand(4, 4), None]]
        >>> figure = map_grid(maps, row_labels=["3", "7"], column_labels=["flow", "tangent"])
        >>> len(figure.axes), [axes.get_title() for axes in figure.axes[:2]]  # four panels and a colour bar
        (5, ['flow', 'tangent'])
    """
    planes = [[None if m is None else _plane("maps", m) for m in row] for row in maps]
    rows, columns = len(planes), len(planes[0]) if planes else 0
    if not columns or not any(m is not None for row in planes for m in row):
        raise ValueError("maps: expected at least one row with at least one map; got none.")
    for name, got, expected in (
        ("maps", {len(row) for row in planes}, columns),
        ("row_labels", None if row_labels is None else {len(row_labels)}, rows),
        ("column_labels", None if column_labels is None else {len(column_labels)}, columns),
        ("images", None if images is None else {len(images)}, rows),
        ("outlines", None if outlines is None else {len(outlines)}, rows),
    ):
        if got not in (None, {expected}):
            raise ValueError(f"{name}: expected {expected} for {rows} x {columns} maps; got {sorted(got)}.")
    if scale not in ("common", "row", "map"):
        raise ValueError(f'scale: expected "common", "row" or "map"; got {scale!r}.')
    if not 0 < percentile <= 100:
        raise ValueError(f"percentile: expected a number in (0, 100]; got {percentile!r}.")

    if not signed:
        planes = [[None if m is None else np.abs(m) for m in row] for row in planes]
    if scale == "common":
        limit = _limit([m for row in planes for m in row if m is not None], percentile)
    else:
        for row in planes:
            drawn = [m for m in row if m is not None]
            whole = _limit(drawn, percentile) if drawn and scale == "row" else None
            row[:] = [None if m is None else m / (whole or _limit([m], percentile)) for m in row]
        limit = 1.0
    norm = Normalize(-limit if signed else 0.0, limit)
    first = 0 if images is None else 1
    heading = 0.45 if column_labels or title else 0.15
    figure = Figure(figsize=(size * (columns + first) + 1.1, size * rows + heading))
    grid = figure.subplots(rows, columns + first, squeeze=False)
    mesh = None
    for i, row in enumerate(planes):
        image = None if images is None else _image(images[i])
        panels = [*([image] if first else []), *row]
        for j, (axes, panel) in enumerate(zip(grid[i], panels, strict=True)):
            _framed(axes)
            if panel is None:
                axes.axis("off")
                continue
            # Pixel centres at whole numbers, as imshow has them; the image's pixels, if there is one.
            height, width = (panel if image is None else image).shape[:2]
            extent = (-0.5, width - 0.5, height - 0.5, -0.5)
            if first and j == 0:
                axes.imshow(panel, cmap=COLOUR_MAPS["image"], vmin=0, vmax=1, extent=extent)
            else:
                cmap = COLOUR_MAPS["signed" if signed else "magnitude"]
                mesh = axes.imshow(panel, cmap=cmap, norm=norm, extent=extent)
                if signed:
                    _mark_negative(axes, panel, limit, extent, size)
            if outlines is not None and outlines[i] is not None:
                _box(axes, outlines[i], height, width)
        if row_labels is not None:
            grid[i][0].set_ylabel(row_labels[i])
            grid[i][0].axis("on")
    for j, name in enumerate([*(["image"] if first else []), *(column_labels or [""] * columns)]):
        grid[0][j].set_title(name)
    end = "largest value" if percentile == 100 else f"{percentile:g}th percentile"
    if scale != "common":
        label = f"{label}\n/ the {scale}'s {end}"
    elif percentile < 100:
        label = f"{label}\n(ends at {end})"
    bar = figure.colorbar(
        mesh,
        ax=grid,
        fraction=0.04,
        pad=0.02,
        aspect=14 + 6 * (rows - 1),
        label=label,
        extend=_extend(percentile, signed),
    )
    bar.ax.locator_params(nbins=5)
    if title:
        figure.suptitle(title, fontsize=STYLE["axes.titlesize"])
    return figure


def maps_beside(image: Tensor, maps: Mapping[str, Tensor], size: float = 1.9, **options) -> Figure:
    """The image, and beside it its maps on one colour scale.

    Args:
        image: (H, W), (1, H, W) or (3, H, W), values in [0, 1].
        maps: name -> (h, w) or (C, h, w).
        size: of a panel, in inches.
        options: signed, percentile, scale, label and title of `map_grid`; outline: a bool mask (H, W).

    Raises:
        ValueError: as `map_grid`.

    Example:
        >>> import torch
        >>> figure = maps_beside(torch.rand(3, 8, 8), {"flow": torch.rand(4, 4)})
        >>> [axes.get_title() for axes in figure.axes[:2]]
        ['image', 'flow']
    """
    outline = options.pop("outline", None)
    return map_grid(
        [list(maps.values())],
        column_labels=list(maps),
        images=[image],
        outlines=None if outline is None else [outline],
        size=size,
        **options,
    )


# ---- numbers -----------------------------------------------------------------------------------------------


@_styled
def bars(
    values: Mapping[str, Tensor | Sequence[float]],
    feature_names: Sequence[str],
    largest: int | None = None,
    label: str = "contribution to the score",
    title: str = "",
) -> Figure:
    """Grouped horizontal bars: what each method gives to each feature.

    Args:
        values: name of the method -> (n,) or (1, n), one value a feature, all in one unit.
        feature_names: n names.
        largest: draw only so many features, those with the largest magnitude under any method, largest first;
            None: all, in the given order.
        label: of the horizontal axis, with its unit.

    Raises:
        ValueError: no method, another number of values than names, or values that are not finite.

    Example:
        >>> values = {"flow": [0.1, -2.0, 0.5], "tangent": [1.0, 0.0, 0.0]}
        >>> (axes,) = bars(values, feature_names=["radius", "area", "texture"], largest=2).axes
        >>> [label.get_text() for label in axes.get_yticklabels()]
        ['area', 'radius']
    """
    if not values:
        raise ValueError("values: expected at least one method; got none.")
    heights = {
        name: torch.as_tensor(v).detach().double().cpu().reshape(-1).numpy() for name, v in values.items()
    }
    for name, height in heights.items():
        if height.shape != (len(feature_names),) or not np.isfinite(height).all():
            raise ValueError(
                f"values: expected {len(feature_names)} finite values, one a feature name, for {name!r}; got "
                f"shape {height.shape}."
            )
    order = np.arange(len(feature_names))
    if largest is not None:
        size = np.max([np.abs(h) for h in heights.values()], axis=0)
        order = np.argsort(-size, kind="stable")[:largest]
    figure = Figure(figsize=(6.4, 0.9 + len(order) * (0.12 + 0.16 * len(heights))))
    axes = figure.subplots()
    thickness = 0.8 / len(heights)
    for k, ((name, height), colour, hatch) in enumerate(
        zip(heights.items(), itertools.cycle(COLOURS), itertools.cycle(HATCHES), strict=False)
    ):
        place = np.arange(len(order)) + (k - (len(heights) - 1) / 2) * thickness
        axes.barh(
            place,
            height[order],
            thickness,
            color=colour,
            hatch=hatch,
            edgecolor="white",
            linewidth=0,
            label=name,
        )
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(range(len(order)), [feature_names[i] for i in order])
    axes.invert_yaxis()
    axes.set(xlabel=label, title=title)
    axes.grid(True, axis="x")
    if len(heights) > 1:
        figure.legend(loc="outside lower center", ncols=min(len(heights), 4), frameon=False)
    return figure


@_styled
def convergence(
    sizes: Sequence[float] | Tensor,
    errors: Mapping[str, Sequence[float] | Tensor],
    x_label: str = "|level - score at the input|",
    y_label: str = "error",
    title: str = "",
) -> Figure:
    """Errors against a size, both logarithmic, with the fitted slope of each curve in the legend.

    Args:
        sizes: (T,), positive.
        errors: name -> (T,), not negative. A zero has no place on a logarithmic axis: it is left out of curve
            and fit, and the legend says how many were.

    Raises:
        ValueError: lengths that differ, or values that are negative or not finite.

    Example:
        >>> errors = {"flow": [0.01, 0.04, 0.16], "tangent": [0.0, 0.0, 0.0]}
        >>> (legend,) = convergence([0.1, 0.2, 0.4], errors).legends
        >>> [text.get_text() for text in legend.get_texts()]
        ['flow: slope 2.00', 'tangent: exactly 0 everywhere']
    """
    x = np.asarray(torch.as_tensor(sizes).detach().double().cpu())
    figure = Figure(figsize=(5.4, 3.8))
    axes = figure.subplots()
    for k, (name, error) in enumerate(errors.items()):
        style = line_style(k)
        colour, dash, marker = style["color"], style["linestyle"], style["marker"]
        y = np.asarray(torch.as_tensor(error).detach().double().cpu())
        kept = y > 0 if y.shape == x.shape else np.ones(1, dtype=bool)
        if kept.any():
            slope = log_log_slope(x, y)
            dropped = f", {(~kept).sum()} exact" if not kept.all() else ""
            curve = f"{name}: slope {slope:.2f}{dropped}"
            axes.loglog(x[kept], y[kept], linestyle="none", marker=marker, color=colour)
            middle = np.exp(np.log(x[kept]).mean()), np.exp(np.log(y[kept]).mean())
            axes.loglog(
                x[kept],
                middle[1] * (x[kept] / middle[0]) ** slope,
                linestyle=dash,
                color=colour,
                linewidth=1.2,
            )
        else:
            curve = f"{name}: exactly 0 everywhere"
        axes.plot([], [], linestyle=dash if kept.any() else "none", marker=marker, color=colour, label=curve)
    axes.set(xlabel=x_label, ylabel=y_label, title=title)
    axes.grid(True)
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure


@_styled
def dots_with_intervals(
    table: pd.DataFrame,
    chance: float | None = 0.5,
    label: str = "rank AUC (chance 0.5)",
    title: str = "",
) -> Figure:
    """Means with their intervals, one line a method, one marker a part of the cases.

    Args:
        table: columns method, part, mean, low, high, as `helpers.evaluation.summarise` gives them.
        chance: where to draw the line of chance; None: none.
        label: of the horizontal axis.

    Raises:
        ValueError: columns that are missing, or an empty table.

    Example:
        >>> import pandas as pd
        >>> table = pd.DataFrame({"method": ["ours", "peer"], "part": "all classes", "mean": [0.9, 0.7]})
        >>> figure = dots_with_intervals(table.assign(low=table["mean"] - 0.05, high=table["mean"] + 0.05))
        >>> [label.get_text() for label in figure.axes[0].get_yticklabels()]
        ['ours', 'peer']
    """
    missing = [c for c in ("method", "part", "mean", "low", "high") if c not in table.columns]
    if missing or not len(table):
        raise ValueError(
            f"table: expected rows with the columns method, part, mean, low, high; got {len(table)} rows "
            f"with {', '.join(map(str, table.columns))}."
        )
    methods, parts = list(table["method"].unique()), list(table["part"].unique())
    figure = Figure(figsize=(6.8, 1.2 + len(methods) * (0.16 + 0.13 * len(parts))))
    axes = figure.subplots()
    for k, (part, colour, marker) in enumerate(
        zip(parts, itertools.cycle(COLOURS), itertools.cycle(MARKERS), strict=False)
    ):
        rows = table[table["part"] == part]
        place = [
            methods.index(name) + (k - (len(parts) - 1) / 2) * 0.6 / len(parts) for name in rows["method"]
        ]
        # a mean may leave an interval without width by a rounding
        below, above = (rows["mean"] - rows["low"]).clip(lower=0), (rows["high"] - rows["mean"]).clip(lower=0)
        axes.errorbar(
            rows["mean"],
            place,
            xerr=[below, above],
            fmt=marker,
            color=colour,
            markersize=6,
            capsize=3,
            linewidth=1.4,
            label=part,
        )
    if chance is not None:
        axes.axvline(chance, color="black", linestyle="--", linewidth=1.2, label="chance")
    axes.set_yticks(range(len(methods)), methods)
    axes.set_ylim(len(methods) - 0.5, -0.5)
    axes.set(xlabel=label, title=title)
    axes.grid(True, axis="x")
    figure.legend(loc="outside lower center", ncols=4, frameon=False)
    return figure


# ---- inside ------------------------------------------------------------------------------------------------


def _halo(width: float) -> list:
    return [withStroke(linewidth=width, foreground="white")]


def _scores(function: Callable[[Tensor], Tensor], points: Tensor) -> np.ndarray:
    """Scores (n,) in float64, without a gradient."""
    with torch.no_grad():
        scores = function(points)
    if scores.numel() != len(points):
        raise ValueError(
            f"function: expected one score a point, shape ({len(points)},) or ({len(points)}, 1); got "
            f"{tuple(scores.shape)}."
        )
    return scores.detach().double().reshape(-1).cpu().numpy()


def _slope(function: Callable[[Tensor], Tensor], start: Tensor) -> tuple[Tensor, Tensor]:
    """Score and gradient at one point (...)."""
    point = start.detach()[None].requires_grad_()
    value = function(point).sum()
    if not value.requires_grad:  # a constant
        return value, torch.zeros_like(start)
    (gradient,) = torch.autograd.grad(value, point, allow_unused=True)
    return value.detach(), torch.zeros_like(start) if gradient is None else gradient[0]


def _draw_ways(axes, panel: str, label: str, ways: Tensor, style: dict) -> None:
    """Ways (T, 2) or (W, T, 2) with a star at their start and a marker at their end; one that rests: no line."""
    ways = torch.as_tensor(ways).detach().cpu()
    ways = ways[None] if ways.ndim == 2 else ways
    if ways.ndim != 3 or ways.shape[2] != 2:
        raise ValueError(
            f"paths: expected points (T, 2) or (W, T, 2) for {label!r} in {panel!r}; got {tuple(ways.shape)}."
        )
    for way in ways:
        if (way != way[0]).any():
            line = {"color": style["color"], "linestyle": style["linestyle"], "path_effects": _halo(3.5)}
            axes.plot(way[:, 0], way[:, 1], gid=label, **line)
            axes.plot(
                *way[-1], color=style["color"], marker=style["marker"], markeredgecolor="white", zorder=6.5
            )
        size = 13 if len(ways) == 1 else 8
        axes.plot(*way[0], marker="*", color="black", markersize=size, markeredgecolor="white", zorder=7)


def _draw_tangent(axes, function, start: Tensor, level: float, extent) -> list[Line2D]:
    """The tangent plane's level line (dashed) and the shortest step to it; returns handles for the legend."""
    value, gradient = _slope(function, start)
    squared = float(gradient.square().sum())
    if squared == 0:
        return [Line2D([], [], color="none", label="gradient 0: no tangent step")]
    end = start + (level - value) * gradient / squared
    along = torch.stack([-gradient[1], gradient[0]])
    grey = "0.15"
    axes.axline(
        end.tolist(),
        (end + along).tolist(),
        color=grey,
        linestyle="--",
        linewidth=1.6,
        gid="tangent level line",
    )
    steps = torch.stack([start, end]).cpu()
    axes.plot(
        steps[:, 0],
        steps[:, 1],
        color=grey,
        linewidth=1.8,
        linestyle=":",
        gid="tangent step",
        path_effects=_halo(3.5),
    )
    axes.plot(
        *end.cpu(),
        marker="o",
        color="white",
        markeredgecolor=grey,
        markersize=12,
        markeredgewidth=1.6,
        zorder=6,
    )
    left, right, bottom, top = extent
    inside = left <= end[0] <= right and bottom <= end[1] <= top
    where = "" if inside else " (ends outside)"
    return [
        Line2D([], [], color=grey, linestyle="--", linewidth=1.6, label="tangent plane's level"),
        Line2D(
            [],
            [],
            color=grey,
            linestyle=":",
            marker="o",
            markerfacecolor="white",
            label=f"tangent step{where}",
        ),
    ]


def _refined(way: Tensor, between: int) -> Tensor:
    """The points (T, ...) with so many more evenly spaced on each chord; chords of length 0 are left out."""
    moved = (way[1:] != way[:-1]).flatten(1).any(1)
    starts, ends = way[:-1][moved], way[1:][moved]
    share = torch.arange(between + 1, dtype=way.dtype, device=way.device) / (between + 1)
    share = share.reshape(1, -1, *[1] * (way.ndim - 1))
    points = (starts[:, None] + share * (ends - starts)[:, None]).flatten(0, 1)
    return torch.cat([points, way[-1:]])


def _lengths(way: Tensor) -> Tensor:
    """Euclidean length from the first point to each of the points (T, ...), (T,)."""
    return torch.cat([way.new_zeros(1), (way[1:] - way[:-1]).flatten(1).norm(dim=1)]).cumsum(0)


def _framed(axes) -> None:
    """A panel of a picture: a thin grey frame all around, no ticks."""
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(True)
    axes.spines[:].set_color("0.6")


def _plane(name: str, saliency: Tensor) -> np.ndarray:
    """A map (H, W) as float64."""
    saliency = torch.as_tensor(saliency).detach().double().cpu()
    if saliency.ndim not in (2, 3):
        raise ValueError(
            f"{name}: expected maps of one example, shape (H, W) or (C, H, W); got {tuple(saliency.shape)}."
        )
    if not torch.isfinite(saliency).all():
        raise ValueError(f"{name}: expected finite values; got NaN or infinity.")
    return (saliency.sum(0) if saliency.ndim == 3 else saliency).numpy()


def _image(image: Tensor) -> np.ndarray:
    """An image as (H, W) or (H, W, 3) with values in [0, 1]."""
    image = torch.as_tensor(image).detach().double().cpu()
    if image.ndim == 2:
        image = image[None]
    if image.ndim != 3 or len(image) not in (1, 3):
        raise ValueError(f"image: expected shape (H, W), (1, H, W) or (3, H, W); got {tuple(image.shape)}.")
    # A little beyond is rounding (a resampled or de-normalised image); much is another range.
    if not (image.min() >= -0.01 and image.max() <= 1.01):
        raise ValueError(
            f"image: expected values in [0, 1]; got {image.min().item():g} to {image.max().item():g}. Undo "
            "the normalisation of the model's inputs first."
        )
    image = image.clamp(0, 1)
    return (image[0] if len(image) == 1 else image.permute(1, 2, 0)).numpy()


def _limit(planes: list[np.ndarray], percentile: float) -> float:
    """The percentile of the magnitudes; 1 for maps that are 0 everywhere."""
    sizes = np.abs(np.concatenate([m.reshape(-1) for m in planes]))
    # A sparse map's percentile can be 0 although the map is not: then the largest value.
    return float(np.percentile(sizes, percentile)) or float(sizes.max()) or 1.0


def _extend(percentile: float, signed: bool) -> str:
    if percentile == 100:
        return "neither"
    return "both" if signed else "max"


def _mark_negative(axes, panel: np.ndarray, limit: float, extent, inches: float) -> None:
    """A white minus on every pixel that is strongly negative, so that a grey print keeps the sign."""
    rows, columns = (panel < -STRONG * limit).nonzero()
    # Smaller than 5 dots the sign could not be read: then colour alone tells it.
    if not len(rows) or inches * STYLE["savefig.dpi"] / max(panel.shape) < 5:
        return
    across, down = (extent[1] - extent[0]) / panel.shape[1], (extent[2] - extent[3]) / panel.shape[0]
    points = 72 * inches / max(panel.shape)
    axes.scatter(
        extent[0] + (columns + 0.5) * across,
        extent[3] + (rows + 0.5) * down,
        s=(0.6 * points) ** 2,
        marker="_",
        color="white",
        linewidths=min(1.0, 0.2 * points),
        gid="negative",
    )


def _box(axes, mask: Tensor, height: int, width: int) -> None:
    """The bounding box of a mask (H, W)."""
    if mask.shape != (height, width):
        raise ValueError(f"outlines: expected masks of shape {(height, width)}; got {tuple(mask.shape)}.")
    down, right = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
    if not len(down):
        raise ValueError("outlines: expected masks with something inside; got an empty one.")
    corner = (float(right[0]) - 0.5, float(down[0]) - 0.5)
    size = float(right[-1] - right[0] + 1), float(down[-1] - down[0] + 1)
    axes.add_patch(
        Rectangle(
            corner,
            *size,
            fill=False,
            edgecolor="#E69F00",
            linewidth=2.5,
            gid="outline",
            path_effects=[withStroke(linewidth=4, foreground="black")],
        )
    )
