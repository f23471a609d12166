"""The straight way to a reference; all the way, it is Integrated Gradients."""

from dataclasses import dataclass

import torch
from torch import Tensor

from helpers.checks import require_count
from helpers.saliency.coordinates import Coordinates, taken
from helpers.saliency.geometries import Geometry
from helpers.saliency.journey import OUT_OF_REACH, Journey, per
from helpers.saliency.paths.base import Path, first_crossing, walk_nodes


@dataclass(frozen=True)
class Straight(Path):
    """Straight towards the reference: to the level, or, without a level, all the way.

    All the way, its contributions are those of Integrated Gradients (Sundararajan, Taly & Yan 2017,
    arXiv 1703.01365), negated, because the path leads from the input to the reference; `attribute` returns
    them with the sign of Integrated Gradients.

    Args:
        steps: number of steps.
        rule: where the gradient is evaluated: "midpoint", in the middle of each step; or "trapezoid", at the
            steps' ends, steps + 1 evaluations, which is also where modules are read (`explain(layers=...)`), so
            that reading them costs no pass.

    Raises:
        ValueError: no steps, or another rule.

    Example:
        >>> import torch
        >>> from helpers.saliency import Input
        >>> from helpers.saliency import NonlinearSaliency
        >>> from helpers.saliency import Logit
        >>> to_0 = Input(reference=0.0)
        >>> saliency = NonlinearSaliency(lambda x: x.square(), Logit(), to_0, path=Straight())
        >>> saliency.attribute(torch.tensor([[3.0]])).round(decimals=4)
        tensor([[9.]])
    """

    steps: int = 32
    rule: str = "midpoint"

    default_level = None

    def __post_init__(self):
        require_count("Straight(steps)", self.steps)
        if self.rule not in ("midpoint", "trapezoid"):
            raise ValueError(f"Straight(rule): expected 'midpoint' or 'trapezoid'; got {self.rule!r}.")

    @property
    def follows_slopes(self) -> bool:
        return self.rule == "trapezoid"

    def check(self, coordinates: Coordinates, geometry: Geometry) -> None:
        require_reference(self, coordinates)

    def walk(self, journey: Journey) -> None:
        share = journey.start.new_ones(journey.examples)
        if journey.level is not None:
            self._shorten(journey, share)
        if self.rule == "trapezoid":
            walk_nodes(journey, self.steps, lambda rows, step: self._place(journey, rows, share, step))
            return
        for step in journey.progress(range(self.steps)):
            slope = journey.look(journey.active, self._place(journey, journey.active, share, step + 0.5))
            end = self._place(journey, slope.rows, share, step + 1)
            journey.advance(slope.rows, end, slope.base, share[slope.rows] / self.steps)
            # or they would take up memory during the next pass
            del slope, end

    def _place(self, journey: Journey, rows: Tensor, share: Tensor, step: float) -> Tensor:
        """Where the examples with those numbers are after so many steps, (n, *S)."""
        direction = taken(journey.chart.direction, rows)
        return direction * per(share[rows] * (step / self.steps), direction)

    def _shorten(self, journey: Journey, share: Tensor) -> None:
        """Cut each example's way, in place, to the first place where its score is at the level."""
        rows = journey.active
        fractions = [step / self.steps for step in range(1, self.steps + 1)]
        found, fraction = first_crossing(journey, rows, journey.chart.direction[rows], fractions)
        share[rows[found]] = fraction[found]
        journey.blame(rows[~found], f"{OUT_OF_REACH}: the score stays on one side of it up to the reference")


