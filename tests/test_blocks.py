"""helpers.saliency.layers: the blocks and stages of image networks."""

import pytest
import torch
import torchvision
from torch import nn

from helpers.saliency import blocks, stages
from helpers.zoo.networks import digit_net

IMAGE = torch.rand(1, 3, 64, 64)


def built(name: str) -> nn.Module:
    torch.manual_seed(0)
    return torchvision.models.get_model(name, weights=None).eval()


def sizes(model: nn.Module, modules, image: torch.Tensor) -> list[tuple[int, ...]]:
    found = []
    handles = [m.register_forward_hook(lambda _, __, output: found.append(output.shape[2:])) for m in modules]
    with torch.no_grad():
        model(image)
    for handle in handles:
        handle.remove()
    return [tuple(size) for size in found]


def test_blocks_of_a_residual_network_stand_in_the_order_of_a_pass():
    model = built("resnet18")
    found = blocks(model, IMAGE)
    assert list(found) == [f"layer{stage}.{block}" for stage in (1, 2, 3, 4) for block in (0, 1)]
    assert all(isinstance(block, torchvision.models.resnet.BasicBlock) for block in found.values())
    assert stages(model, IMAGE) == [model.layer1[1], model.layer2[1], model.layer3[1], model.layer4[1]]
    assert sizes(model, stages(model, IMAGE), IMAGE) == [(16, 16), (8, 8), (4, 4), (2, 2)]


def test_blocks_of_a_network_in_named_sequences():
    model = built("efficientnet_b0")
    found = blocks(model, IMAGE)
    assert next(iter(found)) == "features.0"
    assert list(found)[-1] == "features.8"
    assert "features.1.0" in found
    assert not any(name.count(".") > 2 for name in found), "a part of a block is no block"


def test_a_plain_sequence_gives_the_last_module_of_each_resolution_with_its_activation():
    net = digit_net()
    image = torch.rand(1, 1, 28, 28)
    chosen = stages(net, image)
    assert all(isinstance(module, nn.ReLU) for module in chosen[:-1])
    assert chosen[-1] is net.classifier, "a map of class scores, averaged to the logits"
    assert list(blocks(net, image).values()) == chosen
    vgg = built("vgg11")
    assert isinstance(stages(vgg, IMAGE)[-1], nn.ReLU), "pooling has no parameters: it ends no stage"


def test_proportions_tell_maps_from_other_tensors():
    wide = torch.rand(1, 3, 64, 96)
    model = built("resnet18")
    assert sizes(model, stages(model, wide), wide) == [(16, 24), (8, 12), (4, 6), (2, 3)]


def test_padding_and_modules_that_are_called_twice_are_left_out():
    shared = nn.ReLU()
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        shared,
        nn.ZeroPad2d(2),
        nn.Conv2d(4, 5, 5, stride=2),
        shared,
        nn.Flatten(),
    )
    assert stages(model, IMAGE) == [model[0], model[3]]


def test_a_network_without_maps_has_no_blocks():
    assert blocks(nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 64, 2)), IMAGE) == {}


@pytest.mark.parametrize("shape", [(3, 64, 64), (2, 3, 64, 64)])
def test_one_image_is_asked_for(shape):
    with pytest.raises(ValueError, match=r"inputs: expected one image, \(1, C, H, W\); got shape"):
        blocks(built("resnet18"), torch.rand(shape))
