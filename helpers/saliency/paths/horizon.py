"""Steepest descent that looks ahead: between the flow and the straight way."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from helpers.checks import require_count
from helpers.saliency.coordinates import Chart, Coordinates, taken
from helpers.saliency.geometries import Geometry
from helpers.saliency.journey import BLOCKED, JUMP, NOT_FINITE, Journey, Slope, per
from helpers.saliency.paths.base import Path, by_trapezoid, clipped_ray

NO_HELP = "no coordinate that is left helps: the path ends before the reference"
UNFINISHED = "step budget spent before the end of the way: allow more steps"


@dataclass(frozen=True)
class Horizon(Path):
    """Evidence taken away, or given back, in the direction that pays over the next part of the way.

    Each step has the velocity of `Flow`, P M P g / (g . M P g), but g is the mean gradient over the next `share`
    of the way to the reference, at u + (1 - u) * share * t. With a small share it is the local gradient: `Flow`
    (by Euler's rule); with share=1 the first g is the mean gradient of `Straight`, that of Integrated Gradients
    (Sundararajan, Taly & Yan 2017, arXiv 1703.01365). Its nearest relative is I-GOS (Qi, Khorram & Li 2019, arXiv
    1905.00954), which descends along the integrated gradient, with a penalty on the mask in place of a level.
    For coordinates that remove evidence.

    Without a level each step changes u by the same sum, 1 / steps of what is there to change in the coordinates
    that help at the start (by more only where what helps later could not all be changed in twice as many steps):
    in proportion to the velocity, up to their bound, and none comes back. The path ends where no coordinate that
    is left helps; the reason says so, unless it is at the reference. To help is to bring the score towards that
    of the reference. With a level the steps are equal ones of the score, as those of `Flow`; where what is ahead
    is not what is near, so that the level has not been reached after them, equal sums follow. The step that
    passes the level ends on it, by a root search on its chord.

    Contributions are those of the steps that are taken, by the trapezoid rule: the gradients at their ends,
    besides those ahead. So completeness_error falls as 1 / steps^2 on smooth scores, as 1 / steps on kinks.

    Args:
        steps: planned number of steps, nodes + 1 gradient evaluations each; as many again may be spent on examples
            that have not arrived by then.
        nodes: gradient evaluations ahead (midpoints of equal parts).
        share: how far to look ahead, 0 < share <= 1, of the way that is left.
        up: from the reference to the input, what suffices, instead of what is necessary: u counts what is restored,
            score_start is the reference's, and `Share` is a share of the way to the input's score (Share(1.0) is
            that score). Maps are positive where what is restored supports the score.

    Raises:
        ValueError: counts below 1, another share, or coordinates that remove nothing.

    Example:
        >>> import torch
        >>> from helpers.saliency import Logit, NonlinearSaliency, Removal
        >>> enough = lambda x: (x[:, 0] + x[:, 1] - x[:, 0] * x[:, 1] - x[:, 2] / 2)[:, None]  # either of two
        >>> saliency = NonlinearSaliency(enough, Logit(), Removal(0.0), path=Horizon())
        >>> inputs = torch.tensor([[1.0, 0.5, 1.0]])
        >>> run = saliency.explain(inputs)
        >>> run.displacement, run.reason  # the third speaks against
        (tensor([[1., 1., 0.]]), ['no coordinate that is left helps: the path ends before the reference'])
        >>> run.support().sum(), run.score_start - run.score_end
        (tensor(1.), tensor([1.]))
        >>> upwards = saliency.replace(path=Horizon(up=True)).explain(inputs)
        >>> upwards.displacement, upwards.score_end  # with the first, no more of the second is needed
        (tensor([[1.0000, 0.2500, 0.0000]]), tensor([1.]))
        >>> upwards.support().round(decimals=2)
        tensor([[0.9300, 0.0700, 0.0000]])
    """

    steps: int = 8
    nodes: int = 4
    share: float = 1.0
    up: bool = False

    default_level = None

    def __post_init__(self):
        require_count("Horizon(steps)", self.steps)
        require_count("Horizon(nodes)", self.nodes)
        number = isinstance(self.share, (int, float)) and not isinstance(self.share, bool)
        if not (number and 0 < self.share <= 1):
            raise ValueError(
                f"Horizon(share): expected a share of the way that is left, 0 < share <= 1; got {self.share!r}. "
                "Use 1.0 to look all the way to the reference."
            )
        if not isinstance(self.up, bool):
            raise ValueError(
                f"Horizon(up): expected False (from the input to the reference) or True; got {self.up!r}."
            )

    def check(self, coordinates: Coordinates, geometry: Geometry) -> None:
        if not coordinates.removes:
            raise ValueError(
                f"path: Horizon() takes evidence away up to a reference, and {type(coordinates).__name__} removes "
                "none. Use Removal(reference), for example Removal(0.0), or Flow() there."
            )

    def course(self, chart: Chart) -> Chart:
        return chart.reversed() if self.up else chart

    def walk(self, journey: Journey) -> None:
        to_level = journey.level is not None
        away = (journey.level - journey.start).sign() if to_level else self._towards_reference(journey)
        here, quota = journey.here(), torch.zeros_like(journey.start)
        for step in journey.progress(range(2 * self.steps)):
            here = self._ahead(journey, here)
            if not len(here.rows):
                return
            if to_level and step < self.steps:
                here, end, length = self._by_score(journey, here, step)
            else:
                here, end, length = self._by_sum(journey, here, away, quota, 2 * self.steps - step)
            here = self._move(journey, here, end, length)
        if not to_level:
            journey.remark(here.rows, UNFINISHED)

    def _towards_reference(self, journey: Journey) -> Tensor:
        """Whether the score is higher (+1) or lower (-1) where the whole way leads, (N,)."""
        rows = journey.active
        away = torch.full_like(journey.start, 1.0 if self.up else -1.0)
        goal = journey.values(rows, taken(journey.chart.direction, rows))
        journey.stop(rows[~torch.isfinite(goal)], NOT_FINITE, failed=True)
        change = goal - journey.start[rows]
        away[rows] = torch.where(torch.isfinite(change) & (change != 0), change.sign(), away[rows])
        return away

    def _ahead(self, journey: Journey, here: Slope) -> Slope:
        """The slopes with, for their gradients, the mean ones over the next share of the way."""
        total = torch.zeros_like(journey.u)
        rows = here.rows
        for node in range(self.nodes):
            u = here.only(rows).u
            left = taken(journey.chart.direction, rows) - u
            slope = journey.look(rows, u + left * (self.share * (node + 0.5) / self.nodes))
            rows = slope.rows
            total[rows] += slope.gradient / self.nodes
        return replace(here.only(rows), gradient=total[rows])

    def _by_score(self, journey: Journey, here: Slope, step: int) -> tuple[Slope, Tensor, Tensor]:
        """A step as the flow's: where it starts, where it ends, (n, *S), and its length, (n,)."""
        here, velocity, pace = journey.steepest(here)
        rows = here.rows
        most = 2 * (journey.level - journey.start).abs()[rows] / self.steps
        rise = ((journey.level[rows] - here.value) / (self.steps - step)).clamp(-most, most)
        end = journey.chart.clip(here.u + velocity * per(rise, velocity), rows)
        return here, end, rise.abs() * pace

    def _by_sum(
        self, journey: Journey, here: Slope, away: Tensor, quota: Tensor, steps_left: int
    ) -> tuple[Slope, Tensor, Tensor]:
        """A step that changes the sum of u by its quota, as far as any coordinate helps; returns as `_by_score`.

        quota: (N,); 0 before an example's first such step, which sets it.
        """
        before = here.rows
        here, velocity, pace = journey.steepest(here, away[here.rows])
        velocity = (velocity * per(away[here.rows], velocity)).clamp_min(0)
        helps = velocity.flatten(1).any(1)
        here, velocity, pace = here.keep(helps), velocity[helps], pace[helps]
        ended = before[~torch.isin(before, here.rows)]
        if journey.level is None:
            journey.remark(ended, NO_HELP)
        journey.stop(ended, BLOCKED, failed=journey.level is not None)
        upper = taken(journey.chart.upper, here.rows)
        left = upper - here.u
        helping = (left * (velocity > 0)).flatten(1).sum(1)
        planned = quota[here.rows]
        quota[here.rows] = planned = planned.where(planned > 0, helping / self.steps)
        share = planned.maximum(helping / steps_left)
        # what round-off leaves over is no step
        share = share.where(share * (1 + 1e-4) < helping, torch.inf)
        size = velocity.flatten(1).sum(1)
        rate = velocity / per(size, velocity)
        time, _ = clipped_ray(torch.ones_like(rate), rate, share, None, left)
        move = rate * per(time, rate)
        filled = (move >= left * (1 - 1e-6)) & (rate > 0)
        return here, torch.where(filled, upper, here.u + move), time / size * pace

    def _move(self, journey: Journey, here: Slope, end: Tensor, length: Tensor) -> Slope:
        """Advance by a step, or by the part of it that ends on the level; the slopes of those not there."""
        there = journey.look(here.rows, end)
        length, here = length[torch.isin(here.rows, there.rows)], here.only(there.rows)
        if journey.level is None:
            arrived = (there.u >= taken(journey.chart.upper, there.rows)).flatten(1).all(1)
            passed = torch.zeros_like(arrived)
        else:
            level = journey.level[there.rows]
            arrived = (there.value - level).abs() <= journey.tolerance[there.rows]
            passed = ~arrived & ((there.value - level) * (here.value - level) < 0)
        if not passed.all():
            by_trapezoid(journey, here.keep(~passed), there.keep(~passed), length[~passed])
        journey.stop(there.rows[arrived])
        if passed.any():
            start, full, rows = here.u[passed], there.u[passed], there.rows[passed]
            part = journey.crossing(rows, start, full, start.new_tensor([0.0, 1.0]).expand(len(rows), 2))
            last = journey.look(rows, start + per(part, start) * (full - start))
            length = (length[passed] * part)[torch.isin(rows, last.rows)]
            if len(last.rows):
                by_trapezoid(journey, here.only(last.rows), last, length)
            journey.stop(last.rows, JUMP)
        return there.keep(~(arrived | passed))
