"""Scores: the one number per example whose drivers are explained.

A score turns the model's outputs, shape (N, K), into one value per example, shape (N,). Subtracting what the
other classes claim makes the score independent of a constant that is added to all logits, which changes no
prediction (Srinivas & Fleuret 2020, arXiv 2006.09128): `LogOdds`, `Margin` and `LogProbability` do, `Logit`
does not.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from helpers.saliency.model import column_count

SINGLE_COLUMN = (
    "score: the model's output has a single column, and {name} compares classes. Name what the column is: "
    "Logit() if it is the logit of a binary classifier (0 is even odds), or a callable such as "
    "lambda outputs: outputs[:, 0] if it is the value of a regression."
)


class Score:
    """What every score shares. A new score is a frozen dataclass that defines `evaluate`.

    Example:
        >>> import torch
        >>> class Probability(Score):
        ...     def evaluate(self, logits, target):
        ...         return logits.softmax(1).gather(1, target[:, None])[:, 0]
        >>> Probability()(torch.tensor([[1.0, 1.0]]), target=0)
        tensor([0.5000])
    """

    def evaluate(self, logits: Tensor, target: Tensor) -> Tensor:
        """Score of each example.

        Args:
            logits: shape (N, K), K >= 2.
            target: the class of each example, shape (N,), integers in [0, K).

        Returns:
            Shape (N,).

        Example:
            >>> import torch
            >>> LogProbability().evaluate(torch.zeros(1, 4), torch.tensor([2])).exp()
            tensor([0.2500])
        """
        raise NotImplementedError

    def boundary(self, columns: int) -> float:
        """The value at which the score changes sides, for a model with that many output columns."""
        return 0.0

    def __call__(self, outputs: Tensor, target=None) -> Tensor:
        """Score of each example.

        Args:
            outputs: the model's outputs, shape (N, K).
            target: class index (int) or one index per example (list or tensor of N integers).

        Returns:
            Shape (N,).

        Raises:
            ValueError: no or a wrong target, or outputs that are not (N, K) with K >= 2.
        """
        if outputs.ndim != 2:
            raise ValueError(
                f"score: {self!r} expects model outputs of shape (N, K); got {tuple(outputs.shape)}. "
                "Pass a callable from the outputs to shape (N,) as the score instead."
            )
        if outputs.shape[1] == 1:
            raise ValueError(SINGLE_COLUMN.format(name=repr(self)))
        return self.evaluate(outputs, class_indices(target, *outputs.shape).to(outputs.device))


@dataclass(frozen=True)
class LogOdds(Score):
    """Log-odds of the class against all the rest, z_c - logsumexp_{k != c} z_k. 0 is even odds.

    Example:
        >>> import torch
        >>> LogOdds()(torch.zeros(1, 3), target=0).exp()  # one against two
        tensor([0.5000])
    """

    def evaluate(self, logits: Tensor, target: Tensor) -> Tensor:
        return own_column(logits, target) - other_columns(logits, target).logsumexp(1)


@dataclass(frozen=True)
class Margin(Score):
    """Distance in logits to a rival: z_c - z_other, or to the best of all rivals, z_c - max_{k != c} z_k.

    0 is the decision boundary. `other` is the index of the rival; None means the best of all.

    Example:
        >>> import torch
        >>> logits = torch.tensor([[3.0, 1.0, 2.0]])
        >>> Margin()(logits, target=0), Margin(other=1)(logits, target=0)
        (tensor([1.]), tensor([2.]))
    """

    other: int | None = None

    def evaluate(self, logits: Tensor, target: Tensor) -> Tensor:
        if self.other is None:
            return own_column(logits, target) - other_columns(logits, target).amax(1)
        if not 0 <= self.other < logits.shape[1]:
            raise ValueError(
                f"Margin(other): expected a class index in [0, {logits.shape[1]}); got {self.other}."
            )
        if (target == self.other).any():
            raise ValueError(
                f"Margin(other): the rival must differ from the target, and both are {self.other}. "
                "Name another class, or Margin() for the best of all rivals."
            )
        return own_column(logits, target) - logits[:, self.other]


@dataclass(frozen=True)
class Logit(Score):
    """The class's output as it is, z_c; of a single-column output, that column (no target needed).

    Example:
        >>> import torch
        >>> Logit()(torch.tensor([[3.0, 1.0], [0.0, 2.0]]), target=1)
        tensor([1., 2.])
        >>> Logit()(torch.tensor([[3.0], [-1.0]]))  # one column: no target
        tensor([ 3., -1.])
    """

    def evaluate(self, logits: Tensor, target: Tensor) -> Tensor:
        return own_column(logits, target)

    def boundary(self, columns: int) -> float:
        if columns == 1:
            return 0.0
        raise ValueError(
            f"level: Boundary() has no meaning for Logit() with {columns} output columns: a single logit is "
            "arbitrary up to a constant. Use LogOdds() or Margin(), or a level such as Drop(1.0)."
        )

    def __call__(self, outputs: Tensor, target=None) -> Tensor:
        column = outputs[:, None] if outputs.ndim == 1 else outputs
        if column.ndim == 2 and column.shape[1] == 1:
            if target is not None:
                class_indices(target, *column.shape)
            return column[:, 0]
        return super().__call__(outputs, target)


@dataclass(frozen=True)
class LogProbability(Score):
    """Log of the class's softmax probability. Even odds are at log(1/2).

    Example:
        >>> import torch
        >>> LogProbability()(torch.zeros(1, 4), target=2).exp()
        tensor([0.2500])
    """

    def evaluate(self, logits: Tensor, target: Tensor) -> Tensor:
        return own_column(logits.log_softmax(1), target)

    def boundary(self, columns: int) -> float:
        return -torch.tensor(2.0, dtype=torch.float64).log().item()


@dataclass(frozen=True)
class Custom(Score):
    """Any function from the model's outputs to one value per example, shape (N,). Its boundary is 0.

    Example:
        >>> import torch
        >>> Custom(lambda outputs: outputs.square().sum(1))(torch.tensor([[3.0, 4.0]]))
        tensor([25.])
    """

    function: Callable[[Tensor], Tensor]

    def __call__(self, outputs: Tensor, target=None) -> Tensor:
        value = self.function(outputs)
        if not isinstance(value, Tensor) or value.shape != outputs.shape[:1]:
            came = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(
                f"score: the callable must return one value per example, shape ({outputs.shape[0]},); "
                f"got {came}."
            )
        return value


def as_score(score) -> Score:
    """A `Score` from a score or any callable.

    Raises:
        TypeError: neither of them.

    Example:
        >>> import torch
        >>> as_score(lambda outputs: outputs[:, 0])(torch.tensor([[5.0, 1.0]]))
        tensor([5.])
        >>> as_score(LogOdds)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        TypeError: score: expected LogOdds(), Margin(), Logit(), LogProbability() or a callable...
    """
    if isinstance(score, Score):
        return score
    if isinstance(score, type) or not callable(score):
        raise TypeError(
            "score: expected LogOdds(), Margin(), Logit(), LogProbability() or a callable from the model's "
            f"outputs to shape (N,); got {score!r}."
        )
    return Custom(score)


def checked_target(target, examples: int) -> Tensor | None:
    """The target as one class index per example, shape (N,), int64, on the CPU; None without a target.

    Args:
        target: an int, or a list or tensor of N of them, or None.
        examples: N.

    Raises:
        TypeError: target is not made of integers.
        ValueError: target of the wrong length.

    Example:
        >>> checked_target(2, examples=3)
        tensor([2, 2, 2])
    """
    if target is None:
        return None
    try:
        indices = torch.as_tensor(target).detach().cpu()
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"target: expected an int or a list or tensor of ints; got {target!r}.") from None
    if indices.is_floating_point() or indices.is_complex() or indices.dtype == torch.bool:
        raise TypeError(f"target: expected integer class indices; got {indices.dtype}.")
    if indices.numel() == 1 and indices.ndim <= 1:
        indices = indices.reshape(1).expand(examples)
    if indices.shape != (examples,):
        raise ValueError(
            f"target: expected one class or one per example, shape ({examples},); got {tuple(indices.shape)}."
        )
    return indices.long()


def class_indices(target, examples: int, classes: int) -> Tensor:
    """The class of each example, shape (N,), int64, on the CPU.

    Args:
        target: an int, or a list or tensor of N of them.
        examples: N.
        classes: number of classes K.

    Raises:
        TypeError: target is not made of integers.
        ValueError: target missing, of the wrong length, or out of [0, K).

    Example:
        >>> class_indices([1, 12, 3], examples=3, classes=10)
        Traceback (most recent call last):
            ...
        ValueError: target: expected class indices in [0, 10); got 12.
    """
    indices = checked_target(target, examples)
    if indices is None:
        raise ValueError(
            f"target: the model has {classes} output columns; say which one is explained, as an int or one "
            f"per example ({examples} of them)."
        )
    outside = (indices < 0) | (indices >= classes)
    if outside.any():
        raise ValueError(
            f"target: expected class indices in [0, {classes}); got {indices[outside][0].item()}."
        )
    return indices


def with_target(score: Score, target: Tensor | None) -> Callable[[Tensor, Tensor], Tensor]:
    """The score as a function of outputs (m, K) and the numbers of their examples, (m,), which have a class each.

    Args:
        target: of all examples, (n,), as `checked_target` gives it; None: the score is called without one.

    Example:
        >>> import torch
        >>> score = with_target(Logit(), torch.tensor([0, 0, 1]))
        >>> score(torch.tensor([[3.0, 1.0], [0.0, 2.0]]), torch.tensor([1, 2]))  # of the last two of three
        tensor([3., 2.])
    """
    if target is None:
        return lambda outputs, rows: score(outputs)
    return lambda outputs, rows: score(
        outputs, class_indices(target[rows.cpu()], len(rows), column_count(outputs))
    )


def own_column(logits: Tensor, target: Tensor) -> Tensor:
    """The target's column of each row: (N, K), (N,) -> (N,).

    Example:
        >>> import torch
        >>> own_column(torch.tensor([[3.0, 1.0], [0.0, 2.0]]), torch.tensor([0, 1]))
        tensor([3., 2.])
    """
    return logits.gather(1, target[:, None])[:, 0]


def other_columns(logits: Tensor, target: Tensor) -> Tensor:
    """All other columns of each row: (N, K), (N,) -> (N, K - 1).

    Example:
        >>> import torch
        >>> other_columns(torch.tensor([[3.0, 1.0, 2.0]]), torch.tensor([1]))
        tensor([[3., 2.]])
    """
    others = torch.arange(logits.shape[1] - 1, device=logits.device).expand(len(logits), -1)
    return logits.gather(1, others + (others >= target[:, None]))
