"""Faithfulness of ours, the peers and the controls: python -m benchmarks.faithfulness.

Deletion and insertion with three fills, infidelity and sensitivity (`measure.faithfulness`), and the class overlap
(`measure.sanity.class_overlap`), on single images: the class that the model puts first, and the one it puts second.
Methods have the settings that they chose in benchmarks/specificity.csv; all maps get the same smoothing.

Results are kept in build/faithfulness/, one file a method and image: an interrupted run goes on where it stopped.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path as File

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from benchmarks import specificity
from benchmarks.common import HERE, parser_of, write_table, write_whole
from helpers.measure.faithfulness import Fill, area, fills, infidelity, perturbation_curve, sensitivity
from helpers.measure.grids import RANDOM
from helpers.measure.maps import smooth, sum_channels
from helpers.measure.peers import (
    OWN_INK,
    InputTimesGradient,
    IntegratedGradients,
    Occlusion,
    OwnInk,
    UniformRandom,
)
from helpers.measure.sanity import class_overlap
from helpers.measure.statistics import bootstrap_interval, paired_difference
from helpers.saliency import (
    Blurred,
    Constant,
    Flow,
    Input,
    LogOdds,
    LogProbability,
    NonlinearSaliency,
    Removal,
    Straight,
    StraightTangent,
)
from helpers.saliency.means import fitted
from helpers.zoo.networks import predict

CACHE = HERE.parent / "build" / "faithfulness"
STEPS = 10
FEWER = 10  # images for what costs much more: infidelity, sensitivity, class overlap
KINDS = ("deletion", "insertion")
SCORES = {"log-odds": LogOdds(), "probability": LogProbability()}
CONTRIBUTION = " (contributions)"


@dataclass(frozen=True, eq=False)
class Task:
    """Single images with their two highest classes.

    name: in the table and in the cache. square: side of a square in pixels. width: of all maps' smoothing, and of
    the wide blur that the fill and the contributions' reference use. methods: what ranks the squares.
    contributions: members and peers in units of the log-odds, all with the same reference.
    """

    name: str
    model: nn.Module
    images: Tensor
    classes: Tensor
    square: int
    width: float
    blur: float
    reference: Fill
    methods: Mapping[str, object]
    contributions: Mapping[str, object]


def settled(task: specificity.Task) -> dict[str, object]:
    """Every method of the specificity table, with the settings that it chose there."""
    table = pd.read_csv(HERE / "specificity.csv", keep_default_na=False)
    rows = table[(table["task"] == task.name) & (table["chosen"].astype(bool))]
    chosen = rows.drop_duplicates("method").set_index("method")["settings"]
    return {name: options[chosen[name]] for name, options in task.contenders.items()}


def contributions_of(model, reference, steps: int, window: int) -> dict[str, object]:
    """Contributions to the log-odds between the image and the reference; nothing is contrasted."""
    score = LogOdds()

    def at_input(path):
        return NonlinearSaliency(model, score, Input(reference=reference), path=path)

    return {
        "tangent": at_input(StraightTangent()),
        "input x gradient": InputTimesGradient(model, score=score),
        "Integrated Gradients": IntegratedGradients(model, reference, steps, score=score),
        "Occlusion": Occlusion(model, reference, window, window, score=score),
        "straight": at_input(Straight(steps)),
        "flow, removal": NonlinearSaliency(model, score, Removal(reference), path=Flow(steps)),
        "control: uniform random": UniformRandom(),
    }


def two_highest(model, images: Tensor) -> Tensor:
    return predict(model, images).topk(2).indices


def digits(count: int) -> Task:
    """Test digits, every class as often, that are in no choosing grid."""
    made = specificity.digits(60, 200)
    members = made.reporting.members.unique()
    split = specificity.mnist5k()
    by_class = [members[split.test_targets[members] == label] for label in range(10)]
    rows = torch.cat([own[: -(-count // 10)] for own in by_class])[:count]
    images = split.test_inputs[rows]
    return Task(
        "digits",
        made.model,
        images,
        two_highest(made.model, images),
        square=2,
        width=1.0,
        blur=4.0,
        reference=Constant(0.0),
        methods=settled(made) | {RANDOM: UniformRandom(), OWN_INK: OwnInk()},
        contributions=contributions_of(made.model, Constant(0.0), 16, 2),
    )


def photographs(folder: File | None, side: int = 224) -> Task:
    """The reporting photographs of a folder with a labels.csv, or all bundled ones."""
    if folder is None:
        made = specificity.photographs(None, 2, 4, confidence=0.2)
        images = torch.stack([specificity.photograph(p, side).image for p in specificity.BUNDLED_CLASSES])
    else:
        made = specificity.photographs(folder, 16, 14, confidence=0.9)
        paths = [path for path, _ in specificity.photo_folder(folder)]
        members = made.reporting.members.unique().tolist()
        images = torch.stack([specificity.load_photo(paths[place], side).image for place in members])
    blur = 24 / 448 * side
    return Task(
        made.name,
        made.model,
        images,
        two_highest(made.model, images),
        square=16,
        width=8.0,
        blur=blur,
        reference=Blurred(blur),
        methods=settled(made) | {RANDOM: UniformRandom()},
        contributions=contributions_of(made.model, Blurred(blur), 16, 32),
    )


# ---- one image, kept on disk -------------------------------------------------------------------------------


def kept(task: Task, name: str, image: int, make) -> pd.DataFrame:
    """What was measured of a method on an image, from disk if it was measured before."""
    key = "|".join(
        map(str, (task.name, name, task.images[image].sum().item(), task.square, task.width, task.blur))
    )
    file = CACHE / f"{task.name}-{hashlib.sha256(key.encode()).hexdigest()[:20]}.csv"
    if not file.is_file():
        write_whole(make(), file)
    return pd.read_csv(file)


def map_of(task: Task, method, images: Tensor, targets: Tensor) -> Tensor:
    """Maps (N, H, W) of a method, smoothed like all of this table."""
    saliency = fitted(method.attribute(images, target=targets).detach(), images)[:, 0]
    return smooth(saliency.cpu(), task.width)


def curves(task: Task, method, image: int) -> pd.DataFrame:
    """Areas of one image's curves: columns rank, metric, fill, score, value."""
    images, classes = task.images[image : image + 1], task.classes[image]
    rows = []
    for rank, target in enumerate(classes[:, None]):
        saliency = map_of(task, method, images, target)
        for fill_name, fill in fills(task.blur).items():
            for kind in KINDS:
                found = perturbation_curve(
                    task.model,
                    images,
                    target,
                    saliency,
                    fill,
                    kind,
                    task.square,
                    STEPS,
                    tuple(SCORES.values()),
                )
                found[1] = found[1].exp()
                values = dict(zip(SCORES, area(found)[:, 0].tolist(), strict=True))
                rows += [(rank, kind, fill_name, score, value) for score, value in values.items()]
    return pd.DataFrame(rows, columns=["rank", "metric", "fill", "score", "value"])


