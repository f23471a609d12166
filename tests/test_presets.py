"""Presets named after their question, on networks and images of many kinds."""

import pytest
import torch
from torch import nn
from torchvision.models import VisionTransformer, swin_t

from helpers.measure.grids import cell_maps, grid_pointing, make_grids
from helpers.saliency import Blurred, Input, Margin, OwnMean, ScaleSpace, Straight, presets, stages
from helpers.zoo.classifiers import load_classifier
from helpers.zoo.datasets import mnist5k
from helpers.zoo.decoders import digit_vae
from helpers.zoo.networks import digit_net

FLAT = nn.Sequential(nn.Flatten(), nn.Linear(3 * 12 * 12, 4)).eval()


def small_vit():
    torch.manual_seed(0)
    vit = VisionTransformer(32, 8, 3, 2, 32, 64, num_classes=10).eval()
    nn.init.normal_(vit.heads.head.weight)  # torchvision starts with zeros there
    return vit


def swin():
    torch.manual_seed(0)
    return swin_t().eval()


NETWORKS = {
    "residual, not square": (lambda: load_classifier("random:resnet18").model, (3, 64, 96)),
    "one channel": (digit_net, (1, 28, 28)),
    "tokens": (small_vit, (3, 32, 32)),
    "channels last": (swin, (3, 64, 64)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_supports_works_with_networks_of_every_kind(name):
    make, shape = NETWORKS[name]
    model, images = make(), torch.rand(2, *shape, generator=torch.Generator().manual_seed(0))
    run = presets.supports(model, steps=2).explain(images, target=1)
    assert run.support().shape == (2, 1, *shape[1:])
    assert run.support().isfinite().all()
    assert (run.support() >= 0).all()
    assert run.depth_maps.shape[1] == min(2, len(stages(model, images[:1])))
    assert run.gradient_evaluations.tolist() == [9, 9]
    lost = torch.stack([member.score_start - member.score_end for member in run.members]).mean(0)
    torch.testing.assert_close(run.signed.sum((1, 2, 3)), lost + run.completeness_error)


def test_supports_of_a_network_without_maps_is_read_at_its_input_and_says_so():
    with pytest.warns(UserWarning, match="its input alone is read"):
        run = presets.supports(FLAT, steps=2).explain(torch.rand(1, 3, 12, 12), target=1)
    assert run.depth_maps.shape[1] == 1


def test_supports_takes_a_reference_layers_and_steps():
    net = digit_net()
    plain = presets.supports(net)
    assert [type(member.path) for member in plain.members] == [Straight, Straight, ScaleSpace]
    assert [member.coordinates for member in plain.members] == [
        Input(reference=Blurred()),
        Input(reference=OwnMean()),
        Input(),
    ]
    layers = stages(net, torch.zeros(1, 1, 28, 28))[:1]
    own = presets.supports(net, reference=0.0, layers=layers, steps=3)
    run = own.explain(mnist5k().test_inputs[:1], target=0)
    assert run.gradient_evaluations.tolist() == [4]
    assert run.depth_maps.shape[1] == 1
    assert own.read_at(torch.zeros(1, 1, 28, 28)) == tuple(layers)


def test_a_counterfactual_is_named_as_the_other_class_and_stays_an_image():
    net, vae, split = digit_net(), digit_vae(), mnist5k()
    digits = split.test_inputs[split.test_targets == 4][:4]
    saliency = presets.counterfactual(net, vae.decode, vae.encode, rival=9)
    assert saliency.score == Margin(9)
    run = saliency.explain(digits, target=4, level=-1.0)
    assert run.converged.all(), run.reason
    with torch.no_grad():
        logits = net(run.endpoint)
    assert (logits[:, 9] > logits[:, 4]).all()
    assert run.endpoint.min() >= 0
    assert run.endpoint.max() <= 1
    assert run.displacement.shape == (4, vae.size)
    assert run.contribution.shape == digits.shape


@pytest.mark.parametrize("name", NETWORKS)
def test_contrasts_works_with_networks_of_every_kind(name):
    make, shape = NETWORKS[name]
    model, images = make(), torch.rand(2, *shape, generator=torch.Generator().manual_seed(0))
    saliency = presets.contrasts(model, rivals=3, steps=1)
    run = saliency.explain(images, target=1)
    assert run.support().shape == (2, 1, *shape[1:])
    assert run.support().isfinite().all()
    assert (run.support() >= 0).all()
    assert run.support().max() > 0
    assert run.gradient_evaluations.tolist() == [2 * 2 * 4] * 2
    assert saliency.read_at(images) == (stages(model, images[:1])[-1],)


def test_a_counterfactual_with_a_reference_goes_straight_to_the_rivals_mean_code():
    net, vae, split = digit_net(), digit_vae(), mnist5k()
    digit = split.test_inputs[split.test_targets == 4][:1]
    mean_code = vae.encode(split.train_inputs[split.train_targets == 9]).mean(0)
    saliency = presets.counterfactual(net, vae.decode, vae.encode, 9, mean_code, steps=8)
    run = saliency.explain(digit, target=4, level=-1.0)
    assert run.converged.all(), run.reason
    way = mean_code - vae.encode(digit)[0]
    assert torch.cosine_similarity(run.displacement[0], way, dim=0) > 1 - 1e-5
    with torch.no_grad():
        assert net(run.endpoint).argmax(1).tolist() == [9]


def test_contrasts_takes_named_rivals_a_reference_layers_and_steps():
    net, digit = digit_net(), mnist5k().test_inputs[:1]
    plain = presets.contrasts(net)
    assert [member.coordinates for member in plain.members] == [
        Input(reference=Blurred()),
        Input(reference=OwnMean()),
    ]
    assert plain.explain(digit, 0).members[0].competitors.shape == (1, 8)
    layers = stages(net, digit)[:1]
    own = presets.contrasts(net, [3, 8], reference=0.0, layers=layers, steps=3).explain(digit, 0)
    assert own.members[0].competitors.tolist() == [[3, 8]]
    assert own.gradient_evaluations.tolist() == [4 * 3]
    with pytest.raises(ValueError, match=r"expected classes other than the target.*\[3, 8\]"):
        presets.contrasts(net, [3, 8]).attribute(digit, 3)
    few = nn.Sequential(nn.Conv2d(1, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert presets.contrasts(few).explain(digit, 0).members[0].competitors.tolist() == [[1]]  # all there are


def test_contrasts_finds_each_digit_of_a_mosaic():
    net, split = digit_net(), mnist5k()
    grids = make_grids(split.test_inputs, split.test_targets, net, 4, seed=3)
    maps = cell_maps(presets.contrasts(net, reference=0.0).attribute, grids)
    scores = grid_pointing({"contrasts": maps}, grids, 1, with_controls=False, show_progress=False)
    assert scores["rank_auc"].mean() > 0.9  # chance is 0.5
