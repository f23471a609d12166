"""The playground: choices in plain values, their pictures, the panel, and the choice written down."""

import ast
import io
import itertools
import re
import shlex
from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path as FilePath

import pytest
import torch
from PIL import Image

from helpers.lessons import playground
from helpers.lessons.playground import (
    GROUPS,
    PATHS,
    Choice,
    Playground,
    about,
    code,
    command,
    compare,
    gradients,
    level_of,
    member_of,
    path_of,
    score_at,
    slow,
    unused,
)
from helpers.run import notebook_files
from helpers.run.notebook_files import Notebook
from helpers.run.parameters import is_parameters
from helpers.saliency import (
    Flow,
    Input,
    Layer,
    LogOdds,
    NonlinearSaliency,
    Path,
    Removal,
    Softmax,
    StraightTangent,
    Tangent,
    presets,
)
from helpers.show.live import Canvas
from helpers.zoo.datasets import breast_cancer, mnist5k
from helpers.zoo.networks import digit_net
from helpers.zoo.photographs import BUNDLED
from helpers.zoo.toys import toys

NOTEBOOK = FilePath(__file__).resolve().parent.parent / "notebooks" / f"{playground.NOTEBOOK}.ipynb"
NAMES = [one.name for one in fields(Choice)]
# Quick, and of every kind: other data, class, score, level, coordinates, geometry, path, readout.
QUICK = Choice(steps=4)
PHOTO = replace(QUICK, data="photo", side=64, reference="blurred")
CASES = {
    "default": QUICK,
    "up": replace(QUICK, target=4, coordinates="bounded"),
    "margin": replace(QUICK, score="margin", rival=7, level="drop", amount=3.0),
    "logit": replace(QUICK, score="logit", level="value", amount=5.0, coordinates="free"),
    "log-probability": replace(QUICK, score="log-probability", level="share", amount=0.5, path="straight"),
    "all the way": replace(QUICK, path="straight", level="all the way", reference="own mean"),
    "bounded straight": replace(QUICK, path="straight", coordinates="bounded", reference="blurred", blur=3.0),
    "stage": replace(QUICK, stage=2, reference="nothing active", smoothing=1.0),
    "stage, carried": replace(QUICK, stage=1, coordinates="free", path="straight", level="all the way"),
    "smooth": replace(QUICK, geometry="smooth", width=1.5, readout="displacement"),
    "tangent": replace(QUICK, path="tangent", noise=0.1, samples=4, readout="mean gradient"),
    "secant": replace(QUICK, path="secant", coordinates="free", level="drop", amount=0.5),
    "nearest": replace(QUICK, path="nearest", coordinates="bounded"),
    "horizon": replace(QUICK, path="horizon", reference="blurred", level="drop", amount=3.0),
    "decoder": replace(QUICK, target=4, coordinates="decoder"),
    "decoder, straight": replace(QUICK, coordinates="decoder", path="straight", level="share", amount=0.5),
    "softmax": replace(QUICK, readout="softmax contrast", competitors=3),
    "largest": replace(QUICK, readout="largest contrast", competitors=2, stage=1),
    "preset": replace(QUICK, preset=True, smoothing=2.0, target=4),
    "photo": PHOTO,
    "photo, preset": replace(PHOTO, preset=True),
}
# What has features in place of an image.
TABLES = {
    "moons": replace(QUICK, data="toy"),
    "moons, nearest": replace(QUICK, data="toy", coordinates="free", path="nearest"),
    "three features": replace(QUICK, data="toy", toy="dead ReLU", path="straight"),
    "upwards": replace(QUICK, data="toy", toy="product gate", target=0, readout="mean gradient"),
    "patient": replace(QUICK, data="patient", path="horizon", level="drop", amount=1.0),
    "patient, noise": replace(QUICK, data="patient", patient=3, coordinates="free", noise=0.1, samples=2),
    "patient, contrast": replace(QUICK, data="patient", readout="largest contrast", competitors=1),
}
cases = pytest.mark.parametrize("choice", (CASES | TABLES).values(), ids=CASES | TABLES)
of_images = pytest.mark.parametrize("choice", CASES.values(), ids=CASES)
of_tables = pytest.mark.parametrize("choice", TABLES.values(), ids=TABLES)


