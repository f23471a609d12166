"""Where several classes compete: does the map of a class point to its object? python -m benchmarks.pointing.

Scenes of objects at known places (`helpers.measure.scenes`): mosaics of four photographs, a photograph within
another one, digits on a canvas. Every method is asked for the map of each object's class, plain and with the same
contrast between classes: the eight highest other classes, or the eight highest that are in no place of the scene.
Rank AUC of "this square lies in the object" (chance 0.5).

`choose` lets every method choose its setting and its smoothing on one half of the images, with EfficientNet-Lite0
and the digit CNN; `report` scores it, frozen, on scenes of the other half. Every image stands in one scene, so that
scenes are independent. Maps are kept in build/pointing/: an interrupted run goes on where it stopped.
"""

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from benchmarks.common import BUNDLED_CLASSES, HERE, folder_for, page_of, parser_of, write_table, write_whole
from benchmarks.methods import (
    CONTRASTS,
    CONTROLS,
    FINER,
    IG,
    SUPPORTS,
    Maps,
    contrasted,
    methods_of,
)
from helpers.lessons.scoreboard import NO_PEERS
from helpers.measure.grids import BEST, OTHERS, confident, put_together
from helpers.measure.maps import pool, smooth
from helpers.measure.scenes import Scenes, insets, of_grids, planted, pointing
from helpers.measure.statistics import against
from helpers.zoo.classifiers import load_classifier
from helpers.zoo.datasets import mnist5k
from helpers.zoo.networks import digit_net, digit_vit, predict
from helpers.zoo.photographs import load_photo, photo_folder, photograph

CACHE = HERE.parent / "build" / "pointing"
CELL, RIVALS = 128, 8
PLAIN, CONTRAST, CELLS_OUT = "plain", "contrast", "contrast, cells out"
VARIANTS = (PLAIN, CONTRAST, CELLS_OUT)
PHOTO_NETWORKS = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")
DIGIT_NETWORKS = {"digit_net": digit_net, "digit_vit": digit_vit}
PRESET = "presets.contrasts, as it comes"
OWN_WIDTH = 3 / 56  # its smoothing, as a share of the side; the row `CONTRASTS` chooses, as every method does
ALONE = (*CONTROLS, FINER)  # a control is the same for all classes; Finer-CAM is a contrast
SLOW = (IG, "SmoothGrad")  # left out of a quick run


@dataclass(frozen=True)
class Kind:
    """What differs between photographs and digits. square: of the cached maps and of the score, in px."""

    layouts: tuple[str, ...]
    cached: int
    square: int
    widths: tuple[float, ...]


PHOTOGRAPHS = Kind(("mosaic", "inset"), 4, 8, (0, 8, 16, 32, 48, 64, 96, 128))
DIGITS = Kind(("planted",), 1, 2, (0, 2, 4, 6, 8, 12, 16))


def network(name: str) -> nn.Module:
    """By its name in the tables."""
    return DIGIT_NETWORKS[name]() if name in DIGIT_NETWORKS else load_classifier(name).model


def groups(sure: Tensor, targets: Tensor, size: int, count: int, seed: int = 0) -> Iterator[list[int]]:
    """So many groups of images of distinct classes, no image in two of them, as many as there are."""
    left = sure[torch.randperm(len(sure), generator=torch.Generator().manual_seed(seed))].tolist()
    for _ in range(count):
        group: list[int] = []
        for number in left:
            if len(group) < size and int(targets[number]) not in targets[group].tolist():
                group.append(number)
        if len(group) < size:
            return
        left = [number for number in left if number not in group]
        yield group


