"""Classifiers of photographs: by name, with and without a network, and what explains them."""

import dataclasses
import pickle
import re
from hashlib import sha256
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from captum.attr import LayerGradCam
from efficientnet_lite_pytorch import EfficientNet
from torch import nn
from torchvision import models

from helpers.measure.peers import GradCam
from helpers.saliency import Input, Layer, Logit, NonlinearSaliency, Straight, fitted, presets, stages
from helpers.saliency.layers import as_maps
from helpers.zoo import classifiers
from helpers.zoo.classifiers import (
    LITE_MEAN,
    LITE_SIZES,
    LITE_STD,
    LITE_WEIGHTS,
    Classifier,
    load_classifier,
    top_classes,
)
from helpers.zoo.photographs import photographs

# a convolutional network that was trained, a residual one with in-place ReLUs, and a vision transformer; the
# image sizes that keep the tests short
NAMES = {"efficientnet_lite0": 96, "random:resnet18": 96, "random:vit_b_32": 224}


@pytest.fixture(scope="module")
def lite0() -> Classifier:
    return load_classifier()


@pytest.fixture(scope="module", params=NAMES)
def loaded(request) -> Classifier:
    return load_classifier(request.param)


def images(side: int, count: int = 1, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


# ---- EfficientNet-Lite0 ------------------------------------------------------------------------------------


def test_the_default_is_trained_and_needs_no_network(lite0):
    assert lite0.name == "efficientnet_lite0"
    assert lite0.size == 224
    assert len(lite0.class_names) == 1000
    assert lite0.class_names[285] == "Egyptian cat"
    with pytest.raises(dataclasses.FrozenInstanceError):
        lite0.size = 448


def test_a_classifier_is_ready_to_be_explained(loaded):
    assert loaded.name in NAMES
    assert not any(module.training for module in loaded.model.modules())
    assert not any(parameter.requires_grad for parameter in loaded.model.parameters())
    assert loaded.size == 224
    assert len(loaded.class_names) == 1000
    logits = loaded.model(images(NAMES[loaded.name], count=2))
    assert logits.shape == (2, 1000)
    assert logits.dtype == torch.float32
    assert logits.isfinite().all()
    assert (logits.std(dim=1) > 1e-3).all()  # not all the same, as from a head of zeros


# the classes that the bundled photographs show, and the least probability seen for clear ones
SHOWN = {
    "coffee": ({"espresso"}, 0.9),
    "camera": ({"tripod"}, 0.9),
    "chelsea": ({"Egyptian cat", "tiger cat", "tabby"}, 0.3),
    "motorcycle": ({"moped", "motor scooter"}, 0.5),
    "china": ({"palace"}, 0.2),
    "rocket": ({"missile", "projectile"}, 0.15),
    "grace_hopper": ({"military uniform"}, 0.2),
    "flower": ({"daisy"}, 0.1),
}


def test_it_recognises_the_bundled_photographs(lite0):
    photos = photographs(lite0.size, SHOWN)
    table = top_classes(lite0, torch.stack([photo.image for photo in photos.values()]), k=1)
    assert table["image"].tolist() == list(range(len(SHOWN)))
    for name, found, probability in zip(photos, table["name"], table["probability"], strict=True):
        expected, least = SHOWN[name]
        assert found in expected, name
        assert probability >= least, name


def test_pixels_are_normalised_as_it_was_trained(lite0):
    pixels = images(64)
    normalised = (255 * pixels - 127) / 128  # of 8-bit pixels
    torch.testing.assert_close(lite0.model(pixels), lite0.model.model(normalised), rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("side", [96, 320])
def test_padding_is_right_for_multiples_of_32(lite0, side):
    made_for = EfficientNet.from_name("efficientnet-lite0", image_size=side)
    made_for.load_state_dict(lite0.model.model.state_dict())
    pixels = images(side)
    with torch.no_grad():
        expected = made_for.eval()((pixels - LITE_MEAN[0]) / LITE_STD[0])
        torch.testing.assert_close(lite0.model(pixels), expected)


def test_changed_weights_are_refused(monkeypatch):
    other = dataclasses.replace(LITE_WEIGHTS["efficientnet_lite0"], sha256="0" * 64)
    monkeypatch.setitem(LITE_WEIGHTS, "efficientnet_lite0", other)
    with pytest.raises(ValueError, match=r"efficientnet-lite0-57934424\.pth: expected the SHA-256 0{64}"):
        load_classifier()


def test_missing_weights_are_told(monkeypatch):
    other = dataclasses.replace(LITE_WEIGHTS["efficientnet_lite0"], package="nowhere_")
    monkeypatch.setitem(LITE_WEIGHTS, "efficientnet_lite0", other)
    with pytest.raises(FileNotFoundError, match="nowhere_, which is not installed"):
        load_classifier()


@pytest.mark.parametrize("name", ["efficientnet_lite1", "efficientnet_lite2"])
def test_the_larger_sisters_recognise_the_bundled_photographs(name):
    pytest.importorskip(LITE_WEIGHTS[name].package)
    classifier = load_classifier(name)
    assert classifier.size == LITE_SIZES[name]
    photos = photographs(classifier.size, ["chelsea", "coffee", "motorcycle"])
    table = top_classes(classifier, torch.stack([photo.image for photo in photos.values()]), k=1)
    for photo, found in zip(photos, table["name"], strict=True):
        assert found in SHOWN[photo][0], photo


# ---- random weights ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["random:squeezenet1_1", "random:efficientnet_lite0", "random:googlenet"])
def test_random_weights_come_from_the_seed_alone(name):
    torch.manual_seed(1)
    first = load_classifier(name).model.state_dict()
    torch.manual_seed(2)
    before = torch.get_rng_state()
    again = load_classifier(name).model.state_dict()
    other = load_classifier(name, seed=1).model.state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


def test_random_is_not_trained(lite0):
    pixels = images(64)
    difference = load_classifier("random:efficientnet_lite0").model(pixels) - lite0.model(pixels)
    assert difference.abs().max() > 0.1


def test_mean_and_std_come_from_the_weights():
    weights = models.ResNet18_Weights.DEFAULT
    classifier = load_classifier("random:resnet18")
    assert classifier.model.preprocessing.mean == weights.transforms().mean
    assert classifier.model.preprocessing.std == weights.transforms().std
    assert classifier.class_names == tuple(weights.meta["categories"])
    assert load_classifier("random:inception_v3").size == 299


def test_a_vision_transformer_takes_only_its_own_size():
    classifier = load_classifier("random:vit_b_16")
    for side in (192, 448):
        with pytest.raises(AssertionError, match="Expected 224"):
            classifier.model(images(side))


# ---- names -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("resnet5O", "resnet50"),
        ("ResNet50", "resnet50"),
        ("efficientnet-lite0", "efficientnet_lite0"),
        ("vit_b16", "vit_b_16"),
        ("random:vit_b16", "random:vit_b_16"),
        ("resnet18 ", "resnet18"),
    ],
)
def test_an_unknown_name_tells_the_nearest(name, near):
    with pytest.raises(ValueError, match=f"got {name!r}.* Did you mean '{near}'"):
        load_classifier(name)


