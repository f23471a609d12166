"""Every choice of the class on one panel: `Choice` says what, `draw` makes its picture, `Playground` is the panel.

A `Choice` is made of plain values, so that it can be written down: as papermill parameters (`command`; the
notebook 10_playground has exactly its fields as parameters), and as Python code (`code`) that builds the same
member of the class without this module. What does not go together is explained (`refusals`), what a choice
does not use is named (`unused`), before anything is computed.
"""

import functools
import hashlib
import html
import math
import shlex
import textwrap
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path as FilePath

import ipywidgets
import numpy as np
import torch
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from torch import Tensor, nn

from helpers.files import write_whole
from helpers.saliency import (
    Blurred,
    Boundary,
    Coordinates,
    Decoder,
    Drop,
    Euclidean,
    Explanation,
    Flow,
    Horizon,
    Input,
    Largest,
    Layer,
    Level,
    Logit,
    LogOdds,
    LogProbability,
    Margin,
    Nearest,
    NonlinearSaliency,
    OwnMean,
    Path,
    Removal,
    Score,
    Secant,
    Share,
    Smooth,
    Softmax,
    Straight,
    StraightTangent,
    Tangent,
    Value,
    gaussian_blur,
    presets,
    reduce,
    stages,
)
from helpers.saliency.cut import hooked
from helpers.saliency.model import Forward
from helpers.show.landscapes import draw_landscape, path_lengths, refined, scores_at, slope_at
from helpers.show.live import Canvas, in_words
from helpers.show.maps import (
    as_picture,
    as_plane,
    bar_ends,
    colour_limit,
    draw_image,
    draw_over_ink,
    draw_pixels,
    on_white,
)
from helpers.show.style import COLOUR_MAPS, COLOURS, number_text, percent_text, shared_legend, styled
from helpers.zoo.classifiers import load_classifier
from helpers.zoo.datasets import CACHE_FOLDER, breast_cancer, mnist5k
from helpers.zoo.decoders import digit_vae
from helpers.zoo.networks import diagnosis_net, digit_net, predict
from helpers.zoo.photographs import BUNDLED, load_photo, photograph
from helpers.zoo.toys import SIDES, above_or_below, toys

NOTEBOOK = "10_playground"
DIGITS, PATIENTS = 1000, 114
# "two moons" is the name of the data; the toy has that of the machine which has learned them.
TOYS = {"two moons": "kernel machine"} | {name: name for name in toys() if name != "kernel machine"}
# What is explained by its features, and not by the places of an image.
TABLES = ("toy", "patient")
PATHS = {
    "tangent": Tangent,
    "straight": Straight,
    "flow": Flow,
    "horizon": Horizon,
    "secant": Secant,
    "nearest": Nearest,
}
# More gradients than that and the panel waits for its button; a digit's takes about a hundredth of a second.
SOON = 150
GROUPS = {
    "What is explained": ("data", "image", "photo", "file", "side", "toy", "patient", "target"),
    "Ready-made": ("preset",),
    "Score and level": ("score", "rival", "level", "amount"),
    "Coordinates and geometry": ("coordinates", "stage", "reference", "blur", "geometry", "width"),
    "Path": ("path", "steps"),
    "Readout and smoothing": ("readout", "competitors", "noise", "samples", "smoothing"),
}
OF_SUBJECT = ("data", "image", "photo", "file", "side", "toy", "patient")
# Fields whose values depend on what is explained.
OF_NETWORK = ("target", "rival", "stage")
_number = functools.partial(number_text, decimals=True)


def _of(default, says: str, *among: str, low: float | None = None, high: float | None = None):
    """A field of `Choice`: its default, what it says, and the values that it may take."""
    if among:
        allowed = f"one of: {', '.join(among)}"
    elif low is not None:
        allowed = f"{low} to {high}" if high is not None else f"at least {low}"
    else:
        allowed = ""
    return field(
        default=default,
        metadata={"says": says, "among": among, "low": low, "high": high, "allowed": allowed},
    )


@dataclass(frozen=True)
class Choice:
    """One choice of everything, in plain values; `about` says what each means.

    Raises:
        TypeError: a value of another type than the default's.
        ValueError: a value outside its range, or not among its names.

    Example:
        >>> Choice(path="nearest", coordinates="free").steps
        16
        >>> Choice(image=-1)
        Traceback (most recent call last):
            ...
        ValueError: image: expected 0 to 999; got -1.
    """

    data: str = _of("digit", "what is explained", "digit", "photo", "file", *TABLES)
    image: int = _of(912, "number of the test digit", low=0, high=DIGITS - 1)
    photo: str = _of("chelsea", "the bundled photograph", *BUNDLED)
    file: str = _of("", "path of your own photograph, where data is file")
    side: int = _of(224, "pixels a side of a photograph", low=64, high=448)
    toy: str = _of("two moons", "the toy with known drivers", *TOYS)
    patient: int = _of(59, "number of the test patient", low=0, high=PATIENTS - 1)
    target: int = _of(-1, "number of the explained class, or -1, the most probable", low=-1, high=999)
    score: str = _of("log-odds", "the explained score", "log-odds", "margin", "logit", "log-probability")
    rival: int = _of(-1, "class that the margin is over, or -1, the best of all", low=-1, high=999)
    level: str = _of("boundary", "where the path ends", "boundary", "drop", "value", "share", "all the way")
    amount: float = _of(2.0, "how far the drop is, the value, or the share of the way")
    coordinates: str = _of("removal", "how the input changes", "free", "bounded", "removal", "decoder")
    stage: int = _of(0, "where it changes, 0 the input, 1 behind the first stage", low=0, high=9)
    reference: str = _of("blank", "without the evidence", "blank", "blurred", "own mean", "nothing active")
    blur: float = _of(4.0, "width of the blurred reference in pixels", low=0, high=64)
    geometry: str = _of("euclidean", "which changes are small", "euclidean", "smooth")
    width: float = _of(2.0, "width of the smooth geometry in pixels", low=0, high=32)
    path: str = _of("flow", "how the level is reached", *PATHS)
    steps: int = _of(
        16, "steps of straight, flow and horizon, iterations of secant and nearest", low=1, high=512
    )
    readout: str = _of(
        "contribution",
        "what the maps show",
        "contribution",
        "mean gradient",
        "displacement",
        "softmax contrast",
        "largest contrast",
    )
    competitors: int = _of(5, "how many other classes a contrast asks", low=1, high=999)
    noise: float = _of(0.0, "standard deviation of the noise in the score", low=0, high=10)
    samples: int = _of(8, "how many draws of the noise", low=1, high=256)
    smoothing: float = _of(0.0, "width of the smoothing of both maps, in their pixels", low=0, high=64)
    preset: bool = _of(False, "True for the ready-made map, and all from score to samples is not used")

    def __post_init__(self):
        for one in fields(self):
            value, rule = getattr(self, one.name), one.metadata
            kind = type(one.default)
            if kind is float and type(value) is int:
                object.__setattr__(self, one.name, value := float(value))
            if type(value) is not kind:
                raise TypeError(f"{one.name}: expected {kind.__name__}, like {one.default!r}; got {value!r}.")
            low, high = rule["low"], rule["high"]
            inside = (low is None or value >= low) and (high is None or value <= high)
            # not inside for NaN, either
            finite = kind is not float or np.isfinite(value)
            if not (inside and finite) or rule["among"] and value not in rule["among"]:
                allowed = rule["allowed"] or "a finite number"
                raise ValueError(f"{one.name}: expected {allowed}; got {value!r}.")


