"""Coordinates: how a vector u changes the input; u = 0 is the input as it is.

Coordinates are a small frozen description (`Input(lower=0, upper=1)`). Bound to a batch they become a `Chart`:
an affine map u -> origin + A u into the space that the rest of the model reads, with the adjoint of A for
gradients, bounds on u, and the direction towards the reference.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from numbers import Real

import torch
from torch import Tensor


@dataclass
class Chart:
    """Coordinates bound to one batch of N examples.

    origin: the point u = 0 in the space that `forward` reads, shape (N, *B).
    forward: (points of shape (n, *B), rows) -> outputs of shape (n, K); rows are the n examples' numbers.
    lower, upper: bounds on u, shape (N, *S), or None.
    direction: u that leads to the reference, shape (N, *S), or None without a reference.
    """

    origin: Tensor
    forward: Callable[[Tensor, Tensor], Tensor]
    lower: Tensor | None = None
    upper: Tensor | None = None
    direction: Tensor | None = None
    removes = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape (N, *S) of u."""
        return tuple(self.origin.shape)

    def push(self, u: Tensor, rows: Tensor) -> Tensor:
        """A u: (n, *S) -> (n, *B)."""
        return u

    def pull(self, gradient: Tensor, rows: Tensor) -> Tensor:
        """The adjoint of A: (n, *B) -> (n, *S)."""
        return gradient

    def point(self, u: Tensor, rows: Tensor) -> Tensor:
        """origin + A u, shape (n, *B)."""
        return self.origin[rows] + self.push(u, rows)

    def clip(self, u: Tensor, rows: Tensor) -> Tensor:
        """u moved into its bounds."""
        if self.lower is not None:
            u = torch.maximum(u, self.lower[rows])
        if self.upper is not None:
            u = torch.minimum(u, self.upper[rows])
        return u


class Coordinates:
    """What every coordinate system shares. A new one is a frozen dataclass that defines `chart`.

    `bounded` and `has_reference` let a path refuse what it cannot use.
    """

    bounded = False
    has_reference = False

    def chart(self, inputs: Tensor, forward: Callable[[Tensor, Tensor], Tensor]) -> Chart:
        """The coordinates bound to a batch.

        Args:
            inputs: shape (N, ...).
            forward: (inputs of shape (n, ...), rows) -> outputs of shape (n, K).
        """
        raise NotImplementedError


@dataclass(frozen=True)
class Input(Coordinates):
    """The input itself: x + u.

    Args:
        lower, upper: bounds on x + u, in the input's units; numbers, or tensors that broadcast to the input.
        reference: an input without the evidence ("all the way" is then u = reference - x): a number, a
            tensor that broadcasts to the input, or a function from inputs to references of the same shape.
    """

    lower: float | Tensor | None = None
    upper: float | Tensor | None = None
    reference: float | Tensor | Callable[[Tensor], Tensor] | None = field(default=None)

    @property
    def bounded(self) -> bool:
        return self.lower is not None or self.upper is not None

    @property
    def has_reference(self) -> bool:
        return self.reference is not None

    def chart(self, inputs: Tensor, forward: Callable[[Tensor, Tensor], Tensor]) -> Chart:
        lower = self.lower if self.lower is None else like("Input(lower)", self.lower, inputs)
        upper = self.upper if self.upper is None else like("Input(upper)", self.upper, inputs)
        for name, outside in (
            ("below lower", None if lower is None else inputs < lower),
            ("above upper", None if upper is None else inputs > upper),
        ):
            if outside is not None and outside.any():
                raise ValueError(
                    f"inputs: expected values within the bounds of {self._bounds()}; {int(outside.sum())} lie "
                    f"{name}, the first is {inputs[outside][0].item():g}. Widen the bounds or clamp the input."
                )
        direction = None
        if self.reference is not None:
            direction = like("Input(reference)", self.reference, inputs) - inputs
        return Chart(
            origin=inputs,
            forward=forward,
            lower=None if lower is None else lower - inputs,
            upper=None if upper is None else upper - inputs,
            direction=direction,
        )

    def _bounds(self) -> str:
        shown = [v if isinstance(v, (Real, type(None))) else "tensor" for v in (self.lower, self.upper)]
        return f"Input(lower={shown[0]}, upper={shown[1]})"


def like(name: str, value, inputs: Tensor) -> Tensor:
    """A number, tensor or function of the inputs as a tensor of the inputs' shape, dtype and device.

    Raises:
        TypeError: none of the three.
        ValueError: not finite, or a shape that does not broadcast to the inputs'.
    """
    if callable(value) and not isinstance(value, Tensor):
        value = value(inputs)
    if not isinstance(value, (Real, Tensor)):
        raise TypeError(
            f"{name}: expected a number, a tensor or a function of the inputs; got {type(value).__name__}."
        )
    tensor = torch.as_tensor(value, dtype=inputs.dtype, device=inputs.device).detach()
    if not torch.isfinite(tensor).all():
        raise ValueError(f"{name}: expected finite values; got NaN or infinity.")
    try:
        return tensor.expand_as(inputs)
    except RuntimeError:
        raise ValueError(
            f"{name}: expected a shape that broadcasts to the inputs' {tuple(inputs.shape)}; "
            f"got {tuple(tensor.shape)}."
        ) from None
