"""Maps of many images, on disk: computed in batches, one file an image, and never twice.

A folder holds, below one name for everything that decides a map (`Recipe`, the model and its weights, the image
size, the code of this package), two files an image: the map, ``.safetensors``, and its record, ``.json``. They are
named by the image's name and content, and made under another name first, the record last: where the record is,
the map is whole. So an interrupted run is continued by the same call, and maps of other settings are never taken
for those that are asked for.

Of a user's own model ("module:function") its weights, its list of modules and the file in which the function
stands are compared. What is not seen: a change in code that this file imports; delete the folder then.
"""

import hashlib
import io
import json
import math
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import safetensors.torch
import torch
from captum.attr import GradientAttribution
from PIL import Image
from torch import Tensor, nn
from tqdm.auto import tqdm

from helpers.checks import did_you_mean, require_count
from helpers.files import ROOT, package_hash, sweep_up, write_whole
from helpers.lessons.your_model import ImageSet, class_number, device_of, modules_by_name
from helpers.measure.faithfulness import perturbed, probability
from helpers.measure.maps import sum_channels
from helpers.saliency import (
    Blurred,
    Flow,
    Input,
    LogOdds,
    NonlinearSaliency,
    OwnMean,
    Straight,
    Tangent,
    presets,
)
from helpers.show.maps import as_plane, colour_limit, laid_over
from helpers.zoo.classifiers import Classifier
from helpers.zoo.networks import predict

FOLDER = ROOT / "build" / "maps"
# name -> steps where the recipe says 0
METHODS = {"cheap": 2, "supports": 8, "contrasts": 2, "straight": 16, "flow": 16, "tangent": 1}
PRESETS = ("cheap", "supports", "contrasts")
PREDICTED, LABELLED = "predicted", "labelled"
OWN = "own"
# name -> the image without the evidence; the method's own first
REFERENCES = {
    OWN: None,
    "blurred": Blurred(),
    "mean colour": OwnMean(),
    "black": 0.0,
    "grey": 0.5,
    "white": 1.0,
}
# The check by deletion: which share of the squares goes, and how often as many at random.
GONE, DRAWS = 0.2, 4
MAP = "map"
# What is kept of each member's record.
NUMBERS = (
    "score_start",
    "score_end",
    "level",
    "residual",
    "completeness_error",
    "converged",
    "gradient_evaluations",
    "forward_evaluations",
    "head_evaluations",
)


@dataclass(frozen=True)
class Recipe:
    """Which map, and of which class.

    Args:
        method: "supports", "contrasts": as in `presets`. "cheap": `presets.supports` with one path, to the image's
            mean colour. "straight": log-odds, all the way to a blurred copy. "flow": log-odds, pixels in [0, 1],
            to the boundary. "tangent": linear saliency, to the boundary.
        steps: of a path (the tangent has one); 0: the method's own number, of `METHODS`.
        explained: "predicted": the most probable class. "labelled": that of labels.csv. Else the name of a class,
            which is explained on every image.
        reference: the image without the evidence, a name of `REFERENCES`; not for flow and tangent.
        layers: names of the modules that cheap, supports and contrasts read; none: those they find.
        rivals: names of the classes that contrasts compares with; none: the eight highest.

    Raises:
        ValueError: another name (the message names the nearest), a wrong number of steps, or a choice that the
            method does not have.

    Example:
        >>> Recipe().method, Recipe("flow", 8).saliency(nn.Flatten()).path
        ('cheap', Flow(steps=8))
    """

    method: str = "cheap"
    steps: int = 0
    explained: str = PREDICTED
    reference: str = OWN
    layers: tuple[str, ...] = ()
    rivals: tuple[str, ...] = ()

    def __post_init__(self):
        for name, value, known in (
            ("method", self.method, tuple(METHODS)),
            ("reference", self.reference, tuple(REFERENCES)),
        ):
            if value not in known:
                raise ValueError(
                    f"Recipe({name}): expected one of {', '.join(known)}; got {value!r}."
                    + did_you_mean(value, known)
                )
        for name in ("layers", "rivals"):
            value = getattr(self, name)
            if isinstance(value, str) or not all(isinstance(each, str) for each in value):
                raise ValueError(f"Recipe({name}): expected a list of names; got {value!r}.")
            object.__setattr__(self, name, tuple(value))
        for name, chosen, methods in (
            ("reference", self.reference != OWN, (*PRESETS, "straight")),
            ("layers", bool(self.layers), PRESETS),
            ("rivals", bool(self.rivals), ("contrasts",)),
        ):
            if chosen and self.method not in methods:
                raise ValueError(
                    f"Recipe({name}): expected none with {self.method!r}, only {', '.join(methods)} use it; got "
                    f"{getattr(self, name)!r}."
                )
        if self.steps != 0 or isinstance(self.steps, bool):
            require_count("Recipe(steps)", self.steps)
        if self.method == "tangent" or not self.steps:
            object.__setattr__(self, "steps", METHODS[self.method])

    def saliency(self, model: nn.Module, class_names: Sequence[str] = ()) -> GradientAttribution:
        """The method on a model of images.

        Args:
            class_names: the model's K; needed for rivals.

        Raises:
            ValueError: a layer or a rival that the model does not have.
        """
        reference = REFERENCES[self.reference]
        if self.method in PRESETS:
            named = {
                "reference": reference,
                "layers": modules_by_name(model, self.layers),
                "steps": self.steps,
            }
            if self.method == "contrasts":
                rivals = [class_number(class_names, name, "rivals") for name in self.rivals]
                return presets.contrasts(model, rivals or None, **named)
            if self.method == "cheap" and reference is None:
                named["reference"] = OwnMean()
            return presets.supports(model, **named)
        if self.method == "straight":
            inner = Input(reference=Blurred() if reference is None else reference)
            return NonlinearSaliency(model, LogOdds(), inner, path=Straight(self.steps))
        if self.method == "flow":
            return NonlinearSaliency(model, LogOdds(), Input(0.0, 1.0), path=Flow(self.steps))
        return NonlinearSaliency(model, LogOdds(), path=Tangent())


