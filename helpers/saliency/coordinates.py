"""Coordinates: how a vector u changes the input; u = 0 is the input as it is.

Coordinates are a small frozen description (`Input(lower=0, upper=1)`). Bound to a batch they become a `Chart`:
an affine map u -> origin + A u into the space that the rest of the model reads, with the adjoint of A for
gradients, bounds on u, and the direction towards the reference.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from numbers import Real

import torch
from torch import Tensor, nn

from helpers.checks import warn_caller
from helpers.saliency.cut import AtLayer
from helpers.saliency.geometries import Euclidean, Geometry, Smooth
from helpers.saliency.model import Forward


def taken(values: Tensor, rows: Tensor) -> Tensor:
    """values[rows] for ascending numbers of examples, without a copy where they are all.

    Example:
        >>> import torch
        >>> taken(torch.tensor([5, 6, 7]), torch.tensor([0, 2]))
        tensor([5, 7])
    """
    return values if len(rows) == len(values) else values[rows]


@dataclass
class Chart:
    """Coordinates bound to one batch of N examples.

    origin: the point u = 0 in the space that `forward` reads, shape (N, *B).
    forward: `Forward` or `AtLayer`, (points of shape (n, *B), rows) -> outputs of shape (n, K); rows are the n
        examples' numbers.
    lower, upper: bounds on u, shape (N, *S), or None.
    reference: the point "without the evidence", shape (N, *B), or None.
    removes: whether u counts evidence that is taken away.

    Example:
        >>> import torch
        >>> chart = Chart(torch.tensor([[1.0, 2.0]]), forward=None, reference=torch.zeros(1, 2))
        >>> chart.direction
        tensor([[-1., -2.]])
        >>> chart.point(chart.direction / 2, rows=torch.tensor([0]))  # half-way to the reference
        tensor([[0.5000, 1.0000]])
    """

    origin: Tensor
    forward: Forward | AtLayer
    lower: Tensor | None = None
    upper: Tensor | None = None
    reference: Tensor | None = None
    removes: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape (N, *S) of u."""
        return tuple(self.origin.shape)

    @property
    def direction(self) -> Tensor | None:
        """u that leads to the reference, shape (N, *S), or None without a reference."""
        return None if self.reference is None else self.reference - self.origin

    @property
    def bounded(self) -> bool:
        return self.lower is not None or self.upper is not None

    def push(self, u: Tensor, rows: Tensor) -> Tensor:
        """A u: (n, *S) -> (n, *B)."""
        return u

    def pull(self, gradient: Tensor, rows: Tensor) -> Tensor:
        """The adjoint of A: (n, *B) -> (n, *S)."""
        return gradient

    def point(self, u: Tensor, rows: Tensor) -> Tensor:
        """origin + A u, shape (n, *B)."""
        return taken(self.origin, rows) + self.push(u, rows)

    def clip(self, u: Tensor, rows: Tensor) -> Tensor:
        """u moved into its bounds."""
        if self.lower is not None:
            u = torch.maximum(u, taken(self.lower, rows))
        if self.upper is not None:
            u = torch.minimum(u, taken(self.upper, rows))
        return u


@dataclass
class RemovalChart(Chart):
    """origin + u * gap, with one u for all channels.

    gap: reference - origin, shape (N, *B). channels: the dimension that shares one u, or None.

    Example:
        >>> import torch
        >>> image = torch.ones(1, 3, 2, 2)
        >>> chart = RemovalChart(image, forward=None, gap=-image, channels=1)  # towards black
        >>> chart.shape  # one u a pixel
        (1, 1, 2, 2)
        >>> chart.point(chart.direction / 2, rows=torch.tensor([0]))[0, :, 0, 0]  # half gone in each
        tensor([0.5000, 0.5000, 0.5000])
    """

    gap: Tensor | None = None
    channels: int | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        shape = list(self.origin.shape)
        if self.channels is not None:
            shape[self.channels] = 1
        return tuple(shape)

    @property
    def direction(self) -> Tensor:
        return self.origin.new_ones(()).expand(self.shape)

    def push(self, u: Tensor, rows: Tensor) -> Tensor:
        return u * taken(self.gap, rows)

    def pull(self, gradient: Tensor, rows: Tensor) -> Tensor:
        product = gradient * taken(self.gap, rows)
        return product if self.channels is None else product.sum(self.channels, keepdim=True)


class Coordinates:
    """What every coordinate system shares. A new one is a frozen dataclass that defines `chart`.

    `bounded`, `has_reference` and `removes` (u counts evidence that is taken away) let a path refuse what it
    cannot use.

    Example:
        >>> systems = Input(), Input(reference=0.0), Removal(reference=0.0)
        >>> [(each.bounded, each.has_reference, each.removes) for each in systems]
        [(False, False, False), (False, True, False), (True, True, True)]
    """

    bounded = False
    has_reference = False
    removes = False

    def chart(self, inputs: Tensor, forward: Forward) -> Chart:
        """The coordinates bound to a batch.

        Args:
            inputs: shape (N, ...).
            forward: the model bound to the same batch.
        """
        raise NotImplementedError

    def check(self, geometry: Geometry) -> None:
        """Raises ValueError where the geometry does not go with these coordinates."""


