"""Saliency maps: in a grid, beside their image, on a comparison sheet."""

import math
import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from torch import Tensor

from helpers.checks import require_above_0, require_count
from helpers.measure.maps import pool
from helpers.show.style import COLOUR_MAPS, STRONG, STYLE, framed, percent_text, styled, wrapped

LARGE, SMALL = 14, 12
# What each map is divided by before it is drawn.
SCALES = {"map": "the map's", "row": "the row's", "column": "the method's", "common": ""}
# The greyed image keeps to these lightnesses: on a darker one red and blue look alike.
PALE = (0.45, 1.0)
# What the colour bar shows as the image where maps lie over one.
MIDDLE = 0.5 * sum(PALE)
# Squares on the longer side of a map that is too fine for a minus on every pixel.
MARKS = 16


@styled
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
        scale: what a map is divided by before it is drawn: "map": its own limit (where, whatever the unit);
            "row", "column": that of its row, its method; "common": one for all, for maps of one unit. The
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
    planes = [[None if m is None else as_plane("maps", m) for m in row] for row in maps]
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
    planes, limit, label = _scaled(planes, signed, scale, percentile, label)
    norm = Normalize(-limit if signed else 0.0, limit)
    cmap = COLOUR_MAPS["signed" if signed else "magnitude"]
    first = 0 if images is None else 1
    heading = 0.45 if column_labels or title else 0.15
    figure = Figure(figsize=(size * (columns + first) + 1.1, size * rows + heading))
    grid = figure.subplots(rows, columns + first, squeeze=False)
    for i, row in enumerate(planes):
        picture = as_picture(images[i]) if first else None
        if first:
            draw_image(grid[i][0], picture, interpolation="nearest")
        for axes, plane in zip(grid[i][first:], row, strict=True):
            if plane is None:
                framed(axes)
                axes.axis("off")
                continue
            extent = draw_pixels(axes, plane, (picture if first else plane).shape, cmap=cmap, norm=norm)
            if signed:
                mark_negative(axes, plane, limit, extent, size)
        if outlines is not None and outlines[i] is not None:
            _outline([axes for axes in grid[i] if axes.images], outlines[i])
        if row_labels is not None:
            grid[i][0].set_ylabel(row_labels[i])
            grid[i][0].axis("on")
    for axes, name in zip(grid[0], [*["image"][:first], *(column_labels or [""] * columns)], strict=True):
        axes.set_title(name)
    bar = {"fraction": 0.04, "pad": 0.02, "aspect": 14 + 6 * (rows - 1)}
    mappable, ends = ScalarMappable(norm, cmap), bar_ends(percentile, signed)
    figure.colorbar(mappable, ax=grid, label=label, extend=ends, **bar).ax.locator_params(nbins=5)
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


