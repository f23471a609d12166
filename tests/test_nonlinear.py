"""What must hold for every member of the class, in float64, against closed forms and independent oracles."""

import dataclasses

import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients, Saliency
from combinations import COMBINATIONS, CURVED, FEATURES, REFERENCE
from scipy.integrate import solve_ivp
from torch import nn

from helpers.saliency import (
    Boundary,
    Drop,
    Flow,
    Input,
    Logit,
    LogOdds,
    LogProbability,
    Margin,
    Nearest,
    NonlinearSaliency,
    Straight,
    Tangent,
)

affine = pytest.mark.parametrize("member", COMBINATIONS, ids=lambda member: member.name)
every = pytest.mark.parametrize(
    "member", COMBINATIONS + CURVED, ids=lambda member: member.name + "-curved" * (member in CURVED)
)


def column(function):
    """A function of x, (N, n) -> (N,), as a model with one output column."""
    return lambda x: function(x)[:, None]


@pytest.fixture
def inputs():
    return torch.randn(5, FEATURES, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def smooth_net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(FEATURES, 16), nn.Tanh(), nn.Linear(16, 3)).double()


@pytest.fixture
def relu_net():
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(FEATURES, 24), nn.ReLU(), nn.Linear(24, 3)).double()


@affine
@pytest.mark.parametrize(("score", "drop"), [(Logit(), 0.75), (Margin(other=0), -1.5)])
def test_t1_agreement_on_affine_scores(member, score, drop, inputs):
    torch.manual_seed(2)
    # what a removal can change is bounded: a small drop is within reach of all
    drop = drop / 100 if member.removes else drop
    model = nn.Linear(FEATURES, 3).double()
    weight = model.weight[1] - (model.weight[0] if isinstance(score, Margin) else 0)
    saliency = member.saliency(model, score)
    # all the way, a horizon fills what helps up to its bounds
    straight = isinstance(member.path, Straight)
    record = saliency.explain(inputs, target=1, level=None if straight else Drop(drop))
    assert record.converged.all()
    chart = member.chart(inputs)
    rows = torch.arange(len(inputs))
    gradient = chart.pull(weight.expand_as(inputs), inputs.new_zeros(chart.shape), rows)
    assert torch.allclose(record.mean_gradient, gradient, rtol=1e-9, atol=1e-12)
    rise = record.score_end - record.score_start
    assert torch.allclose(record.contribution.sum(1), rise, rtol=1e-9, atol=1e-12)
    way = chart.direction
    if not straight:
        # from u = 0 a removal can only go up
        free = gradient * rise.sign()[:, None] > 0 if member.removes else torch.ones_like(gradient)
        way = free * member.geometry.apply(member.geometry.adjoint(free * gradient))
    cosine = nn.functional.cosine_similarity(record.displacement, way * rise.sign()[:, None])
    expected = torch.ones_like(cosine) if not straight else rise.sign()
    assert torch.allclose(cosine, expected, atol=1e-12)


@every
def test_t2_first_order_on_smooth_scores(member, inputs, smooth_net):
    inputs = inputs[:1]
    chart = member.chart(inputs)
    gradient = Saliency(lambda x: LogOdds()(smooth_net(x), 0)).attribute(chart.origin, abs=False)
    start = chart.pull(gradient, inputs.new_zeros(chart.shape), torch.tensor([0]))
    if isinstance(member.path, Tangent):
        record = member.saliency(smooth_net, LogOdds()).explain(inputs, target=0, level=Drop(1.0))
        assert torch.allclose(record.mean_gradient, start, atol=1e-14)
        return
    drops = np.array([0.08, 0.04, 0.02, 0.01]) / (10 if member.removes or member.mixes else 1)
    sign = -(start * chart.direction).sum().sign().item() if isinstance(member.path, Straight) else 1.0
    errors = []
    for drop in drops:
        record = member.saliency(smooth_net, LogOdds()).explain(inputs, target=0, level=Drop(sign * drop))
        assert record.converged.all(), record.reason
        errors.append((record.mean_gradient - start).norm().item())
    slope = np.polyfit(np.log(drops), np.log(errors), 1)[0]
    assert slope == pytest.approx(1.0, abs=0.1)


