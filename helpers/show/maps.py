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

from helpers.checks import require_count
from helpers.measure.maps import pool
from helpers.show.style import COLOUR_MAPS, STRONG, STYLE, framed, percent_text, styled, wrapped

LARGE, SMALL = 14, 12
SCALES = ("map", "row", "column", "common")
# The greyed image keeps to these lightnesses: below, red and blue would not be told apart on it.
PALE = (0.45, 1.0)
# What an overlay's colour bar shows as the image.
MIDDLE = 0.5 * sum(PALE)
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
    if scale not in ("common", "row", "map"):
        raise ValueError(f'scale: expected "common", "row" or "map"; got {scale!r}.')
    if not 0 < percentile <= 100:
        raise ValueError(f"percentile: expected a number in (0, 100]; got {percentile!r}.")

    if not signed:
        planes = [[None if m is None else np.abs(m) for m in row] for row in planes]
    if scale == "common":
        limit = colour_limit([m for row in planes for m in row if m is not None], percentile)
    else:
        for row in planes:
            drawn = [m for m in row if m is not None]
            whole = colour_limit(drawn, percentile) if drawn and scale == "row" else None
            row[:] = [None if m is None else m / (whole or colour_limit([m], percentile)) for m in row]
        limit = 1.0
    norm = Normalize(-limit if signed else 0.0, limit)
    first = 0 if images is None else 1
    heading = 0.45 if column_labels or title else 0.15
    figure = Figure(figsize=(size * (columns + first) + 1.1, size * rows + heading))
    grid = figure.subplots(rows, columns + first, squeeze=False)
    mesh = None
    for i, row in enumerate(planes):
        image = None if images is None else as_picture(images[i])
        panels = [*([image] if first else []), *row]
        for j, (axes, panel) in enumerate(zip(grid[i], panels, strict=True)):
            framed(axes)
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
                    mark_negative(axes, panel, limit, extent, size)
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
        extend=bar_ends(percentile, signed),
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


def colour_limit(planes: list[np.ndarray], percentile: float) -> float:
    """The percentile of the magnitudes; 1 for maps that are 0 everywhere."""
    sizes = np.abs(np.concatenate([m.reshape(-1) for m in planes]))
    # A sparse map's percentile can be 0 although the map is not: then the largest value.
    return float(np.percentile(sizes, percentile)) or float(sizes.max()) or 1.0


def bar_ends(percentile: float, signed: bool) -> str:
    if percentile == 100:
        return "neither"
    return "both" if signed else "max"


def mark_negative(axes, panel: np.ndarray, limit: float, extent, inches: float) -> None:
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
        over: whether the maps lie over the image, as in `overlay`; False: they stand for themselves.
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
    if not names or not rows:
        raise ValueError(
            f"maps, classes: expected at least one method and one class; got {len(names)}, {rows}."
        )
    shared = image is None or torch.is_tensor(image) and image.ndim < 4
    images = None if image is None else [as_picture(picture) for picture in ([image] if shared else image)]
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
    planes = [[as_plane(f"maps[{name!r}]", maps[name][i]) for name in names] for i in range(rows)]
    # What the panels' coordinates count: the image's pixels, or those of the largest map.
    shape = images[0].shape[:2] if images else max((p.shape for row in planes for p in row), key=np.prod)
    planes, limit, colour_label = _scaled(_pooled(planes, square, signed), scale, percentile, label)
    colour_label += _square_of(square)

    first = 0 if images is None else 1
    span = first and shared and rows > 1
    ratio = height_to_width(shape)
    widths = [*([1.6 if span else 1.0] if first else []), *[1.0] * len(names)]
    heading = max(len(wrapped(name).splitlines()) for name in names) * 0.24 + (0.35 if title else 0.1)
    under = [_cost_text((costs or {}).get(name)) for name in names]
    footer = max(len(text.splitlines()) for text in under) * 0.22 if costs else 0.0
    figure = Figure(figsize=(size * sum(widths) + 2.6, rows * size * ratio + heading + footer + 0.1))
    grid = figure.add_gridspec(rows, len(widths), width_ratios=widths)
    if span:
        draw_image(figure.add_subplot(grid[:, 0]), images[0], "image")
    norm = Normalize(-limit if signed else 0.0, limit)
    for i, row in enumerate(planes):
        picture = None if images is None else images[0 if shared else i]
        frames = []
        if first and not span:
            frames.append(figure.add_subplot(grid[i, 0]))
            draw_image(frames[0], picture, "image" if i == 0 else "")
            if outlines is not None and outlines[i] is not None:
                _box(frames[0], torch.as_tensor(outlines[i]).cpu(), *shape)
        for j, plane in enumerate(row):
            axes = figure.add_subplot(grid[i, first + j])
            frames.append(axes)
            draw_map(axes, plane, norm, signed, shape, picture if over else None, size)
            if i == 0:
                axes.set_title(wrapped(names[j]), fontsize=LARGE)
            if i == rows - 1 and under[j]:
                axes.set_xlabel(under[j], fontsize=SMALL)
            if outlines is not None and outlines[i] is not None:
                _box(axes, torch.as_tensor(outlines[i]).cpu(), *shape)
        frames[0].set_ylabel(labels[i], fontsize=LARGE, rotation=0, ha="right", va="center", labelpad=8)
    colour_bar(figure, norm, signed, over, colour_label, percentile, rows)
    if title:
        figure.suptitle(title, fontsize=LARGE + 1)
    return figure


