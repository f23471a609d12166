"""What every path shares."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from helpers.saliency.coordinates import Chart, Coordinates
from helpers.saliency.geometries import Geometry
from helpers.saliency.journey import Journey, Slope
from helpers.saliency.levels import Boundary, Level


class Path:
    """What every path shares. A new path is a frozen dataclass that defines `walk`.

    `default_level` is where it goes when no level is given (None: all the way to the reference);
    `follows_slopes` says that it needs the gradient at the input, not only the score.

    Example:
        >>> import torch
        >>> from helpers.saliency import Logit, NonlinearSaliency
        >>> class OneStep(Path):
        ...     def walk(self, journey):
        ...         slope, velocity, pace = journey.steepest(journey.here())
        ...         rise = journey.level[slope.rows] - slope.value
        ...         journey.advance(slope.rows, velocity * rise[:, None], slope.base, rise.abs() * pace)
        >>> saliency = NonlinearSaliency(lambda x: x.square(), Logit(), path=OneStep())
        >>> saliency.explain(torch.tensor([[2.0]]), level=1.0).endpoint
        tensor([[1.2500]])
    """

    default_level: Level | None = Boundary()
    follows_slopes = True

    def walk(self, journey: Journey) -> None:
        """Take every active example of the journey to its level, or stop it with a reason."""
        raise NotImplementedError

    def course(self, chart: Chart) -> Chart:
        """The chart that the path is walked in: the coordinates' own, unless it goes the other way."""
        return chart

    def check(self, coordinates: Coordinates, geometry: Geometry) -> None:
        """Raises ValueError where the path cannot be walked in these coordinates and geometry."""


def walk_nodes(journey: Journey, steps: int, place: Callable[[Tensor, int], Tensor]) -> None:
    """A way whose course is known, by the trapezoid rule: gradients at the ends of its steps, steps + 1 of them.

    Args:
        place: (numbers of n examples, k) -> where they are after k steps, (n, *S); the way starts at u = 0.

    Example:
        >>> import torch
        >>> from helpers.saliency import Input
        >>> from helpers.saliency.evaluator import Evaluator
        >>> from helpers.saliency.model import Forward
        >>> chart = Input().chart(torch.tensor([[3.0]]), Forward(lambda x: x.square()))
        >>> journey = Journey(Evaluator(chart, lambda outputs, rows: outputs[:, 0]))
        >>> journey.begin(None, boundary=None, with_gradient=True)
        >>> walk_nodes(journey, 2, lambda rows, k: -torch.ones(1, 1) * k)
        >>> journey.contribution  # 1 - 9
        tensor([[[-8.]]])
    """
    here = journey.here()
    for step in journey.progress(range(1, steps + 1)):
        there: Slope = journey.look(here.rows, place(here.rows, step))
        here = here.only(there.rows)
        length = (there.u - here.u).flatten(1).norm(dim=1)
        by_trapezoid(journey, here, there, length)
        here = there


def by_trapezoid(journey: Journey, here: Slope, there: Slope, length: Tensor) -> None:
    """Advance from one place to another, of the same examples, with the mean of the gradients at both.

    length: of the step in the geometry, (n,).
    """
    journey.advance(there.rows, there.u, (here.base + there.base) / 2, length, there.value, there)


def first_crossing(
    journey: Journey, rows: Tensor, way: Tensor, fractions: Sequence[float]
) -> tuple[Tensor, Tensor]:
    """The first place along a ray from the input where the score is at the level.

    Args:
        way: the ray's points are fraction * way, (n, *S), moved into the bounds.
        fractions: where to look for a change of sides, ascending and above 0.

    Returns:
        Whether there is one, (n,), and the fraction, (n,); where there is none, 1.

    Example:
        >>> import torch
        >>> from helpers.saliency import Input, Value
        >>> from helpers.saliency.evaluator import Evaluator
        >>> from helpers.saliency.model import Forward
        >>> chart = Input().chart(torch.tensor([[3.0]]), Forward(lambda x: x))
        >>> journey = Journey(Evaluator(chart, lambda outputs, rows: outputs[:, 0]))
        >>> journey.begin(Value(1.0), boundary=None, with_gradient=False)
        >>> first_crossing(journey, torch.tensor([0]), torch.tensor([[-4.0]]), [0.25, 0.5, 0.75, 1.0])
        (tensor([True]), tensor([0.5000]))
    """
    above = journey.start[rows] - journey.level[rows]
    found = torch.zeros_like(above, dtype=torch.bool)
    bracket = above.new_zeros(len(rows), 2)
    before = 0.0
    for fraction in fractions:
        waiting = (~found).nonzero()[:, 0]
        if not len(waiting):
            break
        place = journey.chart.clip(way[waiting] * fraction, rows[waiting])
        value = journey.values(rows[waiting], place)
        hit = waiting[(value - journey.level[rows[waiting]]) * above[waiting] <= 0]
        bracket[hit] = bracket.new_tensor([before, fraction])
        found[hit] = True
        before = fraction
    part = torch.ones_like(above)
    if found.any():
        part[found] = journey.crossing(rows[found], torch.zeros_like(way[found]), way[found], bracket[found])
    return found, part


