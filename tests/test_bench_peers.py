"""benchmarks.peers: maps are the packages' own, papers' methods find what toys look at, models stay as they are."""

import doctest
from functools import partial
from unittest.mock import patch

import numpy as np
import pytest
import torch
from torch import nn

from helpers.measure.cost import counted
from helpers.saliency import Blurred, OwnMean
from helpers.zoo.classifiers import load_classifier
from helpers.zoo.networks import digit_net

needed = partial(pytest.importorskip, reason="packages are missing: pip install -e '.[bench]'")
grad_cam, saliency, zennit = needed("pytorch_grad_cam"), needed("saliency.core"), needed("zennit.attribution")
canonizers, composites, types = (needed(f"zennit.{name}") for name in ("canonizers", "composites", "types"))
peers = needed("benchmarks.peers")
common, packages, papers = peers.common, peers.packages, peers.papers
Class = grad_cam.utils.model_targets.ClassifierOutputTarget

CLASSES = [1, 7]
QUICK = {
    "hires_cam": lambda network: peers.hires_cam(network.features[11]),
    "layer_cam": lambda network: peers.layer_cam(network.features[11]),
    "score_cam": lambda network: peers.score_cam(network.features[11]),
    "finer_cam": lambda network: peers.finer_cam(network.features[11]),
    "guided_ig": lambda network: peers.guided_ig(Blurred(), steps=5),
    "blur_ig": lambda network: peers.blur_ig(steps=5, max_sigma=6.0),
    "lrp": lambda network: peers.lrp(),
    "rise": lambda network: peers.rise(masks=40),
    "agi": lambda network: peers.agi(competitors=4, iterations=3),
    "igos_pp": lambda network: peers.igos_pp(OwnMean(), size=7, iterations=2, steps=3, tries=3),
}
# (gradients, forward passes) of one map at these settings; None: it depends on the image
COSTS = {
    "hires_cam": (1, 0),
    "layer_cam": (1, 0),
    "score_cam": (0, 1 + 32),
    "finer_cam": (1, 0),
    "guided_ig": (5, 0),
    "blur_ig": (5, 0),
    "lrp": (1, 0),
    "rise": (0, 40),
    "agi": (None, None),
    "igos_pp": (2 * 4 * 3, None),
}


@pytest.fixture(scope="module")
def network():
    return digit_net()


@pytest.fixture(scope="module")
def image():
    """A stroke like a 1, on a grainy ground."""
    image = 0.1 * torch.rand(1, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    image[..., 4:24, 13:15] = 1
    return image


def in_package(image):
    """An image as saliency has it."""
    return image[0].permute(1, 2, 0).double().numpy()


def call_model_function(model, number):
    """The function of saliency's examples for PyTorch."""

    def call(images, call_model_args=None, expected_keys=None):
        images = torch.tensor(np.transpose(images, (0, 3, 1, 2)), dtype=torch.float32, requires_grad=True)
        score = model(images)[:, number]
        grads = torch.autograd.grad(score, images, grad_outputs=torch.ones_like(score))
        return {saliency.INPUT_OUTPUT_GRADIENTS: grads[0].permute(0, 2, 3, 1).numpy()}

    return call


class Patch(nn.Module):
    """Two logits: how light a square of 8 px is, and 1."""

    rows, columns = slice(4, 12), slice(16, 24)

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(8.0))

    def forward(self, images):
        light = self.gain * images[..., self.rows, self.columns].mean((1, 2, 3))
        return torch.stack([light, torch.ones_like(light)], 1)


def shares(plane):
    """The means of a map in the square and outside."""
    inside = torch.zeros(32, 32, dtype=bool)
    inside[Patch.rows, Patch.columns] = True
    return plane[inside].mean().item(), plane[~inside].mean().item()


# ------------------------------------------------------------------------------------ as in the packages


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (peers.hires_cam, grad_cam.HiResCAM),
        (peers.layer_cam, grad_cam.LayerCAM),
        (peers.score_cam, grad_cam.ScoreCAM),
    ],
    ids=["hires_cam", "layer_cam", "score_cam"],
)
def test_activation_maps_are_those_of_grad_cam(ours, theirs, network, image):
    layer = network.features[11]
    found = ours(layer)(network, image, CLASSES)
    for plane, number in zip(found, CLASSES, strict=True):
        with theirs(model=network, target_layers=[layer]) as cam:
            expected = cam(input_tensor=image, targets=[Class(number)])[0]
        assert np.allclose(plane.numpy(), expected, atol=1e-4)
        assert plane.max() > 0.9