def test_t3_completeness_has_the_order_of_the_quadrature(inputs, smooth_net):
    for path, order in ((lambda n: Flow(n), 2), (lambda n: Straight(n), 2)):
        errors = []
        for steps in (8, 16, 32):
            saliency = NonlinearSaliency(smooth_net, coordinates=Input(reference=REFERENCE), path=path(steps))
            errors.append(saliency.explain(inputs, target=0).completeness_error.abs().max().item())
        slopes = np.diff(np.log2(errors))
        assert (slopes < -0.8 * order).all(), errors


def test_t3_completeness_on_kinks_is_at_least_first_order(inputs, relu_net):
    errors = []
    for steps in (8, 64, 512):
        record = NonlinearSaliency(relu_net, path=Flow(steps)).explain(inputs, target=0, level=Drop(0.5))
        assert record.converged.all()
        errors.append(record.completeness_error.abs().max().item())
    assert errors[1] < errors[0] / 3
    assert errors[2] < errors[1] / 3


def test_t3_the_tangent_sums_to_its_own_prediction(inputs, smooth_net):
    record = NonlinearSaliency(smooth_net, path=Tangent()).explain(inputs, target=0, level=Drop(2.0))
    assert torch.allclose(record.contribution.sum(1), record.level - record.score_start)
    assert torch.allclose(record.completeness_error, -record.residual)
    assert not record.converged.any()
    assert set(record.reason) == {"the tangent misses the level"}


@pytest.mark.parametrize("net", ["smooth_net", "relu_net"])
@pytest.mark.parametrize("path", [Flow(12), Straight(24)])
def test_t4_the_level_is_reached_or_the_reason_is_given(path, net, inputs, request):
    model = request.getfixturevalue(net)
    saliency = NonlinearSaliency(model, coordinates=Input(reference=REFERENCE), path=path)
    reached = 0
    for drop in (0.2, -0.2):
        record = saliency.explain(inputs, target=1, level=Drop(drop))
        residual = LogOdds()(model(record.endpoint), 1) - record.level
        assert torch.allclose(residual, record.residual, atol=1e-12)
        assert (residual[record.converged].abs() <= 1e-8).all()
        for converged, reason in zip(record.converged, record.reason, strict=True):
            assert bool(reason) != bool(converged)
        reached += int(record.converged.sum())
    assert reached >= (1 if isinstance(path, Straight) else len(inputs))


def test_t6_flow_is_the_solution_of_its_differential_equation():
    def score(x):
        return torch.sin(x[:, 0]) + x[:, 0] * x[:, 1] + 0.3 * x[:, 2] ** 2

    start, level = torch.tensor([[0.5, 1.2, -0.8]], dtype=torch.float64), -0.5

    def velocity(_, x):
        point = torch.tensor(x[None], requires_grad=True)
        (gradient,) = torch.autograd.grad(score(point).sum(), point)
        return (-gradient / gradient.square().sum())[0].numpy()

    span = (score(start) - level).item()
    exact = solve_ivp(velocity, (0, span), start[0].numpy(), rtol=1e-12, atol=1e-13).y[:, -1]
    errors = []
    for steps in (8, 16, 32, 64):
        record = NonlinearSaliency(column(score), Logit(), path=Flow(steps)).explain(start, level=level)
        assert record.converged.all()
        errors.append(np.linalg.norm(record.endpoint[0].numpy() - exact))
    assert (np.diff(np.log2(errors)) < -1.7).all(), errors


@pytest.mark.parametrize(
    ("member", "score"),
    [(member, LogOdds()) for member in COMBINATIONS + CURVED]
    + [(COMBINATIONS[place], score) for place in (0, -1) for score in (LogProbability(), Margin())],
    ids=lambda choice: getattr(choice, "name", None),
)
def test_t7_a_constant_added_to_all_logits_changes_no_map(member, score, inputs, smooth_net):
    maps = [
        member.saliency(model, score).attribute(inputs, target=1, level=None if member.all_the_way else -1.0)
        for model in (smooth_net, lambda x: smooth_net(x) + 3.0)
    ]
    assert torch.allclose(*maps, atol=1e-9)


