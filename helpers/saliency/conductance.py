"""A path in the input, read at modules on the way: what each depth contributes to the change of the score.

Along a path the activations h of every module move. The sum over its steps of dF/dh . dh is the path's contribution
at that module, complete at every depth through which the whole score passes; along a straight path it is layer
conductance (Dhamdhere, Sundararajan & Yan 2018, arXiv 1805.12233). All depths come from the same passes.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from helpers.saliency.cut import watched


@dataclass(frozen=True)
class State:
    """What a module returned for n examples at one point of a path, with the gradients there.

    activation: (D, n, *L), D the draws of the noise (1 without). gradient: of the score and its R competitors,
    (D, n, 1 + R, *L).
    """

    activation: Tensor
    gradient: Tensor

    def keep(self, mask: Tensor) -> "State":
        """The same for the examples where mask, (n,), is true."""
        return State(self.activation[:, mask], self.gradient[:, mask])


class Conductance:
    """The running sums of dF/dh . dh at some modules, for N examples.

    Attributes:
        contributions: one tensor per module, (N, 1 + R, *L): of the score, then of its competitors; None before the
            first step.

    Example:
        >>> start, end = (State(torch.tensor([[[h]]]), torch.tensor([[[[2 * h]]]])) for h in (1.0, 3.0))
        >>> running = Conductance(examples=1)
        >>> rows = torch.tensor([0])
        >>> running.begin(rows, [start])
        >>> running.step(rows, [end])
        >>> running.contributions[0]  # of h squared, from 1 to 3
        tensor([[[8.]]])
    """

    def __init__(self, examples: int):
        self._examples = examples
        self._states: list[State] = []
        self._known: Tensor | None = None
        self.contributions: list[Tensor] | None = None

    def unknown(self, rows: Tensor) -> Tensor:
        """Those of the examples whose state, where they stand, is not known."""
        return rows if self._known is None else rows[~self._known[rows]]

    def begin(self, rows: Tensor, states: Sequence[State]) -> None:
        """The states where these examples stand now."""
        if self._known is None:
            self._known = torch.zeros(self._examples, dtype=torch.bool, device=rows.device)
            self._states = [
                State(
                    *(v.new_zeros(len(v), self._examples, *v.shape[2:]) for v in (s.activation, s.gradient))
                )
                for s in states
            ]
            self.contributions = [state.gradient[0].clone() for state in self._states]
        for kept, state in zip(self._states, states, strict=True):
            kept.activation[:, rows] = state.activation
            kept.gradient[:, rows] = state.gradient
        self._known[rows] = True

    def forget(self, rows: Tensor) -> None:
        """These examples stand elsewhere now."""
        if self._known is not None:
            self._known[rows] = False

    def step(self, rows: Tensor, states: Sequence[State]) -> None:
        """A step to where the examples have these states: the mean gradient of its two ends, times the change."""
        for number, (kept, state) in enumerate(zip(self._states, states, strict=True)):
            change = (state.activation - kept.activation[:, rows])[:, :, None]
            gradient = (state.gradient + kept.gradient[:, rows]) / 2
            self.contributions[number][rows] += (gradient * change).mean(0)
        self.begin(rows, states)

    def tangent_step(self, rows: Tensor, changes: Sequence[Tensor]) -> None:
        """A step that the tangent predicts: the gradient at its start, times the change J d, (D, n, *L)."""
        for number, (kept, change) in enumerate(zip(self._states, changes, strict=True)):
            self.contributions[number][rows] += (kept.gradient[:, rows] * change[:, :, None]).mean(0)
        self.forget(rows)


def checked_layers(layers) -> tuple[nn.Module, ...]:
    """The modules to read, as a tuple.

    Raises:
        TypeError: something else than a sequence of modules.
        ValueError: one twice.

    Example:
        >>> checked_layers([nn.ReLU(), "features.2"])
        Traceback (most recent call last):
            ...
        TypeError: layers: expected modules of the model, for example [model.layer4]; got 'features.2'.
    """
    modules = (layers,) if isinstance(layers, nn.Module) and not isinstance(layers, nn.ModuleList) else layers
    if not isinstance(modules, Sequence | nn.ModuleList):
        raise TypeError(f"layers: expected a sequence of modules of the model; got {layers!r}.")
    modules = tuple(modules)
    for module in modules:
        if not isinstance(module, nn.Module):
            raise TypeError(
                f"layers: expected modules of the model, for example [model.layer4]; got {module!r}."
            )
    if len(set(modules)) < len(modules):
        raise ValueError("layers: expected each module once; one is there twice.")
    return modules


def only_outputs(layers: Sequence[nn.Module], outputs: Sequence[Sequence], examples: int) -> list[Tensor]:
    """The one output of each module in a pass of so many examples.

    Raises:
        ValueError: a module that is not met once, or that does not return one tensor with a row per example.

    Example:
        >>> only_outputs([nn.ReLU()], [[]], examples=1)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        ValueError: layers: expected modules that are called once in a pass; ReLU is not called by the model...
    """
    found = []
    for module, seen in zip(layers, outputs, strict=True):
        name = type(module).__name__
        if len(seen) != 1:
            times = "is not called by the model" if not seen else f"is called {len(seen)} times"
            raise ValueError(
                f"layers: expected modules that are called once in a pass; {name} {times}. Name another module of "
                "the model, for example the block around it."
            )
        output = seen[0]
        if not isinstance(output, Tensor) or output.ndim == 0 or len(output) != examples:
            what = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise ValueError(
                f"layers: expected modules that return one tensor of shape ({examples}, ...) for {examples} "
                f"examples; {name} returns {what}. Name another module, for example the block around it."
            )
        found.append(output)
    return found


def changes_along(run, layers: Sequence[nn.Module], point: Tensor, change: Tensor) -> list[Tensor]:
    """J d at each module, one (n, *L) each: how its output changes to first order with the input, by forward mode.

    Args:
        run: the model, from points (n, ...) to outputs.
        point, change: where, and d, (n, ...).

    Raises:
        RuntimeError: an operation of the model that has no forward-mode derivative.

    Example:
        >>> model = nn.Sequential(nn.Tanh())
        >>> changes_along(model, [model[0]], torch.tensor([[0.0]]), torch.tensor([[3.0]]))
        [tensor([[3.]])]
    """
    with forward_ad.dual_level(), watched(layers) as outputs:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torch's, of a function that it uses itself
            dual = forward_ad.make_dual(point, change)
        try:
            run(dual)
        except NotImplementedError as error:
            raise RuntimeError(
                "layers: the tangent's changes at modules are forward-mode derivatives, and an operation of the "
                f"model has none ({error}). Read a nonlinear path, for example Straight(), or the input alone."
            ) from error
        pairs = [forward_ad.unpack_dual(each) for each in only_outputs(layers, outputs, len(point))]
        return [torch.zeros_like(p.primal) if p.tangent is None else p.tangent.clone() for p in pairs]
