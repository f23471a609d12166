"""Linear saliency, as the corner of the class that it is."""

from dataclasses import dataclass

import torch

from helpers.saliency.journey import BLOCKED, Journey, per
from helpers.saliency.paths.base import Path, clipped_ray


@dataclass(frozen=True)
class Tangent(Path):
    """One linear step, d = (l - F(0)) M G / (G . M G): linear saliency.

    Its mean gradient is the gradient at the input, its contributions are gradient times step and sum to
    l - F(0), its own prediction; the residual F(d) - l says how far the tangent misses, and `converged`
    whether it was right. Bounds stop the coordinates that run into them, and the others go further.
    One gradient evaluation, one forward evaluation.

    Example:
        >>> import torch
        >>> from helpers.saliency import NonlinearSaliency
        >>> from helpers.saliency import Logit
        >>> circle = lambda x: x.square().sum(1, keepdim=True) - 1
        >>> saliency = NonlinearSaliency(circle, Logit(), path=Tangent())
        >>> run = saliency.explain(torch.tensor([[1.2, 1.6]], dtype=torch.float64))
        >>> run.endpoint.norm().round(decimals=4), run.residual.round(decimals=4)
        (tensor(1.2500, dtype=torch.float64), tensor([0.5625], dtype=torch.float64))
        >>> run.converged, run.reason
        (tensor([False]), ['the tangent misses the level'])
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
        time, reached = clipped_ray(
            slope.gradient, velocity * per(rise.sign(), velocity), rise.abs(), lower, upper
        )
        step = velocity * per(time * rise.sign(), velocity)
        end = journey.chart.clip(step, slope.rows)
        journey.advance(slope.rows, end, slope.base, torch.ones_like(time), as_predicted=True)
        journey.stop(slope.rows[~reached], BLOCKED, failed=True)
        journey.stop(slope.rows[reached], "the tangent misses the level")