@every
def test_t8_the_same_function_gets_the_same_map(member, inputs):
    torch.manual_seed(4)
    model = nn.Sequential(nn.Linear(FEATURES, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 2)).double()
    model(torch.randn(50, FEATURES, dtype=torch.float64))
    model.eval()
    folded = nn.Sequential(nn.Linear(FEATURES, 7), nn.Tanh(), nn.Linear(7, 2)).double()
    scale = model[1].weight / (model[1].running_var + model[1].eps).sqrt()
    with torch.no_grad():
        # the norm folded into the layer before it, and the last unit split into two halves
        folded[0].weight[:6] = model[0].weight * scale[:, None]
        folded[0].bias[:6] = (model[0].bias - model[1].running_mean) * scale + model[1].bias
        folded[0].weight[6], folded[0].bias[6] = folded[0].weight[5], folded[0].bias[5]
        folded[2].weight[:, :6] = model[3].weight
        folded[2].weight[:, 5:] = model[3].weight[:, 5:] / 2
        folded[2].bias[:] = model[3].bias
    level = None if member.all_the_way else Boundary()
    runs = [member.saliency(m, LogOdds()).explain(inputs, target=1, level=level) for m in (model, folded)]
    # a flow that wanders about without arriving hangs on the last bit
    arrived = [not reason.startswith("step budget") for reason in runs[0].reason]
    assert sum(arrived) >= len(inputs) - 1
    assert torch.allclose(*(run.support()[arrived] for run in runs), atol=1e-9)


@every
def test_t9_a_feature_without_effect_gets_nothing(member, inputs):
    torch.manual_seed(5)
    inner = nn.Sequential(nn.Linear(FEATURES - 1, 8), nn.Tanh(), nn.Linear(8, 2)).double()
    record = member.saliency(lambda x: inner(x[:, :-1]), LogOdds()).explain(inputs, target=0)
    assert (record.contribution[:, -1] == 0).all()
    if member.mixes:
        return
    assert (record.mean_gradient[:, -1] == 0).all()
    if member.geometry.diagonal and not isinstance(member.path, Straight):
        assert (record.displacement[:, -1] == 0).all()
    assert record.contribution[:, 0].abs().max() > 0


@every
def test_t10_a_map_does_not_depend_on_its_batch(member, inputs, relu_net):
    saliency = member.saliency(relu_net, LogOdds())
    inputs, targets = inputs[:3], [0, 1, 2]
    together = [
        saliency.explain(inputs, target=targets, internal_batch_size=internal) for internal in (None, 2)
    ]
    for row, target in enumerate(targets):
        alone = saliency.explain(inputs[row : row + 1], target=target)
        for batch in together:
            for name in ("contribution", "mean_gradient", "displacement", "score_end"):
                assert torch.allclose(getattr(batch, name)[row], getattr(alone, name)[0], atol=1e-9), name
            if not isinstance(member.path, Nearest):
                # whether a proposal comes nearer can hang on the last bit, which differs between batch sizes
                assert batch.gradient_evaluations[row] == alone.gradient_evaluations[0]
                assert batch.forward_evaluations[row] == alone.forward_evaluations[0]


def test_evaluations_are_counted_truly(inputs, smooth_net):
    seen = {"forward": 0, "gradient": 0}

    def model(x):
        seen["gradient" if x.requires_grad else "forward"] += len(x)
        return smooth_net(x)

    for member in COMBINATIONS + CURVED:
        seen.update(forward=0, gradient=0)
        record = member.saliency(model, LogOdds()).explain(inputs, target=0)
        assert record.gradient_evaluations.sum() == seen["gradient"], member.name
        assert record.forward_evaluations.sum() == seen["forward"], member.name


def test_straight_all_the_way_is_integrated_gradients(inputs, relu_net):
    saliency = NonlinearSaliency(relu_net, Logit(), Input(reference=REFERENCE), path=Straight(20))
    peer = IntegratedGradients(relu_net).attribute(
        inputs, REFERENCE, target=2, n_steps=20, method="riemann_middle"
    )
    assert torch.allclose(saliency.attribute(inputs, target=2), peer, atol=1e-12)


