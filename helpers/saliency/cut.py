"""A model cut at a layer: traced (`torch.fx`) where that gives the model itself, by a hook elsewhere.

A traced model can differ from the model: it skips hooks, and forgets `torch.no_grad()` and decisions of the
model's code. So every cut is compared once with the unmodified model, in outputs and gradients, on the whole batch
and on a part of it (`TOLERANCE`); what differs is not used. What was found is kept until the model's modules,
modes, hooks or plain attributes change.
"""

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, fx, nn

from helpers.saliency.model import Forward

# of the largest magnitude, in square roots of the dtype's rounding: 6e-3 in float32, 2e-7 in float64
TOLERANCE = 16


class AtLayer:
    """A model in two parts: `activations` up to a layer's output, `__call__` from there on.

    `recomputes` says that the second part passes through the whole model.

    Raises:
        ValueError: the layer is not used, is used twice, does not return one tensor, or the model does something
            else when the layer's output is put in its place.

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
        self.head_evaluations = torch.zeros(len(inputs), dtype=torch.long, device=inputs.device)
        self._parts, self._contexts = verified(forward, module, inputs), []
        if self.recomputes:
            return
        with torch.no_grad(), forward.noticing(whole=False):
            self._activations, *self._contexts = self._parts.head(inputs.clone())
        self.head_evaluations += 1

    @property
    def recomputes(self) -> bool:
        return self._parts is None

    @property
    def run_examples(self) -> int:
        return self.forward.run_examples

    @property
    def part(self) -> slice:
        return self.forward.part

    def activations(self, inputs: Tensor | None = None) -> Tensor:
        """The layer's output for other inputs (default: those of the run), shape (N, ...), detached.

        One input that all examples share counts as a pass for each.
        """
        if inputs is None and not self.recomputes:
            return self._activations
        inputs = self.inputs if inputs is None else inputs
        self.head_evaluations += 1
        with torch.no_grad():
            if not self.recomputes:
                return self._parts.head(inputs.clone())[0]
            rows = torch.arange(len(inputs), device=inputs.device)
            return recorded(self.forward, self.module, inputs, rows)[1]

    def __call__(self, points: Tensor, rows: Tensor) -> Tensor:
        """Outputs (n, K) for activations (n, ...) of the examples with those numbers."""
        # a copy, because what follows may work in place, which a leaf of the gradient does not allow
        points = points.clone() if points.requires_grad else points
        if not self.recomputes:
            with self.forward.noticing():
                return self._parts.tail(
                    self.inputs[rows], points, *(context[rows] for context in self._contexts)
                )
        self.head_evaluations[rows] += 1
        return replaced(self.forward, self.module, self.inputs[rows], points, rows)


def recorded(forward: Forward, module: nn.Module, inputs: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Outputs of the unmodified model, and the module's output in that pass.

    Raises:
        ValueError: the module is not called once, or does not return one tensor.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 4))
        >>> inputs = torch.ones(1, 2)
        >>> outputs, activations = recorded(Forward(model), model[0], inputs, torch.tensor([0]))
        >>> outputs.shape, activations.shape
        (torch.Size([1, 4]), torch.Size([1, 3]))
    """
    with watched([module]) as (seen,):
        outputs = forward(inputs, rows)
    if len(seen) != 1:
        times = "is not used by the model" if not seen else f"is called {len(seen)} times in one pass"
        raise ValueError(
            f"Layer(module): expected a module that is called once; {type(module).__name__} {times}. "
            "Name another module of the model, for example the block around it."
        )
    return outputs, one_tensor(seen[0], module)


def replaced(forward: Forward, module: nn.Module, inputs: Tensor, points: Tensor, rows: Tensor) -> Tensor:
    """Outputs of a pass through the whole model in which the module's output is replaced by the points.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
        >>> points = torch.tensor([[-1.0, 0.0, 2.0]])
        >>> replaced(Forward(model), model[0], torch.ones(1, 2), points, torch.tensor([0]))
        tensor([[0., 0., 2.]])
    """
    reached = []

    def put(module, arguments, output):
        reached.append(True)
        return points

    # what comes before the layer needs no gradient, so nothing is kept of it
    keep = torch.autograd.graph.saved_tensors_hooks(lambda kept: kept if reached else None, lambda kept: kept)
    with keep, eager(), hooked(module, put):
        return forward(inputs, rows)


@contextmanager
def eager() -> Iterator[None]:
    """Compiled models run as they were written, so that hooks on their modules are called.

    Example:
        >>> with eager():
        ...     nn.Identity()(1)
        1
    """
    with torch.compiler.set_stance("force_eager"):
        yield


