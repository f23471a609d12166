"""AllDepths: paths in the input, read at several depths, as one map that keeps its units."""

import pytest
import torch
from torch import nn
from torchvision.models import VisionTransformer

from helpers.saliency import (
    AllDepths,
    DepthsExplanation,
    Drop,
    Flow,
    Input,
    Layer,
    Logit,
    LogOdds,
    NonlinearSaliency,
    Removal,
    ScaleSpace,
    Softmax,
    Straight,
    StraightTangent,
    enlarged,
    gaussian_blur,
    stages,
)
from helpers.zoo.datasets import mnist5k
from helpers.zoo.networks import digit_net

NET = digit_net().double()
DIGITS = mnist5k().test_inputs[:3].double()
CLASSES = mnist5k().test_targets[:3]
EVERY = {"depths": 3, "at_input": True}  # of the digit network: the input, and 28, 14 and 7 px
FLAT = nn.Sequential(nn.Flatten(), nn.Linear(784, 10)).double()


def straight(model=NET, steps=8, reference=0.0, **options):
    path = Straight(steps, "trapezoid")
    return NonlinearSaliency(model, Logit(), Input(reference=reference), path=path, **options)


@pytest.mark.parametrize("balanced", [True, False])
def test_the_signed_map_sums_to_what_the_score_lost(balanced):
    members = [straight(), NonlinearSaliency(NET, Logit(), path=ScaleSpace(8))]
    run = AllDepths(members, balanced=balanced, **EVERY).explain(DIGITS, CLASSES)
    assert isinstance(run, DepthsExplanation)
    assert run.depth_maps.shape == (3, 4, 28, 28)
    lost = torch.stack([member.score_start - member.score_end for member in run.members]).mean(0)
    torch.testing.assert_close(run.signed.sum((1, 2, 3)), lost + run.completeness_error)
    torch.testing.assert_close(run.weights.sum(1), torch.ones(3, dtype=torch.float64))
    assert torch.equal(run.support(), run.signed.clamp_min(0))
    # each depth accounts for the same change, up to its own quadrature
    own = torch.stack(
        [torch.cat([m.completeness_error[:, None], m.layer_completeness_error], 1) for m in run.members]
    )
    torch.testing.assert_close(run.depth_maps.sum((2, 3)) - lost[:, None], -own.mean(0))
    expected = (run.depth_maps * run.weights[..., None, None]).sum(1, keepdim=True)
    torch.testing.assert_close(run.signed, expected)


def test_depths_of_a_balanced_map_have_a_say_of_equal_size():
    run = AllDepths([straight()], **EVERY).explain(DIGITS, CLASSES)
    say = (run.depth_maps.clamp_min(0).sum((2, 3)) * run.weights).T
    torch.testing.assert_close(say, say[:1].expand_as(say))


def test_all_depths_come_from_the_same_gradients():
    run = AllDepths([straight()], **EVERY).explain(DIGITS, CLASSES)
    assert run.gradient_evaluations.tolist() == [9, 9, 9]
    assert run.forward_evaluations.tolist() == [0, 0, 0]


def test_an_image_does_not_depend_on_its_batch():
    saliency = AllDepths([straight(), NonlinearSaliency(NET, Logit(), path=ScaleSpace(4))], **EVERY)
    whole, alone = saliency.attribute(DIGITS, CLASSES), saliency.attribute(DIGITS[1:2], CLASSES[1:2])
    torch.testing.assert_close(whole[1:2], alone)
    torch.testing.assert_close(whole, saliency.attribute(DIGITS, CLASSES, internal_batch_size=2))
    torch.testing.assert_close(whole, saliency.attribute((DIGITS,), CLASSES)[0])


def test_a_level_and_a_twin_and_removal():
    saliency = AllDepths([NonlinearSaliency(NET, LogOdds(), Removal(0.0), path=Flow(8))], **EVERY)
    run = saliency.explain(DIGITS, CLASSES, level=Drop(2.0))
    assert run.converged.all()
    assert (run.signed.sum((1, 2, 3)) > 1.5).all()  # what speaks for the class, of the 2 that went
    twin = AllDepths([straight()], **EVERY).replace(path=StraightTangent()).explain(DIGITS, CLASSES)
    predicted = -twin.members[0].contribution.sum((1, 2, 3))
    torch.testing.assert_close(twin.signed.sum((1, 2, 3)), predicted)


def test_named_modules_are_read_and_no_other():
    layers = stages(NET, DIGITS[:1])[-1:]
    run = AllDepths([straight()], layers=layers, at_input=True, smoothing=0.0).explain(DIGITS, CLASSES)
    assert run.depth_maps.shape[1] == 2
    torch.testing.assert_close(run.depth_maps[:, :1], run.members[0].support().sum(1, keepdim=True))
    torch.testing.assert_close(run.depth_maps[:, 1:], enlarged(run.members[0].layer_support()[0], (28, 28)))


