"""Peers through the packages that their users have: grad-cam, saliency (PAIR) and zennit.

Each is the package's own map, for the logit; where its masked passes serve all classes, they are made once.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from itertools import pairwise
from types import MethodType, SimpleNamespace
from unittest.mock import patch

import cv2
import numpy as np
import torch
from efficientnet_lite_pytorch.model import MBConvBlock
from pytorch_grad_cam import FinerCAM, HiResCAM, LayerCAM, ScoreCAM, base_cam
from pytorch_grad_cam import score_cam as score_cam_module
from pytorch_grad_cam.base_cam import BaseCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from saliency.core import INPUT_OUTPUT_GRADIENTS, BlurIG, GuidedIG
from saliency.core import guided_ig as guided_ig_module
from torch import Tensor, nn
from torch.nn.functional import one_hot
from torchvision.transforms import v2
from zennit.attribution import Gradient
from zennit.canonizers import AttributeCanonizer, NamedMergeBatchNorm
from zennit.composites import EpsilonPlusFlat, LayerMapComposite, MixedComposite, NameMapComposite
from zennit.layer import Sum
from zennit.rules import Epsilon, Pass
from zennit.types import BatchNorm, Linear

from benchmarks.peers.common import BATCH, Adapter, parts, prepared
from helpers.checks import require_above_0, require_count, require_finite
from helpers.saliency import Constant
from helpers.saliency.values import like
from helpers.zoo.networks import DigitNet


def hires_cam(layer: nn.Module) -> Adapter:
    """HiResCAM at a layer (Draelos & Carin 2020, arXiv 2011.08891): activation times gradient, place by place.

    As grad-cam returns it: the positive part, from 0 to 1, enlarged to the image.

    Args:
        layer: a module of the model that returns feature maps (N, c, h, w).

    Example:
        >>> from helpers.zoo.networks import digit_net
        >>> network = digit_net()
        >>> hires_cam(network.features)(network, torch.ones(1, 1, 28, 28), [1, 7]).shape
        torch.Size([2, 28, 28])
    """
    return _class_activation(HiResCAM, layer)


def layer_cam(layer: nn.Module, scaled: bool = True) -> Adapter:
    """LayerCAM at a layer (Jiang et al. 2021, doi 10.1109/TIP.2021.3089943): positive gradients only.

    Args:
        layer: as in `hires_cam`.
        scaled: True: each map from 0 to 1, as grad-cam returns it. False: in the units of the score, so that maps
            of several classes can be compared.
    """
    return _class_activation(LayerCAM, layer, scaled=scaled)


def score_cam(layer: nn.Module) -> Adapter:
    """Score-CAM at a layer (Wang et al. 2020, arXiv 1910.01279): no gradients, one masked pass for each channel.

    The masked passes are made once for all classes. Args, what is returned: as `hires_cam`.
    """

    def shared(cam: BaseCAM, pixels: Tensor, classes: list[int]) -> np.ndarray:
        quiet = SimpleNamespace(tqdm=lambda steps: steps)  # the package has no switch for its progress bars
        with patch.object(score_cam_module, "tqdm", quiet):
            return cam(pixels, [ClassifierOutputTarget(number) for number in classes])

    return _class_activation(SharedScoreCAM, layer, shared)


class SharedScoreCAM(ScoreCAM):
    """grad-cam's ScoreCAM of one image, for all targets from the same masked passes: maps (targets, H, W)."""

    batch_size = BATCH

    def get_cam_weights(self, input_tensor, target_layer, targets, activations, grads):
        """Each target's softmax over the channels, (targets, channels)."""
        scores = []

        def note(output: Tensor) -> Tensor:
            scores.append(torch.stack([target(output).cpu() for target in targets]))
            return output.sum()  # the package wants a number

        super().get_cam_weights(input_tensor, target_layer, [note], activations, grads)
        return torch.stack(scores, 1).softmax(1).numpy()


