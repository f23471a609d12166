"""Random models, inputs and choices: no NaN in a map, no undocumented exception, and the record is true."""

import math
import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from helpers.saliency import (
    Boundary,
    Covariance,
    Decoder,
    Drop,
    Euclidean,
    Flow,
    Horizon,
    Input,
    Layer,
    Logit,
    LogOdds,
    LogProbability,
    Margin,
    Nearest,
    NonlinearSaliency,
    Removal,
    Scaled,
    Secant,
    Share,
    Smooth,
    Straight,
    Tangent,
    Value,
)

CONFIGURATIONS = 1000
BATCHES = 10


class Rough(nn.Module):
    """A random small net, on feature vectors or images, with a kink, a plateau, a jump or a pole."""

    def __init__(self, shape, kind, generator):
        super().__init__()
        features = math.prod(shape)
        self.first, self.last = nn.Linear(features, 6).double(), nn.Linear(6, 3).double()
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        self.first.weight.data /= features**0.5
        self.kind = kind

    def forward(self, x):
        hidden = self.first(x.flatten(1))
        if self.kind == "kink":
            hidden = torch.relu(hidden)
        elif self.kind == "plateau":
            hidden = hidden.clamp(-0.2, 0.2)
        elif self.kind == "jump":
            hidden = hidden + 2.0 * (hidden > 0.3)
        elif self.kind == "pole":
            hidden = torch.log(hidden + 0.4)
        elif self.kind == "overflow":
            hidden = torch.exp(40 * hidden)
        else:
            hidden = torch.tanh(hidden)
        return self.last(hidden)


def choices(rng, shape, model):
    """A random member of the class; sometimes one that does not go together."""
    features = math.prod(shape)
    reference = rng.choice([None, 0.0, 0.3])
    lower, upper = rng.choice([(None, None), (-3.0, None), (-3.0, 3.0)])
    basis = torch.linspace(-1, 1, 3 * features, dtype=torch.float64).reshape(3, features).sin()
    decoder = Decoder(
        lambda z: torch.tanh(z @ basis).reshape(-1, *shape),
        lambda x: x.flatten(1) @ basis.T / features,
        reference,
        rng.choice([True, False]),
        lower,
        upper,
    )
    removals = [Removal(0.3), Removal(0.0), Removal(0.3, cells=2)]
    coordinates = rng.choice([Input(lower, upper, reference), *removals, Layer(model.first), decoder])
    matrix = torch.eye(features, dtype=torch.float64) + 0.2
    geometries = [Euclidean(), Euclidean(), Scaled(torch.tensor(1.5)), Covariance(matrix), Smooth(1.0)]
    horizons = [Horizon(3, 2), Horizon(2, 1, 0.3), Horizon(3, 2, up=True)]
    path = rng.choice([Tangent(), Straight(5), Flow(4), Secant(5, 2), Nearest(4, 2, 2), *horizons])
    score = rng.choice([LogOdds(), Margin(), Logit(), LogProbability(), lambda outputs: outputs[:, 0]])
    level = rng.choice(
        [None, Boundary(), Drop(0.5), Drop(-2.0), Value(0.1), Share(0.5), Drop(1e6), Drop(1e-9)]
    )
    options = rng.choice([{}, {}, {"noise": 0.1, "samples": 2}])
    return NonlinearSaliency(model, score, coordinates, rng.choice(geometries), path, **options), level


DOCUMENTED = (
    "leads to a reference", "takes no bounds", "looks in all directions", "needs a geometry", "made for features",
    "has no meaning for Logit", "the coordinates have none", "expected image coordinates", "broadcasts to the",
    "for coordinates of shape", "expected images of shape",
    "takes evidence away",
)  # fmt: skip


@pytest.mark.parametrize("batch", range(BATCHES))
def test_fuzz(batch):
    rng = random.Random(batch)
    generator = torch.Generator().manual_seed(batch)
    ran = refused = 0
    while ran < CONFIGURATIONS // BATCHES:
        shape = rng.choice([(3,), (5,), (2, 3, 4)])
        kind = rng.choice(["smooth", "smooth", "kink", "plateau", "jump", "pole", "overflow"])
        model = Rough(shape, kind, generator)
        x = torch.randn(rng.choice([1, 3]), *shape, generator=generator, dtype=torch.float64).clamp(-2.9, 2.9)
        refusal = ""
        try:
            saliency, level = choices(rng, shape, model)
            record = saliency.explain(
                x, target=rng.randrange(3), level=level, internal_batch_size=rng.choice([None, 2])
            )
        except ValueError as error:
            refusal = str(error)
        if refusal:
            assert any(words in refusal for words in DOCUMENTED), refusal
            refused += 1
            continue
        ran += 1
        describe = (
            f"{saliency.path} {saliency.coordinates} {saliency.geometry} {saliency.score} {level} {kind}"
        )
        check_record(saliency, record, x, describe)
    assert refused > 0


