"""The nearest point of the level set."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from helpers.checks import require_count
from helpers.saliency.coordinates import Coordinates
from helpers.saliency.geometries import Geometry
from helpers.saliency.journey import OUT_OF_REACH, Journey, Slope, leaving, per
from helpers.saliency.paths.base import Path, along_chord, first_crossing

# fractions of a proposal's length at which its ray is searched for the level, from near to far
RAY = (0.5, 0.8, 0.95, 1.0, 1.05, 1.25, 1.6, 2.5, 5.0, 20.0)
# tangent planes that a search keeps at a kink, and the factor of its stride after a failed step: chosen on the
# digit network (benchmarks/nearest.py)
PLANES, SHRINK = 3, 0.7


@dataclass(frozen=True)
class Nearest(Path):
    """The nearest point of the level set: d = K v with the smallest |v| such that F(d) = l.

    In structural reliability it is the design point, found by the iteration of Hasofer & Lind (1974) and
    Rackwitz & Fiessler (1978): project the origin onto the tangent plane of the level set. DeepFool
    (Moosavi-Dezfooli et al. 2016, arXiv 1511.04599) is its crudest form. Here every iterate is first brought
    onto the level set along its ray by a root search, and a step is kept only if it comes nearer; else it is
    shortened, and aims at the intersection of the tangent planes seen on both sides. Contributions and mean
    gradient are those of the chord from the input to the point.

    `stationarity` in the record certifies the point: the cosine between v and the gradient there, 1 at a
    nearest point of a smooth score away from bounds. It may be another stationary point than the nearest:
    try more starts.

    Args:
        iterations: proposals per start, at most one gradient evaluation each.
        starts: number of ways to look for the level set: steps to the tangent plane, small steps, long steps,
            then with random directions added (seeded, the same for every example).
        nodes: gradient evaluations for the chord's contributions (midpoint rule).

    Example:
        >>> import torch
        >>> from helpers.saliency import NonlinearSaliency
        >>> from helpers.saliency import Logit
        >>> parabola = lambda x: (x[:, 1] - x[:, 0].square())[:, None]
        >>> inputs = torch.tensor([[0.1, 2.0]], dtype=torch.float64)  # above the parabola
        >>> run = NonlinearSaliency(parabola, Logit(), path=Nearest()).explain(inputs)
        >>> run.endpoint.round(decimals=2), run.stationarity.round(decimals=3)
        (tensor([[1.2400, 1.5400]], dtype=torch.float64), tensor([1.], dtype=torch.float64))
        >>> run.displacement.norm().round(decimals=2)
        tensor(1.2300, dtype=torch.float64)
    """

    iterations: int = 32
    starts: int = 2
    nodes: int = 16

    def __post_init__(self):
        for name in ("iterations", "starts", "nodes"):
            require_count(f"Nearest({name})", getattr(self, name))

    def check(self, coordinates: Coordinates, geometry: Geometry) -> None:
        if coordinates.removes:
            raise ValueError(
                "path: Nearest() looks in all directions; removal has one. Use Input(...) or Flow()."
            )
        if coordinates.bounded and not geometry.diagonal:
            raise ValueError(
                f"path: Nearest() within bounds needs a geometry that treats each coordinate on its own, and "
                f"{type(geometry).__name__} does not. Use Euclidean() or Scaled(std), or leave the bounds out."
            )

    def walk(self, journey: Journey) -> None:
        best = Candidates(journey)
        for proposal, stretch in self._starts(journey):
            best.take(self._search(journey, proposal, stretch))
        rows = journey.active
        missing = rows[~torch.isfinite(best.size[rows])]
        journey.stop(missing, f"{OUT_OF_REACH} in any direction tried", failed=True)
        journey.stationarity = best.cosine
        along_chord(journey, journey.active, best.u, self.nodes)

    def _starts(self, journey: Journey) -> Iterator[tuple[Tensor, float]]:
        """First proposals v, (N, *S), each with the factor by which to stretch steps towards the level set."""
        here = journey.here()
        steepest = torch.zeros_like(journey.u)
        away = (journey.level - journey.start).sign()
        steepest[here.rows] = journey.geometry.adjoint(here.gradient) * per(away[here.rows], here.gradient)
        slope = size_of(steepest)
        distance = (journey.level - journey.start).abs() / slope
        distance = distance.where(torch.isfinite(distance) & (distance < 1e6), torch.ones_like(distance))
        first = steepest * per(distance / slope.masked_fill(slope == 0, 1), steepest)
        generator = torch.Generator().manual_seed(0)
        for number in range(self.starts):
            # a little too far; in small steps, which bend with the gradient; far into the other side; at random
            stretch = (1.05, 0.3, 1.5)[number % 3]
            random = torch.randn(1, *journey.u.shape[1:], generator=generator, dtype=torch.float64)
            random = (random / random.norm()).to(journey.u) * per(distance, journey.u)
            aside = 0 if number < 3 else 1
            # where the gradient vanishes, only chance knows a direction
            start = torch.where(per(slope > 0, first), first + aside * random, random)
            yield start * stretch, stretch

    def _search(self, journey: Journey, proposal: Tensor, stretch: float) -> "Candidates":
        """Find the level set from one start, given as v, (N, *S), and descend on it in distance."""
        found = Candidates(journey)
        proposal, target = proposal.clone(), torch.zeros_like(proposal)
        # a kink needs the tangent planes on its sides: the best point's, and those where steps from it failed
        planes = proposal.new_zeros(len(proposal), PLANES, *proposal.shape[1:])
        offsets = proposal.new_zeros(len(proposal), PLANES)
        failures = torch.zeros(journey.examples, dtype=torch.long, device=journey.u.device)
        stride = torch.ones_like(found.size)
        rows = journey.active[size_of(proposal)[journey.active] > 0]
        for _ in journey.progress(range(self.iterations)):
            if not len(rows):
                break
            there, v, u = self._onto_level(journey, rows, proposal[rows], torch.isfinite(found.size[rows]))
            nearer = there & (size_of(v) < found.size[rows])
            lost = ~there & torch.isinf(found.size[rows])
            slope = journey.look(rows, u, reason=None)
            kept = torch.isin(rows, slope.rows)
            seen, v, nearer, lost = slope.rows, v[kept], nearer[kept], lost[kept]
            plane, offset, cosine = tangent_plane(journey, slope, v)
            found.put(seen[nearer], v[nearer], slope.u[nearer], cosine[nearer])
            place = torch.where(nearer, 0, 1 + failures[seen] % (PLANES - 1))
            failures[seen] = torch.where(nearer, 0, failures[seen] + 1)
            planes[seen, place], offsets[seen, place] = plane, offset
            planes[seen[nearer], 1:], offsets[seen[nearer], 1:] = 0, 0
            stride[seen] = torch.where(nearer, (2 * stride[seen]).clamp_max(1), SHRINK * stride[seen])
            target[seen] = nearest_of_planes(planes[seen], offsets[seen], *v_bounds(journey, seen))
            proposal[seen] = found.v[seen] + per(stride[seen], v) * (target[seen] - found.v[seen])
            # still on the input's side of the level: step to the tangent plane from here (DeepFool's step)
            missing = stretch * (offset - (plane * v).flatten(1).sum(1))
            way = plane * ~leaving(plane * per(missing.sign(), v), v, *v_bounds(journey, seen))
            proposal[seen[lost]] = (v + way * per(missing / size_of(way).square(), v)).nan_to_num()[lost]
            moves = lost | (size_of(proposal[seen] - found.v[seen]) > 1e-12 * found.size[seen])
            rows = seen[moves]
        return found

    def _onto_level(
        self, journey: Journey, rows: Tensor, v: Tensor, known: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Whether the rays through v meet the level, and where: v and u, (n, *S).

        Rays of examples that have a point on it already (known) are searched beyond v, too.
        """
        way = journey.geometry.apply(v)
        there, part = torch.zeros_like(known), torch.ones_like(v.flatten(1)[:, 0])
        for some, fractions in ((known, RAY), (~known, (1.0,))):
            if some.any():
                there[some], part[some] = first_crossing(journey, rows[some], way[some], fractions)
        # without a crossing, part is 1: the proposal itself
        v, way = v * per(part, v), way * per(part, way)
        u = journey.chart.clip(way, rows)
        if journey.chart.bounded:
            v = u / diagonal(journey)
        return there, v, u