@pytest.fixture
def photo_file(tmp_path) -> FilePath:
    """A photograph of one's own, with a name that a shell and YAML would misread."""
    path = tmp_path / "my cat's photo: 1.png"
    pixels = torch.randint(0, 255, (80, 100, 3), dtype=torch.uint8, generator=torch.manual_seed(0))
    Image.fromarray(pixels.numpy()).save(path)
    return path


# ---- Choice ------------------------------------------------------------------------------------------------


class TestChoice:
    @pytest.mark.parametrize(
        ("name", "value", "said"),
        [
            ("data", "digits", "data: expected one of: digit, photo, file, toy, patient; got 'digits'"),
            ("image", 1000, "image: expected 0 to 999; got 1000"),
            ("image", -1, "image: expected 0 to 999"),
            ("steps", 0, "steps: expected 1 to 512; got 0"),
            ("amount", float("nan"), "amount: expected a finite number; got nan"),
            ("amount", float("inf"), "amount: expected a finite number"),
            ("noise", float("nan"), "noise: expected 0 to 10; got nan"),
            ("photo", "chelse", "photo: expected one of: chelsea"),
        ],
    )
    def test_values_outside_are_refused(self, name, value, said):
        with pytest.raises(ValueError, match=re.escape(said)):
            Choice(**{name: value})

    @pytest.mark.parametrize(
        ("name", "value"), [("image", 1.0), ("image", True), ("preset", 1), ("score", 1)]
    )
    def test_other_types_are_refused(self, name, value):
        with pytest.raises(TypeError, match=f"{name}: expected"):
            Choice(**{name: value})

    def test_whole_numbers_stand_for_floats(self):
        assert Choice(amount=2) == Choice(amount=2.0)
        assert type(Choice(blur=3).blur) is float

    def test_about_tells_what_is_allowed(self):
        assert about("data")["allowed"] == "one of: digit, photo, file, toy, patient"
        assert about("steps")["allowed"] == "1 to 512"

    def test_parameters_of_the_notebook_are_its_fields(self):
        cell = next(cell for cell in notebook_files.read(NOTEBOOK).cells if is_parameters(cell))
        lines = []
        for one in fields(Choice):
            default = f'"{one.default}"' if isinstance(one.default, str) else one.default
            allowed = f" ({about(one.name)['allowed']})" if about(one.name)["allowed"] else ""
            lines.append(f"{one.name} = {default}  # {about(one.name)['says']}{allowed}")
        assert cell.source == "\n".join(lines)
        declared = {name: one.default for name, one in Notebook.read(NOTEBOOK).parameters.items()}
        assert Choice(**declared) == Choice()
        assert list(declared) == NAMES

    @pytest.mark.parametrize("name", NAMES)
    def test_the_notebook_refuses_what_a_choice_refuses(self, name):
        """The ranges in the parameters' help are those of the fields, as `run.notebook_files` reads them."""
        one, rule = Notebook.read(NOTEBOOK).parameters[name], about(name)
        assert (one.domain is not None) == bool(rule["allowed"])
        if rule["among"]:
            assert one.domain.choices == rule["among"]
        elif rule["low"] is not None:
            assert (one.domain.low, one.domain.high) == (rule["low"], rule["high"])


# ---- what is explained -------------------------------------------------------------------------------------


