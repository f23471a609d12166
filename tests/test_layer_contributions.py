"""A path in the input, read at modules: contributions that are complete at every depth."""

import math

import pytest
import torch
from captum.attr import LayerConductance
from torch import nn

from helpers.saliency import (
    Drop,
    Flow,
    Horizon,
    Input,
    Layer,
    Logit,
    LogOdds,
    Nearest,
    NonlinearSaliency,
    Removal,
    ScaleSpace,
    Secant,
    Straight,
    StraightTangent,
    Stretch,
    Tangent,
)


class Smooth(nn.Module):
    """A small image network without kinks, in float64."""

    def __init__(self, activation=nn.Softplus):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), activation())
        self.second = nn.Sequential(nn.Conv2d(4, 5, 3, stride=2, padding=1), activation())
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 6), activation())
        self.head = nn.Linear(6, 3)
        generator = torch.Generator().manual_seed(0)
        for parameter in self.parameters():
            parameter.data = 0.6 * torch.randn(parameter.shape, generator=generator)
        self.double().eval()

    def forward(self, x):
        return self.head(self.pool(self.second(self.first(x))))


def images(count=2, seed=0):
    return torch.rand(count, 2, 8, 8, generator=torch.Generator().manual_seed(seed)).double()


NET = Smooth()
LAYERS = [NET.first, NET.second, NET.head]
PATHS = {
    "straight": (Straight(8), Input(reference=0.0)),
    "straight, trapezoid": (Straight(8, "trapezoid"), Input(reference=0.0)),
    "removal": (Straight(8), Removal(0.0)),
    "scale space": (ScaleSpace(8, 3.0), Input()),
    "flow": (Flow(8), Input()),
    "flow in bounds": (Flow(8), Removal(0.0)),
    "horizon": (Horizon(16), Removal(0.0)),
    "horizon up": (Horizon(24, up=True), Removal(0.0)),
    "nearest": (Nearest(nodes=8), Input()),
    "secant": (Secant(64), Input()),
}


def run(name, steps=None, **options):
    path, coordinates = PATHS[name]
    if steps is not None:
        path = type(path)(**{**vars(path), ("nodes" if isinstance(path, Nearest) else "steps"): steps})
    level = None if path.default_level is None else Drop(0.2)
    saliency = NonlinearSaliency(NET, Logit(), coordinates, path=path)
    return saliency.explain(images(), target=1, level=level, layers=LAYERS, **options)


@pytest.mark.parametrize("name", PATHS)
def test_contributions_are_complete_at_every_depth(name):
    found = run(name)
    assert [tuple(each.shape) for each in found.layer_contributions] == [(2, 4, 8, 8), (2, 5, 4, 4), (2, 3)]
    change = found.score_end - found.score_start
    sums = torch.stack([each.flatten(1).sum(1) for each in found.layer_contributions], 1)
    assert torch.equal(found.layer_completeness_error, sums - change[:, None])
    assert found.layer_completeness_error.abs().max() < 0.01
    # behind the head the score is one of its outputs: nothing is left to quadrature
    assert found.layer_contributions[2][:, [0, 2]].abs().max() == 0
    torch.testing.assert_close(found.layer_contributions[2][:, 1], change, rtol=1e-9, atol=1e-12)
    for support, contribution in zip(found.layer_support(), found.layer_contributions, strict=True):
        assert torch.equal(support, contribution if name == "horizon up" else -contribution)


@pytest.mark.parametrize("name", ["straight", "straight, trapezoid", "removal", "scale space"])
def test_the_error_at_every_depth_falls_with_the_square_of_the_steps(name):
    errors = [run(name, steps).layer_completeness_error[:, :2].abs().mean(0) for steps in (16, 64)]
    order = torch.log(errors[0] / errors[1]) / math.log(4)
    assert ((order > 1.8) & (order < 2.2)).all(), order


def test_on_kinks_the_error_falls_all_the_same():
    rough = Smooth(nn.ReLU)
    saliency = NonlinearSaliency(rough, Logit(), Input(reference=0.0), path=Straight(8, "trapezoid"))
    layers = [rough.first, rough.second]
    errors = [
        saliency.replace(path=Straight(steps, "trapezoid"))
        .explain(images(8), target=1, layers=layers)
        .layer_completeness_error.abs()
        .mean(0)
        for steps in (8, 64)
    ]
    assert (errors[1] < errors[0] / 4).all()


