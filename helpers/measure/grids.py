"""Grid pointing: images in a 2x2 grid, and how much of a class's map lies in its cell."""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm.auto import tqdm

from helpers.checks import require_count
from helpers.measure.maps import energy, pool, rank_auc, right_cell, smooth, sum_channels, top_share
from helpers.zoo.networks import predict

CELLS = 4
NUMBERS = {2: "two", 3: "three", 4: "four"}
METRICS = ("rank_auc", "energy", "top_share", "right_cell")
BEST, OTHERS, ALL = "best-ranked class", "other classes", "all classes"
RANDOM = "control: uniform random"
CENTRE = "control: distance to the centre"
INK = "control: ink of the whole grid"
ORACLE = "oracle: ink of the explained cell"
Method = Callable[[Tensor, Tensor], Tensor]


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
        ValueError: shapes that do not agree, or rows that are not probabilities.

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
    generator = torch.Generator().manual_seed(seed)
    members = draw_members(
        images, targets, model, count, CELLS, generator, confidence, part, probabilities, batch_size
    )
    return put_together(model, images, targets, members, max(1, batch_size // CELLS))


def draw_members(
    images: Tensor,
    targets: Tensor,
    model: nn.Module | Callable[[Tensor], Tensor],
    count: int,
    objects: int,
    generator: torch.Generator,
    confidence: float = 0.9,
    part: str | None = None,
    probabilities: Tensor | None = None,
    batch_size: int = 64,
) -> Tensor:
    """Numbers of the images to put together, int64, (count, objects): drawn as `make_grids` says.

    Args:
        objects: images in each, of distinct classes: 2, 3 or 4.
        generator: of everything that is drawn, on the CPU.
        The others are those of `make_grids`.

    Raises:
        ValueError: a wrong argument, or fewer classes than objects with a confidently classified image (in that
            half).

    Example:
        >>> import torch
        >>> images = torch.eye(4)[:, :, None, None].expand(4, 4, 2, 2)  # image k has channel k alone
        >>> model = lambda x: 20 * x.mean((2, 3))
        >>> generator = torch.Generator().manual_seed(0)
        >>> draw_members(images, torch.arange(4), model, count=3, objects=2, generator=generator).shape
        torch.Size([3, 2])
    """
    if images.ndim != 4 or targets.shape != images.shape[:1]:
        raise ValueError(
            "targets: expected one class for each of the images (M, C, H, W); got shapes "
            f"{tuple(targets.shape)} and {tuple(images.shape)}."
        )
    if part not in (None, "choosing", "reporting"):
        raise ValueError(f'part: expected None, "choosing" or "reporting"; got {part!r}.')
    require_count("count", count)
    if objects not in NUMBERS:
        raise ValueError(f"objects: expected 2, 3 or 4; got {objects!r}.")
    if probabilities is None:
        probabilities = predict(model, images, batch_size).softmax(1)
    elif probabilities.shape[:1] != images.shape[:1]:
        raise ValueError(
            f"probabilities: expected one row for each of the {len(images)} images; got shape "
            f"{tuple(probabilities.shape)}."
        )
    chosen = confident(probabilities, targets, confidence).cpu()
    queues = _queues(chosen, targets.cpu(), part, generator)
    if len(queues) < objects:
        where = "" if part is None else f" in the {part} half"
        raise ValueError(
            f"images: expected at least {NUMBERS[objects]} classes with an image that is classified correctly "
            f"with a probability of at least {confidence:g}{where}; got {len(queues)} ({len(chosen)} such "
            "images in all). Lower the confidence or add images."
        )
    return torch.tensor(_draw(queues, count, objects, generator))


def put_together(
    model: Callable[[Tensor], Tensor], images: Tensor, targets: Tensor, members: Tensor, batch_size: int
) -> Grids:
    """Grids of images (M, C, S, S) of classes (M,), given which four are in each: members, (N, 4).

    Args:
        model: from grids to logits, as in `make_grids`; its logits give the ranks.
        batch_size: most grids in one pass.

    Example:
        >>> import torch
        >>> images = torch.eye(4)[:, :, None, None].expand(4, 4, 2, 2)  # image k has channel k alone
        >>> model = lambda x: x.mean((2, 3)) * torch.tensor([1.0, 2.0, 3.0, 4.0])
        >>> put_together(model, images, torch.arange(4), torch.tensor([[3, 2, 1, 0]]), batch_size=1).ranks
        tensor([[0, 1, 2, 3]])
    """
    members = members.to(images.device)
    classes = targets.to(images.device)[members].long()
    grids = assemble(images[members])
    return Grids(grids, classes, members, *ranks_of(model, grids, classes, batch_size))


def ranks_of(
    model: Callable[[Tensor], Tensor], images: Tensor, classes: Tensor, batch_size: int = 64
) -> tuple[Tensor, Tensor]:
    """Place of each class among those given with its image, and among all: int64, (N, k) both, 0 the largest logit.

    Args:
        model: from images to logits (n, K).
        images: (N, C, H, W).
        classes: (N, k), class indices.
        batch_size: most images in one pass.

    Example:
        >>> import torch
        >>> ranks_of(lambda x: x.mean((2, 3)), torch.eye(3)[:1, :, None, None], torch.tensor([[2, 0]]))
        (tensor([[1, 0]]), tensor([[1, 0]]))
    """
    logits = predict(model, images, batch_size).double()
    own = logits.gather(1, classes)
    ranks, class_ranks = ((others[:, None] > own[:, :, None]).sum(2) for others in (own, logits))
    return ranks, class_ranks


def centre_distance(height: int, width: int) -> Tensor:
    """Distance to the centre of an image, in pixels, float64, (height, width).

    Example:
        >>> centre_distance(1, 3)
        tensor([[1., 0., 1.]], dtype=torch.float64)
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


def enlarged(saliency: Tensor, height: int, width: int, expected: str = "maps: expected") -> Tensor:
    """Maps (N, h, w), interpolated bilinearly where they are smaller than (height, width) pixels.

    Args:
        expected: how the error message begins.

    Raises:
        ValueError: values that are not finite, or a map that is larger.

    Example:
        >>> import torch
        >>> enlarged(torch.tensor([[[0.0, 1.0]]]), height=1, width=4)
        tensor([[[0.0000, 0.2500, 0.7500, 1.0000]]])
    """
    if not torch.isfinite(saliency).all():
        raise ValueError(f"{expected} finite values; got NaN or infinity.")
    if saliency.shape[1] > height or saliency.shape[2] > width:
        raise ValueError(
            f"{expected} a map of at most {height} x {width} pixels; got "
            f"{saliency.shape[1]} x {saliency.shape[2]}."
        )
    if saliency.shape[1:] == (height, width):
        return saliency
    return functional.interpolate(saliency[:, None], (height, width), mode="bilinear")[:, 0]


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
    every = {**methods, **fixed}
    todo = itertools.product(every, range(CELLS), range(0, len(grids), batch_size))
    total = len(every) * CELLS * len(grids)
    tables = []
    with tqdm(total=total, desc="grid pointing", unit="map", leave=False, disable=not show_progress) as bar:
        for name, cell, start in todo:
            rows = slice(start, min(start + batch_size, len(grids)))
            target, given = grids.targets[rows, cell], every[name]
            came = given[rows, cell] if isinstance(given, Tensor) else given(grids.images[rows], target)
            saliency = _map_of(name, came, len(target), height, width)
            saliency = pool(smooth(saliency, smoothing).clamp_min(0), square)
            known = {
                "target": target,
                "member": grids.members[rows, cell],
                "rank": grids.ranks[rows, cell],
                "class_rank": grids.class_ranks[rows, cell],
                "rank_auc": rank_auc(saliency, cells[cell]),
                "energy": energy(saliency, cells[cell]),
                "top_share": top_share(saliency, cells[cell], share),
                "right_cell": right_cell(saliency, cells, cell),
            }
            columns = {column: values.cpu().numpy() for column, values in known.items()}
            where = {"method": name, "grid": range(rows.start, rows.stop), "cell": cell}
            tables.append(pd.DataFrame(where | columns))
            bar.update(len(target))
    return pd.concat(tables, ignore_index=True)


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


def _draw(
    queues: dict[int, list[int]], count: int, objects: int, generator: torch.Generator
) -> list[list[int]]:
    """Members of each grid, (count, objects)."""
    labels, used = list(queues), dict.fromkeys(queues, 0)
    grids = []
    for _ in range(count):
        drawn = [labels[i] for i in torch.randperm(len(labels), generator=generator)[:objects].tolist()]
        grids.append([queues[label][used[label] % len(queues[label])] for label in drawn])
        for label in drawn:
            used[label] += 1
    return grids


def _map_of(name: str, attribution: Tensor, count: int, height: int, width: int) -> Tensor:
    """What a method returned as maps (count, height, width) on the CPU."""
    if not isinstance(attribution, Tensor) or attribution.ndim not in (3, 4) or len(attribution) != count:
        came = tuple(attribution.shape) if isinstance(attribution, Tensor) else type(attribution).__name__
        raise ValueError(
            f"methods: expected {name!r} to return a map of shape ({count}, C, h, w) or ({count}, h, w); "
            f"got {came}."
        )
    saliency = sum_channels(attribution.detach()).cpu()
    return enlarged(saliency, height, width, f"methods: expected {name!r} to return")