class TestLoad:
    def test_digit(self):
        found = playground.load(Choice(image=5))
        assert torch.equal(found.image, mnist5k().test_inputs[[5]].double())
        assert found.ranked[0] == digit_net().double()(found.image).argmax().item()
        assert found.probabilities.sum().item() == pytest.approx(1)
        assert found.resolutions[0] == (28, 28)
        assert len(found.stages) == len(found.resolutions) == 3

    def test_photo(self):
        found = playground.load(PHOTO)
        assert found.image.shape == (1, 3, 64, 64)
        assert len(found.class_names) == 1000

    def test_toys_are_about_their_level(self):
        for name, toy in playground.TOYS.items():
            found, whole = playground.load(Choice(data="toy", toy=name)), toys()[toy]
            above = LogOdds()(found.model(whole.point), 0)
            assert above.item() == pytest.approx((whole.function(whole.point) - whole.level).item())
            assert found.ranked[0] == int(above < 0)
            assert found.label(0) == "above the level"

    def test_patients_are_the_held_out_ones(self):
        found = playground.load(Choice(data="patient", patient=59))
        assert torch.equal(found.image, breast_cancer().test_inputs[[59]].double())
        assert found.label(found.ranked[0]).startswith("benign · ")
        with pytest.raises(ValueError, match="patient: expected 0 to 113"):
            Choice(patient=len(breast_cancer().test_inputs))

    def test_own_file(self, photo_file):
        found = playground.load(replace(PHOTO, data="file", file=str(photo_file)))
        assert found.image.shape == (1, 3, 64, 64)
        Image.new("RGB", (90, 90), "red").save(photo_file)
        changed = playground.load(replace(PHOTO, data="file", file=str(photo_file)))
        assert not torch.equal(found.image, changed.image)

    def test_files_that_are_none_are_told_in_words(self, tmp_path):
        text = tmp_path / "letter.png"
        text.write_text("Dear network,")
        for path, said in (
            ("", "file: expected the path of a photograph; got none"),
            (str(text), "letter.png: expected an image that Pillow reads"),
            (str(tmp_path / "none.png"), "found no such file"),
            (str(tmp_path), "expected a file, got"),
        ):
            with pytest.raises(ValueError, match=re.escape(said)):
                playground.load(replace(PHOTO, data="file", file=path))


# ---- what goes together ------------------------------------------------------------------------------------


class Walked(Exception):
    """The class had nothing against the choice, and the first step began."""


def test_refusals_are_those_of_the_class(monkeypatch):
    """Over all combinations: what `refusals` lets pass, the class walks; what it stops, the class refuses.

    Some refusals are the playground's own: bounds of pixels behind a stage, "nothing active" at the input, and
    what does not go with a decoder's code.
    """

    def walk(self, journey):
        raise Walked

    for path in PATHS.values():
        monkeypatch.setattr(path, "walk", walk)
    # member_of would refuse by itself
    monkeypatch.setattr(playground, "refusals", lambda *_: [])
    refusals = REFUSALS
    subject = playground.load(QUICK)
    counts = {True: 0, False: 0}
    for score, level, amount, coordinates, stage, geometry, path in itertools.product(
        ("log-odds", "margin", "logit", "log-probability"),
        about("level")["among"],
        (0.0, 0.5),
        about("coordinates")["among"],
        (0, 1),
        about("geometry")["among"],
        PATHS,
    ):
        choice = replace(
            QUICK, score=score, level=level, amount=amount, coordinates=coordinates, stage=stage,
            geometry=geometry, path=path,
        )  # fmt: skip
        if coordinates == "bounded" and stage:
            assert any("those of pixels" in reason for reason in refusals(choice))
            continue
        if coordinates == "decoder" and (stage or geometry == "smooth"):
            assert any("Choose the" in reason for reason in refusals(choice))
            continue
        if level == "drop" and amount == 0:
            assert any("drop or share of 0" in reason for reason in refusals(choice))
            continue
        try:
            member = member_of(choice, subject)
            level_given = level_of(choice)
            if level_given is None and path not in ("straight", "horizon"):
                # no level would be the path's own, the boundary, and not what the choice says
                raise ValueError
            member.explain(subject.image, 9, level_given)
        except Walked:
            refused = False
        except ValueError:
            refused = True
        assert refused == bool(refusals(choice)), choice
        counts[refused] += 1
    assert min(counts.values()) > 100


REFUSALS = playground.refusals

INVALID = {
    "no boundary": replace(QUICK, score="logit"),
    "Only the straight path and the horizon": replace(QUICK, level="all the way"),
    "drop or share of 0": replace(QUICK, level="share", amount=0.0),
    "cannot be the explained class": replace(QUICK, score="margin", rival=9),
    "so at most 9 others": replace(QUICK, readout="softmax contrast", competitors=10),
    "those of pixels": replace(QUICK, coordinates="bounded", stage=1),
    "Nothing active is a state of a stage": replace(QUICK, reference="nothing active"),
    "secant takes no bounds": replace(QUICK, path="secant"),
    "horizon is a path of removal": replace(QUICK, path="horizon", coordinates="bounded"),
    "decoder draws digits": replace(PHOTO, coordinates="decoder"),
    "pictures are inputs": replace(QUICK, coordinates="decoder", stage=1),
    "no neighbouring pixels": replace(QUICK, coordinates="decoder", geometry="smooth"),
    "displacement of a code is no picture": replace(QUICK, coordinates="decoder", readout="displacement"),
    "removal has one": replace(QUICK, path="nearest"),
    "treats each pixel": replace(QUICK, path="nearest", coordinates="bounded", geometry="smooth"),
    "are those of pixels": replace(QUICK, data="patient", coordinates="bounded"),
    "have no neighbours": replace(QUICK, data="patient", geometry="smooth"),
    "one of images": replace(QUICK, data="toy", preset=True),
    "The decoder draws digits": replace(QUICK, data="toy", coordinates="decoder"),
}
invalid = pytest.mark.parametrize(("reason", "choice"), INVALID.items(), ids=INVALID)


