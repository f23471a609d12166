"""Pictures with a handle: what the small panels of notebooks 02, 03, 05, 06 and 08 draw when a slider moves.

Each function takes the slider's value as a plain argument and returns a figure, so the same call makes the static
picture in the notebook. `helpers.show.live.live` puts the sliders beside it.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

import numpy as np
import torch
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from torch import Tensor, nn

from helpers.checks import require_above_0
from helpers.saliency import (
    Coordinates,
    Euclidean,
    Explanation,
    Flow,
    Input,
    Layer,
    Logit,
    NonlinearSaliency,
    Scaled,
    Straight,
    StraightTangent,
    Tangent,
    blocks,
)
from helpers.saliency.layers import as_maps
from helpers.show.landscapes import level_sets, score_along
from helpers.show.maps import as_picture, as_plane, colour_bar, colour_limit, draw_map
from helpers.show.style import COLOURS, REFERENCE_MARK, STYLE, halo, styled
from helpers.zoo.toys import Toy

# How much darker than white a block's map may get: its strongest places, not one outlier, set the scale.
PERCENTILE = 99.5


def tangent_misses(toy: Toy, way: float) -> tuple[float, float]:
    """What the tangent misses where only a part of the change to the toy's level is asked for.

    Args:
        toy: of `helpers.zoo.toys.toys`.
        way: the part, above 0; 1 is the toy's own level.

    Returns:
        After the tangent's own step, and on the straight path to the reference, each as a share of the change asked
        for.

    Raises:
        ValueError: a way that is not above 0.

    Example:
        >>> from helpers.zoo.toys import toys
        >>> [round(tangent_misses(toys()["ring"], way)[1], 2) for way in (1.0, 0.5, 0.1)]
        [0.24, 0.09, 0.02]
    """
    near, tangent, straight = _tangent_and_straight(toy, way)
    start = tangent.score_start.item()
    plane = start + (tangent.mean_gradient * straight.displacement).sum().item()
    own, there = (
        abs(end - near.level) / abs(near.level - start) for end in (tangent.score_end.item(), plane)
    )
    return own, there


def part_of_the_way(toy: Toy, way: float) -> Figure:
    """The tangent beside the function, where only a part of the change to the toy's level is asked for.

    Args:
        toy, way: as in `tangent_misses`.

    Returns:
        With two features the level lines, with three the score along two ways. The title gives the two misses.

    Raises:
        ValueError: a way that is not above 0.

    Example:
        >>> from helpers.zoo.toys import toys
        >>> part_of_the_way(toys()["AND"], 0.5).get_suptitle()
        'AND: from 0.90 to 0.57\\nthe tangent misses by 0 % (own step), 0 % (on the path to the reference)'
    """
    near, tangent, straight = _tangent_and_straight(toy, way)
    own, there = (f"{100 * miss:.0f} %" for miss in tangent_misses(toy, way))
    title = f"{toy.name}: from {tangent.score_start.item():.2f} to {near.level:.2f}\n"
    title += f"the tangent misses by {own} (own step), {there} (on the path to the reference)"
    if toy.extent:
        ways = {"straight path": straight.path_points[:, 0]}
        figure = level_sets(toy.function, toy.extent, toy.point, ways, near.level, toy.feature_names)
        axes = figure.axes[0]
        for step in axes.findobj(lambda artist: artist.get_gid() == "tangent step"):
            step.set(
                zorder=5, linewidth=2.6, linestyle=(0, (1, 0.8))
            )  # short, and along the path: dense, and above it
        axes.plot(*toy.reference[0], zorder=6, gid="reference", **REFERENCE_MARK)
        beside = {"textcoords": "offset points", "xytext": (8, 4), "path_effects": halo(3)}
        axes.annotate("reference", toy.reference[0].tolist(), **beside)
    else:
        ends = {"to the reference": straight.endpoint, "the tangent's own step": tangent.endpoint}
        ways = {name: torch.cat([toy.point, end]) for name, end in ends.items()}
        figure = score_along(toy.function, ways, near.level, between=100)
    return _titled(figure, title)


def flow_in_steps(toy: Toy, steps: int, way: float = 1.0) -> Figure:
    """The flow to a toy's level, in few steps or many.

    Args:
        toy: with two features.
        steps: of the flow, at least 1.
        way: part of the change to the toy's level that is asked for, above 0.

    Returns:
        The level lines and the way. The title gives residual, completeness error, and gradients.

    Raises:
        ValueError: a toy without an extent to draw, a way that is not above 0, steps below 1.

    Example:
        >>> from helpers.zoo.toys import toys
        >>> flow_in_steps(toys()["ring"], 1).get_suptitle().splitlines()[0]
        'ring: flow in 1 step'
    """
    if not toy.extent:
        raise ValueError(f"toy: expected one with two features; {toy.name!r} has {toy.point.shape[1]}.")
    near = _asked_for(toy, way)
    run = NonlinearSaliency(toy.function, Logit(), path=Flow(steps)).explain(
        toy.point, level=near.level, trace=True
    )
    title = f"{toy.name}: flow in {steps} step{'s' if steps > 1 else ''}\n"
    title += f"residual {_tiny(run.residual)}, completeness error {_tiny(run.completeness_error)}, "
    title += f"{int(run.gradient_evaluations)} gradients"
    title += "" if run.converged else f"\nnot converged: {run.reason[0]}"
    ways = {"flow": run.path_points[:, 0]}
    figure = level_sets(toy.function, toy.extent, toy.point, ways, near.level, toy.feature_names)
    return _titled(figure, title)


def flow_in_units(
    score: Callable[[Tensor], Tensor],
    point: Tensor,
    stretch: float,
    extent: tuple[float, float, float, float],
    steps: int = 16,
) -> Figure:
    """The flow to the boundary where one of two features is cheap or expensive to move, beside the Euclidean.

    Args:
        score: (n,) or (n, 1) of inputs (n, 2); the boundary is at 0.
        point: the input, (1, 2).
        stretch: how far the second feature moves at the cost of moving the first by 1, above 0; 1 is Euclidean.
        extent: left, right, bottom, top of the picture.
        steps: of both flows.

    Returns:
        The level lines and both ways. The title gives each feature's contribution.

    Raises:
        ValueError: a stretch that is not above 0.

    Example:
        >>> point = torch.tensor([[1.0, 1.0]])
        >>> flow_in_units(lambda x: x.sum(1), point, 3.0, (-1, 2, -1, 2)).get_suptitle().splitlines()[1]
        'Euclidean: x1 brings -1.00, x2 brings -1.00'
    """
    require_above_0("stretch", stretch)
    units = torch.tensor([1.0, float(stretch)], dtype=point.dtype)
    geometries = {"Euclidean": Euclidean(), f"x2 counted in units of {stretch:.2g}": Scaled(units)}
    runs = {}
    for name, geometry in geometries.items():
        member = NonlinearSaliency(_column(score), Logit(), geometry=geometry, path=Flow(steps))
        runs[name] = member.explain(point, level=0.0, trace=True)
    shares = {name: run.contribution[0].tolist() for name, run in runs.items()}
    lines = [f"{name}: x1 brings {one:.2f}, x2 brings {two:.2f}" for name, (one, two) in shares.items()]
    ways = {name: run.path_points[:, 0] for name, run in runs.items()}
    figure = level_sets(score, extent, point, ways, 0.0, tangent=False)
    return _titled(figure, "\n".join(["The flow to the boundary", *lines]))


@styled
def one_feature_moved(
    score: Callable[[Tensor], Tensor],
    point: Tensor,
    names: Sequence[str],
    feature: str,
    change: float,
    reach: float = 4.0,
    score_name: str = "log-odds",
    unit: str = "",
) -> Figure:
    """The score while a single feature moves, as it is and as the tangent plane promises it.

    Args:
        score: (n,) or (n, 1) of inputs (n, D), differentiable.
        point: the input, (1, D).
        names: of the D features.
        feature: the one that moves.
        change: how far, in the units of the inputs; within the reach.
        reach: how far either way is drawn, above 0.
        score_name, unit: for the axes.

    Returns:
        One axes; the title gives what the model says and what the tangent promised at the change.

    Raises:
        ValueError: a feature that is not among the names, a change beyond the reach.

    Example:
        >>> square = lambda x: x.square().sum(1)
        >>> figure = one_feature_moved(square, torch.ones(1, 2), ["a", "b"], "b", 1.0, reach=2.0)
        >>> figure.get_suptitle()
        'b moved by +1.00\\nlog-odds 5.00; the tangent promised 4.00'
    """
    require_above_0("reach", reach)
    if feature not in names:
        raise ValueError(f"feature: expected one of {', '.join(names)}; got {feature!r}.")
    if not abs(change) <= reach:
        raise ValueError(f"change: expected {-reach:g} to {reach:g}; got {change!r}.")
    start = point.detach().clone().requires_grad_()
    (slopes,) = torch.autograd.grad(score(start).sum(), start)
    index = list(names).index(feature)
    moves = torch.cat([torch.linspace(-reach, reach, 161), torch.tensor([0.0, float(change)])]).to(
        point.dtype
    )
    moved = point.detach().repeat(len(moves), 1)
    moved[:, index] += moves
    with torch.no_grad():
        real = score(moved).flatten()
    promised = real[-2] + slopes[0, index] * moves
    fact, promise = COLOURS[:2]
    figure = Figure(figsize=(6.4, 3.4))
    axes = figure.subplots()
    axes.plot(moves[:-2], promised[:-2], "--", color=promise, label="the tangent's promise")
    axes.plot(moves[:-2], real[:-2], color=fact, label="the model")
    axes.plot([change, change], [promised[-1], real[-1]], color="0.5", linewidth=1)
    axes.plot([change], [promised[-1]], "o", color=promise, markerfacecolor="white")
    axes.plot([change], [real[-1]], "o", color=fact)
    axes.plot([0.0], [real[-2]], "*", color="black", markersize=11, label="input")
    axes.axhline(0.0, color="black", linewidth=0.8, linestyle=":", label="even odds")
    # The model sets the scale: a promise that leaves it is seen to leave.
    low, high = min(real.min().item(), 0.0), max(real.max().item(), 0.0)
    margin = 0.15 * (high - low) + 1e-6
    axes.set_ylim(low - margin, high + margin)
    axes.set_xlabel(f"change of {feature}" + (f" ({unit})" if unit else ""))
    axes.set_ylabel(score_name)
    axes.legend(loc="best")
    title = f"{feature} moved by {change:+.2f}\n"
    return _titled(figure, title + f"{score_name} {real[-1]:.2f}; the tangent promised {promised[-1]:.2f}")


@dataclasses.dataclass(eq=False)
class AtEveryDepth:
    """Linear and nonlinear map of one class at the input and behind every block of a network.

    A depth is computed when it is first asked for, and kept.

    Args:
        model: an image classifier, outputs (N, K).
        image: (1, C, H, W).
        target: the explained class; its logit is the score.
        reference: the image without the evidence, as `helpers.saliency.Input` takes it; what the network
            makes of it is the reference behind a block.
        steps: gradients of the nonlinear member; with few its places have not settled, and its miss is large.
        modules: name -> block; None: those that `helpers.saliency.blocks` finds.

    Example:
        >>> from helpers.zoo.networks import digit_net
        >>> model = digit_net()
        >>> film = AtEveryDepth(model, torch.rand(1, 1, 28, 28), 3, 0.0, 2, {"features": model.features})
        >>> film.names, film.maps(1)["linear"].shape
        (['input', 'features'], torch.Size([7, 7]))
    """

    model: nn.Module
    image: Tensor
    target: int
    reference: object
    steps: int = 16
    modules: Mapping[str, nn.Module] | None = None

    def __post_init__(self):
        self._kept: dict[int, tuple[dict[str, Tensor], dict[str, float]]] = {}

    @cached_property
    def places(self) -> dict[str, Coordinates]:
        """Name -> coordinates, from the input on."""
        inner = Input(reference=self.reference)
        modules = blocks(self.model, self.image) if self.modules is None else self.modules
        return {"input": inner} | {name: Layer(module, inner) for name, module in modules.items()}

    @property
    def names(self) -> list[str]:
        """Of the depths, the input first."""
        return list(self.places)

    def maps(self, depth: int) -> dict[str, Tensor]:
        """Support at a depth, summed over channels: "linear" and "nonlinear", (h, w) each, in units of the logit.

        Raises:
            ValueError: no such depth.
        """
        return self._at(depth)[0]

    def missed(self, depth: int) -> dict[str, float]:
        """By how much the sum of either map misses the change of the logit on the way to the reference.

        Returns:
            "linear" (what the tangent misses) and "nonlinear" (what too few steps leave), each at least 0, as a
            share of that change.

        Raises:
            ValueError: no such depth.
        """
        return self._at(depth)[1]

    def draw(self, depth: int) -> Figure:
        """What supports the class at a depth, by both maps, over the image, each on its own scale from 0.

        Raises:
            ValueError: no such depth.
        """
        maps, missed = self._at(depth)
        height, width = maps["linear"].shape
        title = f"depth {depth} of {len(self.names) - 1}: {height} x {width} places\n"
        title += f"missed of the change: slope {missed['linear']:.2f}, path {missed['nonlinear']:.2f}"
        named = {"slope at the block": maps["linear"], "path": maps["nonlinear"]}
        return _titled(_laid_over(as_picture(self.image[0]), named), title)

    def _at(self, depth: int) -> tuple[dict[str, Tensor], dict[str, float]]:
        if isinstance(depth, bool) or depth not in range(len(self.places)):
            raise ValueError(f"depth: expected an integer from 0 to {len(self.places) - 1}; got {depth!r}.")
        if depth not in self._kept:
            place = self.places[self.names[depth]]
            runs = {}
            for name, path in (("linear", StraightTangent()), ("nonlinear", Straight(self.steps))):
                member = NonlinearSaliency(self.model, Logit(), place, path=path)
                runs[name] = member.explain(self.image, self.target)
            change = (runs["linear"].score_end - runs["linear"].score_start).abs().item()
            change = max(change, torch.finfo(torch.float32).tiny)
            missed = {name: run.completeness_error.abs().item() / change for name, run in runs.items()}
            maps = {name: as_maps(run.support(), run.size)[0].sum(0).cpu() for name, run in runs.items()}
            self._kept[depth] = maps, missed
        return self._kept[depth]


@styled
def _laid_over(picture: np.ndarray, maps: Mapping[str, Tensor], size: float = 2.0) -> Figure:
    """The positive parts of maps over their picture, each on its own scale, with its largest value below it."""
    planes = {name: as_plane(name, one).clip(0) for name, one in maps.items()}
    figure, norm = Figure(figsize=(size * len(maps) + 0.8, size + 0.95)), Normalize(0, 1)
    row = figure.subplots(1, len(maps))
    for axes, (name, plane) in zip(row, planes.items(), strict=True):
        share = plane / colour_limit([plane], PERCENTILE)
        draw_map(axes, share, norm, False, picture.shape, picture, size)
        axes.set_title(name)
        axes.set_xlabel(f"strongest place: {plane.max():.2g}")
    colour_bar(figure, norm, False, True, "", PERCENTILE, 1, row)
    figure.axes[-1].set_yticks([0, 1], ["weak", "strong"])
    return figure


def _tangent_and_straight(toy: Toy, way: float) -> tuple[Toy, Explanation, Explanation]:
    """The toy with the nearer level, the tangent's step to it, and the straight path to the reference up to it."""
    near = _asked_for(toy, way)
    tangent = NonlinearSaliency(toy.function, Logit(), path=Tangent()).explain(toy.point, level=near.level)
    towards = NonlinearSaliency(toy.function, Logit(), Input(reference=toy.reference), path=Straight(64))
    return near, tangent, towards.explain(toy.point, level=near.level, trace=True)


def _asked_for(toy: Toy, way: float) -> Toy:
    """The same toy, with its level only a part of the way from the score at the point."""
    require_above_0("way", way)
    start = toy.function(toy.point).item()
    return dataclasses.replace(toy, level=start + way * (toy.level - start))


def _column(score: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """The same scores as one column, (n, 1)."""
    return lambda inputs: score(inputs).reshape(len(inputs), 1)


def _tiny(value: Tensor) -> str:
    """A number, 0 where it is round-off."""
    return f"{value.item():.2g}" if abs(value.item()) >= 1e-9 else "0"


def _titled(figure: Figure, title: str) -> Figure:
    """The figure with a title above everything; also its label, which a live panel takes as its description."""
    figure.suptitle(title, fontsize=STYLE["axes.titlesize"], parse_math=False)
    figure.set_label(title.replace("\n", "; "))
    return figure
