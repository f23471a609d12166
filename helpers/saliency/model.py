"""The model bound to the examples of a run."""

from collections.abc import Callable

import torch
from torch import Tensor


class Forward:
    """A model bound to n examples that follow one another in a run of N.

    Args:
        function: module or function from inputs (n, ...) and additional arguments to outputs (n, K).
        arguments: what follows the input: None, one argument or a tuple; tensors whose dimension 0 is N are
            split like the examples.
        examples: N.
        part: the places of the n examples in the run; None: all.

    Example:
        >>> import torch
        >>> scales = torch.tensor([1.0, 10.0])  # an additional argument, one for each of two examples
        >>> forward = Forward(lambda x, scale: x * scale[:, None], scales, examples=2)
        >>> forward(torch.ones(1, 1), rows=torch.tensor([1]))
        tensor([[10.]])
    """

    def __init__(self, function: Callable, arguments=None, examples: int = 1, part: slice | None = None):
        self.function = function
        self.run_examples = examples
        self.part = slice(0, examples) if part is None else part
        arguments = () if arguments is None else arguments if isinstance(arguments, tuple) else (arguments,)
        self._split = [isinstance(a, Tensor) and a.ndim > 0 and len(a) == examples for a in arguments]
        self.arguments = tuple(
            a[self.part] if split else a for a, split in zip(arguments, self._split, strict=True)
        )

    @property
    def head_evaluations(self) -> Tensor:
        """Passes of each example through what comes before a layer, (n,): none, there is no layer."""
        return torch.zeros(self.part.stop - self.part.start, dtype=torch.long)

    def __call__(self, points: Tensor, rows: Tensor) -> Tensor:
        """Outputs (m, K) of the points (m, ...) that stand for the examples with those numbers, counted from 0.

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
        """The additional arguments of the examples with those numbers."""
        return tuple(
            a[rows.to(a.device)] if split else a for a, split in zip(self.arguments, self._split, strict=True)
        )


def column_count(outputs: Tensor) -> int:
    """How many columns a model's outputs have; 1 for outputs of shape (N,).

    Example:
        >>> column_count(torch.zeros(4, 3)), column_count(torch.zeros(4))
        (3, 1)
    """
    return outputs.shape[1] if outputs.ndim > 1 else 1