def about(name: str) -> dict:
    """What a field of `Choice` says: `says` in words, `among` the names, `low`, `high`, `allowed` in words.

    Example:
        >>> about("geometry")["among"], about("image")["allowed"]
        (('euclidean', 'smooth'), '0 to 999')
    """
    return dict(next(one for one in fields(Choice) if one.name == name).metadata)


@dataclass(frozen=True, eq=False)
class Subject:
    """An image, or the features of a toy or a patient, and the model that classifies it.

    name: in words. model: in eval mode. image: (1, C, H, W), values in [0, 1]; of a table (1, n). class_names: K.
    probabilities: the network's, (K,). stages: its stages, from fine to coarse (`helpers.saliency.stages`).
    resolutions: height and width of each stage's maps. Of a table: features, their names; without, the toy
    where the evidence is missing, (1, n); extent: left, right, bottom, top of a picture of two features.

    Example:
        >>> subject = load(Choice(image=0))
        >>> subject.name, tuple(subject.image.shape), subject.resolutions
        ('test digit 0', (1, 1, 28, 28), ((28, 28), (14, 14), (7, 7)))
    """

    name: str
    model: nn.Module
    image: Tensor
    class_names: tuple[str, ...]
    probabilities: Tensor
    stages: tuple[nn.Module, ...]
    resolutions: tuple[tuple[int, int], ...]
    features: tuple[str, ...] = ()
    without: Tensor | None = None
    extent: tuple[float, float, float, float] | None = None

    @property
    def ranked(self) -> list[int]:
        """The classes, the most probable first."""
        return self.probabilities.argsort(descending=True, stable=True).tolist()

    def label(self, index: int) -> str:
        """A class's name and its probability."""
        name = self.class_names[index]
        if self.class_names == SIDES:  # a toy has no probabilities
            return name
        name = f"class {name}" if name.isdigit() else name
        return f"{name} · {percent_text(self.probabilities[index].item(), decimal=True)}"


def load(choice: Choice) -> Subject:
    """What a choice explains: the digit in double precision with the suite's network, a photograph with
    EfficientNet-Lite0, a toy, or a patient of the breast cancer data with a small network (`diagnosis_net`).

    Raises:
        ValueError: no photo in the file, or no such file.

    Example:
        >>> subject = load(Choice(data="digit", image=912))
        >>> subject.label(subject.ranked[0])
        'class 9 · > 99.9 %'
    """
    if choice.data == "digit":
        return _digit(choice.image)
    if choice.data == "photo":
        return _photo(choice.photo, choice.side, None)
    if choice.data == "toy":
        return _toy(choice.toy)
    if choice.data == "patient":
        return _patient(choice.patient)
    if not choice.file:
        raise ValueError("file: expected the path of a photograph; got none. Type one, or upload a file.")
    path = FilePath(choice.file).expanduser()
    # the time of its last change: another picture under the same name is another subject
    changed = path.stat().st_mtime_ns if path.is_file() else None
    try:
        return _photo(str(path), choice.side, changed or 0)
    except FileNotFoundError as error:
        raise ValueError(str(error)) from error


@functools.cache
def _digits() -> tuple[nn.Module, Tensor, tuple[str, ...]]:
    data = mnist5k()
    return digit_net().double(), data.test_inputs.double(), tuple(data.class_names)


@functools.cache
def _vae() -> nn.Module:
    return digit_vae().double()


@functools.cache
def _network():
    return load_classifier(show_progress=False)


@functools.cache
def _diagnosis():
    return diagnosis_net(), breast_cancer()


@functools.cache
def _toy(name: str) -> Subject:
    toy = toys()[TOYS[name]]
    model = above_or_below(toy)
    chances = model(toy.point)[0].detach().softmax(0)
    more = {"features": toy.feature_names, "without": toy.reference, "extent": toy.extent}
    return Subject(name, model, toy.point, SIDES, chances, (), (), **more)


@functools.lru_cache(32)
def _patient(number: int) -> Subject:
    model, data = _diagnosis()
    inputs = data.test_inputs[[number]].double()
    chances, names = predict(model, inputs)[0].softmax(0), tuple(data.class_names)
    features = tuple(data.feature_names)
    return Subject(f"patient {number}", model, inputs, names, chances, (), (), features)


@functools.lru_cache(32)
def _digit(number: int) -> Subject:
    model, images, names = _digits()
    return _subject(f"test digit {number}", model, images[[number]], names)


@functools.lru_cache(8)
def _photo(name: str, side: int, changed: int | None) -> Subject:
    """A bundled photograph by its name, or, with the time of its last change, a file by its path."""
    found = photograph(name, side) if changed is None else load_photo(name, side)
    classifier = _network()
    return _subject(found.name, classifier.model, found.image[None], classifier.class_names)


def _subject(name: str, model: nn.Module, image: Tensor, class_names: tuple[str, ...]) -> Subject:
    found, sizes = tuple(stages(model, image)), []
    with ExitStack() as stack:
        for module in found:
            stack.enter_context(hooked(module, lambda _, __, output: sizes.append(tuple(output.shape[2:]))))
        probabilities = predict(model, image)[0].double().softmax(0)
    return Subject(name, model, image, class_names, probabilities, found, tuple(sizes))