@dataclass(frozen=True)
class SavedMap:
    """One image's map on disk; `save_maps` has an example.

    Attributes:
        file: the map, as a tensor named "map", (C, H, W), float32: what `attribute` returns.
        record: what is in the JSON beside it.
        number: the image's place in its `ImageSet`.
    """

    file: Path
    record: dict = field(compare=False)
    number: int = field(compare=False)

    def map(self) -> Tensor:
        """The map, (C, H, W), on the CPU.

        Raises:
            FileNotFoundError: the file is gone.
            ValueError: it is not the file that was written.
        """
        content = self.file.read_bytes()
        if hashlib.sha256(content).hexdigest() != self.record["map_sha256"]:
            raise ValueError(
                f"{self.file}: expected the map that was written; the file was changed or cut short."
            )
        return safetensors.torch.load(content)[MAP]


@dataclass(frozen=True)
class SaveReport:
    """What `save_maps` did.

    Attributes:
        folder: where the maps are.
        maps: those of all images that could be explained, in the images' order.
        computed: how many were computed now.
        damaged: names of images whose map was there, but not whole: computed again.
        skipped: name -> why there is no map: an image that cannot be read, outputs or maps that are not finite.
        passed_over: of the `ImageSet`: files that were not tried.

    Example:
        >>> print(SaveReport(Path("maps"), maps=(), computed=0, damaged=(), skipped={"a.jpg": "no picture"}))
        0 maps: 0 computed, 0 found on disk
        skipped: a.jpg: no picture
    """

    folder: Path
    maps: tuple[SavedMap, ...]
    computed: int
    damaged: tuple[str, ...]
    skipped: dict[str, str]
    passed_over: tuple[str, ...] = ()

    @property
    def found(self) -> int:
        """How many were there already."""
        return len(self.maps) - self.computed

    def __str__(self) -> str:
        lines = [f"{len(self.maps)} maps: {self.computed} computed, {self.found} found on disk"]
        if self.damaged:
            lines += [f"damaged on disk and computed again: {', '.join(self.damaged)}"]
        lines += [f"skipped: {name}: {reason}" for name, reason in self.skipped.items()]
        return "\n".join([*lines, *(f"passed over: {line}" for line in self.passed_over)])

    def table(self) -> pd.DataFrame:
        """One row a map: image, class, probability, and the numbers of the record.

        Columns: image, class_index, class_name, probability, label; without, without_random (the probability when
        the strongest fifth of the map's squares is blurred, or a fifth at random); converged (all members);
        score_start, score_end, residual (the first member's); gradients, forwards (all members).
        """
        keys = ("image", "class_index", "class_name", "probability", "label")
        keys += ("without", "without_random", "converged")
        rows = []
        for saved in self.maps:
            members = saved.record["members"]
            rows.append(
                {key: saved.record[key] for key in keys}
                | {key: members[0][key] for key in ("score_start", "score_end", "residual")}
                | {"gradients": sum(member["gradient_evaluations"] for member in members)}
                | {"forwards": sum(m["forward_evaluations"] + m["head_evaluations"] for m in members)}
            )
        return pd.DataFrame(rows)


