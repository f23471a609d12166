"""Every valid combination of the choices, in one list that the tests run through."""

from dataclasses import dataclass

import torch

from helpers.coordinates import Coordinates, Input
from helpers.geometry import Euclidean, Geometry
from helpers.nonlinear import NonlinearSaliency
from helpers.paths import Flow, Path, Straight, Tangent

FEATURES = 4


@dataclass(frozen=True)
class Combination:
    """One member of the class, on inputs with FEATURES features."""

    path: Path
    coordinates: Coordinates
    geometry: Geometry

    @property
    def name(self) -> str:
        parts = (self.path, self.coordinates, self.geometry)
        bounds = "-bounds" if self.coordinates.bounded else ""
        return "-".join(type(part).__name__ for part in parts) + bounds

    @property
    def all_the_way(self) -> bool:
        return self.path.default_level is None

    def saliency(self, model, score, **options) -> NonlinearSaliency:
        return NonlinearSaliency(
            model, score=score, coordinates=self.coordinates, geometry=self.geometry, path=self.path, **options
        )


REFERENCE = torch.tensor([[0.3, -0.2, 0.1, 0.4]], dtype=torch.float64)

COMBINATIONS = [
    Combination(path, coordinates, Euclidean())
    for path in (Tangent(), Straight(steps=24), Flow(steps=12))
    for coordinates in (
        Input(reference=REFERENCE),
        # far enough away never to be active in the tests of agreement
        Input(lower=-50.0, upper=50.0, reference=REFERENCE),
    )
]