def labelled(folder: Path | None, part: str, side: int) -> tuple[Tensor, Tensor]:
    """Images (M, 3, side, side) and classes of one half of a folder, or (reporting) those that packages bring."""
    if folder is None:
        images = [photograph(name, side).image for name in BUNDLED_CLASSES]
        return torch.stack(images), torch.tensor(list(BUNDLED_CLASSES.values()))
    paths = photo_folder(folder)
    order = torch.randperm(len(paths), generator=torch.Generator().manual_seed(0)).tolist()
    half = order[: len(order) // 2] if part == "choosing" else order[len(order) // 2 :]
    images = [load_photo(paths[place][0], side).image for place in half]
    return torch.stack(images), torch.tensor([paths[place][1] for place in half])


def photo_scenes(folder: Path | None, model: nn.Module, layout: str, part: str, count: int) -> list[Scenes]:
    """Scenes of photographs, one each; no photograph is in two of them.

    Raises:
        ValueError: too few photographs for a single scene.
    """
    images, targets = labelled(folder, part, CELL if layout == "mosaic" else 2 * CELL)
    # those that packages bring are few: there it is enough that the network is right
    sure = confident(predict(model, images, 16).softmax(1), targets, 0.0 if folder is None else 0.9)
    scenes = []
    for number, group in enumerate(groups(sure, targets, 4 if layout == "mosaic" else 2, count)):
        if layout == "mosaic":
            scenes.append(of_grids(put_together(model, images, targets, torch.tensor([group]), 1)))
        else:
            certain = nn.functional.one_hot(targets[group]).double()
            scenes.append(insets(images[group], targets[group], model, 1, seed=number, probabilities=certain))
    if not scenes:
        raise ValueError(
            f"--photos: expected at least {4 if layout == 'mosaic' else 2} photographs of distinct classes in the "
            f"{part} half that the network names, of a folder with a probability of 0.9; got {len(sure)} of "
            f"{len(images)}."
        )
    return scenes


def digit_scenes(model: nn.Module, part: str, count: int) -> list[Scenes]:
    """Three digits on a canvas of 84 px each, of held-out images."""
    split = mnist5k()
    options = {"count": count, "part": part, "seed": 0}
    scenes = planted(split.test_inputs, split.test_targets, model, **options)
    return [scenes[row : row + 1] for row in range(len(scenes))]


def classes_of(model: nn.Module, scene: Scenes) -> tuple[list[int], list[float]]:
    """The objects' classes, then the highest others, with their logits."""
    logits = predict(model, scene.images, 1)[0]
    own = scene.targets[0].tolist()
    others = [label for label in logits.argsort(descending=True).tolist() if label not in own][:RIVALS]
    return own + others, logits[own + others].tolist()


def cached_maps(file: Path, maps: Maps, image: Tensor, classes: Sequence[int], square: int) -> Tensor:
    """Maps of the classes, averaged over squares, (K, H / square, W / square); computed once."""
    if not file.is_file():
        pooled = pool(maps(image, classes).detach().float().cpu(), square)
        file.parent.mkdir(parents=True, exist_ok=True)
        unfinished = file.with_suffix(".part.npz")
        np.savez(unfinished, maps=pooled.numpy(), classes=np.array(classes))
        unfinished.replace(file)
    with np.load(file) as kept:
        return torch.from_numpy(kept["maps"])


def variant_maps(maps: Tensor, logits: Sequence[float], objects: int, width: float, variant: str) -> Tensor:
    """The map of each object's class, (objects, h, w), plain or with a contrast, after smoothing by width."""
    maps = smooth(maps, width)
    if variant == PLAIN:
        return maps[:objects]
    by_logit = sorted(range(len(maps)), key=lambda place: -logits[place])
    found = []
    for own in range(objects):
        rivals = [p for p in by_logit if p != own and (variant == CONTRAST or p >= objects)][:RIVALS]
        found.append(contrasted(maps, own, rivals))
    return torch.stack(found)


Wanted = Callable[[str, Sequence[str]], list[tuple[str, str, float]]]


def scored(
    scenes: Sequence[Scenes], model: nn.Module, name: str, kind: Kind, wanted: Wanted, quick: bool = False
) -> pd.DataFrame:
    """One row a (scene, object, method, setting, variant, width).

    Args:
        name: of the model, in the cache.
        wanted: (method, its settings) -> setting, variant and width of each map that is scored.
    """
    tables, methods = [], methods_of(model, scenes[0].images)
    if quick:
        methods = {method: of for method, of in methods.items() if method not in SLOW}
    bar = tqdm(total=len(scenes) * len(methods), desc=name)
    for number, scene in enumerate(scenes):
        image, objects = scene.images, scene.targets.shape[1]
        classes, logits = classes_of(model, scene)
        code = hashlib.sha256(image.numpy().tobytes()).hexdigest()[:16]
        for method, settings in methods.items():
            for setting, variant, width in wanted(method, list(settings)):
                slug = re.sub(r"[^a-z0-9]+", "-", f"{method} {setting}".lower()).strip("-")
                file = CACHE / name / code / f"{slug}.npz"
                asked = classes[:objects] if method in ALONE else classes
                maps = cached_maps(file, settings[setting], image, asked, kind.cached)
                planes = variant_maps(maps, logits, objects, width / kind.cached, variant)
                planes = planes.repeat_interleave(kind.cached, -2).repeat_interleave(kind.cached, -1)
                rows = pointing(planes[None], scene, kind.square).drop(columns="scene")
                known = {"method": method, "setting": setting, "variant": variant, "width": width}
                tables.append(rows.assign(scene=number, **known))
            bar.update()
    bar.close()
    return pd.concat(tables, ignore_index=True)


def to_choose_from(kind: Kind, settings: Mapping[tuple[str, str], str]) -> Wanted:
    """All widths, in the settings that were chosen, or in all."""

    def wanted(method: str, every: Sequence[str]) -> list[tuple[str, str, float]]:
        return [
            (setting, variant, width)
            for variant in ((PLAIN,) if method in ALONE else (PLAIN, CONTRAST))
            for setting in ([settings[method, variant]] if settings else every)
            for width in kind.widths
        ]

    return wanted


def frozen(choices: Mapping[tuple[str, str], tuple[str, float]], side: int) -> Wanted:
    """What every method has chosen; the preset stands there once more, with the smoothing that it comes with."""

    def wanted(method: str, every: Sequence[str]) -> list[tuple[str, str, float]]:
        found = []
        for variant in (PLAIN,) if method in ALONE else VARIANTS:
            setting, width = choices[method, PLAIN if variant == PLAIN else CONTRAST]
            found.append((setting, variant, width))
            if method == CONTRASTS and variant != PLAIN:
                found.append((setting, variant, OWN_WIDTH * side))
        return found

    return wanted


def choose(folder: Path | None, count: int, digits: int) -> pd.DataFrame:
    """The best setting and width of every method, variant and layout on the choosing half: one row each.

    The setting is that of the kind's first layout; the smoothing, which depends on the size of the objects, is
    chosen for each.
    """
    tables = []
    for kind, name in ((PHOTOGRAPHS, PHOTO_NETWORKS[0]), (DIGITS, "digit_net")):
        if kind is PHOTOGRAPHS and folder is None:
            continue
        model, settings = network(name), {}
        for layout in kind.layouts:
            if kind is DIGITS:
                scenes = digit_scenes(model, "choosing", digits)
            else:
                scenes = photo_scenes(folder, model, layout, "choosing", count)
            scores = scored(scenes, model, name, kind, to_choose_from(kind, settings))
            keys = ["method", "variant", "setting", "width"]
            means = scores.groupby(keys, sort=False)["rank_auc"].mean().reset_index()
            best = means.loc[means.groupby(["method", "variant"], sort=False)["rank_auc"].idxmax()]
            settings = settings or {(r.method, r.variant): r.setting for r in best.itertuples()}
            edge = best["width"] == max(kind.widths)
            tables.append(best.assign(layout=layout, scenes=len(scenes), at_edge=edge))
    return pd.concat(tables, ignore_index=True)


def report(
    folder: Path | None, count: int, digits: int, networks: Sequence[str], quick: bool = False
) -> pd.DataFrame:
    """Scores of every method, frozen, on scenes of the reporting half: one row a (layout, network, scene, ...)."""
    table = pd.read_csv(HERE / "choose.csv", keep_default_na=False)
    tables = []
    for kind in (DIGITS, PHOTOGRAPHS):
        for name in (each for each in networks if (each in DIGIT_NETWORKS) == (kind is DIGITS)):
            model = network(name)
            for layout in kind.layouts:
                if kind is DIGITS:
                    scenes = digit_scenes(model, "reporting", digits)
                else:
                    scenes = photo_scenes(folder, model, layout, "reporting", count)
                rows = table[table["layout"] == layout].itertuples()
                choices = {(r.method, r.variant): (r.setting, float(r.width)) for r in rows}
                side = scenes[0].images.shape[-1]
                scores = scored(scenes, model, name, kind, frozen(choices, side), quick)
                own = (scores["method"] == CONTRASTS) & (scores["width"] == OWN_WIDTH * side)
                scores.loc[own, "method"] = PRESET
                tables.append(scores.assign(layout=layout, network=name))
    return pd.concat(tables, ignore_index=True)


def summary(scores: pd.DataFrame) -> pd.DataFrame:
    """One row a (layout, network, part, variant, method): its mean, and what ours has more, by scene.

    Ours is the preset that the variant asks for: `supports` plain, `contrasts` with a contrast. Layouts are taken
    over all their networks as well ("all").
    """
    rows = []
    scores = scores.assign(part=np.where(scores["rank"] == 0, BEST, OTHERS))
    scores["case"] = scores["network"] + " " + scores["scene"].astype(str)
    for layout, of in scores.groupby("layout", sort=False):
        for name in [*of["network"].unique(), "all"]:
            mine = of if name == "all" else of[of["network"] == name]
            for (part, variant), table in mine.groupby(["part", "variant"], sort=False):
                wide = table.pivot(index=["case", "object"], columns="method", values="rank_auc")
                wide = wide[list(table["method"].unique())]
                ours = SUPPORTS if variant == PLAIN else CONTRASTS
                cases = wide.index.get_level_values("case")
                found = against(wide, ours, cases, apart=[name for name in wide if name.startswith(NO_PEERS)])
                for method in wide.columns:
                    known = {"layout": layout, "network": name, "part": part, "variant": variant}
                    known |= {"method": method, "rank_auc": wide[method].mean()}
                    known["scenes"] = cases.nunique()
                    rows.append(known | (found.loc[method].to_dict() if method != ours else {}))
    return pd.DataFrame(rows)


def page(table: pd.DataFrame) -> pd.DataFrame:
    """For a reader: the classes that are not best-ranked, over all networks; a row a method."""
    of = table[(table["part"] == OTHERS) & (table["network"] == "all") & (table["variant"] != CELLS_OUT)]
    return page_of(of, ["layout", "variant"], "rank_auc", lambda layout, variant: f"{layout}, {variant}")


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("what", choices=("choose", "report"))
    parser.add_argument("--count", type=int, default=10, help="scenes of photographs a network and layout")
    parser.add_argument("--digits", type=int, default=40, help="scenes of digits a network")
    known = (*PHOTO_NETWORKS, *DIGIT_NETWORKS)
    parser.add_argument("--networks", nargs="+", default=known, help=f"{', '.join(known)}, or torchvision's")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.what == "choose":
        table = choose(options.photos, options.count, options.digits)
        if options.photos is None:  # nothing can be chosen on so few: what was chosen for photographs stays
            kept = pd.read_csv(HERE / "choose.csv", keep_default_na=False)
            table = pd.concat([kept[kept["layout"].isin(PHOTOGRAPHS.layouts)], table], ignore_index=True)
        write_whole(table.round(4), HERE / "choose.csv")
        return
    count, digits, networks = options.count, options.digits, options.networks
    if options.quick:
        count, digits, networks = 2, 4, (PHOTO_NETWORKS[0], *DIGIT_NETWORKS)
    scores = report(options.photos, count, digits, networks, options.quick)
    table = summary(scores)
    counts = table[table["network"] != "all"].groupby(["layout", "network"])["scenes"].first()
    counts = counts.groupby("layout").sum()
    write_table(
        "pointing",
        page(table),
        "Rank AUC of the classes that are not best-ranked in a scene (chance 0.5), over all networks ("
        + ", ".join(f"{layout}: {count} scenes" for layout, count in counts.items())
        + "); settings and smoothing chosen on other images. In brackets what nonlinear, supports (plain) or "
        "nonlinear, contrasts (contrast) is against the method in the same column: 95 % intervals by scene, Holm "
        "over the peers; the networks share photographs, so intervals over all of them are too narrow. LRP has "
        "no rule for the transformer: its planted digits are those of the CNN alone.",
        table.round(4),
        folder_for(options.quick),
    )


if __name__ == "__main__":
    main()
