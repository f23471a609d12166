"""What is checked before the first step: the inputs, the model's mode, the competing classes."""

import warnings

import torch
from torch import Tensor, nn

from helpers.checks import require_count
from helpers.saliency.model import Forward
from helpers.saliency.scores import class_indices


def competing_classes(competitors, target, inputs: Tensor, forward: Forward) -> Tensor:
    """The competing classes of each example, shape (N, R): the k highest others, or those of a list.

    Raises:
        TypeError, ValueError: no target, a target among the competitors, more classes than there are.

    Example:
        >>> import torch
        >>> inputs = torch.tensor([[3.0, 1.0, 2.0]])
        >>> competing_classes(2, 0, inputs, Forward(lambda x: x))  # the two highest other classes
        tensor([[2, 1]])
    """
    examples, rows = len(inputs), torch.arange(len(inputs), device=inputs.device)
    with torch.no_grad():
        outputs = torch.cat([forward(inputs[chunk], chunk) for chunk in forward.chunks(rows)])
    if outputs.ndim != 2 or outputs.shape[1] < 2:
        raise ValueError(
            f"competitors: expected a model with at least two classes; its outputs have shape "
            f"{tuple(outputs.shape)}."
        )
    classes = outputs.shape[1]
    own = class_indices(target, examples, classes).to(outputs.device)
    if isinstance(competitors, int):
        require_count("competitors", competitors)
        if competitors >= classes:
            raise ValueError(f"competitors: expected at most {classes - 1} other classes; got {competitors}.")
        return outputs.scatter(1, own[:, None], -torch.inf).topk(competitors, 1).indices
    rivals = own.new_zeros(examples, 0)
    if len(competitors):
        rivals = class_indices(competitors, len(competitors), classes).to(outputs.device).expand(examples, -1)
    if not rivals.shape[1] or (rivals == own[:, None]).any():
        raise ValueError(
            "competitors: expected classes other than the target, at least one; got "
            f"{list(competitors)} for target {own.tolist()}."
        )
    return rivals


def checked_inputs(inputs) -> Tensor:
    """The inputs as one detached tensor (N, ...).

    Raises:
        TypeError: not one floating-point tensor.
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
    if not inputs.is_floating_point():
        raise TypeError(
            f"inputs: expected a floating-point tensor; got {inputs.dtype}. Convert it, for example by "
            "inputs.float(), and scale it as the model expects."
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


def warn_of_training(model) -> None:
    """Warns if a module is in train mode and has a batch norm or dropout.

    Example:
        >>> import warnings
        >>> from torch import nn
        >>> with warnings.catch_warnings(record=True) as caught:
        ...     warnings.simplefilter("always")
        ...     warn_of_training(nn.Sequential(nn.Linear(2, 2), nn.Dropout()))
        ...     warn_of_training(nn.Sequential(nn.Linear(2, 2), nn.Dropout()).eval())
        >>> len(caught)
        1
    """
    if not isinstance(model, nn.Module):
        return
    kinds = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)
    names = sorted({type(m).__name__ for m in model.modules() if isinstance(m, kinds) and m.training})
    if names:
        warnings.warn(
            f"forward_func: the model is in train mode and has {', '.join(names)}, so its output depends on "
            "the batch or on chance. Call model.eval() first.",
            stacklevel=5,
        )
