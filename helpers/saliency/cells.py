"""A coarse grid enlarged bilinearly to an image, and the exact adjoint of that."""

from functools import lru_cache

import torch
from torch import Tensor


@lru_cache(maxsize=32)
def enlarging_matrix(cells: int, size: int) -> Tensor:
    """Linear interpolation from the centres of that many cells to those of size pixels: float64, (size, cells).

    Beyond the outer centres values stay as they are. Each row sums to 1 and has no negative entry.

    Example:
        >>> enlarging_matrix(cells=2, size=4)
        tensor([[1.0000, 0.0000],
                [0.7500, 0.2500],
                [0.2500, 0.7500],
                [0.0000, 1.0000]], dtype=torch.float64)
    """
    places = (torch.arange(size, dtype=torch.float64) + 0.5) * (cells / size) - 0.5
    places = places.clamp(0, cells - 1)
    return (1 - (places[:, None] - torch.arange(cells)).abs()).clamp_min(0)


def enlarge(grid: Tensor, size: tuple[int, int]) -> Tensor:
    """A grid of cells, shape (..., rows, columns), as an image of that size, (..., H, W).

    Example:
        >>> import torch
        >>> enlarge(torch.tensor([[0.0, 1.0]]), (1, 4))
        tensor([[0.0000, 0.2500, 0.7500, 1.0000]])
    """
    rows, columns = (enlarging_matrix(*each).to(grid) for each in zip(grid.shape[-2:], size, strict=True))
    return rows @ grid @ columns.T


def gather(image: Tensor, cells: tuple[int, int]) -> Tensor:
    """The adjoint of `enlarge`: an image (..., H, W) summed into its cells, (..., rows, columns).

    Example:
        >>> import torch
        >>> gather(torch.ones(1, 4), (1, 2))
        tensor([[2., 2.]])
    """
    rows, columns = (enlarging_matrix(*each).to(image) for each in zip(cells, image.shape[-2:], strict=True))
    return rows.T @ image @ columns