def additive(task: Task, method, image: int) -> pd.DataFrame:
    """Infidelity (a fill each) and sensitivity of contributions to the first class: the same columns."""
    images, classes = task.images[image : image + 1], task.classes[image]
    score, rows = LogOdds(), []
    own = {} if isinstance(task.reference, Blurred) else {"reference": task.reference}
    target = classes[:1]
    contributions = sum_channels(method.attribute(images, target=target).detach())

    def scored(x):
        return score(task.model(x), target.expand(len(x)))

    for fill_name, fill in (fills(task.blur) | own).items():
        value = infidelity(scored, images, contributions, fill, task.square)
        rows.append((0, "infidelity", fill_name, "log-odds", value.item()))
    value = sensitivity(lambda x: method.attribute(x, target=target.expand(len(x))).detach(), images)
    rows.append((0, "sensitivity", "", "log-odds", value.item()))
    return pd.DataFrame(rows, columns=["rank", "metric", "fill", "score", "value"])


def overlaps(task: Task, method, image: int) -> pd.DataFrame:
    """Class overlap of the two highest classes, and of the first and the 100th (or last) class."""
    images = task.images[image : image + 1]
    order = predict(task.model, images)[0].argsort(descending=True)
    far = order[min(99, len(order) - 1)]
    rows = []
    shifts = ((0, 1), (1, 0)) if task.square == 2 else ((0, 4), (4, 0))
    for name, second in (("neighbours", order[1]), ("far", far)):
        classes = torch.stack([order[0], second])[None]
        found = class_overlap(method, images, classes, shifts=shifts, widths=(task.width,)).iloc[0]
        rows += [(0, f"overlap {what}", name, "", found[what]) for what in ("between", "within")]
    return pd.DataFrame(rows, columns=["rank", "metric", "fill", "score", "value"])


