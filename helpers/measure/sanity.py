"""Sanity checks of saliency maps: does a map depend on what the network has learnt, and on the class?

Three questions, each with a table of plain numbers for an answer.

- `randomisation`: weights are replaced by untrained ones, layer by layer from the output down, and each map
  is compared with that of the intact model (Adebayo et al. 2018, arXiv 1810.03292). A map that stays as it
  was does not show what the network has learnt: edges of the image never change.
- `agreement`: the same comparison for any two sets of maps, for example those of a network that was trained
  on shuffled labels.
- `class_overlap`: how much of its largest squares a map shares with that of another class, in proportion to
  what it shares with itself on an image that is moved by a pixel.

Methods are anything with captum's call, ``attribute(inputs, target=...)``, given as functions that make them
for a model (for example `helpers.saliency.presets.contrasts`), because methods hold their model.
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Protocol

import numpy as np
import pandas as pd
import torch
from skimage.metrics import structural_similarity
from torch import Tensor, nn
from torch.nn import functional

from helpers.measure.maps import overlap, smooth, spearman, sum_channels
from helpers.saliency.cut import hooked
from helpers.saliency.scores import class_indices
from helpers.zoo.networks import predict

INTACT = "intact"
# A pixel down, up, right, left.
SHIFTS = ((1, 0), (-1, 0), (0, 1), (0, -1))
# scikit-image's window for the structural similarity, in pixels.
WINDOW = 7
_NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm)


class Explainer(Protocol):
    """What explains: captum's call, or that of `measure.peers`, `saliency.method`, `saliency.presets`.

    Example:
        >>> import torch
        >>> class Ink:
        ...     def attribute(self, inputs, target=None):
        ...         return inputs
        >>> image = torch.arange(81.0).reshape(1, 1, 9, 9)
        >>> class_overlap(Ink(), image, torch.tensor([[3, 7]]))["between"].item()  # it does not see the class
        1.0
    """

    def attribute(self, inputs: Tensor, target=None) -> Tensor: ...


Make = Callable[[nn.Module], Explainer]


def weight_layers(model: nn.Module, inputs: Tensor) -> list[list[str]]:
    """Names of the modules with parameters, in the order in which the model calls them for these inputs.

    A list for each layer with weights: its name, and those of the normalisations called right after it, whose
    scale and running statistics belong to it.

    Raises:
        TypeError: parameters that `reset_parameters` of no module would reach; no parameters at all.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> layers = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2)
        >>> weight_layers(nn.Sequential(*layers).eval(), torch.zeros(1, 1, 4, 4))
        [['0', '1'], ['4']]
    """
    names = {module: name for name, module in model.named_modules()}
    own = [m for m in names if next(m.parameters(recurse=False), None) is not None]
    fixed = [names[m] or "the model itself" for m in own if not hasattr(m, "reset_parameters")]
    if fixed or not own:
        raise TypeError(
            "model: expected modules whose parameters can be drawn anew (with reset_parameters); got "
            f"{'parameters of ' + ', '.join(fixed) + ' without it' if fixed else 'no parameters'}. Give such "
            "a module a method reset_parameters."
        )
    called: list[nn.Module] = []

    def note(module: nn.Module, arguments, outputs) -> None:
        if module not in called:
            called.append(module)

    with torch.no_grad(), ExitStack() as stack:
        for module in own:
            stack.enter_context(hooked(module, note))
        model(inputs[:1].clone())
    layers: list[list[str]] = []
    for module in called:
        if layers and isinstance(module, _NORMS):
            layers[-1].append(names[module])
        else:
            layers.append([names[module]])
    return layers


def randomised(model: nn.Module, layers: Sequence[str], seed: int = 0) -> nn.Module:
    """A deep copy of the model with the named modules' parameters drawn anew, by their `reset_parameters`.

    A batch normalisation also forgets its running statistics. A module's draws depend on the seed and on its
    name alone: not on which others are drawn with it. The model and torch's global generators stay as they
    are.

    Args:
        layers: names as in ``model.named_modules()``.

    Raises:
        ValueError: a name that the model does not have.

    Example:
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))
        >>> drawn = randomised(model, ["2"])
        >>> drawn[0].weight.equal(model[0].weight), drawn[2].weight.equal(model[2].weight)
        (True, False)
    """
    drawn = copy.deepcopy(model)
    modules = dict(drawn.named_modules())
    unknown = [name for name in layers if name not in modules]
    if unknown:
        raise ValueError(f"layers: expected names of the model's modules; got {unknown[0]!r}.")
    with torch.random.fork_rng(range(torch.cuda.device_count())):
        for name in layers:
            torch.manual_seed((seed * 1_000_003 + list(modules).index(name)) % 2**63)
            modules[name].reset_parameters()
    return drawn


def cascade(model: nn.Module, inputs: Tensor, seed: int = 0) -> Iterator[tuple[str, nn.Module]]:
    """The model itself, named `INTACT`, and copies with ever more layers drawn anew, from the output down.

    Args:
        model: from inputs (N, ...) to outputs (N, K), in eval mode.
        inputs: one of them is passed through the model, to see the order of the layers.
        seed: of the new parameters.

    Yields:
        Name of the layer that was drawn last, and the model: the last one has no trained parameter left.

    Raises:
        TypeError: what `weight_layers` raises.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))
        >>> [name for name, drawn in cascade(model, torch.zeros(1, 2))]  # the output's layer first
        ['intact', '2', '0']
    """
    yield INTACT, model
    drawn: list[str] = []
    for layer in reversed(weight_layers(model, inputs)):
        drawn += layer
        yield layer[0], randomised(model, drawn, seed)


def randomisation(
    model: nn.Module,
    methods: Mapping[str, Make],
    inputs: Tensor,
    target=None,
    inside: Tensor | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Agreement with the intact model's maps while ever more layers are drawn anew, from the output down.

    Adebayo et al. 2018, arXiv 1810.03292, "cascading randomisation". The explained class stays that of the
    intact model, also where the other models predict another.

    Args:
        model: from images (N, C, H, W) to outputs (N, K), in eval mode.
        methods: name -> function that makes the method for a model.
        inputs: images (N, C, H, W).
        target: class index, one for all or one per example; None: the class that the intact model predicts.
        inside, and the measures: as in `agreement`.
        seed: of the new parameters.

    Returns:
        One row a (stage, method, example); columns stage (0: intact), layer (the last one drawn, or
        `INTACT`), method, and those of `agreement`. Stage 0 compares the intact model's map with itself.

    Raises:
        TypeError, ValueError: no method, what `weight_layers`, `agreement` and the methods raise.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from helpers.measure.peers import Gradient
        >>> model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(4 * 36, 3))
        >>> table = randomisation(model, {"gradient": Gradient}, torch.rand(2, 1, 8, 8))
        >>> table.groupby("layer", sort=False)["spearman"].mean().round(3)[INTACT].item(), len(table)
        (1.0, 6)
    """
    if not methods:
        raise ValueError("methods: expected at least one, name -> function of the model; got none.")
    if target is None:
        target = predict(model, inputs).argmax(1)
    tables, intact = [], {}
    for stage, (layer, drawn) in enumerate(cascade(model, inputs, seed)):
        for name, make in methods.items():
            maps = _maps(make(drawn), inputs, target)
            intact.setdefault(name, maps)
            table = agreement(intact[name], maps, inside)
            for place, (column, value) in enumerate((("stage", stage), ("layer", layer), ("method", name))):
                table.insert(place, column, value)
            tables.append(table)
    return pd.concat(tables, ignore_index=True)


