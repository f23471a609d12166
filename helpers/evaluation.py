"""How specific is a map? Measures, 2x2 grids of images, intervals and comparisons.

Grid pointing: four images of distinct classes, each recognised with confidence when alone, are put into one
2x2 grid; the whole grid is shown to the model and the class of each cell is explained in turn. A specific map
lies in the cell of its class (Rao, Böhle & Schiele 2022, arXiv 2205.10435; Zhang et al. 2018, arXiv
1608.00507).

In this module a map is a tensor (N, H, W), one example a row, or (H, W), a single one; values (N,) come back
for the former, 0-dimensional ones for the latter, float64 on the map's device. Every measure is exact: ties
are split as an independent random tie-break would split them on average, so that a constant map gets the
value of chance.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from scipy.ndimage import gaussian_filter
from scipy.stats import rankdata
from torch import Tensor, nn
from torch.nn import functional
from tqdm.auto import tqdm

from helpers.models import predict
from helpers.nonlinear import reduce

CELLS = 4
METRICS = ("rank_auc", "energy", "top_share", "right_cell")
BEST, OTHERS, ALL = "best-ranked class", "other classes", "all classes"
RANDOM = "control: uniform random"
CENTRE = "control: distance to the centre"
INK = "control: ink of the whole grid"
ORACLE = "oracle: ink of the explained cell"

Method = Callable[[Tensor, Tensor], Tensor]


# ---- preparing maps ----------------------------------------------------------------------------------------


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


def positive(saliency: Tensor) -> Tensor:
    """The positive part of a map, which is what supports the score; any shape.

    Example:
        >>> import torch
        >>> positive(torch.tensor([[1.5, -2.0]]))
        tensor([[1.5000, 0.0000]])
    """
    return saliency.clamp_min(0)


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
    height, width = _plane("saliency", saliency)
    if (
        isinstance(square, bool)
        or not isinstance(square, int)
        or square < 1
        or height % square
        or width % square
    ):
        raise ValueError(
            f"square: expected an integer of at least 1 that divides the map's {height} x {width} pixels; "
            f"got {square!r}."
        )
    planes = saliency.reshape(-1, 1, height, width)
    return functional.avg_pool2d(planes, square).reshape(
        *saliency.shape[:-2], height // square, width // square
    )


def smooth(saliency: Tensor, width: float) -> Tensor:
    """A map after a Gaussian blur, (..., H, W), same shape and dtype; at the edges the map is mirrored.

    SciPy's, cut off at four standard deviations, and not `helpers.smoothing.gaussian_blur`, of which maps are made:
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
    _plane("saliency", saliency)
    if not (math.isfinite(width) and width >= 0):
        raise ValueError(f"width: expected a finite number of pixels, at least 0; got {width!r}.")
    if width == 0:
        return saliency
    blurred = gaussian_filter(saliency.detach().double().cpu().numpy(), width, mode="reflect", axes=(-2, -1))
    return torch.as_tensor(blurred).to(saliency)


# ---- measures of one map -----------------------------------------------------------------------------------


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
        TypeError, ValueError: as in `rank_auc`, or a cell that is no index of masks.

    Example:
        >>> import torch
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


# ---- grids -------------------------------------------------------------------------------------------------


def cell_mask(cell: int, height: int, width: int) -> Tensor:
    """The squares of one cell of a 2x2 grid: bool, (2 height, 2 width).

    Args:
        cell: 0 top left, 1 top right, 2 bottom left, 3 bottom right.
        height, width: of a single image, in pixels (or squares).

    Raises:
        ValueError: another cell.

    Example:
        >>> cell_mask(1, height=1, width=2)  # top right
        tensor([[False, False,  True,  True],
                [False, False, False, False]])
    """
    if cell not in range(CELLS):
        raise ValueError(f"cell: expected 0, 1, 2 or 3 (row by row); got {cell!r}.")
    mask = torch.zeros(2 * height, 2 * width, dtype=torch.bool)
    down, right = divmod(int(cell), 2)
    mask[down * height : (down + 1) * height, right * width : (right + 1) * width] = True
    return mask