def finer_cam(layer: nn.Module, comparisons: int = 3, strength: float = 0.6) -> Adapter:
    """Finer-CAM at a layer (Zhang et al. 2025, arXiv 2501.11309): Grad-CAM of a class against similar ones.

    The contrast is the method: each map is of the logit minus `strength` times those of the classes whose
    logits are nearest, weighted by their probabilities.

    Args:
        layer: as in `hires_cam`.
        comparisons: similar classes, at least 1; three in the paper.
        strength: how much of them is subtracted; 0.6 where the authors compare with several. The package's
            own default is 1.

    Example:
        >>> from helpers.zoo.networks import digit_net
        >>> network = digit_net()
        >>> finer_cam(network.features)(network, torch.ones(1, 1, 28, 28), [1]).shape
        torch.Size([1, 28, 28])
    """
    require_count("finer_cam(comparisons)", comparisons)
    require_finite("finer_cam(strength)", strength)
    similar = list(range(1, comparisons + 1))  # places in the order of similarity; 0 is the class itself

    def one_by_one(cam: FinerCAM, pixels: Tensor, classes: list[int]) -> np.ndarray:
        options = {"alpha": strength, "comparison_categories": similar}
        maps = [cam(pixels.clone().requires_grad_(), target_idx=number, **options) for number in classes]
        return np.concatenate(maps)

    return _class_activation(FinerCAM, layer, one_by_one)


def _together(cam: BaseCAM, pixels: Tensor, classes: list[int]) -> np.ndarray:
    """The maps of some classes from one pass, in which each class has its copy of the image."""
    copies = pixels.repeat(len(classes), 1, 1, 1).requires_grad_()
    return cam(copies, [ClassifierOutputTarget(number) for number in classes])


def _only_enlarged(maps: np.ndarray, size: tuple[int, int] | None = None) -> np.ndarray:
    """In place of grad-cam's own function, which also scales every map to 0 to 1. size: width and height."""
    return maps if size is None else np.stack([cv2.resize(np.float32(each), size) for each in maps])


def _class_activation(
    method: Callable, layer: nn.Module, maps_of: Callable = _together, scaled: bool = True
) -> Adapter:
    """The adapter of a method of grad-cam; maps_of calls it with (method, image, classes)."""
    if not isinstance(layer, nn.Module):
        raise TypeError(f"layer: expected a module of the model; got {layer!r}.")

    def adapter(model: nn.Module, image: Tensor, classes: Sequence[int]) -> Tensor:
        enlarge = nullcontext() if scaled else patch.object(base_cam, "scale_cam_image", _only_enlarged)
        with prepared(model, image, classes) as pixels, enlarge:
            if not any(module is layer for module in model.modules()):
                kinds = type(layer).__name__, type(model).__name__
                raise ValueError(
                    "layer: expected a module inside the model; this {} is no part of the {}.".format(*kinds)
                )
            cam = method(model, [layer])
            try:
                maps = [maps_of(cam, pixels, part) for part in parts(classes)]
            finally:
                getattr(cam, "base_cam", cam).activations_and_grads.release()
            return torch.from_numpy(np.concatenate(maps)).float().to(image.device)

    return adapter


def guided_ig(
    reference: float | Tensor | Callable[[Tensor], Tensor] = Constant(0.0),
    steps: int = 200,
    fraction: float = 0.25,
    distance: float = 0.02,
) -> Adapter:
    """Guided Integrated Gradients (Kapishnikov et al. 2021, arXiv 2106.09788) by saliency, signed.

    Args:
        reference: where the path begins: a number, a tensor, or a function of the image
            (`helpers.saliency.references`). By default black, as in the package.
        steps: gradients for each class. This and the next two are the package's defaults.
        fraction: share of the values that move in one part of a step, those with the smallest gradients.
        distance: how far, as a share of the way, a value may be from the straight path.

    Example:
        >>> from helpers.zoo.networks import digit_net
        >>> guided_ig(steps=4)(digit_net(), torch.ones(1, 1, 28, 28), [1]).shape
        torch.Size([1, 28, 28])
    """
    require_count("guided_ig(steps)", steps)
    for name, value in (("fraction", fraction), ("distance", distance)):
        if not 0 <= value <= 1:
            raise ValueError(f"guided_ig({name}): expected a share from 0 to 1; got {value!r}.")

    def adapter(model: nn.Module, image: Tensor, classes: Sequence[int]) -> Tensor:
        with prepared(model, image, classes) as pixels, patch.object(guided_ig_module, "np", OlderNumpy()):
            start = _channels_last(like("guided_ig(reference)", reference, pixels))
            options = {"x_baseline": start, "x_steps": steps, "fraction": fraction, "max_dist": distance}
            asked = [_asked(model, number, pixels) for number in classes]
            maps = [GuidedIG().GetMask(_channels_last(pixels), ask, **options) for ask in asked]
        return torch.from_numpy(np.stack(maps).sum(-1)).to(pixels)

    return adapter


