"""Through scale space to a blurred copy: Blur Integrated Gradients."""

from dataclasses import dataclass

from torch import Tensor

from helpers.checks import require_above_0, require_count, require_images
from helpers.saliency.coordinates import Coordinates, Input
from helpers.saliency.geometries import Geometry
from helpers.saliency.journey import Journey
from helpers.saliency.paths.base import Path, walk_nodes
from helpers.saliency.references import default_width
from helpers.saliency.smoothing import gaussian_blur


@dataclass(frozen=True)
class ScaleSpace(Path):
    """From an image to a blurred copy, through all degrees of blur in between: details go first.

    The path of Blur Integrated Gradients (Xu, Venugopalan & Sundararajan 2020, arXiv 2004.03383), backwards:
    after k of n steps the image is blurred with the standard deviation k / n * width. No point of it is a double
    exposure, as those on the straight way are. Its contributions sum to F(blurred) - F(0), by the trapezoid rule:
    steps + 1 gradient evaluations. For images (N, C, H, W), in `Input` coordinates.

    Args:
        steps: number of steps.
        width: standard deviation of the last blur, in pixels; None: that of the reference `Blurred()`.

    Raises:
        ValueError: other values, other coordinates, inputs that are no images, or a level.

    Example:
        >>> import torch
        >>> from helpers.saliency import Logit, NonlinearSaliency
        >>> variance = lambda x: x.var((1, 2, 3))
        >>> saliency = NonlinearSaliency(variance, Logit(), path=ScaleSpace(steps=8, width=1.0))
        >>> run = saliency.explain(torch.eye(8)[None, None])
        >>> run.score_start, run.score_end.round(decimals=3)
        (tensor([0.1111]), tensor([0.0170]))
        >>> run.support().sum().round(decimals=2), run.gradient_evaluations
        (tensor(0.0900), tensor([9]))
    """

    steps: int = 8
    width: float | None = None

    default_level = None

    def __post_init__(self):
        require_count("ScaleSpace(steps)", self.steps)
        if self.width is not None:
            require_above_0("ScaleSpace(width)", self.width)

    def check(self, coordinates: Coordinates, geometry: Geometry) -> None:
        if not isinstance(coordinates, Input):
            raise ValueError(
                f"path: ScaleSpace() blurs the input itself; expected coordinates of type Input, got "
                f"{type(coordinates).__name__}. Use Input(), or Straight() there."
            )

    def walk(self, journey: Journey) -> None:
        images = journey.chart.origin
        require_images("ScaleSpace", images, "Use Straight() with a reference for other inputs.")
        if journey.level is not None:
            raise ValueError(
                "level: ScaleSpace goes to the blurred copy; pass no level, or use Straight or Flow."
            )
        width = default_width(images) if self.width is None else self.width

        def place(rows: Tensor, step: int) -> Tensor:
            own = images if len(rows) == len(images) else images[rows]
            return journey.chart.clip(gaussian_blur(own, width * step / self.steps) - own, rows)

        walk_nodes(journey, self.steps, place)
