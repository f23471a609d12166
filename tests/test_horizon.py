"""The path with a horizon: its limits, its ends, completeness, and the way back up."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from helpers.saliency import (
    Boundary,
    Decoder,
    Drop,
    Flow,
    Horizon,
    Input,
    Layer,
    Logit,
    NonlinearSaliency,
    Removal,
    Share,
    Smooth,
    Straight,
)
from helpers.saliency.evaluator import Evaluator
from helpers.saliency.journey import Journey
from helpers.saliency.model import Forward
from helpers.saliency.scores import with_target

END = "no coordinate that is left helps"


@pytest.fixture
def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 3)).double()


@pytest.fixture
def inputs():
    return torch.randn(4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def images():
    return torch.rand(2, 2, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


@pytest.fixture
def image_net():
    torch.manual_seed(1)
    layers = (nn.Conv2d(2, 4, 3, padding=1), nn.Softplus(), nn.Flatten(), nn.Linear(4 * 64, 3))
    return nn.Sequential(*layers).double().eval()


def begun(net, inputs, path):
    """A journey at its start, in Removal coordinates, from which a path looks ahead."""
    saliency = NonlinearSaliency(net, Logit(), Removal(0.1), path=path)
    chart = replace(path.course(saliency.coordinates.chart(inputs, None)), forward=Forward(net))
    journey = Journey(Evaluator(chart, with_target(Logit(), torch.tensor([1] * len(inputs)))))
    journey.begin(Drop(0.1), lambda columns: 0.0, with_gradient=True)
    return journey


def test_with_a_small_share_the_first_velocity_is_the_flows(net, inputs):
    journey = begun(net, inputs, Horizon())
    flow, velocity, _ = journey.steepest(journey.here())
    errors = []
    for share in (1e-2, 1e-4, 1e-6):
        ahead, found, _ = journey.steepest(Horizon(share=share)._ahead(journey, journey.here()))
        assert torch.equal(ahead.rows, flow.rows)
        errors.append(((found - velocity).norm() / velocity.norm()).item())
    assert errors[0] < 0.1
    assert (np.diff(np.log10(errors)) < -1.9).all(), errors


@pytest.mark.parametrize("up", [False, True])
@pytest.mark.parametrize("nodes", [1, 5])
def test_with_the_whole_share_the_first_mean_gradient_is_that_of_the_straight_way(nodes, up, net, inputs):
    path = Horizon(nodes=nodes, up=up)
    journey = begun(net, inputs, path)
    ahead = path._ahead(journey, journey.here())
    straight = NonlinearSaliency(net, Logit(), Removal(0.1), path=Straight(nodes)).explain(inputs, target=1)
    expected = straight.mean_gradient[ahead.rows] * (-1 if up else 1)
    assert torch.allclose(ahead.gradient, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("up", [False, True])
@pytest.mark.parametrize("share", [1.0, 0.2])
def test_completeness_has_the_order_of_the_quadrature(share, up, net, inputs):
    for level in (None, Drop(0.02 if not up else -0.02)):
        errors = []
        for steps in (8, 16, 32, 64):
            path = Horizon(steps, 3, share, up)
            run = NonlinearSaliency(net, Logit(), Removal(0.1), path=path).explain(inputs, 1, level)
            assert run.converged.all(), run.reason
            errors.append(run.completeness_error.abs().max().item())
        slope = np.polyfit(np.log2([8, 16, 32, 64]), np.log2(errors), 1)[0]
        assert slope < -1.7, errors


def test_all_the_way_it_ends_where_nothing_helps_any_more(net, inputs):
    run = NonlinearSaliency(net, Logit(), Removal(0.1), path=Horizon(10)).explain(inputs, 1)
    straight = NonlinearSaliency(net, Logit(), Removal(0.1), path=Straight(10)).explain(inputs, 1)
    assert run.converged.all()
    whole = (run.displacement == 1).all(1)
    assert [not reason for reason in run.reason] == whole.tolist()
    assert all(reason.startswith(END) for reason in run.reason if reason)
    assert not whole.all()
    # it goes at least as far as the way that takes everything, in the same direction
    way = (straight.score_end - straight.score_start).sign()
    assert ((run.score_end - straight.score_end) * way >= -1e-9).all()
    assert ((run.displacement >= 0) & (run.displacement <= 1)).all()


def test_steps_change_the_same_sum_and_nothing_comes_back():
    weight = torch.tensor([4.0, 2.0, 1.0, 0.5], dtype=torch.float64)
    model = lambda x: (x @ weight)[:, None]  # noqa: E731
    saliency = NonlinearSaliency(model, Logit(), Removal(0.0), path=Horizon(8, 1))
    run = saliency.explain(torch.ones(1, 4, dtype=torch.float64), trace=True)
    places = 1 - run.path_points[:, 0]
    assert torch.allclose(places.sum(1).diff(), torch.full((8,), 0.5, dtype=torch.float64))
    assert torch.allclose(places[1] / places[1].sum(), weight / weight.sum())
    assert (places.diff(dim=0) >= 0).all()
    assert (run.displacement == 1).all()
    assert run.reason == [""]
    assert torch.allclose(run.contribution[0], -weight)
    # start, and a look ahead and an end of each of the 8 steps; the score of the reference
    assert (run.gradient_evaluations.item(), run.forward_evaluations.item()) == (1 + 8 * 2, 1)


def test_a_level_is_reached_as_by_the_flow(net, inputs):
    for level in (Drop(0.05), Drop(-0.05)):
        runs = [
            NonlinearSaliency(net, Logit(), Removal(0.1), path=path).explain(inputs, 1, level)
            for path in (Horizon(400, 1, 1e-6), Flow(200))
        ]
        assert all(run.converged.all() for run in runs)
        assert torch.allclose(runs[0].displacement, runs[1].displacement, atol=2e-3)
        assert torch.allclose(runs[0].contribution, runs[1].contribution, atol=2e-4)
        assert runs[0].residual.abs().max() < 1e-8


def test_upwards_it_starts_at_the_reference_and_what_is_added_supports(net, inputs):
    saliency = NonlinearSaliency(net, Logit(), Removal(0.1), path=Horizon(16, up=True))
    run = saliency.explain(inputs, 1)
    reference, own = net(torch.full_like(inputs, 0.1))[:, 1], net(inputs)[:, 1]
    assert torch.allclose(run.score_start, reference)
    assert torch.allclose(run.endpoint, 0.1 + run.displacement * (inputs - 0.1))
    assert run.restores
    assert not run.removes
    assert torch.equal(run.support(), run.contribution)
    assert torch.equal(run.support("mean_gradient"), run.mean_gradient)
    assert torch.equal(run.support("displacement"), run.displacement)
    # Share(1.0) is the input's score; on the way there may be other remarks than a rise
    half = saliency.explain(inputs, 1, Share(0.5))
    assert torch.allclose(half.level, (reference + own) / 2)
    assert half.converged.all()
    assert not any(half.reason)
    falls = own < reference
    assert falls.any()
    assert torch.equal(half.support(), half.contribution), "also where the score falls on the way up"
    rivals = saliency.explain(inputs, 1, competitors=[0])
    assert torch.equal(rivals.competing_support(), rivals.competing_contributions)


def test_what_is_necessary_and_what_suffices():
    """Two features of which either is enough, and one that speaks against."""
    model = lambda x: (x[:, 0] + x[:, 1] - x[:, 0] * x[:, 1] - x[:, 2] / 2)[:, None]  # noqa: E731
    inputs = torch.tensor([[1.0, 0.5, 1.0]], dtype=torch.float64)
    down, up = (
        NonlinearSaliency(model, Logit(), Removal(0.0), path=Horizon(up=up)).explain(inputs)
        for up in (False, True)
    )
    assert down.displacement.tolist() == [[1, 1, 0]]
    assert up.displacement[0, 0] == 1
    assert 0 < up.displacement[0, 1] < 1
    assert up.displacement[0, 2] == 0
    assert up.score_end > up.score_start


@pytest.mark.parametrize("up", [False, True])
@pytest.mark.parametrize("geometry", [None, Smooth(0.8)])
def test_in_cells_of_images(geometry, up, images, image_net):
    chosen = {} if geometry is None else {"geometry": geometry}
    path = Horizon(6, 3, up=up)
    saliency = NonlinearSaliency(image_net, Logit(), Removal(0.2, cells=4), path=path, **chosen)
    run = saliency.explain(images, 1, layers=[image_net[1]])
    assert run.displacement.shape == (2, 1, 4, 4)
    assert run.contribution.shape == images.shape
    assert run.converged.all()
    change = run.score_end - run.score_start
    assert (run.completeness_error.abs() < 0.02 * change.abs() + 1e-3).all()
    assert torch.allclose(run.layer_contributions[0].flatten(1).sum(1), change, rtol=0.05, atol=1e-3)
    assert run.gradient_evaluations.max() <= 1 + 12 * 4
    levelled = saliency.explain(images, 1, Share(0.3))
    assert levelled.converged.all(), levelled.reason


def test_at_a_layer(images, image_net):
    layer = Layer(image_net[1], Removal(0.0), carried=False)
    run = NonlinearSaliency(image_net, Logit(), layer, path=Horizon(4, up=True)).explain(images, 1)
    assert run.contribution.shape == (2, 4, 8, 8)
    assert torch.allclose(run.score_start, image_net[3].bias[1].expand(2))


WRONG = {
    "Horizon(steps): expected an integer of at least 1": {"steps": 0},
    "Horizon(nodes): expected an integer of at least 1": {"nodes": 2.5},
    "Horizon(share): expected a share of the way that is left": {"share": 0.0},
    "0 < share <= 1; got 1.5": {"share": 1.5},
    "0 < share <= 1; got nan": {"share": float("nan")},
    "0 < share <= 1; got True": {"share": True},
    "0 < share <= 1; got '1'": {"share": "1"},
    "Horizon(up): expected False": {"up": 1},
}


@pytest.mark.parametrize("words", WRONG)
def test_wrong_numbers_are_told_in_words(words):
    with pytest.raises(ValueError) as error:
        Horizon(**WRONG[words])
    assert words in str(error.value)


@pytest.mark.parametrize(
    "coordinates",
    [Input(), Input(reference=0.0), Decoder(lambda z: z, lambda x: x, 0.0)],
    ids=["input", "input with a reference", "decoder"],
)
def test_coordinates_that_remove_nothing_are_refused_before_the_first_step(coordinates, net):
    with pytest.raises(ValueError, match=r"removes none\. Use Removal\(reference\)"):
        NonlinearSaliency(net, coordinates=coordinates, path=Horizon())


def test_a_boundary_of_a_logit_is_refused(net, inputs):
    with pytest.raises(ValueError, match="has no meaning for Logit"):
        NonlinearSaliency(net, Logit(), Removal(0.0), path=Horizon()).explain(inputs, 1, Boundary())
