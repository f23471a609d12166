"""Numbers of one map: pooled, smoothed, ranked against a mask or against another map."""

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from scipy.stats import rankdata
from torch import Tensor
from torch.nn import functional

from helpers.checks import require_count, require_width
from helpers.saliency import reduce


def sum_channels(attribution: Tensor) -> Tensor:
    """One value a pixel: the sum over channels, (N, C, H, W) -> (N, H, W); (N, H, W) stays as it is.

    Raises:
        ValueError: another number of dimensions.

    Example:
        >>> import torch
        >>> sum_channels(torch.ones(2, 3, 8, 8)).shape
        torch.Size([2, 8, 8])
    """
    if attribution.ndim == 4:
        return reduce(attribution)
    if attribution.ndim == 3:
        return attribution
    raise ValueError(
        f"attribution: expected shape (N, C, H, W) or (N, H, W); got {tuple(attribution.shape)}."
    )


def pool(saliency: Tensor, square: int) -> Tensor:
    """Mean over squares of a map: (..., H, W) -> (..., H / square, W / square).

    Args:
        square: side of a square in pixels; it must divide H and W.

    Raises:
        ValueError: it does not.

    Example:
        >>> import torch
        >>> pool(torch.arange(16.0).reshape(4, 4), square=2)
        tensor([[ 2.5000,  4.5000],
                [10.5000, 12.5000]])
    """
    height, width = _plane(saliency)
    require_count("square", square)
    if height % square or width % square:
        raise ValueError(
            f"square: expected an integer of at least 1 that divides the map's {height} x {width} pixels; "
            f"got {square}."
        )
    planes = saliency.reshape(-1, 1, height, width)
    return functional.avg_pool2d(planes, square).reshape(
        *saliency.shape[:-2], height // square, width // square
    )


def smooth(saliency: Tensor, width: float) -> Tensor:
    """A map after a Gaussian blur, (..., H, W), same shape and dtype; at the edges the map is mirrored.

    SciPy's, cut off at four standard deviations, and not `helpers.saliency.gaussian_blur`, of which maps are made:
    what measures shares no code with what is measured. From a width of 1 on they agree within half a per cent.

    Args:
        width: standard deviation in pixels; 0 leaves the map as it is.

    Raises:
        ValueError: a negative width, or one that is not finite.

    Example:
        >>> import torch
        >>> smooth(torch.eye(3), width=1.0).round(decimals=3)
        tensor([[0.5020, 0.3290, 0.1680],
                [0.3290, 0.3420, 0.3290],
                [0.1680, 0.3290, 0.5020]])
    """
    _plane(saliency)
    require_width("width", width)
    if width == 0:
        return saliency
    blurred = gaussian_filter(saliency.detach().double().cpu().numpy(), width, mode="reflect", axes=(-2, -1))
    return torch.as_tensor(blurred).to(saliency)


def rank_auc(saliency: Tensor, mask: Tensor) -> Tensor:
    """P(a value inside the mask > a value outside), ties half: the primary measure; chance 0.5.

    The area under the ROC curve of "this square lies inside" (Mann & Whitney's U). Unchanged by any strictly
    increasing change of the map, so that a spikier map gains nothing.

    Args:
        saliency: (N, H, W) or (H, W), finite.
        mask: bool, True inside; (H, W), or (N, H, W) with one a map.

    Returns:
        (N,), or a single value for a map (H, W); float64.

    Raises:
        TypeError: mask is not of dtype bool.
        ValueError: shapes that do not agree, values that are not finite, a mask with nothing inside or
            outside.

    Example:
        >>> import torch
        >>> saliency = torch.tensor([[3.0, 2.0], [1.0, 0.0]])
        >>> left = torch.tensor([[True, False], [True, False]])
        >>> rank_auc(saliency, left)  # of the four pairs, 1 < 2 is the wrong way round
        tensor(0.7500, dtype=torch.float64)
    """
    values, inside, shape = _rows(saliency, mask)
    ranks = torch.as_tensor(rankdata(values.cpu().numpy(), axis=1), device=values.device)
    within = inside.sum(1).double()
    pairs = within * (inside.shape[1] - within)
    above = (ranks * inside).sum(1) - within * (within + 1) / 2
    return (above / pairs).reshape(shape)


