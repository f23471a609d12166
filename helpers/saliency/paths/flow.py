"""Steepest descent of the score, re-aimed at every step."""

from dataclasses import dataclass

import torch
from torch import Tensor

from helpers.checks import require_count
from helpers.saliency.journey import JUMP, Journey, Slope, per
from helpers.saliency.paths.base import Path


@dataclass(frozen=True)
class Flow(Path):
    """Steepest descent (ascent, if the level is higher) at unit rate of the score.

    Solves du/ds = P M P G / (G . P M P G) by the explicit midpoint rule, in equal steps of the score, each
    re-aimed at what is still to go; a step that passes the level ends on it, by a root search on its chord.
    Steps are fixed because the gradient of a ReLU network is piecewise constant and an adaptive step size
    would stall at its kinks. Its contribution G_i du_i is the summand of IDGI (Yang et al. 2023,
    arXiv 2303.14242).

    Within bounds, a coordinate that is less than half a step from its bound is taken for at it, and stays where it
    is; so the end may differ from the exact flow's by half a step in each such coordinate, and by less with more
    steps. The level is reached all the same.

    On a smooth score the contributions' `completeness_error` falls as 1 / steps^2, on kinks as 1 / steps; it is
    recorded, and never shared out among them.

    Args:
        steps: planned number of steps, two gradient evaluations each; as many again may be spent on
            examples that have not arrived by then.

    Example:
        >>> import torch
        >>> from helpers.saliency import NonlinearSaliency
        >>> from helpers.saliency import Logit
        >>> circle = lambda x: x.square().sum(1, keepdim=True) - 1
        >>> saliency = NonlinearSaliency(circle, Logit(), path=Flow(steps=8))
        >>> run = saliency.explain(torch.tensor([[1.2, 1.6]], dtype=torch.float64))
        >>> run.endpoint.round(decimals=4)
        tensor([[0.6000, 0.8000]], dtype=torch.float64)
        >>> run.score_start.round(decimals=4), run.converged
        (tensor([3.], dtype=torch.float64), tensor([True]))
        >>> run.contribution.sum(1).round(decimals=4), run.completeness_error.round(decimals=4)
        (tensor([-3.0039], dtype=torch.float64), tensor([-0.0039], dtype=torch.float64))
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
        journey.advance(
            rows, u, mean_on_chord(here, middle, there, part), length * part, score, there.keep(~passed)
        )
        journey.stop(rows[arrived])
        journey.stop(rows[passed], JUMP)
        return there.keep(~(arrived | passed))


def mean_on_chord(here: Slope, middle: Slope, there: Slope, part: Tensor) -> Tensor:
    """Mean gradients over the first part of a step, (n, 1 + R, *B).

    The quadratic through the gradients at the step's start, middle and end, integrated from 0 to part, (n,),
    and divided by part; for the whole step this is Simpson's rule.

    Example:
        >>> import torch
        >>> gradients = torch.tensor([0.0, 1.0, 2.0]).reshape(3, 1, 1, 1)  # at start, middle and end
        >>> slopes = [Slope(None, None, None, None, base=gradient) for gradient in gradients]
        >>> mean_on_chord(*slopes, part=torch.tensor([0.5])), mean_on_chord(*slopes, part=torch.tensor([1.0]))
        (tensor([[[0.5000]]]), tensor([[[1.]]]))
    """
    p = per(part, here.base)
    first = 1 - 3 / 2 * p + 2 / 3 * p**2
    half = 2 * p - 4 / 3 * p**2
    last = -p / 2 + 2 / 3 * p**2
    return first * here.base + half * middle.base + last * there.base
