"""The score of a batch at any point of its coordinates, with its gradients; every pass is counted."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from helpers.saliency.conductance import State, changes_along, only_outputs
from helpers.saliency.coordinates import Chart
from helpers.saliency.cut import watched
from helpers.saliency.layers import passes_by
from helpers.saliency.model import column_count


class Evaluator:
    """The score of N examples, and of R competitors, as functions of u.

    Args:
        chart: the coordinates, bound to the batch.
        score, competitors: (outputs of shape (n, K), rows) -> shape (n,).
        noise: draws, (D, *B): the score is then its mean over them; None: no noise.
        layers: modules whose outputs, and gradients there, are wanted with every gradient.
        competing_at_input: whether the competitors' gradients are wanted at the input as well; False: their
            passes back end at the layers, which is cheaper.

    Attributes:
        gradient_evaluations, forward_evaluations: passes of each example through the model with and without a
            backward pass, (N,); a gradient of a competitor's score counts as one.
        columns: how many columns the model's outputs have.
        scores_at_input: how many scores have gradients at the input, 1 + R or 1.
        passed_by: those of the layers that a part of the score does not go through; known after the first gradient.

    Example:
        >>> import torch
        >>> from helpers.saliency import Input
        >>> from helpers.saliency.model import Forward
        >>> chart = Input().chart(torch.tensor([[3.0]]), Forward(lambda x: x.square()))
        >>> evaluate = Evaluator(chart, lambda outputs, rows: outputs[:, 0])
        >>> evaluate(torch.tensor([0]), torch.tensor([[1.0]]), with_gradient=True)  # (3 + 1) squared
        (tensor([16.]), tensor([[[8.]]]), [])
        >>> evaluate.gradient_evaluations
        tensor([1])
    """

    def __init__(
        self,
        chart: Chart,
        score: Callable[[Tensor, Tensor], Tensor],
        competitors: Sequence[Callable[[Tensor, Tensor], Tensor]] = (),
        noise: Tensor | None = None,
        layers: Sequence[nn.Module] = (),
        competing_at_input: bool = True,
    ):
        self.chart = chart
        self.scores = (score, *competitors)
        self._noise: Sequence[Tensor | None] = (None,) if noise is None else noise
        self.noisy = noise is not None
        self.layers = tuple(layers)
        self.scores_at_input = len(self.scores) if competing_at_input else 1
        self.passed_by: list[nn.Module] | None = None
        origin = chart.origin
        self.gradient_evaluations = torch.zeros(len(origin), dtype=torch.long, device=origin.device)
        self.forward_evaluations = torch.zeros_like(self.gradient_evaluations)
        self.columns = 1

    def __call__(
        self, rows: Tensor, u: Tensor, with_gradient: bool, raw: bool = False
    ) -> tuple[Tensor, Tensor | None, list[State]]:
        """Scores (n,) at u, (n, *S), of the examples with those numbers.

        Args:
            with_gradient: whether the gradients are wanted, too.
            raw: without noise.

        Returns:
            The scores; the gradients in the space that the chart maps to, (n, scores_at_input, *B), or None;
            with gradients the state of each layer.

        Raises:
            ValueError: a score that does not depend on u, or a layer that is not met once in a pass.
        """
        noise = (None,) if raw else self._noise
        scores = self.scores if with_gradient else self.scores[:1]
        layers = self.layers if with_gradient else ()
        counter = self.gradient_evaluations if with_gradient else self.forward_evaluations
        counter[rows] += len(noise) * len(scores)
        point, value, base, states = self.chart.point(u, rows), 0.0, 0.0, []
        for draw in noise:
            place = (point if draw is None else point + draw).detach().requires_grad_(with_gradient)
            with torch.set_grad_enabled(with_gradient), watched(layers) as seen:
                outputs = self.chart.forward(place, rows)
                values = [score(outputs, rows) for score in scores]
            value = value + values[0].detach()
            if with_gradient:
                places = [place, *only_outputs(layers, seen, len(place))]
                self._note_passed_by(values[0], places)
                gradients, *inside = gradients_of(values, *places, at_first=self.scores_at_input)
                base = gradients if len(noise) == 1 else base + gradients
                states.append([(p.detach(), g) for p, g in zip(places[1:], inside, strict=True)])
        self.columns = column_count(outputs)
        if len(noise) > 1:
            value, base = value / len(noise), base / len(noise)
        by_layer = [State(*map(torch.stack, zip(*draws, strict=True))) for draws in zip(*states, strict=True)]
        return value, base if with_gradient else None, by_layer

    def changes(self, rows: Tensor, u: Tensor, change: Tensor) -> list[Tensor]:
        """J d at each layer, (D, n, *L), for changes d of the point, (n, *B), at u; a forward pass a draw."""
        self.forward_evaluations[rows] += len(self._noise)
        point = self.chart.point(u, rows)
        draws = [
            changes_along(
                lambda place: self.chart.forward(place, rows),
                self.layers,
                point if draw is None else point + draw,
                change,
            )
            for draw in self._noise
        ]
        return [torch.stack(each) for each in zip(*draws, strict=True)]

    def _note_passed_by(self, value: Tensor, places: Sequence[Tensor]) -> None:
        if self.passed_by is None:
            leaf, *outputs = places
            self.passed_by = [
                layer
                for layer, output in zip(self.layers, outputs, strict=True)
                if output.grad_fn is None or passes_by(value.grad_fn, leaf, output.grad_fn)
            ]


def gradients_of(values: Sequence[Tensor], *points: Tensor, at_first: int | None = None) -> list[Tensor]:
    """Gradients of several scores, each (n,), with respect to points, (n, *B): (n, len(values), *B) for each point.

    The first point is the input; where a score does not depend on another one, the gradient is 0 there. With
    at_first only so many scores have gradients at the first point: the passes back of the others end before it.

    Raises:
        ValueError: a score does not depend on the first point.

    Example:
        >>> import torch
        >>> point = torch.tensor([[2.0, 3.0]], requires_grad=True)
        >>> gradients_of([point.prod(1), point.sum(1)], point)
        [tensor([[[3., 2.],
                 [1., 1.]]])]
    """
    at_first = len(values) if at_first is None else at_first
    by_point = [[] for _ in points]
    for number, value in enumerate(values):
        first = 0 if number < at_first else 1
        wanted = [point for point in points[first:] if point.requires_grad]
        found = {}
        if value.requires_grad:
            more = number + 1 < len(values)
            gradients = torch.autograd.grad(
                value, wanted, torch.ones_like(value), allow_unused=True, retain_graph=more
            )
            found = dict(zip(map(id, wanted), gradients, strict=True))
        if not value.requires_grad or (first == 0 and found[id(points[0])] is None):
            raise ValueError(
                "forward_func: expected an output that depends on the input through differentiable operations; "
                "got one that does not. Look for detach(), .data, numpy or argmax in the model."
            )
        for point, kept in zip(points[first:], by_point[first:], strict=True):
            gradient = found.get(id(point))
            kept.append(torch.zeros_like(point) if gradient is None else gradient)
    return [each[0][:, None] if len(each) == 1 else torch.stack(each, 1) for each in by_point]