def agreement(first: Tensor, second: Tensor, inside: Tensor | None = None) -> pd.DataFrame:
    """How alike maps of the same images are: rank correlations and structural similarity.

    **Ties.** Where an image is 0, whatever is multiplied by it is 0, under every model: two such maps agree
    there for no other reason, and their correlation over the whole image reflects the ink. So the
    correlations come twice, over the whole image and over the places `inside` (the ink). Tied values share
    the mean of their ranks; a constant map correlates with nothing (0).

    Args:
        first, second: maps (N, C, H, W), the channels of which are summed, or (N, H, W); finite.
        inside: bool, (N, H, W), (N, 1, H, W) or (H, W), at least two places each; None: columns for it are
            left out.

    Returns:
        One row an example; columns

        - example: its number;
        - spearman: Spearman's correlation of the signed maps, -1 to 1;
        - spearman_magnitude: that of their magnitudes, which ignores a change of sign;
        - spearman_inside, spearman_magnitude_inside: the same over the places inside;
        - ssim: structural similarity of the magnitudes, each divided by the map's largest (Wang et al. 2004;
          scikit-image, windows of 7 x 7). Not of signed maps, of which it takes a reversed one for similar:
          means and deviations both change sign, and their product does not. It is 1 where both maps are flat,
          so on a wide empty background it is large for any two. NaN for maps smaller than the window.

    Raises:
        TypeError: inside is not of dtype bool.
        ValueError: shapes that differ, values that are not finite, fewer than two places inside.

    Example:
        >>> import torch
        >>> first = torch.arange(64.0).reshape(1, 8, 8)
        >>> agreement(first, -first).round(3).to_dict("records")  # the sign alone differs
        [{'example': 0, 'spearman': -1.0, 'spearman_magnitude': 1.0, 'ssim': 1.0}]
    """
    first, second = sum_channels(first.detach()), sum_channels(second.detach())
    columns = {
        "spearman": spearman(first, second),
        "spearman_magnitude": spearman(first.abs(), second.abs()),
    }
    if inside is not None:
        chosen = _places(inside, first)
        pairs = [
            (a[places][None], b[places][None]) for a, b, places in zip(first, second, chosen, strict=True)
        ]
        columns["spearman_inside"] = [spearman(a, b).item() for a, b in pairs]
        columns["spearman_magnitude_inside"] = [spearman(a.abs(), b.abs()).item() for a, b in pairs]
    columns["ssim"] = [_similarity(a, b) for a, b in zip(first, second, strict=True)]
    table = pd.DataFrame({name: np.asarray(values, dtype=float) for name, values in columns.items()})
    table.insert(0, "example", range(len(table)))
    return table


