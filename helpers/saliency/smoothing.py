"""One Gaussian blur, exactly self-adjoint, at a cost that does not depend on its width."""

from functools import lru_cache

import torch
from torch import Tensor

from helpers.checks import require_width


@lru_cache(maxsize=32)
def smoothing_matrix(size: int, width: float) -> Tensor:
    """Gaussian smoothing of a signal of that length, mirrored at its ends: symmetric, float64, (size, size).

    Built from the orthonormal cosine transform (DCT-II) C as C^T diag(exp(-(width w)^2 / 2)) C with w the
    transform's frequencies (Strang 1999, doi 10.1137/S0036144598336745). Constants stay as they are.

    Example:
        >>> matrix = smoothing_matrix(4, width=1.0)
        >>> matrix.sum(1).round(decimals=6), bool((matrix == matrix.T).all())
        (tensor([1., 1., 1., 1.], dtype=torch.float64), True)
    """
    places = torch.arange(size, dtype=torch.float64)
    frequency = torch.pi * places / size
    cosines = torch.cos(frequency[:, None] * (places + 0.5)) * (2 / size) ** 0.5
    cosines[0] /= 2**0.5
    damping = torch.exp(-((width * frequency) ** 2) / 2)
    matrix = cosines.T @ (damping[:, None] * cosines)
    return (matrix + matrix.T) / 2


def gaussian_blur(images: Tensor, width: float) -> Tensor:
    """Images smoothed by a Gaussian along their last two dimensions.

    Args:
        images: shape (..., H, W), floating point.
        width: standard deviation in pixels, >= 0; 0 changes nothing.

    Returns:
        The same shape. As a linear map it is symmetric: its adjoint is itself.

    Raises:
        ValueError: a negative width, or fewer than two dimensions.

    Example:
        >>> import torch
        >>> gaussian_blur(torch.eye(3), width=1.0).round(decimals=3)
        tensor([[0.5020, 0.3290, 0.1680],
                [0.3290, 0.3420, 0.3290],
                [0.1680, 0.3290, 0.5020]])
    """
    require_width("gaussian_blur(width)", width)
    if images.ndim < 2:
        raise ValueError(f"gaussian_blur(images): expected shape (..., H, W); got {tuple(images.shape)}.")
    if width == 0:
        return images
    rows, columns = (
        smoothing_matrix(size, float(width)).to(images.device, images.dtype) for size in images.shape[-2:]
    )
    return rows @ images @ columns
