"""Paths in the input, read at the input and at several depths, as one map that keeps its units."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from captum.log import log_usage
from torch import Tensor, nn

from helpers.checks import require_count, require_images, require_width, warn_caller
from helpers.saliency.cells import enlarging_matrix
from helpers.saliency.conductance import checked_layers
from helpers.saliency.contrasts import Contrast
from helpers.saliency.coordinates import Layer
from helpers.saliency.explanation import Explanation, MeanExplanation
from helpers.saliency.inputs import checked_inputs
from helpers.saliency.journey import per
from helpers.saliency.layers import as_maps, stages
from helpers.saliency.levels import Level
from helpers.saliency.means import OfMembers
from helpers.saliency.method import NonlinearSaliency
from helpers.saliency.smoothing import gaussian_blur


@dataclass(frozen=True)
class DepthsExplanation(MeanExplanation):
    """What `AllDepths` found out, for N images.

    Beside the fields of `MeanExplanation`: depth_maps: the members' mean at the input and at each module, signed,
    enlarged to the image, (N, D, H, W), in units of the score; with a contrast, what it leaves of them. weights:
    those of the depths, (N, D), sum 1. signed: the weighted sum of the maps, (N, 1, H, W), of which `combined` is
    the positive part; without a contrast it sums to what the score lost on the paths, on average, up to
    completeness_error, (N,). With one, that error is the maps' before the contrast. competing: the signed maps of
    the competitors that were asked for, (N, R, H, W), from the same passes; None without.
    """

    depth_maps: Tensor
    weights: Tensor
    signed: Tensor
    completeness_error: Tensor
    competing: Tensor | None = None


class AllDepths(OfMembers):
    """Paths in the input, read at the input and at the last modules of several resolutions, as one map.

    A fine depth says where and is noisy, a coarse one says what and is blurred; all of them account for the same
    change of the score. Each member's contributions are read at every depth (`explain(layers=...)`), summed over
    channels and enlarged to the image, which keeps their sum. The depths' maps are added with weights that sum to
    1, so the map is in units of the score, sums to what the score lost, and maps of several classes of one image
    can share one colour scale. `attribute` returns its positive part, which is taken last.

    Members whose readout is a contrast (`helpers.saliency.Softmax`) are contrasted at every depth, after the mean
    over the members and before the depths are added: what stays is the class's own.

    Args:
        members: `NonlinearSaliency` objects on the same model, in Input, Removal or Decoder coordinates.
        layers: the modules to read, fine to coarse. None: the last of each of the last `depths` resolutions,
            found in one pass at the first call for an image size.
        depths: how many of these.
        at_input: whether the input counts as well; where no module is found it does in any case.
        smoothing: Gaussian smoothing, as a share of the image's larger side, of the map at the input, and with a
            contrast of all maps, before they are compared.
        balanced: whether the depths have a say of equal size: weights in inverse proportion to the sums of their
            positive parts, image by image. False: equal weights, with which a noisy depth, whose large
            contributions cancel, has more of a say.

    Raises:
        TypeError: something else than NonlinearSaliency objects, or modules.
        ValueError: no member, members in Layer coordinates or with unlike contrasts, or another argument that does
            not fit.

    Example:
        >>> import torch
        >>> from helpers.saliency import Input, Logit, Straight
        >>> from helpers.zoo.networks import digit_net
        >>> member = NonlinearSaliency(digit_net(), Logit(), Input(reference=0.0), path=Straight(8, "trapezoid"))
        >>> run = AllDepths([member], at_input=True).explain(torch.ones(1, 1, 28, 28), target=8)
        >>> run.depth_maps.shape, run.gradient_evaluations  # the input and two modules, from the same 9 gradients
        (torch.Size([1, 3, 28, 28]), tensor([9]))
        >>> lost = run.members[0].score_start - run.members[0].score_end
        >>> torch.allclose(run.signed.sum((1, 2, 3)) - lost, run.completeness_error, atol=1e-3)
        True
    """

    def __init__(
        self,
        members: Sequence[NonlinearSaliency],
        layers: Sequence[nn.Module] | None = None,
        depths: int = 2,
        at_input: bool = False,
        smoothing: float = 1 / 28,
        balanced: bool = True,
    ):
        super().__init__(members, "AllDepths")
        for member in members:
            if isinstance(member.coordinates, Layer):
                raise ValueError(
                    "AllDepths(members): expected members that change the input; got one in Layer coordinates. Use "
                    "Input, Removal or Decoder, and name the module in layers."
                )
        contrasts = [each.readout if isinstance(each.readout, Contrast) else None for each in members]
        if any(each != contrasts[0] for each in contrasts):
            raise ValueError(f"AllDepths(members): expected one contrast, or none; got {contrasts}.")
        self.contrast = contrasts[0]
        require_count("AllDepths(depths)", depths)
        require_width("AllDepths(smoothing)", smoothing)
        self.depths, self.smoothing = depths, smoothing
        self.layers = None if layers is None else checked_layers(layers)
        self.at_input, self.balanced = at_input, balanced
        self._found: dict[tuple[int, ...], tuple[nn.Module, ...]] = {}

    def read_at(self, inputs: Tensor) -> tuple[nn.Module, ...]:
        """The modules that are read for images of that size, (N, C, H, W)."""
        if self.layers is not None:
            return self.layers
        size = tuple(inputs.shape[1:])
        if size not in self._found:
            known = isinstance(self.forward_func, nn.Module)
            self._found[size] = tuple(stages(self.forward_func, inputs[:1])[-self.depths :]) if known else ()
            if not self._found[size]:
                warn_caller(
                    f"model: {type(self.forward_func).__name__} has no module that is known to return feature maps "
                    "or tokens of the image's proportions, so its input alone is read. Name modules in layers."
                )
        return self._found[size]

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
        """The map, (N, 1, H, W), in units of the score: what supports it, and where.

        Arguments and errors are those of `explain`.
        """
        arguments = (target, level, additional_forward_args, internal_batch_size, show_progress)
        combined = self.explain(inputs, *arguments).support()
        return (combined,) if isinstance(inputs, tuple) else combined

    def explain(
        self,
        inputs: Tensor,
        target=None,
        level: Level | float | None = None,
        additional_forward_args=None,
        internal_batch_size: int | None = None,
        show_progress: bool = False,
        trace: bool = False,
        competitors: int | Sequence[int] | None = None,
    ) -> DepthsExplanation:
        """The map, its parts, and the records of all members.

        Args, raises: as `NonlinearSaliency.explain`; ValueError for inputs that are no images, and for
        competitors where the members' contrast has its own.
        """
        if competitors is not None and self.contrast is not None:
            raise ValueError(
                f"competitors: expected None with a contrast, which names its own; got {competitors!r}."
            )
        images = checked_inputs(inputs)
        require_images("inputs", images)
        arguments = (target, level, additional_forward_args, internal_batch_size, show_progress, trace)
        layers = self.read_at(images)
        # where the input's maps are not used, the competitors' passes back end at the modules
        where = {
            "layers": layers,
            "competitors": competitors,
            "competing_at_input": self.at_input or not layers,
        }
        records = tuple(member.explain(images, *arguments, **where) for member in self.members)
        every = torch.stack([self._maps(record, images) for record in records]).mean(0)
        own = maps = every[:, 0]
        competing = None
        if competitors is not None:
            competing = torch.cat([self._joined(each) for each in every[:, 1:].unbind(1)], 1)
        if self.contrast is not None:
            smooth = [gaussian_blur(each, self.contrast.width) for each in every.unbind(2)]
            maps = torch.cat([self.contrast.compare(each[:, :1], each[:, 1:, None]) for each in smooth], 1)
        weights, signed = self._weights(maps), self._joined(maps)
        lost = torch.stack([record.total_support() for record in records]).mean(0)
        error = (own.sum((2, 3)) * weights).sum(1) - lost
        return DepthsExplanation(records, signed.clamp_min(0), maps, weights, signed, error, competing)

    def _joined(self, maps: Tensor) -> Tensor:
        """The signed map, (N, 1, H, W), of the depths' maps (N, D, H, W)."""
        return (maps * self._weights(maps)[..., None, None]).sum(1, keepdim=True)

    def _maps(self, record: Explanation, images: Tensor) -> Tensor:
        """A member's signed maps of the score and its R competitors, at the D depths: (N, 1 + R, D, H, W)."""
        size, rivals = images.shape[-2:], record.competitors is not None
        width = self.smoothing * max(size)
        maps = []
        if self.at_input or record.layer_contributions is None:
            every = [
                record.support("contribution")[:, None],
                *([record.competing_support()] if rivals else []),
            ]
            maps.append(gaussian_blur(torch.cat(every, 1).sum(2), width))
        if record.layer_contributions is not None:
            layers = [each[:, None] for each in record.layer_support()]
            if rivals:
                pairs = zip(layers, record.competing_layer_support(), strict=True)
                layers = [torch.cat(pair, 1) for pair in pairs]
            for each in layers:
                large = enlarged(each.flatten(0, 1), size).view(*each.shape[:2], *size)
                maps.append(large if self.contrast is None else gaussian_blur(large, width))
        return torch.stack(maps, 2)

    def _weights(self, maps: Tensor) -> Tensor:
        """Of the depths, (N, D)."""
        say = torch.ones_like(maps[..., 0, 0])
        if self.balanced:
            positive = maps.clamp_min(0).sum((2, 3))
            say = (positive + torch.finfo(maps.dtype).tiny).reciprocal()
            # a depth without support has no say, where another one has
            say = torch.where((positive == 0) & (positive > 0).any(1, keepdim=True), 0, say)
            say = say / say.amax(1, keepdim=True)
        return say / say.sum(1, keepdim=True)


