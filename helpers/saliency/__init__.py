"""Linear and nonlinear saliency maps: the method.

One import line: ``from helpers.saliency import NonlinearSaliency, Input, LogOdds, Flow``.
"""

from helpers.saliency import presets
from helpers.saliency.contrasts import Contrast, Largest, Softmax
from helpers.saliency.coordinates import Coordinates, Input, Layer, Removal
from helpers.saliency.decoders import Decoder
from helpers.saliency.depths import AllDepths, DepthsExplanation, enlarged
from helpers.saliency.explanation import Explanation, MeanExplanation, reduce
from helpers.saliency.geometries import Covariance, Euclidean, Geometry, Scaled, Smooth
from helpers.saliency.layers import blocks, stages
from helpers.saliency.levels import Boundary, Drop, Level, Share, Value
from helpers.saliency.means import GeometricMean, Mean, fitted, normalised
from helpers.saliency.method import NonlinearSaliency
from helpers.saliency.paths import (
    Flow,
    Horizon,
    Nearest,
    Path,
    ScaleSpace,
    Secant,
    Straight,
    StraightTangent,
    Stretch,
    Tangent,
)
from helpers.saliency.references import Blurred, Constant, DataMean, OwnMean, OwnNoise
from helpers.saliency.scores import Logit, LogOdds, LogProbability, Margin, Score
from helpers.saliency.smoothing import gaussian_blur

__all__ = [
    "AllDepths",
    "Blurred",
    "Boundary",
    "Constant",
    "Contrast",
    "Coordinates",
    "Covariance",
    "DataMean",
    "Decoder",
    "DepthsExplanation",
    "Drop",
    "enlarged",
    "Euclidean",
    "Explanation",
    "Flow",
    "GeometricMean",
    "Geometry",
    "Horizon",
    "Input",
    "Largest",
    "Layer",
    "Level",
    "LogOdds",
    "LogProbability",
    "Logit",
    "Margin",
    "Mean",
    "MeanExplanation",
    "Nearest",
    "NonlinearSaliency",
    "OwnMean",
    "OwnNoise",
    "Path",
    "Removal",
    "ScaleSpace",
    "Scaled",
    "Score",
    "Secant",
    "Share",
    "Smooth",
    "Softmax",
    "Straight",
    "StraightTangent",
    "Stretch",
    "Tangent",
    "Value",
    "blocks",
    "fitted",
    "gaussian_blur",
    "normalised",
    "reduce",
    "stages",
    "presets",
]