@styled
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
    picture = as_picture(image)
    planes = [[as_plane(f"maps[{name!r}]", saliency) for name, saliency in named.items()]]
    (row,), limit, colour_label = _scaled(_pooled(planes, square, signed), scale, percentile, label)
    colour_label += _square_of(square)
    norm = Normalize(-limit if signed else 0.0, limit)
    ratio = height_to_width(picture.shape)
    figure = Figure(figsize=(size * (1 + len(row)) + 1.3, size * ratio + (0.75 if title else 0.45)))
    axes = figure.subplots(1, 1 + len(row))
    draw_image(axes[0], picture, "image")
    for place, name, plane in zip(axes[1:], named, row, strict=True):
        draw_map(place, plane, norm, signed, picture.shape[:2], picture, size)
        place.set_title(wrapped(name, 24), fontsize=LARGE)
    colour_bar(figure, norm, signed, True, colour_label, percentile, 1)
    if title:
        figure.suptitle(title, fontsize=LARGE + 1)
    return figure


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
            colour_limit([p for row in planes for p in row], percentile),
            label + percentile_text(percentile),
        )
    columns = list(zip(*planes, strict=True))
    groups = {
        "map": lambda i, j: [planes[i][j]],
        "row": lambda i, j: planes[i],
        "column": lambda i, j: list(columns[j]),
    }[scale]
    scaled = [
        [p / colour_limit(groups(i, j), percentile) for j, p in enumerate(row)]
        for i, row in enumerate(planes)
    ]
    end = "largest value" if percentile == 100 else f"{percentile:g}th percentile"
    owner = {"map": "the map's", "row": "the row's", "column": "the method's"}[scale]
    return scaled, 1.0, f"{label}\n/ {owner} {end}"


def percentile_text(percentile: float) -> str:
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


def draw_image(axes, picture: np.ndarray, title: str) -> None:
    framed(axes)
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


def draw_map(axes, plane: np.ndarray, norm, signed: bool, shape, picture, inches: float) -> None:
    """One map, stretched over a panel of so many pixels, and over the greyed picture if there is one."""
    framed(axes)
    height, width = shape
    extent = (-0.5, width - 0.5, height - 0.5, -0.5)
    # A map with more pixels than the panel has dots is averaged; one with fewer keeps its squares.
    how = "auto" if max(plane.shape) > inches * STYLE["savefig.dpi"] else "nearest"
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
        mark_negative(axes, coarse, norm.vmax, extent, inches)


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


def colour_bar(figure, norm, signed, over, label, percentile, rows, axes=None) -> None:
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
