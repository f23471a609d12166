"""The model bound to the examples of a run."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


class Forward:
    """A model bound to the N examples of one run.

    Args:
        function: module or function from inputs (n, ...) and additional arguments to outputs (n, K).
        arguments: what follows the input: None, one argument or a tuple; tensors whose dimension 0 is N are
            split like the examples.
        examples: N.
        internal_batch_size: most examples in one pass; None: all.

    Example:
        >>> import torch
        >>> scales = torch.tensor([1.0, 10.0])  # an additional argument, one for each of two examples
        >>> forward = Forward(lambda x, scale: x * scale[:, None], scales, examples=2)
        >>> forward(torch.ones(1, 1), rows=torch.tensor([1]))
        tensor([[10.]])
    """

    def __init__(self, function: Callable, arguments=None, examples: int = 1, internal_batch_size=None):
        self.function = function
        self.arguments = (
            () if arguments is None else arguments if isinstance(arguments, tuple) else (arguments,)
        )
        self.examples = examples
        self.internal_batch_size = internal_batch_size

    def __call__(self, points: Tensor, rows: Tensor) -> Tensor:
        """Outputs (n, K) of the points (n, ...) that stand for the examples with those numbers.

        Raises:
            TypeError, ValueError: the model returns something else.
        """
        outputs = self.function(points, *self.arguments_of(rows))
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

    def arguments_of(self, rows: Tensor) -> tuple:
        """The additional arguments for the examples with those numbers."""
        return tuple(
            a[rows.to(a.device)] if isinstance(a, Tensor) and a.ndim and len(a) == self.examples else a
            for a in self.arguments
        )

    def chunks(self, rows: Tensor) -> tuple[Tensor, ...]:
        """The numbers in parts of at most the internal batch size."""
        return rows.split(self.internal_batch_size or max(len(rows), 1))


@dataclass(frozen=True, eq=False)
class Part:
    """The model for some of a run's examples, which it counts from 0.

    whole: `Forward` or `AtLayer`. numbers: of the examples among those of the run, shape (n,).

    Example:
        >>> import torch
        >>> forward = Forward(lambda x, scale: x * scale[:, None], torch.tensor([1.0, 10.0]), examples=2)
        >>> Part(forward, torch.tensor([1]))(torch.ones(1, 1), rows=torch.tensor([0]))
        tensor([[10.]])
    """

    whole: Callable
    numbers: Tensor

    def __call__(self, points: Tensor, rows: Tensor) -> Tensor:
        """Outputs (m, K) of the points (m, ...) that stand for the examples with those numbers in this part."""
        return self.whole(points, self.numbers[rows])

    @property
    def head_evaluations(self) -> Tensor:
        """Passes of each example through what comes before a layer, (n,); 0 without a layer."""
        counted = getattr(self.whole, "head_evaluations", None)
        return torch.zeros_like(self.numbers) if counted is None else counted[self.numbers]
