"""One interface for whatever explains: records, twins, and a batch that is split before anything else."""

import warnings

import pytest
import torch
from torch import nn

from helpers.saliency import (
    AllDepths,
    Decoder,
    Explanation,
    Flow,
    GeometricMean,
    Input,
    Largest,
    Layer,
    Logit,
    Mean,
    NonlinearSaliency,
    OwnNoise,
    Removal,
    ScaleSpace,
    Softmax,
    Straight,
    StraightTangent,
    presets,
)
from helpers.zoo.networks import digit_net


@pytest.fixture
def net():
    torch.manual_seed(0)
    layers = (nn.Conv2d(2, 4, 3, padding=1), nn.Softplus(), nn.Flatten(), nn.Linear(4 * 36, 5))
    return nn.Sequential(*layers).double().eval()


@pytest.fixture
def images():
    return torch.rand(5, 2, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def decoder(reference) -> Decoder:
    """Of images, a code of the same shape; curved, and with a rest."""
    return Decoder(lambda z: z + 0.2 * z.sin(), lambda x: x / 2, reference)


def members(net) -> dict:
    towards = Input(reference=0.0)
    straight = NonlinearSaliency(net, Logit(), towards, path=Straight(3))
    return {
        "contribution": straight,
        "mean gradient": straight.replace(readout="mean_gradient"),
        "displacement": NonlinearSaliency(net, path=Flow(3), readout="displacement"),
        "softmax contrast": straight.replace(readout=Softmax(3, width=1.0)),
        "largest contrast": straight.replace(readout=Largest(2)),
        "removal": straight.replace(coordinates=Removal(0.5)),
        "cells": straight.replace(coordinates=Removal(0.5, cells=(3, 2))),
        "decoder": straight.replace(coordinates=decoder(0.0)),
        "layer": straight.replace(coordinates=Layer(net[1], towards)),
        "mean": Mean([straight, straight.replace(path=StraightTangent())]),
        "geometric mean": GeometricMean([straight, straight.replace(coordinates=Layer(net[1], towards))]),
        "contrasts": presets.contrasts(net, rivals=2, reference=0.0, layers=[net[1]]),
        "all depths": AllDepths([straight, straight.replace(path=ScaleSpace(3))], [net[1]], at_input=True),
    }


NAMES = list(members(nn.Sequential(nn.Linear(1, 1), nn.ReLU())))


@pytest.mark.parametrize("name", NAMES)
def test_explain_returns_one_kind_of_thing_whose_support_is_what_attribute_returns(name, net, images):
    method = members(net)[name]
    run = method.explain(images, 2)
    assert torch.equal(run.support(), method.attribute(images, 2))
    assert all(isinstance(member, Explanation) and member.members == (member,) for member in run.members)
    assert torch.equal(run.converged, torch.stack([m.converged for m in run.members]).all(0))
    for count in ("gradient_evaluations", "forward_evaluations", "head_evaluations"):
        assert torch.equal(getattr(run, count), sum(getattr(member, count) for member in run.members))
    assert len(run.reason) == len(images)


@pytest.mark.parametrize("name", NAMES)
def test_parts_of_a_batch_give_the_maps_of_the_whole(name, net, images):
    method, targets = members(net)[name], [0, 1, 2, 3, 4]
    whole = method.explain(images, targets)
    parts = method.explain(images, targets, internal_batch_size=2)
    assert torch.allclose(whole.support(), parts.support(), rtol=1e-9, atol=1e-12)
    assert torch.equal(whole.gradient_evaluations, parts.gradient_evaluations)
    assert torch.equal(whole.head_evaluations, parts.head_evaluations)


PER_EXAMPLE = {
    "a tensor of the whole batch": lambda images: images.flip(0) / 2,
    "one image for all": lambda images: images[:1] / 2,
    "a value for each channel": lambda images: torch.tensor([0.25, 0.5]).reshape(2, 1, 1),
    "a function": lambda images: lambda x: x / 2,
    "noise": lambda images: OwnNoise(3),
}


@pytest.mark.parametrize("kind", PER_EXAMPLE)
@pytest.mark.parametrize("coordinates", [lambda r: Input(reference=r), Removal, decoder])
def test_references_and_arguments_are_split_with_the_batch(kind, coordinates, net, images):
    class Shifted(nn.Module):
        def forward(self, x, shift, scale):
            return net(x + shift[:, None, None, None]) * scale

    shift = torch.linspace(-1, 1, 5, dtype=torch.float64)
    saliency = NonlinearSaliency(
        Shifted(), Logit(), coordinates(PER_EXAMPLE[kind](images)), path=Straight(3), noise=0.1, samples=2
    )
    given = {"target": torch.tensor([4, 3, 2, 1, 0]), "additional_forward_args": (shift, 2.0)}
    whole = saliency.explain(images, **given)
    for size in (1, 2, 5):
        parts = saliency.explain(images, **given, internal_batch_size=size)
        assert torch.allclose(parts.contribution, whole.contribution, rtol=1e-9, atol=1e-12)
        assert torch.allclose(parts.raw_score_end, whole.raw_score_end)


def test_bounds_are_split_with_the_batch(net, images):
    lower = images - torch.linspace(0.0, 0.2, 5, dtype=torch.float64).reshape(5, 1, 1, 1)
    saliency = NonlinearSaliency(net, Logit(), Input(lower=lower), path=Flow(3))
    whole, parts = (saliency.explain(images, 1, level=-5.0, internal_batch_size=size) for size in (None, 2))
    assert torch.allclose(whole.endpoint, parts.endpoint)
    assert (parts.endpoint >= lower).all()
    assert (parts.endpoint[0] >= images[0]).all(), "no room below"


def test_a_wrong_class_of_a_later_part_is_refused_before_a_step(net, images):
    calls = []

    def model(x):
        calls.append(len(x))
        return net(x)

    saliency = NonlinearSaliency(model, Logit(), Input(reference=0.0), path=Straight(8))
    with pytest.raises(ValueError, match=r"target: expected class indices in \[0, 5\); got 7"):
        saliency.attribute(images, [0, 1, 2, 3, 7], internal_batch_size=1)
    assert len(calls) == 1


def test_a_twin_differs_in_one_choice_alone(net):
    generator = torch.Generator().manual_seed(3)
    saliency = NonlinearSaliency(
        net,
        Logit(),
        Input(0.0, 1.0),
        path=Flow(5),
        readout="displacement",
        noise=0.1,
        samples=3,
        generator=generator,
    )
    twin = saliency.replace(path=Straight(2), coordinates=Input(reference=0.0))
    assert (twin.path, twin.coordinates) == (Straight(2), Input(reference=0.0))
    for name in ("forward_func", "score", "geometry", "readout", "noise", "samples", "generator"):
        assert getattr(twin, name) is getattr(saliency, name)
    assert saliency.path == Flow(5)
    with pytest.raises(TypeError, match="unexpected keyword argument 'paths'"):
        saliency.replace(paths=Flow())
    with pytest.raises(ValueError, match="leads to a reference"):
        saliency.replace(path=Straight())


def test_a_twin_of_a_mean_keeps_its_kind(net, images):
    mean = members(net)["geometric mean"]
    linear = mean.replace(path=StraightTangent())
    by_hand = GeometricMean([member.replace(path=StraightTangent()) for member in mean.members], mean.floor)
    assert torch.equal(linear.attribute(images, 0), by_hand.attribute(images, 0))
    assert [member.path for member in mean.members] == [Straight(3)] * 2


@pytest.mark.parametrize("how", ["attribute", "explain"])
@pytest.mark.parametrize("kind", ["member", "mean", "preset"])
def test_warnings_point_to_the_callers_line(how, kind):
    net = digit_net().train()
    member = NonlinearSaliency(net, Logit(), Input(reference=0.0), path=Straight(1))
    methods = {"member": member, "mean": Mean([member]), "preset": presets.contrasts(net)}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        getattr(methods[kind], how)(torch.rand(2, 1, 28, 28), 3)
    assert {warning.filename for warning in caught if "train mode" in str(warning.message)} == {__file__}
