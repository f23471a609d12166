"""What notebook 02 draws: the toys on one sheet, each along the straight path to its reference."""

from collections.abc import Mapping

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from helpers.show.landscapes import scores_at, slope_at
from helpers.show.style import COLOURS, REFERENCE_MARK, halo, styled
from helpers.zoo.toys import Toy

LARGE = 13
FINDS, FAILS = "#007A5A", "#B0400A"
MODEL = {"color": COLOURS[0], "linewidth": 2.6}
PLANE = {"color": "0.15", "linestyle": "--", "linewidth": 1.8}
LEVEL = {"color": "0.55", "linewidth": 1.2}
MISS = {"color": COLOURS[1], "linewidth": 3.0}


@styled
def sheet(toys: Mapping[str, Toy], finds: Mapping[str, bool], columns: int = 3, size: float = 2.5) -> Figure:
    """The score of each toy on the straight path to its reference, and what the tangent plane says there.

    Args:
        toys: by name, in the order of the panels.
        finds: the same names -> whether the tangent step finds the drivers.
        columns: panels in a row.
        size: width of a panel, in inches.

    Returns:
        An axes a toy: solid the toy, dashed the plane, a line at the level, the input as a star, the reference as a
        square; a bar joins the toy, where it reaches the level first, with the plane: the miss. A tick above where
        the drivers are found.

    Raises:
        ValueError: no toys, or other names.

    Example:
        >>> from helpers.zoo.toys import toys
        >>> two = {name: toys()[name] for name in ("ring", "AND")}
        >>> [axes.get_title() for axes in sheet(two, {"ring": True, "AND": False}).axes[:2]]
        ['✓ ring', '✗ AND']
    """
    if not toys or set(toys) != set(finds):
        raise ValueError(
            f"finds: expected one for each of the toys, {list(toys)}, at least one; got {list(finds)}."
        )
    rows = -(-len(toys) // columns)
    figure = Figure(figsize=(size * columns + 0.3, 0.82 * size * rows + 0.6))
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid[len(toys) :]:
        axes.axis("off")
    for axes, (name, toy) in zip(grid, toys.items(), strict=False):
        _draw(axes, toy)
        axes.set_title(f"{'✓' if finds[name] else '✗'} {name}", fontsize=LARGE)
        axes.title.set_color(FINDS if finds[name] else FAILS)
    handles = [
        Line2D([], [], color="black", marker="*", markersize=12, linestyle="none", label="input"),
        Line2D([], [], label="reference", **REFERENCE_MARK),
        Line2D([], [], label="level", **LEVEL),
        Line2D([], [], label="toy", **MODEL),
        Line2D([], [], label="plane", **PLANE),
        Line2D([], [], label="miss", **MISS),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=6, frameon=False, fontsize=LARGE - 1)
    return figure


def _draw(axes, toy: Toy) -> None:
    share = torch.linspace(0, 1, 401, dtype=toy.point.dtype)
    points = toy.point + share[:, None] * (toy.reference - toy.point)
    scores = scores_at(toy.function, points)
    value, slope = slope_at(toy.function, toy.point[0])
    plane = (value + (points - toy.point) @ slope).cpu().numpy()
    axes.axhline(toy.level, **LEVEL)
    axes.plot(share, plane, **PLANE)
    axes.plot(share, scores, **MODEL)
    reached = ((scores - toy.level) * np.sign(toy.level - scores[0]) >= -1e-12).nonzero()[0]
    if len(reached):
        at = reached[0]
        axes.plot([share[at]] * 2, [toy.level, plane[at]], path_effects=halo(5), zorder=4, gid="miss", **MISS)
    axes.plot(
        0, scores[0], "*", color="black", markeredgecolor="white", markersize=15, zorder=6, clip_on=False
    )
    axes.plot(1, scores[-1], zorder=6, clip_on=False, **REFERENCE_MARK)
    axes.set(xticks=[], xlim=(-0.02, 1.02))
    axes.locator_params(axis="y", nbins=4)