@invalid
def test_invalid_choices_are_explained_and_not_computed(reason, choice):
    with pytest.raises(ValueError, match=reason):
        compare(choice)


def test_classes_and_stages_that_the_network_has_not():
    for choice, said in (
        (replace(QUICK, target=10), "10 classes, from 0 to 9"),
        (replace(QUICK, preset=True, target=10), "10 classes, from 0 to 9"),
        (replace(QUICK, score="margin", rival=10), "no rival 10"),
        (replace(QUICK, stage=4), "has 3 stages"),
        (replace(QUICK, data="toy", stage=1), "has no stages"),
    ):
        with pytest.raises(ValueError, match=said):
            compare(choice)


# Another value for every field, for the tests of what a field changes.
OTHER = {
    "data": "photo", "image": 5, "photo": "coffee", "file": "other.png", "side": 96,
    "toy": "ring", "patient": 3, "target": 4,
    "score": "margin", "rival": 7, "level": "drop", "amount": 1.0, "coordinates": "free", "stage": 1,
    "reference": "own mean", "blur": 9.0, "geometry": "smooth", "width": 1.0, "path": "straight", "steps": 9,
    "readout": "displacement", "competitors": 3, "noise": 0.2, "samples": 5, "smoothing": 2.0, "preset": True,
}  # fmt: skip
# Where a field of the default choice is not used: a choice where it is.
USED_IN = {
    "photo": PHOTO,
    "side": PHOTO,
    "toy": TABLES["moons"],
    "patient": TABLES["patient"],
    "rival": replace(QUICK, score="margin"),
    "amount": replace(QUICK, level="drop"),
    "blur": replace(QUICK, reference="blurred"),
    "width": replace(QUICK, geometry="smooth"),
    "competitors": replace(QUICK, readout="softmax contrast"),
    "samples": replace(QUICK, noise=0.1),
}


def test_every_field_is_in_these_tests():
    assert list(OTHER) == NAMES
    assert set(sum(GROUPS.values(), ())) == set(NAMES)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "file"])
def test_a_field_in_use_changes_the_maps(name):
    base = USED_IN.get(name, QUICK)
    assert name not in unused(base)
    before, after = compare(base), compare(replace(base, **{name: OTHER[name]}))
    same_shape = before.nonlinear_map.shape == after.nonlinear_map.shape
    assert not same_shape or not torch.allclose(before.nonlinear_map, after.nonlinear_map, rtol=1e-3, atol=0)


@pytest.mark.parametrize(
    "case", ["default", "tangent", "all the way", "preset", "softmax", "nearest", "moons", "patient"]
)
def test_an_unused_field_changes_nothing(case):
    choice = (CASES | TABLES)[case]
    before = compare(choice)
    for name in unused(choice):
        after = compare(replace(choice, **{name: OTHER[name]}))
        assert torch.equal(before.nonlinear_map, after.nonlinear_map), name
        assert torch.equal(before.linear_map, after.linear_map), name


def test_photographs_and_many_gradients_are_slow():
    assert not slow(Choice())
    assert slow(PHOTO)
    assert slow(replace(QUICK, steps=400))
    assert slow(replace(QUICK, steps=16, noise=0.1, samples=64))


@cases
def test_gradients_are_about_those_spent(choice):
    if choice.preset:
        return
    found = compare(choice)
    spent = int(found.linear.gradient_evaluations + found.nonlinear.gradient_evaluations)
    assert spent <= 2 * gradients(choice) + 4
    assert gradients(choice) <= 8 * spent


