"""Which layers of an image network are worth explaining, and how what they return is read as maps."""

from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack

import torch
from torch import Tensor, nn

from helpers.saliency.cut import eager, hooked, original, prepared, probed

CHAINS = (nn.Sequential, nn.ModuleList)
MOST_EXTRA = 16  # class and register tokens that may stand before those of the patches


def blocks(model: nn.Module, inputs: Tensor) -> dict[str, nn.Module]:
    """The blocks of an image network, name -> module, in the order of a pass.

    A block is a module with parts of its own that stands in a sequence (nn.Sequential, nn.ModuleList), in no
    other block, is called once in a pass and returns feature maps (`as_maps`), through which everything passes and
    on which the outputs depend. A network without such (a plain sequence of layers, branches that are joined) has
    instead the last module of each resolution, its activation included.

    Args:
        inputs: one image, (1, C, H, W).

    Returns:
        Modules that return maps of the image's proportions with h, w > 1; empty where the network has none.

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


def as_maps(values: Tensor, size: Sequence[int] | None) -> Tensor:
    """What a layer makes of images, as maps (N, c, h, w): channels first or last, or tokens (N, T, c).

    Of tokens the last h * w are the patches, row by row; class and register tokens before them are left out.
    Anything else, and everything without a size, is returned as it is.

    Args:
        size: height and width of the images, in px.

    Example:
        >>> tokens = torch.arange(5.0).reshape(1, 5, 1)  # a class token, and 2 x 2 patches
        >>> as_maps(tokens, (32, 32))
        tensor([[[[1., 2.],
                  [3., 4.]]]])
    """
    if size is None:
        return values
    if values.ndim == 3 and (grid := _grid(values.shape[1], size)):
        return values[:, -grid[0] * grid[1] :].transpose(1, 2).unflatten(2, grid)
    if values.ndim == 4 and not _fits(values.shape[2:], size) and _fits(values.shape[1:3], size):
        return values.permute(0, 3, 1, 2)
    return values


def _grid(tokens: int, size: Sequence[int]) -> tuple[int, int] | None:
    """Rows and columns of patches among so many tokens, in exactly the image's proportions."""
    height, width = size
    for extra in range(MOST_EXTRA + 1):
        rows = round((max(tokens - extra, 0) * height / width) ** 0.5)
        columns = (tokens - extra) // rows if rows else 0
        if rows > 1 < columns and rows * columns == tokens - extra and rows * width == columns * height:
            return rows, columns
    return None


def _fits(shape: Sequence[int], size: Sequence[int]) -> bool:
    """Whether that is a height and a width in the image's proportions, up to rounding."""
    (height, width), (full_height, full_width) = shape, size
    within = 1 < height <= full_height and 1 < width <= full_width
    return within and abs(height * full_width - width * full_height) <= max(full_height, full_width)


def _feature_maps(model: nn.Module, inputs: Tensor) -> list[tuple[str, nn.Module, tuple[int, int]]]:
    """Name, module and resolution of every block, or of the last module of each resolution."""
    if inputs.ndim != 4 or len(inputs) != 1:
        raise ValueError(f"inputs: expected one image, (1, C, H, W); got shape {tuple(inputs.shape)}.")
    model = original(model)
    names = {module: name for name, module in model.named_modules() if module is not model}
    maps = _on_every_path(model, list(names), inputs)
    standing = _in_sequences(model, {module for module, _ in maps})
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


def _on_every_path(
    model: nn.Module, modules: list[nn.Module], inputs: Tensor
) -> list[tuple[nn.Module, tuple[int, int]]]:
    """The modules that return maps in their only call of a pass, and the maps' size, in the order of the pass.

    Left out are those that something passes by on its way from the input to the outputs (branches), and those on
    whose maps the outputs do not depend (the patches behind a transformer's last attention).
    """
    calls: list[tuple[nn.Module, Tensor | None, object]] = []

    def note(module, arguments, output):
        maps = as_maps(output, inputs.shape[2:]) if isinstance(output, Tensor) else None
        is_map = maps is not None and maps.ndim == 4 and _fits(maps.shape[2:], inputs.shape[2:])
        calls.append((module, output if is_map else None, getattr(output, "grad_fn", None)))

    leaf = inputs.detach().clone().requires_grad_()
    with torch.enable_grad(), eager(), ExitStack() as stack:
        for module in modules:
            stack.enter_context(hooked(module, note))
        outputs = model(leaf.clone())
    counts = Counter(module for module, _, _ in calls)
    found = [call for call in calls if call[1] is not None and counts[call[0]] == 1]
    if isinstance(outputs, Tensor) and outputs.requires_grad:
        through = [
            call for call in found if call[2] is not None and not passes_by(outputs.grad_fn, leaf, call[2])
        ]
        places = [output for _, output, _ in through]
        with prepared():
            gradients = torch.autograd.grad(probed(outputs), places, allow_unused=True) if places else ()
        size = inputs.shape[2:]
        depended_on = [
            call
            for call, gradient in zip(through, gradients, strict=True)
            if gradient is not None and (gradient.ndim == 4 or as_maps(gradient, size).any())
        ]
        found = depended_on or through  # nothing at all depends on anything: a last layer of zeros
    return [(module, tuple(as_maps(output, inputs.shape[2:]).shape[2:])) for module, output, _ in found]


def passes_by(end, leaf: Tensor, node) -> bool:
    """Whether autograd's graph has a path from its end to the leaf on which the node does not lie.

    Example:
        >>> leaf = torch.ones(1, requires_grad=True)
        >>> inside = leaf.exp()
        >>> [passes_by(end.grad_fn, leaf, inside.grad_fn) for end in (inside + 1, inside + leaf)]
        [False, True]
    """
    seen, waiting = {node}, [end]
    while waiting:
        place = waiting.pop()
        if place is None or place in seen:
            continue
        if getattr(place, "variable", None) is leaf:
            return True
        seen.add(place)
        waiting += [before for before, _ in place.next_functions]
    return False


def _in_sequences(model: nn.Module, maps: set[nn.Module]) -> set[nn.Module]:
    """Modules that return maps and have parts of their own, in a sequence, and in no other such module."""
    chosen: dict[str, nn.Module] = {}
    for path, chain in model.named_modules():
        # A subclass of Sequential with a name of its own (a convolution with its norm) is a block, not a chain.
        if type(chain) not in CHAINS or any(path.startswith(f"{block}.") for block in chosen):
            continue
        for name, part in chain.named_children():
            if part in maps and type(part) not in CHAINS and any(True for _ in part.children()):
                chosen[f"{path}.{name}".lstrip(".")] = part
    return set(chosen.values())