@styled
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
        costs: method -> text or `measure.cost.Cost`; methods that are missing get none. A `Cost` with finite
            work gets it as a second line, in forward passes of one image.
        image: one for all rows, (H, W), (1, H, W) or (3, H, W), values in [0, 1], drawn once, at the left; or
            one a row; None: no image.
        over: whether the maps lie over the greyed image: the larger the magnitude the less shines through.
            False: they stand for themselves.
        signed: True: diverging colours, symmetric about 0. False: magnitudes |map| from 0.
        scale: what a map is divided by before it is drawn: "map": its own limit (where, whatever the unit);
            "row", "column": that of its row, its method; "common": one for all, for maps of one unit. The
            colour bar says so.
        percentile: of |map|, which is the limit; a few large values do not blind the rest.
        square: side in pixels of the squares over which maps are averaged before all else, as in
            `helpers.measure.grids.grid_pointing`; single pixels of a photograph cannot be seen on a sheet anyway,
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
    shared = image is None or torch.is_tensor(image) and image.ndim < 4
    images = None if image is None else [as_picture(picture) for picture in ([image] if shared else image)]
    one_a_class = {"probabilities": probabilities, "image": None if shared else images, "outlines": outlines}
    _require_sheet(maps, rows, costs or {}, one_a_class)
    if over and images is None:
        raise ValueError("over: expected an image to lay the maps over; got none.")
    labels = _row_labels(classes, probabilities)
    planes = [[as_plane(f"maps[{name!r}]", maps[name][i]) for name in names] for i in range(rows)]
    # What the panels' coordinates count: the image's pixels, or those of the largest map.
    shape = images[0].shape[:2] if images else max((p.shape for row in planes for p in row), key=np.prod)
    planes, limit, label = _scaled(_pooled(planes, square), signed, scale, percentile, label)
    norm = Normalize(-limit if signed else 0.0, limit)

    under = [_cost_text((costs or {}).get(name)) for name in names]
    figure, frames = _sheet_frames(
        rows, names, under, 0 if images is None else 1 if shared else rows, size, shape, title
    )
    if len(frames) > rows:
        draw_image(frames.pop(0)[0], images[0], "image")
    for i, (panels, row) in enumerate(zip(frames, planes, strict=True)):
        picture = None if images is None else images[0 if shared else i]
        if len(panels) > len(row):
            draw_image(panels[0], picture, "image" if i == 0 else "")
        for axes, plane in zip(panels[-len(row) :], row, strict=True):
            draw_map(axes, plane, norm, signed, shape, picture if over else None, size)
        if outlines is not None and outlines[i] is not None:
            _outline(panels, outlines[i])
        panels[0].set_ylabel(labels[i], fontsize=LARGE, rotation=0, ha="right", va="center", labelpad=8)
    for j, (name, cost) in enumerate(zip(names, under, strict=True), start=-len(names)):
        frames[0][j].set_title(wrapped(name), fontsize=LARGE)
        frames[-1][j].set_xlabel(cost, fontsize=SMALL)
    colour_bar(figure, norm, signed, over, label + _square_of(square), percentile, rows)
    if title:
        figure.suptitle(title, fontsize=LARGE + 1)
    return figure


@styled
def maps_over_ink(
    image: Tensor,
    maps: Mapping[str, Tensor],
    signed: bool = False,
    unreached: Sequence[str] = (),
    notes: Mapping[str, str] | None = None,
    ends: tuple[str, str] = ("against", "for"),
    size: float = 1.75,
) -> Figure:
    """A digit, and its maps over its ink in pale grey, each on its own scale.

    Args:
        image: (H, W) or (1, H, W), values in [0, 1], ink 1.
        maps: name -> (h, w) or (C, h, w), the channels of which are summed.
        signed: False: red for what supports, and nothing below 0. True: blue for what speaks against as well.
        unreached: names of maps of paths that have not reached their level: drawn in grey, and said so.
        notes: name -> a short text below the map.
        ends: of the colour bar of signed maps, in words: what blue says, what red says.
        size: of a panel, in inches.

    Returns:
        An axes a panel, the digit's first, and one colour bar.

    Raises:
        ValueError: no maps, values that are not finite, an image outside [0, 1] or with colours.

    Example:
        >>> import torch
        >>> figure = maps_over_ink(torch.rand(28, 28), {"flow": torch.rand(28, 28)}, notes={"flow": "2 pixels"})
        >>> [axes.get_title() for axes in figure.axes[:2]], figure.axes[1].get_xlabel()
        (['digit', 'flow'], '2 pixels')
    """
    picture = as_picture(image)
    if picture.ndim == 3:
        raise ValueError(f"image: expected one channel; got {tuple(image.shape)}.")
    if not maps:
        raise ValueError("maps: expected at least one; got none.")
    planes = {name: as_plane(f"maps[{name!r}]", one) for name, one in maps.items()}
    ticks = {-1: ends[0], 0: "0", 1: ends[1]} if signed else {0: "0", 1: "largest"}
    norm = Normalize(-1 if signed else 0, 1)
    figure = Figure(figsize=(size * (len(planes) + 1) + 0.9, size + (0.75 if notes else 0.4)))
    row = figure.subplots(1, len(planes) + 1)
    draw_pixels(row[0], picture, picture.shape, cmap=COLOUR_MAPS["image"], norm=Normalize(0, 1))
    row[0].set_title("digit")
    for axes, (name, plane) in zip(row[1:], planes.items(), strict=True):
        limit, grey = colour_limit([plane], 99.5), name in unreached
        draw_over_ink(axes, picture, plane / limit, norm, on_white(signed, grey))
        axes.set_title(name, color="0.5" if grey else "black")
        axes.set_xlabel("not at its level" if grey else (notes or {}).get(name, ""))
    scale = ScalarMappable(norm, on_white(signed, False))
    bar = figure.colorbar(scale, ax=row, fraction=0.03, pad=0.01, aspect=10, shrink=0.7, ticks=list(ticks))
    bar.ax.set_yticklabels(list(ticks.values()))
    return figure


