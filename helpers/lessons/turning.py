"""Digits that turn into others: a frame of the film, and maps of several digits laid over them."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from torch import Tensor

from helpers.checks import require_above_0
from helpers.show.maps import as_picture, as_plane, colour_limit, draw_image, draw_pixels
from helpers.show.style import COLOUR_MAPS, COLOURS, styled, wrapped

LARGE = 12
PALE = 0.25  # how grey full ink is where a map lies over it
STRONGEST = 99.5  # percentile of the magnitudes at which a colour is full


@styled
def turning_frame(
    pictures: Mapping[str, Tensor],
    scores: Mapping[str, Mapping[str, float]],
    sides: tuple[str, str],
    reach: float,
) -> Figure:
    """One frame of a film: pictures side by side, and below each a bar for everyone who is asked about it.

    Args:
        pictures: what was done -> an image with values in [0, 1], (H, W) or (1, H, W).
        scores: what was done -> who is asked -> a score; 0 is the middle.
        sides: what a score below 0 means, and one above.
        reach: the largest score that has room, above 0; larger ones are cut.

    Raises:
        ValueError: no pictures, other names in scores, a reach that is not above 0.

    Example:
        >>> import torch
        >>> scores = {"by pixels": {"network": 2.0, "witness": -3.0}}
        >>> figure = turning_frame({"by pixels": torch.rand(28, 28)}, scores, ("4", "9"), reach=5.0)
        >>> [label.get_text() for label in figure.axes[1].get_yticklabels()]
        ['network', 'witness']
    """
    if not pictures or set(pictures) != set(scores):
        raise ValueError(f"scores: expected one entry for each of {list(pictures)}; got {list(scores)}.")
    require_above_0("reach", reach)
    figure = Figure(figsize=(2.6 * len(pictures), 3.5))
    grid = figure.subplots(2, len(pictures), squeeze=False, height_ratios=[2.4, 0.75])
    for above, below, (name, picture) in zip(*grid, pictures.items(), strict=True):
        draw_image(above, as_picture(picture), name, interpolation="nearest")
        above.title.set_fontsize(LARGE)
        said = {who: max(-reach, min(reach, float(score))) for who, score in scores[name].items()}
        colours = [COLOURS[1] if score > 0 else COLOURS[0] for score in said.values()]
        below.barh(list(said), list(said.values()), color=colours, height=0.7)
        below.axvline(0, color="black", linewidth=1.2)
        below.set(xlim=(-reach, reach), xticks=[-0.6 * reach, 0.6 * reach])
        below.set_xticklabels(sides, fontsize=LARGE)
        below.tick_params(axis="both", length=0)
        below.invert_yaxis()
        if below is not grid[1][0]:
            below.set_yticklabels([])
    return figure


@styled
def maps_in_rows(
    rows: Mapping[str, Sequence[tuple[Tensor, Tensor | None]]],
    heads: Sequence[str] = (),
    a_column: bool = False,
    ends: tuple[str, str] = ("against", "for"),
    size: float = 1.3,
) -> Figure:
    """Rows of digits, and of signed maps over their pale ink: red speaks for, blue against.

    Args:
        rows: name of the row -> (digit, map) a panel: digits (H, W) or (1, H, W), values in [0, 1]; maps (h, w) or
            (C, h, w), the channels of which are summed, or None: the digit itself, white on black.
        heads: titles of the columns; none: no titles.
        a_column: whether each column has a colour scale of its own, for methods with units of their own. False:
            one scale, for maps of one unit. A map with little in it stays pale.
        ends: of the colour bar, in words: what blue says, what red says.
        size: of a panel, in inches.

    Returns:
        An axes a panel, row by row, and the colour bar.

    Raises:
        ValueError: no map at all, rows of different lengths, heads that do not fit.

    Example:
        >>> import torch
        >>> digit = torch.rand(1, 28, 28)
        >>> figure = maps_in_rows({"four": [(digit, None)], "why four": [(digit, torch.randn(28, 28))]})
        >>> [axes.get_ylabel() for axes in figure.axes[:2]]
        ['four', 'why four']
    """
    columns = len(next(iter(rows.values()), ()))
    planes = [[None if m is None else as_plane(name, m) for _, m in panels] for name, panels in rows.items()]
    if any(len(panels) != columns for panels in planes) or (heads and len(heads) != columns):
        raise ValueError(
            f"rows, heads: expected {columns} of each row; got {[len(p) for p in planes]}, {len(heads)}."
        )
    drawn = [[panels[j] for panels in planes if panels[j] is not None] for j in range(columns)]
    if not any(drawn):
        raise ValueError("rows: expected at least one map; got none.")
    every = [plane for column in drawn for plane in column]
    limits = [colour_limit(column if a_column and column else every, STRONGEST) for column in drawn]
    figure = Figure(figsize=(size * columns + 2.4, (size + 0.06) * len(rows) + 0.15 + (0.25 if heads else 0)))
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for axes_row, panels, maps, name in zip(grid, rows.values(), planes, rows, strict=True):
        for axes, (digit, _), plane, limit in zip(axes_row, panels, maps, limits, strict=True):
            picture = as_picture(digit)
            ink = picture if plane is None else 1 - PALE * picture
            draw_pixels(axes, ink, picture.shape, cmap=COLOUR_MAPS["image"], norm=Normalize(0, 1))
            if plane is not None:
                draw_pixels(axes, plane / limit, picture.shape, cmap=VEIL, norm=Normalize(-1, 1))
        axes_row[0].set_ylabel(name, fontsize=LARGE, rotation=0, ha="right", va="center", labelpad=6)
    for axes, head in zip(grid[0], heads or [""] * columns, strict=True):
        axes.set_title(wrapped(head, 12), fontsize=10)
    bar = {"fraction": 0.02, "pad": 0.01, "aspect": 14, "shrink": 0.7, "ticks": [-1, 0, 1]}
    colours = figure.colorbar(ScalarMappable(Normalize(-1, 1), VEIL), ax=grid, **bar)
    colours.ax.set_yticklabels([ends[0], "0", ends[1]], fontsize=LARGE)
    return figure


def _veil() -> ListedColormap:
    """Colours for a white page: transparent at 0, opaque at both ends."""
    share = np.linspace(-1, 1, 257)
    colours = COLOUR_MAPS["signed"](np.where(share < 0, 0.1, 0.9))
    colours[:, 3] = np.abs(share) ** 0.8
    return ListedColormap(colours)


VEIL = _veil()
