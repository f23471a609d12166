"""The methods that ours are compared with, the controls, and one honest count of what each of them costs.

Every peer is captum's implementation, called with the score, reference and layer that our own maps use. Peers
and controls are small objects with the call of `helpers.saliency.NonlinearSaliency`::

    peer.attribute(inputs, target=None, additional_forward_args=None, internal_batch_size=None)

Three rules hold for all of them.

- **Sign**: positive = supports the score. `Gradient` and `SmoothGrad` return magnitudes by default,
  as their papers draw them (Simonyan et al. 2013, Smilkov et al. 2017): the sign of a pixel's slope says
  whether a brighter pixel helps, not whether the pixel that is there does.
- **Shape**: one value a place, (N, 1, H, W) for images, channels summed and smaller maps enlarged bilinearly to
  the image (`helpers.saliency.means.fitted`); the inputs' shape for everything else.
- **Batches**: `internal_batch_size` is the most rows in one pass; None: as many as there are examples, so that
  steps, noise draws and windows come one after the other. A number above N puts several of them into a pass.

`measured` runs any map, ours or a peer's, and returns its exact cost beside it; `counted` counts the passes of
all that runs inside it.
"""

import zlib
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field

import numpy as np
import torch
from captum import attr
from skimage.filters import sobel
from torch import Tensor, nn

from helpers.checks import require_count, require_finite, require_images, require_width
from helpers.saliency import Logit, Score, fitted, gaussian_blur
from helpers.saliency.cut import hooked
from helpers.saliency.inputs import batches, checked_inputs
from helpers.saliency.layers import as_maps
from helpers.saliency.scores import as_score, class_indices, with_target
from helpers.saliency.values import like

EDGES = "control: Sobel edges"
BLURRED = "control: gradient, blurred"
SQUARED = "control: gradient, squared"
OWN_INK = "control: the image's own ink"
Scored = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Peer:
    """What every peer shares. A new one is a frozen dataclass that defines `map_of`.

    Args:
        forward_func: the model: a module or function from inputs (N, ...) to outputs (N, K).
        score: which number is explained (`helpers.saliency.scores`), or a callable from outputs to shape (N,).

    Raises:
        TypeError: an argument of the wrong kind.

    Example:
        >>> import torch
        >>> class Mine(Peer):
        ...     def map_of(self, scored, inputs, rows, most):
        ...         return scored(inputs, rows)[:, None] * inputs.detach()
        >>> Mine(lambda x: x).attribute(torch.tensor([[2.0, 3.0]]), target=0).detach()
        tensor([[4., 6.]])
    """

    forward_func: Callable[..., Tensor]
    _: KW_ONLY
    score: Score | Callable[[Tensor], Tensor] = Logit()

    def __post_init__(self):
        if not callable(self.forward_func):
            raise TypeError(f"forward_func: expected a module or a function; got {self.forward_func!r}.")
        object.__setattr__(self, "score", as_score(self.score))

    def map_of(self, scored: Scored, inputs: Tensor, rows: Tensor, most: int) -> Tensor:
        """The map of some of the examples, before channels are summed.

        Args:
            scored: (points (m, ...), numbers of their examples (m,)) -> scores (m,). captum repeats the
                numbers together with the points, so that each point keeps its target and its arguments.
            inputs: (n, ...), a leaf that requires a gradient.
            rows: the numbers of these examples, (n,).
            most: rows in one pass, at least n.
        """
        raise NotImplementedError

    def attribute(
        self,
        inputs: Tensor,
        target=None,
        *,
        additional_forward_args=None,
        internal_batch_size: int | None = None,
    ) -> Tensor:
        """The map, positive = supports the score: (N, 1, H, W) for images, else the inputs' shape.

        Args:
            inputs: shape (N, ...), floating point, finite.
            target: class index, one for all or one per example; may be missing where the score needs none.
            additional_forward_args: passed to the model after the input; tensors whose dimension 0 is N are
                split like the inputs.
            internal_batch_size: most rows in one pass through the model; None: N.

        Raises:
            TypeError, ValueError: a wrong argument (named in the message).

        Warns:
            UserWarning: a model in train mode with batch norm or dropout.

        Example:
            >>> import torch
            >>> model = lambda x: torch.stack([x[:, 0] ** 2, 3 * x[:, 1]], 1)
            >>> Gradient(model).attribute(torch.ones(3, 2), target=[0, 1, 1])
            tensor([[2., 0.],
                    [0., 3.],
                    [0., 3.]])
        """
        maps = []
        for batch in batches(self.forward_func, inputs, target, additional_forward_args, internal_batch_size):
            score = with_target(self.score, batch.target)

            def scored(points: Tensor, rows: Tensor, batch=batch, score=score) -> Tensor:
                return score(batch.forward(points, rows), rows)

            # a leaf of its own: captum would set the caller's tensor to require a gradient, and warn of it
            part = batch.inputs.clone().requires_grad_()
            most = max(internal_batch_size or 0, len(part))
            maps.append(fitted(self.map_of(scored, part, batch.rows, most).detach().to(part), batch.inputs))
        maps = torch.cat(maps)
        return (maps,) if isinstance(inputs, tuple) else maps


