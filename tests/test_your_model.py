"""Bring your own: models by name and by function, images of a folder, and what is refused, with its words."""

import itertools
import re
import textwrap
from urllib.error import URLError

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision import models

from helpers.files import ROOT
from helpers.lessons.your_model import (
    PEERS,
    ImageSet,
    bring,
    class_number,
    image_set,
    modules_by_name,
    own_grids,
    peers,
    require_explainable,
    untrained,
)
from helpers.run.execute import run_notebook
from helpers.zoo.classifiers import LITE0, Classifier
from helpers.zoo.photographs import BUNDLED, photographs

SIDE = 24
NUMBER = itertools.count()

# A small convolutional network with two resolutions, and what stands in front of every module below.
TINY = """
import torch
from torch import nn

def network(channels=3, classes=5):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(channels, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 12, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(12, 12, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, classes),
    )

class Wrapped(nn.Module):
    def __init__(self, change):
        super().__init__()
        self.network, self.change = network(), change
    def forward(self, x):
        return self.change(self.network, x)
"""


@pytest.fixture
def function(tmp_path, monkeypatch):
    """function(code): the code as a module of the working folder; the name of its function build."""
    monkeypatch.chdir(tmp_path)

    def written(code: str = "def build(): return network()", name: str = "build") -> str:
        module = f"tiny_{next(NUMBER)}"
        (tmp_path / f"{module}.py").write_text(TINY + textwrap.dedent(code), encoding="utf-8")
        return f"{module}:{name}"

    return written


def changed(change: str) -> str:
    """The code of a function that returns the small network, wrapped."""
    return f"def build(): return Wrapped(lambda network, x: {change})"


