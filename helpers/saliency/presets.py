"""Ready-made choices, one for each question or kind of data: what measured best so far (see benchmarks/)."""

from collections.abc import Callable, Sequence

import torch
from captum.attr import GradientAttribution
from captum.log import log_usage
from torch import Tensor, nn

from helpers.checks import require_count, warn_caller
from helpers.saliency.contrasts import Softmax
from helpers.saliency.coordinates import Input, Layer
from helpers.saliency.decoders import Decoder
from helpers.saliency.depths import AllDepths
from helpers.saliency.explanation import MeanExplanation
from helpers.saliency.geometries import Covariance
from helpers.saliency.inputs import checked_inputs
from helpers.saliency.layers import stages
from helpers.saliency.levels import Level
from helpers.saliency.means import GeometricMean
from helpers.saliency.method import NonlinearSaliency
from helpers.saliency.paths import Flow, ScaleSpace, Straight, Stretch
from helpers.saliency.references import Blurred, OwnMean
from helpers.saliency.scores import Logit, LogOdds, Margin, Score


def tabular(
    model: Callable[..., Tensor], covariance: Tensor, score: Score | Callable[[Tensor], Tensor] = LogOdds()
) -> NonlinearSaliency:
    """For feature vectors: the flow to the boundary, in the geometry of the data's covariance.

    Args:
        model: from inputs (N, n) to outputs (N, K).
        covariance: covariance matrix of the inputs, (n, n), positive definite.
        score: what is explained; of a model with a single column, Logit().

    Example:
        >>> import torch
        >>> model = lambda x: x @ torch.tensor([[0.0, 1.0], [0.0, 0.0]])  # looks at the first feature alone
        >>> saliency = tabular(model, covariance=torch.tensor([[1.0, 0.75], [0.75, 1.0]]))
        >>> run = saliency.explain(torch.tensor([[2.0, 0.0]]), target=1)
        >>> run.displacement.round(decimals=3), run.contribution.round(decimals=3)
        (tensor([[-2.0000, -1.5000]]), tensor([[-2.,  0.]]))
    """
    return NonlinearSaliency(model, score, Input(), Covariance(covariance), Flow(steps=16))


def supports(
    model: nn.Module,
    reference: float | Tensor | Callable[[Tensor], Tensor] | None = None,
    layers: Sequence[nn.Module] | None = None,
    steps: int = 8,
) -> AllDepths:
    """What speaks for this class? For a single photograph: three paths in the input, read behind two resolutions.

    Straight to a blurred copy, straight to the mean colour, and through scale space to the blurred copy: what they
    contribute at the last module of the last two resolutions, in units of the logit, without a contrast. Takes
    3 * (steps + 1) gradient evaluations; a third of that with a reference of one's own.

    Args:
        model: an image classifier from images (N, C, H, W) to logits (N, K), a module.
        reference: an image without the evidence, as in `helpers.saliency.Input`, for one straight path to it.
        layers: the modules to read, as in `AllDepths`.
        steps: of each path.

    Example:
        >>> from helpers.zoo.classifiers import load_classifier
        >>> classifier = load_classifier("random:squeezenet1_1")
        >>> run = supports(classifier.model, steps=2).explain(torch.rand(1, 3, 64, 64), target=207)
        >>> run.support().shape, run.gradient_evaluations
        (torch.Size([1, 1, 64, 64]), tensor([9]))
    """
    straight = Straight(steps, "trapezoid")
    references = [Blurred(), OwnMean()] if reference is None else [reference]
    members = [NonlinearSaliency(model, Logit(), Input(reference=each), path=straight) for each in references]
    if reference is None:
        members.append(NonlinearSaliency(model, Logit(), Input(), path=ScaleSpace(steps)))
    return AllDepths(members, layers, depths=2, at_input=False)