def _uses_reference(choice: Choice) -> bool:
    """Whether something of the choice asks for an input without the evidence."""
    if choice.coordinates == "decoder":
        return False
    return choice.path == "straight" or choice.coordinates == "removal" or choice.level == "share"


def _chooses_reference(choice: Choice) -> bool:
    """Whether the field `reference` is read: a toy and a patient have one of their own."""
    return _uses_reference(choice) and choice.data not in TABLES


def refusals(choice: Choice, classes: float = math.inf, depth: float = math.inf) -> list[str]:
    """Why a choice cannot be computed, each reason with a way out; empty where it can.

    Args:
        classes, depth: how many classes and stages the network has.

    Example:
        >>> refusals(Choice())
        []
        >>> refusals(Choice(path="secant", coordinates="bounded"))
        ['The secant takes no bounds, and these coordinates have some. Choose free, or another path.']
    """
    if choice.target >= classes:
        last = classes - 1
        return [f"The network has {classes} classes, from 0 to {last}: there is no class {choice.target}."]
    if choice.preset:
        table = choice.data in TABLES
        return ["The ready-made map is one of images. Untick it, or choose an image."] if table else []
    return list(_contradictions(choice, classes, depth))


def _contradictions(c: Choice, classes: float, depth: float) -> Iterator[str]:
    if c.score == "logit" and c.level == "boundary":
        yield (
            "A single logit is arbitrary up to a constant, so it has no boundary. Choose another level (drop), or "
            "the log-odds or the margin."
        )
    if c.level == "all the way" and c.path not in ("straight", "horizon"):
        yield (
            "Only the straight path and the horizon go all the way to the reference; the others need a level. "
            "Choose another level, or another path."
        )
    if c.level in ("drop", "share") and c.amount == 0:
        yield "A drop or share of 0 is the input itself. Choose another amount."
    if c.score == "margin" and 0 <= c.rival == c.target:
        yield "The margin is over a rival, which cannot be the explained class. Choose another rival."
    if c.score == "margin" and c.rival >= classes:
        yield f"The network has {classes} classes: there is no rival {c.rival}."
    if c.readout.endswith("contrast") and c.competitors >= classes:
        yield f"The network has {classes} classes, so at most {classes - 1} others compete."
    if c.data in TABLES:
        yield from _no_image(c)
    elif c.stage > depth:
        yield f"The network has {depth} stages: choose one from 0, the input, to {depth}."
    if c.coordinates == "bounded" and c.stage > 0:
        yield (
            "The bounds 0 and 1 are those of pixels; behind a stage there are none. Choose free or removal, or the "
            "input (stage 0)."
        )
    if c.reference == "nothing active" and c.stage == 0 and _chooses_reference(c):
        yield "Nothing active is a state of a stage. At the input choose blank."
    if c.path == "horizon" and c.coordinates != "removal":
        yield "The horizon is a path of removal: at each step it looks ahead to the reference. Choose removal."
    if c.coordinates == "decoder":
        yield from _no_code(c)
    if c.path == "secant" and c.coordinates in ("bounded", "removal"):
        yield "The secant takes no bounds, and these coordinates have some. Choose free, or another path."
    if c.path == "nearest" and c.coordinates == "removal":
        yield (
            "The nearest point is looked for in all directions, and removal has one. Choose free or bounded, or "
            "another path."
        )
    if c.path == "nearest" and c.coordinates == "bounded" and c.geometry == "smooth":
        yield (
            "The nearest point within bounds needs a geometry that treats each pixel on its own. Choose euclidean, "
            "or free."
        )


def _no_image(c: Choice) -> Iterator[str]:
    """What does not go with a toy or a patient."""
    if c.stage > 0:
        yield "This model has no stages. Choose the input (stage 0)."
    if c.coordinates == "bounded":
        yield "The bounds 0 and 1 are those of pixels. Choose free or removal."
    if c.geometry == "smooth":
        yield "Features have no neighbours, as pixels have. Choose the euclidean geometry."


def _no_code(c: Choice) -> Iterator[str]:
    """What does not go with the code of a decoder."""
    if c.data != "digit":
        yield "The decoder draws digits. Choose a digit, or other coordinates."
    if c.stage > 0:
        yield "The decoder's pictures are inputs. Choose the input (stage 0), or other coordinates."
    if c.geometry == "smooth":
        yield "A code has no neighbouring pixels. Choose the euclidean geometry."
    if c.readout in ("mean gradient", "displacement"):
        yield f"The {c.readout} of a code is no picture. Choose the contribution."


def _refusals_of(choice: Choice, subject: Subject) -> list[str]:
    """The refusals where the class, and what the network has, are known."""
    named = replace(choice, target=_class_of(choice, subject))
    return refusals(named, len(subject.class_names), len(subject.stages))


def unused(choice: Choice) -> dict[str, str]:
    """The fields that make no difference in a choice, each with the reason.

    Example:
        >>> unused(Choice(path="tangent"))["steps"]
        'the tangent is one step'
    """
    c = choice
    found = {}
    for name, data in (
        ("image", "digit"), ("photo", "photo"), ("file", "file"), ("toy", "toy"), ("patient", "patient"),
    ):  # fmt: skip
        if c.data != data:
            found[name] = f"data is {c.data}"
    if c.data == "digit":
        found["side"] = "digits have 28 pixels a side"
    if c.data in TABLES:
        found |= dict.fromkeys(("side", "smoothing"), "there are no pixels")
    if c.preset:
        names = [one.name for one in fields(Choice)]
        inside = names[names.index("score") : names.index("samples") + 1]
        return found | dict.fromkeys(inside, "the preset decides")
    contrast = c.readout.endswith("contrast")
    rules = {
        "rival": ("only the margin has a rival", c.score == "margin"),
        "amount": (f"{c.level} needs none", c.level in ("drop", "value", "share")),
        "reference": (
            "a toy and a patient have one of their own"
            if c.data in TABLES
            else "only removal, straight and share ask for one",
            _chooses_reference(c),
        ),
        "blur": ("the reference is not blurred", _chooses_reference(c) and c.reference == "blurred"),
        "width": ("the geometry is not smooth", c.geometry == "smooth" and c.path != "straight"),
        "geometry": ("a straight path does not turn", c.path != "straight"),
        "steps": ("the tangent is one step", c.path != "tangent"),
        "competitors": ("the readout is no contrast", contrast),
        "samples": ("there is no noise", c.noise > 0),
    }
    return found | {name: reason for name, (reason, used) in rules.items() if not used}