@pytest.mark.parametrize("name", ["", "random:", "xyz", "fcn_resnet50x:f", "random:random:", None, 3])
def test_other_names_are_refused_too(name):
    with pytest.raises(ValueError, match="load_classifier: expected 'efficientnet_lite0'"):
        load_classifier(name)


@pytest.mark.parametrize("name", ["fcn_resnet50", "quantized_resnet18", "fasterrcnn_resnet50_fpn", "r3d_18"])
def test_models_for_other_tasks_are_no_classifiers(name):
    with pytest.raises(ValueError, match=f"got '{name}'"):
        load_classifier(name)


# ---- trained weights of torchvision ------------------------------------------------------------------------


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache, and no network."""

    def refuse(url, *arguments, **options):
        raise URLError("no network here")

    monkeypatch.setattr(classifiers, "CACHE_FOLDER", tmp_path)
    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    return tmp_path


def serve(monkeypatch, content) -> list[str]:
    """A network that delivers this; returns the addresses that are asked for."""
    asked = []

    def download(url, path, *arguments, **options):
        asked.append(url)
        Path(path).write_bytes(content)

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    return asked


def test_without_a_network_the_ways_out_are_told(cache):
    before = torch.hub.get_dir()
    told = r"weights of resnet50 are not in .*no network here.*'efficientnet_lite0'.*'random:resnet50'"
    with pytest.raises(RuntimeError, match=told) as caught:
        load_classifier("resnet50")
    assert str(cache) in str(caught.value)
    assert torch.hub.get_dir() == before


def test_the_real_download_compares_checksums(cache, monkeypatch):
    """torch's own function, fed with other bytes than those of the checksum in the file's name."""
    monkeypatch.undo()
    monkeypatch.setattr(classifiers, "CACHE_FOLDER", cache)
    wrong = cache / "wrong.pth"
    wrong.write_bytes(b"something else")
    monkeypatch.setattr(torch.hub, "urlopen", lambda *arguments, **options: open_with_headers(wrong))
    with pytest.raises(RuntimeError, match="invalid hash value.*'random:squeezenet1_1'"):
        load_classifier("squeezenet1_1", show_progress=False)
    assert not list((cache / "checkpoints").iterdir())


def open_with_headers(path: Path):
    """What urlopen returns for a local file."""
    from urllib.request import urlopen

    return urlopen(path.as_uri())


def test_weights_are_fetched_once_and_kept_under_data(cache, monkeypatch, tmp_path):
    source = models.squeezenet1_1(weights=None)
    torch.save(source.state_dict(), tmp_path / "served")
    content = (tmp_path / "served").read_bytes()
    asked = serve(monkeypatch, content)
    before, state = torch.hub.get_dir(), torch.get_rng_state()
    classifier = load_classifier("squeezenet1_1", show_progress=False)
    weights = models.SqueezeNet1_1_Weights.DEFAULT
    file = cache / "checkpoints" / Path(weights.url).name
    assert file.read_bytes() == content
    assert asked == [weights.url]
    assert torch.hub.get_dir() == before
    assert torch.equal(torch.get_rng_state(), state)
    assert classifier.class_names == tuple(weights.meta["categories"])
    assert not any(parameter.requires_grad for parameter in classifier.model.parameters())
    pixels = images(64)
    own = weights.transforms()
    pixel_mean, pixel_std = (torch.tensor(numbers)[:, None, None] for numbers in (own.mean, own.std))
    expected = source.eval()((pixels - pixel_mean) / pixel_std)
    torch.testing.assert_close(classifier.model(pixels), expected)

    # from the cache only if it is the file that its name says, which these weights are not
    with pytest.raises(ValueError, match=f"{re.escape(str(file))}.*delete it.*'efficientnet_lite0'"):
        load_classifier("squeezenet1_1")
    renamed = str(file.with_name(f"squeezenet1_1-{sha256(content).hexdigest()[:8]}.pth"))
    monkeypatch.setattr(type(weights), "url", f"https://example.org/{Path(renamed).name}", raising=False)
    file.rename(renamed)
    again = load_classifier("squeezenet1_1").model
    assert len(asked) == 1
    torch.testing.assert_close(again(pixels), expected)


@pytest.mark.parametrize("content", [b"", b"no weights", pickle.dumps({"a": torch.zeros(1)})])
def test_a_download_that_holds_no_weights_is_told(cache, monkeypatch, content):
    serve(monkeypatch, content)
    with pytest.raises(
        RuntimeError, match="weights of squeezenet1_1.*could not be downloaded.*efficientnet_lite0"
    ):
        load_classifier("squeezenet1_1", show_progress=False)


# ---- the table of classes ----------------------------------------------------------------------------------


class Brightness(nn.Module):
    """Three logits: 0, and the mean of the red and of the green channel."""

    def forward(self, pixels):
        means = pixels.mean(dim=(2, 3))
        return torch.stack([torch.zeros(len(pixels)), means[:, 0], means[:, 1]], dim=1)


BRIGHTNESS = Classifier("brightness", Brightness(), ("dark", "red", "green"), 4)


def test_top_classes_in_closed_form():
    pixels = torch.zeros(2, 3, 4, 4)
    pixels[0, 0], pixels[1, 1] = 1.0, 0.5
    table = top_classes(BRIGHTNESS, pixels, k=2, batch_size=1)
    assert table.columns.tolist() == ["image", "class_index", "name", "probability"]
    assert table["image"].tolist() == [0, 0, 1, 1]
    assert table["name"].tolist()[::2] == ["red", "green"]
    assert table["class_index"].tolist()[::2] == [1, 2]
    e, root = torch.e, torch.e**0.5
    expected = [e / (e + 2), 1 / (e + 2), root / (root + 2), 1 / (root + 2)]
    assert table["probability"].tolist() == pytest.approx(expected, abs=1e-6)


def test_top_classes_takes_a_single_image_and_all_classes():
    pixels = torch.rand(3, 4, 4, generator=torch.Generator().manual_seed(0))
    table = top_classes(BRIGHTNESS, pixels, k=3)
    assert sorted(table["class_index"]) == [0, 1, 2]
    assert table["probability"].sum() == pytest.approx(1)
    assert table["probability"].is_monotonic_decreasing


@pytest.mark.parametrize(("k", "told"), [(0, "k: "), (1.0, "k: "), (4, "k: expected at most 3")])
def test_top_classes_refuses_another_k(k, told):
    with pytest.raises(ValueError, match=told):
        top_classes(BRIGHTNESS, torch.rand(1, 3, 4, 4), k)


@pytest.mark.parametrize("shape", [(4, 4), (1, 1, 4, 4), (1, 4, 4), (1, 1, 3, 4, 4), (0, 3, 4, 4)])
def test_top_classes_refuses_other_shapes(shape):
    with pytest.raises(ValueError, match=re.escape(str(shape))):
        top_classes(BRIGHTNESS, torch.rand(shape), k=1)


# ---- explaining them ---------------------------------------------------------------------------------------


def last_stage(classifier: Classifier, pixels: torch.Tensor) -> nn.Module:
    modules = stages(classifier.model, pixels)
    assert modules
    return modules[-1]


def test_grad_cam_and_the_cut_at_a_layer(loaded):
    pixels = images(NAMES[loaded.name])
    module = last_stage(loaded, pixels)
    cam = GradCam(loaded.model, module).attribute(pixels, target=5)
    place = Layer(module, Input(reference=0.0))
    ours = NonlinearSaliency(loaded.model, Logit(), place, path=Straight(2)).attribute(pixels, target=5)
    for saliency in (cam, ours):
        assert saliency.isfinite().all()
        assert saliency.abs().max() > 0
        assert fitted(saliency, pixels).shape == cam.shape
    assert not any(parameter.requires_grad for parameter in loaded.model.parameters())


def test_grad_cam_in_its_own_formula(loaded):
    """Selvaraju et al. 2017: the channels' mean gradients times the activations; in-place ReLUs or not."""
    pixels = images(NAMES[loaded.name])
    module = last_stage(loaded, pixels)
    kept = []

    def keep(module, arguments, output):
        # a copy is passed on, so that what follows in place does not change what is kept
        kept.append(output.requires_grad_())
        return output.clone()

    handle = module.register_forward_hook(keep)
    logit = loaded.model(pixels)[0, 5]
    handle.remove()
    (gradient,) = torch.autograd.grad(logit, kept[0])
    gradient, activations = (as_maps(values, pixels.shape[2:]) for values in (gradient, kept[0].detach()))
    expected = (gradient.mean(dim=(2, 3), keepdim=True) * activations).sum(dim=1, keepdim=True).relu()
    cam = GradCam(loaded.model, module, relu=True, score=Logit()).attribute(pixels, target=5)
    torch.testing.assert_close(cam, fitted(expected, pixels), rtol=1e-4, atol=1e-8)
    if kept[0].ndim == 4:
        captums = LayerGradCam(loaded.model, module).attribute(pixels, target=5, relu_attributions=True)
        torch.testing.assert_close(captums, expected, rtol=1e-4, atol=1e-8)


def test_presets_take_every_classifier(loaded):
    side = NAMES[loaded.name]
    preset = presets.contrasts(loaded.model, rivals=1, reference=0.0, steps=1)
    run = preset.explain(images(side), target=5)
    assert run.support().shape == (1, 1, side, side)
    assert run.support().isfinite().all()
    assert run.signed.abs().max() > 0  # of an untrained network there need be no support
