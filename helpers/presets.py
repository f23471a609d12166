"""Ready-made choices, one for each kind of data: what measured best so far (see benchmarks/)."""

from collections.abc import Callable

import torch
from captum.attr import GradientAttribution
from captum.log import log_usage
from torch import Tensor, nn

from helpers.contrast import Softmax
from helpers.coordinates import Input, Layer
from helpers.forward import stages
from helpers.geometry import Covariance
from helpers.levels import Level
from helpers.mean import Mean
from helpers.nonlinear import Explanation, NonlinearSaliency
from helpers.paths import Flow, Straight
from helpers.references import Blurred
from helpers.scores import Logit, LogOdds, Score


def tabular(
    model: Callable[..., Tensor], covariance: Tensor, score: Score | Callable[[Tensor], Tensor] = LogOdds()
) -> NonlinearSaliency:
    """For feature vectors: the flow to the boundary, in the geometry of the data's covariance.

    Args:
        model: from inputs (N, n) to outputs (N, K).
        covariance: covariance matrix of the inputs, (n, n), positive definite.
        score: what is explained; of a model with a single column, Logit().
    """
    return NonlinearSaliency(model, score, Input(), Covariance(covariance), Flow(steps=16))


def digits(model: Callable[..., Tensor]) -> NonlinearSaliency:
    """For digits, light on black: what the class's logit has from the ink, and no other class claims.

    Straight to a blank image, in contrast with all other classes.

    Args:
        model: from images (N, 1, H, W), ink 1 on background 0, to logits (N, 10).
    """
    return NonlinearSaliency(
        model,
        Logit(),
        Input(reference=0.0),
        path=Straight(steps=12),
        readout=Softmax(competitors=9, width=4.0),
    )


def photographs(model: nn.Module) -> "AtDepths":
    """For photographs: contrasts at the input and at the last three resolutions of the network, averaged.

    Args:
        model: an image classifier from pixel values in [0, 1], (N, 3, H, W), to logits (N, K). See
            `helpers.models.Normalised` for one that expects normalised images.
    """
    return AtDepths(model)


class AtDepths(GradientAttribution):
    """The mean of straight members at the input and at the last module of each of the last resolutions.

    All go to a blurred copy of the image and are contrasted with the highest other classes. The modules are
    found in one pass through the model, at the first call for an image size; a network that has none that
    returns feature maps (N, C, h, w) is explained at its input alone.

    Args:
        model: an image classifier, a module.
        depths: how many resolutions besides the input.
        steps: gradient evaluations per depth and class.
        competitors: how many other classes compete.
    """

    # widths as fractions of the image's larger side: 24 and 32 pixels of 448, as they were measured
    BLUR, SMOOTHING = 24 / 448, 32 / 448

    def __init__(self, model: nn.Module, depths: int = 3, steps: int = 8, competitors: int = 8):
        if not isinstance(model, nn.Module):
            raise TypeError(f"photographs(model): expected a module; got {model!r}.")
        super().__init__(model)
        self.depths, self.steps, self.competitors = depths, steps, competitors
        self._members: dict[tuple[int, ...], Mean] = {}

    def member(self, inputs: Tensor) -> Mean:
        """The mean of members that is used for images of that size."""
        if inputs.ndim != 4:
            raise ValueError(f"inputs: expected images of shape (N, C, H, W); got {tuple(inputs.shape)}.")
        size = tuple(inputs.shape[1:])
        if size not in self._members:
            with torch.no_grad():
                modules, classes = stages(self.forward_func, inputs[:1])
            side, rivals = max(size[1:]), min(self.competitors, classes - 1)
            reference = Input(reference=Blurred(self.BLUR * side))
            places = [(reference, Softmax(rivals, self.SMOOTHING * side))]
            places += [(Layer(module, reference), Softmax(rivals)) for module in modules[-self.depths :]]
            self._members[size] = Mean(
                [
                    NonlinearSaliency(
                        self.forward_func, Logit(), place, path=Straight(self.steps), readout=readout
                    )
                    for place, readout in places
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
        """The map, (N, 1, H, W), positive = supports the class; arguments as in `NonlinearSaliency.explain`."""
        arguments = (target, level, additional_forward_args, internal_batch_size, show_progress)
        return self.member(inputs).attribute(inputs, *arguments)

    def explain(self, inputs: Tensor, target=None, **options) -> list[Explanation]:
        """The records of all depths, the input first."""
        return self.member(inputs).explain(inputs, target, **options)