def gradients(choice: Choice) -> int:
    """About how many gradients a choice costs, both maps together.

    Example:
        >>> gradients(Choice(path="straight", steps=16)), gradients(Choice(path="tangent"))
        (17, 2)
    """
    if choice.preset:
        return 10
    path = {
        "tangent": 1,
        "straight": choice.steps,
        "flow": 2 * choice.steps + 1,
        "horizon": 5 * choice.steps + 1,
        "secant": 8 * choice.steps,
        "nearest": 2 * choice.steps + 16,
    }[choice.path]
    scores = 1 + choice.competitors if choice.readout.endswith("contrast") else 1
    return (path + 1) * scores * (choice.samples if choice.noise else 1)


def slow(choice: Choice) -> bool:
    """Whether the panel waits for its button: photographs, and many gradients.

    Example:
        >>> slow(Choice()), slow(Choice(steps=512)), slow(Choice(data="photo"))
        (False, True, True)
    """
    return choice.data in ("photo", "file") or gradients(choice) > SOON


def _class_of(choice: Choice, subject: Subject) -> int:
    """The explained class's number."""
    return subject.ranked[0] if choice.target < 0 else choice.target


def _score_of(choice: Choice) -> Score:
    """The score of a choice."""
    if choice.score == "margin":
        return Margin(None if choice.rival < 0 else choice.rival)
    return {"log-odds": LogOdds, "logit": Logit, "log-probability": LogProbability}[choice.score]()


def level_of(choice: Choice) -> Level | None:
    """The level of a choice; None: all the way.

    Example:
        >>> level_of(Choice(level="drop", amount=3.0))
        Drop(amount=3.0)
    """
    if choice.level in ("boundary", "all the way"):
        return Boundary() if choice.level == "boundary" else None
    return {"drop": Drop, "value": Value, "share": Share}[choice.level](choice.amount)


def _coordinates_of(choice: Choice, subject: Subject) -> Coordinates:
    """The coordinates of a choice."""
    reference = {
        "blank": 0.0,
        "blurred": Blurred(choice.blur),
        "own mean": OwnMean(),
        "nothing active": 0.0,
    }[choice.reference]
    if choice.data in TABLES:  # the mean patient is 0
        reference = 0.0 if subject.without is None else subject.without
    if choice.coordinates == "decoder":
        # the mean code is 0: a digit like all digits
        mean = 0.0 if choice.path == "straight" or choice.level == "share" else None
        return Decoder(_vae().decode, _vae().encode, mean, lower=0.0, upper=1.0)
    if choice.coordinates == "removal":
        inner = Removal(reference)
    else:
        bounds = (0.0, 1.0) if choice.coordinates == "bounded" else (None, None)
        inner = Input(*bounds, reference if _uses_reference(choice) else None)
    if choice.stage == 0:
        return inner
    return Layer(subject.stages[choice.stage - 1], inner, carried=choice.reference != "nothing active")


def path_of(choice: Choice) -> Path:
    """The path of a choice.

    Example:
        >>> path_of(Choice(path="straight", steps=8))
        Straight(steps=8, rule='midpoint')
    """
    return PATHS[choice.path](*(() if choice.path == "tangent" else (choice.steps,)))


def member_of(choice: Choice, subject: Subject, path: Path | None = None) -> NonlinearSaliency:
    """The member of the class that a choice names; with another path where one is given.

    Raises:
        ValueError: the choices do not go together (the first of `refusals`).

    Example:
        >>> choice = Choice(score="margin", rival=4)
        >>> member_of(choice, load(choice)).score
        Margin(other=4)
    """
    _require_computable(choice, subject)
    readout = {
        "softmax contrast": Softmax(choice.competitors),
        "largest contrast": Largest(choice.competitors),
    }.get(choice.readout, choice.readout.replace(" ", "_"))
    return NonlinearSaliency(
        subject.model,
        _score_of(choice),
        _coordinates_of(choice, subject),
        Smooth(choice.width) if choice.geometry == "smooth" else Euclidean(),
        path or path_of(choice),
        readout,
        choice.noise,
        choice.samples,
    )


def _require_computable(choice: Choice, subject: Subject) -> None:
    reasons = _refusals_of(choice, subject)
    if reasons:
        raise ValueError(reasons[0])


def _preset_reference(choice: Choice) -> float | OwnMean:
    """Where the ready-made map's one path leads: a blank image, or a photograph's mean colour."""
    return 0.0 if choice.data == "digit" else OwnMean()


@dataclass(frozen=True, eq=False)
class Comparison:
    """A choice's two maps and what became of the score.

    target: the explained class. linear_map, nonlinear_map: (h, w), positive = supports the score, smoothed as
    chosen; of a table (1, n). linear, nonlinear: the records of N = 1 with their paths. member: the nonlinear
    member.

    Example:
        >>> found = compare(Choice(level="drop", amount=1.0))
        >>> tuple(found.linear_map.shape), found.failure, found.words().split(":")[0]
        ((28, 28), '', 'test digit 912, class 9 · > 99.9 %')
    """

    choice: Choice
    subject: Subject
    target: int
    member: NonlinearSaliency
    linear: Explanation
    nonlinear: Explanation
    linear_map: Tensor
    nonlinear_map: Tensor

    @property
    def agreement(self) -> float:
        """Cosine of the two maps; 0 if one is 0 everywhere."""
        return torch.cosine_similarity(self.linear_map.flatten(), self.nonlinear_map.flatten(), dim=0).item()

    @property
    def all_the_way(self) -> bool:
        """Whether the way leads to the reference, and not to a level."""
        return self.choice.preset or self.choice.level == "all the way"

    @property
    def missed(self) -> float:
        """By how much the linear step misses what it promises, in units of the score, without sign.

        On its way to a level that is the level; all the way, the score at the reference.
        """
        run = self.linear
        return (run.completeness_error if self.all_the_way else run.residual).abs().item()

    @property
    def lengths(self) -> tuple[float, float]:
        """Length of the linear step and of the nonlinear path, in the units of what they change, as drawn."""
        linear, nonlinear = (path_lengths(r.path_points[:, 0])[-1] for r in (self.linear, self.nonlinear))
        return float(linear), float(nonlinear)

    @property
    def failure(self) -> str:
        """Why the nonlinear path has not arrived, or ""."""
        arrived = self.all_the_way or bool(self.nonlinear.converged)
        return "" if arrived else self.nonlinear.reason[0] or "not at the level"

    def words(self) -> str:
        """What the picture shows, in sentences."""
        choice, run = self.choice, self.nonlinear
        goal = (
            "all the way to the reference"
            if self.all_the_way
            else f"to the level {_number(run.level.item())}"
        )
        start, ends = run.score_start.item(), [r.score_end.item() for r in (self.linear, run)]
        said = [
            f"{self.subject.name}, {self.subject.label(self.target)}:",
            f"{_score_name(choice)} {_number(start)}, {goal}.",
            f"The linear step ends at {_number(ends[0])}, off what it promised by {_number(self.missed)}.",
            f"The nonlinear path ends at {_number(ends[1])}.",
            f"Cosine of the two maps: {self.agreement:.2f}.",
            "Gradients: {} and {}.".format(*(int(r.gradient_evaluations) for r in (self.linear, run))),
        ]
        if self.failure:
            said.insert(4, f"It has not converged: {self.failure}.")
        if choice.preset:
            said.append("The preset reads its path behind the last two resolutions of the network.")
        elif choice.path == "tangent":
            said.append("The tangent is linear saliency, so both maps are the same.")
        return " ".join(said)


