"""What the adapters share: checked arguments, and a model that is afterwards as it was before."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor, enable_grad, nn

from helpers.checks import require_images

BATCH = 32  # images in one pass, at most
Adapter = Callable[[nn.Module, Tensor, Sequence[int]], Tensor]


@contextmanager
def prepared(model: nn.Module, image: Tensor, classes: Sequence[int]) -> Iterator[Tensor]:
    """Yields the image as a float32 copy; inside, the model is in eval mode and no parameter needs a gradient.

    Afterwards modes, gradients and what needs one are as before, also after an error.

    Args:
        model: from pixel values (N, C, H, W) to logits (N, K).
        image: (1, C, H, W).
        classes: numbers from 0 to K - 1, at least one.

    Raises:
        TypeError: a model that is not a module.
        ValueError: something else than one image, or no classes or wrong ones; numbers above K - 1 at the
            first pass.

    Example:
        >>> import torch
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
        >>> with prepared(model, torch.ones(1, 1, 2, 2), [2]) as pixels:
        ...     model(pixels)
        Traceback (most recent call last):
            ...
        ValueError: classes: expected numbers from 0 to 1, the model's outputs being (1, 2); got [2].
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model: expected a module; got {model!r}.")
    require_images("image", image)
    if len(image) != 1:
        raise ValueError(f"image: expected one image, shape (1, C, H, W); got {tuple(image.shape)}.")
    numbers = list(classes)
    if not numbers or not all(type(number) is int and number >= 0 for number in numbers):
        raise ValueError(f"classes: expected at least one class, integers from 0; got {classes!r}.")

    def check(module: nn.Module, arguments, outputs: Tensor) -> None:
        if outputs.ndim != 2 or max(numbers) >= outputs.shape[1]:
            raise ValueError(
                f"classes: expected numbers from 0 to {outputs.shape[-1] - 1}, the model's outputs being "
                f"{tuple(outputs.shape)}; got {numbers}."
            )

    parameters = [(p, p.requires_grad, p.grad) for p in model.parameters()]
    modes = [(module, module.training) for module in model.modules()]
    handle = model.register_forward_hook(check)
    try:
        model.eval().requires_grad_(False)
        for parameter, _, _ in parameters:
            parameter.grad = None
        with enable_grad():
            yield image.detach().float().clone()
    finally:
        handle.remove()
        for module, training in modes:
            module.training = training
        for parameter, needed, gradient in parameters:
            parameter.requires_grad_(needed).grad = gradient


def parts(classes: Sequence[int]) -> list[list[int]]:
    """The classes in groups that fit into one pass.

    Example:
        >>> [len(part) for part in parts(range(40))]
        [32, 8]
    """
    numbers = list(classes)
    return [numbers[start : start + BATCH] for start in range(0, len(numbers), BATCH)]
