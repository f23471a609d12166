"""The one entrance: `NonlinearSaliency`."""

from collections.abc import Callable, Iterator, Sequence

import torch
from captum.attr import GradientAttribution
from captum.log import log_usage
from torch import Tensor, nn

from helpers.checks import require_count, require_finite
from helpers.saliency.conductance import checked_layers
from helpers.saliency.contrasts import Contrast
from helpers.saliency.coordinates import Chart, Coordinates, Input, Layer
from helpers.saliency.evaluator import Evaluator
from helpers.saliency.explanation import Explanation, explanation_of, joined, require_readout, together
from helpers.saliency.geometries import Euclidean, Geometry
from helpers.saliency.inputs import batches, competing_classes
from helpers.saliency.journey import Journey
from helpers.saliency.levels import Level, as_level
from helpers.saliency.paths import Flow, Path
from helpers.saliency.scores import LogOdds, Score, as_score, class_indices, with_target


class NonlinearSaliency(GradientAttribution):
    """Saliency by a finite change of the score, along a path that really goes there.

    The construction is this project's reading of the abstracts of Rosenzweig, Cvetkovic & Rosenzweig,
    "When saliency goes off on a tangent" (arXiv 2110.06639). The four choices are independent; with
    `path=Tangent()` it is linear saliency.

    Args:
        forward_func: the model: a module or function from inputs (N, ...) to outputs (N, K).
        score: which number is explained (`helpers.saliency.scores`), or a callable from outputs to shape (N,).
        coordinates: how u changes the input (`helpers.saliency.coordinates`).
        geometry: which changes count as small (`helpers.saliency.geometries`).
        path: how the level is reached (`helpers.saliency.paths`).
        readout: what `attribute` returns: "contribution", "mean_gradient", "displacement", or a contrast
            with competing classes (`helpers.saliency.contrasts`).
        noise: standard deviation of Gaussian noise, in the input's (or the layer's) units. The score is then
            its mean over `samples` draws, which are fixed for the run and come in pairs of opposite sign, as
            SmoothGrad does for the gradient (Smilkov et al. 2017, arXiv 1706.03825).
        samples: number of draws; of an odd number the last is zero.
        generator: where the draws come from; None: a generator seeded with 0.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: choices that do not go together.

    Example:
        >>> import torch
        >>> from helpers.saliency import coordinates, paths, scores
        >>> model = lambda x: x.prod(1, keepdim=True)
        >>> inputs = torch.tensor([[2.0, 3.0]])  # score 6, and 0 at the reference
        >>> options = {"score": scores.Logit(), "coordinates": coordinates.Input(reference=0.0)}
        >>> NonlinearSaliency(model, **options, path=paths.StraightTangent()).attribute(inputs)  # linear: 12
        tensor([[6., 6.]])
        >>> NonlinearSaliency(model, **options, path=paths.Straight()).attribute(inputs).round(decimals=3)
        tensor([[3., 3.]])
    """

    def __init__(
        self,
        forward_func: Callable[..., Tensor],
        score: Score | Callable[[Tensor], Tensor] = LogOdds(),
        coordinates: Coordinates = Input(),
        geometry: Geometry = Euclidean(),
        path: Path = Flow(),
        readout: "str | Contrast" = "contribution",
        noise: float = 0.0,
        samples: int = 8,
        generator: torch.Generator | None = None,
    ):
        if not callable(forward_func):
            raise TypeError(f"forward_func: expected a module or a function; got {forward_func!r}.")
        for name, value, kind in (
            ("coordinates", coordinates, Coordinates),
            ("geometry", geometry, Geometry),
            ("path", path, Path),
        ):
            if not isinstance(value, kind):
                raise TypeError(f"{name}: expected an instance of {kind.__name__}; got {value!r}.")
        if not isinstance(readout, Contrast):
            require_readout(readout)
        require_finite("noise", noise)
        if noise < 0:
            raise ValueError(f"noise: expected a standard deviation >= 0; got {noise}.")
        require_count("samples", samples)
        coordinates.check(geometry)
        path.check(coordinates, geometry)
        super().__init__(forward_func)
        self.score = as_score(score)
        self.coordinates = coordinates
        self.geometry = geometry
        self.path = path
        self.readout = readout
        self.noise, self.samples, self.generator = noise, samples, generator

    @property
    def multiplies_by_inputs(self) -> bool:
        """Whether the map is local (False) or a share of the score (True), in captum's terms."""
        return self.readout != "mean_gradient"

    def replace(self, **choices) -> "NonlinearSaliency":
        """A twin that differs in the named choices alone, which are the arguments of the class.

        Raises:
            TypeError: a choice that there is not; and what the class raises.

        Example:
            >>> from helpers.saliency import Tangent
            >>> saliency = NonlinearSaliency(lambda x: x, noise=0.5)
            >>> linear = saliency.replace(path=Tangent())
            >>> linear.path, linear.noise
            (Tangent(), 0.5)
        """
        names = ("score", "coordinates", "geometry", "path", "readout", "noise", "samples", "generator")
        own = {name: getattr(self, name) for name in names}
        return type(self)(**{"forward_func": self.forward_func, **own, **choices})

    def has_convergence_delta(self) -> bool:
        return True

    @log_usage()
    def attribute(
        self,
        inputs: Tensor,
        target=None,
        level: Level | float | None = None,
        additional_forward_args=None,
        internal_batch_size: int | None = None,
        return_convergence_delta: bool = False,
        show_progress: bool = False,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """The named readout, positive = supports the score.

        Arguments and errors are those of `explain`.

        Returns:
            The map: for "contribution" of the inputs' shape. With return_convergence_delta also the
            completeness error, shape (N,).

        Example:
            >>> import torch
            >>> model = lambda x: x @ torch.tensor([[1.0, 0.0], [0.0, 2.0]])  # log-odds of class 1: 2 x2 - x1
            >>> NonlinearSaliency(model).attribute(torch.tensor([[1.0, 2.0]]), target=1).round(decimals=4)
            tensor([[0.6000, 2.4000]])
        """
        records = self._records(
            inputs,
            target,
            level,
            additional_forward_args,
            internal_batch_size,
            show_progress,
            keep_gradient=self.readout == "mean_gradient",
        )
        # part by part, so that only the maps of all examples are held, not their records
        parts = [(record.support(), record.completeness_error) for record in records]
        support, error = (joined(values) for values in zip(*parts, strict=True))
        if isinstance(inputs, tuple):
            support = (support,)
        return (support, error) if return_convergence_delta else support

    def explain(
        self,
        inputs: Tensor,
        target=None,
        level: Level | float | None = None,
        additional_forward_args=None,
        internal_batch_size: int | None = None,
        show_progress: bool = False,
        trace: bool = False,
        competitors: int | Sequence[int] | None = None,
        layers: Sequence[nn.Module] = (),
        competing_at_input: bool = True,
    ) -> Explanation:
        """All readouts and the record.

        Args:
            inputs: shape (N, ...), floating point, finite; dimension 0 counts the examples.
            target: class index, one for all or one per example; may be missing where the score needs none.
            level: the score to reach: `Value`, `Drop`, `Boundary` or a number. None: the path's own, which
                is Boundary() except for Straight, which then goes all the way to the reference.
            additional_forward_args: passed to the model after the input; tensors whose dimension 0 is N are
                split like the inputs.
            internal_batch_size: most examples in one pass through the model; None: all N.
            show_progress: a progress bar over the steps.
            trace: keep the points and scores along the path.
            competitors: also follow the scores of other classes along the path: that many of the highest
                other classes of each input (all, if there are fewer), or a list of classes for all. None: those
                that the readout needs.
            layers: modules of the model where the path is read as well: `layer_contributions`.
            competing_at_input: whether the competitors are followed at the input as well. False: at the layers
                alone, where their passes back end, which is cheaper; `competing_contributions` is then None.

        Returns:
            An `Explanation`; its `support()` is what `attribute` returns.

        Raises:
            TypeError, ValueError: a wrong argument (named in the message), before the first step.

        Warns:
            UserWarning: a model in train mode whose batch norm or dropout makes examples depend on each
                other or on chance.

        Example:
            >>> import torch
            >>> model = lambda x: x @ torch.tensor([[1.0, 0.0], [0.0, 2.0]])
            >>> run = NonlinearSaliency(model).explain(torch.tensor([[1.0, 2.0]]), target=0)
            >>> run.direction  # class 1 is predicted: up, to even odds
            tensor([1.])
            >>> run.displacement.round(decimals=4)  # what would make it class 0
            tensor([[ 0.6000, -1.2000]])
        """
        records = self._records(
            inputs,
            target,
            level,
            additional_forward_args,
            internal_batch_size,
            show_progress,
            trace,
            competitors,
            layers=layers,
            competing_at_input=competing_at_input,
        )
        return together(list(records))

    def _records(
        self,
        inputs: Tensor,
        target,
        level: Level | float | None,
        additional_forward_args,
        internal_batch_size: int | None,
        show_progress: bool,
        trace: bool = False,
        competitors: int | Sequence[int] | None = None,
        keep_gradient: bool = True,
        layers: Sequence[nn.Module] = (),
        competing_at_input: bool = True,
    ) -> Iterator[Explanation]:
        """The records of the batch's parts, one internal batch after the other."""
        layers = checked_layers(layers)
        if layers and isinstance(self.coordinates, Layer):
            raise ValueError(
                "layers: a path is read at modules where it changes the input; Layer moves a module's output. Use "
                "Input, Removal or Decoder coordinates, or leave layers out."
            )
        if not (competing_at_input or layers):
            raise ValueError(
                "competing_at_input: expected True without layers: competitors are then followed at the input or "
                "nowhere; got False. Name the modules to read in layers."
            )
        aim = self.path.default_level if level is None else as_level(level)
        if competitors is None and isinstance(self.readout, Contrast):
            competitors = self.readout.competitors
        draws = None
        tokens = isinstance(self.coordinates, Layer)
        given = (inputs, target, additional_forward_args, internal_batch_size, tokens)
        for batch in batches(self.forward_func, *given):
            rivals = None if competitors is None else competing_classes(competitors, batch)
            chart = self.path.course(self.coordinates.chart(batch.inputs, batch.forward))
            self.geometry.check(chart.shape[1:])
            draws = self._draws(chart) if draws is None else draws
            wanted = [batch.target] if rivals is None else [batch.target, *rivals.T]
            score, *competing = (with_target(self.score, each) for each in wanted)
            evaluate = Evaluator(chart, score, competing, draws, layers, competing_at_input)
            journey = Journey(evaluate, self.geometry, show_progress, trace, keep_gradient)
            journey.begin(aim, self.score.boundary, self.path.follows_slopes)
            if target is not None:
                # those of the parts to come, before a step is taken
                class_indices(target, batch.forward.run_examples, evaluate.columns)
            self.path.walk(journey)
            journey.finish()
            size = tuple(batch.inputs.shape[2:]) if batch.inputs.ndim == 4 else None
            yield explanation_of(journey, aim is None, rivals, size, self.readout)

    def _draws(self, chart: Chart) -> Tensor | None:
        """The noise of a run, the same for every example: shape (samples, *B), or None without noise."""
        if self.noise == 0:
            return None
        like = chart.origin
        generator = self.generator or torch.Generator().manual_seed(0)
        half = torch.randn(
            self.samples // 2, *like.shape[1:], generator=generator, device=generator.device, dtype=like.dtype
        )
        zero = half.new_zeros(self.samples % 2, *like.shape[1:])
        return (self.noise * torch.cat([half, -half, zero])).to(like.device)
