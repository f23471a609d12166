"""What a map costs: passes counted, arithmetic measured."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.module import register_module_forward_hook
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from helpers.saliency import cut
from helpers.saliency.model import Forward


@dataclass(frozen=True)
class Cost:
    """What a map costs, per example (the mean, where examples differ).

    gradients: backward passes from the model's outputs, each with its forward pass (several scores may share
        one: a competitor's gradient counts as one).
    forwards: forward passes without a backward pass.
    part_gradients, part_forwards: the same through a part of the model only, where it is cut at a layer
        (`helpers.saliency.model`).
    work: all arithmetic in matrix products and convolutions, the method's own among them, in units of one
        forward pass of one example; NaN for a model that has neither. It makes parts and wholes comparable.

    Example:
        >>> str(Cost(gradients=1, forwards=2, part_gradients=16))
        '1 gradient + 16 in part + 2 passes'
    """

    gradients: float
    forwards: float
    part_gradients: float = 0.0
    part_forwards: float = 0.0
    work: float = float("nan")

    def __str__(self) -> str:
        """In words, short enough to stand under a map; "in part": through a part of the model only."""
        words = []
        for whole, part, one, more in (
            (self.gradients, self.part_gradients, "gradient", "gradients"),
            (self.forwards, self.part_forwards, "pass", "passes"),
        ):
            words += [f"{whole:.3g} {one if whole == 1 else more}"] if whole else []
            name = "" if whole else f" {one if part == 1 else more}"
            words += [f"{part:.3g}{name} in part"] if part else []
        return " + ".join(words) or "no pass"


@dataclass
class Passes:
    """What passed through a model, as `counted` notes it.

    seen: for each forward pass its rows, whether it went through the whole model, and its backward passes.

    Example:
        >>> passes = Passes()
        >>> passes.note(rows=8, whole=True, outputs=None)
        >>> passes.cost(examples=4).forwards
        2.0
    """

    seen: list[list] = field(default_factory=list)

    def note(self, rows: int, whole: bool, outputs) -> None:
        """One forward pass; its backward passes are counted when they come."""
        entry = [rows, whole, 0]
        self.seen.append(entry)
        if isinstance(outputs, Tensor) and outputs.requires_grad:

            def count(gradient: Tensor) -> None:
                entry[2] += not cut.preparing

            outputs.register_hook(count)

    def cost(self, examples: int, work: float = float("nan")) -> Cost:
        """Per example, for so many examples."""

        def rows(whole: bool, backward: bool) -> float:
            return sum(n * (b if backward else b == 0) for n, w, b in self.seen if w is whole) / examples

        return Cost(rows(True, True), rows(True, False), rows(False, True), rows(False, False), work)


class Work(TorchDispatchMode):
    """Arithmetic done inside, by torch's own formulas: matrix products, convolutions and their gradients.

    torch's FlopCounterMode does the same but follows modules too, and refuses `torch.autograd.grad` with
    respect to an input.

    Example:
        >>> import torch
        >>> with Work() as work:
        ...     product = torch.ones(2, 3) @ torch.ones(3, 4)
        >>> work.operations  # multiplications and additions: 2 * 2 * 3 * 4
        48
    """

    def __init__(self):
        super().__init__()
        self.operations = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        outputs = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None and not cut.preparing:
            self.operations += formula(*args, **(kwargs or {}), out_val=outputs)
        return outputs


@contextmanager
def counted(model: nn.Module) -> Iterator[Passes]:
    """Counts every pass through a model, by any caller; the model itself is not changed.

    Forward passes are seen by a hook on all modules, backward passes by one on the outputs; so what counts is
    what happened, not what a method reports about itself.

    Raises:
        TypeError: not a module. Put a function into the `forward` of one.

    Example:
        >>> import torch
        >>> model = torch.nn.Linear(2, 1)
        >>> with counted(model) as passes:
        ...     outputs = model(torch.ones(5, 2))
        >>> passes.cost(examples=5).forwards
        1.0
    """
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"model: expected a module, whose passes can be seen; got {model!r}. Wrap the function in an "
            "nn.Module that calls it."
        )
    passes, inside = Passes(), set(model.modules())

    def note(module: nn.Module, arguments, outputs) -> None:
        if cut.preparing:
            return  # made once for a model, not for a map
        # what `helpers.saliency.cut` cuts out of a model is a GraphModule that is called instead of the model
        part = isinstance(module, fx.GraphModule) and module not in inside
        if module is model or part:
            first = outputs if isinstance(outputs, Tensor) else outputs[0]
            passes.note(len(first), module is model, outputs)

    handle = register_module_forward_hook(note)
    try:
        yield passes
    finally:
        handle.remove()


def measured(method, inputs: Tensor, target=None, **options) -> tuple[Tensor, Cost]:
    """The map of a method, and what it cost.

    Args:
        method: a peer, a control, a `NonlinearSaliency`, a `Mean`, a preset: anything with `attribute` and the
            model, a module, as `forward_func` (None: no model, no cost).
        inputs, target, options: of its `attribute`.

    Returns:
        What `attribute` returns, and its `Cost`. Counting takes time of its own: measure seconds apart.

    Raises:
        TypeError: a model that is not a module; and what `attribute` raises.

    Example:
        >>> import torch
        >>> from helpers.measure.peers import IntegratedGradients
        >>> model = torch.nn.Linear(2, 3)
        >>> attribution, cost = measured(IntegratedGradients(model, steps=8), torch.ones(4, 2), target=0)
        >>> attribution.shape, cost.gradients
        (torch.Size([4, 2]), 8.0)
    """
    examples = len(inputs[0] if isinstance(inputs, tuple) else inputs)
    model = method.forward_func
    if model is None:
        return method.attribute(inputs, target=target, **options), Cost(0.0, 0.0, work=0.0)
    with Work() as all_work, counted(model) as passes:
        attribution = method.attribute(inputs, target=target, **options)
    first = (inputs[0] if isinstance(inputs, tuple) else inputs)[:1].detach()
    forward = Forward(model, options.get("additional_forward_args"), examples)
    with torch.no_grad(), Work() as one_pass:
        forward(first, torch.zeros(1, dtype=torch.long, device=first.device))
    unit = one_pass.operations * examples
    return attribution, passes.cost(examples, all_work.operations / unit if unit else float("nan"))