def test_finer_cam_is_that_of_grad_cam(network, image):
    layer = network.features[11]
    found = peers.finer_cam(layer, comparisons=2, strength=0.5)(network, image, CLASSES)
    for plane, number in zip(found, CLASSES, strict=True):
        with grad_cam.FinerCAM(model=network, target_layers=[layer]) as cam:
            expected = cam(input_tensor=image, target_idx=number, alpha=0.5, comparison_categories=[1, 2])[0]
        assert np.allclose(plane.numpy(), expected, atol=1e-4)


def test_guided_ig_is_that_of_saliency(network, image):
    found = peers.guided_ig(Blurred(), steps=20)(network, image, CLASSES)
    for plane, number in zip(found, CLASSES, strict=True):
        with patch.object(packages.guided_ig_module, "np", packages.OlderNumpy()):
            expected = saliency.GuidedIG().GetMask(
                in_package(image),
                call_model_function(network, number),
                x_steps=20,
                x_baseline=in_package(Blurred()(image)),
                max_dist=0.02,
                fraction=0.25,
            )
        assert np.allclose(plane.numpy(), expected.sum(-1), atol=1e-5)


def test_guided_ig_adds_up_to_what_the_logit_has_above_the_reference(network, image):
    found = peers.guided_ig(Blurred(), steps=200)(network, image, CLASSES).sum((1, 2))
    with torch.no_grad():
        change = (network(image) - network(Blurred()(image)))[0, CLASSES]
    assert torch.allclose(found, change, rtol=0.1)


def test_blur_ig_is_that_of_saliency(network, image):
    found = peers.blur_ig(steps=40, max_sigma=8.0)(network, image, CLASSES)
    for plane, number in zip(found, CLASSES, strict=True):
        expected = saliency.BlurIG().GetMask(
            in_package(image), call_model_function(network, number), max_sigma=8.0, steps=40
        )
        assert np.allclose(plane.numpy(), expected.sum(-1), atol=1e-4)


def test_lrp_is_that_of_zennit_where_all_steps_are_modules():
    model = nn.Sequential(
        *(nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU()),
        *(nn.Conv2d(4, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3)),
    ).train()
    image = torch.rand(1, 2, 8, 8)
    model(torch.rand(16, 2, 8, 8))  # so that the normalisations do something
    model.eval()
    found = peers.lrp()(model, image, [0, 1, 2])
    composite = composites.EpsilonPlusFlat(canonizers=[canonizers.SequentialMergeBatchNorm()])
    for plane, number in zip(found, range(3), strict=True):
        with zennit.Gradient(model=model, composite=composite) as attributor:
            logit, relevance = attributor(image.clone(), torch.eye(3)[[number]])
        expected = relevance * logit[:, number]
        assert torch.allclose(plane, expected[0].sum(0), atol=1e-6)
        assert plane.abs().max() > 1e-4


def test_lrp_of_the_digits_shares_the_average_by_what_each_place_says(network, image):
    """Beside an empty half: the relevance of each has the sign of what it says of the class."""
    pair = torch.cat([image, torch.zeros_like(image)], 3)
    said = network.classifier(network.features(pair))[0].detach()
    found = peers.lrp()(network, pair, range(10))
    for part, places in ((slice(None, 7), slice(None, 28)), (slice(7, None), slice(28, None))):
        assert torch.equal(said[..., part].sum((1, 2)).sign(), found[..., places].sum((1, 2)).sign())