def along_chord(journey: Journey, rows: Tensor, chords: Tensor, nodes: int) -> None:
    """Move the examples with those numbers straight from u = 0 to the ends of their chords, (N, *S).

    The mean gradients are those of the midpoint rule, in equal steps, one gradient evaluation each.

    Example:
        >>> import torch
        >>> from helpers.saliency import Input
        >>> from helpers.saliency.evaluator import Evaluator
        >>> from helpers.saliency.model import Forward
        >>> chart = Input().chart(torch.tensor([[3.0]]), Forward(lambda x: x.square()))
        >>> journey = Journey(Evaluator(chart, lambda outputs, rows: outputs[:, 0]))
        >>> journey.begin(None, boundary=None, with_gradient=False)
        >>> along_chord(journey, journey.active, torch.tensor([[-2.0]]), nodes=4)
        >>> journey.contribution  # from 9 to 1
        tensor([[[-8.]]])
    """
    for node in range(nodes):
        slope = journey.look(rows, chords[rows] * ((node + 0.5) / nodes))
        rows = slope.rows
        end = chords[rows] * ((node + 1) / nodes)
        journey.advance(rows, end, slope.base, torch.full_like(slope.value, 1 / nodes))


def clipped_ray(
    gradient: Tensor, velocity: Tensor, rise: Tensor, lower: Tensor | None, upper: Tensor | None
) -> tuple[Tensor, Tensor]:
    """How long to follow a velocity from u = 0, clipped to bounds, until a linear score has risen enough.

    The linear score is |gradient . u|; with its breakpoints (a coordinate reaches its bound) sorted, the rise
    is a sum of ramps, and the time is exact.

    Args:
        gradient, velocity: shape (n, *S), with gradient . velocity = +-1.
        rise: what the score is to change by, without sign, shape (n,).
        lower, upper: bounds on u, shape (n, *S), or None.

    Returns:
        The time, shape (n,), and whether the rise is reached in it; where not, the time at which the last
        coordinate stops.

    Example:
        >>> import torch
        >>> gradient, velocity = torch.tensor([[1.0, 1.0]]), torch.tensor([[-0.5, -0.5]])
        >>> lower = torch.tensor([[-0.25, -10.0]])  # the first coordinate stops after 0.5, the other goes on
        >>> clipped_ray(gradient, velocity, torch.tensor([1.0]), lower, None)
        (tensor([1.5000]), tensor([True]))
    """
    if lower is None and upper is None:
        return rise, torch.ones_like(rise, dtype=torch.bool)
    speed, push = velocity.flatten(1), gradient.flatten(1)
    rate = push * speed
    rate = rate * rate.sum(1, keepdim=True).sign()
    room = torch.full_like(speed, torch.inf)
    for bound, side in ((lower, speed < 0), (upper, speed > 0)):
        if bound is not None:
            room = torch.where(side, bound.flatten(1) / speed, room)
    room, order = room.clamp_min(0).sort(1)
    rate = rate.gather(1, order)
    # rise(t) = sum_i rate_i min(t, room_i). Up to the k-th breakpoint those before it are full, the rest runs.
    none = torch.zeros_like(rate[:, :1])
    bounded = torch.isfinite(room)
    filled = torch.cat([none, (rate * room.where(bounded, none)).cumsum(1)], 1)
    running = torch.cat([rate.flip(1).cumsum(1).flip(1), none], 1)
    at_break = filled[:, :-1] + running[:, :-1] * room.where(bounded, none)
    at_break = at_break.where(bounded, torch.where(running[:, :-1] > 0, torch.inf, filled[:, :-1]))
    beyond = at_break >= rise[:, None]
    reached = beyond.any(1)
    first = beyond.int().argmax(1, keepdim=True)
    time = (rise - filled.gather(1, first)[:, 0]) / running.gather(1, first)[:, 0]
    return time.where(reached, room.where(bounded, none).amax(1)), reached
