"""The score of a batch at any point of its coordinates, with its gradients; every pass is counted."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from helpers.saliency.coordinates import Chart
from helpers.saliency.model import column_count


class Evaluator:
    """The score of N examples, and of R competitors, as functions of u.

    Args:
        chart: the coordinates, bound to the batch.
        score, competitors: (outputs of shape (n, K), rows) -> shape (n,).
        noise: draws, (D, *B): the score is then its mean over them; None: no noise.

    Attributes:
        gradient_evaluations, forward_evaluations: passes of each example through the model with and without a
            backward pass, (N,); a gradient of a competitor's score counts as one.
        columns: how many columns the model's outputs have.

    Example:
        >>> import torch
        >>> from helpers.saliency import Input
        >>> from helpers.saliency.model import Forward
        >>> chart = Input().chart(torch.tensor([[3.0]]), Forward(lambda x: x.square()))
        >>> evaluate = Evaluator(chart, lambda outputs, rows: outputs[:, 0])
        >>> evaluate(torch.tensor([0]), torch.tensor([[1.0]]), with_gradient=True)  # (3 + 1) squared
        (tensor([16.]), tensor([[[8.]]]))
        >>> evaluate.gradient_evaluations
        tensor([1])
    """

    def __init__(
        self,
        chart: Chart,
        score: Callable[[Tensor, Tensor], Tensor],
        competitors: Sequence[Callable[[Tensor, Tensor], Tensor]] = (),
        noise: Tensor | None = None,
    ):
        self.chart = chart
        self.scores = (score, *competitors)
        self._noise: Sequence[Tensor | None] = (None,) if noise is None else noise
        self.noisy = noise is not None
        origin = chart.origin
        self.gradient_evaluations = torch.zeros(len(origin), dtype=torch.long, device=origin.device)
        self.forward_evaluations = torch.zeros_like(self.gradient_evaluations)
        self.columns = 1

    def __call__(
        self, rows: Tensor, u: Tensor, with_gradient: bool, raw: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Scores (n,) at u, (n, *S), of the examples with those numbers.

        Args:
            with_gradient: whether the gradients are wanted, too.
            raw: without noise.

        Returns:
            The scores, and the gradients in the space that the chart maps to, (n, 1 + R, *B), or None.

        Raises:
            ValueError: a score that does not depend on u.
        """
        noise = (None,) if raw else self._noise
        scores = self.scores if with_gradient else self.scores[:1]
        counter = self.gradient_evaluations if with_gradient else self.forward_evaluations
        counter[rows] += len(noise) * len(scores)
        point, value, base = self.chart.point(u, rows), 0.0, 0.0
        for draw in noise:
            place = (point if draw is None else point + draw).detach().requires_grad_(with_gradient)
            with torch.set_grad_enabled(with_gradient):
                outputs = self.chart.forward(place, rows)
                values = [score(outputs, rows) for score in scores]
            value = value + values[0].detach()
            if with_gradient:
                gradients = gradients_of(values, place)
                base = gradients if len(noise) == 1 else base + gradients
        self.columns = column_count(outputs)
        if len(noise) > 1:
            value, base = value / len(noise), base / len(noise)
        return value, base if with_gradient else None


def gradients_of(values: Sequence[Tensor], point: Tensor) -> Tensor:
    """Gradients of several scores, each (n,), with respect to the point, (n, *B): shape (n, len(values), *B).

    Raises:
        ValueError: a score does not depend on the point.

    Example:
        >>> import torch
        >>> point = torch.tensor([[2.0, 3.0]], requires_grad=True)
        >>> gradients_of([point.prod(1), point.sum(1)], point)
        tensor([[[3., 2.],
                 [1., 1.]]])
    """
    gradients = []
    for number, value in enumerate(values, start=1):
        gradient = None
        if value.requires_grad:
            more = number < len(values)
            (gradient,) = torch.autograd.grad(
                value, point, torch.ones_like(value), allow_unused=True, retain_graph=more
            )
        if gradient is None:
            raise ValueError(
                "forward_func: expected an output that depends on the input through differentiable operations; "
                "got one that does not. Look for detach(), .data, numpy or argmax in the model."
            )
        gradients.append(gradient)
    return gradients[0][:, None] if len(gradients) == 1 else torch.stack(gradients, 1)
