"""Levels: the value of the score that a path is to reach, one per example."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from helpers.checks import require_finite


@dataclass(frozen=True)
class Situation:
    """What a level may look at: the score at the input, at the boundary and at the reference.

    start: shape (N,). boundary: the score's own boundary value. reference: the score at the reference, shape
    (N,); the two functions raise ValueError where there is none.

    Example:
        >>> import torch
        >>> here = Situation(torch.tensor([3.0]), boundary=lambda: 0.0, reference=lambda: torch.tensor([1.0]))
        >>> Boundary().resolve(here), Share(1.0).resolve(here)
        (tensor([0.]), tensor([1.]))
    """

    start: Tensor
    boundary: Callable[[], float]
    reference: Callable[[], Tensor]


class Level:
    """What every level shares. A new level is a frozen dataclass that defines `resolve`.

    Example:
        >>> import torch
        >>> class Half(Level):
        ...     def resolve(self, situation):
        ...         return situation.start / 2
        >>> Half().resolve(Situation(torch.tensor([3.0, 8.0]), boundary=None, reference=None))
        tensor([1.5000, 4.0000])
    """

    def resolve(self, situation: Situation) -> Tensor:
        """The level of each example, shape (N,)."""
        raise NotImplementedError


@dataclass(frozen=True)
class Value(Level):
    """That value of the score. A plain number passed as a level means this.

    Example:
        >>> import torch
        >>> Value(0.5).resolve(Situation(torch.tensor([3.0, 8.0]), boundary=None, reference=None))
        tensor([0.5000, 0.5000])
    """

    value: float

    def __post_init__(self):
        require_finite("Value(v)", self.value)

    def resolve(self, situation: Situation) -> Tensor:
        return torch.full_like(situation.start, self.value)


@dataclass(frozen=True)
class Drop(Level):
    """So much below the score of the input (a negative amount: so much above).

    Example:
        >>> import torch
        >>> Drop(1.0).resolve(Situation(torch.tensor([3.0, 8.0]), boundary=None, reference=None))
        tensor([2., 7.])
    """

    amount: float

    def __post_init__(self):
        require_finite("Drop(amount)", self.amount)

    def resolve(self, situation: Situation) -> Tensor:
        return situation.start - self.amount


@dataclass(frozen=True)
class Boundary(Level):
    """Where the score changes sides: 0 under Margin (decision boundary) and LogOdds (even odds).

    Example:
        >>> import torch
        >>> Boundary().resolve(Situation(torch.tensor([3.0, 8.0]), boundary=lambda: 0.0, reference=None))
        tensor([0., 0.])
    """

    def resolve(self, situation: Situation) -> Tensor:
        return torch.full_like(situation.start, situation.boundary())


@dataclass(frozen=True)
class Share(Level):
    """That fraction of the way from the score of the input to the score of the reference.

    Where the reference scores higher than the input, the way leads up, and the record says so.

    Example:
        >>> import torch
        >>> here = Situation(torch.tensor([3.0]), boundary=lambda: 0.0, reference=lambda: torch.tensor([1.0]))
        >>> Share(0.5).resolve(here)
        tensor([2.])
    """

    fraction: float

    def __post_init__(self):
        require_finite("Share(fraction)", self.fraction)
        if self.fraction == 0:
            raise ValueError("Share(fraction): expected a fraction other than 0; got 0, the input itself.")

    def resolve(self, situation: Situation) -> Tensor:
        return situation.start + self.fraction * (situation.reference() - situation.start)


def as_level(level) -> Level:
    """A `Level` from a level or a number.

    Raises:
        TypeError: neither of them.
        ValueError: a number that is not finite.

    Example:
        >>> as_level(1.5), as_level(Drop(1.0))
        (Value(value=1.5), Drop(amount=1.0))
    """
    if isinstance(level, Level):
        return level
    if isinstance(level, bool) or not isinstance(level, (int, float)):
        raise TypeError(f"level: expected a number, Value, Drop, Share or Boundary; got {level!r}.")
    require_finite("level", level)
    return Value(float(level))