class OlderNumpy:
    """numpy with the name of an argument that saliency 0.2 uses, and numpy 2.4 no longer knows.

    Example:
        >>> OlderNumpy().quantile(np.array([0.0, 1.0, 4.0]), 0.5, interpolation="lower").item()
        1.0
    """

    def __getattr__(self, name: str):
        return getattr(np, name)

    @staticmethod
    def quantile(values: np.ndarray, share: float, interpolation: str):
        """`numpy.quantile`."""
        return np.quantile(values, share, method=interpolation)


def blur_ig(steps: int = 100, max_sigma: float = 50.0) -> Adapter:
    """Blur Integrated Gradients (Xu, Venugopalan & Sundararajan 2020, arXiv 2004.03383) by saliency, signed.

    From the image blurred, with black around it, to the image.

    Args:
        steps: gradients for each class; 100 by the package's default.
        max_sigma: standard deviation of the strongest blur, in pixels; 50 by the package's default.

    Example:
        >>> from helpers.zoo.networks import digit_net
        >>> blur_ig(steps=4, max_sigma=8.0)(digit_net(), torch.ones(1, 1, 28, 28), [1]).shape
        torch.Size([1, 28, 28])
    """
    require_count("blur_ig(steps)", steps)
    require_above_0("blur_ig(max_sigma)", max_sigma)

    def adapter(model: nn.Module, image: Tensor, classes: Sequence[int]) -> Tensor:
        with prepared(model, image, classes) as pixels:
            options = {"max_sigma": max_sigma, "steps": steps, "batch_size": BATCH}
            asked = [_asked(model, number, pixels) for number in classes]
            maps = [BlurIG().GetMask(_channels_last(pixels), ask, **options) for ask in asked]
        return torch.from_numpy(np.stack(maps).sum(-1)).to(pixels)

    return adapter


def _channels_last(image: Tensor) -> np.ndarray:
    """(1, C, H, W) as the package has it: (H, W, C), in double precision."""
    return image[0].permute(1, 2, 0).double().cpu().numpy()


def _asked(model: nn.Module, number: int, like_pixels: Tensor) -> Callable:
    """The function by which saliency asks a model for the gradients of a class's logit."""

    def call(batch: np.ndarray, call_model_args=None, expected_keys=None) -> dict[str, np.ndarray]:
        points = torch.from_numpy(batch).permute(0, 3, 1, 2).to(like_pixels).contiguous().requires_grad_()
        (gradient,) = torch.autograd.grad(model(points)[:, number].sum(), points)
        return {INPUT_OUTPUT_GRADIENTS: gradient.permute(0, 2, 3, 1).cpu().numpy()}

    return call


