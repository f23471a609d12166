"""What notebook 03 shows: a path and its account in frames, and who finds the drivers of the toys."""

from collections.abc import Mapping

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from helpers.saliency import Explanation
from helpers.show.landscapes import scores_at
from helpers.show.style import COLOUR_MAPS, COLOURS, halo, number_text, styled
from helpers.zoo.toys import Toy

FLOW, TANGENT = COLOURS[0], "0.15"
STEP = {"color": TANGENT, "linestyle": ":", "linewidth": 2.0}
RING = {"marker": "o", "color": "white", "markeredgecolor": TANGENT, "markeredgewidth": 1.6, "zorder": 6}
BANDS = 16
SHADES = "Reds"


def account_frames(
    toy: Toy, tangent: Explanation, points: Tensor, accounts: Tensor, frames: int = 12
) -> list[Figure]:
    """A path to a toy's level and what each feature has brought so far, as frames of a film.

    Args:
        toy: with two features.
        tangent: the tangent's run from the toy's point; its contributions are drawn as hollow bars.
        points: of the path, (T, 2), from the toy's point on.
        accounts: contributions up to each of the points, (T, 2).
        frames: how many, the first and the last point among them; fewer where the path has fewer points.

    Returns:
        Figures of one size: the landscape with the path so far, and beside it a bar a feature, with its sign.

    Raises:
        ValueError: a toy without an extent to draw, or not one account a point.

    Example:
        >>> from helpers.saliency import Logit, NonlinearSaliency, Tangent
        >>> from helpers.zoo.toys import toys
        >>> toy = toys()["ring"]
        >>> run = NonlinearSaliency(toy.function, Logit(), path=Tangent()).explain(toy.point, level=toy.level)
        >>> points = torch.cat([toy.point, toy.point / 2])
        >>> [f.axes[1].get_title() for f in account_frames(toy, run, points, torch.tensor([[0, 0], [-1, -1]]))]
        ['score 1.65', 'score −0.34']
    """
    if not toy.extent:
        raise ValueError(f"toy: expected one with two features; {toy.name!r} has {toy.point.shape[1]}.")
    if points.shape != accounts.shape or points.ndim != 2:
        raise ValueError(
            f"accounts: expected one for each of the points, (T, 2); got {tuple(points.shape)} points and "
            f"{tuple(accounts.shape)}."
        )
    chosen = sorted({round(place) for place in np.linspace(0, len(points) - 1, frames)})
    relief = _relief(toy)
    return [_frame(toy, relief, tangent, points[: k + 1], accounts[k], accounts[-1]) for k in chosen]


def _relief(toy: Toy):
    left, right, bottom, top = toy.extent
    across, up = (torch.linspace(*ends, 121, dtype=torch.float64) for ends in ((left, right), (bottom, top)))
    heights = scores_at(toy.function, torch.cartesian_prod(up, across).flip(1))
    return across, up, heights.reshape(len(up), len(across)) - toy.level


@styled
def _frame(toy: Toy, relief, tangent: Explanation, way: Tensor, brought: Tensor, last: Tensor) -> Figure:
    figure = Figure(figsize=(7.2, 3.3))
    ground, bars = figure.subplots(1, 2, width_ratios=[1.2, 1.0])
    limit = np.abs(relief[2]).max()
    ground.contourf(*relief, levels=np.linspace(-limit, limit, BANDS), cmap=COLOUR_MAPS["landscape"])
    ground.contour(*relief, levels=[0], colors="black", linewidths=2.6)
    step = torch.cat([toy.point, tangent.endpoint])
    ground.plot(*step.T, path_effects=halo(3.5), **STEP)
    ground.plot(*step[1], markersize=11, **RING)
    ground.plot(*way.T, color=FLOW, linewidth=3, path_effects=halo(5))
    ground.plot(*way[-1], "o", color=FLOW, markeredgecolor="white", markersize=9, zorder=7)
    ground.plot(*way[0], "*", color="black", markeredgecolor="white", markersize=15, zorder=8)
    left, right, bottom, top = toy.extent
    ground.set(xlim=(left, right), ylim=(bottom, top), title=f"{toy.name}, thick line: level {toy.level:.3g}")
    ground.set(xlabel=toy.feature_names[0], ylabel=toy.feature_names[1], aspect="equal")
    claimed, so_far, whole = tangent.contribution[0].tolist(), brought.tolist(), last.tolist()
    places = range(len(claimed))
    bars.barh(places, so_far, 0.55, color=FLOW)
    bars.barh(places, claimed, 0.8, fill=False, edgecolor=TANGENT, linestyle=":", linewidth=1.6)
    bars.set_yticks(places, toy.feature_names, fontsize=12)
    bars.invert_yaxis()
    low, high = 1.1 * min(*claimed, *whole, 0), 1.1 * max(*claimed, *whole, 0)
    # bars that only fall grow to the right as well, away from the names
    bars.set_xlim(*((0, low) if low < 0 == high else (low, high or 1e-9)))
    bars.set_xlabel("brought so far\n(dotted: the tangent step)")
    score = toy.function(way[-1:]).item()
    bars.set_title(f"score {number_text(score, decimals=True)}")
    return figure