@dataclass(frozen=True)
class Stretch(Path):
    """A stretch of the straight way to the reference: from the share `begin` of the way to the share `end`.

    Where the score falls late on the way, what it loses there is more specific than what it loses at the input
    (benchmarks/NOTES.md, 13). The way up to `begin` is skipped, so the contributions sum to F(end) - F(begin)
    by the midpoint rule, and `completeness_error` contains what the score lost before `begin`. With the whole way
    it is `Straight`.

    Args:
        steps: number of gradient evaluations.
        begin, end: shares of the way, 0 <= begin < end <= 1.

    Raises:
        ValueError: other values, or a level (the stretch decides where it ends).

    Example:
        >>> import torch
        >>> from helpers.saliency import Input
        >>> from helpers.saliency import NonlinearSaliency
        >>> from helpers.saliency import Logit
        >>> to_0 = Input(reference=0.0)
        >>> saliency = NonlinearSaliency(lambda x: x.square(), Logit(), to_0, path=Stretch(begin=0.5))
        >>> saliency.attribute(torch.tensor([[3.0]])).round(decimals=4)  # what 1.5 squared still has
        tensor([[2.2500]])
    """

    steps: int = 8
    begin: float = 0.0
    end: float = 1.0

    default_level = None
    follows_slopes = False

    def __post_init__(self):
        require_count("Stretch(steps)", self.steps)
        if not 0 <= self.begin < self.end <= 1:
            raise ValueError(
                f"Stretch(begin, end): expected 0 <= begin < end <= 1; got {self.begin!r} and {self.end!r}."
            )

    def check(self, coordinates: Coordinates, geometry: Geometry) -> None:
        require_reference(self, coordinates)

    def walk(self, journey: Journey) -> None:
        if journey.level is not None:
            raise ValueError("level: Stretch ends at its share of the way; pass no level, or use Straight.")
        journey.skip(journey.active, taken(journey.chart.direction, journey.active) * self.begin)
        length = (self.end - self.begin) / self.steps
        for step in journey.progress(range(self.steps)):
            way = taken(journey.chart.direction, journey.active)
            slope = journey.look(journey.active, way * (self.begin + (step + 0.5) * length))
            end = taken(journey.chart.direction, slope.rows) * (self.begin + (step + 1) * length)
            journey.advance(slope.rows, end, slope.base, torch.full_like(slope.value, length))
            # or they would take up memory during the next pass
            del slope, end, way


@dataclass(frozen=True)
class StraightTangent(Path):
    """The straight way to the reference as the tangent at the input sees it: the linear member beside `Straight`.

    Its contributions are gradient times (reference - input), so that what differs from `Straight`, in the same
    coordinates, is the nonlinearity alone. They sum to the tangent's prediction: `completeness_error` says by
    how much the tangent misses the score at the endpoint. With a level, the way ends where the tangent predicts
    it, at the reference at the latest. One gradient evaluation.

    Example:
        >>> import torch
        >>> from helpers.saliency import Input
        >>> from helpers.saliency import NonlinearSaliency
        >>> from helpers.saliency import Logit
        >>> to_0 = Input(reference=0.0)
        >>> saliency = NonlinearSaliency(lambda x: x.square(), Logit(), to_0, path=StraightTangent())
        >>> run = saliency.explain(torch.tensor([[3.0]]))
        >>> run.support(), run.completeness_error  # 9 is what there was to explain
        (tensor([[18.]]), tensor([-9.]))
    """

    default_level = None

    def check(self, coordinates: Coordinates, geometry: Geometry) -> None:
        require_reference(self, coordinates)

    def walk(self, journey: Journey) -> None:
        slope = journey.here()
        way = taken(journey.chart.direction, slope.rows)
        share = torch.ones_like(slope.value)
        if journey.level is not None:
            rise = (slope.gradient * way).flatten(1).sum(1)
            share = ((journey.level[slope.rows] - slope.value) / rise).nan_to_num(1.0)
            # a way that the tangent sees leading away from the level is followed to its end
            share = torch.where(share > 0, share, 1.0).clamp_max(1)
        journey.advance(slope.rows, way * per(share, way), slope.base, share, as_predicted=True)
        journey.stop(slope.rows, "the tangent misses the level")


def require_reference(path: Path, coordinates: Coordinates) -> None:
    """Raises ValueError where there is no reference for a path to lead to.

    Example:
        >>> from helpers.saliency import Input
        >>> require_reference(Straight(), Input())  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        ValueError: path: Straight() leads to a reference, and Input has none. Give one, for exa...
    """
    if not coordinates.has_reference:
        raise ValueError(
            f"path: {type(path).__name__}() leads to a reference, and {type(coordinates).__name__} has none. "
            f"Give one, for example {coordinates.with_reference}."
        )
