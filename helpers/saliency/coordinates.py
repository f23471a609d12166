"""Coordinates: how a vector u changes the input; u = 0 is the input as it is.

Coordinates are a small frozen description (`Input(lower=0, upper=1)`). Bound to a batch they become a `Chart`:
a map from u into the space that the rest of the model reads, u -> origin + A u unless it is curved
(`helpers.saliency.decoders`), with the adjoint of its derivative for gradients, bounds on u, and the direction
towards the reference.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from helpers.checks import require_count, require_images
from helpers.saliency.cells import enlarge, gather
from helpers.saliency.cut import AtLayer
from helpers.saliency.geometries import Euclidean, Geometry, Smooth
from helpers.saliency.model import Forward
from helpers.saliency.values import around, bounds_text, like, outside


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
    restores: whether u counts evidence that is given back, from the reference on.

    A chart that is curved, not affine, defines `point` and `pull` alone, and says so by `curved`.

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
    restores: bool = False

    curved = False

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

    def pull(self, gradient: Tensor, u: Tensor, rows: Tensor) -> Tensor:
        """The adjoint of the derivative at u, which is A everywhere: (n, *B) -> (n, *S)."""
        return gradient

    def point(self, u: Tensor, rows: Tensor) -> Tensor:
        """origin + A u, shape (n, *B)."""
        return taken(self.origin, rows) + self.push(u, rows)

    def change(self, start: Tensor, end: Tensor, rows: Tensor) -> Tensor:
        """point(end) - point(start), shape (n, *B)."""
        if self.curved:
            return self.point(end, rows) - self.point(start, rows)
        return self.push(end - start, rows)

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

    def reversed(self) -> "RemovalChart":
        """The same way back: u = 0 is the reference, and u counts what is restored of the input."""
        return replace(self, origin=self.origin + self.gap, gap=-self.gap, removes=False, restores=True)

    def push(self, u: Tensor, rows: Tensor) -> Tensor:
        return u * taken(self.gap, rows)

    def pull(self, gradient: Tensor, u: Tensor, rows: Tensor) -> Tensor:
        product = gradient * taken(self.gap, rows)
        return product if self.channels is None else product.sum(self.channels, keepdim=True)


@dataclass
class CellsChart(RemovalChart):
    """origin + enlarge(u) * gap, with one u for each cell of images (N, C, H, W).

    cells: rows and columns of cells.

    Example:
        >>> import torch
        >>> image = torch.ones(1, 3, 4, 4)
        >>> chart = CellsChart(image, forward=None, gap=-image, channels=1, cells=(2, 2))  # towards black
        >>> chart.shape
        (1, 1, 2, 2)
        >>> u = torch.tensor([[[[1.0, 0.0], [1.0, 0.0]]]])  # the left half
        >>> chart.point(u, rows=torch.tensor([0]))[0, 0, 0]
        tensor([0.0000, 0.2500, 0.7500, 1.0000])
    """

    cells: tuple[int, int] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.origin), 1, *self.cells)

    def push(self, u: Tensor, rows: Tensor) -> Tensor:
        return super().push(enlarge(u, self.origin.shape[2:]), rows)

    def pull(self, gradient: Tensor, u: Tensor, rows: Tensor) -> Tensor:
        return gather(super().pull(gradient, u, rows), self.cells)


class Coordinates:
    """What every coordinate system shares. A new one is a frozen dataclass that defines `chart`.

    `bounded`, `has_reference` and `removes` (u counts evidence that is taken away) let a path refuse what it
    cannot use; `with_reference` is an example of what to write instead.

    Example:
        >>> systems = Input(), Input(reference=0.0), Removal(reference=0.0)
        >>> [(each.bounded, each.has_reference, each.removes) for each in systems]
        [(False, False, False), (False, True, False), (True, True, True)]
    """

    bounded = False
    has_reference = False
    removes = False
    with_reference = "Input(reference=0.0)"

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
        lower, upper = around(self._bounds(), inputs, lower, upper)
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

    def _require_within(self, name: str, values: Tensor, lower: Tensor | None, upper: Tensor | None) -> None:
        out = outside(values, lower, upper)
        if out.any():
            raise ValueError(
                f"{name}: expected values within the bounds of {self._bounds()}; {int(out.sum())} lie outside, "
                f"the first is {values[out][0].item():g}. Widen the bounds or clamp the values."
            )

    def _bounds(self) -> str:
        return bounds_text("Input", self.lower, self.upper)


@dataclass(frozen=True)
class Removal(Coordinates):
    """Evidence taken away: x + u * (reference - x), 0 <= u <= 1, one u per pixel, shared by its channels.

    Args:
        reference: an input without the evidence: a function from inputs to references of the same shape
            (`helpers.saliency.references`), a number, or a tensor that broadcasts to the input.
        channels: the dimension that shares one u, counted with the batch. None: dimension 1 of images
            (N, C, H, W), dimension 2 of token sequences (N, T, C), and none of feature vectors (N, n).
        cells: of images, one u for each of cells x cells cells, or of (rows, columns) of them, enlarged bilinearly
            to the image: displacement and mean gradient have shape (N, 1, rows, columns), contributions still
            that of the input. None: one u a pixel.

    Raises:
        ValueError: cells or channels that the inputs do not have.

    Example:
        >>> import torch
        >>> from helpers.saliency import NonlinearSaliency, Straight
        >>> saliency = NonlinearSaliency(lambda x: x.mean((2, 3)), coordinates=Removal(0.0), path=Straight(4))
        >>> run = saliency.explain(torch.ones(1, 3, 5, 5), target=0)
        >>> run.displacement.shape, run.contribution.shape
        (torch.Size([1, 1, 5, 5]), torch.Size([1, 3, 5, 5]))
        >>> coarse = saliency.replace(coordinates=Removal(0.0, cells=2)).explain(torch.ones(1, 3, 5, 5), target=0)
        >>> coarse.displacement.shape, coarse.contribution.shape
        (torch.Size([1, 1, 2, 2]), torch.Size([1, 3, 5, 5]))
    """

    reference: float | Tensor | Callable[[Tensor], Tensor]
    channels: int | None = None
    cells: int | tuple[int, int] | None = None

    bounded = True
    has_reference = True
    removes = True

    def __post_init__(self):
        if self.cells is None:
            return
        hint = "or a pair of them, rows and columns"
        pair = isinstance(self.cells, tuple) and len(self.cells) == 2
        for count in self.cells if pair else (self.cells,):
            require_count("Removal(cells)", count, hint=hint)
        if self.channels not in (None, 1):
            raise ValueError(
                f"Removal(channels): cells are those of images, whose channels are dimension 1; got "
                f"{self.channels!r}. Leave channels or cells out."
            )

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
        bound = {
            "origin": inputs,
            "forward": forward,
            "removes": True,
            "gap": like("Removal(reference)", self.reference, inputs, forward) - inputs,
            "channels": channels,
        }
        chart = (
            RemovalChart(**bound) if self.cells is None else CellsChart(**bound, cells=self._cells_of(inputs))
        )
        none, whole = (inputs.new_tensor(value).expand(chart.shape) for value in (0.0, 1.0))
        return replace(chart, lower=none, upper=whole)

    def _cells_of(self, inputs: Tensor) -> tuple[int, int]:
        """Rows and columns of cells; ValueError where these inputs have none, or fewer pixels."""
        require_images("Removal(cells)", inputs, "Leave cells out.")
        cells = self.cells if isinstance(self.cells, tuple) else (self.cells, self.cells)
        size = tuple(inputs.shape[2:])
        if cells[0] > size[0] or cells[1] > size[1]:
            raise ValueError(
                f"Removal(cells): expected at most as many as there are pixels, {size}; got {cells}. Take fewer, "
                "or leave cells out for one u a pixel."
            )
        return cells


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