def test_lrp_leaves_the_logits_of_efficientnet_lite_as_they_are():
    model = load_classifier("efficientnet_lite0").model
    image = torch.rand(1, 3, 64, 64)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    logits = model(image)
    assert len(packages._merges(model)) == sum(
        isinstance(module, types.BatchNorm) for module in model.modules()
    )
    with common.prepared(model, image, [0]) as pixels, zennit.Gradient(model, packages._rules(model)):
        assert sum(isinstance(module, packages.Sum) for module in model.modules()) == 9
        norms = [module for module in model.modules() if isinstance(module, types.BatchNorm)]
        for norm in norms:
            norm.eps = 0.0  # zennit merges it, but leaves it behind, too
        assert torch.allclose(model(pixels), logits, atol=1e-4)
        for norm in norms:
            norm.eps = 0.001
    number = logits.argmax().item()
    found = peers.lrp()(model, image, [number])
    assert found.shape == (1, 64, 64)
    assert found.sum() > 0
    after = model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_relevance_adds_up_to_the_logit_where_biases_take_none(network, image):
    logits = network(image)[0].detach()
    assert logits.min() < 0
    found = peers.lrp(biases=False)(network, image, range(10)).sum((1, 2))
    assert torch.allclose(found, logits, rtol=0.01, atol=0.01)


# ------------------------------------------------------------------------------------- as in the papers


def test_rise_finds_the_only_place_that_is_looked_at():
    image = torch.rand(1, 3, 32, 32)
    found = peers.rise(masks=500, seed=3)(Patch(), image, [0, 1])
    inside, outside = shares(found[0])
    assert inside > 5 * abs(outside)
    assert found[1].abs().max() < 1e-6, "this logit depends on nothing"


def test_rise_without_centring_is_the_formula_of_the_paper():
    image, model = torch.rand(1, 1, 32, 32), Patch()
    masks = papers.random_masks(50, 7, 0.5, (32, 32), seed=0)
    expected = sum(model(mask * image)[0, 0] * mask[0] for mask in masks) / (50 * 0.5)
    found = peers.rise(masks=50, centred=False)(model, image, [0])[0]
    assert torch.allclose(found, expected.detach(), atol=1e-5)


def test_masks_of_rise():
    masks = papers.random_masks(400, 7, 0.3, (30, 45), seed=1)
    assert masks.shape == (400, 1, 30, 45)
    assert masks.min() == 0
    assert masks.max() == 1
    assert abs(masks.mean().item() - 0.3) < 0.02
    assert (masks.mean((0, 1)) - 0.3).abs().max() < 0.12, "every place equally often"
    assert not torch.equal(masks, papers.random_masks(400, 7, 0.3, (30, 45), seed=2))


def test_agi_is_what_a_linear_logit_loses_on_the_way_to_another_class():
    image = torch.full((1, 1, 32, 32), 0.4)
    model = Patch()  # 3.2 against 1: below 0.125 in the square the other class is ahead
    found = peers.agi(step=0.05, iterations=20)(model, image, [0, 1])
    inside, outside = shares(found[0])
    # no step goes on once the other class is ahead: 6 of 0.05
    assert found[0].sum().item() == pytest.approx(8 * 6 * 0.05, rel=1e-4)
    assert inside > 0
    assert outside == 0
    assert (found[1] == 0).all(), "nothing lowers a constant"


def test_agi_stops_at_the_bounds_of_pixel_values():
    found = peers.agi(step=0.3, iterations=5)(Patch(), torch.full((1, 1, 32, 32), 0.2), [0])
    assert found.sum().item() == pytest.approx(8 * 0.2, rel=1e-4)


def test_igos_pp_hides_and_shows_the_place_that_is_looked_at():
    image = 0.6 + 0.2 * torch.rand(1, 1, 32, 32)
    settings = {"reference": 0.0, "size": 16, "iterations": 4, "steps": 4}
    found = peers.igos_pp(**settings)(Patch(), image, [0])[0]
    inside, outside = shares(found)
    assert inside > 0.2
    assert inside > 50 * outside
    assert 0 <= found.min() <= found.max() <= 1