@dataclass(frozen=True, eq=False)
class Gradient(Peer):
    """The gradient of the score (Simonyan, Vedaldi & Zisserman 2013, arXiv 1312.6034): captum's Saliency.

    Args:
        magnitude: True: |gradient|, as in the paper and by captum's default. False: with its sign, the slope
            of the score.

    Example:
        >>> import torch
        >>> model = lambda x: torch.stack([x[:, 0] ** 2, 3 * x[:, 1]], 1)
        >>> Gradient(model).attribute(torch.tensor([[-2.0, 1.0]]), target=0)
        tensor([[4., 0.]])
        >>> Gradient(model, magnitude=False).attribute(torch.tensor([[-2.0, 1.0]]), target=0)
        tensor([[-4.,  0.]])
    """

    magnitude: bool = True

    def map_of(self, scored, inputs, rows, most):
        return attr.Saliency(scored).attribute(inputs, abs=self.magnitude, additional_forward_args=(rows,))


@dataclass(frozen=True, eq=False)
class InputTimesGradient(Peer):
    """Input x gradient (Shrikumar et al. 2016, arXiv 1605.01713), signed: captum's InputXGradient.

    Example:
        >>> import torch
        >>> model = lambda x: torch.stack([x[:, 0] ** 2, 3 * x[:, 1]], 1)
        >>> InputTimesGradient(model).attribute(torch.tensor([[2.0, 1.0]]), target=0)
        tensor([[8., 0.]])
    """

    def map_of(self, scored, inputs, rows, most):
        return attr.InputXGradient(scored).attribute(inputs, additional_forward_args=(rows,))


