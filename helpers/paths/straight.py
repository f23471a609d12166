"""The straight way to a reference; all the way, it is Integrated Gradients."""

from dataclasses import dataclass

from torch import Tensor

from helpers.checks import require_count
from helpers.coordinates import Coordinates, taken
from helpers.geometry import Geometry
from helpers.journey import OUT_OF_REACH, Journey, per
from helpers.paths.base import Path, first_crossing


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
        share = journey.start.new_ones(journey.examples)
        if journey.level is not None:
            self._shorten(journey, share)
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