def picture(path, seed: int = 0, size: tuple[int, int] = (40, 30)):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def pixels(count: int = 2, side: int = SIDE, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


# ---- models by name ----------------------------------------------------------------------------------------


def test_the_network_that_ships_is_there_by_its_name():
    found = bring(LITE0, side=96)
    assert (found.name, found.size, len(found.class_names)) == (LITE0, 96, 1000)
    assert found.class_names[285] == "Egyptian cat"
    assert not any(module.training for module in found.model.modules())
    assert not any(parameter.requires_grad for parameter in found.model.parameters())


def test_random_weights_of_any_architecture_of_torchvision():
    found = bring("random:resnet18", side=64, seed=1)
    assert found.model(pixels(2, 64)).shape == (2, 1000)
    assert not torch.equal(
        found.model.model.fc.weight, bring("random:resnet18", side=64, seed=2).model.model.fc.weight
    )


def test_mean_and_std_take_the_place_of_those_of_the_weights():
    plain, other = (
        bring("random:resnet18", side=64),
        bring("random:resnet18", side=64, mean=[0.5], std=[0.25]),
    )
    assert other.model.preprocessing.mean == [0.5]
    assert other.model.preprocessing.std == [0.25]
    assert plain.model.preprocessing.mean == [0.485, 0.456, 0.406]
    again = bring("random:resnet18", side=64, mean=[0.485, 0.456, 0.406])  # the std stays that of the weights
    assert torch.equal(again.model(pixels(2, 64)), plain.model(pixels(2, 64)))


def test_an_unknown_name_tells_the_nearest():
    with pytest.raises(ValueError, match="Did you mean 'resnet50'"):
        bring("resnet5o")
    with pytest.raises(ValueError, match="Did you mean 'random:resnet50'"):
        bring("random:resnet5o")


def test_without_a_network_it_says_what_to_do(monkeypatch, tmp_path):
    def offline(*args, **options):
        raise URLError("no network here")

    monkeypatch.setattr("helpers.zoo.classifiers.CACHE_FOLDER", tmp_path)
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    with pytest.raises(RuntimeError, match=r"(?s)no network here.*Without a network.*random:resnet18"):
        bring("resnet18", show_progress=False)


# ---- a function of one's own -------------------------------------------------------------------------------


def test_a_function_of_the_working_folder(function):
    found = bring(function(), side=SIDE)
    assert found.size == SIDE
    assert found.class_names == tuple(f"class {index}" for index in range(5))
    assert found.model(pixels()).shape == (2, 5)


def test_it_is_put_into_eval_mode_and_into_float32(function):
    found = bring(function("def build(): return network().double().train()"), side=SIDE)
    assert not any(module.training for module in found.model.modules())
    assert {parameter.dtype for parameter in found.model.parameters()} == {torch.float32}


def test_a_function_of_an_installed_package():
    found = bring("torchvision.models:squeezenet1_1", side=64)
    assert len(found.class_names) == 1000
    assert found.class_names[0] == "class 0"


def test_a_module_that_was_edited_is_read_again(function, tmp_path):
    name = function()
    assert len(bring(name, side=SIDE).class_names) == 5
    file = tmp_path / f"{name.partition(':')[0]}.py"
    file.write_text(TINY + "def build(): return network(classes=11)\n", encoding="utf-8")
    assert len(bring(name, side=SIDE).class_names) == 11


def test_mean_and_std_stand_in_front_of_it(function):
    name, x = function(), pixels()
    plain = bring(name, side=SIDE).model
    given = bring(name, side=SIDE, mean=[0.1, 0.2, 0.3], std=[0.5]).model
    shift = torch.tensor([0.1, 0.2, 0.3])[:, None, None]
    assert torch.allclose(given(x), plain((x - shift) / 0.5), atol=1e-6)


def test_a_preprocessing_of_its_own_becomes_part_of_the_model(function):
    code = "def build(): return network(1), lambda pixels: 1 - pixels.mean(1, keepdim=True)"
    found, x = bring(function(code), side=SIDE), pixels()
    inner = found.model.model
    assert torch.equal(found.model(x), inner(1 - x.mean(1, keepdim=True)))


def test_torchvisions_preprocessing_brings_mean_std_and_size(function):
    code = """
    from torchvision import models
    def build(): return network(), models.ResNet18_Weights.DEFAULT.transforms()
    """
    name = function(code)
    found = bring(name)
    assert found.size == 224
    assert found.model.preprocessing.mean == [0.485, 0.456, 0.406]
    assert bring(name, side=SIDE).size == SIDE


REFUSED_FUNCTIONS = {
    "no such module": (lambda f: "no_such_module:build", ValueError, "no_such_module.py is not there"),
    "near module": (lambda f: f().replace(":build", "x:build"), ValueError, "Did you mean 'tiny_"),
    "no such function": (lambda f: f(name="biuld"), ValueError, "Did you mean 'build'"),
    "a path": (lambda f: "folder/mine.py:build", ValueError, "no '.py'"),
    "broken module": (
        lambda f: f("import no_such_package"),
        ValueError,
        "cannot be imported.*no_such_package",
    ),
    "wrong syntax": (lambda f: f("def build(:"), ValueError, "cannot be imported: SyntaxError"),
    "a module, not a function": (lambda f: f("build = network()"), TypeError, "def build.*: return build"),
    "a number": (lambda f: f("build = 3"), TypeError, "to be a function.*got a int"),
    "needs arguments": (lambda f: f("def build(size, depth): pass"), TypeError, "needs size, depth"),
    "raises": (lambda f: f("def build(): return 1 / 0"), RuntimeError, "raised ZeroDivisionError"),
    "returns a dict": (lambda f: f("def build(): return {}"), TypeError, "got dict"),
    "returns three": (
        lambda f: f("def build(): return network(), 1, 2"),
        TypeError,
        r"\(Sequential, int, int\)",
    ),
    "preprocessing no function": (
        lambda f: f("def build(): return network(), 0.5"),
        TypeError,
        "can be called",
    ),
}


@pytest.mark.parametrize("case", REFUSED_FUNCTIONS)
def test_what_is_no_function_that_returns_a_model(case, function):
    name, kind, told = REFUSED_FUNCTIONS[case]
    with pytest.raises(kind, match=told):
        bring(name(function), side=SIDE)


REFUSED_PREPROCESSING = {
    "wants a PIL image": ("lambda p: p.convert('L')", "raised AttributeError.*leave out ToTensor"),
    "drops the batch": ("lambda p: p[0]", r"make \(N, C, H, W\).*got torch.float32 of shape \(3, 24, 24\)"),
    "makes integers": ("lambda p: (255 * p).byte()", "floating point.*torch.uint8"),
    "makes no tensor": ("lambda p: p.tolist()", "got list"),
    "makes a channel too few": ("lambda p: p[:, :2]", "raised RuntimeError.*that makes them grey"),
}


@pytest.mark.parametrize("case", REFUSED_PREPROCESSING)
def test_preprocessing_of_the_wrong_kind(case, function):
    code, told = REFUSED_PREPROCESSING[case]
    with pytest.raises(ValueError, match=f"(?s){told}"):
        bring(function(f"def build(): return network(), {code}"), side=SIDE)


def test_two_preprocessings_and_numbers_that_fit_no_image(function):
    twice = function("def build(): return network(), lambda pixels: pixels")
    with pytest.raises(ValueError, match="returns a preprocessing of its own"):
        bring(twice, side=SIDE, mean=[0.5])
    with pytest.raises(ValueError, match=r"mean: expected one number, three .*, or none; got 2"):
        bring(function(), side=SIDE, mean=[0.5, 0.5])
    with pytest.raises(ValueError, match=r"std.*positive"):
        bring(function(), side=SIDE, std=[0.0])
    with pytest.raises(ValueError, match=r"side: expected the pixels a side.*Set side"):
        bring(function())
    for side in (-1, 2.5, True):
        with pytest.raises(ValueError, match="side"):
            bring(function(), side=side)


# ---- what cannot be explained ------------------------------------------------------------------------------

REFUSED_MODELS = {
    "detached": (changed("network(x.detach())"), "gradient from the outputs to the input; none arrives"),
    "no_grad": (changed("torch.no_grad()(network)(x)"), "none arrives"),
    "rounded": (changed("network(x.round())"), "all that arrive are 0"),
    "through numpy": (
        changed("network(torch.as_tensor(x.detach().numpy().copy()))"),
        "none arrives.*a detour through numpy",
    ),
    "two inputs": (
        """
        class Two(nn.Module):
            def forward(self, image, mask):
                return image
        def build(): return Two()
        """,
        "expected one input.*needs 2: image, mask",
    ),
    "a dictionary": (changed("{'logits': network(x)}"), "one tensor of logits.*got dict"),
    "feature maps": (changed("network[:9](x)"), r"shape \(2, K\).*got \(2, 12, 6, 6\)"),
    "another batch": (changed("network(x).repeat(2, 1)"), r"for 2 images; got \(4, 5\)"),
    "integers": (changed("(100 * network(x)).long()"), "floating point.*torch.int64"),
    "a single column": (changed("network(x)[:, :1]"), "at least two classes.*single column"),
    "probabilities": (changed("network(x).softmax(1)"), "the outputs are probabilities.*last softmax"),
    "NaN": (changed("network(x) / 0 * 0"), "finite outputs.*not 0 to 255"),
    "NaN gradients": (
        changed("network(x) + (x[:, :, :1, 0].sum((1, 2)) * 0).sqrt()[:, None]"),
        "finite gradients",
    ),
    "chance": (changed("nn.functional.dropout(network(x))"), "draws at random"),
    "the batch's mean": (
        changed("network(x) - 2 * network(x).mean(0)"),
        "do not depend on the other examples",
    ),
    "batch norm without statistics": (
        "def build(): return nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False), network())",
        "track_running_stats=False",
    ),
    "another size": (
        "def build(): return nn.Sequential(nn.Flatten(), nn.Linear(300, 5))",
        r"take images of shape \(2, 3, 24, 24\).*Set side",
    ),
}


@pytest.mark.parametrize("case", REFUSED_MODELS)
def test_what_cannot_be_explained_is_refused_with_words(case, function):
    code, told = REFUSED_MODELS[case]
    with pytest.raises(ValueError, match=f"(?s){told}"):
        bring(function(code), side=SIDE)


def test_log_probabilities_are_as_good_as_logits(function):
    assert len(bring(function(changed("network(x).log_softmax(1)")), side=SIDE).class_names) == 5


def test_a_model_in_train_mode_is_told():
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 3), nn.Dropout())
    x = pixels(2, 2)
    with pytest.raises(ValueError, match=r"4 of its modules are in train mode.*model.eval\(\)"):
        require_explainable(model, x)
    assert require_explainable(model.eval(), x) == 3
    with pytest.raises(ValueError, match="two at least"):
        require_explainable(model, x[:1])


