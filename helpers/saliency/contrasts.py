"""Contrasts: what a class claims that its competitors do not claim along the same path.

A contrast is a readout (`NonlinearSaliency(..., readout=Softmax())`): it asks the run for the competitors'
contributions and returns a map of what is the class's own.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from helpers.checks import require_above_0, require_width
from helpers.saliency.journey import per
from helpers.saliency.layers import as_maps
from helpers.saliency.smoothing import gaussian_blur


class Contrast:
    """What every contrast shares. A new one is a frozen dataclass that defines `compare`.

    competitors: how many of each input's highest other classes compete (all, if fewer), or a list of classes.
    width: Gaussian smoothing of all maps before they are compared, in pixels of the map; 0: none.

    Example:
        >>> import torch
        >>> from helpers.saliency import Logit, NonlinearSaliency
        >>> model = lambda x: x @ torch.tensor([[1.0, 2.0], [2.0, 0.0]])  # the first speaks more for class 1
        >>> saliency = NonlinearSaliency(model, Logit(), readout=Largest(competitors=1))
        >>> saliency.attribute(torch.tensor([[1.0, 1.0]]), target=0, level=0.0).round(decimals=3)
        tensor([[-0.6000,  2.4000]])
    """

    competitors: int | tuple[int, ...]
    width: float

    def compare(self, own: Tensor, others: Tensor) -> Tensor:
        """The class's own map, from signed maps (N, 1, *B) summed over channels and (N, R, 1, *B)."""
        raise NotImplementedError

    def __call__(self, explanation) -> Tensor:
        """The map of a run that had competitors: (N, 1, H, W) for images, else the inputs' shape."""
        own, others = explanation.support("contribution"), explanation.competing_support()
        own, size = as_maps(own, explanation.size), explanation.size
        others = torch.stack([as_maps(other, size) for other in others.unbind(1)], 1)
        if own.ndim == 4:
            own, others = own.sum(1, keepdim=True), others.sum(2, keepdim=True)
            own, others = gaussian_blur(own, self.width), gaussian_blur(others, self.width)
        return self.compare(own, others)


@dataclass(frozen=True)
class Softmax(Contrast):
    """Own contribution times its class's softmax share at every place.

    The softmax is over the classes, of their contributions divided by the mean magnitude of all of them.

    temperature: of the softmax, above 0. The lower, the more of a place goes to the class that claims most.

    Example:
        >>> import torch
        >>> own, others = torch.tensor([[2.0, 2.0]]), torch.tensor([[[2.0, -2.0]]])
        >>> Softmax().compare(own, others).round(decimals=3)  # shared with the other class; its own
        tensor([[1.0000, 1.7620]])
    """

    competitors: int | tuple[int, ...] = 8
    width: float = 0.0
    temperature: float = 1.0

    def __post_init__(self):
        require_width("Softmax(width)", self.width)
        require_above_0("Softmax(temperature)", self.temperature)

    def compare(self, own: Tensor, others: Tensor) -> Tensor:
        every = torch.cat([own[:, None], others], 1)
        size = every.abs().flatten(1).mean(1).clamp_min(torch.finfo(every.dtype).tiny) * self.temperature
        return own * (every / per(size, every)).softmax(1)[:, 0]


@dataclass(frozen=True)
class Largest(Contrast):
    """Own contribution's positive part minus the largest positive part of the others.

    Example:
        >>> import torch
        >>> own, others = torch.tensor([[2.0, 2.0]]), torch.tensor([[[2.0, -2.0]]])
        >>> Largest().compare(own, others)
        tensor([[0., 2.]])
    """

    competitors: int | tuple[int, ...] = 8
    width: float = 0.0

    def __post_init__(self):
        require_width("Largest(width)", self.width)

    def compare(self, own: Tensor, others: Tensor) -> Tensor:
        return own.clamp_min(0) - others.clamp_min(0).amax(1)
