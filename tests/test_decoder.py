"""Coordinates through a map: what must hold beyond what tests/test_nonlinear.py runs through for every member."""

import warnings

import numpy as np
import pytest
import torch
from torch import nn

from helpers.saliency import (
    Covariance,
    Decoder,
    Drop,
    Flow,
    Input,
    Layer,
    Logit,
    LogOdds,
    Nearest,
    NonlinearSaliency,
    Removal,
    Scaled,
    Secant,
    Share,
    Smooth,
    Straight,
    StraightTangent,
    Stretch,
    Tangent,
)

FEATURES, NUMBERS, SIDE = 6, 3, 8
PATHS = [
    Tangent(),
    StraightTangent(),
    Straight(7),
    Stretch(6, 0.2, 0.9),
    Flow(7),
    Secant(16, 6),
    Nearest(12, 1, 6),
]
paths = pytest.mark.parametrize("path", PATHS, ids=lambda path: type(path).__name__)


def random(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


BASIS = random(NUMBERS, FEATURES, seed=5)


def encode(x):
    return 0.2 * x @ BASIS.T


def bent(z):
    return (z @ BASIS).sin() + 0.5 * z @ BASIS


@pytest.fixture
def inputs():
    return random(4, FEATURES, seed=1)


@pytest.fixture
def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(FEATURES, 16), nn.Tanh(), nn.Linear(16, 3)).double()


def aim(path):
    return None if path.default_level is None else Drop(0.1)


@paths
def test_a_linear_decoder_is_exact_on_affine_scores(path, inputs):
    torch.manual_seed(2)
    model = nn.Linear(FEATURES, 2).double()
    coordinates = Decoder(lambda z: z @ BASIS, encode, reference=0.3)
    run = NonlinearSaliency(model, Logit(), coordinates, path=path).explain(inputs, target=1, level=aim(path))
    gradient = (BASIS @ model.weight[1]).expand(len(inputs), -1)
    assert run.displacement.shape == run.mean_gradient.shape == (4, NUMBERS)
    assert run.contribution.shape == inputs.shape
    assert torch.allclose(run.mean_gradient, gradient, rtol=1e-9, atol=1e-12)
    counted = run.displacement * (0.7 if isinstance(path, Stretch) else 1.0) @ BASIS
    if isinstance(path, Stretch):
        counted = counted / 0.9
    assert torch.allclose(run.contribution, model.weight[1] * counted, rtol=1e-9, atol=1e-12)
    assert torch.allclose(run.endpoint, inputs + run.displacement @ BASIS)
    assert run.converged.all()


@paths
@pytest.mark.parametrize("keep_rest", [True, False])
def test_with_the_identity_it_is_input(path, keep_rest, inputs, net):
    identity = Decoder(lambda z: z, lambda x: x, reference=0.2, keep_rest=keep_rest)
    runs = [
        NonlinearSaliency(net, LogOdds(), place, path=path, noise=noise, samples=4).explain(
            inputs, target=1, level=aim(path), competitors=1
        )
        for noise in (0.0, 0.1)
        for place in (identity, Input(reference=0.2))
    ]
    for found, wanted in (runs[:2], runs[2:]):
        names = ["displacement", "mean_gradient", "endpoint", "score_end", "raw_score_end"]
        # the secant's contributions are taken by another rule in curved coordinates
        names += [] if isinstance(path, Secant) else ["contribution", "competing_contributions"]
        for name in names:
            tolerance = 1e-3 if isinstance(path, Secant) and name == "mean_gradient" else 1e-9
            assert torch.allclose(getattr(found, name), getattr(wanted, name), atol=tolerance), name


@pytest.mark.parametrize("path", [lambda n: Straight(n), lambda n: Flow(n), lambda n: Secant(24, n)])
def test_completeness_is_of_second_order_where_all_is_smooth(path, inputs, net):
    coordinates = Decoder(bent, encode, reference=0.3)
    errors = []
    for steps in (8, 16, 32):
        run = NonlinearSaliency(net, LogOdds(), coordinates, path=path(steps)).explain(
            inputs, target=0, level=Drop(0.02) if path(steps).default_level else None
        )
        assert run.converged.all(), run.reason
        errors.append(run.completeness_error.abs().max().item())
    assert (np.diff(np.log2(errors)) < -1.6).all(), errors


