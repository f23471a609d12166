"""The model as the coordinates see it: checked outputs, examples by their numbers, cut at a layer.

Explaining a layer means many passes through what comes after it and one through what comes before. Where the
model can be traced (`torch.fx`), it is cut at the layer; elsewhere a hook replaces the layer's output in a
pass through the whole model.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

CHAINS = (nn.Sequential, nn.ModuleList)


class Forward:
    """A model bound to the N examples of one run.

    Args:
        function: module or function from inputs (n, ...) and additional arguments to outputs (n, K).
        arguments: what follows the input: None, one argument or a tuple; tensors whose dimension 0 is N are
            split like the examples.
        examples: N.
        internal_batch_size: most examples in one pass; None: all.

    Example:
        >>> import torch
        >>> scales = torch.tensor([1.0, 10.0])  # an additional argument, one for each of two examples
        >>> forward = Forward(lambda x, scale: x * scale[:, None], scales, examples=2)
        >>> forward(torch.ones(1, 1), rows=torch.tensor([1]))
        tensor([[10.]])
    """

    def __init__(self, function: Callable, arguments=None, examples: int = 1, internal_batch_size=None):
        self.function = function
        self.arguments = (
            () if arguments is None else arguments if isinstance(arguments, tuple) else (arguments,)
        )
        self.examples = examples
        self.internal_batch_size = internal_batch_size

    def __call__(self, points: Tensor, rows: Tensor) -> Tensor:
        """Outputs (n, K) of the points (n, ...) that stand for the examples with those numbers.

        Raises:
            TypeError, ValueError: the model returns something else.
        """
        outputs = self.function(points, *self.arguments_of(rows))
        if not isinstance(outputs, Tensor):
            raise TypeError(
                f"forward_func: expected one tensor of outputs; got {type(outputs).__name__}. "
                "Wrap the model in a function that returns the logits."
            )
        if outputs.ndim == 0 or len(outputs) != len(points):
            raise ValueError(
                f"forward_func: expected outputs of shape (N, K) with N = {len(points)}; "
                f"got {tuple(outputs.shape)}."
            )
        return outputs

    def arguments_of(self, rows: Tensor) -> tuple:
        """The additional arguments for the examples with those numbers."""
        return tuple(
            a[rows.to(a.device)] if isinstance(a, Tensor) and a.ndim and len(a) == self.examples else a
            for a in self.arguments
        )

    def chunks(self, rows: Tensor) -> tuple[Tensor, ...]:
        """The numbers in parts of at most the internal batch size."""
        return rows.split(self.internal_batch_size or max(len(rows), 1))


@dataclass(frozen=True, eq=False)
class Part:
    """The model for some of a run's examples, which it counts from 0.

    whole: `Forward` or `AtLayer`. numbers: of the examples among those of the run, shape (n,).

    Example:
        >>> import torch
        >>> forward = Forward(lambda x, scale: x * scale[:, None], torch.tensor([1.0, 10.0]), examples=2)
        >>> Part(forward, torch.tensor([1]))(torch.ones(1, 1), rows=torch.tensor([0]))
        tensor([[10.]])
    """

    whole: "Forward | AtLayer"
    numbers: Tensor

    def __call__(self, points: Tensor, rows: Tensor) -> Tensor:
        """Outputs (m, K) of the points (m, ...) that stand for the examples with those numbers in this part."""
        return self.whole(points, self.numbers[rows])

    @property
    def head_evaluations(self) -> Tensor:
        """Passes of each example through what comes before a layer, (n,); 0 without a layer."""
        counted = getattr(self.whole, "head_evaluations", None)
        return torch.zeros_like(self.numbers) if counted is None else counted[self.numbers]


class AtLayer:
    """A model in two parts: `activations` up to a layer's output, `__call__` from there on.

    `recomputes` says that the second part passes through the whole model.

    Raises:
        ValueError: the layer is not used, is used twice, or does not return one tensor.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))
        >>> inputs = torch.ones(4, 2)
        >>> parts = AtLayer(Forward(model, examples=4), model[1], inputs)
        >>> parts.activations().shape, parts.recomputes
        (torch.Size([4, 3]), False)
        >>> torch.equal(parts(parts.activations(), torch.arange(4)), model(inputs))
        True
    """

    def __init__(self, forward: Forward, module: nn.Module, inputs: Tensor):
        self.forward, self.module, self.inputs = forward, module, inputs
        parts = cut(forward.function, module) if not forward.arguments else None
        self.head, self.tail, self._contexts = (*parts, []) if parts else (None, None, [])
        self.head_evaluations = torch.zeros(len(inputs), dtype=torch.long, device=inputs.device)
        if self.recomputes:
            return
        rows = torch.arange(len(inputs), device=inputs.device)
        with torch.no_grad():
            pieces = [self.head(inputs[chunk]) for chunk in forward.chunks(rows)]
        self.head_evaluations += 1
        if not all(
            isinstance(value, Tensor) and len(value) == len(chunk)
            for piece, chunk in zip(pieces, forward.chunks(rows), strict=True)
            for value in piece
        ):
            # something else than one entry per example passes by the layer: it cannot be split by example
            self.head = None
            return
        self._activations, *self._contexts = (torch.cat(values) for values in zip(*pieces, strict=True))

    @property
    def recomputes(self) -> bool:
        return self.head is None

    def activations(self, inputs: Tensor | None = None) -> Tensor:
        """The layer's output for other inputs (default: those of the run), shape (N, ...), detached.

        One input that all examples share counts as a pass for each.
        """
        if inputs is None and not self.recomputes:
            return self._activations
        inputs = self.inputs if inputs is None else inputs
        rows = torch.arange(len(inputs), device=inputs.device)
        self.head_evaluations += 1
        with torch.no_grad():
            if not self.recomputes:
                return torch.cat([self.head(inputs[chunk])[0] for chunk in self.forward.chunks(rows)])
            return torch.cat([self._seen(inputs[chunk], chunk) for chunk in self.forward.chunks(rows)])

    def __call__(self, points: Tensor, rows: Tensor) -> Tensor:
        """Outputs (n, K) for activations (n, ...) of the examples with those numbers."""
        # a copy, because what follows may work in place, which a leaf of the gradient does not allow
        points = points.clone() if points.requires_grad else points
        if not self.recomputes:
            return self.tail(self.inputs[rows], points, *(context[rows] for context in self._contexts))
        self.head_evaluations[rows] += 1
        grad = torch.is_grad_enabled()

        def replace(module, arguments, output):
            # what comes before the layer needs no gradient; what comes after does
            torch.set_grad_enabled(grad)
            return points

        with torch.no_grad(), hooked(self.module, replace):
            return self.forward(self.inputs[rows], rows)

    def _seen(self, inputs: Tensor, rows: Tensor) -> Tensor:
        """The layer's output in one pass through the whole model."""
        outputs = []

        def note(module, arguments, output):
            # a copy, because what follows may work in place
            outputs.append(output.clone() if isinstance(output, Tensor) else output)

        with hooked(self.module, note):
            self.forward(inputs, rows)
        if len(outputs) != 1:
            times = (
                "is not used by the model" if not outputs else f"is called {len(outputs)} times in one pass"
            )
            raise ValueError(
                f"Layer(module): expected a module that is called once; {type(self.module).__name__} {times}. "
                "Name another module of the model, for example the block around it."
            )
        return one_tensor(outputs[0], self.module)


