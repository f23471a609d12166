"""What is checked before the first step, and the batch in the parts that pass through the model together."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from helpers.checks import require_count
from helpers.saliency.model import Forward, warn_of_training
from helpers.saliency.scores import checked_target, class_indices


@dataclass(frozen=True)
class Batch:
    """Examples that pass through the model together: n of the N of a run.

    inputs: (n, ...). target: their classes, (n,), int64, or None. forward: the model bound to them.
    """

    inputs: Tensor
    target: Tensor | None
    forward: Forward

    @property
    def rows(self) -> Tensor:
        """The numbers of the examples, 0 to n - 1, on their device."""
        return torch.arange(len(self.inputs), device=self.inputs.device)


def batches(
    function: Callable[..., Tensor],
    inputs,
    target=None,
    arguments=None,
    size: int | None = None,
    tokens: bool = False,
) -> Iterator[Batch]:
    """A run's examples in batches of at most that size (None: all), each with its own target and arguments.

    Args:
        function: the model.
        inputs: as a user gives them, (N, ...).
        target: an int, N of them, or None.
        arguments: additional arguments of the model; tensors whose dimension 0 is N are split.
        size: most examples in one pass.
        tokens: whether inputs of integers will do.

    Raises:
        TypeError, ValueError: inputs, a target or a size that cannot be used.

    Example:
        >>> import torch
        >>> parts = batches(lambda x: x, torch.eye(3), target=[0, 1, 2], size=2)
        >>> [part.target.tolist() for part in parts]
        [[0, 1], [2]]
    """
    inputs = checked_inputs(inputs, tokens)
    if size is not None:
        require_count("internal_batch_size", size)
    watch = not warn_of_training(function)
    examples = len(inputs)
    target = checked_target(target, examples)
    for start in range(0, examples, size or examples):
        part = slice(start, min(start + (size or examples), examples))
        own = None if target is None else target[part]
        yield Batch(inputs[part], own, Forward(function, arguments, examples, part, watch and start == 0))


def competing_classes(competitors, batch: Batch) -> Tensor:
    """The competing classes of each example of a batch, (n, R): the k highest others (or all), or those of a list.

    Raises:
        TypeError, ValueError: no target, a target among the competitors.

    Example:
        >>> import torch
        >>> (batch,) = batches(lambda x: x, torch.tensor([[3.0, 1.0, 2.0]]), target=0)
        >>> competing_classes(2, batch)  # the two highest other classes
        tensor([[2, 1]])
    """
    examples = len(batch.inputs)
    with torch.no_grad():
        outputs = batch.forward(batch.inputs, batch.rows)
    if outputs.ndim != 2 or outputs.shape[1] < 2:
        raise ValueError(
            f"competitors: expected a model with at least two classes; its outputs have shape "
            f"{tuple(outputs.shape)}."
        )
    classes = outputs.shape[1]
    own = class_indices(batch.target, examples, classes).to(outputs.device)
    if isinstance(competitors, int):
        require_count("competitors", competitors)
        return outputs.scatter(1, own[:, None], -torch.inf).topk(min(competitors, classes - 1), 1).indices
    rivals = own.new_zeros(examples, 0)
    if len(competitors):
        rivals = class_indices(competitors, len(competitors), classes).to(outputs.device).expand(examples, -1)
    if not rivals.shape[1] or (rivals == own[:, None]).any():
        raise ValueError(
            "competitors: expected classes other than the target, at least one; got "
            f"{list(competitors)} for target {own.tolist()}."
        )
    return rivals


def checked_inputs(inputs, tokens: bool = False) -> Tensor:
    """The inputs as one detached tensor (N, ...); tokens: whether integers will do.

    Raises:
        RuntimeError: in inference mode.
        TypeError: not one floating-point tensor, or one of float16.
        ValueError: no example, or values that are not finite.

    Example:
        >>> import torch
        >>> checked_inputs(torch.tensor([[1.0, float("nan")]]))
        Traceback (most recent call last):
            ...
        ValueError: inputs: expected finite values; got NaN or infinity in 1 elements, in examples [0].
    """
    if isinstance(inputs, tuple) and len(inputs) == 1:
        (inputs,) = inputs
    if isinstance(inputs, tuple):
        raise TypeError(
            f"inputs: expected one tensor; got a tuple of {len(inputs)}. Explain one of them and pass the "
            "others as additional_forward_args."
        )
    if not isinstance(inputs, Tensor):
        raise TypeError(f"inputs: expected a tensor of shape (N, ...); got {type(inputs).__name__}.")
    if torch.is_inference_mode_enabled() or inputs.is_inference():
        raise RuntimeError(
            "inputs: expected to be explained where gradients can be taken; torch.inference_mode() forbids them. "
            "Leave it for this call; inputs made inside it are to be cloned outside. torch.no_grad() may stay."
        )
    if inputs.dtype == torch.float16:
        raise TypeError(
            "inputs: expected float32, float64 or bfloat16; float16 is too narrow for the squares of gradients. "
            "Convert the model and the inputs, for example by model.float() and inputs.float()."
        )
    if not inputs.is_floating_point() and not (tokens and inputs.dtype in (torch.int32, torch.int64)):
        raise TypeError(
            f"inputs: expected a floating-point tensor; got {inputs.dtype}. Convert pixel values, for example by "
            "inputs.float() / 255; numbers of tokens cannot be changed a little: explain their embeddings, with "
            "coordinates=Layer(embedding)."
        )
    if inputs.ndim < 2 or not inputs.numel():
        raise ValueError(
            "inputs: expected shape (N, ...) with at least one example and one feature; got "
            f"{tuple(inputs.shape)}."
        )
    bad = ~torch.isfinite(inputs)
    if bad.any():
        rows = bad.flatten(1).any(1).nonzero()[:, 0].tolist()
        raise ValueError(
            f"inputs: expected finite values; got NaN or infinity in {int(bad.sum())} elements, in examples "
            f"{rows[:5]}."
        )
    return inputs.detach()
