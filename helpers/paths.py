"""Paths: how the score is taken from the input's value to the level.

A path is a frozen dataclass with one method, `walk`, which drives a `Journey`. It asks for slopes, moves by
`advance` and ends examples by `stop`; evaluation, counting, readouts and bookkeeping are the journey's.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from helpers.coordinates import Coordinates
from helpers.geometry import Geometry
from helpers.journey import BLOCKED, JUMP, OUT_OF_REACH, Journey, Slope, per
from helpers.levels import Boundary, Level


class Path:
    """What every path shares. A new path is a frozen dataclass that defines `walk`.

    `default_level` is where it goes when no level is given (None: all the way to the reference);
    `follows_slopes` says that it needs the gradient at the input, not only the score.
    """

    default_level: Level | None = Boundary()
    follows_slopes = True

    def walk(self, journey: Journey) -> None:
        """Take every active example of the journey to its level, or stop it with a reason."""
        raise NotImplementedError

    def check(self, coordinates: Coordinates, geometry: Geometry) -> None:
        """Raises ValueError where the path cannot be walked in these coordinates and geometry."""


@dataclass(frozen=True)
class Tangent(Path):
    """One linear step, d = (l - F(0)) M G / (G . M G): linear saliency.

    Its mean gradient is the gradient at the input, its contributions are gradient times step and sum to
    l - F(0), its own prediction; the residual F(d) - l says how far the tangent misses, and `converged`
    whether it was right. Bounds stop the coordinates that run into them, and the others go further.
    One gradient evaluation, one forward evaluation.
    """

    def walk(self, journey: Journey) -> None:
        slope, velocity, _ = journey.steepest(journey.here())
        if not len(slope.rows):
            return
        rise = journey.level[slope.rows] - slope.value
        lower, upper = (
            None if bound is None else bound[slope.rows]
            for bound in (journey.chart.lower, journey.chart.upper)
        )
        time, reached = clipped_ray(slope.gradient, velocity * per(rise.sign(), velocity), rise.abs(), lower, upper)
        step = velocity * per(time * rise.sign(), velocity)
        journey.advance(slope.rows, journey.chart.clip(step, slope.rows), slope.base, torch.ones_like(time))
        journey.stop(slope.rows[~reached], BLOCKED, failed=True)
        journey.stop(slope.rows[reached], "the tangent misses the level")


@dataclass(frozen=True)
class Straight(Path):
    """Straight towards the reference: to the level, or, without a level, all the way.

    All the way, its contributions are those of Integrated Gradients (Sundararajan, Taly & Yan 2017,
    arXiv 1703.01365), negated, because the path leads from the input to the reference; `attribute` returns
    them with the sign of Integrated Gradients.

    Args:
        steps: number of gradient evaluations (midpoint rule).
    """

    steps: int = 32

    default_level = None
    follows_slopes = False

    def __post_init__(self):
        require_count("Straight(steps)", self.steps)

    def check(self, coordinates: Coordinates, geometry: Geometry) -> None:
        if not coordinates.has_reference:
            raise ValueError(
                f"path: Straight() leads to a reference, and {type(coordinates).__name__} has none. "
                "Give one, for example Input(reference=0.0)."
            )

    def walk(self, journey: Journey) -> None:
        full = journey.chart.direction
        share = torch.ones_like(full.flatten(1)[:, 0])
        if journey.level is not None:
            self._shorten(journey, share)
        for step in journey.progress(range(self.steps)):
            rows = journey.active
            way = per(share[rows], full) * full[rows]
            slope = journey.look(rows, way * ((step + 0.5) / self.steps))
            way = per(share[slope.rows], full) * full[slope.rows]
            length = share[slope.rows] / self.steps
            journey.advance(slope.rows, way * ((step + 1) / self.steps), slope.base, length)

    def _shorten(self, journey: Journey, share: Tensor) -> None:
        """Cut each example's way, in place, to the first place where its score is at the level."""
        full, rows = journey.chart.direction, journey.active
        above = (journey.start - journey.level)[rows]
        found = torch.zeros_like(above, dtype=torch.bool)
        bracket = share.new_zeros(len(rows), 2)
        for step in range(1, self.steps + 1):
            open_rows = rows[~found]
            if not len(open_rows):
                break
            value = journey.values(open_rows, full[open_rows] * (step / self.steps))
            beyond = (value - journey.level[open_rows]) * above[~found] <= 0
            hit = torch.zeros_like(found)
            hit[~found] = beyond
            bracket[hit] = bracket.new_tensor([(step - 1) / self.steps, step / self.steps])
            found |= hit
        if found.any():
            hit = rows[found]
            share[hit] = journey.crossing(hit, torch.zeros_like(full[hit]), full[hit], bracket[found])
        journey.blame(rows[~found], f"{OUT_OF_REACH}: the score stays on one side of it up to the reference")