def compare(choice: Choice) -> Comparison:
    """The linear and the nonlinear map of a choice.

    The linear one is the member with the tangent in place of the path, all else the same (`Tangent`, or
    `StraightTangent` beside a straight path, the preset's included).

    Raises:
        ValueError: choices that do not go together, with the reason; no photo in the file.

    Example:
        >>> found = compare(Choice())
        >>> found.missed > 1, bool(found.nonlinear.converged)
        (True, True)
    """
    subject = load(choice)
    target = _class_of(choice, subject)
    if choice.preset:
        _require_computable(choice, subject)
        whole = presets.supports(subject.model, _preset_reference(choice))
        means = (whole.replace(path=StraightTangent()), whole)
        found = [mean.explain(subject.image, target, trace=True) for mean in means]
        member, runs = whole.members[0], [each.members[0] for each in found]
    else:
        member, level = member_of(choice, subject), level_of(choice)
        straight = choice.path == "straight" or choice.level == "all the way"
        linear = member_of(choice, subject, StraightTangent() if straight else Tangent())
        found = runs = [one.explain(subject.image, target, level, trace=True) for one in (linear, member)]
    if subject.features:
        return Comparison(
            choice, subject, target, member, *runs, *(each.support().detach() for each in found)
        )
    maps = [reduce(each.support())[:, None] for each in found]
    smooth = [gaussian_blur(each, choice.smoothing)[0, 0].detach() for each in maps]
    return Comparison(choice, subject, target, member, *runs, *smooth)


def draw(choice: Choice = Choice()) -> Figure:
    """Image, linear and nonlinear map, and below them the score along both paths.

    Returns:
        A figure with four axes and a colour bar (of a table: three axes); its label is what it shows, in words.

    Raises:
        ValueError: as `compare`.

    Example:
        >>> figure = draw(Choice(path="tangent"))
        >>> len(figure.axes), figure.get_label().rpartition(". ")[2]
        (5, 'The tangent is linear saliency, so both maps are the same.')
    """
    return picture(compare(choice))


@styled
def picture(found: Comparison, size: float = 2.9) -> Figure:
    """The picture of a comparison; see `draw`. size: width of a panel, in inches.

    Example:
        >>> [axes.get_title().splitlines()[0] for axes in picture(compare(Choice())).axes[1:3]]
        ['linear', 'nonlinear: flow']
    """
    choice, subject = found.choice, found.subject
    if subject.features:
        return _picture_of_table(found)
    planes = [as_plane("maps", m) for m in (found.linear_map, found.nonlinear_map)]
    percentile = 100.0 if choice.data == "digit" else 99.5
    limit = colour_limit(planes, percentile)
    figure = Figure(figsize=(3 * size + 1.3, size + 3.2), label=found.words())
    grid = figure.add_gridspec(2, 3, height_ratios=(size, 2.2))
    frames = [figure.add_subplot(grid[0, k]) for k in range(3)]
    draw_image(frames[0], as_picture(subject.image[0]), interpolation="nearest")
    # what cannot speak against the class, or does not, has a scale from 0
    ink = choice.data == "digit"
    signed = not ink or min(plane.min() for plane in planes) < -0.01 * limit
    norm = Normalize(-limit if signed else 0.0, limit)
    colours = on_white(signed) if ink else COLOUR_MAPS["signed"]
    for axes, plane in zip(frames[1:], planes, strict=True):
        if ink:
            draw_over_ink(axes, as_picture(subject.image[0]), plane, norm, colours)
        else:
            draw_pixels(axes, plane, subject.image.shape[2:], cmap=colours, norm=norm)
    start = found.nonlinear.score_start.item()
    explained = textwrap.fill(f"{subject.name}, {subject.label(found.target)}", 40)
    names = ("preset, linear twin", "preset") if choice.preset else ("linear", f"nonlinear: {choice.path}")
    ends = [run.score_end.item() for run in (found.linear, found.nonlinear)]
    frames[0].set_title(f"{explained}\n{_score_name(choice)} {_number(start)}")
    for axes, name, end in zip(frames[1:], names, ends, strict=True):
        axes.set_title(f"{name}\nends at {_number(end)}")
    bar = {"fraction": 0.03, "pad": 0.01, "extend": bar_ends(percentile, signed)}
    bar = figure.colorbar(ScalarMappable(norm, colours), ax=frames, label=_map_name(choice), **bar)
    bar.ax.locator_params(nbins=5)
    _draw_scores(figure.add_subplot(grid[1, :]), found)
    return figure