def save_maps(
    classifier: Classifier,
    images: ImageSet,
    recipe: Recipe = Recipe(),
    output: str | Path = "",
    batch_size: int = 8,
    show_progress: bool = True,
) -> SaveReport:
    """The maps of all images, on disk; those that are not there yet are computed.

    The second call with the same settings computes nothing. A call that is interrupted keeps what is whole. Two
    calls at a time do no harm, but may compute the same.

    Args:
        classifier: of `helpers.lessons.your_model.bring`.
        images: of `helpers.lessons.your_model.image_set`.
        recipe: which map.
        output: folder; a folder inside it is made for these settings. "": `FOLDER`.
        batch_size: images at a time; a map does not depend on it, up to round-off (which a flow can enlarge: it
            turns at every kink of a ReLU network; so can a path to a flat colour, where max pooling has ties).
        show_progress: a progress bar over the images.

    Raises:
        ValueError: labels asked for and none there, a class, rival or layer that the model does not have, no image
            that can be explained, a wrong batch size.
        NotADirectoryError: output is a file.

    Example:
        >>> import tempfile
        >>> from helpers.lessons.your_model import bring, image_set
        >>> few, recipe = image_set(limit=2), Recipe("tangent")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for _ in range(2):
        ...         print(save_maps(bring(side=32), few, recipe, folder, show_progress=False))
        2 maps: 2 computed, 0 found on disk
        2 maps: 0 computed, 2 found on disk
    """
    require_count("batch_size", batch_size)
    _explained(recipe, classifier)
    if recipe.explained == LABELLED and images.labels is None:
        raise ValueError(
            "explained: expected a labels.csv (file, class_index) in the folder, because the labelled class is to "
            f"be explained; found none. Write one, or explain the {PREDICTED!r} class."
        )
    settings = settings_of(classifier, recipe)
    key = _hash(json.dumps(settings, sort_keys=True))
    root = Path(output) if str(output) else FOLDER
    if root.exists() and not root.is_dir():
        raise NotADirectoryError(f"output: expected a folder; {root} is a file.")
    folder = root / f"{_plain(classifier.name)}-{recipe.method}-{key}"
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / "settings.json", _json(settings))
    sweep_up(folder)
    maps: dict[int, SavedMap] = {}
    missing, damaged, skipped = [], [], {}
    for number, name in enumerate(images.names):
        try:
            # by name and content: two images may have one content, and two names the same plain letters
            own = _hash(f"{name} {images.digest(number)}")
            file = folder / f"{_plain(name)}-{own}.safetensors"
        except OSError as error:
            skipped[name] = str(error)
            continue
        saved, there = _whole(file, images, number, recipe)
        if saved:
            maps[number] = saved
        else:
            missing.append((number, file))
            damaged += [name] * there
    method = recipe.saliency(classifier.model, classifier.class_names)
    options = {"desc": "maps", "unit": "image", "leave": False, "disable": not show_progress}
    with tqdm(total=len(images), initial=len(maps), **options) as bar:
        for batch in (missing[start : start + batch_size] for start in range(0, len(missing), batch_size)):
            done, left_out = _batch(classifier, method, images, recipe, dict(batch))
            skipped |= left_out
            maps |= done
            bar.update(len(batch))
    if not maps:
        raise ValueError(
            f"images: expected at least one that can be explained; of {len(images)} none can. "
            f"{next(iter(skipped.items()))}"
        )
    computed = sum(number in maps for number, _ in missing)
    ordered = tuple(maps[number] for number in sorted(maps))
    return SaveReport(folder, ordered, computed, tuple(damaged), skipped, images.passed_over)