@contextmanager
def hooked(module: nn.Module, hook: Callable) -> Iterator[None]:
    """A forward hook that is gone afterwards, whatever happens.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> model = nn.Linear(2, 1)
        >>> with hooked(model, lambda module, arguments, output: torch.full_like(output, 7.0)):
        ...     model(torch.zeros(1, 2)).item()
        7.0
    """
    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def one_tensor(output, module: nn.Module) -> Tensor:
    """The output of a layer, if it is one tensor with an entry per example; else raises ValueError.

    Example:
        >>> import torch
        >>> layer = torch.nn.GRU(2, 2)
        >>> one_tensor(layer(torch.zeros(1, 2)), layer)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        ValueError: Layer(module): expected a module that returns one tensor; GRU returns tuple...
    """
    if not isinstance(output, Tensor):
        raise ValueError(
            f"Layer(module): expected a module that returns one tensor; {type(module).__name__} returns "
            f"{type(output).__name__}. Name a module inside it that returns a tensor."
        )
    return output


class Tracer(fx.Tracer):
    """Traces only what lies around one submodule; every other module stays whole.

    Example:
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Sequential(nn.Linear(2, 2), nn.ReLU()), nn.Linear(2, 2))
        >>> [[node.target for node in Tracer(name).trace(model).nodes] for name in ("1", "0.1")]
        [['input', '0', '1', 'output'], ['input', '0.0', '0.1', '1', 'output']]
    """

    def __init__(self, name: str):
        super().__init__()
        self.name = name

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return not self.name.startswith(name + ".")


