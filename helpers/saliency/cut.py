"""A model cut at a layer: traced (`torch.fx`) where that works, by a hook elsewhere."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, fx, nn

from helpers.saliency.model import Forward


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
        with torch.no_grad():
            values = self.head(inputs)
        self.head_evaluations += 1
        if not all(isinstance(value, Tensor) and len(value) == len(inputs) for value in values):
            # something else than one entry per example passes by the layer: it cannot be split by example
            self.head = None
            return
        self._activations, *self._contexts = values

    @property
    def recomputes(self) -> bool:
        return self.head is None

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
                return self.head(inputs)[0]
            return self._seen(inputs, torch.arange(len(inputs), device=inputs.device))

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
