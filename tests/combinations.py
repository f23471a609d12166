"""Every valid combination of the choices, in one list that the tests run through."""

from dataclasses import dataclass

import torch

from helpers.saliency import (
    Coordinates,
    Covariance,
    Euclidean,
    Flow,
    Geometry,
    Input,
    Nearest,
    NonlinearSaliency,
    Path,
    Removal,
    Scaled,
    Secant,
    Straight,
    Tangent,
)

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
        bounds = "-bounds" if isinstance(self.coordinates, Input) and self.coordinates.bounded else ""
        return "-".join(type(part).__name__ for part in parts) + bounds

    @property
    def all_the_way(self) -> bool:
        return self.path.default_level is None

    @property
    def removes(self) -> bool:
        return self.coordinates.removes

    def saliency(self, model, score, **options) -> NonlinearSaliency:
        return NonlinearSaliency(
            model,
            score=score,
            coordinates=self.coordinates,
            geometry=self.geometry,
            path=self.path,
            **options,
        )


REFERENCE = torch.tensor([[0.3, -0.2, 0.1, 0.4]], dtype=torch.float64)
# far enough away never to be active in the tests of agreement
FREE, BOXED = Input(reference=REFERENCE), Input(lower=-50.0, upper=50.0, reference=REFERENCE)
REMOVAL = Removal(REFERENCE)

SCALED = Scaled(torch.tensor([1.0, 2.0, 0.5, 1.5], dtype=torch.float64))
MIXING = torch.tensor(
    [[1.0, 0, 0, 0], [0.6, 1, 0, 0], [0, -0.4, 1, 0], [0.2, 0, 0.3, 1]], dtype=torch.float64
)
COVARIANCE = Covariance(MIXING @ MIXING.T)
GEOMETRIES = (Euclidean(), SCALED, COVARIANCE)

TANGENT, STRAIGHT, FLOW, SECANT = Tangent(), Straight(steps=24), Flow(steps=12), Secant(32, 12)
NEAREST = Nearest(iterations=24, starts=1, nodes=12)

COMBINATIONS = [
    *(Combination(path, FREE, g) for path in (TANGENT, STRAIGHT, FLOW, SECANT, NEAREST) for g in GEOMETRIES),
    *(Combination(path, BOXED, g) for path in (TANGENT, STRAIGHT, FLOW) for g in GEOMETRIES),
    *(Combination(NEAREST, BOXED, g) for g in (Euclidean(), SCALED)),
    *(Combination(path, REMOVAL, Euclidean()) for path in (TANGENT, STRAIGHT, FLOW)),
]

REFUSED = [
    Combination(STRAIGHT, Input(), Euclidean()),
    *(Combination(SECANT, coordinates, Euclidean()) for coordinates in (BOXED, REMOVAL)),
    Combination(NEAREST, REMOVAL, Euclidean()),
    Combination(NEAREST, BOXED, COVARIANCE),
    *(Combination(FLOW, REMOVAL, geometry) for geometry in (SCALED, COVARIANCE)),
]