@dataclass(frozen=True)
class Input(Coordinates):
    """The input itself: x + u.

    Args:
        lower, upper: bounds on x + u, in the input's units; numbers, or tensors that broadcast to the input.
        reference: an input without the evidence ("all the way" is then u = reference - x): a number, a
            tensor that broadcasts to the input, or a function from inputs to references of the same shape.

    Example:
        >>> import torch
        >>> from helpers.saliency import Logit, NonlinearSaliency, Tangent
        >>> model, bounded = lambda x: x.sum(1, keepdim=True), Input(lower=0.0)
        >>> saliency = NonlinearSaliency(model, Logit(), bounded, path=Tangent())
        >>> saliency.explain(torch.tensor([[0.25, 2.0]]), level=1.0).endpoint  # the first stops at its bound
        tensor([[0., 1.]])
    """

    lower: float | Tensor | None = None
    upper: float | Tensor | None = None
    reference: float | Tensor | Callable[[Tensor], Tensor] | None = None

    @property
    def bounded(self) -> bool:
        return self.lower is not None or self.upper is not None

    @property
    def has_reference(self) -> bool:
        return self.reference is not None

    def chart(self, inputs: Tensor, forward: Forward) -> Chart:
        lower = None if self.lower is None else like("Input(lower)", self.lower, inputs, forward)
        upper = None if self.upper is None else like("Input(upper)", self.upper, inputs, forward)
        lower, upper = self._around(inputs, lower, upper)
        reference = None
        if self.reference is not None:
            reference = like("Input(reference)", self.reference, inputs, forward)
            self._require_within("Input(reference)", reference, lower, upper)
        return Chart(
            origin=inputs,
            forward=forward,
            lower=None if lower is None else lower - inputs,
            upper=None if upper is None else upper - inputs,
            reference=reference,
        )

    def _around(self, inputs: Tensor, lower: Tensor | None, upper: Tensor | None) -> tuple:
        """The bounds, moved to the inputs where those lie outside: there they may only move inwards."""
        outside = self._outside(inputs, lower, upper)
        if outside.any():
            warn_caller(
                f"inputs: {int(outside.sum())} values lie outside the bounds of {self._bounds()}, the first is "
                f"{inputs[outside][0].item():g}; there the input itself is the bound. Widen the bounds or clamp "
                "the inputs, unless noise was added on purpose."
            )
            lower = None if lower is None else torch.minimum(lower, inputs)
            upper = None if upper is None else torch.maximum(upper, inputs)
        return lower, upper

    def _require_within(self, name: str, values: Tensor, lower: Tensor | None, upper: Tensor | None) -> None:
        outside = self._outside(values, lower, upper)
        if outside.any():
            raise ValueError(
                f"{name}: expected values within the bounds of {self._bounds()}; {int(outside.sum())} lie outside, "
                f"the first is {values[outside][0].item():g}. Widen the bounds or clamp the values."
            )

    def _bounds(self) -> str:
        bounds = [v if isinstance(v, (Real, type(None))) else "tensor" for v in (self.lower, self.upper)]
        return f"Input(lower={bounds[0]}, upper={bounds[1]})"

    @staticmethod
    def _outside(values: Tensor, lower: Tensor | None, upper: Tensor | None) -> Tensor:
        outside = torch.zeros_like(values, dtype=torch.bool)
        outside |= False if lower is None else values < lower
        outside |= False if upper is None else values > upper
        return outside