def save_overlays(report: SaveReport, images: ImageSet, side: int, signed: bool = False) -> float:
    """Every map over its image, as a PNG beside it, all on one scale: a map with little to say is pale.

    Args:
        report: of `save_maps`.
        images: those of the report.
        side: pixels a side of the images.
        signed: as in `helpers.show.maps.laid_over`.

    Returns:
        Where the colours end, in the maps' unit: the median of the maps' own ends, their 99.5th percentiles.

    Example:
        >>> import tempfile
        >>> from helpers.lessons.your_model import bring, image_set
        >>> few = image_set(limit=1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     report = save_maps(bring(side=32), few, Recipe("tangent"), folder, show_progress=False)
        ...     _ = save_overlays(report, few, 32)
        ...     sorted(file.suffix for file in report.folder.glob("chelsea*"))
        ['.json', '.png', '.safetensors']
    """
    planes = [as_plane(saved.file.name, saved.map()) for saved in report.maps]
    limit = float(np.median([colour_limit([plane], 99.5) for plane in planes]))
    for saved, plane in zip(report.maps, planes, strict=True):
        over = laid_over(images.load(saved.number, side), torch.as_tensor(plane), limit, signed)
        content = io.BytesIO()
        Image.fromarray(over).save(content, "PNG")
        write_whole(saved.file.with_suffix(".png"), content.getvalue())
    return limit


def settings_of(classifier: Classifier, recipe: Recipe) -> dict:
    """Everything that decides a map besides the image: two maps with the same settings may stand in one table.

    Example:
        >>> from helpers.lessons.your_model import bring
        >>> list(settings_of(bring(side=32), Recipe()))[6:]
        ['model', 'weights', 'source', 'side', 'code']
    """
    return {
        **asdict(recipe),
        "model": classifier.name,
        "weights": weights_digest(classifier.model),
        "source": _source(classifier.name),
        "side": classifier.size,
        "code": package_hash(),
    }


def weights_digest(model: nn.Module) -> str:
    """A hash of a model's parameters, buffers and list of modules.

    Example:
        >>> model = nn.Linear(3, 2)
        >>> before = weights_digest(model)
        >>> _ = nn.init.zeros_(model.weight)
        >>> weights_digest(model) == before
        False
    """
    # Functions are shown with their place in memory, which is another one in every process.
    digest = hashlib.sha256(re.sub(r"0x[0-9a-f]+", "", str(model)).encode())
    for name, value in model.state_dict().items():
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def _batch(
    classifier: Classifier,
    method: GradientAttribution,
    images: ImageSet,
    recipe: Recipe,
    files: dict[int, Path],
) -> tuple[dict[int, SavedMap], dict[str, str]]:
    """The maps of one batch, written; and name -> reason of what has none."""
    loaded, skipped = images.read(classifier.size, files)
    if not loaded:
        return {}, skipped
    started = time.perf_counter()
    pixels = torch.stack(list(loaded.values())).to(device_of(classifier.model))
    logits = predict(classifier.model, pixels)
    sound = torch.isfinite(logits).all(1)
    kept = [number for number, fine in zip(loaded, sound.tolist(), strict=True) if fine]
    skipped |= {images.names[n]: "the model's outputs are NaN or infinite" for n in loaded if n not in kept}
    if not kept:
        return {}, skipped
    pixels, probabilities = pixels[sound], logits[sound].softmax(1)
    best = probabilities.argmax(1)
    targets = best
    named = _explained(recipe, classifier)
    if recipe.explained == LABELLED:
        targets = torch.tensor([images.labels[number] for number in kept], device=pixels.device)
    elif named is not None:
        targets = torch.full_like(best, named)
    rivals = {class_number(classifier.class_names, name, "rivals") for name in recipe.rivals}
    fair = [int(target) not in rivals for target in targets]
    skipped |= {
        images.names[n]: "its class is among the rivals" for n, f in zip(kept, fair, strict=True) if not f
    }
    if not any(fair):
        return {}, skipped
    kept = [number for number, is_fair in zip(kept, fair, strict=True) if is_fair]
    fair = torch.tensor(fair, device=pixels.device)
    pixels, probabilities, best, targets = pixels[fair], probabilities[fair], best[fair], targets[fair]
    explained = method.explain(pixels, targets)
    maps, records = explained.support(), explained.members
    seconds = (time.perf_counter() - started) / len(kept)
    without, at_random = _without(classifier.model, pixels, targets, maps)
    done = {}
    for row, number in enumerate(kept):
        values = maps[row].detach().float().cpu().contiguous()
        if not torch.isfinite(values).all():
            reasons = "; ".join(r.reason[row] for r in records)
            skipped[images.names[number]] = f"the map is NaN or infinite ({reasons})"
            continue
        target = int(targets[row])
        members = [
            {name: _number(getattr(record, name), row) for name in NUMBERS} | {"reason": record.reason[row]}
            for record in records
        ]
        record = {
            "image": images.names[number],
            "image_sha256": images.digest(number),
            "class_index": target,
            "class_name": classifier.class_names[target],
            "probability": probabilities[row, target].item(),
            "predicted": int(best[row]),
            "label": None if images.labels is None else images.labels[number],
            "without": without[row].item(),
            "without_random": at_random[row].item(),
            "converged": all(member["converged"] for member in members),
            "members": members,
            "seconds": round(seconds, 4),
        }
        done[number] = SavedMap(files[number], _save(files[number], values, record), number)
    return done, skipped