def test_a_device_that_is_not_there(function):
    for device in ("nowhere", "cuda:99"):
        with pytest.raises(ValueError, match=f"device: expected 'cpu'.*got '{device}'"):
            bring(function(), side=SIDE, device=device)


# ---- class names -------------------------------------------------------------------------------------------


def test_class_names_from_a_file(function, tmp_path):
    (tmp_path / "names.txt").write_text("\ufeffcat\n dog \nmug\nbee\nfig\n\n", encoding="utf-8")
    found = bring(function(), side=SIDE, class_names=tmp_path / "names.txt")
    assert found.class_names == ("cat", "dog", "mug", "bee", "fig")


def test_the_names_of_imagenet_where_there_are_1000(function):
    name = function("def build(): return network(classes=1000)")
    assert bring(name, side=SIDE, class_names="imagenet").class_names[285] == "Egyptian cat"
    with pytest.raises(ValueError, match=r"class_names: expected 5 names.*got 1000 in 'imagenet'"):
        bring(function(), side=SIDE, class_names="imagenet")


def test_class_names_that_do_not_fit(function, tmp_path):
    name = function()
    (tmp_path / "few.txt").write_text("cat\ndog\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"expected 5 names.*got 2 in .*few.txt"):
        bring(name, side=SIDE, class_names=tmp_path / "few.txt")
    (tmp_path / "other.txt").write_bytes("Käse\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"UTF-8"):
        bring(name, side=SIDE, class_names=tmp_path / "other.txt")
    with pytest.raises(FileNotFoundError, match="no such file"):
        bring(name, side=SIDE, class_names="none.txt")


# ---- images ------------------------------------------------------------------------------------------------


def test_the_bundled_photographs_are_the_default():
    images = image_set()
    assert images.names == tuple(BUNDLED)
    assert images.labels is None
    assert torch.equal(images.load(1, 32), photographs(32, ["coffee"])["coffee"].image)
    assert images.digest(1) == BUNDLED["coffee"].sha256
    assert image_set(limit=2).names == tuple(BUNDLED)[:2]
    assert len(image_set(limit=99)) == len(BUNDLED)


def test_a_folder_with_folders_in_it(tmp_path):
    for name in ("b/two.JPG", "b/one.png", "a.webp", ".hidden/no.png", "notes.txt"):
        picture(tmp_path / name) if not name.endswith("txt") else (tmp_path / name).write_text("x")
    images = image_set(tmp_path)
    assert images.names == ("a.webp", "b/one.png", "b/two.JPG")
    assert images.load(1, 20).shape == (3, 20, 20)
    assert len(set(map(images.digest, range(3)))) == 3  # three formats, three contents
    assert image_set(tmp_path, limit=1).names == ("a.webp",)


def test_labels_are_read_and_kept_with_their_images(tmp_path):
    for name in ("a.png", "b.png"):
        picture(tmp_path / name)
    (tmp_path / "labels.csv").write_text("file,class_index\nb.png,4\na.png,1\n", encoding="utf-8")
    images = image_set(tmp_path, classes=5)
    assert (images.names, images.labels) == (("b.png", "a.png"), (4, 1))
    assert images.first(1).labels == (4,)
    with pytest.raises(ValueError, match=r"class indices from 0 to 3.*got 4 for b.png"):
        image_set(tmp_path, classes=4)


def test_labels_may_name_files_elsewhere(tmp_path):
    outside = picture(tmp_path / "a.png")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "labels.csv").write_text(f"file,class_index\n../a.png,0\n{outside},1\n", encoding="utf-8")
    images = image_set(folder)
    assert images.names == ("../a.png", outside.as_posix())
    assert torch.equal(images.load(0, 8), images.load(1, 8))


def test_folders_that_hold_no_images(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        image_set(tmp_path / "none")
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(FileNotFoundError, match="is a file"):
        image_set(tmp_path / "notes.txt")
    with pytest.raises(ValueError, match=r"expected images in .*\.jpg.*found none among 1 files"):
        image_set(tmp_path)
    for limit in (-1, 1.5, True):
        with pytest.raises(ValueError, match="limit"):
            image_set(limit=limit)


def test_images_that_cannot_be_read_are_named_and_left_out(tmp_path):
    picture(tmp_path / "good.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "good.png").read_bytes()[:200])
    (tmp_path / "text.jpg").write_text("no image")
    stacked, kept, skipped = image_set(tmp_path).stack(16)
    assert stacked.shape == (1, 3, 16, 16)
    assert kept == [1]
    assert set(skipped) == {"cut.png", "text.jpg"}
    assert all("expected an image that Pillow reads" in reason for reason in skipped.values())
    (tmp_path / "good.png").unlink()
    with pytest.raises(ValueError, match="of 2 none can"):
        image_set(tmp_path).stack(16)


# ---- what is compared with it ------------------------------------------------------------------------------


def test_grad_cam_applies_where_there_is_more_than_one_resolution(function):
    found = bring(function(), side=SIDE)
    assert list(peers(found.model, pixels())) == ["gradient", "Grad-CAM"]
    flat = nn.Sequential(nn.Flatten(), nn.Linear(12, 3)).eval()
    assert list(peers(flat, pixels(1, 2))) == ["gradient"]


def test_peers_are_chosen_by_name(function):
    model = bring(function(), side=SIDE).model
    every = peers(model, pixels(1), PEERS)
    assert list(every) == list(PEERS)
    for peer in every.values():
        assert peer.attribute(pixels(1), target=1).isfinite().all()
    assert list(peers(model, pixels(1), [])) == []
    with pytest.raises(
        ValueError, match="peers: expected some of gradient, .*got 'gradcam'. Did you mean 'Grad-CAM'"
    ):
        peers(model, pixels(1), ["gradcam"])


def test_classes_by_name():
    names = ("cat", "crane", "dog", "crane")
    assert class_number(names, "dog", "explained") == 2
    assert class_number(names, "3", "explained") == 3
    with pytest.raises(ValueError, match="rivals: .*'crane' is that of 2. Give one of the numbers 1, 3"):
        class_number(names, "crane", "rivals")
    for wanted in ("4", "-1", "", "Dog?"):
        with pytest.raises(ValueError, match="expected the name of one of the model's 4 classes; got"):
            class_number(names, wanted, "explained")


def test_modules_by_name_with_and_without_the_preprocessing_in_front(function):
    model = bring(function(), side=SIDE).model
    assert modules_by_name(model, []) is None
    assert modules_by_name(model, ["4", "model.7"]) == [model.model[4], model.model[7]]
    with pytest.raises(
        ValueError, match=r"layers: expected names of the model's modules; got 'nowhere'\. The first:"
    ):
        modules_by_name(model, ["nowhere"])


class Scale(nn.Module):
    """A parameter, and no way to draw it anew."""

    def __init__(self, values: torch.Tensor):
        super().__init__()
        self.scale = nn.Parameter(values)

    def forward(self, x):
        return x * self.scale


def test_an_untrained_copy_has_none_of_the_weights_left_in_place():
    values = torch.arange(60.0).reshape(20, 3)
    model = nn.Sequential(nn.Linear(12, 20), nn.BatchNorm1d(20), nn.Linear(20, 3), Scale(values)).eval()
    model[1].running_mean.fill_(5.0)
    drawn = untrained(model, seed=1)
    assert not torch.isclose(drawn[0].weight, model[0].weight).any()
    assert drawn[1].running_mean.eq(0).all()
    assert drawn[3].scale.flatten().sort().values.tolist() == list(range(60))
    assert (drawn[3].scale == values).float().mean() < 0.2
    assert torch.equal(untrained(model, seed=1)[3].scale, drawn[3].scale)
    assert not torch.equal(untrained(model, seed=2)[0].weight, drawn[0].weight)
    assert model[1].running_mean.eq(5).all()
    assert not drawn[0].weight.requires_grad


def test_an_untrained_vision_transformer():
    model = models.VisionTransformer(32, 16, 1, 4, 32, 64).eval()
    drawn = untrained(model)
    before, after = model.encoder.pos_embedding, drawn.encoder.pos_embedding
    assert torch.equal(before.flatten().sort().values, after.flatten().sort().values)
    assert not torch.equal(before, after)
    assert drawn(pixels(1, 32)).isfinite().all()


class ByColour(nn.Module):
    """Six classes: by which of the channels is bright, and which is brighter still."""

    def forward(self, x):
        red, green, blue = x.mean((2, 3)).T
        return 20 * torch.stack(
            [red, green, blue, red + green, green + blue, red + blue], 1
        ) - 12 * torch.tensor([1.0, 1.0, 1.0, 1.8, 1.8, 1.8]) * (red + green + blue)[:, None].clamp_min(0.5)


COLOURS = [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (0, 1, 1), (1, 0, 1)]


@pytest.fixture
def coloured(tmp_path):
    for number, colour in enumerate(COLOURS):
        image = Image.new("RGB", (16, 16), tuple(255 * part for part in colour))
        image.save(tmp_path / f"{number}.png")
    return image_set(tmp_path)


def classifier_of_colours() -> Classifier:
    return Classifier("colours", ByColour().eval(), tuple("rgbycm"), 32)


def test_grids_take_the_models_own_answers_where_there_are_no_labels(coloured):
    made = own_grids(classifier_of_colours(), coloured, count=3, confidence=0.0)
    assert "the model's own first class" in made.note
    assert made.grids.images.shape == (3, 3, 32, 32)
    answers = classifier_of_colours().model(coloured.stack(16)[0]).argmax(1)
    assert torch.equal(made.grids.targets, answers[made.grids.members])


def test_labels_that_the_model_does_not_find_do_not_count(coloured):
    classifier = classifier_of_colours()
    answers = classifier.model(coloured.stack(16)[0]).argmax(1).tolist()
    right = ImageSet(coloured.names, coloured.sources, tuple(answers))
    assert "that of labels.csv; 6 of 6 images qualify" in own_grids(classifier, right, confidence=0.0).note
    wrong = ImageSet(coloured.names, coloured.sources, tuple((a + 1) % 6 for a in answers))
    assert own_grids(classifier, wrong, confidence=0.0).grids is None


def test_too_few_images_for_grids_are_said_and_do_not_crash(coloured):
    made = own_grids(classifier_of_colours(), coloured.first(3), confidence=0.0)
    assert made.grids is None
    assert re.search(r"left out.*at least 4 classes.*here are 3 such images, of 3 classes", made.note)


def test_a_model_of_one_size_gets_its_cells_enlarged(coloured):
    class OneSize(ByColour):
        def forward(self, x):
            assert x.shape[-1] == 32, "only 32 pixels"
            return super().forward(x)

    classifier = Classifier("one size", OneSize().eval(), tuple("rgbycm"), 32)
    made = own_grids(classifier, coloured, cell=16, confidence=0.0)
    assert made.model is classifier.model
    made = own_grids(classifier, coloured, cell=24, confidence=0.0)
    assert made.model is not classifier.model
    assert made.model(made.grids.images).shape == (2, 6)


def test_arguments_of_the_grids(coloured):
    for wrong in ({"count": 0}, {"cell": -1}, {"confidence": 1.5}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            own_grids(classifier_of_colours(), coloured, **wrong)


# ---- all of it, by the notebook's parameters -----------------------------------------------------------------


def test_the_notebook_takes_ones_own_model_and_labelled_folder(function, tmp_path):
    code = """
    class Colours(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.Sequential(nn.Conv2d(3, 6, 1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 6, 1))
            mixed = torch.tensor([[1., -1, -1], [-1, 1, -1], [-1, -1, 1], [1, 1, -2], [-2, 1, 1], [1, -2, 1]])
            self.layers[0].weight.data = mixed[:, :, None, None]
            self.layers[0].bias.data.zero_()
            self.layers[3].weight.data = (30 * torch.eye(6) - 4)[:, :, None, None]
            self.layers[3].bias.data.zero_()

        def forward(self, x):
            return self.layers(x).mean((2, 3))

    def build():
        return Colours()
    """
    folder = tmp_path / "my images"
    folder.mkdir()
    for number, colour in enumerate(COLOURS):
        Image.new("RGB", (40, 40), tuple(255 * part for part in colour)).save(folder / f"{number}.png")
    (folder / "broken.png").write_text("no image")
    (folder / "names.txt").write_text("\n".join("rgbycm"))
    lines = [f"{number}.png,{number}" for number in range(6)] + ["broken.png,0"]
    (folder / "labels.csv").write_text("\n".join(["file,class_index", *lines]))
    parameters = {
        "model_name": function(code),
        "folder": str(folder),
        "class_names": str(folder / "names.txt"),
        "side": 32,
        "explained": "labelled",
        "method": "straight",
        "steps": 4,
        "output": str(tmp_path / "maps"),
        "grid_count": 2,
        "smoothing": 0.0,
        "shown": 2,
    }
    source = ROOT / "notebooks" / "11_your_model.ipynb"
    results = [
        run_notebook(source, tmp_path / f"{name}.ipynb", parameters, show_progress=False, timeout=300)
        for name in ("first", "second")
    ]
    numbers = results[0].numbers
    expected = {"classes": 6, "maps": 6, "skipped": 1, "computed_again": 0, "grids": 2}
    assert {name: numbers[name] for name in expected} == expected
    assert numbers == results[1].numbers
    told = [result.notebook.read_text(encoding="utf-8") for result in results]
    assert "6 maps: 6 computed, 0 found on disk" in told[0]
    assert "6 maps: 0 computed, 6 found on disk" in told[1]
    assert "that of labels.csv; 6 of 6 images qualify" in told[0]
    assert "The model is right about 100% of them" in told[0]
    assert len(list((tmp_path / "maps").rglob("*.safetensors"))) == 6
