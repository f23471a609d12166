"""The chord that agrees with its own mean gradient."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from helpers.checks import require_count
from helpers.saliency.coordinates import Coordinates
from helpers.saliency.geometries import Geometry
from helpers.saliency.journey import VANISHING, Journey, per
from helpers.saliency.paths.base import Path, along_chord

NO_SECANT = "no secant found: the chord and its mean gradient do not settle on one direction"


@dataclass(frozen=True)
class Secant(Path):
    """The chord that is aligned with its own mean gradient: the tangent step, with the tangent replaced.

    d = (l - F(0)) M g / (g . M g), where g is the mean gradient along the chord from 0 to d. Then the chord
    reaches the level, and g explains the finite change as the gradient explains an infinitesimal one. Found by
    fixed-point iteration, followed in the level from the tangent's branch. It may cease to exist, or the
    iteration may not settle: the record then says so. No bounds.

    Args:
        iterations: fixed-point iterations; the first half also moves the level from the start to its goal.
        nodes: gradient evaluations per iteration (Gauss-Legendre quadrature along the chord), and once more
            for the contributions where the coordinates are curved (midpoint rule).

    Example:
        >>> import torch
        >>> from helpers.saliency import NonlinearSaliency
        >>> from helpers.saliency import Logit
        >>> saliency = NonlinearSaliency(lambda x: x.square(), Logit(), path=Secant())
        >>> run = saliency.explain(torch.tensor([[2.0]], dtype=torch.float64), level=1.0)
        >>> run.displacement.round(decimals=4)
        tensor([[-1.]], dtype=torch.float64)
        >>> run.mean_gradient.round(decimals=4)  # the chord's slope; the tangent's is 4
        tensor([[3.]], dtype=torch.float64)
    """

    iterations: int = 24
    nodes: int = 8

    def __post_init__(self):
        require_count("Secant(iterations)", self.iterations)
        require_count("Secant(nodes)", self.nodes)

    def check(self, coordinates: Coordinates, geometry: Geometry) -> None:
        if coordinates.bounded:
            raise ValueError(
                f"path: Secant() takes no bounds, and {type(coordinates).__name__} has some. Use Flow(), or "
                "coordinates without bounds."
            )

    def walk(self, journey: Journey) -> None:
        goal = journey.level - journey.start
        following = max(self.iterations // 2, 1)
        here = journey.here()
        chords, step = torch.zeros_like(journey.u), torch.zeros_like(journey.u)
        mismatch, size = torch.zeros_like(journey.u), torch.full_like(goal, torch.inf)
        damping = torch.ones_like(goal)
        chords[here.rows] = self._asked(journey, here.rows, here.gradient, goal[here.rows] / following)
        for iteration in journey.progress(range(1, self.iterations + 1)):
            base, gradient, rows = self._mean_gradient(journey, chords)
            asked = self._asked(journey, rows, gradient, goal[rows] * min((iteration + 1) / following, 1))
            off = asked - chords[rows]
            off_size = off.flatten(1).norm(dim=1) / asked.flatten(1).norm(dim=1)
            if iteration > following:
                settled = off_size <= torch.finfo(off.dtype).eps ** 0.6
                self._arrive(journey, rows[settled], asked[settled], base[settled])
                damping[rows] = torch.where(off_size < size[rows], damping[rows], damping[rows] / 2)
                move = extrapolated(off, mismatch[rows], step[rows]) * per(damping[rows], off)
            else:
                move = off
            chords[rows] += move
            mismatch[rows], step[rows], size[rows] = off, move, off_size
        base, _, rows = self._mean_gradient(journey, chords)
        journey.stop(rows, NO_SECANT, failed=True)
        self._arrive(journey, rows, chords[rows], base)

    def _mean_gradient(self, journey: Journey, chords: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Mean gradients along the chords of the examples on their way: base, (n, 1 + R, *B), gradient, (n, *S).

        The third are the examples' numbers.
        """
        rows = journey.active
        base, gradient = torch.zeros_like(journey.contribution), torch.zeros_like(journey.u)
        places, weights = np.polynomial.legendre.leggauss(self.nodes)
        for place, weight in zip((places + 1) / 2, weights / 2, strict=True):
            slope = journey.look(rows, chords[rows] * place)
            rows = slope.rows
            base[rows] += slope.base * weight
            gradient[rows] += slope.gradient * weight
        return base[rows], gradient[rows], rows

    def _asked(self, journey: Journey, rows: Tensor, gradient: Tensor, rise: Tensor) -> Tensor:
        """The chord that mean gradients ask for, to raise the score by that much: (n, *S)."""
        half = journey.geometry.adjoint(gradient)
        squared = half.flatten(1).square().sum(1)
        flat = squared <= torch.finfo(squared.dtype).tiny
        journey.stop(rows[flat], VANISHING, failed=True)
        return journey.geometry.apply(half * per(rise / squared.masked_fill(flat, torch.inf), half))

    def _arrive(self, journey: Journey, rows: Tensor, chord: Tensor, base: Tensor) -> None:
        """End on the chord, at the place near its end where the score is exactly at the level."""
        if not len(rows):
            return
        score = journey.values(rows, chord)
        off = (score - journey.level[rows]).abs() > journey.tolerance[rows]
        if off.any():
            # quadrature across kinks is not exact: the chord keeps its direction, and its length is adjusted
            chord[off] *= per(self._length(journey, rows[off], chord[off]), chord)
            score[off] = torch.nan
        if journey.chart.curved:
            # straight in the coordinates is not straight in what the model reads: node by node
            chords = torch.zeros_like(journey.u)
            chords[rows] = chord
            along_chord(journey, rows, chords, self.nodes)
        else:
            journey.advance(rows, chord, base, torch.ones_like(score), score)
        journey.stop(rows, NO_SECANT)

    def _length(self, journey: Journey, rows: Tensor, chord: Tensor) -> Tensor:
        """By what factor near 1 the chords, (n, *S), reach the level exactly; 1 where there is none."""
        low, high = 0.8, 1.2
        level = journey.level[rows]
        below, beyond = (journey.values(rows, chord * factor) - level for factor in (low, high))
        changes = (below * beyond < 0).nonzero()[:, 0]
        factor = torch.ones_like(level)
        if len(changes):
            ends = chord.new_tensor([low, high]).expand(len(changes), 2)
            chord = chord[changes]
            factor[changes] = journey.crossing(rows[changes], torch.zeros_like(chord), chord, ends)
        return factor


def extrapolated(off: Tensor, previous: Tensor, step: Tensor) -> Tensor:
    """The next step of a fixed-point iteration: its mismatch, corrected by how the last step changed it.

    Anderson's acceleration of depth 1 (Walker & Ni 2011, doi 10.1137/10078356X): off, previous: the mismatch
    now and before the last step, (n, *S).

    Example:
        >>> import torch
        >>> previous, step = torch.tensor([[1.0]]), torch.tensor([[1.0]])  # x -> x / 2 + 1, from 0 to 1
        >>> extrapolated(torch.tensor([[0.5]]), previous, step)  # from 1 to the fixed point 2
        tensor([[1.]])
    """
    turn = off - previous
    weight = (off * turn).flatten(1).sum(1) / turn.flatten(1).square().sum(1).clamp_min(
        torch.finfo(off.dtype).tiny
    )
    return off - per(weight.clamp(-1, 1), off) * (step + turn)