def test_the_mean_gradient_is_of_second_order_too(inputs, net):
    """Along the straight way its product with the displacement is the score's change."""
    coordinates, errors = Decoder(bent, encode, reference=0.3), []
    for steps in (8, 16, 32):
        run = NonlinearSaliency(net, LogOdds(), coordinates, path=Straight(steps)).explain(inputs, target=0)
        change = (run.mean_gradient * run.displacement).sum(1)
        errors.append((change - (run.score_end - run.score_start)).abs().max().item())
    assert (np.diff(np.log2(errors)) < -1.6).all(), errors


def test_completeness_on_kinks_and_at_bounds_is_of_first_order(inputs):
    torch.manual_seed(3)
    net = nn.Sequential(nn.Linear(FEATURES, 24), nn.ReLU(), nn.Linear(24, 3)).double()
    clamped = inputs.clamp(-1, 1)
    coordinates = Decoder(lambda z: (2 * z @ BASIS).relu(), encode, lower=-1.0, upper=1.0, reference=1.5)
    errors = []
    for steps in (8, 64, 512):
        run = NonlinearSaliency(net, Logit(), coordinates, path=Straight(steps)).explain(clamped, target=0)
        assert (run.endpoint.abs() <= 1).all()
        errors.append(run.completeness_error.abs().max().item())
    assert ((run.endpoint.abs() == 1) & (clamped.abs() < 1)).any(), "bounds are met"
    assert errors[1] < errors[0] / 3
    assert errors[2] < errors[1] / 3


def test_the_start_is_the_input_to_the_last_bit_or_what_the_decoder_draws(inputs, net):
    run = NonlinearSaliency(net, coordinates=Decoder(bent, encode)).explain(inputs, target=0, trace=True)
    assert torch.equal(run.path_points[0], inputs)
    assert torch.equal(run.path_points[-1], run.endpoint)
    assert torch.allclose(run.path_scores[0], LogOdds()(net(inputs), 0))
    drawn = bent(encode(inputs))
    assert not torch.allclose(drawn, inputs)
    bounded = Decoder(bent, encode, keep_rest=False, lower=-0.5)
    for coordinates, start in (
        (Decoder(bent, encode, keep_rest=False), drawn),
        (bounded, drawn.clamp_min(-0.5)),
    ):
        run = NonlinearSaliency(net, coordinates=coordinates).explain(inputs, target=0, trace=True)
        assert torch.allclose(run.path_points[0], start)
        assert torch.allclose(run.score_start, LogOdds()(net(start), 0))
        change = LogOdds()(net(run.endpoint), 0) - run.score_start
        assert torch.allclose(change, run.score_end - run.score_start)


def test_the_derivative_at_u_is_pulled_back(inputs):
    chart = Decoder(bent, encode, lower=-0.8, upper=0.8).chart(inputs.clamp(-0.8, 0.8), None)
    rows, u, v = torch.tensor([2, 0]), random(2, NUMBERS, seed=7), random(2, NUMBERS, seed=8)
    gradient = random(2, FEATURES, seed=9)
    pulled = chart.pull(gradient, u, rows)
    small = 1e-6
    change = (chart.point(u + small * v, rows) - chart.point(u - small * v, rows)) / (2 * small)
    assert torch.allclose((pulled * v).sum(1), (change * gradient).sum(1), rtol=1e-6)
    assert torch.equal(chart.change(u, v, rows), chart.point(v, rows) - chart.point(u, rows))
    none = rows[:0]
    assert chart.point(u[:0], none).shape == (0, FEATURES)
    assert chart.pull(gradient[:0], u[:0], none).shape == (0, NUMBERS)


def test_what_lies_at_a_bound_can_leave_it():
    coordinates = Decoder(lambda z: z, lambda x: x, lower=0.0, upper=1.0)
    model = lambda x: x.sum(1, keepdim=True)  # noqa: E731
    run = NonlinearSaliency(model, Logit(), coordinates, path=Flow(4)).explain(
        torch.zeros(1, 2, dtype=torch.float64), level=1.0
    )
    assert run.converged.all()
    assert torch.allclose(run.endpoint, torch.full((1, 2), 0.5, dtype=torch.float64))


@pytest.mark.parametrize("path", [Tangent(), Straight(5), Flow(5)])
def test_images_and_a_code_that_is_an_image(path):
    torch.manual_seed(1)
    net = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    images = random(3, 2, SIDE, SIDE, seed=2)
    decoder = nn.Sequential(nn.ConvTranspose2d(5, 2, 4, stride=4), nn.Sigmoid()).double()
    encoder = nn.Conv2d(2, 5, 4, stride=4).double()
    coordinates = Decoder(decoder, encoder, reference=0.0)
    saliency = NonlinearSaliency(net.double(), coordinates=coordinates, geometry=Smooth(0.5), path=path)
    run = saliency.explain(images, target=1, level=aim(path), internal_batch_size=2)
    assert run.displacement.shape == run.mean_gradient.shape == (3, 5, 2, 2)
    assert run.contribution.shape == images.shape
    for row in range(3):
        alone = saliency.explain(images[row : row + 1], target=1, level=aim(path))
        assert torch.allclose(alone.contribution[0], run.contribution[row], atol=1e-9)
    assert all(parameter.grad is None for parameter in (*decoder.parameters(), *encoder.parameters()))


