"""Coordinates through a map: the code of a decoder, so that a path stays where the decoder's pictures lie."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from helpers.saliency.coordinates import Chart, Coordinates, taken
from helpers.saliency.model import Forward, warn_of_training
from helpers.saliency.values import around, bounds_text, like


@dataclass
class DecoderChart(Chart):
    """clamp(rest + D(code + u)), with rest = origin - D(code) or none; gradients are pulled back through D at u.

    decode: (codes of shape (n, *S)) -> (n, *B). code: (N, *S). decoded: D(code), (N, *B); None: without the rest.
    least, most: bounds on what is read, (N, *B), or None; there are none on u. goal: the reference's code, or None.

    Example:
        >>> import torch
        >>> x, code = torch.tensor([[5.0]]), torch.tensor([[2.0]])
        >>> chart = DecoderChart(x, forward=None, decode=torch.square, code=code, decoded=code.square())
        >>> u, rows = torch.tensor([[1.0]]), torch.tensor([0])
        >>> chart.point(u, rows), chart.pull(torch.ones(1, 1), u, rows)  # 3 squared, and the rest of 1
        (tensor([[10.]]), tensor([[6.]]))
    """

    decode: Callable[[Tensor], Tensor] | None = None
    code: Tensor | None = None
    decoded: Tensor | None = None
    least: Tensor | None = None
    most: Tensor | None = None
    goal: Tensor | None = None

    curved = True

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.code.shape)

    @property
    def direction(self) -> Tensor | None:
        return None if self.goal is None else self.goal - self.code

    def point(self, u: Tensor, rows: Tensor) -> Tensor:
        with torch.no_grad():
            return self._read(u, rows)

    def pull(self, gradient: Tensor, u: Tensor, rows: Tensor) -> Tensor:
        if not len(rows):
            return torch.zeros_like(u)
        with torch.enable_grad():
            u = u.detach().requires_grad_()
            return torch.autograd.grad(self._read(u, rows), u, gradient)[0]

    def _read(self, u: Tensor, rows: Tensor) -> Tensor:
        """What the model reads, (n, *B)."""
        if not len(rows):
            # not every module takes an empty batch
            return self.origin[:0]
        point = self.decode(taken(self.code, rows) + u)
        if self.decoded is not None:
            # in this order u = 0 is the input to the last bit
            point = taken(self.origin, rows) + (point - taken(self.decoded, rows))
        if self.least is None and self.most is None:
            return point
        # at a bound its derivative is 1, so that what lies there can leave it
        least, most = (None if b is None else taken(b, rows) for b in (self.least, self.most))
        return torch.clamp(point, least, most)


@dataclass(frozen=True, eq=False)
class Decoder(Coordinates):
    """The code of a decoder D: the model reads x(u) = clamp(D(z + u) + (x - D(z))), where z = encoder(x).

    D may be any differentiable map: the decoder of a variational autoencoder, principal components, a spline. A
    path then stays where D's pictures lie, as in REVISE (Joshi et al. 2019, arXiv 1907.09615), whose search for a
    counterfactual is in the code, too. What D cannot draw, x - D(z), is kept, so u = 0 is the input itself.

    Displacement and mean gradient live in the code, (N, *S), in its units and score per unit of them; the mean
    gradient of a step is pulled back through D halfway along it. Contributions live in the input, (N, ...), in
    units of the score: mean gradient times the input's change over each step, so that they are complete, in second
    order in the steps where score and D are smooth and in first order at kinks. The contributions of `Tangent` and
    `StraightTangent` are the gradient at the input times that change; where D is curved they do not sum to the
    tangent's prediction, which is made in the code. Geometries measure the code. Passes of D and of the encoder are
    not counted as passes of the model.

    Args:
        decoder: module or function from codes (n, *S) to inputs (n, ...), with gradients.
        encoder: module or function from inputs (n, ...) to codes (n, *S), called once for a batch, without
            gradients. It may be anything, also a table look-up.
        reference: a code without the evidence, or of another class ("all the way" is then u = reference - z): a
            number, a tensor that broadcasts to the codes, or a function from codes to codes of the same shape.
        keep_rest: whether x - D(z) is added. False: the model reads D(z + u); `score_start` is then the score of
            D(z), not of the input.
        lower, upper: bounds on what the model reads, in the input's units; numbers, or tensors that broadcast to
            the input. They are no bounds on u.

    Raises:
        TypeError, ValueError: a decoder or encoder that does not fit the inputs (named in the message), before the
            first step.

    Warns:
        UserWarning: a decoder or encoder in train mode whose batch norm or dropout makes examples depend on each
            other or on chance; inputs outside the bounds.

    Example:
        >>> import torch
        >>> from helpers.saliency import Logit, NonlinearSaliency
        >>> together = Decoder(lambda z: z * torch.ones(2), lambda x: x.mean(1, keepdim=True))  # both by as much
        >>> saliency = NonlinearSaliency(lambda x: x.prod(1, keepdim=True), Logit(), together)
        >>> run = saliency.explain(torch.tensor([[1.0, 3.0]]), level=0.0)
        >>> run.displacement.round(decimals=3), run.endpoint.round(decimals=3)
        (tensor([[-1.]]), tensor([[0., 2.]]))
        >>> run.contribution.round(decimals=2)  # from 3 to 0
        tensor([[-2.5000, -0.5000]])
    """

    decoder: Callable[[Tensor], Tensor]
    encoder: Callable[[Tensor], Tensor]
    reference: float | Tensor | Callable[[Tensor], Tensor] | None = None
    keep_rest: bool = True
    lower: float | Tensor | None = None
    upper: float | Tensor | None = None

    with_reference = "Decoder(decoder, encoder, reference=0.0)"

    def __post_init__(self):
        for name, what in (("decoder", "codes to inputs"), ("encoder", "inputs to codes")):
            value = getattr(self, name)
            if not callable(value):
                raise TypeError(
                    f"Decoder({name}): expected a module or a function from {what}; got {value!r}."
                )
        if not isinstance(self.keep_rest, bool):
            raise TypeError(f"Decoder(keep_rest): expected True or False; got {self.keep_rest!r}.")

    @property
    def has_reference(self) -> bool:
        return self.reference is not None

    def chart(self, inputs: Tensor, forward: Forward) -> DecoderChart:
        if forward is None or forward.part.start == 0:
            for name in ("decoder", "encoder"):
                warn_of_training(getattr(self, name), f"Decoder({name})", name)
        code = code_of(self.encoder, inputs)
        decoded = decoded_of(self.decoder, code, inputs)
        least, most = self._bounds(inputs, forward)
        goal = None
        if self.reference is not None:
            goal = like("Decoder(reference)", self.reference, code, forward, "codes")
        chart = DecoderChart(
            origin=inputs if self.keep_rest else decoded,
            forward=forward,
            decode=self.decoder,
            code=code,
            decoded=decoded if self.keep_rest else None,
            least=least,
            most=most,
            goal=goal,
        )
        if not self.keep_rest and (least is not None or most is not None):
            chart.origin = torch.clamp(decoded, least, most)
        return chart

    def _bounds(self, inputs: Tensor, forward: Forward) -> tuple[Tensor | None, Tensor | None]:
        """The bounds on what the model reads, of the inputs' shape; the input itself is within them."""
        lower, upper = (
            None if value is None else like(f"Decoder({name})", value, inputs, forward)
            for name, value in (("lower", self.lower), ("upper", self.upper))
        )
        if lower is not None and upper is not None and (lower > upper).any():
            raise ValueError(
                "Decoder(lower, upper): expected lower <= upper everywhere; got a lower bound above it."
            )
        if self.keep_rest:
            lower, upper = around(bounds_text("Decoder", self.lower, self.upper), inputs, lower, upper)
        return lower, upper


