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
# stages in which the level moves from the start to its goal, chords that an iteration takes into account, and the
# mismatch below which the level moves on
STAGES, DEPTH, CLOSE = 4, 6, 0.3
# weight of the ridge in the acceleration's least squares, and to how many bits its steps are rounded: without it,
# where the iteration does not settle, it would carry a difference in the last bit (another batch) to the first
RIDGE, BITS = 1e-6, 12


@dataclass(frozen=True)
class Secant(Path):
    """The chord that is aligned with its own mean gradient: the tangent step, with the tangent replaced.

    d = (l - F(0)) M g / (g . M g), where g is the mean gradient along the chord from 0 to d. Then the chord
    reaches the level, and g explains the finite change as the gradient explains an infinitesimal one. Found by
    fixed-point iteration with Anderson's acceleration (Walker & Ni 2011, doi 10.1137/10078356X), followed in the
    level from the tangent's branch. It may cease to exist, or the iteration may not settle: the record then says
    so. No bounds.

    Args:
        iterations: fixed-point iterations, at most; the first few also move the level from the start to its goal.
        nodes: gradient evaluations per iteration (Gauss-Legendre quadrature along the chord), and once more for the
            contributions where the chord was not yet at the level and its length is adjusted (at kinks, or with few
            nodes), or where the coordinates are curved (midpoint rule).

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
        stages = min(STAGES, max(self.iterations // 2, 1))
        stage = torch.ones_like(goal)
        here = journey.here()
        known = Asked(journey.u)
        rows, slope = self._per_unit(journey, here.rows, here.gradient)
        # a chord of length 0 has the gradient at the input for its mean
        known.note(rows, torch.zeros_like(slope), slope)
        chords = torch.zeros_like(journey.u)
        chords[rows] = known.settled_for(rows, goal[rows] / stages)
        for _ in journey.progress(range(self.iterations)):
            base, gradient, rows = self._mean_gradient(journey, self._spread(journey, chords))
            kept, slope = self._per_unit(journey, rows, gradient)
            base, rows = base[torch.isin(rows, kept)], kept
            known.note(rows, chords[rows], slope)
            asked = slope * per(goal[rows] * stage[rows] / stages, slope)
            off = (asked - chords[rows]).flatten(1).norm(dim=1) / asked.flatten(1).norm(dim=1)
            settled = (off <= torch.finfo(off.dtype).eps ** 0.6) & (stage[rows] == stages)
            self._arrive(journey, rows[settled], self._spread(journey, asked[settled]), base[settled])
            stage[rows] = torch.where(off < CLOSE, stage[rows] + 1, stage[rows]).clamp_max(stages)
            rows = journey.active
            chords[rows] = known.settled_for(rows, goal[rows] * stage[rows] / stages)
        rows = journey.active
        journey.stop(rows, NO_SECANT, failed=True)
        self._arrive(journey, rows, self._spread(journey, chords[rows]))

    @staticmethod
    def _spread(journey: Journey, chords: Tensor) -> Tensor:
        """The displacements d = K v of chords v, which are what the iteration works with."""
        return journey.geometry.apply(chords)

    def _mean_gradient(
        self, journey: Journey, chords: Tensor, rows: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Mean gradients along the chords, (N, *S), of those examples: base, (n, 1 + R, *B), gradient, (n, *S).

        The third are the examples' numbers; rows None: those on their way.
        """
        rows = journey.active if rows is None else rows
        base, gradient = torch.zeros_like(journey.contribution), torch.zeros_like(journey.u)
        places, weights = np.polynomial.legendre.leggauss(self.nodes)
        for place, weight in zip((places + 1) / 2, weights / 2, strict=True):
            slope = journey.look(rows, chords[rows] * place)
            rows = slope.rows
            base[rows] += slope.base * weight
            gradient[rows] += slope.gradient * weight
        return base[rows], gradient[rows], rows

    def _per_unit(self, journey: Journey, rows: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """The chords v that mean gradients, (n, *S), ask for, per unit that the score is to rise, with the rows."""
        half = journey.geometry.adjoint(gradient)
        squared = half.flatten(1).square().sum(1)
        flat = squared <= torch.finfo(squared.dtype).tiny
        journey.stop(rows[flat], VANISHING, failed=True)
        return rows[~flat], half[~flat] / per(squared[~flat], half)

    def _arrive(self, journey: Journey, rows: Tensor, chord: Tensor, base: Tensor | None = None) -> None:
        """End on the chord, (n, *S), at the place near its end where the score is exactly at the level.

        base: the mean gradients along the chord, where known.
        """
        if not len(rows):
            return
        score = journey.values(rows, chord)
        off = (score - journey.level[rows]).abs() > journey.tolerance[rows]
        chords = torch.zeros_like(journey.u)
        chords[rows] = chord
        journey.stop(rows, NO_SECANT)
        if off.any():
            # quadrature across kinks is not exact: the chord keeps its direction, and its length is adjusted
            chords[rows[off]] *= per(self._length(journey, rows[off], chord[off]), chord)
            score[off] = torch.nan
        if journey.chart.curved:
            # straight in the coordinates is not straight in what the model reads: node by node
            along_chord(journey, rows, chords, self.nodes)
            return
        missing = off if base is not None else torch.ones_like(off)
        if missing.any():
            base = torch.zeros_like(journey.contribution[rows]) if base is None else base.clone()
            fresh, _, found = self._mean_gradient(journey, chords, rows[missing])
            base[torch.isin(rows, found)] = fresh
            known = ~missing | torch.isin(rows, found)
            rows, base, score = rows[known], base[known], score[known]
        journey.advance(rows, chords[rows], base, torch.ones_like(score), score)

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


class Asked:
    """The last chords of N examples and what their mean gradients asked for: Anderson's acceleration.

    The chord looked for is asked for by its own mean gradient. The mismatch is taken for linear in the differences
    of the known chords, the newest corrected by that, and moved by at most the length of what it asks for. What is
    asked for is kept per unit of the score, so that the same chords serve when the level moves.

    Example:
        >>> import torch
        >>> known, rows = Asked(torch.zeros(1, 1)), torch.tensor([0])
        >>> for chord in (0.0, 1.0):  # v asks for v / 2 + 1
        ...     known.note(rows, torch.tensor([[chord]]), torch.tensor([[chord / 2 + 1]]))
        >>> known.settled_for(rows, rise=torch.tensor([1.0]))
        tensor([[2.]])
    """

    def __init__(self, like: Tensor):
        self._chords = like.new_zeros(len(like), DEPTH, *like.shape[1:]).flatten(2)
        self._slopes = torch.zeros_like(self._chords)
        self._count = torch.zeros(len(like), dtype=torch.long, device=like.device)

    def note(self, rows: Tensor, chords: Tensor, slopes: Tensor) -> None:
        """Chords of these examples, and what they ask for per unit of the score, both (n, *S)."""
        for kept, newest in ((self._chords, chords), (self._slopes, slopes)):
            kept[rows] = torch.cat([newest.flatten(1)[:, None], kept[rows, :-1]], 1)
        self._count[rows] += 1
        self._shape = chords.shape[1:]

    def settled_for(self, rows: Tensor, rise: Tensor) -> Tensor:
        """The chords, (n, *S), that would ask for themselves, when the score is to rise by that much, (n,)."""
        chords, asked = self._chords[rows], self._slopes[rows] * rise[:, None, None]
        off = asked - chords
        turns, moves = off[:, :1] - off[:, 1:], asked[:, :1] - asked[:, 1:]
        known = torch.arange(1, DEPTH, device=rows.device) < self._count[rows, None]
        size = turns.norm(dim=2)
        scale = torch.where(known & (size > 0), 1 / size, 0)[:, :, None]
        turns, moves = (turns * scale).double(), moves * scale
        gram = turns @ turns.mT
        ridge = RIDGE * torch.eye(DEPTH - 1, dtype=gram.dtype, device=gram.device)
        weights = torch.linalg.solve(gram + ridge, turns @ off[:, 0, :, None].double())
        step = off[:, 0] - (moves * weights.to(moves)).sum(1)
        size, most = step.norm(dim=1), asked[:, 0].norm(dim=1)
        step = step * (most / size.clamp_min(torch.finfo(size.dtype).tiny)).clamp_max(1)[:, None]
        unit = torch.ldexp(torch.ones_like(most), torch.frexp(step.abs().amax(1)).exponent - BITS)[:, None]
        step = torch.where(unit > 0, (step / unit).round() * unit, 0)
        return (chords[:, 0] + step).reshape(-1, *self._shape)