@pytest.mark.parametrize(
    "reference",
    [0.3, random(NUMBERS), random(4, NUMBERS), lambda codes: codes.roll(1, 1)],
    ids=["number", "one code", "a code for each", "function of the codes"],
)
def test_references_are_codes(reference, inputs, net):
    saliency = NonlinearSaliency(net, coordinates=Decoder(bent, encode, reference), path=Straight(3))
    run = saliency.explain(inputs, target=0)
    code = encode(inputs)
    goal = (
        reference(code)
        if callable(reference)
        else torch.as_tensor(reference, dtype=code.dtype).expand_as(code)
    )
    assert torch.allclose(run.displacement, goal - code)
    assert torch.allclose(run.endpoint, inputs - bent(code) + bent(goal))
    parts = saliency.explain(inputs, target=0, internal_batch_size=3)
    assert torch.allclose(parts.contribution, run.contribution, atol=1e-12)
    share = saliency.explain(inputs, target=0, level=Share(0.5))
    assert torch.allclose(share.level, (run.score_start + run.score_end) / 2)


def test_a_decoder_without_a_finite_derivative_is_a_reason(net, inputs):
    # the square root's derivative is infinite where its argument is 0
    coordinates = Decoder(lambda z: (z - z.detach()).sqrt() @ BASIS + z @ BASIS, encode)
    run = NonlinearSaliency(net, coordinates=coordinates, path=Flow(3)).explain(inputs, target=0)
    assert not run.converged.any()
    assert set(run.reason) == {"the model's score or its gradient is not finite at the input itself"}
    assert (run.contribution == 0).all()


def test_passes_of_the_decoder_are_not_counted(inputs, net):
    passes = []

    def model(x):
        passes.append(len(x))
        return net(x)

    run = NonlinearSaliency(model, coordinates=Decoder(bent, encode), path=Flow(3)).explain(inputs, target=0)
    assert (run.gradient_evaluations + run.forward_evaluations).sum() == sum(passes)


def test_train_mode_is_warned_of_once(net, inputs):
    decoder = nn.Sequential(nn.Linear(NUMBERS, FEATURES), nn.Dropout(0.1)).double()
    encoder = nn.Sequential(nn.BatchNorm1d(FEATURES), nn.Linear(FEATURES, NUMBERS)).double()
    saliency = NonlinearSaliency(net, coordinates=Decoder(decoder, encoder), path=Tangent())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        saliency.attribute(inputs, target=0, internal_batch_size=2)
    words = [str(warning.message) for warning in caught]
    assert [text.split(",")[0] for text in words] == [
        "Decoder(decoder): the decoder is in train mode and has Dropout",
        "Decoder(encoder): the encoder is in train mode and has BatchNorm1d",
    ]
    assert {warning.filename for warning in caught} == {__file__}
    decoder.eval(), encoder.eval()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        saliency.attribute(inputs, target=0)