def check_record(saliency, record, x, describe):
    for name in ("displacement", "mean_gradient", "contribution", "endpoint"):
        assert getattr(record, name).isfinite().all(), (name, describe)
    assert len(record.reason) == len(x)
    for converged, reason, start in zip(record.converged, record.reason, record.score_start, strict=True):
        assert converged or reason, describe
        assert not converged or start.isfinite(), describe
    assert (record.gradient_evaluations + record.forward_evaluations > 0).all(), describe
    # the record, computed again from what it says
    difference = record.score_end - record.level
    assert torch.equal(record.residual.isfinite(), difference.isfinite())
    scale = 1 + (record.level - record.score_start).abs() + record.level.abs()
    assert (difference.abs() / scale)[record.converged].le(1e-8).all(), describe
    balance = record.contribution.flatten(1).sum(1) - (record.score_end - record.score_start)
    known = balance.isfinite()
    assert torch.allclose(balance[known], record.completeness_error[known]), describe
    if isinstance(saliency.coordinates, Layer) or saliency.noise:
        return
    lower, upper = getattr(saliency.coordinates, "lower", None), getattr(saliency.coordinates, "upper", None)
    assert lower is None or (record.endpoint >= lower - 1e-9).all(), describe
    assert upper is None or (record.endpoint <= upper + 1e-9).all(), describe
    chart = saliency.path.course(saliency.coordinates.chart(x, None))
    rows = torch.arange(len(x))
    assert torch.allclose(record.endpoint, chart.point(record.displacement, rows)), describe


@settings(max_examples=60, deadline=None)
@given(
    examples=st.integers(1, 4),
    features=st.integers(1, 6),
    internal=st.none() | st.integers(1, 5),
    drop=st.floats(-3, 3).filter(lambda value: abs(value) > 1e-3),
    path=st.sampled_from([Tangent(), Flow(3), Flow(9), Secant(30, 6), Nearest(20, 1, 4)]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_shapes_batches_and_levels(examples, features, internal, drop, path, dtype):
    generator = torch.Generator().manual_seed(features)
    weight = torch.randn(features, generator=generator).to(dtype)
    model = lambda x: (x @ weight + 0.1 * (x @ weight).sin())[:, None]  # noqa: E731
    x = torch.randn(examples, features, generator=generator).to(dtype)
    record = NonlinearSaliency(model, Logit(), path=path).explain(
        x, level=Drop(drop), internal_batch_size=internal
    )
    for name in ("displacement", "mean_gradient", "contribution", "endpoint"):
        assert getattr(record, name).shape == x.shape
        assert getattr(record, name).dtype == dtype
    assert torch.allclose(record.level, record.score_start - drop)
    if not isinstance(path, Tangent):
        assert record.converged.all(), record.reason
        tolerance = 1e-6 if dtype == torch.float64 else 1e-2
        assert torch.allclose(record.score_end, record.level, atol=tolerance)
    alone = NonlinearSaliency(model, Logit(), path=path).explain(x[:1], level=Drop(drop))
    tolerance = 1e-7 if dtype == torch.float64 else 5e-3
    assert torch.allclose(alone.contribution[0], record.contribution[0], atol=tolerance)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: the maps on one are not compared")
@pytest.mark.parametrize("path", [Tangent(), Straight(6), Flow(6), Secant(), Nearest()])
def test_a_cuda_device_gives_the_same_maps(path):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 3)).double()
    x = torch.randn(5, 4, dtype=torch.float64)
    maps = []
    for device in ("cpu", "cuda"):
        saliency = NonlinearSaliency(net.to(device), coordinates=Input(reference=0.0), path=path)
        level = None if isinstance(path, Straight) else Drop(0.1)
        maps.append(saliency.attribute(x.to(device), target=1, level=level).cpu())
    assert torch.allclose(*maps, atol=1e-7)


def test_samples_that_have_arrived_cost_nothing_more():
    model = lambda x: x[:, :1] ** 3  # noqa: E731
    x = torch.tensor([[0.5], [3.0], [1.0]], dtype=torch.float64)
    for path in (Flow(8), Nearest(12, 1, 4), Secant(20, 4)):
        saliency = NonlinearSaliency(model, Logit(), path=path)
        together = saliency.explain(x, level=0.5**3 + 1e-13)
        alone = [saliency.explain(x[i : i + 1], level=0.5**3 + 1e-13) for i in range(3)]
        assert together.gradient_evaluations.tolist() == [a.gradient_evaluations.item() for a in alone]
        assert together.gradient_evaluations[0] < together.gradient_evaluations[1]