# ---- the table ---------------------------------------------------------------------------------------------


def measured(task: Task) -> pd.DataFrame:
    """One row a (method, image, rank, metric, fill, score)."""
    tables = []
    jobs = [(name, method, curves, name) for name, method in task.methods.items()]
    jobs += [
        (name, method, overlaps, f"{name}|overlap")
        for name, method in task.methods.items()
        if not name.startswith("control")
    ]
    jobs += [
        (name + CONTRIBUTION, method, additive, f"{name}|additive")
        for name, method in task.contributions.items()
    ]
    for name, method, measure, key in tqdm(jobs, desc=task.name):
        for image in range(len(task.images) if measure is curves else min(len(task.images), FEWER)):
            table = kept(task, key, image, lambda m=measure, x=method, i=image: m(task, x, i))
            tables.append(table.assign(method=name, image=image))
    return pd.concat(tables, ignore_index=True).fillna({"fill": "", "score": ""})


def summary(task: Task, rows: pd.DataFrame) -> pd.DataFrame:
    """Means with intervals by image, and how much better than ours by pairs; of the overlap the ratio of means."""
    table = []
    keys = ["method", "metric", "fill", "score", "rank"]
    own = rows[rows["method"] == specificity.OURS]
    ours = own.set_index([*keys[1:], "image"])["value"].sort_index()
    for (method, metric, fill, score, rank), own in rows.groupby(keys, sort=False):
        value = own["value"].dropna()
        if metric.startswith("overlap") or not len(value):
            continue
        # a relative change of nearly nothing may be as large as it likes: the median is told, not the mean
        statistic = np.median if metric in ("infidelity", "sensitivity") else np.mean
        found = bootstrap_interval(value, statistic=statistic)
        advantage = (float("nan"),) * 3
        if metric in KINDS and method != specificity.OURS:
            pairs = value.to_numpy(), ours[metric, fill, score, rank].loc[own["image"]].to_numpy()
            advantage = paired_difference(*(pairs if metric == "insertion" else pairs[::-1]))[:3]
        table.append(
            (task.name, method, metric, fill, score, rank, statistic(value), *found[-2:], *advantage)
        )
    apart = rows[rows["metric"].str.startswith("overlap")]
    for (method, pair), own in apart.groupby(["method", "fill"], sort=False):
        wide = own.pivot(index="image", columns="metric", values="value")
        pairs = wide["overlap between"].to_numpy(), wide["overlap within"].to_numpy()
        ratio = pairs[0].sum() / pairs[1].sum()
        drawn = np.random.default_rng(0).integers(len(wide), size=(2000, len(wide)))
        draws = pairs[0][drawn].sum(1) / pairs[1][drawn].sum(1)
        low, high = np.quantile(draws, [0.025, 0.975])
        table.append(
            (task.name, method, "class overlap", pair, "", 0, ratio, low, high, *(float("nan"),) * 3)
        )
    columns = ["task", *keys, "value", "low", "high", "advantage", "advantage_low", "advantage_high"]
    return pd.DataFrame(table, columns=columns).assign(images=len(task.images))


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--digits", type=int, default=60, help="test digits")
    options = parser.parse_args()
    tasks = [digits(options.digits), photographs(None)]
    if options.photos:
        tasks.append(photographs(options.photos))
    table = pd.concat([summary(task, measured(task)) for task in tasks], ignore_index=True).round(4)
    notes = (
        "Deletion (less is better) and insertion (more is better): mean height of the curve of the score while "
        "squares are replaced in the map's order; advantage: how much better than the preset, paired by image, "
        "95 % intervals. Infidelity: 0 is best, 1 tells nothing; sensitivity: relative change of the map under "
        "noise of 0.02; both medians, contributions only. Class overlap: share of the largest 5 % that the maps of "
        "two classes have in common, over that of one class's maps of a moved image. rank 0: the class that the "
        "model puts first, 1: second. All maps have the same smoothing."
    )
    write_table("faithfulness", table, notes)


if __name__ == "__main__":
    main()