def original(model):
    """The model behind `torch.compile`; others as they are.

    Example:
        >>> model = nn.Linear(2, 2)
        >>> original(torch.compile(model, backend="eager")) is model, original(model) is model
        (True, True)
    """
    return getattr(model, "_orig_mod", model) if isinstance(model, nn.Module) else model


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


@contextmanager
def watched(layers: Sequence[nn.Module]) -> Iterator[list[list[Tensor]]]:
    """The outputs of these modules in the passes inside, one list per module.

    Example:
        >>> import torch
        >>> layer = nn.ReLU()
        >>> with watched([layer]) as outputs:
        ...     nn.Sequential(layer)(torch.tensor([[-1.0, 2.0]]))
        tensor([[0., 2.]])
        >>> outputs
        [[tensor([[0., 2.]])]]
    """
    outputs: list[list[Tensor]] = [[] for _ in layers]
    with ExitStack() as stack:
        if layers:
            stack.enter_context(eager())
        for module, seen in zip(layers, outputs, strict=True):

            def note(_, __, output, seen=seen):
                seen.append(output)
                # what follows may work in place: it gets a copy, and what was seen stays
                return output.clone() if isinstance(output, Tensor) else None

            stack.enter_context(hooked(module, note))
        yield outputs


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


# ---- the comparison with the unmodified model ----------------------------------------------------------------


@dataclass(frozen=True)
class Parts:
    """head(inputs) -> (activations, *contexts), tail(inputs, activations, *contexts) -> outputs."""

    head: Callable
    tail: Callable


@dataclass(frozen=True)
class Pass:
    """Outputs, activations, and the gradient of a sum of outputs there; None: they do not depend on them."""

    outputs: Tensor
    activations: Tensor
    gradient: Tensor | None


# per model: the state that it was in, and what was found for a module and a kind of inputs
_found: WeakKeyDictionary = WeakKeyDictionary()
preparing = False  # whether passes are made once for a model, and not for a map


@contextmanager
def prepared() -> Iterator[None]:
    """Passes inside are no cost of a map: what is found by them is kept for the model.

    Example:
        >>> from helpers.saliency import cut
        >>> with prepared():
        ...     inside = cut.preparing
        >>> inside, cut.preparing
        (True, False)
    """
    global preparing
    before, preparing = preparing, True
    try:
        yield
    finally:
        preparing = before


def verified(forward: Forward, module: nn.Module, inputs: Tensor) -> Parts | None:
    """The model's two parts, where they are the model; None where a hook has to do it.

    Costs a pass with gradient on all examples and one on a part of them, once for a model in the same state, a
    module and inputs of the same shape, dtype and device.

    Raises:
        ValueError: with a hook it is another model, too; and what `recorded` raises.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 4))
        >>> parts = verified(Forward(model), model[0], torch.ones(1, 2))
        >>> verified(Forward(model), model[0], torch.zeros(1, 2)) is parts  # kept
        True
    """
    model = original(forward.function)
    if not isinstance(model, nn.Module):
        return _checked(forward, module, inputs)
    name_of(model, module)
    now, (known, kept) = state_of(model), _found.get(model, (None, {}))
    if known != now:
        kept = {}
        _found[model] = now, kept
    kind = (
        id(module),
        bool(forward.arguments),
        inputs.shape[1:],
        len(inputs) > 1,
        inputs.dtype,
        inputs.device,
    )
    if kind not in kept:
        kept[kind] = _checked(forward, module, inputs)
    return kept[kind]