def cut(model, module: nn.Module) -> tuple[Callable, Callable] | None:
    """The model in two: head(inputs) -> (activations, *contexts), tail(inputs, activations, *contexts) -> outputs.

    Contexts are values that pass by the module (skip connections around it). None where the model is no
    module or cannot be traced, for example because its control flow depends on values.

    Raises:
        ValueError: the module is no part of the model, or is called more than once.

    Example:
        >>> import torch
        >>> model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
        >>> head, tail = cut(model, model[1])
        >>> inputs = torch.ones(4, 2)
        >>> torch.equal(tail(inputs, *head(inputs)), model(inputs))
        True
    """
    if not isinstance(model, nn.Module):
        return None
    name = next((name for name, part in model.named_modules() if part is module), None)
    if not name:
        raise ValueError(
            f"Layer(module): expected a module inside the model; {type(module).__name__} is "
            + ("the model itself." if name == "" else f"no part of this {type(model).__name__}.")
        )
    try:
        graph = Tracer(name).trace(model)
    except Exception:  # tracing can fail in as many ways as there are models; the hook works for all
        return None
    places = [node for node in graph.nodes if node.op == "call_module" and node.target == name]
    inputs = [node for node in graph.nodes if node.op == "placeholder"]
    if len(places) != 1:
        # called several times, or under another name: the hook counts the calls and says so
        return None
    for node in [n for n in graph.nodes if n.op == "call_function" and n.target is torch._assert]:
        graph.erase_node(node)
    (place,) = places
    after = closure([place], lambda node: node.users)
    made_by_modules = closure([n for n in graph.nodes if n.op == "call_module"], lambda node: node.users)
    contexts = [
        node
        for node in graph.nodes
        if node in made_by_modules and node not in after and any(user in after for user in node.users)
    ]
    return part(model, graph, inputs[:1], [place, *contexts]), part(
        model, graph, [inputs[0], place, *contexts]
    )


def closure(start: list, neighbours: Callable) -> set:
    """All nodes that can be reached from those.

    Example:
        >>> closure([1], {1: [2], 2: [3], 3: [1], 4: [1]}.get)
        {1, 2, 3}
    """
    seen, waiting = set(start), list(start)
    while waiting:
        for node in neighbours(waiting.pop()):
            if node not in seen:
                seen.add(node)
                waiting.append(node)
    return seen


def part(model: nn.Module, graph: fx.Graph, known: list, wanted: list | None = None) -> fx.GraphModule:
    """The part of a traced model that computes the wanted nodes (default: its output) from the known ones.

    Example:
        >>> import torch
        >>> model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU())
        >>> graph = Tracer("0").trace(model)
        >>> linear = next(node for node in graph.nodes if node.target == "0")
        >>> part(model, graph, known=[linear])(torch.tensor([[-1.0, 1.0]]))  # what comes after it: the ReLU
        tensor([[0., 1.]])
    """
    result = fx.Graph()
    copies = {}
    for index, node in enumerate(known):
        copies[node] = result.placeholder(f"known_{index}")
    targets = wanted or [next(node for node in graph.nodes if node.op == "output").args[0]]
    needed = closure(
        [t for t in targets if t not in copies], lambda n: [a for a in n.all_input_nodes if a not in copies]
    )
    for node in graph.nodes:
        if node in needed and node not in copies:
            copies[node] = result.node_copy(node, copies.__getitem__)
    result.output(tuple(copies[t] for t in targets) if wanted else copies[targets[0]])
    return fx.GraphModule(model, result)


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
        >>> from helpers.models import DigitNet
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

    names = {module: name for name, module in model.named_modules() if module is not model}
    with torch.no_grad(), ExitStack() as stack:
        for module in names:
            stack.enter_context(hooked(module, note))
        model(inputs)
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
