"""References: the input without the evidence. Each is a function from inputs to inputs of the same shape."""

from dataclasses import dataclass

import torch
from torch import Tensor

from helpers.checks import require_images, require_width
from helpers.saliency.smoothing import gaussian_blur

INSTEAD = "Use Constant(value) or a tensor as the reference."


@dataclass(frozen=True)
class Blurred:
    """The image itself, smoothed by a Gaussian of that standard deviation in pixels.

    width: None for 3/56 of the image's larger side, 12 px at 224.

    Example:
        >>> import torch
        >>> Blurred(width=4.0)(torch.tensor([[[[0.0, 1.0, 0.0, 1.0]]]])).round(decimals=3)
        tensor([[[[0.4980, 0.4990, 0.5010, 0.5020]]]])
    """

    width: float | None = None

    def __post_init__(self):
        if self.width is not None:
            require_width("Blurred(width)", self.width)

    def __call__(self, inputs: Tensor) -> Tensor:
        require_images("Blurred(width)", inputs, INSTEAD)
        return gaussian_blur(inputs, default_width(inputs) if self.width is None else self.width)


def default_width(images: Tensor) -> float:
    """The standard deviation, in pixels, of a blur that takes an image's evidence away: 3/56 of its larger side.

    Example:
        >>> default_width(torch.zeros(1, 3, 224, 200))
        12.0
    """
    return 3 / 56 * max(images.shape[-2:])


@dataclass(frozen=True)
class Constant:
    """The same value everywhere.

    Example:
        >>> import torch
        >>> Constant(0.5)(torch.zeros(1, 3))
        tensor([[0.5000, 0.5000, 0.5000]])
    """

    value: float

    def __call__(self, inputs: Tensor) -> Tensor:
        return torch.full_like(inputs, self.value)


@dataclass(frozen=True, eq=False)
class DataMean:
    """The mean example of a data set: examples of shape (M, ...).

    Example:
        >>> import torch
        >>> DataMean(torch.tensor([[0.0, 1.0], [4.0, 3.0]]))(torch.zeros(1, 2))
        tensor([[2., 2.]])
    """

    examples: Tensor

    def __call__(self, inputs: Tensor) -> Tensor:
        if self.examples.shape[1:] != inputs.shape[1:]:
            raise ValueError(
                f"DataMean(examples): expected examples of shape (M, {', '.join(map(str, inputs.shape[1:]))}); "
                f"got {tuple(self.examples.shape)}."
            )
        return self.examples.to(inputs).mean(0, keepdim=True).expand_as(inputs)


@dataclass(frozen=True)
class OwnMean:
    """Each channel's mean over the example itself, everywhere: images (N, C, H, W).

    Example:
        >>> import torch
        >>> OwnMean()(torch.tensor([[[[0.0, 2.0]], [[3.0, 5.0]]]]))  # two channels, two means
        tensor([[[[1., 1.]],
        <BLANKLINE>
                 [[4., 4.]]]])
    """

    def __call__(self, inputs: Tensor) -> Tensor:
        require_images("OwnMean", inputs, INSTEAD)
        return inputs.mean((-2, -1), keepdim=True).expand_as(inputs)


@dataclass(frozen=True)
class OwnNoise:
    """Independent normal noise with each channel's mean and standard deviation: images (N, C, H, W).

    Every image gets the same draw, so that its map does not depend on its batch.

    Example:
        >>> import torch
        >>> image = torch.linspace(0, 1, 64).reshape(1, 1, 8, 8)
        >>> torch.equal(OwnNoise(seed=0)(image), OwnNoise(seed=0)(image))
        True
        >>> torch.equal(OwnNoise(seed=0)(image), OwnNoise(seed=1)(image))
        False
    """

    seed: int = 0

    def __call__(self, inputs: Tensor) -> Tensor:
        require_images("OwnNoise", inputs, INSTEAD)
        generator = torch.Generator().manual_seed(self.seed)
        # drawn on the CPU, so that it is the same on every device
        noise = torch.randn(inputs.shape[1:], generator=generator).to(inputs)
        deviation, mean = torch.std_mean(inputs, (-2, -1), correction=0, keepdim=True)
        return mean + deviation * noise