def _explained(recipe: Recipe, classifier: Classifier) -> int | None:
    """The class that is explained on every image, if the recipe names one."""
    words = (PREDICTED, LABELLED)
    if recipe.explained in words:
        return None
    return class_number(classifier.class_names, recipe.explained, "explained", words)


def _without(model: nn.Module, pixels: Tensor, targets: Tensor, maps: Tensor) -> tuple[Tensor, Tensor]:
    """The classes' probabilities, (N,), without a share of the squares: the map's strongest; as many at random."""
    side = pixels.shape[-1]
    square = max(width for width in range(1, max(1, side // 10) + 1) if side % width == 0)
    generator = torch.Generator().manual_seed(0)
    planes = [torch.nan_to_num(sum_channels(maps.detach()))]
    planes += [torch.rand(planes[0].shape, generator=generator).to(planes[0]) for _ in range(DRAWS)]
    found = []
    for plane in planes:
        steps = perturbed(pixels, plane, Blurred(), "deletion", square, round(1 / GONE))
        _, gone = next(steps), next(steps)
        found.append(probability(predict(model, gone), targets))
    return found[0], torch.stack(found[1:]).mean(0)


def _number(values, row: int) -> float | int | bool | None:
    """One example's number, as JSON can hold it; None where it is not finite."""
    value = (values[row] if values.ndim else values).item() if isinstance(values, Tensor) else values
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _save(file: Path, values: Tensor, record: dict) -> dict:
    """Writes a map and its record; returns the record as it was written."""
    metadata = {name: str(record[name]) for name in ("image", "image_sha256", "class_index", "class_name")}
    content = safetensors.torch.save({MAP: values}, metadata)
    record = record | {"map": file.name, "map_sha256": hashlib.sha256(content).hexdigest()}
    # A record of an older map goes first: with the new map beside it, it would be taken for whole, and is not.
    _record_file(file).unlink(missing_ok=True)
    write_whole(file, content)
    write_whole(_record_file(file), _json(record))
    return record


def _whole(file: Path, images: ImageSet, number: int, recipe: Recipe) -> tuple[SavedMap | None, bool]:
    """The map, if it is there, whole, and of the wanted class; and whether there was something damaged."""
    there = file.exists() or _record_file(file).exists()
    if not there:
        return None, False
    try:
        record = json.loads(_record_file(file).read_text(encoding="utf-8"))
        wanted = images.labels[number] if recipe.explained == LABELLED else record["class_index"]
        SavedMap(file, record, number).map()
    except (OSError, ValueError, KeyError, TypeError):
        return None, True
    if record["class_index"] != wanted:
        return None, False
    label = None if images.labels is None else images.labels[number]
    return SavedMap(file, record | {"image": images.names[number], "label": label}, number), False


def _record_file(file: Path) -> Path:
    return file.with_suffix(".json")


def _json(content: dict) -> bytes:
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()


def _plain(name: str) -> str:
    """A name that every file system takes."""
    return re.sub(r"[^\w.-]+", "_", name).strip("._")[-60:] or "image"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _source(name: str) -> str | None:
    """A hash of the file in which "module:function" stands; None for other names."""
    file = getattr(sys.modules.get(name.partition(":")[0]), "__file__", None)
    return _hash(Path(file).read_text(encoding="utf-8")) if ":" in name and file else None