@dataclass(frozen=True, eq=False)
class SmoothGrad(Peer):
    """The gradient's mean over noisy copies (Smilkov et al. 2017, arXiv 1706.03825): captum's NoiseTunnel.

    The draws depend on the seed alone, not on torch's global generator, which stays as it was; but captum
    draws them for a whole pass, so they are other ones in another batch or with another internal_batch_size.

    Args:
        noise: standard deviation in the inputs' units; the paper advises 0.1 to 0.2 of their range.
        samples: noisy copies per example.
        magnitude: True: the magnitude of the mean, as the paper draws it. False: the mean with its sign.
        seed: of the draws.

    Example:
        >>> import torch
        >>> model = lambda x: torch.stack([x[:, 0] ** 2, 3 * x[:, 1]], 1)
        >>> SmoothGrad(model).attribute(torch.tensor([[2.0, 1.0]]), target=1).round(decimals=3)
        tensor([[0., 3.]])
    """

    noise: float = 0.15
    samples: int = 16
    magnitude: bool = True
    seed: int = 0

    def __post_init__(self):
        super().__post_init__()
        require_finite("SmoothGrad(noise)", self.noise)
        if self.noise < 0:
            raise ValueError(f"SmoothGrad(noise): expected a standard deviation >= 0; got {self.noise}.")
        require_count("SmoothGrad(samples)", self.samples)

    def map_of(self, scored, inputs, rows, most):
        with torch.random.fork_rng(range(torch.cuda.device_count())):
            torch.manual_seed(self.seed)
            mean = attr.NoiseTunnel(attr.Saliency(scored)).attribute(
                inputs,
                nt_type="smoothgrad",
                nt_samples=self.samples,
                nt_samples_batch_size=min(self.samples, most // len(inputs)),
                stdevs=float(self.noise),
                abs=False,
                additional_forward_args=(rows,),
            )
        return mean.abs() if self.magnitude else mean


@dataclass(frozen=True, eq=False)
class IntegratedGradients(Peer):
    """Integrated Gradients (Sundararajan, Taly & Yan 2017, arXiv 1703.01365), signed; captum's.

    With the midpoint rule these are the contributions of `helpers.saliency.Straight` all the way to the same
    reference, up to round-off: the one cannot beat the other.

    Args:
        reference: where the path begins: a number, a tensor, or a function of the inputs
            (`helpers.saliency.references`).
        steps: gradients per example.
        method: captum's name of the quadrature.

    Example:
        >>> import torch
        >>> model = lambda x: torch.stack([x[:, 0] ** 2, 3 * x[:, 1]], 1)
        >>> peer = IntegratedGradients(model, reference=1.0)
        >>> peer.attribute(torch.tensor([[2.0, 1.0]]), target=0).round(decimals=3)  # 4 - 1
        tensor([[3., 0.]])
    """

    reference: float | Tensor | Callable[[Tensor], Tensor] = 0.0
    steps: int = 16
    method: str = "riemann_middle"

    def __post_init__(self):
        super().__post_init__()
        require_count("IntegratedGradients(steps)", self.steps)

    def map_of(self, scored, inputs, rows, most):
        return attr.IntegratedGradients(scored).attribute(
            inputs,
            like("IntegratedGradients(reference)", self.reference, inputs.detach()),
            n_steps=self.steps,
            method=self.method,
            internal_batch_size=most,
            additional_forward_args=(rows,),
        )


@dataclass(frozen=True, eq=False)
class GradCam(Peer):
    """Grad-CAM at a layer (Selvaraju et al. 2017, arXiv 1610.02391), enlarged to the image.

    That of captum's LayerGradCam, and at layers that return tokens, which captum does not read as maps.

    Args:
        layer: a module of the model that returns feature maps or tokens (`helpers.saliency.layers.as_maps`).
        relu: True: the positive part, at the layer's size, as in the paper. False: signed, as by captum's
            default.

    Raises:
        TypeError, ValueError: something else than a module of the model.

    Example:
        >>> import torch
        >>> from helpers.zoo.networks import digit_net
        >>> network = digit_net()
        >>> GradCam(network, network.features).attribute(torch.ones(2, 1, 28, 28), target=3).shape
        torch.Size([2, 1, 28, 28])
    """

    layer: nn.Module
    relu: bool = False

    def __post_init__(self):
        super().__post_init__()
        if not isinstance(self.layer, nn.Module):
            raise TypeError(f"GradCam(layer): expected a module of the model; got {self.layer!r}.")
        known = isinstance(self.forward_func, nn.Module)
        if known and not any(part is self.layer for part in self.forward_func.modules()):
            raise ValueError(
                f"GradCam(layer): expected a module inside the model; this {type(self.layer).__name__} is no "
                f"part of the {type(self.forward_func).__name__}. Name one of its modules."
            )

    def map_of(self, scored, inputs, rows, most):
        seen = []

        def note(module, arguments, output):
            maps = (
                as_maps(output, inputs.shape[2:]) if isinstance(output, Tensor) and inputs.ndim == 4 else None
            )
            if maps is None or maps.ndim != 4:
                came = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
                raise ValueError(
                    "GradCam(layer): expected images (N, C, H, W) and a module that returns feature maps "
                    f"(N, c, h, w) or tokens; got inputs {tuple(inputs.shape)} and {came} of a "
                    f"{type(module).__name__}. Name a convolution or the block around it."
                )
            seen.append(output)
            return output.clone()  # what follows may work in place

        with torch.enable_grad(), hooked(self.layer, note):
            score = scored(inputs, rows)
        (gradient,) = torch.autograd.grad(score, seen[-1], torch.ones_like(score))
        weights, activations = (as_maps(values, inputs.shape[2:]) for values in (gradient, seen[-1].detach()))
        cam = (weights.mean((2, 3), keepdim=True) * activations).sum(1, keepdim=True)
        return cam.clamp_min(0) if self.relu else cam


@dataclass(frozen=True, eq=False)
class Occlusion(Peer):
    """What the score loses under a window, averaged over the windows that cover a place: captum's Occlusion.

    Zeiler & Fergus 2014, arXiv 1311.2901. Signed, in units of the score; captum sums in float32.

    Args:
        reference: what the window shows: a number, a tensor, or a function of the inputs
            (`helpers.saliency.references`).
        window: its side in pixels (or features), over all channels; None: a seventh of the larger side, at
            least 1.
        stride: pixels from one window to the next; None: half a window.

    Example:
        >>> import torch
        >>> model = lambda x: torch.stack([x[:, 0] ** 2, 3 * x[:, 1]], 1)
        >>> Occlusion(model).attribute(torch.tensor([[2.0, 1.0]]), target=0)  # one at a time is set to 0
        tensor([[4., 0.]])
    """

    reference: float | Tensor | Callable[[Tensor], Tensor] = 0.0
    window: int | None = None
    stride: int | None = None

    def __post_init__(self):
        super().__post_init__()
        for name, value in (("window", self.window), ("stride", self.stride)):
            if value is not None:
                require_count(f"Occlusion({name})", value)

    def sizes(self, inputs: Tensor) -> tuple[int, int]:
        """Window and stride for inputs of that shape.

        Raises:
            ValueError: a window larger than the input, or a stride that leaves places uncovered.
        """
        places = inputs.shape[min(2, inputs.ndim - 1) :]
        window = self.window or max(1, round(max(places) / 7))
        stride = self.stride or max(1, window // 2)
        if window > min(places) or stride > window:
            raise ValueError(
                f"Occlusion(window, stride): expected 1 <= stride <= window <= {min(places)}, the smallest side "
                f"of inputs {tuple(inputs.shape)}; got window {window}, stride {stride}."
            )
        return window, stride

    def map_of(self, scored, inputs, rows, most):
        window, stride = self.sizes(inputs)
        channels = inputs.shape[1:2] if inputs.ndim > 2 else ()
        places = inputs.ndim - 1 - len(channels)
        attribution = attr.Occlusion(scored).attribute(
            inputs.detach(),
            sliding_window_shapes=(*channels, *[window] * places),
            strides=(*channels, *[stride] * places),
            baselines=like("Occlusion(reference)", self.reference, inputs.detach()),
            additional_forward_args=(rows,),
            perturbations_per_eval=most // len(inputs),
        )
        # captum writes the loss under a window into each of its channels: one of them has it all
        return attribution[:, :1] if inputs.ndim == 4 else attribution


@dataclass(frozen=True, eq=False)
class BlurredGradient(Gradient):
    """Control: the gradient's map after a Gaussian of that width in pixels; what smoothing alone brings.

    Example:
        >>> import torch
        >>> logits = lambda x: x.flatten(1)  # class 12 is the pixel in the middle
        >>> attribution = BlurredGradient(logits, width=1.0).attribute(torch.zeros(1, 1, 5, 5), target=12)
        >>> attribution[0, 0, 2].round(decimals=3)
        tensor([0.0230, 0.0970, 0.1590, 0.0970, 0.0230])
    """

    width: float = field(kw_only=True)

    def __post_init__(self):
        super().__post_init__()
        require_width("BlurredGradient(width)", self.width)

    def map_of(self, scored, inputs, rows, most):
        require_images("BlurredGradient", inputs)
        return gaussian_blur(super().map_of(scored, inputs, rows, most), self.width)


@dataclass(frozen=True, eq=False)
class SquaredGradient(Gradient):
    """Control: the gradient squared, element by element; what a measure that rewards spikes gives for them.

    Example:
        >>> import torch
        >>> model = lambda x: torch.stack([x[:, 0] ** 2, 3 * x[:, 1]], 1)
        >>> SquaredGradient(model).attribute(torch.tensor([[2.0, 1.0]]), target=1)
        tensor([[0., 9.]])
    """

    def map_of(self, scored, inputs, rows, most):
        return super().map_of(scored, inputs, rows, most).square()


@dataclass(frozen=True, eq=False)
class Control:
    """What the controls share that know no model: the call of a peer, at no cost. They define `map_of`.

    Example:
        >>> import torch
        >>> class Flat(Control):
        ...     def map_of(self, images, target):
        ...         return torch.ones_like(images[:, :1])
        >>> Flat().attribute(torch.rand(2, 3, 4, 4), target=0).shape
        torch.Size([2, 1, 4, 4])
    """

    forward_func = None

    def map_of(self, images: Tensor, target: Tensor) -> Tensor:
        """The map of images (N, C, H, W) for classes (N,), -1 where there are none: (N, C or 1, H, W)."""
        raise NotImplementedError

    def attribute(
        self,
        inputs: Tensor,
        target=None,
        *,
        additional_forward_args=None,
        internal_batch_size: int | None = None,
    ) -> Tensor:
        """The map, (N, 1, H, W), of images (N, C, H, W); the last two arguments change nothing.

        Raises:
            TypeError, ValueError: inputs that are not images, or a wrong target.

        Example:
            >>> import torch
            >>> OwnInk().attribute(torch.tensor([[[[0.0, 1.0]]]]), target=7)
            tensor([[[[0., 1.]]]])
        """
        given, inputs = inputs, checked_inputs(inputs)
        require_images(type(self).__name__, inputs)
        none = torch.full((len(inputs),), -1)
        # the number of classes is the model's to know, and there is none here
        classes = none if target is None else class_indices(target, len(inputs), 2**62)
        maps = fitted(self.map_of(inputs, classes).to(inputs), inputs)
        return (maps,) if isinstance(given, tuple) else maps


@dataclass(frozen=True, eq=False)
class UniformRandom(Control):
    """Control: uniform random values, set by the seed, the image and the class, not by the batch.

    Example:
        >>> import torch
        >>> image, control = torch.zeros(1, 1, 8, 8), UniformRandom(seed=0)
        >>> maps = [control.attribute(image, target=target) for target in (0, 0, 1)]
        >>> torch.equal(maps[0], maps[1]), torch.equal(maps[0], maps[2])
        (True, False)
    """

    seed: int = 0

    def map_of(self, images, target):
        maps = []
        for image, number in zip(images.cpu(), target.tolist(), strict=True):
            fingerprint = zlib.crc32(np.ascontiguousarray(image.numpy()))
            generator = np.random.default_rng([self.seed, fingerprint, number + 1])
            maps.append(torch.from_numpy(generator.random((1, *image.shape[1:]))))
        return torch.stack(maps)


@dataclass(frozen=True, eq=False)
class SobelEdges(Control):
    """Control: the strength of the edges of the grey image, by scikit-image's Sobel filter.

    Example:
        >>> import torch
        >>> half = torch.tensor([0.0, 0.0, 0.0, 1.0, 1.0, 1.0]).expand(1, 1, 6, 6)
        >>> (SobelEdges().attribute(half)[0, 0, 2] > 0).int()
        tensor([0, 0, 1, 1, 0, 0], dtype=torch.int32)
    """

    def map_of(self, images, target):
        grey = images.mean(1).double().cpu().numpy()
        return torch.from_numpy(np.stack([sobel(image) for image in grey]))[:, None]


@dataclass(frozen=True, eq=False)
class OwnInk(Control):
    """Control: the image's own ink, for images on a background of 0.

    Example:
        >>> import torch
        >>> OwnInk().attribute(torch.tensor([[[[0.0, 0.5, 1.0]]]]))
        tensor([[[[0.0000, 0.5000, 1.0000]]]])
    """

    def map_of(self, images, target):
        return images


def standard_peers(
    model: Callable[..., Tensor],
    layer: nn.Module | Mapping[str, nn.Module] | None,
    reference: float | Tensor | Callable[[Tensor], Tensor],
    score: Score | Callable[[Tensor], Tensor] = Logit(),
    steps: int = 16,
    noise: float = 0.15,
    samples: int = 16,
    window: int | None = None,
    stride: int | None = None,
    seed: int = 0,
) -> dict[str, Peer]:
    """The peers of every table, in the order of the tables.

    Args:
        model: as in `Peer`.
        layer: where Grad-CAM looks: a module; several, name -> module ("Grad-CAM, NAME" in the table); or
            None, without Grad-CAM.
        reference: of Integrated Gradients and Occlusion.
        score: what all of them explain.
        steps: of Integrated Gradients.
        noise, samples, seed: of `SmoothGrad`.
        window, stride: of `Occlusion`.

    Example:
        >>> from helpers.zoo.networks import digit_net
        >>> network = digit_net()
        >>> list(standard_peers(network, network.features, reference=0.0))
        ['gradient', 'input x gradient', 'SmoothGrad', 'Integrated Gradients', 'Grad-CAM', 'Occlusion']
    """
    if isinstance(layer, Mapping):
        layers = {f"Grad-CAM, {name}": module for name, module in layer.items()}
    else:
        layers = {} if layer is None else {"Grad-CAM": layer}
    return {
        "gradient": Gradient(model, score=score),
        "input x gradient": InputTimesGradient(model, score=score),
        "SmoothGrad": SmoothGrad(model, noise, samples, seed=seed, score=score),
        "Integrated Gradients": IntegratedGradients(model, reference, steps, score=score),
        **{name: GradCam(model, module, score=score) for name, module in layers.items()},
        "Occlusion": Occlusion(model, reference, window, stride, score=score),
    }
