"""The secant: it settles on smooth networks, and what it leaves is true."""

import numpy as np
import pytest
import torch
from torch import nn

from helpers.saliency import Covariance, Drop, Euclidean, Input, Logit, NonlinearSaliency, Scaled, Secant
from helpers.saliency.paths.secant import Asked

FEATURES = 9


def smooth_net(activation, seed):
    torch.manual_seed(seed)
    net = nn.Sequential(
        nn.Linear(FEATURES, 16), activation(), nn.Linear(16, 16), activation(), nn.Linear(16, 3)
    )
    with torch.no_grad():
        for layer in net[::2]:
            layer.weight *= 2.0
    return net.double()


def examples(seed):
    return torch.randn(5, FEATURES, dtype=torch.float64, generator=torch.Generator().manual_seed(10 + seed))


def mean_gradient(score, inputs, chord, nodes=48):
    """The gradient's mean along chords, by the project's autograd and nothing else of the method."""
    places, weights = np.polynomial.legendre.leggauss(nodes)
    total = torch.zeros_like(chord)
    for place, weight in zip((places + 1) / 2, weights / 2, strict=True):
        point = (inputs + place * chord).requires_grad_()
        total += weight * torch.autograd.grad(score(point).sum(), point)[0]
    return total


GENERATOR = torch.Generator().manual_seed(0)
MIXED = torch.randn(FEATURES, FEATURES, generator=GENERATOR, dtype=torch.float64)
GEOMETRIES = [
    Euclidean(),
    Scaled(torch.linspace(0.5, 2.0, FEATURES, dtype=torch.float64)),
    Covariance(MIXED @ MIXED.T / FEATURES + torch.eye(FEATURES, dtype=torch.float64)),
]


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=lambda each: type(each).__name__)
@pytest.mark.parametrize("activation", [nn.Tanh, nn.Softplus])
def test_it_settles_on_smooth_networks(activation, geometry):
    settled = asked = 0
    for seed in range(4):
        net, inputs = smooth_net(activation, seed), examples(seed)
        predicted = net(inputs).argmax(1)
        run = NonlinearSaliency(net, geometry=geometry, path=Secant(nodes=16)).explain(inputs, predicted)
        settled, asked = settled + int(run.converged.sum()), asked + len(inputs)
        assert all(reason.startswith("no secant") for reason in run.reason if reason)
        found = run.converged

        def odds(x, chosen=predicted[found], net=net):
            outputs = net(x)
            own = outputs.gather(1, chosen[:, None])[:, 0]
            return own - outputs.scatter(1, chosen[:, None], -torch.inf).logsumexp(1)

        # the fixed point, by an independent quadrature
        chord, rise = run.displacement[found], (run.level - run.score_start)[found]
        half = geometry.adjoint(mean_gradient(odds, inputs[found], chord))
        expected = geometry.apply(half * (rise / half.square().sum(1))[:, None])
        assert ((chord - expected).norm(dim=1) / chord.norm(dim=1)).max() < 1e-5
        assert (run.completeness_error / rise.abs().max()).abs()[found].max() < 1e-5
        assert run.residual[found].abs().max() < 1e-8
    assert settled >= 0.95 * asked


def test_completeness_has_the_order_of_the_quadrature():
    """Gauss-Legendre quadrature: the error falls faster than any power of 1 / nodes."""
    net, inputs = smooth_net(nn.Tanh, 1), examples(1)
    errors = []
    for nodes in (2, 4, 8):
        run = NonlinearSaliency(net, path=Secant(60, nodes)).explain(inputs, 0, Drop(0.5))
        assert run.converged.all()
        errors.append(run.completeness_error.abs().max().item())
    assert errors[0] > 1e-4, "a chord that is curved enough to tell"
    assert (np.diff(np.log2(errors)) < -4).all(), errors


def test_where_the_length_is_adjusted_contributions_are_those_of_the_chord_that_is_gone():
    # a kink on the way, which two nodes do not see: the chord's own quadrature misses the level
    kinked = lambda x: torch.relu(x[:, :1]) + 0.2 * x[:, :1] + torch.relu(x[:, 1:] - 0.3)  # noqa: E731
    inputs = torch.tensor([[1.0, 0.9]], dtype=torch.float64)
    run = NonlinearSaliency(kinked, Logit(), path=Secant(24, 3)).explain(inputs, level=-0.1)
    places, weights = np.polynomial.legendre.leggauss(3)
    gradient = torch.zeros_like(inputs)
    for place, weight in zip((places + 1) / 2, weights / 2, strict=True):
        point = (inputs + place * run.displacement).requires_grad_()
        gradient += weight * torch.autograd.grad(kinked(point).sum(), point)[0]
    assert torch.allclose(run.contribution, gradient * run.displacement, atol=1e-12)
    assert torch.allclose(run.mean_gradient, gradient, atol=1e-12)


def test_a_settled_example_costs_nothing_more():
    net, inputs = smooth_net(nn.Softplus, 0), examples(0)
    short, long = (NonlinearSaliency(net, path=Secant(count)).explain(inputs, 0) for count in (24, 200))
    same = short.converged
    assert same.any()
    assert torch.equal(short.gradient_evaluations[same], long.gradient_evaluations[same])
    assert torch.equal(short.displacement[same], long.displacement[same])


def test_a_linear_iteration_is_solved_exactly_once_all_directions_are_known():
    generator = torch.Generator().manual_seed(2)
    matrix = 2 * torch.randn(3, 3, generator=generator, dtype=torch.float64)  # diverges without acceleration
    shift = torch.randn(3, generator=generator, dtype=torch.float64)
    exact = torch.linalg.solve(torch.eye(3, dtype=torch.float64) - matrix, shift)
    rows, known = torch.tensor([0]), Asked(torch.zeros(1, 3, dtype=torch.float64))
    for chord in torch.randn(4, 3, generator=generator, dtype=torch.float64):
        known.note(rows, chord[None], (matrix @ chord + shift)[None])
    newest, found = chord, known.settled_for(rows, torch.ones(1, dtype=torch.float64))[0]
    # a step has 12 bits
    assert (found - exact).norm() < 1e-3 * (exact - newest).norm()


def test_what_does_not_settle_does_not_hang_on_the_last_bit():
    torch.manual_seed(3)
    net = nn.Sequential(nn.Linear(FEATURES, 24), nn.ReLU(), nn.Linear(24, 3)).double()
    inputs = examples(0)
    saliency = NonlinearSaliency(net, path=Secant())
    together = saliency.explain(inputs, 0)
    assert not together.converged.all()
    for row in range(len(inputs)):
        alone = saliency.explain(inputs[row : row + 1], 0)
        assert torch.allclose(together.contribution[row], alone.contribution[0], atol=1e-12)


def test_bounds_are_refused():
    with pytest.raises(ValueError, match="takes no bounds"):
        NonlinearSaliency(smooth_net(nn.Tanh, 0), coordinates=Input(lower=-1.0), path=Secant())
