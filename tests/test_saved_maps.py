"""Maps on disk: whole or not there, never twice, never another setting's; and what `attribute` returns."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image
from safetensors import safe_open
from torch import nn

from helpers.files import write_whole
from helpers.lessons import saved_maps
from helpers.lessons.saved_maps import METHODS, Recipe, save_maps, save_overlays, weights_digest
from helpers.lessons.your_model import bring, image_set
from helpers.saliency import NonlinearSaliency, presets
from helpers.show.maps import laid_over
from helpers.zoo.classifiers import Classifier

SIDE = 20
COUNT = 7


def network(seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        parts = [nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2)]
        parts += [nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        model = nn.Sequential(*parts, nn.Linear(8, 5))
        model[-1].weight.data *= 30  # clear answers, so that paths to the boundary have a way to go
    return model.eval().requires_grad_(False)


def classifier(seed: int = 0) -> Classifier:
    return Classifier("tiny", network(seed), ("ant", "bee", "cat", "dog", "elk"), SIDE)


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(COUNT):
        pixels = np.random.default_rng(number).integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8)
        pixels[4 : 8 + number, 5:15, number % 3] = 255
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return image_set(folder)


@pytest.fixture
def output(tmp_path):
    return tmp_path / "maps"


def saved(images, output, recipe=Recipe("straight", 3), made=None, batch_size=3):
    return save_maps(made or classifier(), images, recipe, output, batch_size, show_progress=False)


def contents(report) -> dict[str, bytes]:
    return {one.file.name: one.file.read_bytes() for one in report.maps}


# ---- what is in the files ----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_what_is_saved_is_what_attribute_returns(method, images, output):
    recipe, model = Recipe(method, 4), network()
    report = saved(images, output, recipe)
    assert (report.computed, report.found, len(report.maps)) == (COUNT, 0, COUNT)
    pixels, _, _ = images.stack(SIDE)
    targets = model(pixels).argmax(1)
    expected = recipe.saliency(model).attribute(pixels, target=targets)
    for number, one in enumerate(report.maps):
        values = safetensors.torch.load_file(one.file)["map"]
        assert values.dtype == torch.float32
        assert torch.equal(values, one.map())
        assert torch.allclose(values, expected[number], rtol=1e-3, atol=1e-5 * expected[number].abs().max())


@pytest.mark.parametrize("method", METHODS)
def test_batched_and_one_by_one_are_the_same(method, images, output):
    together = saved(images, output / "a", Recipe(method, 4), batch_size=COUNT)
    alone = saved(images, output / "b", Recipe(method, 4), batch_size=1)
    for one, other in zip(together.maps, alone.maps, strict=True):
        assert one.file.name == other.file.name
        largest = one.map().abs().max()
        assert largest > 0
        assert torch.allclose(one.map(), other.map(), rtol=1e-3, atol=1e-4 * largest)


def test_the_record_says_what_the_map_is_about(images, output):
    model, recipe = network(), Recipe("flow", 4)
    report = saved(images, output, recipe)
    pixels, _, _ = images.stack(SIDE)
    logits = model(pixels)
    run = recipe.saliency(model).explain(pixels, logits.argmax(1))
    for number, one in enumerate(report.maps):
        record = json.loads(one.file.with_suffix(".json").read_text(encoding="utf-8"))
        assert record == one.record
        assert record["image"] == f"{number}.png"
        assert record["class_index"] == record["predicted"] == int(logits[number].argmax())
        assert record["class_name"] == classifier().class_names[record["class_index"]]
        assert record["probability"] == pytest.approx(logits[number].softmax(0).max().item(), rel=1e-5)
        assert record["label"] is None
        (member,) = record["members"]
        assert member["score_start"] == pytest.approx(run.score_start[number].item(), rel=1e-4)
        assert member["residual"] == pytest.approx(run.residual[number].item(), abs=1e-4)
        assert member["gradient_evaluations"] == int(run.gradient_evaluations[number])
        assert record["converged"] == member["converged"] == bool(run.converged[number])
        with safe_open(one.file, "pt") as file:
            assert file.metadata()["image"] == record["image"]
            assert file.metadata()["class_index"] == str(record["class_index"])
    table = report.table()
    assert table["image"].tolist() == list(images.names)
    assert table["gradients"].tolist() == run.gradient_evaluations.tolist()


def test_a_preset_has_a_member_for_each_path(images, output):
    report = saved(images.first(1), output, Recipe("supports", 2))
    members = report.maps[0].record["members"]
    assert len(members) == 3
    assert report.table()["gradients"][0] == sum(member["gradient_evaluations"] for member in members)
    pixels, _, _ = images.first(1).stack(SIDE)
    method = presets.supports(network(), steps=2)
    assert torch.equal(
        method.explain(pixels, torch.tensor([2])).support(), method.attribute(pixels, target=2)
    )


def test_a_class_by_its_name_is_explained_on_every_image(images, output):
    report = saved(images, output, Recipe(explained="cat"))
    assert {one.record["class_name"] for one in report.maps} == {"cat"}
    pixels = images.stack(SIDE)[0]
    shares = network()(pixels).softmax(1)[:, 2]
    assert report.table()["probability"].tolist() == pytest.approx(shares.tolist(), rel=1e-5)
    assert saved(images, output, Recipe(explained="cat")).computed == 0
    assert saved(images, output, Recipe(explained="2")).maps[0].record["class_index"] == 2


def test_reference_layers_and_rivals_reach_the_method(images, output):
    model, pixels = network(), images.first(2).stack(SIDE)[0]
    black = presets.supports(model, 0.0, [model[3]], 2).attribute(pixels, target=2)
    recipe = Recipe("cheap", explained="cat", reference="black", layers=["3"])
    for one, expected in zip(saved(images.first(2), output, recipe).maps, black, strict=True):
        assert torch.allclose(one.map(), expected, rtol=1e-3, atol=1e-6)
    rivals = presets.contrasts(model, [0, 4]).attribute(pixels, target=2)
    recipe = Recipe("contrasts", explained="cat", rivals=["ant", "elk"])
    for one, expected in zip(saved(images.first(2), output, recipe).maps, rivals, strict=True):
        assert torch.allclose(one.map(), expected, rtol=1e-3, atol=1e-6)
    assert Recipe("straight", 4, reference="white").saliency(model).coordinates.reference == 1.0


def test_an_image_whose_class_is_among_the_rivals_is_skipped_and_named(images, output):
    answers = network()(images.stack(SIDE)[0]).argmax(1).tolist()
    name = classifier().class_names[answers[0]]
    others = sum(answer != answers[0] for answer in answers)
    recipe = Recipe("contrasts", rivals=[name])
    if not others:
        with pytest.raises(ValueError, match="its class is among the rivals"):
            saved(images, output, recipe)
        return
    report = saved(images, output, recipe)
    assert report.skipped["0.png"] == "its class is among the rivals"
    assert len(report.maps) == others


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        (
            {"reference": "gray"},
            r"Recipe\(reference\): .*black, grey, white; got 'gray'\. Did you mean 'grey'",
        ),
        (
            {"method": "flow", "reference": "grey"},
            r"Recipe\(reference\): expected none with 'flow'.*got 'grey'",
        ),
        ({"method": "tangent", "layers": ["3"]}, r"Recipe\(layers\): expected none with 'tangent'"),
        ({"rivals": ["dog"]}, r"Recipe\(rivals\): expected none with 'cheap', only contrasts"),
        ({"layers": "3"}, r"Recipe\(layers\): expected a list of names; got '3'"),
        ({"method": "contrasts", "rivals": [4]}, r"Recipe\(rivals\): expected a list of names; got \[4\]"),
        (
            {"method": "contrasts", "rivals": ["dgo"]},
            r"rivals: expected the name .* 5 classes; got 'dgo'.*'dog'",
        ),
        ({"layers": ["33"]}, r"layers: expected names of the model's modules; got '33'. Did you mean '3'"),
        (
            {"explained": "horse"},
            r"explained: expected the name of one of the model's 5 classes.*got 'horse'",
        ),
    ],
)
def test_choices_that_do_not_fit_are_told(choices, message, images, output):
    with pytest.raises(ValueError, match=message):
        saved(images, output, Recipe(**choices))
    assert not list(output.rglob("*.safetensors"))


class Corner(nn.Module):
    """Two classes: how bright the upper left quarter is, and the rest."""

    def __init__(self):
        super().__init__()
        self.features = nn.Conv2d(3, 3, 1, bias=False)
        self.features.weight.data = torch.eye(3)[:, :, None, None]

    def forward(self, x):
        maps = self.features(x).mean(1)
        corner = maps[:, : SIDE // 2, : SIDE // 2].mean((1, 2))
        return torch.stack([30 * (corner - 0.3), 0 * corner], 1)


def test_the_check_by_deletion_takes_the_maps_places_away(tmp_path, output):
    pixels = np.full((SIDE, SIDE, 3), 20, dtype=np.uint8)
    pixels[2:7, 2:7] = 255
    Image.fromarray(pixels).save(tmp_path / "corner.png")
    made = Classifier("corner", Corner().eval(), ("bright", "dark"), SIDE)
    recipe = Recipe("straight", 8, reference="black", explained="bright")
    table = saved(image_set(tmp_path), output, recipe, made).table()
    assert table["without"][0] < table["without_random"][0] - 0.01
    again = saved(image_set(tmp_path), output / "again", recipe, made).table()
    assert again["without_random"].equals(table["without_random"])


def test_overlays_lie_beside_the_maps_on_one_scale(images, output):
    report = saved(images, output, Recipe("cheap"))
    limit = save_overlays(report, images, SIDE)
    for one in report.maps:
        over = np.asarray(Image.open(one.file.with_suffix(".png")))
        assert over.shape == (SIDE, SIDE, 3)
        expected = laid_over(images.load(one.number, SIDE), one.map(), limit)
        assert np.array_equal(over, expected)
    assert saved(images, output, Recipe("cheap")).computed == 0


def test_labelled_classes(images, output):
    lines = [f"{name},{number % 5}" for number, name in enumerate(images.names)]
    folder = images.sources[0].parent
    (folder / "labels.csv").write_text("\n".join(["file,class_index", *lines]), encoding="utf-8")
    labelled, recipe = image_set(folder), Recipe("straight", 3, "labelled")
    report = saved(labelled, output, recipe)
    assert [one.record["class_index"] for one in report.maps] == [number % 5 for number in range(COUNT)]
    assert saved(labelled, output, recipe).computed == 0
    (folder / "labels.csv").write_text(
        "\n".join(["file,class_index", "0.png,3", *lines[1:]]), encoding="utf-8"
    )
    again = saved(image_set(folder), output, recipe)
    assert (again.computed, again.maps[0].record["class_index"], again.damaged) == (1, 3, ())
    predicted = saved(image_set(folder), output, Recipe("straight", 3))
    assert predicted.folder != report.folder
    assert predicted.maps[0].record["label"] == 3
    with pytest.raises(ValueError, match=r"explained: expected a labels\.csv"):
        saved(images, output, recipe)


# ---- again -------------------------------------------------------------------------------------------------


def test_the_second_call_computes_nothing(images, output, monkeypatch):
    first = saved(images, output)

    def never(*arguments):
        raise AssertionError("computed again")

    monkeypatch.setattr(NonlinearSaliency, "explain", never)
    second = saved(images, output)
    assert (second.computed, second.found) == (0, COUNT)
    assert contents(second) == contents(first)
    assert second.maps == first.maps
    assert str(second) == f"{COUNT} maps: 0 computed, {COUNT} found on disk"


@pytest.mark.parametrize("last", [0, 1, 2])
def test_an_interrupted_run_is_continued(last, images, output, monkeypatch):
    whole = saved(images, output / "whole")
    calls, real = [], NonlinearSaliency.explain

    def interrupted(*arguments):
        calls.append(len(arguments[1]))
        if len(calls) == last + 1:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(NonlinearSaliency, "explain", interrupted)
    with pytest.raises(KeyboardInterrupt):
        saved(images, output / "cut")
    monkeypatch.setattr(NonlinearSaliency, "explain", real)
    kept = 3 * last
    report = saved(images, output / "cut")
    assert (report.found, report.computed, report.damaged) == (kept, COUNT - kept, ())
    for one, other in zip(report.maps, whole.maps, strict=True):
        assert torch.allclose(one.map(), other.map(), rtol=1e-3, atol=1e-6)


SLOW = """
import sys, time
sys.path.insert(0, {tests!r})
import test_saved_maps
from helpers.lessons.your_model import image_set
from pathlib import Path

