"""Geometries: which changes of the coordinates count as small.

A geometry is a symmetric positive operator M = K K^T, given through K and its exact adjoint and never
inverted. The size of a change d = K v is |v|; steepest descent moves along M G instead of along the gradient G.
"""

from dataclasses import dataclass

from torch import Tensor


class Geometry:
    """What every geometry shares. A new geometry is a frozen dataclass that defines `apply` and `adjoint`.

    `diagonal` says that M touches each coordinate on its own.
    """

    diagonal = False

    def apply(self, v: Tensor) -> Tensor:
        """K v, for v of shape (N, ...)."""
        raise NotImplementedError

    def adjoint(self, g: Tensor) -> Tensor:
        """K^T g, for g of shape (N, ...)."""
        raise NotImplementedError

    def check(self, shape: tuple[int, ...]) -> None:
        """Raises ValueError where the geometry cannot act on coordinates of that shape (without N)."""


@dataclass(frozen=True)
class Euclidean(Geometry):
    """Every coordinate counts the same: M is the identity."""

    diagonal = True

    def apply(self, v: Tensor) -> Tensor:
        return v

    def adjoint(self, g: Tensor) -> Tensor:
        return g
