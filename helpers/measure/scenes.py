"""Scenes of several objects at known places: mosaics, a photo within a photo, planted digits; pointing in them."""

from collections.abc import Callable
from dataclasses import dataclass, fields

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional

from helpers.checks import require_count
from helpers.measure.grids import CELLS, Grids, draw_members, enlarged, ranks_of
from helpers.measure.maps import pool, rank_auc, smooth
from helpers.zoo.networks import plant


@dataclass(frozen=True, eq=False)
class Scenes:
    """Images of k objects of distinct classes each, and where these are.

    Attributes:
        images: (N, C, H, W), dtype and values of the images that the scenes were made of.
        targets: int64, (N, k), the class of each object.
        masks: bool, (N, k, H, W), the pixels of each object.
        members: int64, (N, k), the number of each object's image in the set that the scenes were made of.
        ranks: int64, (N, k), place of each object's class among the k, under the model on the scene: 0 is the
            best-ranked one.
        class_ranks: int64, (N, k), the same among all classes of the model: 0 is the predicted class.

    Example:
        >>> import torch
        >>> images = torch.eye(3)[:, :, None, None].expand(3, 3, 8, 8)  # image k has channel k alone
        >>> scenes = insets(images, torch.arange(3), lambda x: 20 * x.mean((2, 3)), count=4)
        >>> len(scenes), scenes[:2].masks.shape
        (4, torch.Size([2, 2, 8, 8]))
    """

    images: Tensor
    targets: Tensor
    masks: Tensor
    members: Tensor
    ranks: Tensor
    class_ranks: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows: slice) -> "Scenes":
        """Some of the scenes."""
        return Scenes(*(getattr(self, field.name)[rows] for field in fields(self)))


def of_grids(grids: Grids) -> Scenes:
    """2x2 grids as scenes of four objects, each of which fills its cell.

    Example:
        >>> import torch
        >>> from helpers.measure.grids import make_grids
        >>> images = torch.eye(4)[:, :, None, None].expand(4, 4, 2, 2)  # image k has channel k alone
        >>> scenes = of_grids(make_grids(images, torch.arange(4), lambda x: 20 * x.mean((2, 3)), count=3))
        >>> scenes.masks.shape, bool((scenes.masks.sum(1) == 1).all())
        (torch.Size([3, 4, 4, 4]), True)
    """
    cells = torch.stack([grids.cell_mask(cell) for cell in range(CELLS)])
    masks = cells.to(grids.images.device).expand(len(grids), -1, -1, -1)
    return Scenes(grids.images, grids.targets, masks, grids.members, grids.ranks, grids.class_ranks)


def insets(
    images: Tensor,
    targets: Tensor,
    model: nn.Module | Callable[[Tensor], Tensor],
    count: int,
    confidence: float = 0.9,
    seed: int = 0,
    part: str | None = None,
    probabilities: Tensor | None = None,
    low: float = 0.25,
    high: float = 0.5,
    batch_size: int = 64,
) -> Scenes:
    """A photo at a random place of another one, of another class: two objects, the background and the inset.

    The inset is resized bilinearly, with antialiasing. Its mask is its rectangle, that of the background the rest.

    Args:
        low, high: least and largest side of the inset, as a share of the background's, 0 < low <= high < 1; drawn
            uniformly, and the place likewise.
        batch_size: most images in one pass.
        The others are those of `helpers.measure.grids.make_grids`: the two images must be classified correctly,
        with confidence, when alone and of full size.

    Raises:
        ValueError: a wrong argument, or fewer than two classes with a confidently classified image (in that
            half).

    Example:
        >>> import torch
        >>> images = torch.eye(3)[:, :, None, None].expand(3, 3, 8, 8)  # image k has channel k alone
        >>> model = lambda x: 20 * x.mean((2, 3))
        >>> scenes = insets(images, torch.arange(3), model, count=2, low=0.5, high=0.5)
        >>> scenes.masks.sum((2, 3)).tolist(), scenes.ranks.tolist()  # pixels; the larger object is ranked first
        ([[48, 16], [48, 16]], [[0, 1], [0, 1]])
    """
    if not 0 < low <= high < 1:
        raise ValueError(f"low, high: expected 0 < low <= high < 1; got {low!r} and {high!r}.")
    generator = torch.Generator().manual_seed(seed)
    members = draw_members(
        images, targets, model, count, 2, generator, confidence, part, probabilities, batch_size
    ).to(images.device)
    full = torch.tensor(images.shape[-2:])
    shares = low + (high - low) * torch.rand(count, 1, generator=generator)
    places = torch.rand(count, 2, generator=generator)
    sizes = (shares * full).round().long().clamp_min(1)
    corners = (places * (full - sizes + 1)).long().minimum(full - sizes)
    scenes = images[members[:, 0]].clone()
    for row, ((top, left), (height, width)) in enumerate(zip(corners.tolist(), sizes.tolist(), strict=True)):
        scenes[row, :, top : top + height, left : left + width] = functional.interpolate(
            images[members[row, 1:]], (height, width), mode="bilinear", antialias=True
        )[0]
    inside = _boxes(corners, sizes, *images.shape[-2:])
    return _scenes(model, scenes, targets, torch.stack([~inside, inside], 1), members, batch_size)