def draw_over_ink(axes, picture: np.ndarray, plane: np.ndarray, norm, cmap) -> None:
    """A map over a digit's ink in pale grey."""
    draw_pixels(axes, 1 - 0.25 * picture, picture.shape, cmap=COLOUR_MAPS["image"], norm=Normalize(0, 1))
    draw_pixels(axes, plane, picture.shape, cmap=cmap, norm=norm)


def on_white(signed: bool, grey: bool = False) -> ListedColormap:
    """Colours for a white page: transparent up to 0 (signed: at 0) and opaque at the limit."""
    share = np.linspace(-1 if signed else 0, 1, 257)
    colours = COLOUR_MAPS["signed"](np.where(share < 0, 0.1, 0.9))
    if grey:
        colours[:, :3] = 0.45
    colours[:, 3] = np.abs(share) ** 0.8
    return ListedColormap(colours)


def laid_over(image: Tensor, saliency: Tensor, limit: float, signed: bool = False) -> np.ndarray:
    """A map over its greyed image, as pixels: what `comparison_sheet` draws with `over`, without a figure.

    Args:
        image: (H, W), (1, H, W) or (3, H, W), values in [0, 1].
        saliency: (H, W), or (C, H, W), the channels of which are summed.
        limit: where the colours end, above 0: one for several maps makes them comparable.
        signed: False: what is above 0 glows. True: red for it, blue for what is below.

    Returns:
        uint8, (H, W, 3).

    Raises:
        ValueError: a map of another size, values that are not finite, an image outside [0, 1].

    Example:
        >>> import torch
        >>> laid_over(torch.zeros(1, 1), torch.zeros(1, 1), limit=1.0)  # nothing: the greyed image alone
        array([[[114, 114, 114]]], dtype=uint8)
    """
    picture, plane = as_picture(image), as_plane("saliency", saliency)
    if plane.shape != picture.shape[:2]:
        raise ValueError(f"saliency: expected {picture.shape[:2]}, as the image; got {plane.shape}.")
    require_above_0("limit", limit)
    share = (plane / limit).clip(-1, 1) * 0.5 + 0.5 if signed else (plane / limit).clip(0, 1)
    colours = _veil(signed)(share)
    veil = colours[..., 3:]
    return (255 * (colours[..., :3] * veil + _greyed(picture)[..., None] * (1 - veil))).astype(np.uint8)


def as_plane(name: str, saliency: Tensor) -> np.ndarray:
    """A map (H, W) as float64."""
    saliency = torch.as_tensor(saliency).detach().double().cpu()
    if saliency.ndim not in (2, 3):
        raise ValueError(
            f"{name}: expected maps of one example, shape (H, W) or (C, H, W); got {tuple(saliency.shape)}."
        )
    if not torch.isfinite(saliency).all():
        raise ValueError(f"{name}: expected finite values; got NaN or infinity.")
    return (saliency.sum(0) if saliency.ndim == 3 else saliency).numpy()


def as_picture(image: Tensor) -> np.ndarray:
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


def colour_limit(planes: Sequence[np.ndarray | None], percentile: float) -> float:
    """The percentile of the magnitudes; 1 for maps that are 0 everywhere."""
    sizes = np.abs(np.concatenate([m.reshape(-1) for m in planes if m is not None]))
    # A sparse map's percentile can be 0 although the map is not: then the largest value.
    return float(np.percentile(sizes, percentile)) or float(sizes.max()) or 1.0


def bar_ends(percentile: float, signed: bool) -> str:
    """At which ends of a colour bar there are values beyond it."""
    if percentile == 100:
        return "neither"
    return "both" if signed else "max"


