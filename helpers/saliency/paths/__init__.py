"""Paths: how the score is taken from the input's value to the level.

A path is a frozen dataclass with one method, `walk`, which drives a `Journey`. It asks for slopes, moves by
`advance` and ends examples by `stop`; evaluation, counting, readouts and bookkeeping are the journey's.
"""

from helpers.saliency.paths.base import Path, first_crossing
from helpers.saliency.paths.flow import Flow
from helpers.saliency.paths.horizon import Horizon
from helpers.saliency.paths.nearest import Nearest
from helpers.saliency.paths.scale_space import ScaleSpace
from helpers.saliency.paths.secant import Secant
from helpers.saliency.paths.straight import Straight, StraightTangent, Stretch
from helpers.saliency.paths.tangent import Tangent

__all__ = [
    "Flow",
    "Horizon",
    "Nearest",
    "Path",
    "ScaleSpace",
    "Secant",
    "Straight",
    "StraightTangent",
    "Stretch",
    "Tangent",
    "first_crossing",
]