@styled
def driver_sheet(
    toys: Mapping[str, Toy], maps: Mapping[str, Mapping[str, Tensor]], hits: Mapping[str, Mapping[str, bool]]
) -> Figure:
    """Whose map lies on the drivers: a row a toy, a column a method, a square a feature.

    Args:
        toys: name -> toy.
        maps: method -> toy -> (n,) or (1, n); the darker a square, the larger its share of the magnitudes.
        hits: method -> toy -> whether the map finds the drivers; a tick says so.

    Returns:
        One axes. The squares of drivers have a thick edge.

    Raises:
        ValueError: methods or toys that differ.

    Example:
        >>> from helpers.zoo.toys import toys
        >>> some = {name: toys()[name] for name in ("AND", "ring")}
        >>> maps = {"linear": {name: toy.point for name, toy in some.items()}}
        >>> axes = driver_sheet(some, maps, {"linear": {"AND": True, "ring": False}}).axes[0]
        >>> [text.get_text() for text in axes.texts][:4]
        ['linear: 1 of 2', 'x1', 'x2', '✓']
    """
    if set(maps) != set(hits) or any(set(maps[m]) != set(toys) or set(hits[m]) != set(toys) for m in maps):
        raise ValueError(f"maps, hits: expected the same methods, each with the toys {', '.join(toys)}.")
    figure = Figure(figsize=(1.5 + 1.9 * len(maps), 0.6 + 0.37 * len(toys)))
    axes = figure.subplots()
    for column, method in enumerate(maps):
        x = 4.5 * column
        total = f"{method}: {sum(hits[method].values())} of {len(toys)}"
        axes.text(x + 1.5, -0.5, total, ha="center", va="center", fontsize=11, fontweight="bold")
        for row, (name, toy) in enumerate(toys.items()):
            _squares(axes, x, row, toy, maps[method][name])
            if hits[method][name]:
                axes.text(x + 3.4, row + 0.5, "✓", ha="center", va="center", fontsize=13, color=COLOURS[2])
    axes.set(xlim=(-0.2, 4.5 * len(maps) - 0.5), ylim=(len(toys) + 0.1, -1.1), xticks=[])
    axes.set_yticks([row + 0.5 for row in range(len(toys))], list(toys), fontsize=11)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure


def _squares(axes, x: float, row: int, toy: Toy, attribution: Tensor) -> None:
    """A square a feature, shaded by its share; those of the drivers last, so that their edge is whole."""
    sizes = attribution.detach().reshape(-1).abs()
    shares = (sizes / sizes.sum().clamp_min(torch.finfo(sizes.dtype).tiny)).tolist()
    shades = colormaps[SHADES]
    for i in sorted(range(len(shares)), key=lambda i: i in toy.drivers):
        driver = i in toy.drivers
        look = {"edgecolor": "black" if driver else "0.75", "linewidth": 2.2 if driver else 0.8}
        axes.add_patch(Rectangle((x + i, row + 0.12), 0.92, 0.76, facecolor=shades(0.85 * shares[i]), **look))
        colour = "white" if shares[i] > 0.6 else "0.2"
        axes.text(
            x + i + 0.46, row + 0.5, toy.feature_names[i], ha="center", va="center", fontsize=9, color=colour
        )
