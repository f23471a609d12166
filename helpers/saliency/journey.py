"""What a path sees, and what it leaves behind.

A path (see `paths`) never calls the model itself: it asks its `Journey` for slopes, moves by `advance`, and
ends each example by `stop`. The journey evaluates the score in batches, counts every evaluation, accumulates
the readouts and notes why an example stopped. All examples of a batch travel together; those that have
arrived are not evaluated any more.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
import torch
from scipy.optimize.elementwise import find_root
from torch import Tensor
from tqdm.auto import tqdm

from helpers.saliency.conductance import Conductance, State
from helpers.saliency.coordinates import taken
from helpers.saliency.evaluator import Evaluator
from helpers.saliency.geometries import Euclidean, Geometry
from helpers.saliency.levels import Level, Situation

NOT_FINITE = "the model's score or its gradient is not finite at a point on the path"
NOT_FINITE_AT_START = "the model's score or its gradient is not finite at the input itself"
VANISHING = "vanishing gradient: the score is flat here, no direction leads to the level"
BLOCKED = "every coordinate that could move the score towards the level is at its bound"
BUDGET = "step budget spent: allow more steps, or the level is out of reach"
OUT_OF_REACH = "level out of reach on this path"
RISE = "the reference scores higher than the input: the share is a rise"
JUMP = "the score jumps across the level: no point of the path lies on it"


@dataclass
class Slope:
    """The score and its gradient at one point for each of n examples.

    rows: the examples' numbers in the batch, shape (n,). u: the points, (n, *S). value: scores, (n,).
    gradient: dF/du, (n, *S). base: gradients in the space that the chart maps to, (n, 1 + R, *B): of the
    score, then of the R competitors' scores where they are wanted there. states: of the modules that are read,
    if any.

    Example:
        >>> import torch
        >>> two = torch.tensor([[2.0], [3.0]])
        >>> slope = Slope(rows=torch.tensor([0, 5]), u=two, value=two[:, 0], gradient=two, base=two[:, None])
        >>> slope.only(torch.tensor([5])).value
        tensor([3.])
    """

    rows: Tensor
    u: Tensor
    value: Tensor
    gradient: Tensor
    base: Tensor
    states: list[State] = field(default_factory=list)

    def keep(self, mask: Tensor) -> "Slope":
        """The same for the examples where mask, shape (n,), is true."""
        if mask.all():
            return self
        tensors = (self.rows, self.u, self.value, self.gradient, self.base)
        return Slope(*(each[mask] for each in tensors), [state.keep(mask) for state in self.states])

    def only(self, rows: Tensor) -> "Slope":
        """The same for those of the examples whose numbers are in rows."""
        return self.keep(torch.isin(self.rows, rows))


class Journey:
    """One run of a path over a batch of N examples.

    Attributes:
        u: where each example stands, shape (N, *S); starts at 0.
        score: the score there, (N,); NaN while unknown.
        start: the score at u = 0, (N,).
        stationarity: how well the endpoint is a nearest point, (N,), where the path looks for one.
        level: the score to reach, (N,); None where the path goes all the way to the reference.
        tolerance: how close to the level counts as there, (N,), in units of the score.

    Example:
        >>> import torch
        >>> from helpers.saliency import Input, Value
        >>> from helpers.saliency.model import Forward
        >>> chart = Input().chart(torch.tensor([[3.0]]), Forward(lambda x: x.square()))
        >>> journey = Journey(Evaluator(chart, lambda outputs, rows: outputs[:, 0]))
        >>> journey.begin(Value(1.0), boundary=None, with_gradient=True)
        >>> journey.start, journey.here().gradient, journey.level
        (tensor([9.]), tensor([[6.]]), tensor([1.]))
    """

    def __init__(
        self,
        evaluate: Evaluator,
        geometry: Geometry = Euclidean(),
        show_progress: bool = False,
        trace: bool = False,
        keep_gradient: bool = True,
    ):
        """keep_gradient: whether `mean_gradient` will be asked for; trace: whether `trace` will be."""
        self.evaluate, self.chart, self.geometry = evaluate, evaluate.chart, geometry
        self._show_progress = show_progress
        shape, like = self.chart.shape, self.chart.origin
        self.examples = shape[0]
        self._all = torch.arange(self.examples, device=like.device)
        self.u = like.new_zeros(shape)
        self.contribution = like.new_zeros(shape[0], evaluate.scores_at_input, *like.shape[1:])
        self._gradient_sum = like.new_zeros(shape) if keep_gradient else None
        self._length = like.new_zeros(self.examples)
        self._first_gradient: Tensor | None = None
        self._here: Slope | None = None
        self._moving = torch.ones(self.examples, dtype=torch.bool, device=like.device)
        self._failed = torch.zeros_like(self._moving)
        self._blame = [""] * self.examples
        self._remark = [""] * self.examples
        self.level: Tensor | None = None
        self.stationarity: Tensor | None = None
        self._trace: list[tuple[Tensor, Tensor]] | None = [] if trace else None
        self._conductance = Conductance(self.examples) if evaluate.layers else None

    # ---- what a path asks -------------------------------------------------------------------------------

    @property
    def active(self) -> Tensor:
        """Numbers of the examples that are still on their way, shape (n,)."""
        return self._all[self._moving]

    def begin(self, level: Level | None, boundary: Callable[[int], float], with_gradient: bool) -> None:
        """Measure the start and settle the level of every example."""
        if with_gradient:
            self._here = self.look(self._all, self.u, NOT_FINITE_AT_START)
            if self._conductance is not None:
                self._conductance.begin(self._here.rows, self._here.states)
            self.start = self.u.new_full((self.examples,), torch.nan, dtype=self._here.value.dtype)
            self.start[self._here.rows] = self._here.value
            self._first_gradient = torch.zeros_like(self.u)
            self._first_gradient[self._here.rows] = self._here.gradient
        else:
            self.start = self.values(self._all, self.u)
            self.stop(self._all[~torch.isfinite(self.start)], NOT_FINITE_AT_START, failed=True)
        self.score = self.start.clone()
        self._note_trace()
        if level is not None:
            situation = Situation(
                start=self.start,
                boundary=lambda: boundary(self.evaluate.columns),
                reference=self._reference_score,
            )
            self.level = level.resolve(situation)
            eps = torch.finfo(self.start.dtype).eps
            largest = torch.maximum(self.start.abs(), self.level.abs())
            self.tolerance = eps**0.6 * (self.level - self.start).abs() + 64 * eps * largest
            self.stop(self._all[(self.level - self.start).abs() <= self.tolerance])

    def here(self) -> Slope:
        """The slope at the start, for the examples that are still on their way."""
        return self._here.only(self.active)

    def look(self, rows: Tensor, u: Tensor, reason: str | None = NOT_FINITE) -> Slope:
        """Score and gradient at u, (n, *S), of the examples with those numbers.

        Examples whose score or gradient is not finite there are left out of the answer, and stopped with that
        reason (None: not stopped, for points that are tried and not travelled).
        """
        if not len(rows):
            return Slope(rows, u, self.start[:0], self.u[:0], self.contribution[:0])
        value, base, states = self.evaluate(rows, u, with_gradient=True)
        slope = Slope(rows, u, value, self.chart.pull(base[:, 0], u, rows), base, states)
        finite = torch.isfinite(value)
        for gradient in (base, slope.gradient):
            finite &= torch.isfinite(torch.linalg.vector_norm(gradient.flatten(1), torch.inf, 1))
        if reason is not None:
            self.stop(rows[~finite], reason, failed=True)
        return slope.keep(finite)

    def values(self, rows: Tensor, u: Tensor) -> Tensor:
        """The score alone at u, shape (n,)."""
        return self.evaluate(rows, u, with_gradient=False)[0] if len(rows) else self.start[:0]

    def steepest(self, slope: Slope, away: Tensor | None = None) -> tuple[Slope, Tensor, Tensor]:
        """The velocity P M P G / (G . P M P G): steepest in the geometry, at unit rate of the score.

        P keeps the coordinates that are free to move towards the level: those at a bound that the velocity
        would leave are dropped, until none is. Examples without a direction are stopped.

        Args:
            away: without a level: +1 where the score is to rise, -1 where it is to fall, (n,). Examples without a
                direction are then left out and not stopped.

        Returns:
            The slope of the examples that have a direction; the velocity, (n, *S), with G . velocity = 1;
            its size in the geometry, (n,).
        """
        stops = away is None
        if away is None:
            away = (self.level[slope.rows] - self.start[slope.rows]).sign()
        gradient, rows = slope.gradient, slope.rows
        free = torch.ones_like(gradient, dtype=torch.bool)
        velocity, squared = self._climb(gradient, free)
        while True:
            blocked = self._leaving(slope, velocity * per(away, velocity)) & free
            if not blocked.any():
                break
            free = free & ~blocked
            velocity, squared = self._climb(gradient, free)
        flat = squared <= torch.finfo(squared.dtype).tiny
        if flat.any():
            at_bounds = flat & (~free).flatten(1).any(1) & (gradient != 0).flatten(1).any(1)
            if stops:
                self.stop(rows[at_bounds], BLOCKED, failed=True)
                self.stop(rows[flat & ~at_bounds], VANISHING, failed=True)
            velocity, squared, slope = velocity[~flat], squared[~flat], slope.keep(~flat)
        return slope, velocity / per(squared, velocity), squared.rsqrt()

    def crossing(self, rows: Tensor, start: Tensor, end: Tensor, bracket: Tensor) -> Tensor:
        """Where on the line through start and end, (n, *S), moved into the bounds, the score is at the level.

        Args:
            bracket: fractions of the chord, shape (n, 2), between which the score changes sides.

        Returns:
            The fraction, shape (n,), by a bracketed root search (Chandrupatla's, scipy).
        """

        def miss(fraction, number):
            number = torch.as_tensor(number, device=rows.device)
            step = torch.as_tensor(fraction, device=rows.device, dtype=start.dtype)
            row = rows[number]
            u = self.chart.clip(start[number] + per(step, start) * (end - start)[number], row)
            return ((self.values(row, u) - self.level[row]) / self.tolerance[row]).double().cpu().numpy()

        low, high = bracket.double().cpu().numpy().T
        with np.errstate(all="ignore"):
            root = find_root(
                miss,
                (low, high),
                args=(np.arange(len(rows)),),
                tolerances={"fatol": 1.0, "xatol": 0.0, "xrtol": torch.finfo(start.dtype).eps, "frtol": 0.0},
            )
        # without a sign change (two passes may round differently) the far end is as good as any
        fraction = np.where(np.isfinite(root.x), root.x, high)
        return torch.as_tensor(fraction, dtype=start.dtype, device=start.device)

    def progress(self, steps: Iterable) -> Iterable:
        """The steps, behind a progress bar where one was asked for."""
        return tqdm(steps, desc="path", leave=False) if self._show_progress else steps

    # ---- what a path does -------------------------------------------------------------------------------

    def advance(
        self,
        rows: Tensor,
        u: Tensor,
        base: Tensor,
        length: Tensor,
        score: Tensor | None = None,
        there: Slope | None = None,
        as_predicted: bool = False,
    ) -> None:
        """Move straight to u, (n, *S).

        Args:
            base: mean gradients along this step, (n, 1 + R, *B), as slopes have them.
            length: length of the step in the geometry, (n,); only its ratio to other steps matters.
            score: the score at u, (n,), where known.
            there: the slopes at u of those of the examples for which they are known; where modules are read, the
                others are measured.
            as_predicted: the step is a tangent's: what it does at modules is the tangent's prediction as well, and
                curved coordinates pull the gradient back at its start instead of halfway.
        """
        if self._conductance is not None:
            self._read(rows, u, there, as_predicted)
        start = taken(self.u, rows)
        change = self.chart.change(start, u, rows)[:, None]
        if len(rows) == self.examples:
            self.contribution.addcmul_(base, change)
        else:
            self.contribution[rows] += base * change
        if self._gradient_sum is not None:
            gradient = self.chart.pull(base[:, 0], start if as_predicted else (start + u) / 2, rows)
            if len(rows) == self.examples:
                self._gradient_sum.addcmul_(gradient, per(length, u))
            else:
                self._gradient_sum[rows] += gradient * per(length, u)
        self._length[rows] += length
        self.u[rows] = u
        self.score[rows] = torch.nan if score is None else score
        self._note_trace()

    def skip(self, rows: Tensor, u: Tensor) -> None:
        """Move to u, (n, *S), without counting what the score does on the way there."""
        if self._conductance is not None:
            self._conductance.forget(rows)
        self.u[rows] = u
        self.score[rows] = torch.nan
        self._note_trace()

    def stop(self, rows: Tensor, reason: str = "", failed: bool = False) -> None:
        """These examples have ended; `failed` means that they cannot have reached their level."""
        if not len(rows):
            return
        self._moving[rows] = False
        self._failed[rows] |= failed
        self.blame(rows, reason)

    def blame(self, rows: Tensor, reason: str) -> None:
        """The reason to report for these examples, should they turn out not to have reached their level."""
        for row in rows.tolist():
            self._blame[row] = reason

    def remark(self, rows: Tensor, text: str) -> None:
        """Something to report for these examples even if they reach their level."""
        for row in rows.tolist():
            self._remark[row] = text

    # ---- what is left behind ----------------------------------------------------------------------------

    def finish(self) -> None:
        """Measure what the path left unmeasured; afterwards every example has a score, level and verdict."""
        unknown = self._all[torch.isnan(self.score) & ~torch.isnan(self.start)]
        if len(unknown):
            self.score[unknown] = self.values(unknown, self.u[unknown])
            if self._trace is not None:
                self._trace[-1] = (self.u.clone(), self.score.clone())
        if self.level is None:
            self.level = self.score.clone()
            self.tolerance = torch.zeros_like(self.score)
        if passed_by := self.evaluate.passed_by:
            names = ", ".join(type(layer).__name__ for layer in passed_by)
            self.remark(self._all, f"a part of the score does not go through {names}, and is missing there")
        self._moving[:] = False
        self.converged = ((self.score - self.level).abs() <= self.tolerance) & ~self._failed
        self.blame(self._all[~torch.isfinite(self.score) & torch.isfinite(self.start)], NOT_FINITE)
        self.reason = [
            remark if converged else blame or BUDGET
            for remark, blame, converged in zip(
                self._remark, self._blame, self.converged.tolist(), strict=True
            )
        ]

    def mean_gradient(self) -> Tensor | None:
        """The gradient's mean over the path's length in the geometry, (N, *S); at rest, the gradient.

        None where it was not kept.
        """
        if self._gradient_sum is None:
            return None
        resting = (self._length == 0) & torch.isfinite(self.start)
        if self._first_gradient is None:
            self._first_gradient = torch.zeros_like(self.u)
            slope = self.look(self._all[resting], self.u[resting])
            self._first_gradient[slope.rows] = slope.gradient
        length = per(self._length.masked_fill(self._length == 0, 1), self.u)
        return torch.where(per(resting, self.u), self._first_gradient, self._gradient_sum / length)

    def layer_contributions(self) -> list[Tensor] | None:
        """What the scores changed by at each module that is read, (N, 1 + R, *L); None where none is read."""
        if self._conductance is None:
            return None
        if self._conductance.contributions is None:
            self._locate(self._all)
        return self._conductance.contributions

    def trace(self) -> tuple[Tensor, Tensor] | None:
        """Points u, (T, N, *S), and scores, (T, N), of the whole journey, where they were kept."""
        if self._trace is None:
            return None
        points, scores = zip(*self._trace, strict=True)
        return torch.stack(points), torch.stack(scores)

    # ---- inside -----------------------------------------------------------------------------------------

    def _locate(self, rows: Tensor) -> None:
        """Measure the states of the modules that are read where these examples stand."""
        here = self.look(rows, self.u[rows])
        self._conductance.begin(here.rows, here.states)

    def _read(self, rows: Tensor, u: Tensor, there: Slope | None, as_predicted: bool) -> None:
        """Add a step to u, (n, *S), to the contributions at modules."""
        if len(unknown := self._conductance.unknown(rows)):
            self._locate(unknown)
        if as_predicted:
            start = taken(self.u, rows)
            changes = self.evaluate.changes(rows, start, self.chart.change(start, u, rows))
            self._conductance.tangent_step(rows, changes)
        else:
            missing = torch.ones_like(rows, dtype=torch.bool)
            if there is not None:
                missing = ~torch.isin(rows, there.rows)
                self._conductance.step(there.rows, there.states)
            if missing.any():
                there = self.look(rows[missing], u[missing])
                self._conductance.step(there.rows, there.states)

    def _note_trace(self) -> None:
        if self._trace is not None:
            self._trace.append((self.u.clone(), self.score.clone()))

    def _climb(self, gradient: Tensor, free: Tensor) -> tuple[Tensor, Tensor]:
        """P M P G and G . P M P G."""
        half = self.geometry.adjoint(gradient * free)
        return self.geometry.apply(half) * free, half.flatten(1).square().sum(1)

    def _leaving(self, slope: Slope, velocity: Tensor) -> Tensor:
        """The coordinates at a bound that the velocity points out of, (n, *S)."""
        bounds = (None if b is None else taken(b, slope.rows) for b in (self.chart.lower, self.chart.upper))
        return leaving(velocity, slope.u, *bounds)

    def _reference_score(self) -> Tensor:
        if self.chart.direction is None:
            raise ValueError(
                "level: Share(fraction) is a share of the way to the reference, and the coordinates have none. "
                "Give one, for example Input(reference=0.0)."
            )
        reference = self.values(self._all, self.chart.direction)
        if not self.chart.restores:
            self.remark(self._all[reference > self.start], RISE)
        return reference


def leaving(velocity: Tensor, place: Tensor, lower: Tensor | None, upper: Tensor | None) -> Tensor:
    """Which coordinates of a place, (n, ...), are at a bound that the velocity would leave.

    Example:
        >>> import torch
        >>> velocity, place = torch.tensor([[-1.0, 1.0, -1.0]]), torch.tensor([[0.0, 0.0, 0.5]])
        >>> leaving(velocity, place, lower=torch.zeros(1, 3), upper=None)
        tensor([[ True, False, False]])
    """
    out = torch.zeros_like(place, dtype=torch.bool)
    out |= False if lower is None else (place <= lower) & (velocity < 0)
    out |= False if upper is None else (place >= upper) & (velocity > 0)
    return out


def per(values: Tensor, like: Tensor) -> Tensor:
    """One value per example, (n,), shaped to multiply a tensor of shape (n, ...).

    Example:
        >>> import torch
        >>> per(torch.tensor([1.0, 2.0]), torch.zeros(2, 3, 4, 4)).shape
        torch.Size([2, 1, 1, 1])
    """
    return values.reshape(-1, *[1] * (like.ndim - 1))
