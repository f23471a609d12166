"""Levels: the value of the score that a path is to reach, one per example."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Situation:
    """What a level may look at: the score at the input, at the boundary and at the reference.

    start: shape (N,). boundary: the score's own boundary value. reference: the score at the reference, shape
    (N,); the two functions raise ValueError where there is none.
    """

    start: Tensor
    boundary: Callable[[], float]
    reference: Callable[[], Tensor]


class Level:
    """What every level shares. A new level is a frozen dataclass that defines `resolve`."""

    def resolve(self, situation: Situation) -> Tensor:
        """The level of each example, shape (N,)."""
        raise NotImplementedError


@dataclass(frozen=True)
class Value(Level):
    """That value of the score. A plain number passed as a level means this."""

    value: float

    def __post_init__(self):
        require_finite("Value(v)", self.value)

    def resolve(self, situation: Situation) -> Tensor:
        return torch.full_like(situation.start, self.value)


@dataclass(frozen=True)
class Drop(Level):
    """So much below the score of the input (a negative amount: so much above)."""

    amount: float

    def __post_init__(self):
        require_finite("Drop(amount)", self.amount)

    def resolve(self, situation: Situation) -> Tensor:
        return situation.start - self.amount


@dataclass(frozen=True)
class Boundary(Level):
    """Where the score changes sides: 0 under Margin (decision boundary) and LogOdds (even odds)."""

    def resolve(self, situation: Situation) -> Tensor:
        return torch.full_like(situation.start, situation.boundary())


def as_level(level) -> Level:
    """A `Level` from a level or a number.

    Raises:
        TypeError: neither of them.
        ValueError: a number that is not finite.
    """
    if isinstance(level, Level):
        return level
    if isinstance(level, bool) or not isinstance(level, (int, float)):
        raise TypeError(f"level: expected a number, Value, Drop or Boundary; got {level!r}.")
    require_finite("level", level)
    return Value(float(level))


def require_finite(name: str, value: float) -> None:
    """Raises ValueError unless the value is a finite number."""
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"{name}: expected a finite number; got {value!r}.")