def energy(saliency: Tensor, mask: Tensor) -> Tensor:
    """Share of the positive mass that lies inside the mask; chance is the mask's share of the area.

    The energy-based pointing game (Wang et al. 2020, arXiv 1910.01279). It rewards squaring: for comparison
    with the literature only. A map without positive mass gets the value of chance, as a constant one does.

    Arguments, shapes and errors are those of `rank_auc`.

    Example:
        >>> import torch
        >>> saliency = torch.tensor([[3.0, 2.0], [1.0, 0.0]])
        >>> left = torch.tensor([[True, False], [True, False]])
        >>> energy(saliency, left).round(decimals=3)
        tensor(0.6670, dtype=torch.float64)
        >>> energy(saliency.square(), left).round(decimals=3)  # the same map, squared
        tensor(0.7140, dtype=torch.float64)
    """
    values, inside, shape = _rows(saliency, mask)
    mass = values.clamp_min(0)
    total = mass.sum(1)
    share = (mass * inside).sum(1) / total.masked_fill(total == 0, 1)
    return torch.where(total == 0, inside.double().mean(1), share).reshape(shape)


def top_share(saliency: Tensor, mask: Tensor, share: float = 0.05) -> Tensor:
    """Share of the largest squares that lie inside the mask; chance is the mask's share of the area.

    Args:
        share: how many of all squares count as the largest, in (0, 1]; at least one is taken.

    The other arguments, shapes and errors are those of `rank_auc`; also ValueError for another share.

    Example:
        >>> import torch
        >>> saliency = torch.tensor([[3.0, 2.0], [1.0, 0.0]])
        >>> left = torch.tensor([[True, False], [True, False]])
        >>> top_share(saliency, left, share=0.5)  # the largest two are 3, inside, and 2, outside
        tensor(0.5000, dtype=torch.float64)
    """
    values, inside, shape = _rows(saliency, mask)
    weights, count = _top_weights(values, share)
    return ((weights * inside).sum(1) / count).reshape(shape)


def right_cell(saliency: Tensor, masks: Tensor, cell: int | Tensor) -> Tensor:
    """1 where the explained cell holds the largest positive mass, 0 elsewhere, 1/k in a tie of k; chance 1/M.

    Args:
        saliency: (N, H, W) or (H, W), finite.
        masks: bool, (M, H, W), the M cells.
        cell: index of the explained cell, one for all or (N,).

    Returns:
        (N,), or a single value for a map (H, W); float64.

    Raises:
        TypeError, ValueError: as in `rank_auc`, or a cell that is not an index of masks.

    Example:
        >>> import torch
        >>> from helpers.measure.grids import cell_mask
        >>> saliency = torch.tensor([[3.0, 1.0], [0.0, 2.0]])
        >>> cells = torch.stack([cell_mask(k, 1, 1) for k in range(4)])
        >>> right_cell(saliency, cells, cell=0), right_cell(saliency, cells, cell=3)
        (tensor(1., dtype=torch.float64), tensor(0., dtype=torch.float64))
    """
    if masks.ndim != 3:
        raise ValueError(f"masks: expected shape (M, H, W), one mask a cell; got {tuple(masks.shape)}.")
    parts = [_rows(saliency, mask) for mask in masks]
    values, _, shape = parts[0]
    cell = torch.as_tensor(cell, device=values.device).expand(len(values))
    if cell.is_floating_point() or (cell < 0).any() or (cell >= len(masks)).any():
        raise ValueError(
            f"cell: expected indices in [0, {len(masks)}), one for all or one a map; got {cell.tolist()}."
        )
    mass = torch.stack([(values.clamp_min(0) * inside).sum(1) for _, inside, _ in parts], 1)
    # Sums over cells differ in their last bits even for a constant map; such a difference is a tie.
    largest = mass >= mass.amax(1, keepdim=True) * (1 - 1e-9)
    hit = largest.gather(1, cell[:, None])[:, 0].double()
    return (hit / largest.sum(1)).reshape(shape)


