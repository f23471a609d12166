"""The mean of several members: references, depths, widths."""

from collections.abc import Sequence
from copy import copy
from typing import Self

import torch
from captum.attr import GradientAttribution
from captum.log import log_usage
from torch import Tensor

from helpers.checks import require_above_0
from helpers.saliency.explanation import MeanExplanation, reduce
from helpers.saliency.journey import per
from helpers.saliency.layers import as_maps
from helpers.saliency.levels import Level
from helpers.saliency.method import NonlinearSaliency


class OfMembers(GradientAttribution):
    """What combines the maps of several members on one model.

    Args:
        members: `NonlinearSaliency` objects on the same model.
        name: of the class, for errors.

    Raises:
        ValueError: no member.
        TypeError: something else among them.

    Example:
        >>> saliency = OfMembers([NonlinearSaliency(lambda x: x)])
        >>> saliency.replace(noise=0.5).members[0].noise
        0.5
    """

    def __init__(self, members: Sequence[NonlinearSaliency], name: str = "Mean"):
        if not members:
            raise ValueError(f"{name}(members): expected at least one NonlinearSaliency; got none.")
        for member in members:
            if not isinstance(member, NonlinearSaliency):
                raise TypeError(f"{name}(members): expected NonlinearSaliency objects; got {member!r}.")
        super().__init__(members[0].forward_func)
        self.members = tuple(members)

    def replace(self, **choices) -> Self:
        """The same of the members' twins, which differ in the named choices alone.

        Raises:
            TypeError, ValueError: as `NonlinearSaliency.replace`.
        """
        twin = copy(self)
        twin.members = tuple(member.replace(**choices) for member in self.members)
        return twin


class Mean(OfMembers):
    """The mean of the normalised maps of several members.

    Every map is divided by its mean magnitude, so that no member outweighs the others by its units. Maps of
    images are first summed over channels and, where a layer's map is smaller, enlarged to the image.

    Args:
        members: `NonlinearSaliency` objects on the same model.

    Raises:
        ValueError: no member.
        TypeError: something else among them.

    Example:
        >>> import torch
        >>> from helpers.saliency import Flow, Tangent
        >>> model = lambda x: x @ torch.tensor([[1.0, 0.0], [0.0, 2.0]])
        >>> mean = Mean([NonlinearSaliency(model, path=path) for path in (Tangent(), Flow())])
        >>> mean.attribute(torch.tensor([[1.0, 2.0]]), target=1).round(decimals=3)
        tensor([[0.4000, 1.6000]])
    """

    @log_usage()
    def attribute(
        self,
        inputs: Tensor,
        target=None,
        level: Level | float | None = None,
        additional_forward_args=None,
        internal_batch_size: int | None = None,
        show_progress: bool = False,
    ) -> Tensor:
        """The mean map, positive = supports the score: (N, 1, H, W) for images, else the members' shape.

        Arguments and errors are those of `NonlinearSaliency.explain`.

        Example:
            >>> import torch
            >>> member = NonlinearSaliency(lambda x: x.mean((2, 3)))
            >>> Mean([member]).attribute(torch.ones(1, 3, 4, 4), target=0).shape  # channels summed
            torch.Size([1, 1, 4, 4])
        """
        arguments = (target, level, additional_forward_args, internal_batch_size)
        image = inputs[0] if isinstance(inputs, tuple) else inputs
        maps = [
            normalised(fitted(member.attribute(image, *arguments, show_progress=show_progress), image))
            for member in self.members
        ]
        combined = self.combine(torch.stack(maps))
        return (combined,) if isinstance(inputs, tuple) else combined

    def combine(self, maps: Tensor) -> Tensor:
        """One map of the members' normalised maps, stacked in dimension 0."""
        return maps.mean(0)

    def explain(
        self,
        inputs: Tensor,
        target=None,
        level: Level | float | None = None,
        additional_forward_args=None,
        internal_batch_size: int | None = None,
        show_progress: bool = False,
        trace: bool = False,
    ) -> MeanExplanation:
        """The map and the records of all members; arguments and errors are those of `NonlinearSaliency.explain`.

        Example:
            >>> import torch
            >>> from helpers.saliency import Flow, Tangent
            >>> model = lambda x: x @ torch.tensor([[1.0, 0.0], [0.0, 2.0]])
            >>> mean = Mean([NonlinearSaliency(model, path=path) for path in (Tangent(), Flow(steps=4))])
            >>> run = mean.explain(torch.tensor([[1.0, 2.0]]), target=1)
            >>> run.support().shape, [member.gradient_evaluations.item() for member in run.members]
            (torch.Size([1, 2]), [1, 9])
        """
        arguments = (target, level, additional_forward_args, internal_batch_size, show_progress, trace)
        records = tuple(member.explain(inputs, *arguments) for member in self.members)
        image = inputs[0] if isinstance(inputs, tuple) else inputs
        maps = [normalised(fitted(record.support(), image)) for record in records]
        return MeanExplanation(records, self.combine(torch.stack(maps)))


class GeometricMean(Mean):
    """The geometric mean of the members' positive parts: what every member finds, as a soft "and".

    What one member alone finds (an artefact of its depth, say) falls to near 0. Everything else is as in `Mean`.

    Args:
        members: `NonlinearSaliency` objects on the same model.
        floor: smallest value of a normalised map (its mean magnitude is 1), above 0, so that a member's 0 is no
            veto.

    Raises:
        ValueError: no member, or a floor that is no number above 0.
        TypeError: something else among the members.

    Example:
        >>> import torch
        >>> mean = GeometricMean([NonlinearSaliency(lambda x: x)] * 2)
        >>> maps = torch.tensor([[4.0, 4.0], [1.0, 0.0]])  # both find the first, one finds the second
        >>> mean.combine(maps).round(decimals=3), maps.mean(0)
        (tensor([2.0000, 0.2000]), tensor([2.5000, 2.0000]))
    """

    def __init__(self, members: Sequence[NonlinearSaliency], floor: float = 0.01):
        require_above_0("GeometricMean(floor)", floor)
        super().__init__(members)
        self.floor = floor

    def combine(self, maps: Tensor) -> Tensor:
        """One map >= floor of the members' normalised maps, stacked in dimension 0."""
        return maps.clamp_min(self.floor).log().mean(0).exp()


def fitted(attribution: Tensor, image: Tensor) -> Tensor:
    """A map summed over channels and enlarged (bilinearly) to the image: (N, 1, H, W); others unchanged.

    Example:
        >>> import torch
        >>> fitted(torch.ones(1, 8, 2, 2), image=torch.zeros(1, 3, 4, 4)).shape
        torch.Size([1, 1, 4, 4])
    """
    attribution = as_maps(attribution, image.shape[2:] if image.ndim == 4 else None)
    if attribution.ndim != 4:
        return attribution
    one_channel = reduce(attribution)[:, None]
    if one_channel.shape[-2:] == image.shape[-2:]:
        return one_channel
    return torch.nn.functional.interpolate(
        one_channel, image.shape[-2:], mode="bilinear", align_corners=False
    )


def normalised(attribution: Tensor) -> Tensor:
    """A map divided by the mean magnitude of each example; a map of zeros stays one.

    Example:
        >>> import torch
        >>> normalised(torch.tensor([[1.0, -3.0], [0.0, 0.0]]))
        tensor([[ 0.5000, -1.5000],
                [ 0.0000,  0.0000]])
    """
    size = attribution.abs().flatten(1).mean(1)
    return attribution / per(size.masked_fill(size == 0, 1), attribution)