@dataclass(frozen=True, eq=False)
class Grids:
    """2x2 grids of images of four distinct classes; cells are counted row by row.

    Attributes:
        images: (N, C, 2H, 2W), dtype and values of the images that were put together.
        targets: int64, (N, 4), the class of each cell.
        members: int64, (N, 4), the number of each cell's image in the set that the grids were made of.
        ranks: int64, (N, 4), place of each cell's class among the four, under the model on the grid: 0 is the
            best-ranked one. This splits the "best-ranked" from the "others".
        class_ranks: int64, (N, 4), the same among all classes of the model: 0 is the predicted class.

    Example:
        >>> import torch
        >>> images = torch.eye(4)[:, :, None, None].expand(4, 4, 2, 2)  # image k has channel k alone
        >>> model = lambda x: 20 * x.mean((2, 3))
        >>> grids = make_grids(images, torch.arange(4), model, count=3)
        >>> len(grids), grids.images.shape, len(grids[:2])
        (3, torch.Size([3, 4, 4, 4]), 2)
        >>> grids.cell_mask(0).sum()  # pixels of a cell
        tensor(4)
    """

    images: Tensor
    targets: Tensor
    members: Tensor
    ranks: Tensor
    class_ranks: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows: slice) -> "Grids":
        """Some of the grids."""
        return Grids(*(getattr(self, field.name)[rows] for field in fields(self)))

    def cell_mask(self, cell: int) -> Tensor:
        """The pixels of one cell: bool, (2H, 2W)."""
        height, width = self.images.shape[-2:]
        return cell_mask(cell, height // 2, width // 2)


def assemble(images: Tensor) -> Tensor:
    """Four images put into one, row by row: (N, 4, C, H, W) -> (N, C, 2H, 2W).

    Example:
        >>> import torch
        >>> assemble(torch.arange(4.0).reshape(1, 4, 1, 1, 1))
        tensor([[[[0., 1.],
                  [2., 3.]]]])
    """
    rows = torch.cat([images[:, 0::2], images[:, 1::2]], dim=-1)
    return torch.cat([rows[:, 0], rows[:, 1]], dim=-2)


def confident(probabilities: Tensor, targets: Tensor, confidence: float = 0.9) -> Tensor:
    """Numbers of the examples that are classified correctly with at least that probability, ascending.

    Args:
        probabilities: (N, K), rows that sum to 1.
        targets: (N,) class indices.
        confidence: least probability of the true class, in [0, 1].

    Raises:
        ValueError: shapes that do not agree, or rows that are no probabilities.

    Example:
        >>> import torch
        >>> probabilities = torch.tensor([[0.95, 0.05], [0.6, 0.4], [0.99, 0.01]])
        >>> confident(probabilities, torch.tensor([0, 0, 1]))  # sure and right; unsure; sure and wrong
        tensor([0])
    """
    if probabilities.ndim != 2 or targets.shape != probabilities.shape[:1]:
        raise ValueError(
            "targets: expected one class for each row of the probabilities (N, K); got shapes "
            f"{tuple(targets.shape)} and {tuple(probabilities.shape)}."
        )
    if (probabilities < 0).any() or ((probabilities.sum(1) - 1).abs() > 1e-3).any():
        raise ValueError(
            "probabilities: expected rows that are not negative and sum to 1; got others. Take the "
            "softmax(1) of the logits."
        )
    if len(targets) and not 0 <= targets.min() <= targets.max() < probabilities.shape[1]:
        raise ValueError(
            f"targets: expected class indices in [0, {probabilities.shape[1]}); got some from "
            f"{int(targets.min())} to {int(targets.max())}."
        )
    right = probabilities.argmax(1) == targets
    sure = probabilities.gather(1, targets[:, None].long())[:, 0] >= confidence
    return (right & sure).nonzero()[:, 0]


def make_grids(
    images: Tensor,
    targets: Tensor,
    model: nn.Module | Callable[[Tensor], Tensor],
    count: int,
    confidence: float = 0.9,
    seed: int = 0,
    part: str | None = None,
    probabilities: Tensor | None = None,
    batch_size: int = 64,
) -> Grids:
    """Seeded 2x2 grids of images that the model classifies correctly, with confidence, when alone.

    The four classes of a grid are drawn without replacement, the images of a class in shuffled order: none
    comes again before all of its class have been used.

    Args:
        images: (M, C, H, W).
        targets: (M,) class indices.
        model: from images to logits (n, K); it must take the grid's size, (n, C, 2H, 2W), as well.
        count: number of grids N.
        confidence: least probability of the true class for an image alone.
        seed: of everything that is drawn.
        part: None: all images. "choosing" or "reporting": only one half of each class's images, and of the
            classes that have a single one, half the classes; with the same images, model, confidence and seed
            the two parts have no image in common.
        probabilities: (M, K) of the images alone, where they are known already; None: the softmax of the
            model's logits.
        batch_size: most images in one pass (a grid counts as four).

    Raises:
        ValueError: a wrong argument, or fewer than four classes with a confidently classified image (in that
            half).

    Example:
        >>> import torch
        >>> images = torch.eye(4)[:, :, None, None].expand(4, 4, 2, 2)  # image k has channel k alone
        >>> model = lambda x: 20 * x.mean((2, 3))
        >>> grids = make_grids(images, torch.arange(4), model, count=2)
        >>> grids.images.shape, grids.targets.sort(1).values.tolist()
        (torch.Size([2, 4, 4, 4]), [[0, 1, 2, 3], [0, 1, 2, 3]])
    """
    if images.ndim != 4 or targets.shape != images.shape[:1]:
        raise ValueError(
            "targets: expected one class for each of the images (M, C, H, W); got shapes "
            f"{tuple(targets.shape)} and {tuple(images.shape)}."
        )
    if part not in (None, "choosing", "reporting"):
        raise ValueError(f'part: expected None, "choosing" or "reporting"; got {part!r}.')
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise ValueError(f"count: expected an integer of at least 1; got {count!r}.")
    if probabilities is None:
        probabilities = predict(model, images, batch_size).softmax(1)
    elif probabilities.shape[:1] != images.shape[:1]:
        raise ValueError(
            f"probabilities: expected one row for each of the {len(images)} images; got shape "
            f"{tuple(probabilities.shape)}."
        )
    generator = torch.Generator().manual_seed(seed)
    chosen = confident(probabilities, targets, confidence).cpu()
    queues = _queues(chosen, targets.cpu(), part, generator)
    if len(queues) < CELLS:
        where = "" if part is None else f" in the {part} half"
        raise ValueError(
            "images: expected at least four classes with an image that is classified correctly with a "
            f"probability of at least {confidence:g}{where}; got {len(queues)} ({len(chosen)} such images in "
            "all). Lower the confidence or add images."
        )
    members = torch.tensor(_draw(queues, count, generator))
    classes = targets.cpu()[members].long()
    grids = assemble(images[members.to(images.device)])
    logits = predict(model, grids, max(1, batch_size // CELLS)).double().cpu()
    own = logits.gather(1, classes)
    return Grids(
        images=grids,
        targets=classes.to(images.device),
        members=members.to(images.device),
        ranks=_places(own, own).to(images.device),
        class_ranks=_places(own, logits).to(images.device),
    )


def centre_distance(height: int, width: int) -> Tensor:
    """Distance to the centre of an image, in pixels, float64, (height, width).

    Example:
        >>> centre_distance(1, 5)
        tensor([[2., 1., 0., 1., 2.]], dtype=torch.float64)
    """
    down, right = (torch.arange(n, dtype=torch.float64) - (n - 1) / 2 for n in (height, width))
    return (down[:, None] ** 2 + right**2).sqrt()


def controls(grids: Grids, seed: int = 0, ink: bool | None = None) -> dict[str, Tensor]:
    """Maps that know nothing of the model: name -> (N, 4, 2H, 2W), one map a grid and cell.

    Uniform random values; distance to the centre; and, for images whose background is 0, the image's own ink
    (the same for every class) and the oracle: the ink of the explained cell alone, the best that thin strokes
    can do.

    Args:
        seed: of the random map.
        ink: whether to add the two ink maps; None: for images with a single channel.

    Example:
        >>> import torch
        >>> images = torch.eye(4)[:, :, None, None].expand(4, 4, 2, 2)  # image k has channel k alone
        >>> model = lambda x: 20 * x.mean((2, 3))
        >>> grids = make_grids(images, torch.arange(4), model, count=1)
        >>> list(controls(grids)), controls(grids)[CENTRE].shape
        (['control: uniform random', 'control: distance to the centre'], torch.Size([1, 4, 4, 4]))
    """
    count, channels, height, width = grids.images.shape
    shape = (count, CELLS, height, width)
    generator = torch.Generator().manual_seed(seed)
    maps = {
        RANDOM: torch.rand(shape, generator=generator),
        CENTRE: centre_distance(height, width).expand(shape),
    }
    if ink or (ink is None and channels == 1):
        drawn = grids.images.detach().sum(1)[:, None].cpu()
        cells = torch.stack([grids.cell_mask(cell) for cell in range(CELLS)])
        maps |= {INK: drawn.expand(shape), ORACLE: drawn * cells}
    return maps


def cell_maps(method: Method, grids: Grids, batch_size: int = 16) -> Tensor:
    """The map of every cell's class, (N, 4, h, w), channels summed: computed once, scored as often as wanted.

    Args:
        method: as in `grid_pointing`, which also takes what is returned here.
        batch_size: most grids in one call of the method.

    Raises:
        ValueError: a map of another shape, larger than the grid, or not finite.

    Example:
        >>> import torch
        >>> images = torch.eye(4)[:, :, None, None].expand(4, 4, 2, 2)  # image k has channel k alone
        >>> model = lambda x: 20 * x.mean((2, 3))
        >>> grids = make_grids(images, torch.arange(4), model, count=2)
        >>> own_channel = lambda x, target: x[torch.arange(len(x)), target]
        >>> cell_maps(own_channel, grids).shape
        torch.Size([2, 4, 4, 4])
    """
    height, width = grids.images.shape[-2:]
    cells = []
    for cell in range(CELLS):
        parts = []
        for images, target in zip(
            grids.images.split(batch_size), grids.targets[:, cell].split(batch_size), strict=True
        ):
            parts.append(_map_of("method", method(images, target), len(target), height, width))
        cells.append(torch.cat(parts))
    return torch.stack(cells, 1)


def grid_pointing(
    methods: Mapping[str, Method | Tensor],
    grids: Grids,
    square: int = 1,
    smoothing: float = 0.0,
    share: float = 0.05,
    batch_size: int = 16,
    with_controls: bool = True,
    seed: int = 0,
    show_progress: bool = True,
) -> pd.DataFrame:
    """Scores of every method on every cell of every grid.

    One rule for all maps: channels are summed; a map that is smaller than the grid (a layer's) is interpolated
    bilinearly to its size; it is smoothed, its positive part taken, and averaged over squares.

    Args:
        methods: name -> function from (inputs (n, C, 2H, 2W), target (n,)) to a map (n, C, h, w) or (n, h,
            w), positive = supports the target; for example ``lambda x, t: saliency.attribute(x, target=t)``.
            Or the maps themselves, (N, 4, h, w), as `cell_maps` gives them.
        grids: of `make_grids`.
        square: side of a square in pixels; it must divide 2H and 2W, and should divide H and W.
        smoothing: standard deviation of the Gaussian blur in pixels, the same for all methods.
        share: of the squares that count as the largest, for top_share.
        batch_size: most grids in one call of a method.
        with_controls: whether to add the maps of `controls`.
        seed: of the random control.
        show_progress: a progress bar over methods and cells.

    Returns:
        One row a (method, grid, cell), with columns method, grid, cell, target, member (the explained image),
        rank, class_rank (see `Grids`), rank_auc, energy, top_share, right_cell.

    Raises:
        ValueError: a square that does not fit, a control's name, or a map of another shape or not finite (the
            method is named).

    Example:
        >>> import torch
        >>> images = torch.eye(4)[:, :, None, None].expand(4, 4, 2, 2)  # image k has channel k alone
        >>> model = lambda x: 20 * x.mean((2, 3))
        >>> grids = make_grids(images, torch.arange(4), model, count=2)
        >>> own_channel = lambda x, target: x[torch.arange(len(x)), target]
        >>> options = {"with_controls": False, "show_progress": False}
        >>> scores = grid_pointing({"own channel": own_channel}, grids, **options)
        >>> scores[["rank_auc", "energy", "right_cell"]].mean().round(3).to_dict()
        {'rank_auc': 1.0, 'energy': 1.0, 'right_cell': 1.0}
    """
    height, width = grids.images.shape[-2:]
    pool(grids.images[:1, 0], square)
    fixed = controls(grids, seed) if with_controls else {}
    for name, given in methods.items():
        if isinstance(given, Tensor) and given.shape[:2] != (len(grids), CELLS):
            raise ValueError(
                f"methods: expected maps of shape ({len(grids)}, {CELLS}, h, w) for {name!r}; got "
                f"{tuple(given.shape)}."
            )
    clash = [name for name in methods if name in fixed]
    if clash:
        raise ValueError(f"methods: expected names that no control has; got {clash[0]!r}.")
    masks = torch.stack([grids.cell_mask(cell) for cell in range(CELLS)])
    # A square on the seam belongs to neither side of it.
    cells = torch.stack([pool(mask.double(), square) == 1 for mask in masks])
    names = [*methods, *fixed]
    tables = []
    with tqdm(
        total=len(names) * CELLS * len(grids),
        desc="grid pointing",
        unit="map",
        leave=False,
        disable=not show_progress,
    ) as bar:
        for name in names:
            for cell in range(CELLS):
                for start in range(0, len(grids), batch_size):
                    rows = slice(start, min(start + batch_size, len(grids)))
                    target = grids.targets[rows, cell]
                    if name in fixed:
                        saliency = fixed[name][rows, cell]
                    else:
                        given = methods[name]
                        came = (
                            given[rows, cell]
                            if isinstance(given, Tensor)
                            else given(grids.images[rows], target)
                        )
                        saliency = _map_of(name, came, len(target), height, width)
                    saliency = pool(positive(smooth(saliency, smoothing)), square)
                    tables.append(
                        pd.DataFrame(
                            {
                                "method": name,
                                "grid": range(rows.start, rows.stop),
                                "cell": cell,
                                "target": target.cpu().numpy(),
                                "member": grids.members[rows, cell].cpu().numpy(),
                                "rank": grids.ranks[rows, cell].cpu().numpy(),
                                "class_rank": grids.class_ranks[rows, cell].cpu().numpy(),
                                "rank_auc": rank_auc(saliency, cells[cell]).numpy(),
                                "energy": energy(saliency, cells[cell]).numpy(),
                                "top_share": top_share(saliency, cells[cell], share).numpy(),
                                "right_cell": right_cell(saliency, cells, cell).numpy(),
                            }
                        )
                    )
                    bar.update(len(target))
    return pd.concat(tables, ignore_index=True)


# ---- intervals and comparisons -----------------------------------------------------------------------------


class Interval(NamedTuple):
    """An estimate with the lower and upper end of its interval.

    Example:
        >>> low, high = Interval(estimate=0.8, low=0.7, high=0.9)[1:]
        >>> low < 0.75 < high
        True
    """

    estimate: float
    low: float
    high: float


class Difference(NamedTuple):
    """A paired difference with its interval, and the two-sided p-value of "there is none".

    Example:
        >>> difference = Difference(estimate=0.1, low=0.05, high=0.15, p_value=0.001)
        >>> difference.low > 0
        True
    """

    estimate: float
    low: float
    high: float
    p_value: float


def bootstrap_interval(
    values: Sequence[float] | np.ndarray | Tensor,
    groups: Sequence | np.ndarray | Tensor | None = None,
    statistic: Callable[[np.ndarray], float] = np.mean,
    samples: int = 2000,
    seed: int = 0,
    confidence: float = 0.95,
) -> Interval:
    """Percentile bootstrap interval of a statistic; whole groups are drawn (Efron & Tibshirani 1993).

    Values of one group depend on each other (four cells of one grid, the grids of one photo): drawing groups
    keeps that in the interval, drawing values would make it too narrow.

    Args:
        values: (N,), finite.
        groups: (N,), the group of each value; None: each its own.
        statistic: from an array (n,) to a number.
        samples: bootstrap draws.
        seed: of the draws.
        confidence: of the interval, in (0, 1).

    Raises:
        ValueError: no values, values that are not finite, or not one group a value.

    Example:
        >>> values, photographs = [0.9, 0.9, 0.9, 0.5, 0.5, 0.5], [0, 0, 0, 1, 1, 1]
        >>> [round(end, 3) for end in bootstrap_interval(values, photographs)]  # 2 photographs, not 6
        [0.7, 0.5, 0.9]
    """
    values, draws = _bootstrap(values, groups, statistic, samples, seed, confidence)
    low, high = np.quantile(draws, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(statistic(values)), float(low), float(high))


def paired_difference(
    first: Sequence[float] | np.ndarray | Tensor,
    second: Sequence[float] | np.ndarray | Tensor,
    groups: Sequence | np.ndarray | Tensor | None = None,
    samples: int = 2000,
    seed: int = 0,
    confidence: float = 0.95,
) -> Difference:
    """Mean of first - second over the same cases, with its bootstrap interval and p-value.

    The p-value is twice the smaller share of draws on either side of 0, one draw added to each so that it is
    never 0.

    Args:
        first, second: (N,), in the same order of cases.
        The others are those of `bootstrap_interval`.

    Raises:
        ValueError: lengths that differ, and what `bootstrap_interval` raises.

    Example:
        >>> difference = paired_difference([0.9, 0.8, 0.7], [0.8, 0.7, 0.6])
        >>> [round(value, 3) for value in difference]
        [0.1, 0.1, 0.1, 0.001]
    """
    first, second = (np.asarray(v, dtype=float) for v in (first, second))
    if first.shape != second.shape:
        raise ValueError(
            f"second: expected as many values as first, shape {first.shape}; got {second.shape}."
        )
    values, draws = _bootstrap(first - second, groups, np.mean, samples, seed, confidence)
    low, high = np.quantile(draws, [(1 - confidence) / 2, (1 + confidence) / 2])
    tail = min((draws <= 0).sum(), (draws >= 0).sum())
    p_value = min(1.0, 2 * (tail + 1) / (samples + 1))
    return Difference(float(values.mean()), float(low), float(high), float(p_value))


def holm(p_values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Holm's correction for several comparisons (Holm 1979): adjusted p-values in the given order, (M,).

    Raises:
        ValueError: values outside [0, 1].

    Example:
        >>> holm([0.01, 0.04, 0.03]).round(3).tolist()
        [0.03, 0.06, 0.06]
    """
    p_values = np.asarray(p_values, dtype=float)
    if p_values.ndim != 1 or not ((p_values >= 0) & (p_values <= 1)).all():
        raise ValueError(f"p_values: expected numbers in [0, 1], shape (M,); got {p_values.tolist()}.")
    order = np.argsort(p_values, kind="stable")
    factors = len(p_values) - np.arange(len(p_values))
    adjusted = np.empty_like(p_values)
    adjusted[order] = np.minimum(np.maximum.accumulate(p_values[order] * factors), 1.0)
    return adjusted


def summarise(
    scores: pd.DataFrame, metric: str = "rank_auc", group: str = "grid", samples: int = 2000, seed: int = 0
) -> pd.DataFrame:
    """Mean and 95 % interval of a metric for each method, the best-ranked class and the others apart.

    Args:
        scores: of `grid_pointing`.
        metric: one of METRICS.
        group: the column whose values are drawn together: "grid", or "member" where few images are in many
            grids.

    Returns:
        One row a (method, part) in the order of the methods; columns method, part, mean, low, high. What
        `helpers.plots.dots_with_intervals` draws.

    Raises:
        ValueError: a column that is missing.

    Example:
        >>> import pandas as pd
        >>> cells = pd.DataFrame({"grid": [0, 0, 1, 1], "cell": [0, 1, 0, 1], "rank": [0, 1, 0, 1]})
        >>> summary = summarise(cells.assign(method="ours", rank_auc=[0.9, 0.7, 0.8, 0.6]))
        >>> summary.set_index("part")["mean"].round(3).to_dict()
        {'best-ranked class': 0.85, 'other classes': 0.65, 'all classes': 0.75}
    """
    _require_columns(scores, metric, group)
    rows = []
    for name in scores["method"].unique():
        for part, table in _parts(scores[scores["method"] == name]).items():
            if len(table):
                interval = bootstrap_interval(table[metric], table[group], samples=samples, seed=seed)
                rows.append((name, part, *interval))
    return pd.DataFrame(rows, columns=["method", "part", "mean", "low", "high"])


def compare(
    scores: pd.DataFrame,
    ours: str,
    metric: str = "rank_auc",
    peers: Sequence[str] | None = None,
    group: str = "grid",
    samples: int = 2000,
    seed: int = 0,
    margin: float = 0.01,
) -> pd.DataFrame:
    """Paired differences of one method to each of the others, with 95 % intervals and Holm's correction.

    Args:
        scores: of `grid_pointing`.
        ours: the method that the others are compared with.
        metric: one of METRICS.
        peers: the others; None: all but the oracle.
        group: as in `summarise`.
        margin: "no worse" means that the interval's lower end is above -margin.

    Returns:
        One row a (peer, part); columns peer, part, difference (ours - peer), low, high, p, p_holm (corrected
        over the peers of the same part), better (low > 0 and p_holm < 0.05), no_worse.

    Raises:
        ValueError: a method or column that is missing.

    Example:
        >>> import pandas as pd
        >>> cells = pd.DataFrame({"grid": [0, 0, 1, 1], "cell": [0, 1, 0, 1], "rank": [0, 1, 0, 1]})
        >>> ours = cells.assign(method="ours", rank_auc=[0.9, 0.7, 0.8, 0.6])
        >>> peer = cells.assign(method="peer", rank_auc=[0.8, 0.6, 0.7, 0.5])
        >>> table = compare(pd.concat([ours, peer]), "ours").set_index("part")
        >>> table["difference"].round(3).to_dict(), table["better"].all().item()
        ({'best-ranked class': 0.1, 'other classes': 0.1, 'all classes': 0.1}, True)
    """
    _require_columns(scores, metric, group)
    known = list(scores["method"].unique())
    peers = [name for name in known if name not in (ours, ORACLE)] if peers is None else list(peers)
    missing = [name for name in (ours, *peers) if name not in known]
    if missing:
        raise ValueError(
            f"ours, peers: expected methods of the scores ({', '.join(known)}); got {missing[0]!r}."
        )
    by_part: dict[str, list[tuple]] = {}
    key = ["grid", "cell"]
    own = scores[scores["method"] == ours].set_index(key).sort_index()
    for peer in peers:
        other = scores[scores["method"] == peer].set_index(key).sort_index()
        if not own.index.equals(other.index):
            raise ValueError(
                f"scores: expected the same grids and cells for {ours!r} and {peer!r}; got others."
            )
        both = own.reset_index().assign(peer=other[metric].to_numpy())
        for part, table in _parts(both).items():
            if len(table):
                difference = paired_difference(
                    table[metric], table["peer"], table[group], samples=samples, seed=seed
                )
                by_part.setdefault(part, []).append((peer, part, *difference))
    columns = ["peer", "part", "difference", "low", "high", "p"]
    tables = [pd.DataFrame(rows, columns=columns) for rows in by_part.values()]
    tables = [table.assign(p_holm=holm(table["p"])) for table in tables]
    result = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=[*columns, "p_holm"])
    result["better"] = (result["low"] > 0) & (result["p_holm"] < 0.05)
    result["no_worse"] = result["low"] > -margin
    return result


def log_log_slope(x: Sequence[float] | np.ndarray, y: Sequence[float] | np.ndarray) -> float:
    """Slope of log y over log x by least squares: the order of convergence. Pairs with a 0 are left out.

    Raises:
        ValueError: negative or not finite values, or fewer than two different x with a positive y.

    Example:
        >>> round(log_log_slope([1, 2, 4], [3, 12, 48]), 6)  # 3 x^2
        2.0
    """
    x, y = (np.asarray(v, dtype=float) for v in (x, y))
    if x.shape != y.shape or x.ndim != 1:
        raise ValueError(f"y: expected as many values as x, shape (T,); got shapes {y.shape} and {x.shape}.")
    if not (np.isfinite(x) & np.isfinite(y) & (x >= 0) & (y >= 0)).all():
        raise ValueError(
            f"x, y: expected finite values that are not negative; got {x.tolist()}, {y.tolist()}."
        )
    kept = (x > 0) & (y > 0)
    if len(np.unique(x[kept])) < 2:
        raise ValueError(f"y: expected positive values at two different x at least; got {y.tolist()}.")
    return float(np.polyfit(np.log(x[kept]), np.log(y[kept]), 1)[0])


# ---- inside ------------------------------------------------------------------------------------------------


def _plane(name: str, saliency: Tensor) -> tuple[int, int]:
    """Height and width, the last two dimensions."""
    if saliency.ndim < 2:
        raise ValueError(f"{name}: expected shape (..., H, W); got {tuple(saliency.shape)}.")
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


def _queues(
    chosen: Tensor, targets: Tensor, part: str | None, generator: torch.Generator
) -> dict[int, list[int]]:
    """The usable images of each class in shuffled order, or the half of them that belongs to a part."""
    queues = {}
    for label in torch.unique(targets[chosen]).tolist():
        own = chosen[targets[chosen] == label]
        queues[label] = own[torch.randperm(len(own), generator=generator)].tolist()
    if part is None:
        return queues
    lone = [label for label, own in queues.items() if len(own) == 1]
    # classes of a single image cannot be halved: half of the classes goes to either part
    order = torch.randperm(len(lone), generator=generator).tolist() if lone else []
    choosing = {lone[i] for i in order[: len(lone) // 2]}
    for label, own in queues.items():
        # Of an odd number the larger half is for reporting, where precision counts.
        half = len(own) // 2 if len(own) > 1 else int(label in choosing)
        queues[label] = own[:half] if part == "choosing" else own[half:]
    return {label: own for label, own in queues.items() if own}


def _draw(queues: dict[int, list[int]], count: int, generator: torch.Generator) -> list[list[int]]:
    """Members of each grid, (count, 4)."""
    labels, used = list(queues), dict.fromkeys(queues, 0)
    grids = []
    for _ in range(count):
        drawn = [labels[i] for i in torch.randperm(len(labels), generator=generator)[:CELLS].tolist()]
        grids.append([queues[label][used[label] % len(queues[label])] for label in drawn])
        for label in drawn:
            used[label] += 1
    return grids


def _places(own: Tensor, logits: Tensor) -> Tensor:
    """How many of the logits (N, K) are larger than each of one's own (N, 4): its place, 0 the first."""
    return (logits[:, None, :] > own[:, :, None]).sum(2)


def _map_of(name: str, attribution: Tensor, count: int, height: int, width: int) -> Tensor:
    """What a method returned as maps (count, height, width) on the CPU."""
    if not isinstance(attribution, Tensor) or attribution.ndim not in (3, 4) or len(attribution) != count:
        came = tuple(attribution.shape) if isinstance(attribution, Tensor) else type(attribution).__name__
        raise ValueError(
            f"methods: expected {name!r} to return a map of shape ({count}, C, h, w) or ({count}, h, w); "
            f"got {came}."
        )
    saliency = sum_channels(attribution.detach()).cpu()
    if not torch.isfinite(saliency).all():
        raise ValueError(f"methods: expected {name!r} to return finite values; got NaN or infinity.")
    if saliency.shape[1] > height or saliency.shape[2] > width:
        raise ValueError(
            f"methods: expected {name!r} to return a map of at most {height} x {width} pixels; got "
            f"{saliency.shape[1]} x {saliency.shape[2]}."
        )
    if saliency.shape[1:] != (height, width):
        saliency = functional.interpolate(saliency[:, None], (height, width), mode="bilinear")[:, 0]
    return saliency


def _parts(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    return {BEST: table[table["rank"] == 0], OTHERS: table[table["rank"] > 0], ALL: table}


def _require_columns(scores: pd.DataFrame, *columns: str) -> None:
    for column in (*columns, "method", "grid", "cell", "rank"):
        if column not in scores.columns:
            raise ValueError(
                f"scores: expected a column {column!r}; got {', '.join(map(str, scores.columns))}."
            )


def _bootstrap(
    values, groups, statistic, samples: int, seed: int, confidence: float
) -> tuple[np.ndarray, np.ndarray]:
    """The values, and the statistic of each of the bootstrap draws, (samples,)."""
    values = np.asarray(values, dtype=float)
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise ValueError(
            f"values: expected at least one value, finite, shape (N,); got shape {values.shape}"
            f"{' with NaN or infinity' if values.size and not np.isfinite(values).all() else ''}."
        )
    groups = np.arange(len(values)) if groups is None else np.asarray(groups)
    if groups.shape != values.shape:
        raise ValueError(f"groups: expected one group a value, shape {values.shape}; got {groups.shape}.")
    if isinstance(samples, bool) or not isinstance(samples, int) or samples < 1:
        raise ValueError(f"samples: expected an integer of at least 1; got {samples!r}.")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence: expected a number in (0, 1); got {confidence!r}.")
    _, number = np.unique(groups, return_inverse=True)
    count = number.max() + 1
    drawn = np.random.default_rng(seed).integers(count, size=(samples, count))
    if statistic is np.mean:
        # The mean of a draw needs only the groups' sums and sizes.
        sums, sizes = np.bincount(number, values), np.bincount(number)
        return values, sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    members = [values[number == group] for group in range(count)]
    return values, np.array([statistic(np.concatenate([members[g] for g in draw])) for draw in drawn])
