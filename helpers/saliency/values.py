"""References and bounds as people give them, numbers, tensors or functions, as tensors of the inputs' shape."""

from numbers import Real

import torch
from torch import Tensor

from helpers.checks import warn_caller
from helpers.saliency.model import Forward


def around(bounds: str, inputs: Tensor, lower: Tensor | None, upper: Tensor | None) -> tuple:
    """The bounds, moved to the inputs where those lie outside: there they may only move inwards.

    Warns:
        UserWarning: inputs outside; bounds says which ones.

    Example:
        >>> import torch
        >>> around("Input(lower=0, upper=None)", torch.tensor([[1.0]]), torch.tensor([[0.0]]), None)
        (tensor([[0.]]), None)
    """
    out = outside(inputs, lower, upper)
    if out.any():
        warn_caller(
            f"inputs: {int(out.sum())} values lie outside the bounds of {bounds}, the first is "
            f"{inputs[out][0].item():g}; there the input itself is the bound. Widen the bounds or clamp "
            "the inputs, unless noise was added on purpose."
        )
        lower = None if lower is None else torch.minimum(lower, inputs)
        upper = None if upper is None else torch.maximum(upper, inputs)
    return lower, upper


def outside(values: Tensor, lower: Tensor | None, upper: Tensor | None) -> Tensor:
    """Which values lie outside the bounds, bool.

    Example:
        >>> import torch
        >>> outside(torch.tensor([0.5, 2.0]), None, torch.tensor([1.0, 1.0]))
        tensor([False,  True])
    """
    out = torch.zeros_like(values, dtype=torch.bool)
    out |= False if lower is None else values < lower
    out |= False if upper is None else values > upper
    return out


def bounds_text(owner: str, lower, upper) -> str:
    """The bounds of some coordinates in words.

    Example:
        >>> bounds_text("Input", 0, None)
        'Input(lower=0, upper=None)'
    """
    bounds = [v if isinstance(v, (Real, type(None))) else "tensor" for v in (lower, upper)]
    return f"{owner}(lower={bounds[0]}, upper={bounds[1]})"


def like(name: str, value, inputs: Tensor, forward: Forward | None = None, what: str = "inputs") -> Tensor:
    """A number, tensor or function of the inputs as a tensor of the inputs' shape, dtype and device.

    Args:
        value: a tensor has to broadcast to the inputs of the whole run; a function is called with these inputs.
        forward: the model bound to these inputs, which says which of a run's examples they are; None: all.
        what: what the inputs are called in an error.

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
            f"{name}: expected a number, a tensor or a function of the {what}; got {type(value).__name__}."
        )
    tensor = torch.as_tensor(value, dtype=inputs.dtype, device=inputs.device).detach()
    if not torch.isfinite(tensor).all():
        raise ValueError(f"{name}: expected finite values; got NaN or infinity.")
    shape = (examples, *inputs.shape[1:])
    try:
        return tensor.expand(shape)[part]
    except RuntimeError:
        raise ValueError(
            f"{name}: expected a shape that broadcasts to the {what}' {shape}; got {tuple(tensor.shape)}."
        ) from None