def planted(
    images: Tensor,
    targets: Tensor,
    model: nn.Module | Callable[[Tensor], Tensor],
    count: int,
    side: int = 84,
    objects: int = 3,
    confidence: float = 0.9,
    seed: int = 0,
    part: str | None = None,
    probabilities: Tensor | None = None,
    batch_size: int = 64,
) -> Scenes:
    """Digits at random places of an empty canvas, without overlap (`helpers.zoo.networks.plant`).

    The mask of an object is the box of its image, 28 x 28 px for those of MNIST; what lies in no box is empty.

    Args:
        images: (M, C, h, w), background 0.
        side: of the canvas, in px; the model must take images of that size.
        objects: how many are in each scene, of distinct classes: 2, 3 or 4.
        batch_size: most scenes, or images, in one pass.
        The others are those of `helpers.measure.grids.make_grids`.

    Raises:
        ValueError: a wrong argument, a canvas that is too small, or fewer classes than objects with a confidently
            classified image (in that half).

    Example:
        >>> import torch
        >>> images = torch.eye(4)[:, :, None, None].expand(4, 4, 2, 2)  # image k has channel k alone
        >>> model = lambda x: 20 * x.amax((2, 3))
        >>> scenes = planted(images, torch.arange(4), model, count=5, side=6, objects=2)
        >>> scenes.images.shape, scenes.masks.sum((2, 3)).unique()
        (torch.Size([5, 4, 6, 6]), tensor([4]))
    """
    require_count("side", side)
    generator = torch.Generator().manual_seed(seed)
    members = draw_members(
        images, targets, model, count, objects, generator, confidence, part, probabilities, batch_size
    ).to(images.device)
    canvases, corners = plant(images[members], side, generator)
    masks = _boxes(corners, torch.tensor(images.shape[-2:]), side, side)
    return _scenes(model, canvases, targets, masks, members, batch_size)


def pointing(maps: Tensor, scenes: Scenes, square: int = 1, smoothing: float = 0.0) -> pd.DataFrame:
    """How well the map of each object's class tells the object from the rest of its scene.

    The rule is that of `helpers.measure.grids.grid_pointing`: a map that is smaller than the scene is interpolated
    bilinearly to its size; it is smoothed, its positive part taken, and averaged over squares. Squares that lie
    wholly in the object are compared with those wholly outside it; mixed ones count nowhere.

    Args:
        maps: (N, k, h, w), one map a scene and object, positive = supports the object's class; at most H x W.
        square: side of a square in pixels; it must divide H and W.
        smoothing: standard deviation of the Gaussian blur in pixels.

    Returns:
        One row a (scene, object), with columns scene, object, target, member, rank, class_rank (see `Scenes`),
        rank_auc (chance 0.5).

    Raises:
        ValueError: maps of another shape, larger or not finite; a square that does not fit, or that is so large
            that an object holds none.

    Example:
        >>> import torch
        >>> images = torch.eye(4)[:, :, None, None].expand(4, 4, 2, 2)  # image k has channel k alone
        >>> model = lambda x: 20 * x.amax((2, 3))
        >>> scenes = planted(images, torch.arange(4), model, count=2, side=6, objects=2)
        >>> pointing(scenes.masks.float(), scenes)[["scene", "object", "rank_auc"]].values.tolist()
        [[0.0, 0.0, 1.0], [0.0, 1.0, 1.0], [1.0, 0.0, 1.0], [1.0, 1.0, 1.0]]
    """
    count, objects, height, width = scenes.masks.shape
    if not isinstance(maps, Tensor) or maps.ndim != 4 or maps.shape[:2] != (count, objects):
        came = tuple(maps.shape) if isinstance(maps, Tensor) else type(maps).__name__
        raise ValueError(f"maps: expected shape ({count}, {objects}, h, w); got {came}.")
    saliency = enlarged(maps.detach().cpu().flatten(0, 1), height, width)
    saliency = pool(smooth(saliency, smoothing).clamp_min(0), square)
    shares = pool(scenes.masks.cpu().flatten(0, 1).double(), square)
    inside, outside = shares == 1, shares == 0
    if not (inside.any((1, 2)) & outside.any((1, 2))).all():
        raise ValueError(
            "square: expected squares that lie wholly inside, and some wholly outside, each object; got "
            f"{square} px, too large for some."
        )
    counted = inside | outside
    known = {
        name: values.flatten().cpu().numpy()
        for name, values in {
            "scene": torch.arange(count)[:, None].expand(count, objects),
            "object": torch.arange(objects).expand(count, objects),
            "target": scenes.targets,
            "member": scenes.members,
            "rank": scenes.ranks,
            "class_rank": scenes.class_ranks,
        }.items()
    }
    scores = [
        rank_auc(saliency[row][counted[row]][None], inside[row][counted[row]][None]).item()
        for row in range(count * objects)
    ]
    return pd.DataFrame(known | {"rank_auc": scores})


def _scenes(
    model: Callable[[Tensor], Tensor],
    images: Tensor,
    targets: Tensor,
    masks: Tensor,
    members: Tensor,
    batch_size: int,
) -> Scenes:
    """Scenes of images of classes (M,), given which of them are in each."""
    classes = targets.to(images.device)[members].long()
    ranks = ranks_of(model, images, classes, batch_size)
    return Scenes(images, classes, masks.to(images.device), members, *ranks)


def _boxes(corners: Tensor, sizes: Tensor, height: int, width: int) -> Tensor:
    """Masks of boxes with those top left corners and sizes, (..., 2) in px: bool, (..., height, width)."""
    start, stop = corners[..., None], (corners + sizes)[..., None]
    down, right = (
        (start[..., axis, :] <= torch.arange(size)) & (torch.arange(size) < stop[..., axis, :])
        for axis, size in enumerate((height, width))
    )
    return down[..., :, None] & right[..., None, :]