# ---- maps and picture --------------------------------------------------------------------------------------


class TestCompare:
    def test_default_is_the_member_of_the_class(self):
        digit = mnist5k().test_inputs[[912]].double()
        member = NonlinearSaliency(digit_net().double(), coordinates=Removal(0.0), path=Flow(4))
        found = compare(QUICK)
        assert torch.equal(found.nonlinear_map, member.attribute(digit, 9)[0].sum(0))
        linear = NonlinearSaliency(digit_net().double(), coordinates=Removal(0.0), path=Tangent())
        assert torch.equal(found.linear_map, linear.attribute(digit, 9)[0].sum(0))
        assert found.target == 9
        assert found.missed == pytest.approx(linear.explain(digit, 9).residual.abs().item())

    def test_preset_is_the_preset_and_its_twin(self):
        digit = mnist5k().test_inputs[[912]].double()
        found = compare(replace(QUICK, preset=True))
        assert torch.equal(
            found.nonlinear_map, presets.supports(digit_net().double(), 0.0).attribute(digit, 9)[0, 0]
        )
        assert not torch.allclose(found.linear_map, found.nonlinear_map, rtol=0.1)
        assert found.all_the_way

    def test_linear_member_of_a_straight_path_is_its_tangent(self):
        found = compare(CASES["all the way"])
        digit = mnist5k().test_inputs[[912]].double()
        mean = digit.mean().expand_as(digit)
        member = NonlinearSaliency(digit_net().double(), coordinates=Removal(mean), path=StraightTangent())
        torch.testing.assert_close(found.linear_map, member.attribute(digit, 9)[0, 0])
        assert found.missed == pytest.approx(found.linear.completeness_error.abs().item())

    def test_tangent_beside_itself(self):
        found = compare(CASES["tangent"])
        assert torch.equal(found.linear_map, found.nonlinear_map)
        assert "both maps are the same" in found.words()
        assert found.agreement == pytest.approx(1)

    def test_smoothing_keeps_the_sum(self):
        plain, smooth = compare(QUICK), compare(replace(QUICK, smoothing=3.0))
        assert smooth.nonlinear_map.sum().item() == pytest.approx(plain.nonlinear_map.sum().item(), rel=1e-6)
        assert smooth.nonlinear_map.max() < 0.5 * plain.nonlinear_map.max()

    def test_what_has_not_arrived_says_so(self):
        found = compare(replace(QUICK, path="secant", coordinates="free", steps=2))
        assert "no secant found" in found.failure
        assert "It has not converged: no secant found" in found.words()

    @cases
    def test_score_at_is_the_score_of_the_record(self, choice):
        found = compare(replace(choice, noise=0.0))
        ends = torch.stack([found.nonlinear.path_points[0, 0], found.nonlinear.endpoint[0]])
        with torch.no_grad():
            scores = score_at(found)(ends)
        expected = torch.cat([found.nonlinear.score_start, found.nonlinear.score_end])
        torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-4)


