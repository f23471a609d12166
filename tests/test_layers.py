"""Which layers of torchvision's architectures are taken, and how what they return is read as maps."""

import pytest
import torch
import torchvision
from torch import nn

from helpers.saliency import Layer, NonlinearSaliency, blocks, presets, stages
from helpers.saliency.layers import as_maps

# architecture: side of the image in px, number of blocks, the last of each resolution
WANTED = {
    "alexnet": (96, 3, "features.1 features.4 features.11"),
    "vgg11": (64, 5, "features.1 features.4 features.9 features.14 features.19"),
    "vgg11_bn": (64, 5, "features.2 features.6 features.13 features.20 features.27"),
    "resnet18": (64, 8, "layer1.1 layer2.1 layer3.1 layer4.1"),
    "resnext50_32x4d": (64, 16, "layer1.2 layer2.3 layer3.5 layer4.2"),
    "densenet121": (
        64,
        7,
        "features.denseblock1 features.denseblock2 features.denseblock3 features.denseblock4",
    ),
    "googlenet": (64, 5, "conv1 conv3 inception3b inception4e inception5b"),
    "inception_v3": (
        96,
        6,
        "Conv2d_1a_3x3 Conv2d_2b_3x3 Conv2d_3b_1x1 Conv2d_4a_3x3 Mixed_5d Mixed_6e",
    ),
    "mobilenet_v2": (64, 19, "features.1 features.3 features.6 features.13 features.18"),
    "mobilenet_v3_small": (64, 13, "features.0 features.1 features.3 features.8 features.12"),
    "shufflenet_v2_x0_5": (64, 16, "stage2.3 stage3.7 stage4.3"),
    "squeezenet1_1": (64, 8, "features.4 features.7 features.12"),
    "mnasnet0_5": (64, 16, "layers.8.2 layers.9.2 layers.11.1 layers.13.0"),
    "efficientnet_b0": (64, 18, "features.1.0 features.2.1 features.3.1 features.5.2 features.8"),
    "regnet_y_400mf": (
        64,
        4,
        "trunk_output.block1 trunk_output.block2 trunk_output.block3 trunk_output.block4",
    ),
    "convnext_tiny": (64, 19, "features.1.2 features.3.2 features.5.8 features.7.2"),
    "swin_t": (64, 15, "features.1.1 features.3.1 features.5.5 features.7.1"),
    "swin_v2_t": (64, 15, "features.1.1 features.3.1 features.5.5 features.7.1"),
    # behind the last block only the class token counts: the patches of the one before it are the last that do
    "vit_b_32": (224, 11, "encoder.layers.encoder_layer_10"),
}


def built(name: str, **options) -> nn.Module:
    torch.manual_seed(0)
    options |= {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    model = torchvision.models.get_model(name, weights=None, **options).eval()
    if name.startswith("vit"):
        nn.init.normal_(model.heads.head.weight, std=0.02)  # torchvision starts with zeros
    return model


@pytest.mark.parametrize("name", WANTED)
def test_the_layers_of_an_architecture(name):
    side, count, wanted = WANTED[name]
    model, image = built(name), torch.rand(1, 3, side, side)
    names = {module: name for name, module in model.named_modules()}
    assert [names[module] for module in stages(model, image)] == wanted.split()
    assert len(blocks(model, image)) == count


def small_vit() -> nn.Module:
    torch.manual_seed(0)
    model = torchvision.models.VisionTransformer(32, 8, 3, 2, 16, 32, num_classes=4).eval()
    nn.init.normal_(model.heads.head.weight, std=0.5)
    return model


@pytest.mark.parametrize(
    ("build", "side"),
    [
        (small_vit, 32),
        (lambda: built("swin_t", num_classes=4), 64),
        (lambda: built("googlenet", num_classes=4), 64),
    ],
    ids=["vision transformer", "swin", "googlenet"],
)
def test_presets_explain_the_last_layer_that_counts(build, side):
    model, images = build(), torch.rand(2, 3, side, side)
    preset = presets.contrasts(model, rivals=2, steps=1)
    run = preset.explain(images, [1, 2])
    assert run.support().shape == (2, 1, side, side)
    assert preset.read_at(images)[-1] is stages(model, images[:1])[-1]
    assert (run.depth_maps[:, -1].flatten(1).std(1) > 0).all()


def test_a_network_without_maps_is_explained_at_its_input_and_says_so():
    model, images = nn.Sequential(nn.Flatten(), nn.Linear(48, 4)), torch.rand(1, 3, 4, 4)
    with pytest.warns(
        UserWarning, match="model: Sequential has no module that is known to return feature maps or tokens"
    ) as caught:
        assert presets.contrasts(model).attribute(images, 1).shape == (1, 1, 4, 4)
    assert caught[0].filename == __file__


def test_a_branch_is_no_block():
    class Joined(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Conv2d(3, 4, 3, padding=1, stride=2)
            self.left, self.right = (
                nn.Sequential(nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU())) for _ in range(2)
            )
            self.join, self.head = nn.Conv2d(8, 5, 1), nn.Linear(5, 4)

        def forward(self, x):
            h = self.stem(x)
            return self.head(self.join(torch.cat([self.left(h), self.right(h)], 1)).mean((2, 3)))

    model = Joined().eval()
    assert stages(model, torch.rand(1, 3, 8, 8)) == [model.join]


def test_a_network_behind_a_preprocessing_in_a_sequence_keeps_its_blocks():
    inner = built("resnet18")
    whole = nn.Sequential(torchvision.transforms.v2.Normalize([0.5] * 3, [0.25] * 3), inner).eval()
    image = torch.rand(1, 3, 64, 64)
    assert list(blocks(whole, image).values()) == list(blocks(inner, image).values())


READ = {
    "channels first": (torch.rand(2, 5, 7, 7), (56, 56), (2, 5, 7, 7)),
    "channels last": (torch.rand(2, 7, 7, 96), (56, 56), (2, 96, 7, 7)),
    "oblong": (torch.rand(2, 6, 9, 32), (48, 72), (2, 32, 6, 9)),
    "patches": (torch.rand(2, 49, 16), (56, 56), (2, 16, 7, 7)),
    "class token": (torch.rand(2, 50, 16), (56, 56), (2, 16, 7, 7)),
    "class and four registers": (torch.rand(2, 54, 16), (56, 56), (2, 16, 7, 7)),
    "oblong patches": (torch.rand(2, 25, 16), (48, 72), (2, 16, 4, 6)),
    "no grid": (torch.rand(2, 3, 16), (56, 56), (2, 3, 16)),
    "no images": (torch.rand(2, 50, 16), None, (2, 50, 16)),
    "features": (torch.rand(2, 50), (56, 56), (2, 50)),
}


@pytest.mark.parametrize("kind", READ)
def test_what_layers_return_is_read_as_maps(kind):
    values, size, shape = READ[kind]
    maps = as_maps(values, size)
    assert maps.shape == shape
    if kind == "class token":
        assert torch.equal(maps[0, :, 3, 2], values[0, 1 + 3 * 7 + 2])
    if kind == "channels last":
        assert torch.equal(maps[1, :, 3, 2], values[1, 3, 2])


def test_a_contrast_at_tokens_compares_maps():
    from helpers.saliency import Input, Logit, Softmax, Straight

    model, images = small_vit(), torch.rand(1, 3, 32, 32)
    layer = Layer(stages(model, images)[-1], Input(reference=0.0), carried=False)
    saliency = NonlinearSaliency(model, Logit(), layer, path=Straight(2), readout=Softmax(2))
    assert saliency.attribute(images, 1).shape == (1, 1, 4, 4)
