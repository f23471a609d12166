"""Errors are part of the interface: what is wrong is named before the first step of a path."""

import math
import warnings

import pytest
import torch
from torch import nn

from helpers.saliency import Boundary, Flow, Input, Logit, LogOdds, NonlinearSaliency, Straight, Tangent

MODEL = nn.Linear(4, 3).double()
X = torch.randn(2, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


class Counting:
    """A model that counts how often it is called."""

    def __init__(self, model):
        self.model, self.calls = model, 0

    def __call__(self, x):
        self.calls += 1
        return self.model(x)


@pytest.mark.parametrize("path", [Tangent(), Straight(4), Flow(4)])
@pytest.mark.parametrize(
    ("inputs", "options", "error", "words"),
    [
        (X, {"target": 3}, ValueError, r"target: expected class indices in \[0, 3\); got 3"),
        (X, {}, ValueError, "target: the model has 3 output columns"),
        (X, {"target": [0, 1, 2]}, ValueError, r"target: .* shape \(2,\); got \(3,\)"),
        (X[:0], {"target": 0}, ValueError, r"inputs: .*at least one example.*\(0, 4\)"),
        (X[0], {"target": 0}, ValueError, r"inputs: expected shape \(N, ...\)"),
        (X * math.nan, {"target": 0}, ValueError, "inputs: expected finite values; got NaN"),
        (X / 0, {"target": 0}, ValueError, "inputs: expected finite values"),
        (X.long(), {"target": 0}, TypeError, "inputs: expected a floating-point tensor; got torch.int64"),
        ([1.0, 2.0], {"target": 0}, TypeError, "inputs: expected a tensor"),
        ((X, X), {"target": 0}, TypeError, "inputs: expected one tensor; got a tuple of 2"),
        (X, {"target": 0, "level": math.inf}, ValueError, "level: expected a finite number; got inf"),
        (X, {"target": 0, "level": "boundary"}, TypeError, "level: expected a number"),
        (X, {"target": 0, "internal_batch_size": 0}, ValueError, "internal_batch_size: expected an integer"),
    ],
)
def test_wrong_arguments(path, inputs, options, error, words):
    model = Counting(MODEL)
    saliency = NonlinearSaliency(model, coordinates=Input(reference=0.0), path=path)
    with pytest.raises(error, match=words):
        saliency.explain(inputs, **options)
    assert model.calls <= 1


@pytest.mark.parametrize("path", [Tangent(), Straight(4), Flow(4)])
@pytest.mark.parametrize("model", [lambda x: torch.ones(len(x), 2), lambda x: MODEL(x.detach())])
def test_an_output_that_does_not_depend_on_the_input(path, model):
    saliency = NonlinearSaliency(model, coordinates=Input(reference=0.0), path=path)
    with pytest.raises(ValueError, match="expected an output that depends on the input"):
        saliency.explain(X, target=0)


@pytest.mark.parametrize(
    ("model", "error", "words"),
    [
        (lambda x: (MODEL(x), x), TypeError, "expected one tensor of outputs; got tuple"),
        (lambda x: MODEL(x).mean(), ValueError, r"expected outputs of shape \(N, K\) with N = 2; got \(\)"),
        (lambda x: MODEL(x)[:1], ValueError, r"with N = 2; got \(1, 3\)"),
        (
            lambda x: MODEL(x)[..., None],
            ValueError,
            r"expects model outputs of shape \(N, K\); got \(2, 3, 1\)",
        ),
    ],
)
def test_wrong_outputs(model, error, words):
    with pytest.raises(error, match=words):
        NonlinearSaliency(model).explain(X, target=0)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"path": Flow}, TypeError, "path: expected an instance of Path"),
        ({"path": "flow"}, TypeError, "path: expected an instance of Path; got 'flow'"),
        ({"coordinates": "input"}, TypeError, "coordinates: expected an instance of Coordinates"),
        ({"geometry": None}, TypeError, "geometry: expected an instance of Geometry"),
        ({"score": "logit"}, TypeError, "score: expected"),
        (
            {"readout": "gradient"},
            ValueError,
            "readout: expected one of contribution, mean_gradient, displacement",
        ),
        ({"path": Straight()}, ValueError, r"Straight\(\) leads to a reference, and Input has none"),
    ],
)
def test_wrong_choices_are_refused_when_the_object_is_built(options, error, words):
    with pytest.raises(error, match=words):
        NonlinearSaliency(MODEL, **options)


@pytest.mark.parametrize("path", [Flow, Straight])
@pytest.mark.parametrize("steps", [0, -1, 2.5, True])
def test_steps_are_counted_from_one(path, steps):
    with pytest.raises(ValueError, match=r"steps\): expected an integer of at least 1"):
        path(steps)