def mark_negative(axes, panel: np.ndarray, limit: float, extent, inches: float) -> None:
    """A white minus on every pixel that is strongly negative, so that a grey print keeps the sign."""
    rows, columns = (panel < -STRONG * limit).nonzero()
    # Smaller than 5 dots the sign could not be read: then there is colour alone.
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


def percentile_text(percentile: float) -> str:
    """Where the colours end, as the last line of a colour bar's label; empty where they end at the largest."""
    return "" if percentile == 100 else f"\n(ends at {percentile:g}th percentile)"


def draw_pixels(axes, pixels: np.ndarray, shape: Sequence[int], **options) -> tuple[float, ...]:
    """An array stretched over a framed panel of (H, W) pixels, centres at whole numbers; returns the extent."""
    framed(axes)
    extent = (-0.5, shape[1] - 0.5, shape[0] - 0.5, -0.5)
    axes.imshow(pixels, extent=extent, **options)
    return extent


def draw_image(axes, picture: np.ndarray, title: str = "", interpolation: str = "auto") -> None:
    """An image of `as_picture` on a panel of its own."""
    look = {"cmap": COLOUR_MAPS["image"], "vmin": 0, "vmax": 1, "interpolation": interpolation}
    draw_pixels(axes, picture, picture.shape, **look)
    axes.set_title(title, fontsize=LARGE)


def draw_map(axes, plane: np.ndarray, norm, signed: bool, shape, picture, inches: float) -> None:
    """One map, stretched over a panel of (H, W) pixels, and over the greyed picture if there is one."""
    # A map with more pixels than the panel has dots is averaged; one with fewer keeps its squares.
    how = "auto" if max(plane.shape) > inches * STYLE["savefig.dpi"] else "nearest"
    cmap = COLOUR_MAPS["signed" if signed else "magnitude"]
    if picture is not None:
        draw_image(axes, _greyed(picture))
        cmap = _veil(signed)
    extent = draw_pixels(axes, plane, shape, cmap=cmap, norm=norm, interpolation=how)
    if signed:
        coarse = plane if max(plane.shape) <= 2 * MARKS else _coarse(plane)
        mark_negative(axes, coarse, norm.vmax, extent, inches)


def colour_bar(figure, norm, signed, over, label, percentile, rows, axes=None) -> None:
    """A colour bar beside the axes (None: all of them); rows: of panels; over: of maps over an image."""
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
        extend=bar_ends(percentile, signed),
    )
    bar.set_label(label, fontsize=SMALL)
    bar.ax.tick_params(labelsize=SMALL)
    bar.ax.locator_params(nbins=5)


def height_to_width(shape: Sequence[int]) -> float:
    """Height of a panel over its width; a very long image gets no very long panel."""
    return min(max(shape[0] / shape[1], 0.4), 2.5)


def _require_sheet(maps: Mapping, rows: int, costs: Mapping, one_a_class: Mapping) -> None:
    if not maps or not rows:
        raise ValueError(
            f"maps, classes: expected at least one method and one class; got {len(maps)}, {rows}."
        )
    for name, values in ({f"maps[{name!r}]": column for name, column in maps.items()} | one_a_class).items():
        if values is not None and len(values) != rows:
            raise ValueError(f"{name}: expected {rows}, one a class; got {len(values)}.")
    unknown = [name for name in costs if name not in maps]
    if unknown:
        raise ValueError(f"costs: expected methods of the maps ({', '.join(maps)}); got {unknown[0]!r}.")


def _sheet_frames(
    rows: int, names: Sequence[str], under: Sequence[str], images: int, size: float, shape, title
):
    """The figure of a comparison sheet and its axes, row by row, each row's image in front.

    An image that is one for several rows stands across them, and is a row of its own before the others.
    """
    across = images == 1 < rows
    widths = [*([1.6 if across else 1.0] if images else []), *[1.0] * len(names)]
    heading = max(len(wrapped(name).splitlines()) for name in names) * 0.24 + (0.35 if title else 0.1)
    footer = max(len(text.splitlines()) for text in under) * 0.22
    height = rows * size * height_to_width(shape) + heading + footer + 0.1
    figure = Figure(figsize=(size * sum(widths) + 2.6, height))
    grid = figure.add_gridspec(rows, len(widths), width_ratios=widths)
    frames = [[figure.add_subplot(grid[:, 0])]] if across else []
    columns = range(1 if across else 0, len(widths))
    return figure, frames + [[figure.add_subplot(grid[i, j]) for j in columns] for i in range(rows)]