class TestDraw:
    @of_tables
    def test_tables_have_bars_beside_the_paths_or_the_values(self, choice):
        found = compare(choice)
        left, right, scores = playground.picture(found).axes
        assert found.linear_map.shape == found.nonlinear_map.shape == (1, len(found.subject.features))
        assert bool(left.lines) == (found.subject.extent is not None)
        shown = [label.get_text() for label in right.get_yticklabels()]
        linear, nonlinear = ([bar.get_width() for bar in bars] for bars in right.containers)
        place = [found.subject.features.index(name) for name in shown]
        assert linear == pytest.approx(found.linear_map[0, place].tolist())
        assert nonlinear == pytest.approx(found.nonlinear_map[0, place].tolist())
        assert scores.get_xlabel() == "length of the path, in units of the features"

    @of_images
    def test_every_kind_of_choice_has_a_picture(self, choice):
        figure = playground.draw(choice)
        image, linear, nonlinear, _, scores = figure.axes
        assert image.get_title()
        assert linear.get_title().startswith("preset, linear twin" if choice.preset else "linear")
        found = compare(choice)
        shown = nonlinear.get_images()[-1]
        assert torch.allclose(torch.as_tensor(shown.get_array()), found.nonlinear_map.double())
        low, high = shown.get_clim()
        least = min(found.linear_map.min(), found.nonlinear_map.min())
        assert low == (-high if choice.data == "photo" or least < -0.01 * high else 0) < high
        assert linear.get_images()[-1].get_clim() == (low, high)
        labels = scores.get_legend_handles_labels()[1]
        assert any("what the tangent promises" in label for label in labels)
        assert any(label.startswith("level") for label in labels) != found.all_the_way
        assert figure.get_label() == found.words()

    def test_curves_end_where_the_records_do(self):
        found = compare(QUICK)
        scores = playground.picture(found).axes[-1]
        lines = {line.get_label().split(" (")[0]: line for line in scores.lines}
        for name, run in (("linear step", found.linear), ("nonlinear path", found.nonlinear)):
            line = lines[f"score on the {name}"]
            assert line.get_ydata()[0] == pytest.approx(run.score_start.item(), abs=1e-6)
            assert line.get_ydata()[-1] == pytest.approx(run.score_end.item(), abs=1e-6)
        # the tangent promises the level at the end of its step, as long as no bound stops it
        promised = lines["what the tangent promises there"].get_ydata()
        assert promised[-1] == pytest.approx(found.linear.level.item(), abs=1e-6)


# ---- written down ------------------------------------------------------------------------------------------


def read_command(text: str) -> Choice:
    """The choice that a command asks for, read as the command line reads it."""
    words = shlex.split(text)
    assert words[:3] == ["nonlinear-saliency", "run", playground.NOTEBOOK]
    assert all(flag == "-p" for flag in words[3::2])
    return Choice(**Notebook.read(NOTEBOOK).typed(dict(word.split("=", 1) for word in words[4::2])))


class TestWritten:
    @cases
    def test_code_makes_the_same_map(self, choice, capsys):
        names = {}
        exec(compile(code(choice), "written", "exec"), names)
        torch.testing.assert_close(names["saliency_map"], compare(choice).nonlinear_map, rtol=0, atol=0)
        assert "playground" not in code(choice)

    @cases
    def test_command_asks_for_the_same_map(self, choice):
        asked = read_command(command(choice))
        assert torch.equal(compare(asked).nonlinear_map, compare(choice).nonlinear_map)
        used = set(NAMES) - set(unused(choice))
        assert all(getattr(asked, name) == getattr(choice, name) for name in used)

    def test_command_of_the_default_has_no_parameters(self):
        assert command(Choice()) == "nonlinear-saliency run 10_playground"

    def test_own_file_with_a_difficult_name(self, photo_file, capsys):
        choice = replace(PHOTO, data="file", file=str(photo_file), preset=True)
        assert read_command(command(choice)).file == str(photo_file)
        names = {}
        exec(compile(code(choice), "written", "exec"), names)
        assert torch.equal(names["saliency_map"], compare(choice).nonlinear_map)

    @pytest.mark.parametrize("name", ["2024", "true", "null", "a b", "~/x.png", "[1]", "#1"])
    def test_texts_that_look_like_other_values(self, name):
        choice = Choice(data="file", file=name)
        assert read_command(command(choice)) == choice

    def test_code_reads_well(self):
        text = code(CASES["stage"])
        assert "coordinates=Layer(stages(model, image)[1], Removal(reference=0.0), carried=False)," in text
        assert "path=Flow(steps=4)," in text
        assert all(len(line) <= 110 for line in text.splitlines())
        assert list(map(type, (Input(), Layer, Softmax())))  # the names that it imports exist where it says
        for statement in ast.parse(text.split("\n\n")[0]).body:
            assert isinstance(statement, ast.ImportFrom)
            assert statement.module.startswith("helpers.")


# ---- the panel ---------------------------------------------------------------------------------------------


@pytest.fixture
def panel() -> Playground:
    return Playground(QUICK)


def state(panel: Playground) -> str:
    return re.search('data-state="(.*?)"', panel.canvas.status.value)[1]


