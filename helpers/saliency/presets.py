"""Ready-made choices, one for each question or kind of data: what measured best so far (see benchmarks/)."""

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from helpers.saliency.contrasts import Softmax
from helpers.saliency.coordinates import Input
from helpers.saliency.decoders import Decoder
from helpers.saliency.depths import AllDepths
from helpers.saliency.method import NonlinearSaliency
from helpers.saliency.paths import Flow, ScaleSpace, Straight
from helpers.saliency.references import Blurred, OwnMean
from helpers.saliency.scores import Logit, LogOdds, Margin, Score


def tabular(
    model: Callable[..., Tensor],
    reference: float | Tensor,
    score: Score | Callable[[Tensor], Tensor] = LogOdds(),
    steps: int = 32,
) -> NonlinearSaliency:
    """For feature vectors: what speaks for this class, compared with a reference? The straight path to it.

    It is Integrated Gradients of the log-odds. A good reference is the mean of the class to compare with: set to
    other values in the order of this map, fewer features took a classifier over the boundary than in the order of
    the flow. That was so for 18 classifiers (two tables, three seeds, networks and kernel machines), whether the
    values were those of the mean or of a real example of that class (notebook 06 shows one of them). For the
    nearest change take `Nearest` in the geometry `Covariance`.

    Args:
        model: from inputs (N, n) to outputs (N, K).
        reference: what to compare with, (n,), or (N, n) for one an input.
        score: what is explained; of a model with a single column, Logit().
        steps: gradients along the path.

    Example:
        >>> import torch
        >>> model = lambda x: x @ torch.tensor([[0.0, 1.0], [0.0, 2.0]])
        >>> saliency = tabular(model, reference=torch.tensor([1.0, 1.0]))
        >>> run = saliency.explain(torch.tensor([[2.0, 0.0]]), target=1)
        >>> run.support().round(decimals=3)  # the first feature speaks for the class, the second against it
        tensor([[ 1., -2.]])
    """
    return NonlinearSaliency(model, score, Input(reference=reference), path=Straight(steps))


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
        >>> import torch
        >>> from helpers.zoo.classifiers import load_classifier
        >>> classifier = load_classifier("random:squeezenet1_1")
        >>> run = supports(classifier.model, steps=2).explain(torch.rand(1, 3, 64, 64), target=207)
        >>> run.support().shape, run.gradient_evaluations
        (torch.Size([1, 1, 64, 64]), tensor([9]))
    """
    members = _straight(model, reference, steps, "contribution")
    if reference is None:
        members.append(NonlinearSaliency(model, Logit(), Input(), path=ScaleSpace(steps)))
    return AllDepths(members, layers)


def contrasts(
    model: nn.Module,
    rivals: int | Sequence[int] | None = None,
    reference: float | Tensor | Callable[[Tensor], Tensor] | None = None,
    layers: Sequence[nn.Module] | None = None,
    steps: int = 2,
) -> AllDepths:
    """Why this class and not those? Where several classes compete: paths in the input, read behind the last block.

    Straight to a blurred copy and to the mean colour: what the class and its rivals contribute there, smoothed by
    3/56 of the image's side and compared at every place (`helpers.saliency.Softmax`). Takes
    2 * (steps + 1) * (1 + rivals) gradient evaluations; half of that with a reference of one's own. Those of the
    rivals go back to the module that is read and no further.

    On mosaics of photographs neither the path nor the contrast is needed: maps that are read behind the last block
    find the object by themselves, and Grad-CAM with the same contrast does as well or better (benchmarks/NOTES.md,
    22 to 26).

    Args:
        model: an image classifier from images (N, C, H, W) to logits (N, K), a module.
        rivals: the classes to compare with, or how many of the highest others. None: 8, or all others if fewer.
        reference: an image without the evidence, as in `helpers.saliency.Input`, for one straight path to it.
        layers: the modules to read, as in `AllDepths`; None: the last that returns feature maps or tokens.
        steps: of each path.

    Raises:
        ValueError: at the call, a target that is among the named rivals.

    Example:
        >>> import torch
        >>> from helpers.zoo.networks import digit_net
        >>> image = torch.zeros(1, 1, 28, 28)
        >>> image[..., 4:24, 13:15] = 1  # a stroke
        >>> run = contrasts(digit_net(), rivals=[4, 7], reference=0.0).explain(image, target=1)
        >>> run.support().shape, run.gradient_evaluations
        (torch.Size([1, 1, 28, 28]), tensor([9]))
    """
    competitors = rivals if isinstance(rivals, int) else 8 if rivals is None else tuple(rivals)
    contrast = Softmax(competitors, temperature=0.25)
    return AllDepths(_straight(model, reference, steps, contrast), layers, depths=1, smoothing=3 / 56)


def _straight(model, reference, steps: int, readout) -> list[NonlinearSaliency]:
    """Straight to a blurred copy and to the mean colour, or to a given reference."""
    path = Straight(steps, "trapezoid")
    references = [Blurred(), OwnMean()] if reference is None else [reference]
    return [
        NonlinearSaliency(model, Logit(), Input(reference=each), path=path, readout=readout)
        for each in references
    ]


def counterfactual(
    model: nn.Module,
    decoder: Callable[[Tensor], Tensor],
    encoder: Callable[[Tensor], Tensor],
    rival: int,
    reference: Tensor | None = None,
    steps: int = 16,
) -> NonlinearSaliency:
    """What would make it the other? To the boundary with a rival class, in a decoder's coordinates.

    The path, a flow, changes the code of a decoder of the data, and so the image as images of its kind vary; what
    the code does not hold of the image stays. With a reference, the rival's mean code, say, it is the straight path
    to that code: of the paths that were measured it convinces a second network most (benchmarks/witness.md).
    `explain(...).endpoint` is the changed image, at the boundary unless another level is asked for (a negative one:
    beyond it).

    Args:
        model: an image classifier, from pixel values in [0, 1], (N, C, H, W), to logits (N, K).
        decoder, encoder: codes to images, and images to codes, as in `helpers.saliency.Decoder`.
        rival: the other class.
        reference: a code, as `encoder` gives it, for a single image; None: the flow.
        steps: of the path.

    Example:
        >>> import torch
        >>> from helpers.zoo.datasets import mnist5k
        >>> from helpers.zoo.decoders import digit_vae
        >>> from helpers.zoo.networks import digit_net
        >>> net, vae, digit = digit_net(), digit_vae(), mnist5k().test_inputs[:1]
        >>> run = counterfactual(net, vae.decode, vae.encode, rival=6).explain(digit, target=0, level=-1.0)
        >>> net(torch.cat([digit, run.endpoint])).argmax(1)
        tensor([0, 6])
    """
    coordinates = Decoder(decoder, encoder, reference, lower=0.0, upper=1.0)
    path = Flow(steps) if reference is None else Straight(steps)
    return NonlinearSaliency(model, Margin(rival), coordinates, path=path)
