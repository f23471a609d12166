"""The one entrance: `NonlinearSaliency`, and the record that a run leaves, `Explanation`."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields

import torch
from captum.attr import GradientAttribution
from captum.log import log_usage
from torch import Tensor, nn

from helpers.checks import require_count, require_finite
from helpers.contrast import Contrast
from helpers.coordinates import Chart, Coordinates, Input
from helpers.forward import Forward
from helpers.geometry import Euclidean, Geometry
from helpers.journey import Journey, per
from helpers.levels import Level, as_level
from helpers.paths import Flow, Path
from helpers.scores import LogOdds, Score, as_score, class_indices, rows_score

READOUTS = ("contribution", "mean_gradient", "displacement")


@dataclass(frozen=True)
class Explanation:
    """Everything that one run found out, for N examples.

    *B is the shape of what the coordinates change (the input's, or the layer's), *S that of the coordinates
    (the same, but one channel for Removal).

    displacement: what changed, u at the end of the path, shape (N, *S), in the units of the coordinates.
    mean_gradient: the gradient's mean over the path's length in the geometry, (N, *S), score per unit of u.
    contribution: what each element added to the score along the path, (N, *B), in units of the score; sums
        to score_end - score_start up to completeness_error.
    endpoint: where the path ended, (N, *B).
    score_start, score_end, level: score at the input, at the endpoint, and the one aimed at, (N,). With noise
        they are those of the smoothed score.
    raw_score_start, raw_score_end: the same without noise, (N,).
    residual: score_end - level, (N,).
    completeness_error: sum of the contributions - (score_end - score_start), (N,).
    converged: whether the endpoint is at the level, (N,), bool.
    reason: per example: why it has not converged, or a remark, or "".
    gradient_evaluations, forward_evaluations: passes through the model (through what comes after the layer,
        where it is cut there) with and without a backward pass, (N,); a gradient of a competitor's score
        counts as one.
    head_evaluations: passes through what comes before the layer, (N,); 0 without a layer.
    direction: +1 where the score was to rise, -1 where it was to fall or to go all the way to the reference.
    removes: whether the coordinates count evidence that is taken away.
    competitors: the competing classes, (N, R), and
    competing_contributions: their scores' contributions along the same path, (N, R, *B); None if not asked for.
    stationarity: cosine between the displacement and the score's gradient at the endpoint, both in the
        geometry, (N,): 1 at a nearest point. None for paths that do not look for one.
    path_points, path_scores: the points of the path, (T, N, *B), and the scores there, (T, N); None unless
        asked for with trace=True. An example that has arrived stays at its endpoint.

    Example:
        >>> import torch
        >>> from helpers.scores import Logit
        >>> saliency = NonlinearSaliency(lambda x: x.prod(1, keepdim=True), Logit())
        >>> run = saliency.explain(torch.tensor([[2.0, 1.0]]), level=0.5)
        >>> run.score_start.item(), round(run.score_end.item(), 3), run.converged.item()
        (2.0, 0.5, True)
        >>> run.support().sum(1).round(decimals=2)  # completeness: what the score lost on the way
        tensor([1.5000])
    """

    displacement: Tensor
    mean_gradient: Tensor
    contribution: Tensor
    endpoint: Tensor
    score_start: Tensor
    score_end: Tensor
    level: Tensor
    raw_score_start: Tensor
    raw_score_end: Tensor
    residual: Tensor
    completeness_error: Tensor
    converged: Tensor
    reason: list[str]
    gradient_evaluations: Tensor
    forward_evaluations: Tensor
    head_evaluations: Tensor
    direction: Tensor
    removes: bool = False
    competitors: Tensor | None = None
    competing_contributions: Tensor | None = None
    stationarity: Tensor | None = None
    path_points: Tensor | None = None
    path_scores: Tensor | None = None

    def support(self, readout: str = "contribution") -> Tensor:
        """One readout with the common sign: positive = supports the score.

        Where evidence is removed, what it takes with it counts as support, whether the score falls or rises.
        Elsewhere contributions and displacements are counted along `direction`: on the way down what is
        taken away is support, on the way up what has to be added.

        Args:
            readout: "contribution", "mean_gradient" or "displacement".

        Raises:
            ValueError: another name.
        """
        require_readout(readout)
        values = getattr(self, readout)
        along = per(self.direction, values)
        if readout == "mean_gradient":
            return -values if self.removes else values
        if readout == "contribution":
            return -values if self.removes else values * along
        return -values * along if self.removes else values * along

    def competing_support(self) -> Tensor:
        """The competitors' contributions with the sign of `support`, shape (N, R, *B).

        Raises:
            ValueError: the run had no competitors.
        """
        if self.competing_contributions is None:
            raise ValueError(
                "competitors: this run had none; call explain(..., competitors=k) or a list of classes."
            )
        values = self.competing_contributions
        return -values if self.removes else values * per(self.direction, values)


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
        readout: what `attribute` returns: "contribution", "mean_gradient", "displacement", or a contrast
            with competing classes (`helpers.contrast`).
        noise: standard deviation of Gaussian noise, in the input's (or the layer's) units. The score is then
            its mean over `samples` draws, which are fixed for the run and come in pairs of opposite sign, as
            SmoothGrad does for the gradient (Smilkov et al. 2017, arXiv 1706.03825).
        samples: number of draws; of an odd number the last is zero.
        generator: where the draws come from; None: a generator seeded with 0.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: choices that do not go together.

    Example:
        >>> import torch
        >>> from helpers import coordinates, paths, scores
        >>> model = lambda x: x.prod(1, keepdim=True)
        >>> inputs = torch.tensor([[2.0, 3.0]])  # score 6, and 0 at the reference
        >>> options = {"score": scores.Logit(), "coordinates": coordinates.Input(reference=0.0)}
        >>> NonlinearSaliency(model, **options, path=paths.StraightTangent()).attribute(inputs)  # linear: 12
        tensor([[6., 6.]])
        >>> NonlinearSaliency(model, **options, path=paths.Straight()).attribute(inputs).round(decimals=3)
        tensor([[3., 3.]])
    """

    def __init__(
        self,
        forward_func: Callable[..., Tensor],
        score: Score | Callable[[Tensor], Tensor] = LogOdds(),
        coordinates: Coordinates = Input(),
        geometry: Geometry = Euclidean(),
        path: Path = Flow(),
        readout: "str | Contrast" = "contribution",
        noise: float = 0.0,
        samples: int = 8,
        generator: torch.Generator | None = None,
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
        if not isinstance(readout, Contrast):
            require_readout(readout)
        require_finite("noise", noise)
        if noise < 0:
            raise ValueError(f"noise: expected a standard deviation >= 0; got {noise}.")
        require_count("samples", samples)
        coordinates.check(geometry)
        path.check(coordinates, geometry)
        super().__init__(forward_func)
        self.score = as_score(score)
        self.coordinates = coordinates
        self.geometry = geometry
        self.path = path
        self.readout = readout
        self.noise, self.samples, self.generator = noise, samples, generator

    @property
    def multiplies_by_inputs(self) -> bool:
        """Whether the map is local (False) or a share of the score (True), in captum's terms."""
        return self.readout != "mean_gradient"

    @property
    def competitors(self) -> int | tuple[int, ...] | None:
        """The competing classes that the readout needs, if it is a contrast."""
        return self.readout.competitors if isinstance(self.readout, Contrast) else None

    def map_of(self, explanation: Explanation) -> Tensor:
        """The readout of a record of this member, positive = supports the score."""
        return (
            self.readout(explanation) if self.competitors is not None else explanation.support(self.readout)
        )

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

        Example:
            >>> import torch
            >>> model = lambda x: x @ torch.tensor([[1.0, 0.0], [0.0, 2.0]])  # log-odds of class 1: 2 x2 - x1
            >>> NonlinearSaliency(model).attribute(torch.tensor([[1.0, 2.0]]), target=1).round(decimals=4)
            tensor([[0.6000, 2.4000]])
        """
        records = self._records(
            inputs,
            target,
            level,
            additional_forward_args,
            internal_batch_size,
            show_progress,
            competitors=self.competitors,
            keep_gradient=self.readout == "mean_gradient",
        )
        # part by part, so that only the maps of all examples are held, not their records
        parts = [(self.map_of(record), record.completeness_error) for record in records]
        support, error = (joined(values) for values in zip(*parts, strict=True))
        if isinstance(inputs, tuple):
            support = (support,)
        return (support, error) if return_convergence_delta else support

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
            competitors: also follow the scores of other classes along the path: that many of the highest
                other classes of each input, or a list of classes for all.

        Returns:
            An `Explanation`.

        Raises:
            TypeError, ValueError: a wrong argument (named in the message), before the first step.

        Warns:
            UserWarning: a model in train mode whose batch norm or dropout makes examples depend on each
                other or on chance.

        Example:
            >>> import torch
            >>> model = lambda x: x @ torch.tensor([[1.0, 0.0], [0.0, 2.0]])
            >>> run = NonlinearSaliency(model).explain(torch.tensor([[1.0, 2.0]]), target=0)
            >>> run.direction  # class 1 is predicted: up, to even odds
            tensor([1.])
            >>> run.displacement.round(decimals=4)  # what would make it class 0
            tensor([[ 0.6000, -1.2000]])
        """
        records = self._records(
            inputs,
            target,
            level,
            additional_forward_args,
            internal_batch_size,
            show_progress,
            trace,
            competitors,
        )
        return together(list(records))

    def _records(
        self,
        inputs: Tensor,
        target,
        level: Level | float | None,
        additional_forward_args,
        internal_batch_size: int | None,
        show_progress: bool,
        trace: bool = False,
        competitors: int | Sequence[int] | None = None,
        keep_gradient: bool = True,
    ) -> Iterator[Explanation]:
        """The records of the parts of the batch, one internal batch after the other."""
        inputs = checked_inputs(inputs)
        if internal_batch_size is not None:
            require_count("internal_batch_size", internal_batch_size)
        aim = self.path.default_level if level is None else as_level(level)
        warn_of_training(self.forward_func)
        forward = Forward(self.forward_func, additional_forward_args, len(inputs), internal_batch_size)
        rivals = None if competitors is None else competing_classes(competitors, target, inputs, forward)
        chart = self.coordinates.chart(inputs, forward)
        self.geometry.check(chart.shape[1:])
        draws = self._draws(chart)
        for numbers in forward.chunks(torch.arange(len(inputs), device=inputs.device)):
            others = None if rivals is None else rivals[numbers]
            wanted = [target] if others is None else [target, *rivals.T]
            score, *competing = (self._score_of(each, len(inputs), numbers) for each in wanted)
            journey = Journey(
                chart.part(numbers),
                self.geometry,
                score,
                competing,
                draws,
                show_progress,
                trace,
                keep_gradient,
            )
            journey.begin(aim, self.score.boundary, self.path.follows_slopes)
            self.path.walk(journey)
            journey.finish()
            yield explanation_of(journey, all_the_way=aim is None, rivals=others)

    def _score_of(self, target, examples: int, numbers: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
        """The score of outputs (n, K) and rows, which count the examples with those numbers from 0.

        The target is that of all examples.
        """

        def score(outputs: Tensor, rows: Tensor) -> Tensor:
            return rows_score(self.score, outputs, target, examples, numbers[rows])

        return score

    def _draws(self, chart: Chart) -> Tensor | None:
        """The noise of this run, the same for every example: shape (samples, *B), or None without noise."""
        if self.noise == 0:
            return None
        like = chart.origin
        generator = self.generator or torch.Generator().manual_seed(0)
        half = torch.randn(
            self.samples // 2, *like.shape[1:], generator=generator, device=generator.device, dtype=like.dtype
        )
        zero = half.new_zeros(self.samples % 2, *like.shape[1:])
        return (self.noise * torch.cat([half, -half, zero])).to(like.device)


def explanation_of(journey: Journey, all_the_way: bool, rivals: Tensor | None) -> Explanation:
    """The record of a finished journey; all_the_way: it aimed at the reference and not at a level.

    Example:
        >>> import torch
        >>> from helpers.levels import Value
        >>> chart = Input().chart(torch.tensor([[3.0]]), Forward(lambda x: x)).part(torch.tensor([0]))
        >>> journey = Journey(chart, Euclidean(), lambda outputs, rows: outputs[:, 0])
        >>> journey.begin(Value(1.0), boundary=None, with_gradient=True)
        >>> Flow().walk(journey)
        >>> journey.finish()
        >>> explanation_of(journey, all_the_way=False, rivals=None).displacement.round(decimals=4)
        tensor([[-2.]])
    """
    chart, every = journey.chart, torch.arange(journey.examples, device=journey.u.device)
    mean_gradient = journey.mean_gradient()
    falls = -torch.ones_like(journey.start)
    points, scores = journey.trace() or (None, None)
    contribution = journey.contribution[:, 0]
    raw_start, raw_end = journey.start, journey.score
    if journey.noisy:
        raw_start, raw_end = (journey.raw_values(u) for u in (torch.zeros_like(journey.u), journey.u))
    return Explanation(
        displacement=journey.u,
        mean_gradient=mean_gradient,
        contribution=contribution,
        endpoint=chart.point(journey.u, every),
        score_start=journey.start,
        score_end=journey.score,
        level=journey.level,
        raw_score_start=raw_start,
        raw_score_end=raw_end,
        residual=journey.score - journey.level,
        completeness_error=contribution.flatten(1).sum(1) - (journey.score - journey.start),
        converged=journey.converged,
        reason=journey.reason,
        gradient_evaluations=journey.gradient_evaluations,
        forward_evaluations=journey.forward_evaluations,
        head_evaluations=chart.forward.head_evaluations,
        direction=falls if all_the_way else (journey.level - journey.start).sign(),
        removes=chart.removes,
        competitors=rivals,
        competing_contributions=None if rivals is None else journey.contribution[:, 1:],
        stationarity=journey.stationarity,
        path_points=None if points is None else torch.stack([chart.point(u, every) for u in points]),
        path_scores=scores,
    )


def joined(parts: Sequence[Tensor], dimension: int = 0) -> Tensor:
    """The parts one after the other, without a copy where there is one.

    Example:
        >>> import torch
        >>> joined([torch.zeros(1), torch.ones(2)])
        tensor([0., 1., 1.])
    """
    return parts[0] if len(parts) == 1 else torch.cat(parts, dimension)


def together(records: Sequence[Explanation]) -> Explanation:
    """One record of all examples from those of the parts of a batch, in their order.

    Example:
        >>> import torch
        >>> from helpers.scores import Logit
        >>> saliency = NonlinearSaliency(lambda x: x, Logit())
        >>> runs = [saliency.explain(torch.tensor([[value]]), level=0.0) for value in (1.0, 2.0)]
        >>> together(runs).score_start
        tensor([1., 2.])
    """
    if len(records) == 1:
        return records[0]
    whole = {}
    for field in fields(Explanation):
        values = [getattr(record, field.name) for record in records]
        if isinstance(values[0], list):
            whole[field.name] = [entry for value in values for entry in value]
        elif field.name in ("path_points", "path_scores") and values[0] is not None:
            # those that are there earlier stay at their endpoints
            longest = max(len(value) for value in values)
            padded = [torch.cat([v, v[-1:].expand(longest - len(v), *v.shape[1:])]) for v in values]
            whole[field.name] = torch.cat(padded, 1)
        else:
            whole[field.name] = joined(values) if isinstance(values[0], Tensor) else values[0]
    return Explanation(**whole)


def competing_classes(competitors, target, inputs: Tensor, forward: Forward) -> Tensor:
    """The competing classes of each example, shape (N, R): the k highest others, or those of a list.

    Raises:
        TypeError, ValueError: no target, a target among the competitors, more classes than there are.

    Example:
        >>> import torch
        >>> inputs = torch.tensor([[3.0, 1.0, 2.0]])
        >>> competing_classes(2, 0, inputs, Forward(lambda x: x))  # the two highest other classes
        tensor([[2, 1]])
    """
    examples, rows = len(inputs), torch.arange(len(inputs), device=inputs.device)
    with torch.no_grad():
        outputs = torch.cat([forward(inputs[chunk], chunk) for chunk in forward.chunks(rows)])
    if outputs.ndim != 2 or outputs.shape[1] < 2:
        raise ValueError(
            f"competitors: expected a model with at least two classes; its outputs have shape "
            f"{tuple(outputs.shape)}."
        )
    classes = outputs.shape[1]
    own = class_indices(target, examples, classes).to(outputs.device)
    if isinstance(competitors, int):
        require_count("competitors", competitors)
        if competitors >= classes:
            raise ValueError(f"competitors: expected at most {classes - 1} other classes; got {competitors}.")
        return outputs.scatter(1, own[:, None], -torch.inf).topk(competitors, 1).indices
    rivals = own.new_zeros(examples, 0)
    if len(competitors):
        rivals = class_indices(competitors, len(competitors), classes).to(outputs.device).expand(examples, -1)
    if not rivals.shape[1] or (rivals == own[:, None]).any():
        raise ValueError(
            "competitors: expected classes other than the target, at least one; got "
            f"{list(competitors)} for target {own.tolist()}."
        )
    return rivals


def checked_inputs(inputs) -> Tensor:
    """The inputs as one detached tensor (N, ...).

    Raises:
        TypeError: not one floating-point tensor.
        ValueError: no example, or values that are not finite.

    Example:
        >>> import torch
        >>> checked_inputs(torch.tensor([[1.0, float("nan")]]))
        Traceback (most recent call last):
            ...
        ValueError: inputs: expected finite values; got NaN or infinity in 1 elements, in examples [0].
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
    """Warns if a module is in train mode and has a batch norm or dropout.

    Example:
        >>> import warnings
        >>> from torch import nn
        >>> with warnings.catch_warnings(record=True) as caught:
        ...     warnings.simplefilter("always")
        ...     warn_of_training(nn.Sequential(nn.Linear(2, 2), nn.Dropout()))
        ...     warn_of_training(nn.Sequential(nn.Linear(2, 2), nn.Dropout()).eval())
        >>> len(caught)
        1
    """
    if not isinstance(model, nn.Module):
        return
    kinds = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)
    names = sorted({type(m).__name__ for m in model.modules() if isinstance(m, kinds) and m.training})
    if names:
        warnings.warn(
            f"forward_func: the model is in train mode and has {', '.join(names)}, so its output depends on "
            "the batch or on chance. Call model.eval() first.",
            stacklevel=5,
        )


def reduce(attribution: Tensor, channels: int = 1) -> Tensor:
    """One map per example: (N, C, H, W) -> (N, H, W), the sum over the channels.

    The sign stays: positive = supports the score, and a place whose channels cancel gets 0.

    Args:
        channels: the dimension to sum over.

    Raises:
        ValueError: no such dimension.

    Example:
        >>> import torch
        >>> reduce(torch.tensor([[[[1.0, 1.0]], [[2.0, -1.0]]]]))  # (1, 2, 1, 2) -> (1, 1, 2)
        tensor([[[3., 0.]]])
    """
    if not 0 < channels < attribution.ndim:
        raise ValueError(
            f"reduce(channels): expected a dimension from 1 to {attribution.ndim - 1} of a map of shape "
            f"{tuple(attribution.shape)}; got {channels}."
        )
    return attribution.sum(channels)


def require_readout(readout: str) -> None:
    """Raises ValueError unless the name is one of the readouts.

    Example:
        >>> require_readout("gradient")
        Traceback (most recent call last):
            ...
        ValueError: readout: expected one of contribution, mean_gradient, displacement; got 'gradient'.
    """
    if readout not in READOUTS:
        raise ValueError(f"readout: expected one of {', '.join(READOUTS)}; got {readout!r}.")