def test_inputs_outside_the_bounds_are_warned_of(net, inputs):
    saliency = NonlinearSaliency(net, coordinates=Decoder(bent, encode, upper=0.5), path=Flow(3))
    with pytest.warns(UserWarning, match=r"outside the bounds of Decoder\(lower=None, upper=0.5\)"):
        run = saliency.explain(inputs, target=0, trace=True)
    assert torch.equal(run.path_points[0], inputs)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        (
            {"decoder": lambda z: z},
            ValueError,
            r"\(decoder\): .* inputs' shape \(4, 6\); got \(4, 3\)\. Reshape",
        ),
        ({"decoder": lambda z: [z]}, TypeError, r"\(decoder\): expected one tensor.*got list\. Wrap"),
        (
            {"decoder": lambda z: bent(z).float()},
            TypeError,
            r"\(decoder\): expected torch.float64 on cpu.*float32",
        ),
        (
            {"decoder": lambda z: bent(z) / 0},
            ValueError,
            r"\(decoder\): expected finite outputs; .* \[0, 1, 2, 3\]",
        ),
        (
            {"decoder": lambda z: bent(z.detach())},
            ValueError,
            r"\(decoder\): .*depends on the code.*Look for detach",
        ),
        ({"decoder": torch.no_grad()(bent)}, ValueError, r"\(decoder\): .*depends on the code"),
        (
            {"encoder": lambda x: encode(x)[:2]},
            ValueError,
            r"\(encoder\): expected codes of shape \(4, .*\(2, 3\)",
        ),
        (
            {"encoder": lambda x: x.mean(1)},
            ValueError,
            r"\(encoder\): expected codes of shape \(4, .*got \(4,\)",
        ),
        ({"encoder": lambda x: x[:, :0]}, ValueError, r"\(encoder\): expected codes .*got \(4, 0\)"),
        ({"encoder": lambda x: (x, x)}, TypeError, r"\(encoder\): expected one tensor.*got tuple"),
        ({"encoder": lambda x: encode(x).long()}, TypeError, r"\(encoder\): expected torch.float64.*int64"),
        ({"encoder": lambda x: encode(x) / 0}, ValueError, r"\(encoder\): expected finite codes"),
        (
            {"reference": random(5)},
            ValueError,
            r"\(reference\): .*broadcasts to the codes' \(4, 3\); got \(5,\)",
        ),
        ({"reference": "seven"}, TypeError, r"\(reference\): .* a function of the codes; got str"),
        ({"reference": float("nan")}, ValueError, r"\(reference\): expected finite values"),
        ({"lower": random(5)}, ValueError, r"\(lower\): .*broadcasts to the inputs' \(4, 6\)"),
        ({"lower": 1.0, "upper": 0.0}, ValueError, r"\(lower, upper\): expected lower <= upper"),
    ],
)
def test_what_does_not_fit_is_told_before_the_first_pass(options, error, words, inputs):
    calls = []
    coordinates = Decoder(**{"decoder": bent, "encoder": encode, **options})
    with pytest.raises(error, match="^Decoder" + words):
        NonlinearSaliency(calls.append, coordinates=coordinates).explain(inputs, target=0)
    assert calls == []


@pytest.mark.parametrize(
    ("build", "error", "words"),
    [
        (lambda: Decoder("vae", encode), TypeError, r"Decoder\(decoder\): expected a module .* got 'vae'"),
        (lambda: Decoder(bent, None), TypeError, r"Decoder\(encoder\): expected a module .* got None"),
        (
            lambda: Decoder(bent, encode, 0.0, 1.0),
            TypeError,
            r"Decoder\(keep_rest\): expected True or False; got 1",
        ),
        (
            lambda: Layer(nn.Linear(1, 1), Decoder(bent, encode)),
            TypeError,
            r"Layer\(inner\): expected Input\(...\) or Removal",
        ),
        (
            lambda: NonlinearSaliency(abs, coordinates=Decoder(bent, encode), path=Straight()),
            ValueError,
            r"leads to a reference, and Decoder has none. .*Decoder\(decoder, encoder, reference=0.0\)",
        ),
    ],
)
def test_what_does_not_go_together_is_told_when_it_is_built(build, error, words):
    with pytest.raises(error, match=words):
        build()


@pytest.mark.parametrize(
    ("geometry", "words"),
    [
        (Covariance(torch.eye(FEATURES)), r"Covariance\(matrix\): expected shape \(3, 3\) for coordinates"),
        (Scaled(torch.ones(FEATURES)), r"Scaled\(std\): expected a shape that broadcasts to .*\(3,\)"),
        (Smooth(1.0), r"Smooth\(width\): expected image coordinates"),
    ],
)
def test_geometries_measure_the_code(geometry, words, inputs, net):
    saliency = NonlinearSaliency(net, coordinates=Decoder(bent, encode), geometry=geometry)
    with pytest.raises(ValueError, match=words):
        saliency.explain(inputs, target=0)


# ---- removal in cells --------------------------------------------------------------------------------------


@pytest.fixture
def images():
    return torch.rand(3, 2, 9, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def conv():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    ).double()


@pytest.mark.parametrize("cells", [1, 3, (4, 2), (9, 7)])
def test_cells_are_enlarged_bilinearly_and_gathered_by_the_adjoint(cells, images):
    chart = Removal(0.5, cells=cells).chart(images, None)
    shape = (3, 1, *(cells if isinstance(cells, tuple) else (cells, cells)))
    assert chart.shape == chart.lower.shape == chart.upper.shape == shape
    u, rows = torch.rand(2, *shape[1:], dtype=torch.float64), torch.tensor([2, 0])
    enlarged = nn.functional.interpolate(u, (9, 7), mode="bilinear", align_corners=False)
    assert torch.allclose(chart.point(u, rows), images[rows] + enlarged * (0.5 - images[rows]), atol=1e-12)
    g = random(2, 2, 9, 7)
    assert torch.allclose((chart.push(u, rows) * g).sum(), (u * chart.pull(g, u, rows)).sum())
    assert torch.allclose(chart.point(chart.direction[rows], rows), torch.full_like(g, 0.5))


