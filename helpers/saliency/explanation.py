"""What a run leaves: `Explanation`, the record of every readout."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from helpers.saliency.journey import Journey, per

READOUTS = ("contribution", "mean_gradient", "displacement")


@dataclass(frozen=True)
class Explanation:
    """Everything that one run found out, for N examples.

    *B is the shape of what the coordinates change (the input's, or the layer's), *S that of the coordinates
    (the same, but one channel for Removal, one number a cell for Removal in cells, the code's for Decoder).

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
    direction: +1 where the score was to rise, -1 where it was to fall or to go all the way to the reference
        (+1 where all the way from it).
    removes: whether the coordinates count evidence that is taken away.
    restores: whether the path led from the reference to the input: u then counts what is restored, score_start is
        the reference's, and "to the reference" means to the input.
    competitors: the competing classes, (N, R), and
    competing_contributions: their scores' contributions along the same path, (N, R, *B); None if not asked for
        there.
    layer_contributions: what the activations of each module that was read added to the score along the path,
        one (N, *L) each, *L the module's shape: sums to score_end - score_start, as `contribution` does, where the
        whole score goes through the module; and
    layer_completeness_error: their sums - (score_end - score_start), (N, modules).
    competing_layer_contributions: those of the competitors' scores, (N, R, *L) each. None if not asked for.
    stationarity: cosine between the displacement and the score's gradient at the endpoint, both in the
        geometry, (N,): 1 at a nearest point. None for paths that do not look for one.
    path_points, path_scores: the points of the path, (T, N, *B), and the scores there, (T, N); None unless
        asked for with trace=True. An example that has arrived stays at its endpoint.
    size: height and width of the inputs, where they are images (N, C, H, W).
    readout: what `support` returns unless told otherwise: a name, or a contrast.

    Example:
        >>> import torch
        >>> from helpers.saliency import Logit, NonlinearSaliency
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
    restores: bool = False
    competitors: Tensor | None = None
    competing_contributions: Tensor | None = None
    layer_contributions: tuple[Tensor, ...] | None = None
    layer_completeness_error: Tensor | None = None
    competing_layer_contributions: tuple[Tensor, ...] | None = None
    stationarity: Tensor | None = None
    path_points: Tensor | None = None
    path_scores: Tensor | None = None
    size: tuple[int, int] | None = None
    readout: "str | Callable[[Explanation], Tensor]" = "contribution"

    @property
    def members(self) -> "tuple[Explanation, ...]":
        """The records of the members of a mean; here it is this one alone."""
        return (self,)

    def support(self, readout: "str | Callable[[Explanation], Tensor] | None" = None) -> Tensor:
        """One readout with the common sign: positive = supports the score; without a name what `attribute` returns.

        Where evidence is removed, what it takes with it counts as support, whether the score falls or rises; where
        it is restored, what it adds.
        Elsewhere contributions and displacements are counted along `direction`: on the way down what is
        taken away is support, on the way up what has to be added.

        Args:
            readout: "contribution", "mean_gradient", "displacement", or a contrast; None: that of the run.

        Raises:
            ValueError: another name, or a contrast of a run without competitors.
        """
        readout = self.readout if readout is None else readout
        if callable(readout):
            return readout(self)
        require_readout(readout)
        values = getattr(self, readout)
        along = per(self.direction, values)
        if readout == "mean_gradient":
            return -values if self.removes else values
        if readout == "contribution":
            return self._as_support(values)
        return -values * along if self.removes else values * along

    def competing_support(self) -> Tensor:
        """The competitors' contributions with the sign of `support`, shape (N, R, *B).

        Raises:
            ValueError: the run had no competitors at the input.
        """
        if self.competing_contributions is None:
            raise ValueError(
                "competitors: this run had none; call explain(..., competitors=k) or a list of classes."
                if self.competitors is None
                else "competing_at_input: this run followed its competitors at the layers alone; call "
                "competing_layer_support(), or explain(..., competing_at_input=True)."
            )
        return self._as_support(self.competing_contributions)

    def layer_support(self) -> tuple[Tensor, ...]:
        """The contributions at each module that was read, with the sign of `support`, one (N, *L) each.

        Raises:
            ValueError: no module was read.
        """
        if self.layer_contributions is None:
            raise ValueError("layers: this run read no module; call explain(..., layers=[module, ...]).")
        return tuple(self._as_support(values) for values in self.layer_contributions)

    def competing_layer_support(self) -> tuple[Tensor, ...]:
        """The competitors' contributions at each module that was read, (N, R, *L) each, with the sign of `support`.

        Raises:
            ValueError: no module was read, or the run had no competitors.
        """
        if self.competing_layer_contributions is None:
            raise ValueError(
                "layers, competitors: this run had none; call explain(..., layers=, competitors=)."
            )
        return tuple(self._as_support(values) for values in self.competing_layer_contributions)

    def total_support(self) -> Tensor:
        """What the support by contributions sums to, but for the completeness error, (N,)."""
        return self._as_support(self.score_end - self.score_start)

    def _as_support(self, contribution: Tensor) -> Tensor:
        if self.removes or self.restores:
            return -contribution if self.removes else contribution
        return contribution * per(self.direction, contribution)


@dataclass(frozen=True)
class MeanExplanation:
    """What a mean of members found out, for N examples.

    members: their records, in their order. combined: the one map of them all, (N, 1, H, W) for images, positive =
    supports the score.

    Example:
        >>> import torch
        >>> from helpers.saliency import Mean, NonlinearSaliency, Tangent
        >>> model = lambda x: x @ torch.tensor([[1.0, 0.0], [0.0, 2.0]])
        >>> run = Mean([NonlinearSaliency(model, path=Tangent())]).explain(torch.tensor([[1.0, 2.0]]), target=1)
        >>> run.support().round(decimals=3), run.converged, run.gradient_evaluations
        (tensor([[0.4000, 1.6000]]), tensor([True]), tensor([1]))
    """

    members: tuple[Explanation, ...]
    combined: Tensor

    def support(self) -> Tensor:
        """What `attribute` returns."""
        return self.combined

    @property
    def converged(self) -> Tensor:
        """Whether every member has converged, (N,), bool."""
        return torch.stack([member.converged for member in self.members]).all(0)

    @property
    def reason(self) -> list[str]:
        """Per example: what the members say, or ""."""
        reasons = zip(*(member.reason for member in self.members), strict=True)
        return ["; ".join(dict.fromkeys(filter(None, each))) for each in reasons]

    @property
    def gradient_evaluations(self) -> Tensor:
        """Of all members, (N,)."""
        return sum(member.gradient_evaluations for member in self.members)

    @property
    def forward_evaluations(self) -> Tensor:
        """Of all members, (N,)."""
        return sum(member.forward_evaluations for member in self.members)

    @property
    def head_evaluations(self) -> Tensor:
        """Of all members, (N,)."""
        return sum(member.head_evaluations for member in self.members)


def explanation_of(
    journey: Journey,
    all_the_way: bool,
    rivals: Tensor | None = None,
    size: tuple[int, int] | None = None,
    readout: "str | Callable[[Explanation], Tensor]" = "contribution",
) -> Explanation:
    """The record of a finished journey; all_the_way: it aimed at the reference and not at a level.

    Example:
        >>> import torch
        >>> from helpers.saliency import Flow, Input, Value
        >>> from helpers.saliency.evaluator import Evaluator
        >>> from helpers.saliency.model import Forward
        >>> chart = Input().chart(torch.tensor([[3.0]]), Forward(lambda x: x))
        >>> journey = Journey(Evaluator(chart, lambda outputs, rows: outputs[:, 0]))
        >>> journey.begin(Value(1.0), boundary=None, with_gradient=True)
        >>> Flow().walk(journey)
        >>> journey.finish()
        >>> explanation_of(journey, all_the_way=False).displacement.round(decimals=4)
        tensor([[-2.]])
    """
    chart, evaluate = journey.chart, journey.evaluate
    every = torch.arange(journey.examples, device=journey.u.device)
    mean_gradient = journey.mean_gradient()
    whole_way = torch.full_like(journey.start, 1.0 if chart.restores else -1.0)
    points, scores = journey.trace() or (None, None)
    contribution = journey.contribution[:, 0]
    inside = journey.layer_contributions()
    gone = journey.score - journey.start
    raw_start, raw_end = journey.start, journey.score
    if evaluate.noisy:
        ends = (torch.zeros_like(journey.u), journey.u)
        raw_start, raw_end = (evaluate(every, u, with_gradient=False, raw=True)[0] for u in ends)
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
        completeness_error=contribution.flatten(1).sum(1) - gone,
        converged=journey.converged,
        reason=journey.reason,
        gradient_evaluations=evaluate.gradient_evaluations,
        forward_evaluations=evaluate.forward_evaluations,
        head_evaluations=chart.forward.head_evaluations.to(journey.u.device),
        direction=whole_way if all_the_way else (journey.level - journey.start).sign(),
        removes=chart.removes,
        restores=chart.restores,
        competitors=rivals,
        competing_contributions=(
            journey.contribution[:, 1:] if rivals is not None and evaluate.scores_at_input > 1 else None
        ),
        **_read_at_layers(inside, gone, rivals is not None),
        stationarity=journey.stationarity,
        path_points=None if points is None else torch.stack([chart.point(u, every) for u in points]),
        path_scores=scores,
        size=size,
        readout=readout,
    )


def _read_at_layers(inside: list[Tensor] | None, gone: Tensor, competing: bool) -> dict:
    """The fields of modules that were read, from contributions (N, 1 + R, *L) each."""
    if inside is None:
        return {}
    errors = [values[:, 0].flatten(1).sum(1) - gone for values in inside]
    return {
        "layer_contributions": tuple(values[:, 0] for values in inside),
        "layer_completeness_error": torch.stack(errors, 1),
        "competing_layer_contributions": tuple(values[:, 1:] for values in inside) if competing else None,
    }


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
        >>> from helpers.saliency import Logit, NonlinearSaliency
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
        elif field.name.endswith("layer_contributions") and values[0] is not None:
            whole[field.name] = tuple(map(joined, zip(*values, strict=True)))
        else:
            whole[field.name] = joined(values) if isinstance(values[0], Tensor) else values[0]
    return Explanation(**whole)


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