@pytest.mark.parametrize("rule", ["midpoint", "trapezoid"])
def test_the_straight_path_is_layer_conductance(rule):
    saliency = NonlinearSaliency(NET, Logit(), Input(reference=0.0), path=Straight(200, rule))
    found = saliency.explain(images(), target=1, layers=LAYERS[:2])
    for layer, support in zip(LAYERS, found.layer_support(), strict=False):
        known = LayerConductance(NET, layer).attribute(
            images(), baselines=torch.zeros_like(images()), target=1, n_steps=200
        )
        torch.testing.assert_close(support, known, rtol=2e-3, atol=2e-3 * known.abs().max().item())


@pytest.mark.parametrize(
    ("path", "coordinates"),
    [
        (Tangent(), Input()),
        (Tangent(), Removal(0.0)),
        (StraightTangent(), Input(reference=0.0)),
        (StraightTangent(), Removal(0.0)),
    ],
)
def test_a_tangent_predicts_the_same_at_every_depth(path, coordinates):
    level = None if path.default_level is None else Drop(0.2)
    saliency = NonlinearSaliency(NET, Logit(), coordinates, path=path)
    found = saliency.explain(images(), target=1, level=level, layers=LAYERS)
    predicted = found.contribution.flatten(1).sum(1)
    for each in found.layer_contributions:
        torch.testing.assert_close(each.flatten(1).sum(1), predicted, rtol=1e-9, atol=1e-12)
    assert found.gradient_evaluations.tolist() == [1, 1]