def shifted(images: Tensor, down: int, right: int) -> Tensor:
    """Images (N, C, H, W) moved by whole pixels; what comes in at the border repeats it.

    Raises:
        ValueError: a shift by the image's size or more.

    Example:
        >>> import torch
        >>> shifted(torch.arange(4.0).reshape(1, 1, 1, 4), down=0, right=1)
        tensor([[[[0., 0., 1., 2.]]]])
    """
    height, width = images.shape[-2:]
    if abs(down) >= height or abs(right) >= width:
        raise ValueError(
            f"shift: expected less than the image's {height} x {width} pixels; got {(down, right)}."
        )
    padding = (max(right, 0), max(-right, 0), max(down, 0), max(-down, 0))
    padded = functional.pad(images, padding, mode="replicate")
    return padded[..., max(-down, 0) :, max(-right, 0) :][..., :height, :width]


def class_overlap(
    method: Explainer,
    inputs: Tensor,
    classes: Tensor,
    again: Explainer | None = None,
    shifts: Sequence[tuple[int, int]] = SHIFTS,
    share: float = 0.05,
    widths: Sequence[float] = (0.0,),
) -> pd.DataFrame:
    """What maps of two classes have in common, in proportion to what maps of one class have in common.

    `between`: share of the largest squares that the maps of two classes share, for the same image. `within`:
    the same for maps of one class, of the image and of the image moved a little (its map is moved back), the
    mean over both classes and all shifts. A map that is noise shares nothing with another class, nor with
    itself: only their ratio speaks of the class. It is 0 for maps that have nothing in common, and 1 for a map
    that does not care about the class.

    Args:
        method: what explains.
        inputs: images (N, C, H, W).
        classes: (N, 2), the two classes of each image, different ones.
        again: explains the moved images: the same with other seeds; None: the method itself.
        shifts: by how many pixels down and right; (0, 0) for other seeds alone.
        share: how many of all squares count as the largest, as in `helpers.measure.maps.overlap`.
        widths: of the Gaussians that all maps get first, in pixels; wide maps overlap more with everything,
            so methods are to be compared at one width.

    Returns:
        One row a (width, image); columns width, example, first, second (the classes), between, within, ratio
        (NaN where within is 0).

    Raises:
        ValueError: classes of another shape or equal ones, no shifts, no widths, and what the method raises.

    Example:
        >>> import torch
        >>> from helpers.zoo.networks import digit_net
        >>> from helpers.measure.peers import Gradient
        >>> image = torch.zeros(1, 1, 28, 28)
        >>> image[..., 4:24, 13:15] = 1
        >>> table = class_overlap(Gradient(digit_net()), image, torch.tensor([[1, 7]]), shifts=[(0, 1)])
        >>> table["ratio"].item() < 1  # the map of the 7 is another one
        True
    """
    if classes.shape != (len(inputs), 2):
        raise ValueError(
            f"classes: expected two for each image, shape {(len(inputs), 2)}; got {tuple(classes.shape)}."
        )
    if (classes[:, 0] == classes[:, 1]).any():
        raise ValueError("classes: expected two different ones for each image; got the same twice.")
    for name, values in (("shifts", shifts), ("widths", widths)):
        if not len(values):
            raise ValueError(f"{name}: expected at least one; got none.")
    here = [_maps(method, inputs, target) for target in classes.T]
    there = []
    for down, right in shifts:
        moved = shifted(inputs, down, right)
        maps = [_maps(again or method, moved, target) for target in classes.T]
        there.append((down, right, maps))
    tables = []
    for width in widths:
        own = [smooth(maps, width) for maps in here]
        same = [
            overlap(kept, shifted(smooth(other, width)[:, None], -down, -right)[:, 0], share)
            for down, right, maps in there
            for kept, other in zip(own, maps, strict=True)
        ]
        between, within = overlap(*own, share), torch.stack(same).mean(0)
        columns = {
            "width": float(width),
            "example": range(len(inputs)),
            "first": classes[:, 0].tolist(),
            "second": classes[:, 1].tolist(),
            "between": between.tolist(),
            "within": within.tolist(),
            "ratio": torch.where(within > 0, between / within, torch.nan).tolist(),
        }
        tables.append(pd.DataFrame(columns))
    return pd.concat(tables, ignore_index=True)