def test_straight_stops_at_the_first_crossing():
    model = column(lambda x: torch.cos(x[:, 0]))
    saliency = NonlinearSaliency(model, Logit(), Input(reference=3 * torch.pi), path=Straight(50))
    record = saliency.explain(torch.zeros(1, 1, dtype=torch.float64), level=0.0)
    assert record.converged.all()
    assert record.endpoint.item() == pytest.approx(torch.pi / 2, abs=1e-8)


def test_flow_in_a_box_stays_in_it_and_blocked_coordinates_are_released():
    # down to 0 the second coordinate hits its bound at once; the first has to do the rest
    model = column(lambda x: x[:, 0] + 3 * x[:, 1])
    saliency = NonlinearSaliency(model, Logit(), Input(lower=-1.0, upper=1.0), path=Flow(20))
    x = torch.tensor([[0.9, -0.9]], dtype=torch.float64)
    record = saliency.explain(x, level=-3.5)
    assert record.converged.all()
    assert torch.allclose(record.endpoint, torch.tensor([[-0.5, -1.0]], dtype=torch.float64))
    assert torch.allclose(record.contribution, torch.tensor([[-1.4, -0.3]], dtype=torch.float64))
    # the drift of the second coordinate turns when the first passes 0, and it leaves its bound again
    turning = column(lambda x: x[:, 0] - 2 * x[:, 0] * x[:, 1])
    x = torch.tensor([[0.5, 0.5]], dtype=torch.float64)
    record = NonlinearSaliency(turning, Logit(), Input(upper=0.5), path=Flow(60)).explain(x, level=0.5)
    assert record.converged.all()


def test_tangent_in_a_box_lets_the_others_go_on():
    model = column(lambda x: x[:, 0] + 3 * x[:, 1] + 0 * x[:, 2])
    saliency = NonlinearSaliency(model, Logit(), Input(lower=-1.0, upper=1.0), path=Tangent())
    x = torch.tensor([[0.9, -0.9, 0.0]], dtype=torch.float64)
    record = saliency.explain(x, level=-3.5)
    assert record.converged.all()
    assert torch.allclose(record.endpoint, torch.tensor([[-0.5, -1.0, 0.0]], dtype=torch.float64))
    record = saliency.explain(x, level=-5.0)
    assert not record.converged.any()
    assert "at its bound" in record.reason[0]
    assert torch.allclose(record.endpoint, torch.tensor([[-1.0, -1.0, 0.0]], dtype=torch.float64))


def test_trace_keeps_the_points_of_the_path(inputs, smooth_net):
    record = NonlinearSaliency(smooth_net).explain(inputs, target=0, trace=True)
    assert torch.equal(record.path_points[0], inputs)
    assert torch.equal(record.path_points[-1], record.endpoint)
    for points, scores in zip(record.path_points, record.path_scores, strict=True):
        known = scores.isfinite()
        assert torch.allclose(LogOdds()(smooth_net(points), 0)[known], scores[known])


def test_sign_positive_supports_the_score(inputs):
    weight = torch.tensor([2.0, -1.0, 0.5, 0.0], dtype=torch.float64)
    model = column(lambda x: x @ weight)
    x = torch.ones(1, 4, dtype=torch.float64)
    for readout in ("contribution", "mean_gradient", "displacement"):
        for level in (-1.0, 4.0):
            flow = NonlinearSaliency(model, Logit(), readout=readout).attribute(x, level=level)
            expected = [1.0, 1.0, 1.0, 0.0] if readout == "contribution" else [1.0, -1.0, 1.0, 0.0]
            assert flow.sign()[0].tolist() == expected
    away = NonlinearSaliency(model, Logit(), Input(reference=0.0), path=Straight(2)).attribute(x)
    assert torch.allclose(away[0], weight)


def test_linear_map_is_captums_saliency(inputs, relu_net):
    saliency = NonlinearSaliency(relu_net, Logit(), path=Tangent(), readout="mean_gradient")
    peer = Saliency(relu_net).attribute(inputs, target=1, abs=False)
    assert torch.equal(saliency.attribute(inputs, target=1, level=Drop(1.0)), peer)