def test_the_gradient_of_igos_pp_is_that_of_its_value():
    generator = torch.Generator().manual_seed(0)
    masks = 0.2 + 0.6 * torch.rand(2, 1, 5, 5, generator=generator, dtype=torch.float64)
    pixels = torch.rand(1, 2, 16, 16, generator=generator, dtype=torch.float64)
    masking = papers.Masking(
        lambda points: points[:, 0, 2:9, 3:8].square().mean((1, 2)),
        pixels,
        0.3 * pixels,
        steps=3,
        area=2.0,
        roughness=5.0,
        noise=0.0,
        generator=generator,
    )
    direction = torch.randn(masks.shape, generator=generator, dtype=torch.float64)
    ahead, behind = (masking.value(masks + sign * 1e-5 * direction) for sign in (1, -1))
    slope = (masking.gradient(masks) * direction).sum().item()
    assert slope == pytest.approx((ahead - behind) / 2e-5, rel=1e-6)


def test_the_parts_of_igos_pp_by_hand():
    """A score that is the mean of the pixels, between 1 and 0: with masks that are constant it is arithmetic."""
    pixels = torch.ones(1, 1, 8, 8)
    masking = papers.Masking(
        lambda points: points.mean((1, 2, 3)),
        pixels,
        0 * pixels,
        steps=2,
        area=3.0,
        roughness=7.0,
        noise=0.0,
        generator=torch.Generator(),
    )
    masks = torch.tensor([0.5, 0.4])[:, None, None, None].expand(2, 1, 4, 4)
    share = (0.5 + 1.0) / 2
    deleted, inserted = 0.5 * share + 0.2 * share, (1 - 0.4 * share) + (1 - 0.2 * share)
    assert masking.value(masks) == pytest.approx((deleted - inserted) / 2 + 3 * 0.8, rel=1e-5)


@pytest.mark.parametrize("name", ["rise", "igos_pp"])
def test_chance_is_the_seeds(name, network, image):
    quick = {"rise": {"masks": 20}, "igos_pp": {"size": 7, "iterations": 1, "steps": 2, "tries": 2}}[name]
    method = getattr(peers, name)
    state = torch.get_rng_state()
    maps = [method(seed=seed, **quick)(network, image, [1]) for seed in (0, 0, 1)]
    assert torch.equal(maps[0], maps[1])
    assert not torch.equal(maps[0], maps[2])
    assert torch.equal(state, torch.get_rng_state()), "the global generator is the caller's"


def test_the_seed_of_agi_draws_the_classes_to_go_to(network, image):
    maps = [peers.agi(competitors=3, iterations=2, seed=seed)(network, image, [1]) for seed in (0, 0, 4)]
    assert torch.equal(maps[0], maps[1])
    assert not torch.equal(maps[0], maps[2])


# ---------------------------------------------------------------------------------------- all of them


@pytest.mark.parametrize("name", QUICK)
def test_every_peer_keeps_the_protocol(name, network, image):
    peer = QUICK[name](network)
    kept = image.clone()
    found = peer(network, image, CLASSES)
    assert found.shape == (2, 28, 28)
    assert found.dtype == torch.float32
    assert not found.requires_grad
    assert found.isfinite().all()
    assert torch.equal(image, kept)
    assert found[0].abs().max() > 0
    assert torch.equal(found, peer(network, image, CLASSES)), "deterministic"
    with torch.no_grad():
        alone = peer(network, image, CLASSES[:1])
    assert torch.allclose(found[:1], alone, atol=1e-3 * found[0].abs().max().item())


@pytest.mark.parametrize("name", QUICK)
def test_every_peer_leaves_the_model_as_it_was(name, image):
    network = digit_net().train()
    network.features[1].eval()
    network.classifier.requires_grad_(False)
    modes = [module.training for module in network.modules()]
    needed = [parameter.requires_grad for parameter in network.parameters()]
    network.classifier.bias.grad = torch.ones_like(network.classifier.bias)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with pytest.raises(ValueError, match=r"classes: expected numbers from 0 to 9, .* got \[10\]"):
        QUICK[name](network)(network, image, [10])
    QUICK[name](network)(network, image, CLASSES)
    assert [module.training for module in network.modules()] == modes
    assert [parameter.requires_grad for parameter in network.parameters()] == needed
    gradients = [key for key, parameter in network.named_parameters() if parameter.grad is not None]
    assert gradients == ["classifier.bias"]
    assert torch.equal(network.classifier.bias.grad, torch.ones(10))
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    for module in network.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
        assert not module._backward_hooks
        assert "forward" not in vars(module)