def _picture_of_table(found: Comparison) -> Figure:
    """Where both paths lead, or the values of the features; both maps as bars; the score along both paths."""
    subject, number = found.subject, 12
    maps = torch.cat([found.linear_map, found.nonlinear_map])
    shown = maps.abs().amax(0).argsort(descending=True, stable=True)[:number].tolist()
    figure = Figure(figsize=(10, 6.4), label=found.words())
    grid = figure.add_gridspec(2, 2, height_ratios=(1.5, 1))
    left, right = (figure.add_subplot(grid[0, k]) for k in range(2))
    explained = textwrap.fill(f"{subject.name}, {subject.label(found.target)}", 40)
    left.set_title(explained)
    if subject.extent:
        trails = (found.linear, COLOURS[1]), (found.nonlinear, COLOURS[0])
        trails = {colour: run.path_points[:, 0] for run, colour in trails}
        draw_landscape(left, score_at(found), subject.extent, found.nonlinear.level.item(), trails)
        left.set(xlabel=subject.features[0], ylabel=subject.features[1])
    else:
        left.barh(range(len(shown)), subject.image[0, shown].tolist(), color="0.6")
        left.set_yticks(range(len(shown)), [subject.features[k] for k in shown])
        left.set_xlabel("value" + (", in standard deviations" if found.choice.data == "patient" else ""))
        left.invert_yaxis()
    for k, (name, colour) in enumerate(
        (("linear", COLOURS[1]), (f"nonlinear: {found.choice.path}", COLOURS[0]))
    ):
        right.barh(
            [y + 0.4 * k for y in range(len(shown))], maps[k, shown].tolist(), 0.38, color=colour, label=name
        )
    right.set_yticks([y + 0.2 for y in range(len(shown))], [subject.features[k] for k in shown])
    right.axvline(0, color="black", linewidth=0.8)
    right.invert_yaxis()
    right.set(xlabel=_map_name(found.choice), title="positive: supports the class")
    right.legend()
    _draw_scores(figure.add_subplot(grid[1, :]), found)
    return figure