def counterfactual(
    model: nn.Module, decoder: Callable[[Tensor], Tensor], encoder: Callable[[Tensor], Tensor], rival: int
) -> NonlinearSaliency:
    """What would make it the other? The flow to the boundary with a rival class, in a decoder's coordinates.

    The path changes the code of a decoder of the data, and so the image as images of its kind vary; what the code
    does not hold of the image stays. `explain(...).endpoint` is the changed image, at the boundary unless another
    level is asked for (a negative one: beyond it).

    Args:
        model: an image classifier, from pixel values in [0, 1], (N, C, H, W), to logits (N, K).
        decoder, encoder: codes to images, and images to codes, as in `helpers.saliency.Decoder`.
        rival: the other class.

    Example:
        >>> from helpers.zoo.datasets import mnist5k
        >>> from helpers.zoo.decoders import digit_vae
        >>> from helpers.zoo.networks import digit_net
        >>> net, vae, digit = digit_net(), digit_vae(), mnist5k().test_inputs[:1]
        >>> run = counterfactual(net, vae.decode, vae.encode, rival=6).explain(digit, target=0, level=-1.0)
        >>> net(torch.cat([digit, run.endpoint])).argmax(1)
        tensor([0, 6])
    """
    coordinates = Decoder(decoder, encoder, lower=0.0, upper=1.0)
    return NonlinearSaliency(model, Margin(rival), coordinates, path=Flow(steps=16))


def digits(model: nn.Module) -> "AtDepths":
    """For digits, light on black: what the class has from the ink, and no other class claims.

    At the input, on the way to a blank image, and behind the last feature maps.

    Args:
        model: an image classifier from images (N, 1, H, W), ink 1 on background 0, to logits (N, 10).

    Example:
        >>> import torch
        >>> from helpers.zoo.networks import digit_net
        >>> image = torch.zeros(1, 1, 28, 28)
        >>> image[..., 4:24, 13:15] = 1  # a stroke
        >>> network = digit_net()
        >>> network(image).argmax(1), digits(network).attribute(image, target=1).shape
        (tensor([1]), torch.Size([1, 1, 28, 28]))
    """
    return AtDepths(model, reference=0.0, stretch=(0.2, 0.9), competitors=5)


def photographs(model: nn.Module) -> "AtDepths":
    """For photographs: what the class has at the input and behind the last block, and no other class claims.

    Args:
        model: an image classifier from pixel values in [0, 1], (N, 3, H, W), to logits (N, K). See
            `helpers.zoo.networks.with_normalisation` for one that expects normalised images.

    Example:
        >>> import torch
        >>> from helpers.zoo.classifiers import load_classifier
        >>> classifier = load_classifier("random:squeezenet1_1")
        >>> photographs(classifier.model).attribute(torch.rand(1, 3, 64, 64), target=207).shape
        torch.Size([1, 1, 64, 64])
    """
    return AtDepths(model)