def overlap(first: Tensor, second: Tensor, share: float = 0.05) -> Tensor:
    """Share of the largest squares that two maps have in common: 1 all, 0 none; chance is `share`.

    Args:
        first, second: (N, H, W) or (H, W), finite, of the same shape.
        share: how many of all squares count as the largest, in (0, 1]; at least one is taken.

    Returns:
        (N,), or a single value for maps (H, W); float64.

    Raises:
        ValueError: shapes that differ, values that are not finite, another share.

    Example:
        >>> import torch
        >>> overlap(torch.tensor([[3.0, 2.0], [1.0, 0.0]]), torch.tensor([[3.0, 0.0], [2.0, 1.0]]), share=0.5)
        tensor(0.5000, dtype=torch.float64)
    """
    one, two, shape = _pair(first, second)
    weights, count = _top_weights(one, share)
    return ((weights * _top_weights(two, share)[0]).sum(1) / count).reshape(shape)


def spearman(first: Tensor, second: Tensor) -> Tensor:
    """Spearman's rank correlation of two maps over their squares; 0 if one of them is constant.

    Arguments, shapes and errors are those of `overlap`.

    Example:
        >>> import torch
        >>> first = torch.tensor([[3.0, 2.0], [1.0, 0.0]])
        >>> spearman(first, first.exp()).round(decimals=6), spearman(first, -first).round(decimals=6)
        (tensor(1., dtype=torch.float64), tensor(-1., dtype=torch.float64))
    """
    one, two, shape = _pair(first, second)
    ranks = [rankdata(values.cpu().numpy(), axis=1) for values in (one, two)]
    one, two = (r - r.mean(axis=1, keepdims=True) for r in ranks)
    size = np.sqrt((one**2).sum(axis=1) * (two**2).sum(axis=1))
    correlation = (one * two).sum(axis=1) / np.where(size == 0, 1, size)
    return torch.as_tensor(correlation, device=first.device).reshape(shape)


def _plane(saliency: Tensor) -> tuple[int, int]:
    """Height and width, the last two dimensions."""
    if saliency.ndim < 2:
        raise ValueError(f"saliency: expected shape (..., H, W); got {tuple(saliency.shape)}.")
    return tuple(saliency.shape[-2:])


def _flat(name: str, saliency: Tensor) -> tuple[Tensor, tuple[int, ...]]:
    """Values (N, H W) in float64, and the shape of what is returned for them."""
    if saliency.ndim not in (2, 3):
        raise ValueError(
            f"{name}: expected a map of shape (H, W) or (N, H, W); got {tuple(saliency.shape)}. Sum its "
            "channels first (sum_channels)."
        )
    if not torch.isfinite(saliency).all():
        raise ValueError(f"{name}: expected finite values; got NaN or infinity.")
    return saliency.detach().double().reshape(-1, saliency.shape[-2:].numel()), tuple(saliency.shape[:-2])


def _rows(saliency: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, tuple[int, ...]]:
    """Values and mask, (N, H W) each, and the shape of what is returned."""
    values, shape = _flat("saliency", saliency)
    if mask.dtype != torch.bool:
        raise TypeError(f"mask: expected dtype bool, True inside; got {mask.dtype}.")
    expected = [saliency.shape[-2:], saliency.shape][: saliency.ndim - 1]
    if mask.shape not in expected:
        raise ValueError(
            f"mask: expected shape {' or '.join(str(tuple(s)) for s in expected)}, as the map has; got "
            f"{tuple(mask.shape)}."
        )
    inside = mask.to(values.device).reshape(-1, values.shape[1]).expand(len(values), -1)
    if inside.all(1).any() or (~inside).all(1).any():
        raise ValueError(
            "mask: expected squares inside and squares outside; got a mask with only one of them."
        )
    return values, inside, shape


def _pair(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor, tuple[int, ...]]:
    one, shape = _flat("first", first)
    two, _ = _flat("second", second)
    if first.shape != second.shape:
        raise ValueError(
            f"second: expected the shape of first, {tuple(first.shape)}; got {tuple(second.shape)}."
        )
    return one, two.to(one.device), shape


def _top_weights(values: Tensor, share: float) -> tuple[Tensor, int]:
    """How far each of the values (N, P) is among the largest, in [0, 1], and how many count as the largest.

    Values that tie for the last places share them: the weight is the probability under a random tie-break.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share: expected a number in (0, 1]; got {share!r}.")
    count = max(1, round(share * values.shape[1]))
    threshold = values.topk(count, dim=1).values[:, -1:]
    above, ties = (values > threshold).double(), (values == threshold).double()
    return above + ties * ((count - above.sum(1, keepdim=True)) / ties.sum(1, keepdim=True)), count
