"""Which layers of an image network are worth explaining: its blocks, and the last of each resolution."""

from collections import Counter
from contextlib import ExitStack

import torch
from torch import Tensor, nn

from helpers.saliency.cut import eager, hooked, original

CHAINS = (nn.Sequential, nn.ModuleList)


def blocks(model: nn.Module, inputs: Tensor) -> dict[str, nn.Module]:
    """The blocks of an image network, name -> module, in the order of a pass.

    A block is a module with parts of its own that stands in a sequence (nn.Sequential, nn.ModuleList), in no
    other block, is called once in a pass and returns feature maps. A network without such (a plain sequence of
    layers, a vision transformer) has instead the last module of each resolution, its activation included.

    Args:
        inputs: one image, (1, C, H, W).

    Returns:
        Modules that return maps (1, c, h, w) of the image's proportions with h, w > 1; empty where the network
        has none.

    Raises:
        ValueError: inputs of another shape.

    Example:
        >>> import torch
        >>> from helpers.zoo.networks import DigitNet
        >>> list(blocks(DigitNet().eval(), torch.zeros(1, 1, 28, 28)))  # at 28, 14 and 7 px
        ['features.2', 'features.8', 'classifier']
    """
    return {name: module for name, module, _ in _feature_maps(model, inputs)}


def stages(model: nn.Module, inputs: Tensor) -> list[nn.Module]:
    """The last of the `blocks` at each resolution, from fine to coarse.

    Args, raises: as `blocks`.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Conv2d(1, 4, 1), nn.ReLU(), nn.Conv2d(4, 8, 2, stride=2), nn.ReLU())
        >>> fine, coarse = stages(model, torch.zeros(1, 1, 8, 8))
        >>> fine is model[1], coarse is model[3]
        (True, True)
    """
    return list({size: module for _, module, size in _feature_maps(model, inputs)}.values())


def _feature_maps(model: nn.Module, inputs: Tensor) -> list[tuple[str, nn.Module, tuple[int, int]]]:
    """Name, module and resolution of every block, or of the last module of each resolution."""
    if inputs.ndim != 4 or len(inputs) != 1:
        raise ValueError(f"inputs: expected one image, (1, C, H, W); got shape {tuple(inputs.shape)}.")
    calls: list[tuple[nn.Module, tuple[int, int] | None]] = []

    def note(module, arguments, output):
        calls.append((module, _resolution(output, inputs)))

    model = original(model)
    names = {module: name for name, module in model.named_modules() if module is not model}
    with torch.no_grad(), eager(), ExitStack() as stack:
        for module in names:
            stack.enter_context(hooked(module, note))
        model(inputs.clone())
    counts = Counter(module for module, _ in calls)
    maps = [(module, size) for module, size in calls if size and counts[module] == 1]
    standing = _in_sequences(model)
    found = [(names[module], module, size) for module, size in maps if module in standing]
    if found:
        return found
    last: dict[tuple[int, int], nn.Module] = {}
    for module, size in maps:
        # Padding and pooling make sizes of their own that are no stage of the network: they have no parameters.
        # A sequence returns what its last module returns.
        if type(module) in CHAINS:
            continue
        if size in last or next(module.parameters(), None) is not None:
            last.pop(size, None)
            last[size] = module
    return [(names[module], module, size) for size, module in last.items()]


def _resolution(output, inputs: Tensor) -> tuple[int, int] | None:
    """Height and width of feature maps in the image's proportions; None for anything else."""
    if not isinstance(output, Tensor) or output.ndim != 4:
        return None
    (height, width), (full_height, full_width) = output.shape[2:], inputs.shape[2:]
    fits = 1 < height <= full_height and 1 < width <= full_width
    # Maps with the channels last are none: their proportions differ by more than rounding.
    proportional = abs(height * full_width - width * full_height) <= max(full_height, full_width)
    return (height, width) if fits and proportional else None


def _in_sequences(model: nn.Module) -> set[nn.Module]:
    """Modules with parts of their own that stand in a sequence, and in no other such module."""
    chosen: dict[str, nn.Module] = {}
    for path, chain in model.named_modules():
        # A subclass of Sequential with a name of its own (a convolution with its norm) is a block, not a chain.
        if type(chain) not in CHAINS or any(path.startswith(f"{block}.") for block in chosen):
            continue
        for name, part in chain.named_children():
            if type(part) not in CHAINS and any(True for _ in part.children()):
                chosen[f"{path}.{name}".lstrip(".")] = part
    return set(chosen.values())