def code_of(encoder: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
    """The codes of the inputs, (N, *S), without gradients.

    Raises:
        TypeError, ValueError: no such codes.

    Example:
        >>> import torch
        >>> code_of(lambda x: x.mean(1), torch.ones(3, 2))  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        ValueError: Decoder(encoder): expected codes of shape (3, ...), one for each input; got (3,). ...
    """
    with torch.no_grad():
        # a copy: an encoder may work in place
        code = encoder(inputs.clone())
    name, wanted = "Decoder(encoder)", f"codes of shape ({len(inputs)}, ...), one for each input"
    require_tensor(name, code, wanted, inputs)
    if code.ndim < 2 or len(code) != len(inputs) or not code.numel():
        raise ValueError(
            f"{name}: expected {wanted}; got {tuple(code.shape)}. Return one row of numbers for each input of the "
            "batch, for example the means of a variational autoencoder."
        )
    require_finite_rows(name, code, "codes")
    return code.detach()


def decoded_of(decoder: Callable[[Tensor], Tensor], code: Tensor, inputs: Tensor) -> Tensor:
    """D(code), of the inputs' shape; the decoder is tried here, with a gradient.

    Raises:
        TypeError, ValueError: something else comes out, or nothing that depends on the code.

    Example:
        >>> import torch
        >>> decoded_of(lambda z: z.detach(), torch.ones(3, 2), torch.ones(3, 2))  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        ValueError: Decoder(decoder): expected an output that depends on the code through differentiable ...
    """
    with torch.enable_grad():
        leaf = code.clone().requires_grad_()
        decoded = decoder(leaf + 0)
        name, wanted = "Decoder(decoder)", f"outputs of the inputs' shape {tuple(inputs.shape)}"
        require_tensor(name, decoded, wanted, inputs)
        if decoded.shape != inputs.shape:
            raise ValueError(
                f"{name}: expected {wanted}; got {tuple(decoded.shape)}. Reshape what it returns, for example by "
                "nn.Unflatten, or give a decoder of these inputs."
            )
        gradient = None
        if decoded.requires_grad:
            (gradient,) = torch.autograd.grad(decoded.sum(), leaf, allow_unused=True)
    if gradient is None:
        raise ValueError(
            f"{name}: expected an output that depends on the code through differentiable operations; got one that "
            "does not. Look for detach(), no_grad, numpy or argmax in the decoder."
        )
    require_finite_rows(name, decoded, "outputs")
    return decoded.detach()


def require_tensor(name: str, value, wanted: str, inputs: Tensor) -> None:
    """Raises TypeError unless the value is a tensor of the inputs' dtype, on their device.

    Example:
        >>> import torch
        >>> require_tensor("Decoder(encoder)", torch.ones(1, dtype=torch.int64), "codes", torch.ones(1))
        Traceback (most recent call last):
            ...
        TypeError: Decoder(encoder): expected torch.float32 on cpu, as the inputs; got torch.int64 on cpu.
    """
    if not isinstance(value, Tensor):
        raise TypeError(
            f"{name}: expected one tensor, {wanted}; got {type(value).__name__}. Wrap it in a function that "
            "returns the tensor."
        )
    if (value.dtype, value.device) != (inputs.dtype, inputs.device):
        raise TypeError(
            f"{name}: expected {inputs.dtype} on {inputs.device}, as the inputs; got {value.dtype} on "
            f"{value.device}."
        )


def require_finite_rows(name: str, values: Tensor, what: str) -> None:
    """Raises ValueError unless all values are finite; says in which examples they are not.

    Example:
        >>> import torch
        >>> require_finite_rows("Decoder(encoder)", torch.tensor([[1.0], [torch.inf]]), "codes")
        Traceback (most recent call last):
            ...
        ValueError: Decoder(encoder): expected finite codes; got NaN or infinity in examples [1].
    """
    bad = ~torch.isfinite(values).flatten(1).all(1)
    if bad.any():
        rows = bad.nonzero()[:5, 0].tolist()
        raise ValueError(f"{name}: expected finite {what}; got NaN or infinity in examples {rows}.")
