"""Every valid combination of the choices, in one list that the tests run through."""

from dataclasses import dataclass

import torch

from helpers.saliency import (
    Coordinates,
    Covariance,
    Decoder,
    Euclidean,
    Flow,
    Geometry,
    Horizon,
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
        upwards = "-up" if getattr(self.path, "up", False) else ""
        return "-".join(type(part).__name__ for part in parts) + bounds + upwards

    @property
    def all_the_way(self) -> bool:
        return self.path.default_level is None

    @property
    def removes(self) -> bool:
        return self.coordinates.removes

    @property
    def mixes(self) -> bool:
        """Whether u is not one number for each feature."""
        return isinstance(self.coordinates, Decoder)

    def chart(self, inputs):
        """The coordinates, bound to inputs, in which the path is walked."""
        return self.path.course(self.coordinates.chart(inputs, None))

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
HORIZONS = (Horizon(12, 3), Horizon(12, 2, share=0.25), Horizon(12, 3, up=True))

COMBINATIONS = [
    *(Combination(path, FREE, g) for path in (TANGENT, STRAIGHT, FLOW, SECANT, NEAREST) for g in GEOMETRIES),
    *(Combination(path, BOXED, g) for path in (TANGENT, STRAIGHT, FLOW) for g in GEOMETRIES),
    *(Combination(NEAREST, BOXED, g) for g in (Euclidean(), SCALED)),
    *(Combination(path, REMOVAL, Euclidean()) for path in (TANGENT, STRAIGHT, FLOW, *HORIZONS)),
]

# a decoder whose code has as many numbers as there are features, so that the geometries fit; it leaves a rest
LINEAR = Decoder(lambda z: z @ (MIXING + 0.1).to(z), lambda x: x @ MIXING.T.to(x) * 0.7, REFERENCE)
BENT = Decoder(lambda z: torch.tanh(z @ MIXING.to(z)) + 0.3 * z, lambda x: 0.6 * x + 0.1, REFERENCE)
DRAWN = Decoder(BENT.decoder, BENT.encoder, REFERENCE, keep_rest=False)
COMBINATIONS += [
    *(Combination(path, LINEAR, g) for path in (TANGENT, STRAIGHT, FLOW) for g in GEOMETRIES),
    *(Combination(path, LINEAR, Euclidean()) for path in (SECANT, NEAREST)),
]
# what need not be exact on affine scores
CURVED = [
    *(Combination(path, BENT, Euclidean()) for path in (TANGENT, STRAIGHT, FLOW, SECANT, NEAREST)),
    *(Combination(path, BENT, COVARIANCE) for path in (TANGENT, FLOW)),
    Combination(FLOW, DRAWN, SCALED),
]

REFUSED = [
    Combination(STRAIGHT, Input(), Euclidean()),
    Combination(STRAIGHT, Decoder(LINEAR.decoder, LINEAR.encoder), Euclidean()),
    Combination(FLOW, Removal(REFERENCE, cells=2), SCALED),
    *(Combination(SECANT, coordinates, Euclidean()) for coordinates in (BOXED, REMOVAL)),
    Combination(NEAREST, REMOVAL, Euclidean()),
    *(Combination(HORIZONS[0], coordinates, Euclidean()) for coordinates in (Input(), FREE, BOXED, LINEAR)),
    Combination(HORIZONS[0], REMOVAL, SCALED),
    Combination(NEAREST, BOXED, COVARIANCE),
    *(Combination(FLOW, REMOVAL, geometry) for geometry in (SCALED, COVARIANCE)),
]