@dataclass(frozen=True)
class Removal(Coordinates):
    """Evidence taken away: x + u * (reference - x), 0 <= u <= 1, one u per pixel, shared by its channels.

    Args:
        reference: an input without the evidence: a function from inputs to references of the same shape
            (`helpers.saliency.references`), a number, or a tensor that broadcasts to the input.
        channels: the dimension that shares one u, counted with the batch. None: dimension 1 of images
            (N, C, H, W), dimension 2 of token sequences (N, T, C), and none of feature vectors (N, n).

    Example:
        >>> import torch
        >>> from helpers.saliency import NonlinearSaliency, Straight
        >>> saliency = NonlinearSaliency(lambda x: x.mean((2, 3)), coordinates=Removal(0.0), path=Straight(4))
        >>> run = saliency.explain(torch.ones(1, 3, 5, 5), target=0)
        >>> run.displacement.shape, run.contribution.shape
        (torch.Size([1, 1, 5, 5]), torch.Size([1, 3, 5, 5]))
    """

    reference: float | Tensor | Callable[[Tensor], Tensor]
    channels: int | None = None

    bounded = True
    has_reference = True
    removes = True

    def check(self, geometry: Geometry) -> None:
        if not isinstance(geometry, (Euclidean, Smooth)):
            raise ValueError(
                f"geometry: Removal's coordinates are fractions from 0 to 1, and {type(geometry).__name__} is "
                "made for features in their own units. Use Euclidean(), or Smooth(width) for images."
            )

    def chart(self, inputs: Tensor, forward: Forward) -> Chart:
        channels = {3: 2, 4: 1}.get(inputs.ndim) if self.channels is None else self.channels
        if channels is not None and not 0 < channels < inputs.ndim:
            raise ValueError(
                f"Removal(channels): expected a dimension from 1 to {inputs.ndim - 1}; got {channels}."
            )
        chart = RemovalChart(
            origin=inputs,
            forward=forward,
            removes=True,
            gap=like("Removal(reference)", self.reference, inputs, forward) - inputs,
            channels=channels,
        )
        none, whole = (inputs.new_tensor(value).expand(chart.shape) for value in (0.0, 1.0))
        return replace(chart, lower=none, upper=whole)


@dataclass(frozen=True, eq=False)
class Layer(Coordinates):
    """The same at the output of a module inside the model.

    The model is cut at the module where it can be traced, so that what comes before is computed once;
    elsewhere every pass goes through the whole model. Maps have the module's shape.

    Args:
        module: a part of the model that is called once in a pass and returns one tensor.
        inner: `Input` or `Removal` at the module's output.
        carried: whether inner's reference is an input of the model, as elsewhere, that is carried through the
            model to the module; False: it is an output of the module (0: nothing is active).

    Example:
        >>> import torch
        >>> from helpers.saliency import NonlinearSaliency
        >>> model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
        >>> NonlinearSaliency(model, coordinates=Layer(model[1])).attribute(torch.ones(4, 2), target=0).shape
        torch.Size([4, 3])
    """

    module: nn.Module
    inner: Coordinates = Input()
    carried: bool = True

    def __post_init__(self):
        if not isinstance(self.module, nn.Module):
            raise TypeError(f"Layer(module): expected a module of the model; got {self.module!r}.")
        if not isinstance(self.inner, (Input, Removal)):
            raise TypeError(f"Layer(inner): expected Input(...) or Removal(...); got {self.inner!r}.")

    @property
    def bounded(self) -> bool:
        return self.inner.bounded

    @property
    def has_reference(self) -> bool:
        return self.inner.has_reference

    @property
    def removes(self) -> bool:
        return self.inner.removes

    def check(self, geometry: Geometry) -> None:
        self.inner.check(geometry)

    def chart(self, inputs: Tensor, forward: Forward) -> Chart:
        parts = AtLayer(forward, self.module, inputs)
        activations = parts.activations()
        inner = self.inner
        if inner.has_reference and self.carried:
            reference = like(f"{type(inner).__name__}(reference)", inner.reference, inputs, forward)
            if reference.stride(0) == 0 and not forward.arguments:
                # the same for all examples, and so is what the model makes of it
                reference = reference[:1]
            carried = parts.activations(reference)
            inner = replace(inner, reference=lambda _: carried)
        return inner.chart(activations, parts)


def like(name: str, value, inputs: Tensor, forward: Forward | None = None) -> Tensor:
    """A number, tensor or function of the inputs as a tensor of the inputs' shape, dtype and device.

    Args:
        value: a tensor has to broadcast to the inputs of the whole run; a function is called with these inputs.
        forward: the model bound to these inputs, which says which of a run's examples they are; None: all.

    Raises:
        TypeError: none of the three.
        ValueError: not finite, or a shape that does not broadcast to the inputs'.

    Example:
        >>> import torch
        >>> like("reference", lambda x: x.mean(), torch.tensor([[1.0, 3.0]]))
        tensor([[2., 2.]])
    """
    examples, part = len(inputs), slice(None)
    if callable(value) and not isinstance(value, Tensor):
        value = value(inputs)
    elif forward is not None:
        examples, part = forward.run_examples, forward.part
    if not isinstance(value, (Real, Tensor)):
        raise TypeError(
            f"{name}: expected a number, a tensor or a function of the inputs; got {type(value).__name__}."
        )
    tensor = torch.as_tensor(value, dtype=inputs.dtype, device=inputs.device).detach()
    if not torch.isfinite(tensor).all():
        raise ValueError(f"{name}: expected finite values; got NaN or infinity.")
    shape = (examples, *inputs.shape[1:])
    try:
        return tensor.expand(shape)[part]
    except RuntimeError:
        raise ValueError(
            f"{name}: expected a shape that broadcasts to the inputs' {shape}; got {tuple(tensor.shape)}."
        ) from None