def test_delta_is_the_completeness_error(inputs, smooth_net):
    saliency = NonlinearSaliency(smooth_net)
    attribution, delta = saliency.attribute(inputs, target=0, return_convergence_delta=True)
    record = saliency.explain(inputs, target=0)
    assert torch.equal(delta, record.completeness_error)
    assert torch.equal(attribution, record.support())
    (in_tuple,) = saliency.attribute((inputs,), target=0)
    assert torch.equal(in_tuple, attribution)


def test_additional_arguments_follow_their_examples(inputs):
    shift = torch.arange(5, dtype=torch.float64)[:, None]
    saliency = NonlinearSaliency(lambda x, s, k: (x**2).sum(1, keepdim=True) * k + s, Logit())
    record = saliency.explain(
        inputs, level=Drop(0.1), additional_forward_args=(shift, 2.0), internal_batch_size=2
    )
    assert record.converged.all()
    assert torch.allclose(record.score_start, 2 * (inputs**2).sum(1) + shift[:, 0])


def test_no_gradient_is_left_behind(inputs, smooth_net):
    inputs.requires_grad_()
    with torch.no_grad():
        NonlinearSaliency(smooth_net).attribute(inputs, target=0)
    assert inputs.grad is None
    assert all(parameter.grad is None for parameter in smooth_net.parameters())


@every
def test_single_precision(member, inputs, relu_net):
    record = member.saliency(relu_net.float(), LogOdds()).explain(inputs.float(), target=0)
    assert record.contribution.dtype == torch.float32
    for name in ("contribution", "mean_gradient", "displacement"):
        assert getattr(record, name).isfinite().all()


def test_the_parts_of_a_batch_make_one_record(inputs, smooth_net):
    saliency = NonlinearSaliency(smooth_net, LogOdds(), Input(reference=0.0), path=Straight(5))
    options = {"target": [0, 1, 2, 0, 1], "trace": True, "competitors": 1}
    whole = saliency.explain(inputs, **options)
    parts = saliency.explain(inputs, internal_batch_size=2, **options)
    for field in dataclasses.fields(whole):
        ours, other = getattr(whole, field.name), getattr(parts, field.name)
        if isinstance(ours, torch.Tensor):
            assert torch.allclose(ours, other, atol=1e-12, equal_nan=True), field.name
        else:
            assert ours == other, field.name
    assert len(parts.path_scores) == 6


def test_a_part_that_arrives_early_stays_at_its_endpoint(inputs, relu_net):
    saliency = NonlinearSaliency(relu_net, LogOdds(), path=Flow(4))
    record = saliency.explain(
        inputs, target=[0, 1, 2, 0, 1], level=Drop(0.1), trace=True, internal_batch_size=1
    )
    assert record.path_points.shape[1:] == inputs.shape
    assert torch.equal(record.path_points[-1], record.endpoint)
    assert torch.allclose(record.path_scores[-1], record.score_end, equal_nan=True)


def test_attribute_is_the_support_of_explain(inputs, relu_net):
    for readout in ("contribution", "mean_gradient", "displacement"):
        saliency = NonlinearSaliency(relu_net, LogOdds(), path=Flow(4), readout=readout)
        arguments = {"target": 1, "level": Drop(0.1), "internal_batch_size": 2}
        expected = saliency.explain(inputs, **arguments).support(readout)
        assert torch.equal(saliency.attribute(inputs, **arguments), expected)


@pytest.mark.parametrize("steps", [8, 16, 64, 256])
def test_a_bounded_flow_ends_within_half_a_step_of_the_exact_one(steps):
    # x1 + x2 from (0.25, 2) to 1: both fall alike until x1 is at its bound, then x2 alone. A step is 1.25 / steps.
    saliency = NonlinearSaliency(
        lambda x: x.sum(1, keepdim=True), Logit(), Input(lower=0.0), path=Flow(steps)
    )
    run = saliency.explain(torch.tensor([[0.25, 2.0]], dtype=torch.float64), level=1.0)
    assert run.converged.all()
    exact = torch.tensor([[0.0, 1.0]], dtype=torch.float64)
    assert (run.endpoint - exact).abs().max() <= 1.25 / steps / 4 + 1e-12