made = test_saved_maps.classifier()
made.model.register_forward_hook(lambda *_: time.sleep(0.1))
test_saved_maps.saved(image_set({images!r}), Path({output!r}), made=made, batch_size=1)
"""


def test_a_run_that_is_killed_leaves_whole_maps_and_is_continued(images, output, tmp_path):
    script = SLOW.format(
        tests=str(Path(__file__).parent), images=str(tmp_path / "images"), output=str(output)
    )
    with subprocess.Popen([sys.executable, "-c", script], cwd=Path(__file__).parent.parent) as run:
        while len(list(output.rglob("*.safetensors"))) < 2:
            assert run.poll() is None
            time.sleep(0.01)
        run.kill()
    report = saved(images, output)
    assert 1 <= report.found < COUNT
    assert report.found + report.computed == COUNT
    assert not report.damaged or report.damaged == (images.names[report.found],)
    undisturbed = saved(images, output.parent / "others")
    for one, other in zip(report.maps, undisturbed.maps, strict=True):
        assert torch.allclose(one.map(), other.map(), rtol=1e-3, atol=1e-6)


def test_what_a_killed_run_left_behind_is_swept_up_later(images, output):
    (folder,) = {one.file.parent for one in saved(images, output).maps}
    young, old = folder / ".0.png-young.part", folder / ".0.png-old.part"
    for path in (young, old):
        path.write_bytes(b"half a map")
    os.utime(old, (time.time() - 7200,) * 2)
    saved(images, output)
    assert young.exists(), "it may be that of a run that is still writing"
    assert not old.exists()


def test_an_interruption_between_map_and_record_leaves_no_record(images, output, monkeypatch):
    real, seen = write_whole, []

    def interrupted(path, content):
        seen.append(path.suffix)
        if seen.count(".json") == 3:  # the settings', the first record, the second
            raise KeyboardInterrupt
        real(path, content)

    monkeypatch.setattr(saved_maps, "write_whole", interrupted)
    with pytest.raises(KeyboardInterrupt):
        saved(images, output)
    monkeypatch.setattr(saved_maps, "write_whole", real)
    report = saved(images, output)
    assert (report.found, report.computed, report.damaged) == (1, COUNT - 1, ("1.png",))


def cut_short(file):
    file.write_bytes(file.read_bytes()[:-40])


def other_bytes(file):
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)


DAMAGE = {
    "map cut short": lambda one: cut_short(one.file),
    "map with another byte": lambda one: other_bytes(one.file),
    "map gone": lambda one: one.file.unlink(),
    "record cut short": lambda one: cut_short(one.file.with_suffix(".json")),
    "record gone": lambda one: one.file.with_suffix(".json").unlink(),
    "record of something else": lambda one: one.file.with_suffix(".json").write_text("[1, 2]"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_damaged_is_named_and_computed_again(damage, images, output):
    first = saved(images, output)
    before = contents(first)
    DAMAGE[damage](first.maps[2])
    report = saved(images, output)
    assert (report.computed, report.damaged) == (1, ("2.png",))
    assert "computed again: 2.png" in str(report)
    fresh = dict(
        zip(before, (safetensors.torch.load(content)["map"] for content in before.values()), strict=True)
    )
    for one in report.maps:
        assert torch.allclose(one.map(), fresh[one.file.name], rtol=1e-3, atol=1e-6)
    assert saved(images, output).computed == 0


def test_a_map_that_was_changed_is_not_handed_out(images, output):
    one = saved(images, output).maps[0]
    other_bytes(one.file)
    with pytest.raises(ValueError, match="changed or cut short"):
        one.map()
    one.file.unlink()
    with pytest.raises(FileNotFoundError):
        one.map()


# ---- other settings ----------------------------------------------------------------------------------------


def test_other_settings_are_not_mixed(images, output, monkeypatch):
    folders = {saved(images, output).folder}
    for recipe in (Recipe("straight", 4), Recipe("flow", 3), Recipe("tangent")):
        report = saved(images, output, recipe)
        assert report.computed == COUNT
        folders.add(report.folder)
    other = saved(images, output, made=classifier(seed=1))  # the same name, other weights
    larger = saved(images, output, made=Classifier("tiny", network(), classifier().class_names, SIDE + 4))
    monkeypatch.setattr(saved_maps, "package_hash", lambda: "another version of this package")
    code = saved(images, output)
    folders |= {other.folder, larger.folder, code.folder}
    assert len(folders) == 7
    assert all(report.computed == COUNT for report in (other, larger, code))
    for folder in folders:
        assert json.loads((folder / "settings.json").read_text(encoding="utf-8"))["model"] == "tiny"


def test_steps_of_0_are_the_methods_own(images, output):
    assert Recipe() == Recipe("cheap", METHODS["cheap"])
    assert Recipe("tangent", 7) == Recipe("tangent")
    saved(images, output, Recipe("straight"))
    assert saved(images, output, Recipe("straight", METHODS["straight"])).computed == 0


def test_an_image_that_was_replaced_is_computed_and_one_that_moved_is_not(images, output):
    saved(images, output)
    folder = images.sources[0].parent
    shutil.copy(folder / "3.png", folder / "0.png")
    assert saved(image_set(folder), output).computed == 1
    moved = folder.with_name("moved")
    shutil.copytree(folder, moved)
    assert saved(image_set(moved), output).computed == 0


def test_the_weights_digest_sees_weights_and_modules():
    model = network()
    assert weights_digest(model) == weights_digest(network())
    assert weights_digest(network(1)) != weights_digest(model)
    assert weights_digest(nn.Sequential(*model, nn.Softplus())) != weights_digest(
        nn.Sequential(*model, nn.ELU())
    )
    counted = nn.BatchNorm2d(3)
    before = weights_digest(counted)
    counted.num_batches_tracked += 1  # of no dimension, and an integer
    assert weights_digest(counted) != before


def test_a_function_of_ones_own_is_told_apart_by_its_file(images, output, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = """
import torch
from torch import nn
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Conv2d(3, 4, 3)
    def forward(self, x):
        return self.layer(x).{what}.mean((2, 3)) * 20