@dataclass(frozen=True)
class Flow(Path):
    """Steepest descent (ascent, if the level is higher) at unit rate of the score.

    Solves du/ds = P M P G / (G . P M P G) by the explicit midpoint rule, in equal steps of the score, each
    re-aimed at what is still to go; a step that passes the level ends on it, by a root search on its chord.
    Steps are fixed because the gradient of a ReLU network is piecewise constant and an adaptive step size
    would stall at its kinks. Its contribution G_i du_i is the summand of IDGI (Yang et al. 2023,
    arXiv 2303.14242).

    Args:
        steps: planned number of steps, two gradient evaluations each; as many again may be spent on
            examples that have not arrived by then.
    """

    steps: int = 16

    def __post_init__(self):
        require_count("Flow(steps)", self.steps)

    def walk(self, journey: Journey) -> None:
        here = journey.here()
        # an example that falls behind (chattering at a kink, say) catches up in steps of at most twice the plan
        most = 2 * (journey.level - journey.start).abs() / self.steps
        for step in journey.progress(range(2 * self.steps)):
            here, velocity, _ = journey.steepest(here)
            if not len(here.rows):
                return
            rise = torch.zeros_like(journey.start)
            rise[here.rows] = (journey.level[here.rows] - here.value) / max(self.steps - step, 1)
            rise = rise.clamp(-most, most)
            halfway = here.u + velocity * per(rise[here.rows] / 2, velocity)
            middle = journey.look(here.rows, journey.chart.clip(halfway, here.rows))
            middle, velocity, pace = journey.steepest(middle)
            rows = middle.rows
            here = here.only(rows)
            u = journey.chart.clip(here.u + velocity * per(rise[rows], velocity), rows)
            there = journey.look(rows, u)
            middle, here = middle.only(there.rows), here.only(there.rows)
            length = rise[rows].abs() * pace
            here = self._move(journey, here, middle, there, length[torch.isin(rows, there.rows)])

    def _move(self, journey: Journey, here: Slope, middle: Slope, there: Slope, length: Tensor) -> Slope:
        """Advance by one step, or by the part of it that ends on the level; the slopes of those not there."""
        rows = here.rows
        level, tolerance = journey.level[rows], journey.tolerance[rows]
        arrived = (there.value - level).abs() <= tolerance
        passed = ~arrived & ((there.value - level) * (here.value - level) < 0)
        part = torch.ones_like(length)
        score = there.value.clone()
        if passed.any():
            ends = part.new_tensor([0.0, 1.0]).expand(int(passed.sum()), 2)
            part[passed] = journey.crossing(rows[passed], here.u[passed], there.u[passed], ends)
            score[passed] = torch.nan
        u = here.u + per(part, here.u) * (there.u - here.u)
        journey.advance(rows, u, mean_on_chord(here, middle, there, part), length * part, score)
        journey.stop(rows[arrived])
        journey.stop(rows[passed], JUMP)
        return there.keep(~(arrived | passed))


def mean_on_chord(here: Slope, middle: Slope, there: Slope, part: Tensor) -> Tensor:
    """Mean gradient over the first part of a step, (n, *B).

    The quadratic through the gradients at the step's start, middle and end, integrated from 0 to part, (n,),
    and divided by part; for the whole step this is Simpson's rule.
    """
    p = per(part, here.base)
    first = 1 - 3 / 2 * p + 2 / 3 * p**2
    half = 2 * p - 4 / 3 * p**2
    last = -p / 2 + 2 / 3 * p**2
    return first * here.base + half * middle.base + last * there.base


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


def require_count(name: str, value: int) -> None:
    """Raises ValueError unless the value is an int of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name}: expected an integer of at least 1; got {value!r}.")