def _draw_scores(axes, found: Comparison) -> None:
    """The score along both paths, against their length, and what the tangent promises on the linear one."""
    choice, function = found.choice, score_at(found)
    base = found.nonlinear.path_points[0, 0]
    value, slope = slope_at(function, base)
    runs = {"linear step": found.linear, "nonlinear path": found.nonlinear}
    styles = zip(runs.items(), (COLOURS[1], COLOURS[0]), ("--", "-"), strict=True)
    for (name, run), colour, dash in styles:
        way = run.path_points[:, 0].detach()
        points = refined(
            way, max(1, (48 if choice.data in ("photo", "file") else 96) // max(1, len(way) - 1))
        )
        along = path_lengths(points.double()).cpu().numpy()
        scores = scores_at(function, points)
        label = f"score on the {name} (length {_number(along[-1])})"
        axes.plot(along, scores, color=colour, linestyle=dash, label=label)
        if name == "linear step":
            promised = value + ((points - base) * slope).flatten(1).sum(1)
            label = "what the tangent promises there"
            axes.plot(along, promised.cpu(), color="black", linestyle=":", label=label)
        else:
            places = path_lengths(way.double()).cpu().numpy()
            axes.plot(places, np.interp(places, along, scores), "o", color=colour, markersize=4)
    if not found.all_the_way:
        level = found.nonlinear.level.item()
        axes.axhline(level, color="0.4", linewidth=1.2, linestyle="-.", label=f"level {_number(level)}")
    noisy = " without noise" if choice.noise and not choice.preset else ""
    where = "activations" if choice.stage and not choice.preset else "pixel values"
    if choice.data in TABLES:
        where = "units of the features"
    axes.set(xlabel=f"length of the path, in {where}", ylabel=_score_name(choice) + noisy)
    axes.grid(True)
    shared_legend(axes.figure, axes, columns=2)
    if found.failure:
        axes.set_title(f"nonlinear, not converged: {found.failure}")


def score_at(found: Comparison):
    """The score as a function of points of the path, (n, *B) -> (n,), without noise.

    Example:
        >>> found = compare(Choice())
        >>> ends = score_at(found)(found.nonlinear.path_points[[0, -1], 0])
        >>> bool((ends - torch.cat([found.nonlinear.score_start, found.nonlinear.score_end])).abs().max() < 1e-9)
        True
    """
    chart = found.member.coordinates.chart(found.subject.image, Forward(found.subject.model))

    def function(points: Tensor) -> Tensor:
        parts = [chart.forward(p, torch.zeros(len(p), dtype=torch.long)) for p in points.split(16)]
        return found.member.score(torch.cat(parts), found.target)

    return function


def _score_name(choice: Choice) -> str:
    return "logit" if choice.preset else choice.score


def _map_name(choice: Choice) -> str:
    if choice.preset:
        return "support, in the logit"
    units = {
        "mean gradient": f"mean gradient of the {choice.score}",
        "displacement": "displacement, along the support",
    }
    return units.get(choice.readout, f"{choice.readout}, in the {choice.score}")


def command(choice: Choice) -> str:
    """The papermill run of the notebook that makes this choice's picture, for a shell; defaults are left out.

    Example:
        >>> command(Choice(level="drop", geometry="smooth"))
        'nonlinear-saliency run 10_playground -p level=drop -p geometry=smooth'
    """
    words = ["nonlinear-saliency", "run", NOTEBOOK]
    for one in fields(Choice):
        value = getattr(choice, one.name)
        if value == one.default or one.name in unused(choice):
            continue
        words += ["-p", f"{one.name}={value}"]
    return shlex.join(words)


def code(choice: Choice) -> str:
    """The same member as Python code that runs by itself; its last map is `saliency_map`, (h, w).

    Raises:
        ValueError: as `compare`.

    Example:
        >>> [line for line in code(Choice()).splitlines() if "coordinates=" in line]
        ['    coordinates=Removal(reference=0.0),']
    """
    subject = load(choice)
    target = _class_of(choice, subject)
    table = choice.data in TABLES
    needed = {"helpers.saliency": set(), "helpers.show.style": {"show"}}
    if table:
        needed["helpers.show.numbers"] = {"bars"}
    else:
        needed["helpers.saliency"].add("reduce")
        needed["helpers.show.maps"] = {"maps_beside"}

    def written(value) -> str:
        """An instance as the expression that makes it; notes what has to be imported."""
        if not is_dataclass(value):
            return "toy.reference" if torch.is_tensor(value) else repr(value)
        needed["helpers.saliency"].add(type(value).__name__)
        if isinstance(value, Decoder):
            mean = "" if value.reference is None else f"{value.reference}, "
            return f"Decoder(vae.decode, vae.encode, {mean}lower={value.lower}, upper={value.upper})"
        if isinstance(value, Layer):
            needed["helpers.saliency"].add("stages")
            carried = "" if value.carried else ", carried=False"
            return f"Layer(stages(model, image)[{choice.stage - 1}], {written(value.inner)}{carried})"
        given = {one.name: getattr(value, one.name) for one in fields(value)}
        inside = ", ".join(f"{name}={written(v)}" for name, v in given.items() if v is not None)
        return f"{type(value).__name__}({inside})"

    if choice.data == "digit":
        needed |= {"helpers.zoo.datasets": {"mnist5k"}, "helpers.zoo.networks": {"digit_net"}}
        body = ["model = digit_net().double()"]
        body += [f"image = mnist5k().test_inputs[[{choice.image}]].double()"]
        if choice.coordinates == "decoder" and not choice.preset:
            needed["helpers.zoo.decoders"] = {"digit_vae"}
            body += ["vae = digit_vae().double()"]
    elif choice.data == "toy":
        needed["helpers.zoo.toys"] = {"above_or_below", "toys"}
        body = [f"toy = toys()[{TOYS[choice.toy]!r}]", "model, image = above_or_below(toy), toy.point"]
        body += ["names = toy.feature_names"]
    elif choice.data == "patient":
        needed |= {"helpers.zoo.datasets": {"breast_cancer"}, "helpers.zoo.networks": {"diagnosis_net"}}
        body = ["model, data = diagnosis_net(), breast_cancer()", "names = data.feature_names"]
        body += [f"image = data.test_inputs[[{choice.patient}]].double()"]
    else:
        reader, name = "photograph", choice.photo
        if choice.data == "file":
            reader, name = "load_photo", str(FilePath(choice.file).expanduser())
        needed |= {"helpers.zoo.classifiers": {"load_classifier"}, "helpers.zoo.photographs": {reader}}
        body = ["model = load_classifier(show_progress=False).model"]
        body += [f"image = {reader}({name!r}, {choice.side}).image[None]"]
    body += [f"target = {target}  # {subject.label(target)}"]
    if choice.preset:
        needed["helpers.saliency"].add("presets")
        saliency = f"presets.supports(model, {written(_preset_reference(choice))})"
        body += [f"saliency_map = reduce({saliency}.attribute(image, target))[0]"]
    else:
        member, level = member_of(choice, subject), level_of(choice)
        needed["helpers.saliency"].add("NonlinearSaliency")
        chosen = ("score", "coordinates", "geometry", "path", "readout")
        body += ["saliency = NonlinearSaliency(", "    model,"]
        body += [f"    {name}={written(getattr(member, name))}," for name in chosen]
        if choice.noise:
            body += [f"    noise={choice.noise!r},", f"    samples={choice.samples},"]
        body += [")"]
        body += [f"record = saliency.explain(image, target, level={written(level)})"]
        body += ["saliency_map = record.support()" if table else "saliency_map = reduce(record.support())[0]"]
    if choice.smoothing and not table:
        needed["helpers.saliency"].add("gaussian_blur")
        body += [f"saliency_map = gaussian_blur(saliency_map[None, None], {choice.smoothing!r})[0, 0]"]
    if table:
        body += ['figure = bars({"support": saliency_map}, names, label="support")']
        body += ['show(figure, "What each feature supports.")']
    else:
        body += ['figure = maps_beside(image[0], {"support": saliency_map}, label="support")']
        body += ['show(figure, "An image, and beside it its saliency map.")']
    imports = [_import_line(module, names) for module, names in sorted(needed.items())]
    return "\n".join([*imports, "", *body]) + "\n"


def _import_line(module: str, names: set[str]) -> str:
    line = f"from {module} import {', '.join(sorted(names))}"
    if len(line) <= 110:
        return line
    return f"from {module} import (\n" + "".join(f"    {name},\n" for name in sorted(names)) + ")"


class Playground(ipywidgets.VBox):
    """The panel: a control for every field of `Choice`, the picture, and the choice written down.

    Digits are drawn when a control is released; what is `slow` waits for the button "Compute". What does not go
    together is explained, and nothing is computed; controls that make no difference are greyed out.

    Args:
        choice: where it starts.

    Attributes:
        controls: the widgets by name of field. upload: FileUpload of an own photograph.
        why: HTML, why the choice cannot be computed, or "". greyed: HTML, why controls are greyed out.
        compute: the button. canvas: `helpers.show.live.Canvas` with picture, status and error.
        words: HTML, the picture in words. shown: the choice that the picture shows, or None.
        write: the button that fills command and code (Textareas).

    Example:
        >>> panel = Playground(Choice(path="secant", coordinates="free"))
        >>> panel.controls["coordinates"].value = "removal"
        >>> "The secant takes no bounds" in panel.why.value, panel.compute.disabled
        (True, True)
    """

    def __init__(self, choice: Choice = Choice()):
        super().__init__()
        self.controls = {name: _control(name) for names in GROUPS.values() for name in names}
        self.upload = ipywidgets.FileUpload(
            accept="image/*", description="Upload", tooltip="a photograph from this computer"
        )
        self.why, self.greyed, self.words = (ipywidgets.HTML() for _ in range(3))
        self.canvas = Canvas()
        self.compute = ipywidgets.Button(description="Compute", layout={"width": "auto"})
        self.write = ipywidgets.Button(
            description="Write it down", tooltip="as a command and as Python code", layout={"width": "auto"}
        )
        self.command, self.code = (
            ipywidgets.Textarea(
                description=name, layout={"display": "none", "width": "98%", "height": height}
            )
            for name, height in (("command", "4em"), ("Python", "24em"))
        )
        self.shown: Choice | None = None
        self._subject: Subject | None = None
        self._settling = False
        groups = []
        for title, names in GROUPS.items():
            inside = [self.controls[name] for name in names]
            if "file" in names:
                inside.insert(names.index("file") + 1, self.upload)
            groups += [ipywidgets.HTML(f"<b>{title}</b>"), *inside]
        left = ipywidgets.VBox(groups, layout={"width": "330px", "flex": "0 0 auto"})
        buttons = ipywidgets.HBox([self.compute, self.write])
        right = ipywidgets.VBox(
            [self.why, buttons, self.canvas, self.words, self.greyed, self.command, self.code],
            layout={"flex": "1 1 500px", "min_width": "400px"},
        )
        self.children = (ipywidgets.HBox([left, right], layout={"flex_flow": "row wrap"}),)
        for name, control in self.controls.items():
            control.observe(self._guarded(self._changed, name), names="value")
        self.upload.observe(self._guarded(self._uploaded), names="value")
        self.compute.on_click(self._guarded(self._compute))
        self.write.on_click(self._guarded(self._write))
        self._guarded(self.choose, choice)()

    @property
    def choice(self) -> Choice:
        """The choice that the controls stand on; the most probable class is target -1."""
        values = {name: control.value for name, control in self.controls.items()}
        if self._subject is None or values["target"] == self._subject.ranked[0]:
            values["target"] = -1
        # before a subject has been loaded there are no options to choose from
        values = {name: value for name, value in values.items() if value is not None}
        return Choice(**values)

    @property
    def error(self) -> BaseException | None:
        """The last error, or None."""
        return self.canvas.error

    def choose(self, choice: Choice) -> None:
        """Set every control to a choice, and draw it, unless it is slow."""
        with self._silence():
            for name in self.controls.keys() - OF_NETWORK:
                self.controls[name].value = getattr(choice, name)
        self._load(choice)
        self._refresh()

    def _guarded(self, action, *arguments):
        """A callback for a control; what the action raises is shown in the status line."""

        def call(_event=None) -> None:
            if self._settling:
                return
            try:
                action(*arguments)
            except (Exception, KeyboardInterrupt) as error:
                self.shown = None
                self.canvas.fail(error)

        return call

    @contextmanager
    def _silence(self):
        """Controls that are set here call nothing."""
        self._settling = True
        try:
            yield
        finally:
            self._settling = False

    def _changed(self, name: str) -> None:
        if name in OF_SUBJECT:
            self._load()
        self._refresh()

    def _load(self, choice: Choice | None = None) -> None:
        """Load what is explained, and list its classes and stages; from a choice also take the class and stage."""
        wanted = choice or replace(self.choice, target=-1)
        self._subject, self.shown = None, None
        self.canvas.say("busy", "Loading …")
        try:
            found = load(wanted)
        except ValueError as error:
            self.canvas.fail(error)
            return
        classes = [(found.label(k), k) for k in found.ranked]
        places = [("0: the input", 0)]
        places += [(f"{k}: {h} x {w}", k) for k, (h, w) in enumerate(found.resolutions, start=1)]
        with self._silence():
            for name, options, value in (
                ("target", classes, _class_of(wanted, found)),
                ("rival", [("the best of all", -1), *classes], wanted.rival),
                ("stage", places, wanted.stage),
            ):
                known = [number for _, number in options]
                self.controls[name].options = options
                self.controls[name].value = value if value in known else known[0]
        self._subject = found

    def _refresh(self) -> None:
        """Grey out, explain, and draw or wait."""
        choice = self.choice
        idle = unused(choice)
        for name, control in self.controls.items():
            control.disabled = name in idle
            control.tooltip = f"not used: {idle[name]}" if name in idle else about(name)["says"]
        reasons = {}
        for name, reason in idle.items():
            reasons.setdefault(reason, []).append(name)
        listed = "; ".join(f"{', '.join(names)} ({reason})" for reason, names in reasons.items())
        self.greyed.value = f'<span style="color: #555">Greyed out, not used: {html.escape(listed)}.</span>'
        for area in (self.command, self.code):
            area.value, area.layout.display = "", "none"
        if self._subject is None:
            self.why.value = _alert(in_words(self.canvas.error)) if self.canvas.error else ""
            self.compute.disabled = self.write.disabled = True
            return
        stopped = _refusals_of(choice, self._subject)
        self.why.value = "".join(_alert(reason) for reason in stopped)
        self.compute.disabled = self.write.disabled = bool(stopped)
        self.compute.description = f"Compute (about {gradients(choice)} gradients)"
        self.compute.button_style = ""
        if stopped:
            self.canvas.say(
                "waiting", "Not computed: these choices do not go together (see above)." + self.canvas.kept
            )
        elif not slow(choice):
            self._compute()
        elif choice != self.shown:
            self.compute.button_style = "warning"
            self.canvas.say("waiting", "Press Compute." + self.canvas.kept)

    def _compute(self) -> None:
        choice = self.choice
        self.compute.disabled = True
        try:
            self.shown = choice if self.canvas.show(draw, choice=choice) else None
        finally:
            self.compute.disabled = False
        self.compute.button_style = ""
        words = self.canvas.picture.alt if self.shown else ""
        self.words.value = f"<p>{html.escape(words or '')}</p>"

    def _write(self) -> None:
        choice = self.choice
        self.command.value, self.code.value = command(choice), code(choice)
        for area in (self.command, self.code):
            area.layout.display = None

    def _uploaded(self) -> None:
        """Keep the uploaded file where the command and the code find it again, and explain it."""
        if not self.upload.value:
            return
        upload = self.upload.value[0]
        content = bytes(upload["content"])
        folder = CACHE_FOLDER / "uploads"
        # the digest: another picture of the same name is another file; the name alone, whatever path came with it
        name = FilePath(upload["name"].replace("\\", "/")).name or "photo"
        path = folder / f"{hashlib.sha256(content).hexdigest()[:8]}_{name}"
        write_whole(path, content)
        self.choose(replace(self.choice, data="file", file=str(path), target=-1, rival=-1))
        if self._subject is None:
            path.unlink()


def _control(name: str) -> ipywidgets.Widget:
    """The widget of a field; options that depend on what is explained come later."""
    says, default = about(name), getattr(Choice(), name)
    shared = {
        "description": name,
        "tooltip": says["says"],
        "layout": {"width": "310px"},
        "style": {"description_width": "90px"},
    }
    if name in OF_NETWORK:
        return ipywidgets.Dropdown(**shared)
    if says["among"]:
        return ipywidgets.Dropdown(options=says["among"], value=default, **shared)
    if isinstance(default, bool):
        return ipywidgets.Checkbox(value=default, indent=False, **(shared | {"description": "the preset"}))
    if isinstance(default, str):
        return ipywidgets.Text(value=default, placeholder="path", continuous_update=False, **shared)
    shared["value"] = default
    if name == "amount":
        return ipywidgets.FloatText(step=0.5, **shared)
    bounds = {"min": says["low"], "max": says["high"]}
    if name in ("image", "side"):
        step = 1 if name == "image" else 32
        return ipywidgets.IntSlider(step=step, continuous_update=False, **bounds, **shared)
    if isinstance(default, int):
        return ipywidgets.BoundedIntText(**bounds, **shared)
    if name == "noise":
        return ipywidgets.BoundedFloatText(step=0.05, **bounds, **shared)
    return ipywidgets.FloatSlider(step=0.5, continuous_update=False, **bounds, **shared)


def _alert(text: str) -> str:
    """A reason, in red."""
    style = "color: #b00020; border-left: 4px solid #b00020; padding-left: 8px; margin: 4px 0"
    return f'<div role="alert" style="{style}; line-height: 1.4">{html.escape(text)}</div>'