def test_an_affine_network_is_read_exactly():
    model = nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 3)).double()
    inputs = torch.rand(2, 4, dtype=torch.float64)
    for path in (Straight(1), Straight(1, "trapezoid"), Flow(1), Tangent()):
        saliency = NonlinearSaliency(model, Logit(), Input(reference=0.0), path=path)
        found = saliency.explain(inputs, target=0, level=Drop(0.5), layers=[model[0]])
        change = model[0](found.endpoint) - model[0](inputs)
        expected = change * model[1].weight[0]
        torch.testing.assert_close(found.layer_contributions[0], expected.detach(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("path", "coordinates", "extra"),
    [
        (Straight(8, "trapezoid"), Input(reference=0.0), (0, 0)),
        (ScaleSpace(8), Input(), (0, 0)),
        (Straight(8), Input(reference=0.0), (9, 0)),
        (Stretch(2, 0.25, 0.75), Input(reference=0.0), (3, 0)),
        (Flow(8), Input(), (0, 0)),
        (Tangent(), Input(), (0, 1)),
        (StraightTangent(), Input(reference=0.0), (0, 1)),
    ],
)
def test_what_reading_costs_is_counted(path, coordinates, extra):
    level = None if path.default_level is None else Drop(0.2)
    saliency = NonlinearSaliency(NET, Logit(), coordinates, path=path)
    plain, read = (saliency.explain(images(1), 1, level, layers=layers) for layers in ((), LAYERS))
    assert torch.equal(plain.contribution, read.contribution)
    counts = [(run.gradient_evaluations.item(), run.forward_evaluations.item()) for run in (plain, read)]
    assert tuple(b - a for a, b in zip(*counts, strict=True)) == extra
    assert plain.layer_contributions is None


def test_with_noise_it_is_the_mean_over_the_draws():
    path, to_0 = Straight(4, "trapezoid"), Input(reference=0.0)
    saliency = NonlinearSaliency(NET, Logit(), to_0, path=path, noise=0.3, samples=4)
    found = saliency.explain(images(1), target=1, layers=LAYERS[:2])
    draws = saliency._draws(Input().chart(images(1), None))
    expected = 0
    for draw in draws:
        moved = Input(reference=lambda x, draw=draw: draw[None])
        one = NonlinearSaliency(NET, Logit(), moved, path=path)
        expected = (
            expected + one.explain(images(1) + draw, target=1, layers=LAYERS[:2]).layer_contributions[0] / 4
        )
    torch.testing.assert_close(found.layer_contributions[0], expected, rtol=1e-9, atol=1e-12)
    assert found.layer_completeness_error.abs().max() < 0.02


def test_competitors_are_read_along_the_same_path():
    saliency = NonlinearSaliency(NET, Logit(), Input(reference=0.0), path=Straight(8, "trapezoid"))
    found = saliency.explain(images(), target=0, layers=LAYERS[:2], competitors=[2, 1])
    for place, competing in enumerate(found.competing_layer_contributions):
        for number, target in enumerate([2, 1]):
            own = saliency.explain(images(), target=target, layers=LAYERS[:2]).layer_contributions[place]
            torch.testing.assert_close(competing[:, number], own)
    assert found.competing_layer_support()[0].shape == (2, 2, 4, 8, 8)


@pytest.mark.parametrize("name", ["straight", "straight, trapezoid", "removal"])
def test_competitors_can_be_read_at_the_layers_alone(name):
    path, coordinates = PATHS[name]
    passes = []
    images_, layers = images(3), [NET.first, NET.second]

    def model(x):
        if x.requires_grad:
            x.register_hook(lambda _: passes.append(1))
        return NET(x)

    saliency = NonlinearSaliency(model, Logit(), coordinates, path=path)
    options = {"target": [0, 1, 0], "competitors": 2, "layers": layers}
    whole = saliency.explain(images_, **options)
    everywhere = len(passes)
    passes.clear()
    run = saliency.explain(images_, **options, competing_at_input=False)
    assert everywhere == 3 * len(passes) > 0  # of three scores, one goes back to the input
    for field in ("layer_contributions", "competing_layer_contributions"):
        for one, other in zip(getattr(run, field), getattr(whole, field), strict=True):
            assert torch.equal(one, other)
    assert torch.equal(run.contribution, whole.contribution)
    assert torch.equal(run.gradient_evaluations, whole.gradient_evaluations)
    assert run.competing_contributions is None
    assert run.competitors.shape == (3, 2)
    with pytest.raises(
        ValueError, match="competing_at_input: this run followed its competitors at the layers"
    ):
        run.competing_support()


def test_competitors_are_followed_somewhere():
    with pytest.raises(ValueError, match="competing_at_input: expected True without layers"):
        NonlinearSaliency(NET).explain(images(), 0, competitors=2, competing_at_input=False)


@pytest.mark.parametrize("name", ["straight", "flow", "scale space"])
def test_an_example_does_not_depend_on_its_batch(name):
    whole, halves = run(name), run(name, internal_batch_size=1)
    for one, other in zip(whole.layer_contributions, halves.layer_contributions, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)
    assert torch.equal(whole.gradient_evaluations, halves.gradient_evaluations)


def test_what_follows_may_work_in_place():
    linear, last = nn.Linear(3, 4).double(), nn.Linear(4, 2).double()
    path, inputs = Straight(16, "trapezoid"), torch.rand(2, 3, dtype=torch.float64)
    found = []
    for relu in (nn.ReLU(inplace=True), nn.ReLU()):
        model = nn.Sequential(linear, relu, last)
        saliency = NonlinearSaliency(model, Logit(), Input(reference=-1.0), path=path)
        found.append(saliency.explain(inputs, target=1, layers=[linear, relu]).layer_contributions)
    for inplace, other in zip(*found, strict=True):
        assert torch.equal(inplace, other)
    assert not torch.allclose(*found[0])


class Bypassed(nn.Module):
    def __init__(self):
        super().__init__()
        self.branch, self.head = nn.Sequential(nn.Linear(3, 3), nn.Tanh()), nn.Linear(3, 2)

    def forward(self, x):
        return self.head(x + self.branch(x))


def test_a_module_that_the_score_passes_by_is_named():
    model = Bypassed().double()
    saliency = NonlinearSaliency(model, Logit(), Input(reference=0.0), path=Straight(16))
    found = saliency.explain(torch.rand(2, 3).double(), target=0, layers=[model.branch, model.head])
    assert all("does not go through Sequential" in reason for reason in found.reason)
    assert found.layer_completeness_error[:, 0].abs().min() > 1e-3
    assert not any(saliency.explain(torch.rand(1, 3).double(), target=0, layers=[model.head]).reason)


class Odd(nn.Module):
    """One layer twice, one never, one that returns a tuple."""

    def __init__(self):
        super().__init__()
        self.twice, self.never, self.pair = nn.Linear(3, 3), nn.Linear(3, 3), nn.GRU(3, 3, batch_first=True)

    def forward(self, x):
        return self.pair(self.twice(self.twice(x))[:, None])[0][:, 0]


@pytest.mark.parametrize(
    ("layers", "error", "words"),
    [
        ([], None, ""),
        (["twice"], TypeError, "layers: expected modules of the model, for example .* got 'twice'"),
        (7, TypeError, "layers: expected a sequence of modules of the model; got 7"),
        ("twice", ValueError, "layers: .*Linear is called 2 times"),
        ("never", ValueError, "layers: .*Linear is not called by the model"),
        ("pair", ValueError, "layers: expected modules that return one tensor.* GRU returns tuple"),
    ],
)
def test_bad_layers_are_told_before_the_first_step(layers, error, words):
    model = Odd()
    saliency = NonlinearSaliency(model, Logit(), Input(reference=0.0), path=Straight(2, "trapezoid"))
    if isinstance(layers, str):
        layers = [getattr(model, layers)]
    if error is None:
        assert saliency.explain(torch.rand(1, 3), target=0, layers=layers).layer_contributions is None
        return
    with pytest.raises(error, match=words):
        saliency.explain(torch.rand(1, 3), target=0, layers=layers)


def test_what_cannot_be_read_is_refused():
    inside = NonlinearSaliency(NET, Logit(), Layer(NET.first), path=Flow(4))
    with pytest.raises(ValueError, match="layers: a path is read at modules where it changes the input"):
        inside.explain(images(), target=0, layers=[NET.second])
    plain = NonlinearSaliency(NET, LogOdds(), Input())
    with pytest.raises(ValueError, match="layers: expected each module once"):
        plain.explain(images(), target=0, layers=[NET.first, NET.first])
    found = plain.explain(images(), target=0, level=Drop(0.1))
    with pytest.raises(ValueError, match=r"call explain\(\.\.\., layers=\[module"):
        found.layer_support()
    with pytest.raises(ValueError, match="this run had none"):
        found.competing_layer_support()


# ---- the paths that were made for it -----------------------------------------------------------------------


def test_scale_space_is_blur_integrated_gradients():
    """Its end is the blurred copy, its contributions the integral of F along the blurs."""
    from helpers.saliency import gaussian_blur

    saliency = NonlinearSaliency(NET, Logit(), path=ScaleSpace(steps=64, width=3.0))
    found = saliency.explain(images(), target=1, trace=True)
    torch.testing.assert_close(found.endpoint, gaussian_blur(images(), 3.0), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(found.path_points[32], gaussian_blur(images(), 1.5), rtol=1e-9, atol=1e-12)
    assert found.completeness_error.abs().max() < 1e-3
    assert found.gradient_evaluations.tolist() == [65, 65]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: ScaleSpace(0), r"ScaleSpace\(steps\)"),
        (lambda: ScaleSpace(width=-1.0), r"ScaleSpace\(width\)"),
        (
            lambda: NonlinearSaliency(NET, coordinates=Removal(0.0), path=ScaleSpace()),
            "coordinates of type Input",
        ),
        (
            lambda: NonlinearSaliency(NET, path=ScaleSpace()).attribute(images(), 0, level=0.0),
            "pass no level",
        ),
        (
            lambda: NonlinearSaliency(lambda x: x, Logit(), path=ScaleSpace()).attribute(torch.ones(1, 3), 0),
            "ScaleSpace: expected images",
        ),
        (lambda: Straight(4, rule="simpson"), r"Straight\(rule\): expected 'midpoint' or 'trapezoid'"),
    ],
)
def test_scale_space_and_rules_say_what_is_wrong(make, words):
    with pytest.raises(ValueError, match=words):
        make()