@pytest.mark.parametrize("name", QUICK)
def test_passes_are_counted_and_shared(name, network, image):
    costs = []
    for classes in (CLASSES[:1], CLASSES):
        with counted(network) as passes:
            QUICK[name](network)(network, image, classes)
        costs.append(passes.cost(1))
        assert max(rows for rows, _, _ in passes.seen) <= 32
    gradients, forwards = COSTS[name]
    assert gradients in (None, costs[0].gradients)
    assert forwards in (None, costs[0].forwards)
    if name in ("rise", "score_cam"):
        assert costs[1].forwards == costs[0].forwards, "the masked passes serve all classes"
    elif name == "agi":
        assert costs[1].gradients < 2 * costs[0].gradients, "the paths serve all classes"
    elif name != "igos_pp":
        assert costs[1].gradients == 2 * costs[0].gradients


def test_more_classes_than_fit_into_a_pass(network, image):
    layer = network.features[11]
    many = [1] * 33
    with counted(network) as passes:
        found = peers.hires_cam(layer)(network, image, many)
    assert [rows for rows, _, _ in passes.seen] == [32, 1]
    assert found.shape == (33, 28, 28)


@pytest.mark.parametrize("name", QUICK)
def test_wrong_arguments_are_named(name, network, image):
    peer = QUICK[name](network)
    for wrong in (image[0], image.expand(2, -1, -1, -1)):
        with pytest.raises(ValueError, match="image: expected"):
            peer(network, wrong, [1])
    for wrong in ([], [-1], [1.0], [True]):
        with pytest.raises(ValueError, match="classes: expected at least one class"):
            peer(network, image, wrong)
    with pytest.raises(TypeError, match="model: expected a module"):
        peer(lambda images: images, image, [1])


@pytest.mark.parametrize("make", [peers.hires_cam, peers.layer_cam, peers.score_cam, peers.finer_cam])
def test_a_layer_of_another_model_is_refused(make, network, image):
    with pytest.raises(ValueError, match="layer: expected a module inside the model"):
        make(nn.ReLU())(network, image, [1])
    with pytest.raises(TypeError, match="layer: expected a module"):
        make("features")


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: peers.finer_cam(nn.ReLU(), comparisons=0), r"finer_cam\(comparisons\)"),
        (lambda: peers.guided_ig(steps=0), r"guided_ig\(steps\)"),
        (lambda: peers.guided_ig(fraction=2.0), r"guided_ig\(fraction\)"),
        (lambda: peers.blur_ig(max_sigma=0.0), r"blur_ig\(max_sigma\)"),
        (lambda: peers.rise(masks=0), r"rise\(masks\)"),
        (lambda: peers.rise(visible=1.0), r"rise\(visible\)"),
        (lambda: peers.agi(step=-1.0), r"agi\(step\)"),
        (lambda: peers.igos_pp(size=1), r"igos_pp\(size\)"),
        (lambda: peers.igos_pp(area=-1.0), r"igos_pp\(area\)"),
    ],
    ids=range(9),
)
def test_wrong_settings_are_named(make, named):
    with pytest.raises(ValueError, match=f"{named}: expected"):
        make()


def test_lrp_needs_something_linear(image):
    with pytest.raises(ValueError, match="lrp: expected a model with linear layers"):
        peers.lrp()(nn.Flatten(), image, [0])


@pytest.mark.parametrize("module", [common, packages, papers], ids=["common", "packages", "papers"])
def test_the_examples_of_the_docstrings(module):
    assert doctest.testmod(module).failed == 0


def test_layer_cam_can_keep_the_units_of_the_score():
    network, image = digit_net(), torch.rand(1, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    layer, classes = network.features[11], [1, 7]
    scaled, plain = (peers.layer_cam(layer, scaled)(network, image, classes) for scaled in (True, False))
    for one, other in zip(scaled, plain, strict=True):
        torch.testing.assert_close(
            one, (other - other.min()) / (other.max() - other.min()), atol=0.02, rtol=0
        )
    assert (scaled.amax((1, 2)) > 0.99).all()
    assert abs(plain[0].max() / plain[1].max() - 1) > 0.05