def enlarged(contributions: Tensor, size: Sequence[int]) -> Tensor:
    """Contributions at a module, summed over channels and enlarged to images of that size with their sum kept.

    Args:
        contributions: maps (N, C, h, w), channels first or last, or tokens (N, T, C), as modules return them; what
            class tokens and the like contribute is shared out evenly.
        size: height and width of the image.

    Returns:
        (N, 1, H, W).

    Raises:
        ValueError: a module that returns no maps of the image's proportions.

    Example:
        >>> enlarged(torch.ones(1, 2, 2, 2), (4, 4)).sum()
        tensor(8.)
    """
    maps = as_maps(contributions, size)
    if maps.ndim != 4:
        raise ValueError(
            f"layers: expected modules that return feature maps or tokens of the image's proportions, "
            f"{tuple(size)}; got one that returns {tuple(contributions.shape)}."
        )
    total, maps = contributions.flatten(1).sum(1), maps.sum(1, keepdim=True)
    rows, columns = (enlarging_matrix(*each).to(maps) for each in zip(maps.shape[2:], size, strict=True))
    # columns that sum to 1 keep the sum
    large = (rows / rows.sum(0)) @ maps @ (columns / columns.sum(0)).T
    rest = (total - maps.flatten(1).sum(1)) / (size[0] * size[1])
    return large + per(rest, large)
