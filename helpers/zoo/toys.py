"""Small functions whose drivers are known."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from helpers.zoo.datasets import two_moons
from helpers.zoo.kernel_machines import KernelMachine


@dataclass(frozen=True, eq=False)
class Toy:
    """A function whose driving features are known, with one question about it.

    The question: which features take the score from the point to the level, on the way to the reference?
    Answered from the function alone. A feature's largest effect is the largest change towards the level
    (counted up to the level, not beyond) that setting it to its reference makes, whichever of the other
    features are there already. It is a driver if that is at least half of the change that is asked for
    (``largest_effects``).

    Attributes:
        name: short name.
        story: what really drives the score, and why.
        function: scores (N, 1) of inputs (N, n), in any float dtype.
        point: float64, (1, n), the input that is explained.
        level: the score that the question goes to.
        reference: float64, (1, n), the input "without the evidence" (or, upwards, with it).
        drivers: indices of the features that drive the score from the point to the level.
        feature_names: one name a feature.
        extent: left, right, bottom, top of a plot, for two features; None otherwise.
        smooth: whether the function has no kinks.

    Example:
        >>> toy = toys()["AND"]
        >>> toy.function(toy.point).round(decimals=3), toy.level, toy.drivers
        (tensor([[0.9000]], dtype=torch.float64), 0.25, (0, 1))
    """

    name: str
    story: str
    function: Callable[[Tensor], Tensor]
    point: Tensor
    level: float
    reference: Tensor
    drivers: tuple[int, ...]
    feature_names: tuple[str, ...]
    extent: tuple[float, float, float, float] | None = None
    smooth: bool = False


def largest_effects(toy: Toy) -> Tensor:
    """Largest change towards the level that setting each feature to its reference makes: float64, (n,).

    Changes are counted up to the level: what happens beyond it does not answer the question. The largest
    over all sets of other features that are at the reference already (2^(n-1) of them), so that neither
    features that stand in for each other nor features that only work together are overlooked. (The Shapley
    value would be a weighted mean of such changes.)

    Example:
        >>> largest_effects(toys()["distractor"]).round(decimals=3)  # the second feature never matters much
        tensor([0.8000, 0.0500], dtype=torch.float64)
    """
    features = toy.point.shape[1]
    moved = torch.tensor(list(itertools.product([False, True], repeat=features)))
    with torch.no_grad():
        scores = toy.function(torch.where(moved, toy.reference, toy.point))[:, 0]
    asked = toy.level - scores[0]
    progress = ((scores - scores[0]) * asked.sign()).clamp(max=asked.abs())
    # product() keeps the rows in order, so the two halves pair up: the same others, with and without i.
    return torch.stack([(progress[moved[:, i]] - progress[~moved[:, i]]).max() for i in range(features)])


def found(attribution: Tensor, drivers: tuple[int, ...]) -> bool:
    """Whether a map finds the drivers: each has a fair share, and nothing else has more.

    A share is |attribution| / sum |attribution|. Every driver's must be at least 1 / (2 * number of drivers),
    and no other feature's may exceed any driver's. A map that is zero everywhere finds nothing.

    Args:
        attribution: (n,) or (1, n).
        drivers: indices of the features that drive the score.

    Raises:
        ValueError: another shape, NaN or infinity, or drivers that are empty or not indices of features.

    Example:
        >>> import torch
        >>> maps = torch.tensor([[0.5, 0.4, 0.1], [0.1, 0.1, 0.8]])
        >>> [found(attribution, drivers=(0, 1)) for attribution in maps]
        [True, False]
    """
    if attribution.ndim == 2 and len(attribution) == 1:
        attribution = attribution[0]
    if attribution.ndim != 1:
        raise ValueError(
            f"found: expected attribution of shape (n,) or (1, n), got {tuple(attribution.shape)}; "
            "pass the map of one example."
        )
    if not torch.isfinite(attribution).all():
        raise ValueError(f"found: expected a finite attribution, got {attribution.tolist()}.")
    if not drivers or not set(drivers) <= set(range(len(attribution))):
        raise ValueError(
            f"found: expected drivers to be indices from 0 to {len(attribution) - 1}, at least one, got "
            f"{drivers}."
        )
    magnitude = attribution.detach().abs()
    driving = torch.zeros(len(magnitude), dtype=torch.bool, device=magnitude.device)
    driving[list(drivers)] = True
    weakest = magnitude[driving].min()
    if weakest == 0 or weakest < magnitude.sum() / (2 * len(set(drivers))):
        return False
    return bool((magnitude[~driving] <= weakest).all())


def _row(*values: float) -> Tensor:
    return torch.tensor([values], dtype=torch.float64)


def _toy(name: str, story: str, score: Callable[..., Tensor], point: tuple, reference: tuple, **rest) -> Toy:
    """A toy whose score is a function of its features, one column each."""

    def function(x: Tensor) -> Tensor:
        return score(*(x[:, i] for i in range(len(point))))[:, None]

    names = tuple(f"x{i}" for i in range(1, len(point) + 1))
    return Toy(name, story, function, _row(*point), reference=_row(*reference), feature_names=names, **rest)


def _saturated_sum() -> Toy:
    return _toy(
        "saturated sum",
        "min(1, x1 + x2), past its kink: the gradient is zero, and yet the score is there because "
        "of x1 and x2; setting either to 0 costs a fifth of it at most, setting both to 0 costs it all.",
        lambda x1, x2: (x1 + x2).clamp(max=1.0),
        point=(0.9, 0.8),
        level=0.5,
        reference=(0.0, 0.0),
        drivers=(0, 1),
        extent=(-0.25, 1.5, -0.25, 1.5),
    )


def _product_gate() -> Toy:
    return _toy(
        "product gate",
        "x1 * x2 + 0.1 * x3, the gate x2 almost closed: x1 changes nothing before x2 opens, so its "
        "slope is next to zero, but neither x1 nor x2 alone, set to 1, brings the score to the level, "
        "and both together do; x3 adds a tenth.",
        lambda x1, x2, x3: x1 * x2 + 0.1 * x3,
        point=(0.2, 0.02, 0.0),
        level=0.5,
        reference=(1.0, 1.0, 1.0),
        drivers=(0, 1),
        smooth=True,
    )


def _dead_relu() -> Toy:
    return _toy(
        "dead ReLU",
        "relu(x1 + x2 - 1) + 0.1 * x3, the unit off: its gradient is zero, so only x3 has a slope, "
        "but up to its reference x3 adds a tenth of what is asked for; x1 and x2 together bring the "
        "score past the level, and neither alone gets there.",
        lambda x1, x2, x3: torch.relu(x1 + x2 - 1) + 0.1 * x3,
        point=(0.2, 0.1, 0.0),
        level=1.0,
        reference=(1.5, 1.5, 1.0),
        drivers=(0, 1),
    )


def _ring() -> Toy:
    return _toy(
        "ring",
        "|x|^2 - 1, outside the circle: both features carry the point out, neither set to 0 alone "
        "brings it in; the gradient points straight outwards and is right about both.",
        lambda x1, x2: x1.square() + x2.square() - 1,
        point=(1.2, 1.1),
        level=0.0,
        reference=(0.0, 0.0),
        drivers=(0, 1),
        extent=(-1.75, 1.75, -1.75, 1.75),
        smooth=True,
    )


def _xor_network() -> Toy:
    return _toy(
        "XOR network",
        "relu(x1 + x2) - 2 * relu(x1 + x2 - 1) + 0.1 * x3, x1 on and x2 nearly off: setting x1 to "
        "0 takes the score below the level, setting x2 and x3 to 0 takes next to nothing; but past the "
        "second unit's kink the slopes of x1 and x2 are equal, and have the wrong sign.",
        lambda x1, x2, x3: torch.relu(x1 + x2) - 2 * torch.relu(x1 + x2 - 1) + 0.1 * x3,
        point=(0.9, 0.2, 0.5),
        level=0.3,
        reference=(0.0, 0.0, 0.0),
        drivers=(0,),
    )


def _redundant_or() -> Toy:
    return _toy(
        "redundant OR",
        "x1 + x2 - x1 * x2 + 0.1 * x3 (the probability of x1 or x2): either is enough, so setting "
        "one to 0 costs less than a tenth, no more than x3 does; only setting both to 0 takes the score "
        "away.",
        lambda x1, x2, x3: x1 + x2 - x1 * x2 + 0.1 * x3,
        point=(0.95, 0.9, 1.0),
        level=0.5,
        reference=(0.0, 0.0, 0.0),
        drivers=(0, 1),
        smooth=True,
    )


def _and() -> Toy:
    return _toy(
        "AND",
        "relu(x1 + x2 - 1), both on: the score needs both, setting either to 0 takes all of it; "
        "the function is affine almost all the way down, and the gradient is right.",
        lambda x1, x2: torch.relu(x1 + x2 - 1),
        point=(1.0, 0.9),
        level=0.25,
        reference=(0.0, 0.0),
        drivers=(0, 1),
        extent=(-0.25, 1.5, -0.25, 1.5),
    )


def _distractor() -> Toy:
    return _toy(
        "distractor",
        "x1 + 0.05 * tanh(40 * x2): at this point x2 has twice the slope of x1, but whatever its "
        "value it moves the score by no more than 0.05 from here; only x1 reaches the level.",
        lambda x1, x2: x1 + 0.05 * torch.tanh(40 * x2),
        point=(1.0, 0.0),
        level=0.2,
        reference=(0.0, -1.0),
        drivers=(0,),
        extent=(-0.25, 1.5, -1.25, 0.75),
        smooth=True,
    )


@cache
def _moons_machine() -> KernelMachine:
    moons = two_moons()
    return KernelMachine.fit(moons.train_inputs, moons.train_targets, gamma=2.0, C=10.0)


def _kernel_machine() -> Toy:
    return Toy(
        "kernel machine",
        "An RBF machine on two moons, at the inner tip of the upper moon; the reference is the "
        "inner tip of the lower one: moving x1 there crosses the boundary, moving x2 there does not; the "
        "gradient points along x2, at the belly of the lower moon close by, which is the answer to "
        "another question.",
        _moons_machine(),
        point=_row(1.0, 0.0),
        level=0.0,
        reference=_row(0.0, 0.5),
        drivers=(0,),
        feature_names=("x1", "x2"),
        extent=(-1.75, 2.75, -1.25, 1.75),
        smooth=True,
    )


def toys() -> dict[str, Toy]:
    """The toys by name, in the order of the notebooks. Each story is the argument for its drivers.

    Example:
        >>> [toy.name for toy in toys().values() if len(toy.drivers) == 1]
        ['XOR network', 'distractor', 'kernel machine']
    """
    every = (
        _saturated_sum(),
        _product_gate(),
        _dead_relu(),
        _ring(),
        _xor_network(),
        _redundant_or(),
        _and(),
        _distractor(),
        _kernel_machine(),
    )
    return {toy.name: toy for toy in every}


SIDES = ("above the level", "below the level")


def above_or_below(toy: Toy) -> Callable[[Tensor], Tensor]:
    """The toy as a classifier of two classes, `SIDES`: log-odds of the first are the score minus the level.

    Returns:
        Outputs (N, 2) of inputs (N, n).

    Example:
        >>> toy = toys()["AND"]
        >>> above_or_below(toy)(toy.point).round(decimals=3)
        tensor([[0.6500, 0.0000]], dtype=torch.float64)
    """

    def outputs(inputs: Tensor) -> Tensor:
        above = toy.function(inputs) - toy.level
        return torch.cat([above, torch.zeros_like(above)], 1)

    return outputs