@prepared()
def _checked(forward: Forward, module: nn.Module, inputs: Tensor) -> Parts | None:
    every = torch.arange(len(inputs), device=inputs.device)
    whole = _reference(forward, module, inputs, every)
    half = every[len(every) // 2 :]
    part = whole if len(half) == len(every) else _reference(forward, module, inputs[half], half)
    if len(half) < len(every) and not _agree(part.outputs, whole.outputs[half]):
        half, part = every, whole  # examples depend on each other, as with batch norm in train mode
    parts = None if forward.arguments or whole.gradient is None else cut(original(forward.function), module)
    if parts is not None and _same(parts, inputs, every, whole) and _same(parts, inputs, half, part):
        return parts
    with torch.enable_grad(), same_chance(inputs.device):
        points = whole.activations.clone().requires_grad_(whole.activations.is_floating_point())
        outputs = replaced(forward, module, inputs, points.clone(), every)
    if not _agree(outputs, whole.outputs) or not _agree_in_gradient(outputs, points, whole):
        raise ValueError(
            f"Layer(module): expected a module whose output can be put in its place; with that of "
            f"{type(module).__name__} the model gives other outputs or gradients than by itself. Is its output "
            "kept, and used besides what it returns? Name another module, for example the block around it."
        )
    return None


@contextmanager
def same_chance(device: torch.device) -> Iterator[None]:
    """Random numbers as in every other such block; those outside go on as if there had been none inside."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(0)
        yield


def _reference(forward: Forward, module: nn.Module, inputs: Tensor, rows: Tensor) -> Pass:
    """One pass of the unmodified model, and autograd at the module's output."""
    with torch.enable_grad(), same_chance(inputs.device):
        inputs = inputs.detach().clone()
        outputs, activations = recorded(
            forward, module, inputs.requires_grad_(inputs.is_floating_point()), rows
        )
    gradient = _gradient(outputs, activations)
    return Pass(outputs.detach(), activations.detach(), gradient)


def _gradient(outputs: Tensor, place: Tensor) -> Tensor | None:
    if not (outputs.requires_grad and place.requires_grad):
        return None
    return torch.autograd.grad(probed(outputs), place, allow_unused=True)[0]


def probed(outputs: Tensor) -> Tensor:
    """A sum of all outputs with weights from 0.5 to 1.5: its gradient shows whether they depend on something.

    Example:
        >>> probed(torch.ones(1, 3))
        tensor(3.)
    """
    weights = torch.linspace(0.5, 1.5, outputs.numel(), dtype=outputs.dtype, device=outputs.device)
    with torch.enable_grad():
        return (outputs * weights.reshape(outputs.shape)).sum()


def _same(parts: Parts, inputs: Tensor, rows: Tensor, wanted: Pass) -> bool:
    """Whether the two parts give the outputs and the gradient of the unmodified model."""
    try:
        with same_chance(inputs.device):
            with torch.no_grad():
                values = parts.head(inputs.detach().clone())
            # what passes by the layer has to have an entry for each example, or it cannot be split
            if not all(isinstance(value, Tensor) and len(value) == len(inputs) for value in values):
                return False
            points, *contexts = (value[rows] for value in values)
            points = points.detach().requires_grad_()
            with torch.enable_grad():
                outputs = parts.tail(inputs[rows], points.clone(), *contexts)
    except Exception:  # a traced model can fail in as many ways as there are models; the hook works for all
        return False
    return _agree(outputs, wanted.outputs) and _agree_in_gradient(outputs, points, wanted)


def _agree_in_gradient(outputs: Tensor, points: Tensor, wanted: Pass) -> bool:
    if wanted.gradient is None:
        return True
    gradient = _gradient(outputs, points)
    return gradient is not None and _agree(gradient, wanted.gradient)


def _agree(found: Tensor, wanted: Tensor) -> bool:
    """Equal up to `TOLERANCE`; what is not finite has to be so in both."""
    if found.shape != wanted.shape:
        return False
    eps = torch.finfo(wanted.dtype).eps
    found, wanted = found.detach().double(), wanted.double()
    finite = torch.isfinite(wanted)
    if not torch.equal(finite, torch.isfinite(found)):
        return False
    size = wanted[finite].abs().amax() if finite.any() else 0.0
    return bool(((found - wanted)[finite].abs() <= TOLERANCE * eps**0.5 * size).all())


def state_of(model: nn.Module) -> tuple:
    """What decides how a traced model turns out: modules, parameters, modes, hooks, plain attributes.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 2), nn.Dropout())
        >>> before = state_of(model)
        >>> state_of(model) == before, state_of(model.eval()) == before
        (True, False)
    """
    return tuple(
        (name, id(module), *map(_plain, sorted(vars(module).items())))
        for name, module in model.named_modules()
    )


def _plain(attribute: tuple[str, object]) -> tuple:
    """A name and what can be compared of its value: numbers and words themselves, of a dictionary what is in it."""
    name, value = attribute
    if isinstance(value, dict):
        return name, tuple(
            (key if isinstance(key, (str, int)) else id(key), id(v)) for key, v in value.items()
        )
    if isinstance(value, (bool, int, float, str, type(None))):
        return name, value
    return name, id(value)


# ---- tracing -------------------------------------------------------------------------------------------------


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


def cut(model, module: nn.Module) -> Parts | None:
    """The model in two parts, around a module.

    Contexts are values that pass by the module (skip connections around it). None where the model is no
    module or cannot be traced, for example because its control flow depends on values.

    Raises:
        ValueError: the module is no part of the model.

    Example:
        >>> import torch
        >>> model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
        >>> parts = cut(model, model[1])
        >>> inputs = torch.ones(4, 2)
        >>> torch.equal(parts.tail(inputs, *parts.head(inputs)), model(inputs))
        True
    """
    if not isinstance(model, nn.Module):
        return None
    name = name_of(model, module)
    try:
        with untouched(model):
            return traced(model, name)
    except Exception:  # tracing can fail in as many ways as there are models; the hook works for all
        return None


def name_of(model: nn.Module, module: nn.Module) -> str:
    """The name of a module inside a model.

    Raises:
        ValueError: the module is the model itself, or no part of it.

    Example:
        >>> model = nn.Sequential(nn.ReLU())
        >>> name_of(model, model[0])
        '0'
    """
    name = next((name for name, part in model.named_modules() if part is module), None)
    if not name:
        raise ValueError(
            f"Layer(module): expected a module inside the model; {type(module).__name__} is "
            + ("the model itself." if name == "" else f"no part of this {type(model).__name__}.")
        )
    return name


def traced(model: nn.Module, name: str) -> Parts | None:
    """The two parts around the module of that name; None where it is called several times, or by another name."""
    graph = Tracer(name).trace(model, defaults_of(model))
    places = [node for node in graph.nodes if node.op == "call_module" and node.target == name]
    inputs = [node for node in graph.nodes if node.op == "placeholder"]
    if len(places) != 1:
        return None  # the hook counts the calls and says so
    for node in [n for n in graph.nodes if n.op == "call_function" and n.target is torch._assert]:
        graph.erase_node(node)
    (place,) = places
    after = closure([place], lambda node: node.users)
    made_by_modules = closure([n for n in graph.nodes if n.op == "call_module"], lambda node: node.users)
    # Sizes are no contexts, they are counted anew behind the layer, where there may be fewer examples.
    sizes = {node for node in graph.nodes if is_size(node)}
    counted = closure(
        [node for node in sizes if after & set(node.users)], lambda n: sizes & set(n.all_input_nodes)
    )
    beyond = (after - {place}) | counted
    contexts = [
        node
        for node in graph.nodes
        if node in made_by_modules and node not in after | sizes and beyond & set(node.users)
    ]
    return Parts(
        part(model, graph, inputs[:1], [place, *contexts]), part(model, graph, [inputs[0], place, *contexts])
    )


def defaults_of(model: nn.Module) -> dict[str, object]:
    """The arguments of a model's forward after the first, bound to their defaults.

    Example:
        >>> class Masked(nn.Module):
        ...     def forward(self, x, mask=None, scale=2.0): ...
        >>> defaults_of(Masked())
        {'mask': None, 'scale': 2.0}
    """
    parameters = list(inspect.signature(model.forward).parameters.values())[1:]
    return {p.name: p.default for p in parameters if p.default is not p.empty}


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """What happens inside leaves nothing behind in the attributes of the model's modules, nor in their containers.

    Example:
        >>> model = nn.Linear(2, 2)
        >>> with untouched(model):
        ...     model.last = "set by forward"
        >>> hasattr(model, "last")
        False
    """
    before = [(vars(module), dict(vars(module))) for module in model.modules()]
    inside = [
        (value, value.copy())
        for _, attributes in before
        for value in attributes.values()
        if isinstance(value, (list, dict, set))
    ]
    try:
        yield
    finally:
        for attributes, copy in before:
            attributes.clear()
            attributes.update(copy)
        for value, copy in inside:
            value.clear()
            value.extend(copy) if isinstance(value, list) else value.update(copy)


def is_size(node: fx.Node) -> bool:
    """Whether a node of a graph is a tensor's size, or is computed from nothing but sizes.

    Example:
        >>> graph = fx.symbolic_trace(lambda x: x.reshape(x.shape[0] // 2, -1)).graph
        >>> [node.name for node in graph.nodes if is_size(node)]
        ['getattr_1', 'getitem', 'floordiv']
    """
    if node.op == "call_method" and node.target in ("size", "dim", "numel"):
        return True
    if node.op != "call_function":
        return False
    if node.target is getattr:
        return node.args[1] in ("shape", "ndim")
    from_sizes = bool(node.all_input_nodes) and all(map(is_size, node.all_input_nodes))
    return from_sizes and node.target.__module__ in ("_operator", "builtins", "math")


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