def build():
    return Net()
"""
    (tmp_path / "mine_in_batches.py").write_text(code.format(what="relu()"), encoding="utf-8")
    first = saved(images, output, made=bring("mine_in_batches:build", side=SIDE))
    assert "mine_in_batches_build" in first.folder.name
    assert saved(images, output, made=bring("mine_in_batches:build", side=SIDE)).computed == 0
    (tmp_path / "mine_in_batches.py").write_text(code.format(what="sigmoid()"), encoding="utf-8")
    assert saved(images, output, made=bring("mine_in_batches:build", side=SIDE)).computed == COUNT


# ---- what cannot be explained ------------------------------------------------------------------------------


def test_images_that_cannot_be_read_are_skipped_and_named(images, output):
    folder = images.sources[0].parent
    (folder / "1.png").write_bytes((folder / "1.png").read_bytes()[:60])
    (folder / "6.png").write_text("no image")  # alone in the last batch
    report = saved(image_set(folder), output)
    assert len(report.maps) == report.computed == COUNT - 2
    assert set(report.skipped) == {"1.png", "6.png"}
    assert [one.number for one in report.maps] == [0, 2, 3, 4, 5]
    assert "skipped: 1.png: " in str(report)
    assert "expected an image that Pillow reads" in report.skipped["6.png"]


class Fragile(nn.Module):
    """NaN for images whose first pixel is white."""

    def __init__(self):
        super().__init__()
        self.network = network()

    def forward(self, x):
        bad = (x[:, :, 0, 0] == 1).all(1)
        return torch.where(bad[:, None], torch.nan, self.network(x))


@pytest.mark.parametrize("batch_size", [1, 3])
def test_nan_for_one_image_does_not_spoil_the_others(batch_size, images, output):
    folder = images.sources[0].parent
    white = Image.open(folder / "2.png")
    white.putpixel((0, 0), (255, 255, 255))
    white.save(folder / "2.png")
    made = Classifier("fragile", Fragile().eval(), classifier().class_names, SIDE)
    report = saved(image_set(folder), output, made=made, batch_size=batch_size)
    assert report.skipped == {"2.png": "the model's outputs are NaN or infinite"}
    assert report.table()["image"].tolist() == [f"{n}.png" for n in (0, 1, 3, 4, 5, 6)]


def test_no_image_at_all_is_an_error(images, output):
    for file in images.sources:
        file.write_text("no image")
    with pytest.raises(ValueError, match=r"of 7 none can.*0\.png.*Pillow"):
        saved(image_set(images.sources[0].parent), output)


def test_wrong_arguments(images, output, tmp_path):
    with pytest.raises(ValueError, match="batch_size"):
        saved(images, output, batch_size=0)
    with pytest.raises(
        ValueError,
        match=r"method.*one of cheap, supports, contrasts, straight, .*got 'suports'\. Did you mean 'supports'",
    ):
        Recipe("suports")
    with pytest.raises(
        ValueError, match=r"explained: .* classes, or one of predicted, labelled; got 'dgo'.*'dog'"
    ):
        saved(images, output, Recipe(explained="dgo"))
    for steps in (-1, 1.5, True):
        with pytest.raises(ValueError, match="steps"):
            Recipe(steps=steps)
    (tmp_path / "file").write_text("x")
    with pytest.raises(NotADirectoryError, match="is a file"):
        saved(images, tmp_path / "file")


def test_names_of_files_are_plain(images, output):
    folder = images.sources[0].parent
    strange = folder / "Ä b" / ("c" * 90 + ".png")
    strange.parent.mkdir()
    shutil.copy(folder / "0.png", strange)
    report = saved(image_set(folder), output)
    assert len(report.maps) == COUNT + 1
    assert all(re.fullmatch(r"[\w.-]{1,96}\.safetensors", one.file.name) for one in report.maps)
    assert saved(image_set(folder), output).computed == 0