@pytest.mark.parametrize(
    ("coordinates", "error", "words"),
    [
        (
            Input(reference=torch.zeros(5)),
            ValueError,
            r"Input\(reference\).*broadcasts.*\(2, 4\); got \(5,\)",
        ),
        (Input(reference=math.nan), ValueError, r"Input\(reference\): expected finite values"),
        (Input(reference="black"), TypeError, r"Input\(reference\): expected a number, a tensor"),
    ],
)
def test_wrong_references_and_bounds(coordinates, error, words):
    with pytest.raises(error, match=words):
        NonlinearSaliency(MODEL, coordinates=coordinates).explain(X, target=0)


def test_a_single_logit_has_no_boundary():
    with pytest.raises(ValueError, match=r"Boundary\(\) has no meaning for Logit\(\) with 3"):
        NonlinearSaliency(MODEL, Logit()).explain(X, target=0, level=Boundary())


def test_train_mode_is_warned_of():
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Dropout(0.5)).double()
    with pytest.warns(UserWarning, match=r"BatchNorm1d, Dropout.*model\.eval\(\)"):
        NonlinearSaliency(model, path=Tangent()).explain(X, target=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        NonlinearSaliency(model.eval()).explain(X, target=0)
        NonlinearSaliency(MODEL.train()).explain(X, target=0)


@pytest.mark.parametrize("path", [Tangent(), Flow(4)])
def test_a_vanishing_gradient_is_a_reason(path):
    # the first example sits on a dead unit, the second does not
    model = lambda x: torch.relu(x[:, :1])  # noqa: E731
    x = torch.tensor([[-1.0, 0.0], [2.0, 0.0]], dtype=torch.float64)
    record = NonlinearSaliency(model, Logit(), path=path).explain(x, level=0.5)
    assert record.converged.tolist() == [False, True]
    assert "vanishing gradient" in record.reason[0]
    assert (record.contribution[0] == 0).all()
    assert record.contribution[1, 0].item() == pytest.approx(-1.5)


def test_non_finite_models_spoil_only_their_own_example():
    model = lambda x: torch.log(x[:, :1])  # noqa: E731
    x = torch.tensor([[2.0], [-1.0], [3.0]], dtype=torch.float64)
    for path, level in ((Flow(6), -1.0), (Tangent(), 0.6), (Straight(6), None)):
        saliency = NonlinearSaliency(model, Logit(), Input(reference=0.5), path=path)
        record = saliency.explain(x, level=level)
        alone = saliency.explain(x[[0, 2]], level=level)
        assert not record.converged[1]
        assert "not finite at the input" in record.reason[1]
        assert (record.contribution[1] == 0).all()
        assert torch.allclose(record.contribution[[0, 2]], alone.contribution, rtol=1e-13, atol=1e-13)
        assert record.contribution.isfinite().all()
        assert record.mean_gradient.isfinite().all()


def test_a_level_out_of_reach_is_a_reason():
    model = lambda x: torch.tanh(x[:, :1])  # noqa: E731
    x = torch.tensor([[0.5]], dtype=torch.float64)
    straight = NonlinearSaliency(model, Logit(), Input(reference=-1.0), path=Straight(8)).explain(
        x, level=2.0
    )
    assert not straight.converged.any()
    assert "out of reach" in straight.reason[0]
    flow = NonlinearSaliency(model, Logit(), path=Flow(8)).explain(x, level=2.0)
    assert not flow.converged.any()
    assert flow.reason[0]
    assert flow.contribution.isfinite().all()


def test_a_jump_across_the_level_is_a_reason():
    model = lambda x: x[:, :1] + 10.0 * (x[:, :1] > 1)  # noqa: E731
    x = torch.tensor([[0.0]], dtype=torch.float64)
    record = NonlinearSaliency(model, Logit(), path=Flow(8)).explain(x, level=5.0)
    assert not record.converged.any()
    assert "jumps" in record.reason[0]


def test_at_the_level_already_the_map_is_the_gradient():
    x = torch.tensor([[1.0, 2.0]], dtype=torch.float64)
    weight = torch.tensor([3.0, -1.0], dtype=torch.float64)
    model = lambda x: (x @ weight)[:, None]  # noqa: E731
    for path in (Flow(4), Tangent(), Straight(4)):
        saliency = NonlinearSaliency(model, Logit(), Input(reference=0.0), path=path)
        record = saliency.explain(x, level=(x @ weight).item())
        assert record.converged.all()
        assert (record.displacement == 0).all()
        assert torch.equal(record.mean_gradient[0], weight)


def test_log_odds_is_the_default():
    assert NonlinearSaliency(MODEL).score == LogOdds()