class AtDepths(GradientAttribution):
    """The geometric mean of straight members at the input and at the last block of the last resolutions.

    At the input the path goes to a reference, and the stretch of it counts where classes lose their evidence
    (`saliency.Stretch`); at a block it goes to "nothing is active". Each member is contrasted with the highest
    other classes (`helpers.saliency.Softmax`). The blocks are found in one pass through the model, at the first
    call for an image size; a network that has none that returns feature maps (N, C, h, w) is explained at its
    input alone. Every choice is one of benchmarks/NOTES.md.

    Args:
        model: an image classifier, a module.
        depths: how many resolutions besides the input.
        reference: an image without the evidence, as in `helpers.saliency.Input`; None: a blurred copy, of a
            width of 24 pixels for an image of 448.
        stretch: which part of the way to the reference counts at the input, as shares of the way.
        steps: gradient evaluations per member and class.
        competitors: how many other classes compete.

    Raises:
        TypeError: a model that is no module.
        ValueError: another argument that does not fit (named in the message).

    Example:
        >>> import torch
        >>> from helpers.zoo.networks import digit_net
        >>> saliency = AtDepths(digit_net(), depths=2, reference=0.0)
        >>> [type(each.coordinates).__name__ for each in saliency.member(torch.zeros(1, 1, 28, 28)).members]
        ['Input', 'Layer', 'Layer']
    """

    # widths as fractions of the image's larger side, and the softmax's temperature, as they were chosen in
    # benchmarks/NOTES.md
    BLUR, SMOOTHING, TEMPERATURE = 24 / 448, 32 / 448, 0.25

    def __init__(
        self,
        model: nn.Module,
        depths: int = 1,
        reference: float | Tensor | Callable[[Tensor], Tensor] | None = None,
        stretch: tuple[float, float] = (0.6875, 0.9375),
        steps: int = 2,
        competitors: int = 8,
    ):
        if not isinstance(model, nn.Module):
            raise TypeError(f"AtDepths(model): expected a module; got {model!r}.")
        for name, value in {"depths": depths, "steps": steps, "competitors": competitors}.items():
            require_count(f"AtDepths({name})", value)
        super().__init__(model)
        self.depths, self.reference, self.competitors = depths, reference, competitors
        self.at_input, self.deeper = Stretch(steps, *stretch), Straight(steps)
        self._members: dict[tuple[int, ...], GeometricMean] = {}

    def member(self, inputs: Tensor) -> GeometricMean:
        """The mean of members that is used for images of that size, (N, C, H, W)."""
        inputs = checked_inputs(inputs)
        if inputs.ndim != 4:
            raise ValueError(f"inputs: expected images of shape (N, C, H, W); got {tuple(inputs.shape)}.")
        size = tuple(inputs.shape[1:])
        if size not in self._members:
            with torch.no_grad():
                classes = self.forward_func(inputs[:1].clone()).shape[1]
            rivals, side = min(self.competitors, classes - 1), max(size[1:])
            reference = Blurred(self.BLUR * side) if self.reference is None else self.reference
            nothing = Input(reference=0.0)
            places = [(Input(reference=reference), self.at_input, self.SMOOTHING * side)]
            found = stages(self.forward_func, inputs[:1])[-self.depths :]
            if not found:
                warn_caller(
                    f"model: {type(self.forward_func).__name__} has no layer that returns feature maps or tokens "
                    "of the image's proportions, so its input alone is explained."
                )
            for module in found:
                places.append((Layer(module, nothing, carried=False), self.deeper, 0.0))
            self._members[size] = GeometricMean(
                [
                    NonlinearSaliency(
                        self.forward_func,
                        Logit(),
                        place,
                        path=path,
                        readout=Softmax(rivals, width, self.TEMPERATURE),
                    )
                    for place, path, width in places
                ]
            )
        return self._members[size]

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
        """The map, (N, 1, H, W), larger = more of the class's own.

        Arguments are those of `NonlinearSaliency.explain`.

        Example:
            >>> import torch
            >>> from helpers.zoo.networks import digit_net
            >>> AtDepths(digit_net(), reference=0.0).attribute(torch.ones(2, 1, 28, 28), target=[1, 7]).shape
            torch.Size([2, 1, 28, 28])
        """
        arguments = (target, level, additional_forward_args, internal_batch_size, show_progress)
        return self.member(inputs).attribute(inputs, *arguments)

    def explain(self, inputs: Tensor, target=None, **options) -> MeanExplanation:
        """The map, and the records of all members, the input first.

        Example:
            >>> import torch
            >>> from helpers.zoo.networks import digit_net
            >>> run = AtDepths(digit_net(), reference=0.0).explain(torch.ones(1, 1, 28, 28), target=1)
            >>> [tuple(member.contribution.shape) for member in run.members]  # the input, and the last feature maps
            [(1, 1, 28, 28), (1, 10, 7, 7)]
        """
        return self.member(inputs).explain(inputs, target, **options)