class TestPanel:
    def test_starts_with_a_picture_of_the_choice(self, panel):
        assert panel.error is None
        assert panel.choice == panel.shown == QUICK
        assert Image.open(io.BytesIO(panel.canvas.picture.png)).size > (400, 400)
        assert "test digit 912, class 9" in panel.words.value
        assert panel.why.value == ""
        assert list(panel.controls) == list(sum(GROUPS.values(), ()))

    def test_classes_are_sorted_by_probability_and_named_with_it(self, panel):
        labels = [label for label, _ in panel.controls["target"].options]
        assert labels[0].startswith("class 9 · ")
        assert labels[1].startswith("class 4 · ")
        assert len(labels) == 10
        assert panel.controls["rival"].options[0] == ("the best of all", -1)

    @pytest.mark.parametrize("name", [n for n in NAMES if n not in ("data", "photo", "file", "side")])
    def test_each_control_changes_the_picture(self, name):
        base = USED_IN.get(name, QUICK)
        panel = Playground(base)
        before = panel.canvas.picture.png
        assert not panel.controls[name].disabled
        panel.controls[name].value = OTHER[name]
        assert panel.error is None
        assert state(panel) == "ready"
        assert panel.canvas.picture.png != before
        assert getattr(panel.choice, name) == OTHER[name]
        assert panel.shown == panel.choice

    @pytest.mark.parametrize(("name", "value"), [("data", "photo"), ("photo", "coffee"), ("side", 96)])
    def test_photographs_wait_for_the_button(self, name, value):
        panel = Playground(QUICK if name == "data" else PHOTO)
        before = panel.canvas.picture.png
        panel.controls[name].value = value
        assert state(panel) == "waiting"
        assert "Press Compute" in panel.canvas.status.value
        assert panel.compute.button_style == "warning"
        assert panel.canvas.picture.png == before
        assert panel.controls["target"].options[0][1] == playground.load(panel.choice).ranked[0]
        panel.controls["side"].value = 64
        panel.controls["preset"].value = True
        panel.compute.click()
        assert panel.error is None
        assert state(panel) == "ready"
        assert panel.compute.button_style == ""
        assert panel.canvas.picture.png != before
        assert panel.shown == panel.choice

    def test_own_file_by_path(self, panel, photo_file):
        panel.controls["data"].value = "file"
        assert "file: expected the path of a photograph" in panel.why.value
        assert panel.compute.disabled
        panel.controls["side"].value = 64
        panel.controls["file"].value = str(photo_file)
        assert panel.why.value == ""
        assert panel.error is None or state(panel) == "waiting"
        panel.controls["preset"].value = True
        panel.compute.click()
        assert state(panel) == "ready"
        assert panel.error is None

    def test_own_file_that_is_no_image_is_told_in_words(self, panel, tmp_path):
        path = tmp_path / "letter.png"
        path.write_text("Dear network,")
        panel.controls["data"].value = "file"
        panel.controls["file"].value = str(path)
        assert "letter.png: expected an image that Pillow reads" in panel.canvas.status.value
        assert "letter.png" in panel.why.value
        assert "Traceback" not in panel.canvas.status.value
        assert panel.compute.disabled
        panel.controls["data"].value = "digit"
        assert panel.error is None
        assert panel.why.value == ""
        assert state(panel) == "ready"

    def test_upload(self, panel, photo_file, tmp_path, monkeypatch):
        monkeypatch.setattr(playground, "CACHE_FOLDER", tmp_path / "cache")
        panel.controls["side"].value = 64
        upload(panel, "../../etc/my photo.png", photo_file.read_bytes())
        assert panel.choice.data == "file"
        kept = FilePath(panel.choice.file)
        assert kept.read_bytes() == photo_file.read_bytes()
        assert kept.parent == tmp_path / "cache" / "uploads"
        assert kept.name.endswith("_my photo.png")
        assert state(panel) == "waiting"

    def test_upload_that_is_no_image_is_told_and_not_kept(self, panel, tmp_path, monkeypatch):
        monkeypatch.setattr(playground, "CACHE_FOLDER", tmp_path / "cache")
        upload(panel, "letter.png", b"Dear network,")
        assert state(panel) == "error"
        assert "letter.png: expected an image" in panel.why.value
        assert list((tmp_path / "cache" / "uploads").iterdir()) == []

    @invalid
    def test_invalid_choices_are_explained_and_not_drawn(self, reason, choice, panel):
        before = panel.canvas.picture.png
        panel.choose(choice)
        assert reason in panel.why.value
        assert state(panel) == "waiting"
        assert "do not go together" in panel.canvas.status.value
        assert panel.compute.disabled
        assert panel.write.disabled
        assert panel.canvas.picture.png == before
        panel.choose(QUICK)
        assert panel.why.value == ""
        assert not panel.compute.disabled
        assert state(panel) == "ready"

    def test_greyed_out_are_those_that_make_no_difference(self, panel):
        def greyed():
            return {name for name, control in panel.controls.items() if control.disabled}

        assert greyed() == set(unused(QUICK))
        assert "rival (only the margin has a rival)" in panel.greyed.value
        assert panel.controls["rival"].tooltip == "not used: only the margin has a rival"
        panel.controls["score"].value = "margin"
        assert "rival" not in greyed()
        panel.controls["preset"].value = True
        assert {"score", "path", "readout"} <= greyed()
        assert "target" not in greyed()

    def test_another_image_starts_with_its_own_first_class(self, panel):
        panel.controls["target"].value = 4
        panel.controls["image"].value = 5
        assert panel.choice.target == -1
        assert panel.controls["target"].value == 0

    def test_many_steps_wait_and_fewer_do_not(self, panel):
        panel.controls["steps"].value = 300
        assert state(panel) == "waiting"
        assert "600" in panel.compute.description or "602" in panel.compute.description
        panel.controls["steps"].value = 5
        assert state(panel) == "ready"

    def test_busy_is_said_before_the_drawing(self, panel, monkeypatch):
        seen = []

        def draw(choice):
            seen.append(state(panel))
            assert panel.compute.disabled
            return playground.picture(compare(choice))

        monkeypatch.setattr(playground, "draw", draw)
        panel.controls["image"].value = 5
        assert seen == ["busy"]
        assert state(panel) == "ready"
        assert not panel.compute.disabled

    @pytest.mark.parametrize("error", [RuntimeError("out of chalk"), MemoryError(), KeyboardInterrupt()])
    def test_unexpected_errors_end_in_words_and_the_panel_works_on(self, panel, monkeypatch, error):
        def broken(choice):
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(playground, "draw", broken)
            panel.controls["image"].value = 5
            assert panel.error is error
            assert state(panel) == "error"
            assert panel.shown is None
        panel.controls["image"].value = 6
        assert panel.error is None
        assert state(panel) == "ready"

    def test_errors_outside_the_drawing_end_in_words_too(self, panel, monkeypatch):
        def broken(*_):
            raise RuntimeError("no chalk at all")

        with monkeypatch.context() as patch:
            patch.setattr(playground, "unused", broken)
            panel.controls["steps"].value = 5
            assert "RuntimeError: no chalk at all (test_playground.py" in panel.canvas.status.value
        panel.controls["steps"].value = 6
        assert state(panel) == "ready"

    def test_write_gives_command_and_code_and_a_change_takes_them_back(self, panel, capsys):
        assert panel.command.layout.display == "none"
        panel.controls["image"].value = 5
        panel.write.click()
        assert read_command(panel.command.value) == panel.choice
        names = {}
        exec(compile(panel.code.value, "written", "exec"), names)
        assert torch.equal(names["saliency_map"], compare(panel.choice).nonlinear_map)
        assert panel.command.layout.display is None
        panel.controls["image"].value = 6
        assert panel.command.value == panel.code.value == ""
        assert panel.command.layout.display == "none"

    def test_starts_from_any_choice(self):
        choice = CASES["softmax"]
        assert Playground(choice).choice == choice

    def test_starts_with_words_where_the_file_is_missing(self):
        panel = Playground(replace(PHOTO, data="file", file="missing.png"))
        assert "missing.png" in panel.why.value
        panel.controls["data"].value = "digit"
        assert state(panel) == "ready"

    def test_canvas_is_the_common_one(self, panel):
        assert isinstance(panel.canvas, Canvas)
        assert isinstance(path_of(QUICK), Path)
        assert set(about("photo")["among"]) == set(BUNDLED)


def upload(panel: Playground, name: str, content: bytes) -> None:
    """What the browser sends when a file has been chosen."""
    moment = datetime.fromtimestamp(0, tz=UTC)
    sent = {"name": name, "type": "image/png", "size": len(content), "content": memoryview(content)}
    panel.upload.value = ({**sent, "last_modified": moment},)