@pytest.mark.parametrize("path", [Tangent(), StraightTangent(), Straight(8), Flow(8)])
@pytest.mark.parametrize("geometry", [{}, {"geometry": Smooth(0.7)}])
def test_members_in_cells(path, geometry, conv, images):
    saliency = NonlinearSaliency(conv, LogOdds(), Removal(0.5, cells=3), path=path, **geometry)
    level = None if path.default_level is None else Share(0.2)
    run = saliency.explain(images, target=[0, 1, 2], level=level)
    assert run.displacement.shape == run.mean_gradient.shape == (3, 1, 3, 3)
    assert run.contribution.shape == images.shape
    assert ((run.displacement >= 0) & (run.displacement <= 1)).all()
    for row in range(3):
        alone = saliency.explain(images[row : row + 1], target=row, level=level)
        assert torch.allclose(alone.contribution[0], run.contribution[row], atol=1e-9)
    # of an affine score all is exact
    torch.manual_seed(1)
    linear = nn.Sequential(nn.Flatten(), nn.Linear(2 * 63, 2)).double()
    run = saliency.replace(forward_func=linear, score=Logit()).explain(images, target=1, level=level)
    weight = linear[1].weight[1].reshape(1, 2, 9, 7)
    chart = saliency.coordinates.chart(images, None)
    expected = chart.pull(weight.expand_as(images), run.displacement, torch.arange(3))
    assert torch.allclose(run.mean_gradient, expected, rtol=1e-9, atol=1e-12)
    assert torch.allclose(run.contribution, weight * (run.endpoint - images), rtol=1e-9, atol=1e-12)


def test_as_many_cells_as_pixels_are_pixels_and_one_cell_is_the_way(conv, images):
    for path in (Straight(5), Flow(5)):
        fine, plain, one = (
            NonlinearSaliency(conv, LogOdds(), Removal(0.5, cells=cells), path=path).explain(
                images, target=1, level=Share(0.3)
            )
            for cells in ((9, 7), None, 1)
        )
        for name in ("contribution", "displacement", "mean_gradient"):
            assert torch.allclose(getattr(fine, name), getattr(plain, name), atol=1e-9), name
        assert one.displacement.shape == (3, 1, 1, 1)


def test_cells_at_a_layer(conv, images):
    coordinates = Layer(conv[0], Removal(0.0, cells=2))
    run = NonlinearSaliency(conv, coordinates=coordinates, path=Straight(4)).explain(images, target=1)
    assert run.displacement.shape == (3, 1, 2, 2)
    assert run.contribution.shape == (3, 4, 7, 5)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"cells": 8}, r"Removal\(cells\): expected at most .* pixels, \(9, 7\); got \(8, 8\)\. Take fewer"),
        ({"cells": 0}, r"Removal\(cells\): expected an integer of at least 1 \(or a pair"),
        ({"cells": 2.0}, r"Removal\(cells\): expected an integer"),
        ({"cells": (2, 2, 2)}, r"Removal\(cells\): expected an integer of at least 1 \(or a pair"),
        ({"cells": (2, True)}, r"Removal\(cells\): expected an integer"),
        ({"cells": "2"}, r"Removal\(cells\): expected an integer"),
        ({"cells": 2, "channels": 3}, r"Removal\(channels\): cells are those of images"),
    ],
)
def test_wrong_cells(options, words, conv, images):
    with pytest.raises(ValueError, match=words):
        NonlinearSaliency(conv, coordinates=Removal(0.0, **options)).explain(images, target=0)


def test_cells_are_those_of_images(inputs, net):
    with pytest.raises(
        ValueError, match=r"Removal\(cells\): expected images of shape .* got \(4, 6\)\. Leave"
    ):
        NonlinearSaliency(net, coordinates=Removal(0.0, cells=2)).explain(inputs, target=0)
    with pytest.raises(ValueError, match="geometry: Removal's coordinates are fractions"):
        NonlinearSaliency(net, coordinates=Removal(0.0, cells=2), geometry=Scaled(torch.ones(1)))