def lrp(biases: bool = True) -> Adapter:
    """Layer-wise relevance propagation (Bach et al. 2015, doi 10.1371/journal.pone.0130140) by zennit, signed.

    zennit (Anders et al. 2021, arXiv 2106.13200) with its composite EpsilonPlusFlat: flat at the first
    convolution, z+ at the others, epsilon at linear layers, and at the last layer in any case. Batch
    normalisations are merged into the convolutions before them. Relevance begins with the logit itself, so that
    the sign is right for negative ones, too.

    Additions and averages that are no modules pass relevance on as a gradient; those of EfficientNet-Lite's
    blocks and of `DigitNet` are made modules, so that each summand gets its share. Other networks with such
    steps need their own.

    Args:
        biases: True: they take their part of the relevance, as by the package's default. False: they take none
            (zennit's zero_params), and a map adds up to the logit, but for what z+ loses in channels to which no
            input adds: depth-wise ones that live on their bias. In EfficientNet-Lite that is most of it.

    Raises:
        ValueError: a model without a linear layer or convolution.

    Example:
        >>> from helpers.zoo.networks import digit_net
        >>> lrp()(digit_net(), torch.ones(1, 1, 28, 28), [1, 7]).shape
        torch.Size([2, 28, 28])
    """

    def adapter(model: nn.Module, image: Tensor, classes: Sequence[int]) -> Tensor:
        with prepared(model, image, classes) as pixels:
            rules, maps = _rules(model, biases), []
            for part in parts(classes):

                def own(outputs: Tensor, part=part) -> Tensor:
                    return outputs.detach() * one_hot(torch.tensor(part), outputs.shape[1]).to(outputs)

                with Gradient(model, rules, own) as attributor:
                    maps.append(attributor(pixels.repeat(len(part), 1, 1, 1))[1].detach().sum(1))
        return torch.cat(maps)

    return adapter


def _rules(model: nn.Module, biases: bool = True) -> MixedComposite:
    """Which rule and which change each module of a model gets."""
    linear = [name for name, module in model.named_modules() if isinstance(module, Linear)]
    if not linear:
        raise ValueError(
            f"lrp: expected a model with linear layers or convolutions; got {type(model).__name__}."
        )
    zero = None if biases else ["bias"]
    composites = [
        NameMapComposite([(linear[-1:], Epsilon(zero_params=zero))]),
        LayerMapComposite([(v2.Normalize, Pass())]),  # a change of units, in which relevance is not measured
        EpsilonPlusFlat(zero_params=zero),
    ]
    return MixedComposite(composites, [NamedMergeBatchNorm(_merges(model)), AttributeCanonizer(_as_modules)])


def _merges(model: nn.Module) -> list[tuple[list[str], str]]:
    """The names of convolutions or linear layers, and of the batch normalisations that directly follow them.

    zennit's own search passes over convolutions that hold a module for their padding.
    """
    inside = {part for m in model.modules() if isinstance(m, Linear) for part in m.modules() if part is not m}
    line = [
        (name, module)
        for name, module in model.named_modules()
        if module not in inside and (isinstance(module, Linear) or not any(module.children()))
    ]
    return [
        ([name], follower)
        for (name, module), (follower, norm) in pairwise(line)
        if isinstance(module, Linear) and isinstance(norm, BatchNorm)
    ]


def _as_modules(name: str, module: nn.Module) -> dict | None:
    """What zennit sets for a while: forward passes whose sums and averages are modules."""
    if isinstance(module, MBConvBlock) and module.id_skip:
        sizes = module._block_args
        if sizes.stride == 1 and sizes.input_filters == sizes.output_filters:
            return {"forward": MethodType(_residual, module), "relevance_sum": Sum()}
    if isinstance(module, DigitNet):
        return {"forward": MethodType(_averaged, module), "relevance_mean": nn.AdaptiveAvgPool2d(1)}
    return None


def _residual(block: MBConvBlock, inputs: Tensor, drop_connect_rate: float | None = None) -> Tensor:
    """A block of EfficientNet-Lite in eval mode, its skip connection added by a module."""
    with patch.object(block, "id_skip", False):
        body = type(block).forward(block, inputs)
    return block.relevance_sum(torch.stack([inputs, body], -1))


def _averaged(network: DigitNet, images: Tensor) -> Tensor:
    """A `DigitNet`, its logits averaged by a module."""
    return network.relevance_mean(network.classifier(network.features(images))).flatten(1)
