"""The model bound to the examples of a run."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from helpers.checks import warn_caller


class Forward:
    """A model bound to n examples that follow one another in a run of N.

    Args:
        function: module or function from inputs (n, ...) and additional arguments to outputs (n, K).
        arguments: what follows the input: None, one argument or a tuple; tensors whose dimension 0 is N are
            split like the examples.
        examples: N.
        part: the places of the n examples in the run; None: all.
        watch: whether to warn if the model's first pass draws random numbers or changes its buffers.

    Example:
        >>> import torch
        >>> scales = torch.tensor([1.0, 10.0])  # an additional argument, one for each of two examples
        >>> forward = Forward(lambda x, scale: x * scale[:, None], scales, examples=2)
        >>> forward(torch.ones(1, 1), rows=torch.tensor([1]))
        tensor([[10.]])
    """

    def __init__(
        self, function: Callable, arguments=None, examples: int = 1, part: slice | None = None, watch=False
    ):
        self.function, self._watch = function, watch
        self.run_examples = examples
        self.part = slice(0, examples) if part is None else part
        arguments = () if arguments is None else arguments if isinstance(arguments, tuple) else (arguments,)
        self._split = [isinstance(a, Tensor) and a.ndim > 0 and len(a) == examples for a in arguments]
        self.arguments = tuple(
            a[self.part] if split else a for a, split in zip(arguments, self._split, strict=True)
        )

    @property
    def head_evaluations(self) -> Tensor:
        """Passes of each example through what comes before a layer, (n,): none, there is no layer."""
        return torch.zeros(self.part.stop - self.part.start, dtype=torch.long)

    def __call__(self, points: Tensor, rows: Tensor) -> Tensor:
        """Outputs (m, K) of the points (m, ...) that stand for the examples with those numbers, counted from 0.

        Raises:
            TypeError, ValueError: the model returns something else.
        """
        with self.noticing():
            # a copy: a model may work in place, and the points are the caller's
            outputs = self.function(points.clone(), *self.arguments_of(rows))
        if not isinstance(outputs, Tensor):
            raise TypeError(
                f"forward_func: expected one tensor of outputs; got {type(outputs).__name__}. "
                "Wrap the model in a function that returns the logits."
            )
        if outputs.ndim == 0 or len(outputs) != len(points):
            raise ValueError(
                f"forward_func: expected outputs of shape (N, K) with N = {len(points)}; "
                f"got {tuple(outputs.shape)}."
            )
        return outputs

    @contextmanager
    def noticing(self, whole: bool = True) -> Iterator[None]:
        """Around a pass, or a part of one: the first whole one is watched, where that was asked for."""
        if not self._watch:
            yield
            return
        before = traces_of(self.function)
        yield
        after = traces_of(self.function)
        changed = [name for name, was in before.items() if after[name] != was]
        self._watch = not (whole or changed)
        if changed:
            modes = sorted({type(m).__name__ for m in modules_of(self.function) if m.training})
            training = f" It is in train mode ({', '.join(modes)}): call model.eval() first." if modes else ""
            warn_caller(
                f"forward_func: the model's pass changes {' and '.join(changed)}, so its output depends on chance "
                f"or on earlier passes, and so do maps.{training}"
            )

    def arguments_of(self, rows: Tensor) -> tuple:
        """The additional arguments of the examples with those numbers."""
        return tuple(
            a[rows.to(a.device)] if split else a for a, split in zip(self.arguments, self._split, strict=True)
        )


def modules_of(function: Callable) -> list[nn.Module]:
    """The modules of a model; of a function none are known.

    Example:
        >>> len(modules_of(nn.Sequential(nn.ReLU()))), modules_of(lambda x: x)
        (2, [])
    """
    return list(function.modules()) if isinstance(function, nn.Module) else []


def traces_of(function: Callable) -> dict[str, object]:
    """What a pass of the model leaves behind: random numbers drawn, buffers written to.

    Example:
        >>> norm = nn.BatchNorm1d(2)
        >>> before = traces_of(norm)
        >>> outputs = norm(torch.ones(3, 2))
        >>> [name for name, trace in traces_of(norm).items() if trace != before[name]]
        ['its buffers']
    """
    states = [torch.get_rng_state()]
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        states += torch.cuda.get_rng_state_all()
    buffers = function.buffers() if isinstance(function, nn.Module) else ()
    return {
        "the state of torch's random numbers": [state.numpy().tobytes() for state in states],
        "its buffers": [buffer._version for buffer in buffers if not buffer.is_inference()],
    }


def column_count(outputs: Tensor) -> int:
    """How many columns a model's outputs have; 1 for outputs of shape (N,).

    Example:
        >>> column_count(torch.zeros(4, 3)), column_count(torch.zeros(4))
        (3, 1)
    """
    return outputs.shape[1] if outputs.ndim > 1 else 1


def warn_of_training(model, name: str = "forward_func", kind: str = "model") -> bool:
    """Warns if a module is in train mode and is a batch norm or dropout; returns whether it did.

    Other kinds of chance and memory are noticed in the first pass (`Forward`).

    Args:
        name, kind: the argument and what it is, for the warning.

    Example:
        >>> import warnings
        >>> with warnings.catch_warnings(record=True) as caught:
        ...     warnings.simplefilter("always")
        ...     [warn_of_training(nn.Sequential(nn.Dropout()).train(mode)) for mode in (True, False)]
        [True, False]
        >>> len(caught)
        1
    """
    if not isinstance(model, nn.Module):
        return False
    kinds = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)
    names = sorted({type(m).__name__ for m in model.modules() if isinstance(m, kinds) and m.training})
    if names:
        warn_caller(
            f"{name}: the {kind} is in train mode and has {', '.join(names)}, so its output depends on "
            f"the batch or on chance. Call {kind}.eval() first."
        )
    return bool(names)