class Candidates:
    """The nearest point found so far for each of N examples: v and u, (N, *S), |v| and the cosine, (N,).

    Example:
        >>> import torch
        >>> from types import SimpleNamespace
        >>> best = Candidates(SimpleNamespace(u=torch.zeros(1, 2), start=torch.zeros(1)))
        >>> v = torch.tensor([[3.0, 4.0]])
        >>> best.put(torch.tensor([0]), v, u=v, cosine=torch.ones(1))
        >>> best.size
        tensor([5.])
    """

    def __init__(self, journey: Journey):
        self.v, self.u = torch.zeros_like(journey.u), torch.zeros_like(journey.u)
        self.size = torch.full_like(journey.start, torch.inf)
        self.cosine = torch.full_like(journey.start, torch.nan)

    def put(self, rows: Tensor, v: Tensor, u: Tensor, cosine: Tensor) -> None:
        """Replace the points of the examples with those numbers."""
        self.v[rows], self.u[rows], self.size[rows], self.cosine[rows] = v, u, size_of(v), cosine

    def take(self, other: "Candidates") -> None:
        """Take over what is nearer in another set."""
        rows = (other.size < self.size).nonzero()[:, 0]
        self.put(rows, other.v[rows], other.u[rows], other.cosine[rows])


def tangent_plane(journey: Journey, slope: Slope, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The tangent plane normal . v = offset of the level set at u = K v, its side away from the input positive.

    Returns the normal, (n, *S), the offset, (n,), and the cosine between v and the normal, (n,), over the
    coordinates that are at no bound.

    Example:
        >>> import torch
        >>> from helpers.saliency import Input, Value
        >>> from helpers.saliency.evaluator import Evaluator
        >>> from helpers.saliency.model import Forward
        >>> chart = Input().chart(torch.tensor([[1.0, 1.0]]), Forward(lambda x: x))
        >>> journey = Journey(Evaluator(chart, lambda outputs, rows: outputs.sum(1)))
        >>> journey.begin(Value(1.0), boundary=None, with_gradient=True)
        >>> v = torch.tensor([[-0.5, -0.5]])
        >>> tangent_plane(journey, journey.look(torch.tensor([0]), v), v)[:2]
        (tensor([[-1., -1.]]), tensor([1.]))
    """
    away = (journey.level - journey.start)[slope.rows].sign()
    normal = journey.geometry.adjoint(slope.gradient) * per(away, v)
    offset = (normal * v).flatten(1).sum(1) + (journey.level[slope.rows] - slope.value) * away
    lower, upper = (None if b is None else b[slope.rows] for b in (journey.chart.lower, journey.chart.upper))
    inside = torch.ones_like(v, dtype=torch.bool)
    inside &= True if lower is None else slope.u > lower
    inside &= True if upper is None else slope.u < upper
    tiny = torch.finfo(v.dtype).tiny
    cosine = torch.nn.functional.cosine_similarity(
        (v * inside).flatten(1), (normal * inside).flatten(1), eps=tiny
    )
    return normal, offset, cosine


def nearest_of_planes(
    planes: Tensor, offsets: Tensor, lower: Tensor | None, upper: Tensor | None, rounds: int = 12
) -> Tensor:
    """The smallest v with plane_i . v >= offset_i for all i, and within bounds: (n, *S).

    The dual problem by coordinate ascent (Hildreth 1957, doi 10.1002/nav.3800040113): v = clip(sum_i w_i
    plane_i) with w_i >= 0. One plane without bounds is exact in one round.

    Args:
        planes: normals, (n, m, *S); a plane of zeros is none. offsets: (n, m). lower, upper: (n, *S) or None.

    Example:
        >>> import torch
        >>> normals, offsets = torch.eye(2)[None], torch.tensor([[1.0, 2.0]])
        >>> nearest_of_planes(normals, offsets, None, None)
        tensor([[1., 2.]])
    """
    weights = torch.zeros_like(offsets)
    tiny = torch.finfo(planes.dtype).tiny

    def point() -> tuple[Tensor, Tensor]:
        free = (weights.reshape(*weights.shape, *[1] * (planes.ndim - 2)) * planes).sum(1)
        v = free if lower is None else torch.maximum(free, lower)
        v = v if upper is None else torch.minimum(v, upper)
        return v, v == free

    for _ in range(rounds):
        for i in range(planes.shape[1]):
            v, inside = point()
            short = offsets[:, i] - (planes[:, i] * v).flatten(1).sum(1)
            gain = (planes[:, i].square() * inside).flatten(1).sum(1)
            weights[:, i] = (weights[:, i] + torch.where(gain > tiny, short / gain, 0)).clamp_min(0)
    return point()[0]


def v_bounds(journey: Journey, rows: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """The bounds on u as bounds on v, for a diagonal geometry.

    Example:
        >>> import torch
        >>> from helpers.saliency import Input, Scaled
        >>> from helpers.saliency.evaluator import Evaluator
        >>> from helpers.saliency.model import Forward
        >>> chart = Input(lower=0.0).chart(torch.tensor([[1.0, 3.0]]), Forward(lambda x: x))
        >>> journey = Journey(Evaluator(chart, score=None), Scaled(torch.tensor([1.0, 2.0])))
        >>> v_bounds(journey, torch.tensor([0]))
        (tensor([[-1.0000, -1.5000]]), None)
    """
    return tuple(
        None if bound is None else bound[rows] / diagonal(journey)
        for bound in (journey.chart.lower, journey.chart.upper)
    )


def diagonal(journey: Journey) -> Tensor:
    """The diagonal of K, of a geometry that is diagonal, shape (1, *S).

    Example:
        >>> import torch
        >>> from types import SimpleNamespace
        >>> from helpers.saliency import Scaled
        >>> diagonal(SimpleNamespace(geometry=Scaled(torch.tensor([2.0, 3.0])), u=torch.zeros(5, 2)))
        tensor([[2., 3.]])
    """
    return journey.geometry.apply(torch.ones_like(journey.u[:1]))


def size_of(v: Tensor) -> Tensor:
    """Euclidean length of each example's vector: (n, ...) -> (n,).

    Example:
        >>> import torch
        >>> size_of(torch.tensor([[3.0, 4.0]]))
        tensor([5.])
    """
    return v.flatten(1).norm(dim=1)
