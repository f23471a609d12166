"""Geometries: which changes of the coordinates count as small.

A geometry is a symmetric positive operator M = K K^T, given through K and its exact adjoint and never
inverted. The size of a change d = K v is |v|; steepest descent moves along M G instead of along the gradient G.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from helpers.checks import require_width
from helpers.saliency.smoothing import gaussian_blur


class Geometry:
    """What every geometry shares. A new geometry is a frozen dataclass that defines `apply` and `adjoint`.

    `diagonal` says that M touches each coordinate on its own.

    Example:
        >>> import torch
        >>> class FirstHardly(Geometry):
        ...     diagonal = True
        ...     def apply(self, v):
        ...         return v * torch.tensor([0.125, 1.0])
        ...     adjoint = apply
        >>> FirstHardly().apply(torch.ones(1, 2))
        tensor([[0.1250, 1.0000]])
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
    """Every coordinate counts the same: M is the identity.

    Example:
        >>> import torch
        >>> Euclidean().apply(torch.tensor([[1.0, 2.0]]))
        tensor([[1., 2.]])
    """

    diagonal = True

    def apply(self, v: Tensor) -> Tensor:
        return v

    def adjoint(self, g: Tensor) -> Tensor:
        return g


@dataclass(frozen=True, eq=False)
class Scaled(Geometry):
    """Coordinates in their own units: K = diag(std), so that one standard deviation counts as 1.

    std: standard deviations, positive, of a shape that broadcasts to one example's coordinates.

    Example:
        >>> import torch
        >>> Scaled(torch.tensor([10.0, 0.1])).apply(torch.ones(1, 2))  # one standard deviation of each
        tensor([[10.0000,  0.1000]])
    """

    std: Tensor

    diagonal = True

    def __post_init__(self):
        std = torch.as_tensor(self.std)
        if not (torch.isfinite(std) & (std > 0)).all():
            raise ValueError("Scaled(std): expected positive, finite standard deviations; got others.")
        object.__setattr__(self, "std", std.detach())

    def apply(self, v: Tensor) -> Tensor:
        return v * self.std.to(v)

    def adjoint(self, g: Tensor) -> Tensor:
        return g * self.std.to(g)

    def check(self, shape: tuple[int, ...]) -> None:
        try:
            fits = torch.broadcast_shapes(self.std.shape, shape) == tuple(shape)
        except RuntimeError:
            fits = False
        if not fits:
            raise ValueError(
                f"Scaled(std): expected a shape that broadcasts to the coordinates' {tuple(shape)}; "
                f"got {tuple(self.std.shape)}."
            )


@dataclass(frozen=True, eq=False)
class Covariance(Geometry):
    """Features that vary together move together: M is the covariance matrix of the data.

    The size of a change is then its Mahalanobis distance. K is the matrix's lower Cholesky factor.

    matrix: symmetric positive definite, shape (n, n), n the number of coordinates of one example.

    Example:
        >>> import torch
        >>> geometry = Covariance(torch.tensor([[4.0, 2.0], [2.0, 5.0]]))
        >>> geometry.apply(torch.tensor([[1.0, 0.0]]))  # the second feature comes along
        tensor([[2., 1.]])
    """

    matrix: Tensor

    def __post_init__(self):
        matrix = torch.as_tensor(self.matrix).detach()
        if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
            raise ValueError(f"Covariance(matrix): expected shape (n, n); got {tuple(matrix.shape)}.")
        if not torch.allclose(matrix, matrix.T, rtol=1e-5, atol=1e-8):
            raise ValueError("Covariance(matrix): expected a symmetric matrix; got one that is not.")
        factor, failed = torch.linalg.cholesky_ex(matrix.double())
        if failed or not torch.isfinite(factor).all():
            raise ValueError(
                "Covariance(matrix): expected a positive definite matrix; got one that is not. Add a little to "
                "its diagonal, for example 1e-3 times the mean variance."
            )
        object.__setattr__(self, "matrix", matrix)
        object.__setattr__(self, "_factor", factor)

    def apply(self, v: Tensor) -> Tensor:
        return (v.flatten(1) @ self._factor.to(v).T).reshape(v.shape)

    def adjoint(self, g: Tensor) -> Tensor:
        return (g.flatten(1) @ self._factor.to(g)).reshape(g.shape)

    def check(self, shape: tuple[int, ...]) -> None:
        count = torch.Size(shape).numel()
        if count != len(self.matrix):
            raise ValueError(
                f"Covariance(matrix): expected shape ({count}, {count}) for coordinates of shape "
                f"{tuple(shape)}; got {tuple(self.matrix.shape)}."
            )


@dataclass(frozen=True)
class Smooth(Geometry):
    """Neighbouring pixels move together: K is a Gaussian blur, mirrored at the borders, its own adjoint.

    width: standard deviation in pixels; in cells, for Removal in cells.

    Example:
        >>> import torch
        >>> spot = torch.zeros(1, 1, 5, 5)
        >>> spot[..., 2, 2] = 1
        >>> Smooth(width=1.0).apply(spot)[0, 0, 2].round(decimals=3)  # its neighbours come along
        tensor([0.0230, 0.0970, 0.1590, 0.0970, 0.0230])
    """

    width: float

    def __post_init__(self):
        require_width("Smooth(width)", self.width)

    def apply(self, v: Tensor) -> Tensor:
        return gaussian_blur(v, self.width)

    def adjoint(self, g: Tensor) -> Tensor:
        return gaussian_blur(g, self.width)

    def check(self, shape: tuple[int, ...]) -> None:
        if len(shape) != 3:
            raise ValueError(
                f"Smooth(width): expected image coordinates of shape (C, H, W); got {tuple(shape)}. "
                "Use Euclidean(), Scaled(std) or Covariance(matrix)."
            )
