"""The one entrance: `NonlinearSaliency`, and the record that a run leaves, `Explanation`."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from captum.attr import GradientAttribution
from captum.log import log_usage
from torch import Tensor, nn

from helpers.coordinates import Coordinates, Input
from helpers.geometry import Euclidean, Geometry
from helpers.journey import Journey, per
from helpers.levels import Level, as_level
from helpers.paths import Flow, Path
from helpers.scores import LogOdds, Score, as_score, class_indices

READOUTS = ("contribution", "mean_gradient", "displacement")


@dataclass(frozen=True)
class Explanation:
    """Everything that one run found out, for N examples with inputs of shape (N, *B).

    displacement: what changed, u at the end of the path, shape (N, *S), in the units of the coordinates.
    mean_gradient: the gradient's mean over the path's length in the geometry, (N, *S), score per unit of u.
    contribution: what each element added to the score along the path, (N, *B), in units of the score; sums
        to score_end - score_start up to completeness_error.
    endpoint: where the path ended, (N, *B).
    score_start, score_end, level: score at the input, at the endpoint, and the one aimed at, (N,).
    residual: score_end - level, (N,).
    completeness_error: sum of the contributions - (score_end - score_start), (N,).
    converged: whether the endpoint is at the level, (N,), bool.
    reason: per example: why it has not converged, or a remark, or "".
    gradient_evaluations, forward_evaluations: passes through the model with and without a backward pass, (N,).
    direction: +1 where the score was to rise, -1 where it was to fall or evidence was removed, (N,).
    path_points, path_scores: the points of the path, (T, N, *B), and the scores there, (T, N); None unless
        asked for with trace=True. An example that has arrived stays at its endpoint.
    """

    displacement: Tensor
    mean_gradient: Tensor
    contribution: Tensor
    endpoint: Tensor
    score_start: Tensor
    score_end: Tensor
    level: Tensor
    residual: Tensor
    completeness_error: Tensor
    converged: Tensor
    reason: list[str]
    gradient_evaluations: Tensor
    forward_evaluations: Tensor
    direction: Tensor
    path_points: Tensor | None = None
    path_scores: Tensor | None = None

    def support(self, readout: str = "contribution") -> Tensor:
        """One readout with the common sign: positive = supports the score.

        contribution, displacement: times `direction`, so that on the way down what is taken away counts as
        support, and on the way up what has to be added does. mean_gradient: as it is.

        Args:
            readout: "contribution", "mean_gradient" or "displacement".

        Raises:
            ValueError: another name.
        """
        require_readout(readout)
        values = getattr(self, readout)
        return values if readout == "mean_gradient" else values * per(self.direction, values)


class NonlinearSaliency(GradientAttribution):
    """Saliency by a finite change of the score, along a path that really goes there.

    The construction is this project's reading of the abstracts of Rosenzweig, Cvetkovic & Rosenzweig,
    "When saliency goes off on a tangent" (arXiv 2110.06639). The four choices are independent; with
    `path=Tangent()` it is linear saliency.

    Args:
        forward_func: the model: a module or function from inputs (N, ...) to outputs (N, K).
        score: which number is explained (`helpers.scores`), or a callable from outputs to shape (N,).
        coordinates: how u changes the input (`helpers.coordinates`).
        geometry: which changes count as small (`helpers.geometry`).
        path: how the level is reached (`helpers.paths`).
        readout: what `attribute` returns: "contribution", "mean_gradient" or "displacement".

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: choices that do not go together.
    """

    def __init__(
        self,
        forward_func: Callable[..., Tensor],
        score: Score | Callable[[Tensor], Tensor] = LogOdds(),
        coordinates: Coordinates = Input(),
        geometry: Geometry = Euclidean(),
        path: Path = Flow(),
        readout: str = "contribution",
    ):
        if not callable(forward_func):
            raise TypeError(f"forward_func: expected a module or a function; got {forward_func!r}.")
        for name, value, kind in (
            ("coordinates", coordinates, Coordinates),
            ("geometry", geometry, Geometry),
            ("path", path, Path),
        ):
            if not isinstance(value, kind):
                raise TypeError(f"{name}: expected an instance of {kind.__name__}; got {value!r}.")
        require_readout(readout)
        path.check(coordinates, geometry)
        super().__init__(forward_func)
        self.score = as_score(score)
        self.coordinates = coordinates
        self.geometry = geometry
        self.path = path
        self.readout = readout

    @property
    def multiplies_by_inputs(self) -> bool:
        """Whether the map is local (False) or a share of the score (True), in captum's terms."""
        return self.readout == "contribution"

    def has_convergence_delta(self) -> bool:
        return True

    @log_usage()
    def attribute(
        self,
        inputs: Tensor,
        target=None,
        level: Level | float | None = None,
        additional_forward_args=None,
        internal_batch_size: int | None = None,
        return_convergence_delta: bool = False,
        show_progress: bool = False,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """The named readout, positive = supports the score.

        Arguments and errors are those of `explain`.

        Returns:
            The map: for "contribution" of the inputs' shape. With return_convergence_delta also the
            completeness error, shape (N,).
        """
        explanation = self.explain(
            inputs, target, level, additional_forward_args, internal_batch_size, show_progress
        )
        support = explanation.support(self.readout)
        if isinstance(inputs, tuple):
            support = (support,)
        return (support, explanation.completeness_error) if return_convergence_delta else support

    def explain(
        self,
        inputs: Tensor,
        target=None,
        level: Level | float | None = None,
        additional_forward_args=None,
        internal_batch_size: int | None = None,
        show_progress: bool = False,
        trace: bool = False,
    ) -> Explanation:
        """All readouts and the record.

        Args:
            inputs: shape (N, ...), floating point, finite; dimension 0 counts the examples.
            target: class index, one for all or one per example; may be missing where the score needs none.
            level: the score to reach: `Value`, `Drop`, `Boundary` or a number. None: the path's own, which
                is Boundary() except for Straight, which then goes all the way to the reference.
            additional_forward_args: passed to the model after the input; tensors whose dimension 0 is N are
                split like the inputs.
            internal_batch_size: most examples in one pass through the model; None: all N.
            show_progress: a progress bar over the steps.
            trace: keep the points and scores along the path.

        Returns:
            An `Explanation`.

        Raises:
            TypeError, ValueError: a wrong argument (named in the message), before the first step.

        Warns:
            UserWarning: a model in train mode whose batch norm or dropout makes examples depend on each
                other or on chance.
        """
        inputs = checked_inputs(inputs)
        examples = len(inputs)
        if internal_batch_size is not None and (
            isinstance(internal_batch_size, bool)
            or not isinstance(internal_batch_size, int)
            or internal_batch_size < 1
        ):
            raise ValueError(
                f"internal_batch_size: expected an integer of at least 1 or None; got {internal_batch_size!r}."
            )
        level = self.path.default_level if level is None else as_level(level)
        warn_of_training(self.forward_func)
        arguments = RowWise(additional_forward_args, examples)

        def forward(points: Tensor, rows: Tensor) -> Tensor:
            outputs = self.forward_func(points, *arguments.of(rows))
            if not isinstance(outputs, Tensor):
                raise TypeError(
                    f"forward_func: expected one tensor of outputs; got {type(outputs).__name__}. "
                    "Wrap the model in a function that returns the logits."
                )
            if outputs.ndim == 0 or len(outputs) != len(points):
                raise ValueError(
                    f"forward_func: expected outputs of shape (N, K) with N = {len(points)}; "
                    f"got {tuple(outputs.shape)}."
                )
            return outputs

        def score(outputs: Tensor, rows: Tensor) -> Tensor:
            return self.score(outputs, chosen_targets(target, examples, outputs, rows))

        chart = self.coordinates.chart(inputs, forward)
        self.geometry.check(chart.shape[1:])
        journey = Journey(chart, self.geometry, score, internal_batch_size, show_progress, trace)
        journey.begin(level, self.score.boundary, self.path.follows_slopes)
        self.path.walk(journey)
        journey.finish()
        return read(journey, all_the_way=level is None)


def read(journey: Journey, all_the_way: bool) -> Explanation:
    """The record of a finished journey; all_the_way: it aimed at the reference and not at a level."""
    chart, every = journey.chart, torch.arange(journey.examples, device=journey.u.device)
    mean_gradient = journey.mean_gradient()
    falls = all_the_way or chart.removes
    direction = -torch.ones_like(journey.start) if falls else (journey.level - journey.start).sign()
    points, scores = journey.trace() or (None, None)
    return Explanation(
        displacement=journey.u,
        mean_gradient=mean_gradient,
        contribution=journey.contribution,
        endpoint=chart.point(journey.u, every),
        score_start=journey.start,
        score_end=journey.score,
        level=journey.level,
        residual=journey.score - journey.level,
        completeness_error=journey.contribution.flatten(1).sum(1) - (journey.score - journey.start),
        converged=journey.converged,
        reason=journey.reason,
        gradient_evaluations=journey.gradient_evaluations,
        forward_evaluations=journey.forward_evaluations,
        direction=direction,
        path_points=None if points is None else torch.stack([chart.point(u, every) for u in points]),
        path_scores=scores,
    )


class RowWise:
    """Additional arguments of the model, of which tensors with one entry per example follow the rows."""

    def __init__(self, arguments, examples: int):
        self.arguments = (
            () if arguments is None else arguments if isinstance(arguments, tuple) else (arguments,)
        )
        self.examples = examples

    def of(self, rows: Tensor) -> tuple:
        """The arguments for the examples with those numbers."""
        return tuple(
            a[rows.to(a.device)] if isinstance(a, Tensor) and a.ndim and len(a) == self.examples else a
            for a in self.arguments
        )


def chosen_targets(target, examples: int, outputs: Tensor, rows: Tensor) -> Tensor | None:
    """The targets of the examples with those numbers, checked against all N and the outputs' columns."""
    if target is None:
        return None
    columns = outputs.shape[1] if outputs.ndim > 1 else 1
    return class_indices(target, examples, columns).to(rows.device)[rows]


def checked_inputs(inputs) -> Tensor:
    """The inputs as one detached tensor (N, ...).

    Raises:
        TypeError: not one floating-point tensor.
        ValueError: no example, or values that are not finite.
    """
    if isinstance(inputs, tuple) and len(inputs) == 1:
        (inputs,) = inputs
    if isinstance(inputs, tuple):
        raise TypeError(
            f"inputs: expected one tensor; got a tuple of {len(inputs)}. Explain one of them and pass the "
            "others as additional_forward_args."
        )
    if not isinstance(inputs, Tensor):
        raise TypeError(f"inputs: expected a tensor of shape (N, ...); got {type(inputs).__name__}.")
    if not inputs.is_floating_point():
        raise TypeError(
            f"inputs: expected a floating-point tensor; got {inputs.dtype}. Convert it, for example by "
            "inputs.float(), and scale it as the model expects."
        )
    if inputs.ndim < 2 or not inputs.numel():
        raise ValueError(
            "inputs: expected shape (N, ...) with at least one example and one feature; got "
            f"{tuple(inputs.shape)}."
        )
    bad = ~torch.isfinite(inputs)
    if bad.any():
        rows = bad.flatten(1).any(1).nonzero()[:, 0].tolist()
        raise ValueError(
            f"inputs: expected finite values; got NaN or infinity in {int(bad.sum())} elements, in examples "
            f"{rows[:5]}."
        )
    return inputs.detach()


def warn_of_training(model) -> None:
    """Warns if a module is in train mode and has a batch norm or dropout."""
    if not isinstance(model, nn.Module):
        return
    kinds = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)
    names = sorted({type(m).__name__ for m in model.modules() if isinstance(m, kinds) and m.training})
    if names:
        warnings.warn(
            f"forward_func: the model is in train mode and has {', '.join(names)}, so its output depends on "
            "the batch or on chance. Call model.eval() first.",
            stacklevel=3,
        )


def require_readout(readout: str) -> None:
    """Raises ValueError unless the name is one of the readouts."""
    if readout not in READOUTS:
        raise ValueError(f"readout: expected one of {', '.join(READOUTS)}; got {readout!r}.")