def test_a_contrast_is_made_at_every_depth_after_the_mean_over_the_members():
    contrast, width = Softmax(3, width=1.5, temperature=0.5), 2.0
    members = [straight(readout=contrast), straight(reference=0.5, readout=contrast)]
    run = AllDepths(members, smoothing=width / 28, **EVERY).explain(DIGITS, CLASSES)
    for depth in range(4):
        every = []
        for record in run.members:
            own, others = record.support("contribution")[:, None], record.competing_support()
            if depth:
                own = record.layer_support()[depth - 1][:, None]
                others = record.competing_layer_support()[depth - 1]
            each = torch.cat([own, others], 1)
            every.append(torch.cat([enlarged(maps, (28, 28)) for maps in each.unbind(1)], 1))
        smooth = gaussian_blur(gaussian_blur(sum(every) / 2, width), 1.5)
        wanted = contrast.compare(smooth[:, :1], smooth[:, 1:, None])
        torch.testing.assert_close(run.depth_maps[:, depth : depth + 1], wanted)
    assert run.gradient_evaluations.tolist() == [2 * 9 * 4] * 3
    # what the class itself contributes adds up, whatever the contrast leaves of it
    plain = AllDepths([member.replace(readout="contribution") for member in members], **EVERY)
    lost = plain.explain(DIGITS, CLASSES).depth_maps.sum((2, 3))
    change = torch.stack([member.score_start - member.score_end for member in run.members]).mean(0)
    torch.testing.assert_close((lost * run.weights).sum(1), change + run.completeness_error)
    torch.testing.assert_close(
        run.support()[:1],
        AllDepths(members, smoothing=width / 28, **EVERY).attribute(DIGITS[:1], CLASSES[:1]),
    )


def test_maps_of_other_classes_come_from_the_same_passes():
    saliency = AllDepths([straight(), straight(reference=0.5)], depths=2)
    run = saliency.explain(DIGITS, CLASSES, competitors=2)
    assert run.gradient_evaluations.tolist() == [2 * 9 * 3] * 3
    torch.testing.assert_close(run.signed, saliency.explain(DIGITS, CLASSES).signed)
    rivals = run.members[0].competitors
    for place in range(2):
        alone = saliency.explain(DIGITS, rivals[:, place]).signed
        torch.testing.assert_close(run.competing[:, place : place + 1], alone)
    assert saliency.explain(DIGITS, CLASSES).competing is None
    contrasting = AllDepths([straight(readout=Softmax(2))])
    with pytest.raises(ValueError, match="competitors: expected None with a contrast"):
        contrasting.explain(DIGITS, CLASSES, competitors=2)


def test_a_transformer_is_read_at_its_tokens():
    torch.manual_seed(0)
    vit = VisionTransformer(28, 7, 3, 2, 32, 64, num_classes=10).double().eval()
    nn.init.normal_(vit.heads.head.weight)
    images = DIGITS.expand(-1, 3, -1, -1)
    run = AllDepths([straight(vit)], at_input=True).explain(images, CLASSES)
    assert run.depth_maps.shape == (3, 2, 28, 28)
    # class token included: the depth accounts for the whole change
    lost = run.members[0].score_start - run.members[0].score_end
    error = run.members[0].layer_completeness_error[:, 0]
    torch.testing.assert_close(run.depth_maps[:, 1].sum((1, 2)), lost - error)


def test_a_network_without_maps_is_read_at_its_input_and_says_so():
    for model in (FLAT, lambda x: FLAT(x)):
        with pytest.warns(UserWarning, match="its input alone is read"):
            run = AllDepths([straight(model)]).explain(DIGITS, CLASSES)
        assert run.depth_maps.shape[1] == 1


@pytest.mark.parametrize("size", [(28, 28), (30, 21), (5, 9)])
def test_enlarging_keeps_the_sum(size):
    proportions = (size[0] // 4 + 1, size[1] // 4 + 1)
    maps = torch.randn(2, 3, *proportions, dtype=torch.float64)
    large = (
        enlarged(maps, size) if proportions[0] * size[1] == proportions[1] * size[0] else enlarged(maps, size)
    )
    assert large.shape == (2, 1, *size)
    torch.testing.assert_close(large.sum((1, 2, 3)), maps.sum((1, 2, 3)))


def test_every_class_of_an_image_shares_one_scale():
    """A class that is not there loses little on the way, and is pale."""
    saliency, one = AllDepths([straight()]), DIGITS[:1]
    supports = saliency.attribute(one.expand(10, -1, -1, -1), torch.arange(10)).sum((1, 2, 3))
    assert supports.argmax() == CLASSES[0]


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: AllDepths([]), ValueError, r"AllDepths\(members\): expected at least one"),
        (lambda: AllDepths([NET]), TypeError, r"AllDepths\(members\): expected NonlinearSaliency objects"),
        (
            lambda: AllDepths([NonlinearSaliency(NET, coordinates=Layer(NET.features[2]))]),
            ValueError,
            "members that change the input",
        ),
        (
            lambda: AllDepths([straight(), straight(readout=Softmax(3))]),
            ValueError,
            r"AllDepths\(members\): expected one contrast, or none",
        ),
        (lambda: AllDepths([straight()], depths=0), ValueError, r"AllDepths\(depths\)"),
        (lambda: AllDepths([straight()], smoothing=-1.0), ValueError, r"AllDepths\(smoothing\)"),
        (lambda: AllDepths([straight()], layers=["features.2"]), TypeError, "layers: expected modules"),
        (
            lambda: AllDepths([straight()]).attribute(torch.ones(1, 784), 0),
            ValueError,
            "inputs: expected images",
        ),
        (
            lambda: AllDepths([straight(FLAT)], layers=[FLAT[1]]).attribute(DIGITS, 0),
            ValueError,
            "layers: expected modules that return feature maps",
        ),
    ],
)
def test_what_is_wrong_is_told(make, error, words):
    with pytest.raises(error, match=words):
        make()


def test_the_input_can_be_left_out():
    both, inside = (
        AllDepths([straight()], depths=2, at_input=at_input, balanced=False).explain(DIGITS, CLASSES)
        for at_input in (True, False)
    )
    torch.testing.assert_close(both.depth_maps[:, 1:], inside.depth_maps)
    assert inside.weights.shape == (3, 2)