def _maps(method: Explainer, inputs: Tensor, target) -> Tensor:
    """The maps of a method, (N, H, W), on the CPU."""
    classes = target if target is None else class_indices(target, len(inputs), 2**62)
    return sum_channels(method.attribute(inputs, target=classes).detach()).cpu()


def _places(inside: Tensor, maps: Tensor) -> Tensor:
    """The mask as (N, H, W)."""
    if inside.dtype != torch.bool:
        raise TypeError(f"inside: expected dtype bool, True inside; got {inside.dtype}.")
    if inside.ndim == 4 and inside.shape[1] == 1:
        inside = inside[:, 0]
    if inside.shape not in (maps.shape, maps.shape[1:]):
        raise ValueError(
            f"inside: expected the shape of the maps, {tuple(maps.shape)}; got {tuple(inside.shape)}."
        )
    inside = inside.to(maps.device).expand(maps.shape)
    if (inside.flatten(1).sum(1) < 2).any():
        raise ValueError("inside: expected at least two places for each example; got fewer.")
    return inside


def _similarity(first: Tensor, second: Tensor) -> float:
    """Structural similarity of the magnitudes of two maps (H, W), each divided by its largest."""
    if min(first.shape) < WINDOW:
        return float("nan")
    planes = []
    for saliency in (first, second):
        magnitude = saliency.double().abs()
        planes.append((magnitude / magnitude.max().clamp_min(torch.finfo(torch.float64).tiny)).cpu().numpy())
    return float(structural_similarity(*planes, win_size=WINDOW, data_range=1.0))