def _pooled(planes: list[list[np.ndarray]], square: int) -> list[list[np.ndarray]]:
    """The maps averaged over squares, all but those that are smaller than the largest."""
    require_count("square", square)
    largest = max(p.size for row in planes for p in row)
    return [
        [pool(torch.as_tensor(p), square).numpy() if p.size == largest else p for p in row] for row in planes
    ]


def _scaled(
    planes: list[list[np.ndarray | None]], signed: bool, scale: str, percentile: float, label: str
) -> tuple[list[list[np.ndarray | None]], float, str]:
    """The maps divided as the scale says, the limit of the colours, and the colour bar's label."""
    if scale not in SCALES:
        raise ValueError(f"scale: expected one of {', '.join(SCALES)}; got {scale!r}.")
    if not 0 < percentile <= 100:
        raise ValueError(f"percentile: expected a number in (0, 100]; got {percentile!r}.")
    if not signed:
        planes = [[None if p is None else np.abs(p) for p in row] for row in planes]
    if scale == "common":
        limit = colour_limit([p for row in planes for p in row], percentile)
        return planes, limit, label + percentile_text(percentile)
    columns = list(zip(*planes, strict=True))
    group = {
        "map": lambda i, j: [planes[i][j]],
        "row": lambda i, j: planes[i],
        "column": lambda i, j: columns[j],
    }
    scaled = [
        [None if p is None else p / colour_limit(group[scale](i, j), percentile) for j, p in enumerate(row)]
        for i, row in enumerate(planes)
    ]
    end = "largest value" if percentile == 100 else f"{percentile:g}th percentile"
    return scaled, 1.0, f"{label}\n/ {SCALES[scale]} {end}"


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
    return [f"{name}\n{percent_text(p)}" for name, p in zip(names, values, strict=True)]


def _cost_text(cost) -> str:
    """A method's cost in short lines; empty where there is none."""
    if cost is None:
        return ""
    lines = [wrapped(part, 17) for part in str(cost).replace(" + ", "\n+ ").splitlines()]
    work = getattr(cost, "work", math.nan)
    if math.isfinite(work) and work > 0:
        lines.append(f"work: {work:.{3 if work >= 10 else 2}g} passes")
    return "\n".join(lines)


def _outline(panels: Sequence, mask: Tensor) -> None:
    """The bounding box of a mask (H, W) on each of the panels."""
    mask = torch.as_tensor(mask).cpu()
    for left, right, bottom, top in (axes.images[0].get_extent() for axes in panels):
        shape = int(bottom - top), int(right - left)
        if mask.shape != shape:
            raise ValueError(f"outlines: expected masks of shape {shape}; got {tuple(mask.shape)}.")
    down, right = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
    if not len(down):
        raise ValueError("outlines: expected masks with something inside; got an empty one.")
    corner = (float(right[0]) - 0.5, float(down[0]) - 0.5)
    size = float(right[-1] - right[0] + 1), float(down[-1] - down[0] + 1)
    look = {"fill": False, "edgecolor": "#E69F00", "linewidth": 2.5, "gid": "outline"}
    for axes in panels:
        edge = withStroke(linewidth=4, foreground="black")
        axes.add_patch(Rectangle(corner, *size, path_effects=[edge], **look))


def _coarse(plane: np.ndarray) -> np.ndarray:
    """Means over the squares of a grid with 16 on the longer side."""
    planes = torch.as_tensor(plane)[None, None]
    sizes = [max(1, round(MARKS * n / max(plane.shape))) for n in plane.shape]
    return torch.nn.functional.adaptive_avg_pool2d(planes, sizes)[0, 0].numpy()


def _greyed(picture: np.ndarray) -> np.ndarray:
    """The image under a map: pale grey, (H, W)."""
    grey = picture if picture.ndim == 2 else picture @ np.array([0.2126, 0.7152, 0.0722])
    return PALE[0] + (PALE[1] - PALE[0]) * grey


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
