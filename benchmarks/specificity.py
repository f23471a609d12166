"""Specificity by grid pointing, ours against peers and controls: python -m benchmarks.specificity.

Four confidently classified images of distinct classes are put into a 2x2 grid, and the class of each cell is
explained (Rao, Boehle & Schiele 2022, arXiv 2205.10435). Every contender, ours and the peers', chooses its
settings and its smoothing on the choosing images, and is scored on grids of the others.

Scores are kept in build/specificity/, one file a contender, setting and part, grid by grid: an interrupted run
goes on where it stopped.
"""

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path as File

import pandas as pd
import torch
from torch import nn
from tqdm.auto import tqdm

from benchmarks.common import HERE, parser_of, write_table, write_whole
from helpers.lessons.scoreboard import at_input_and_depth
from helpers.measure.cost import measured
from helpers.measure.grids import (
    CENTRE,
    INK,
    METRICS,
    ORACLE,
    RANDOM,
    Grids,
    cell_maps,
    controls,
    grid_pointing,
    make_grids,
)
from helpers.measure.peers import (
    BLURRED,
    EDGES,
    SQUARED,
    BlurredGradient,
    GradCam,
    Gradient,
    InputTimesGradient,
    IntegratedGradients,
    Occlusion,
    SmoothGrad,
    SobelEdges,
    SquaredGradient,
)
from helpers.measure.statistics import compare, summarise
from helpers.saliency import Blurred, GeometricMean, Logit, LogOdds, StraightTangent
from helpers.zoo.classifiers import load_classifier
from helpers.zoo.datasets import mnist5k
from helpers.zoo.networks import digit_net
from helpers.zoo.photographs import load_photo, photo_folder, photograph

CACHE = HERE.parent / "build" / "specificity"
OURS = "nonlinear (preset)"
AT_INPUT, AT_DEPTH = "nonlinear, at the input alone", "nonlinear, at the last block alone"
LINEAR = "linear members in the preset"
FIXED = (RANDOM, CENTRE, INK, ORACLE)
SCORES = {"logit": Logit(), "log-odds": LogOdds()}


@dataclass(frozen=True, eq=False)
class Task:
    """One set of images with its network, grids and contenders.

    name: in the table and in the cache. images: what they are, in words. square: side of a square in pixels.
    widths: smoothing in pixels that every contender may choose from. contenders: name -> settings -> method.
    """

    name: str
    images: str
    model: nn.Module
    choosing: Grids
    reporting: Grids
    square: int
    widths: tuple[float, ...]
    contenders: Mapping[str, Mapping[str, object]]


def ours_of(ours: GeometricMean) -> dict[str, dict]:
    """The frozen preset, its two members alone, and what is linear or not contrasted in its place."""
    at_input, at_depth = ours.members
    linear = [member.replace(path=StraightTangent()) for member in (at_input, at_depth)]
    return {
        OURS: {"": ours},
        AT_INPUT: {"": at_input},
        AT_DEPTH: {"": at_depth},
        LINEAR: {"": GeometricMean(linear)},
    }


def peers_of(model, layer: nn.Module, reference, noises, windows) -> dict[str, dict]:
    """The peers, each with the settings that it may choose from; every gradient with both scores."""
    contenders: dict[str, dict] = {
        "gradient": {
            f"{name}, {kind}": Gradient(model, magnitude=kind == "magnitude", score=score)
            for name, score in SCORES.items()
            for kind in ("magnitude", "signed")
        },
        "input x gradient": {name: InputTimesGradient(model, score=score) for name, score in SCORES.items()},
        "SmoothGrad": {
            f"{name}, noise {noise:g}": SmoothGrad(model, noise, 16, score=score)
            for name, score in SCORES.items()
            for noise in noises
        },
        "Integrated Gradients": {
            name: IntegratedGradients(model, reference, 12, score=score) for name, score in SCORES.items()
        },
        "Occlusion": {
            f"{name}, window {window}": Occlusion(model, reference, window, window // 2, score=score)
            for name, score in SCORES.items()
            for window in windows
        },
    }
    contenders["Grad-CAM, last block"] = {
        name: GradCam(model, layer, score=score) for name, score in SCORES.items()
    }
    return contenders


def controls_of(model, widths) -> dict[str, dict]:
    return {
        EDGES: {"": SobelEdges()},
        BLURRED: {f"{w:g} px": BlurredGradient(model, width=w) for w in widths},
        SQUARED: {"": SquaredGradient(model)},
    }


def digits(choosing: int, reporting: int) -> Task:
    """Handwritten digits, the small network."""
    split, model = mnist5k(), digit_net()
    images, targets = split.test_inputs, split.test_targets
    grids = make_grids(images, targets, model, choosing, part="choosing")
    ours = at_input_and_depth(model, grids.images[:1], 0.0, (0.2, 0.9), competitors=5)
    return Task(
        "digits",
        "MNIST-5k test digits, 28 px a cell",
        model,
        grids,
        make_grids(images, targets, model, reporting, part="reporting"),
        square=1,
        widths=(0, 1, 2, 3, 4, 6),
        contenders={
            **ours_of(ours),
            **peers_of(model, ours.members[1].coordinates.module, 0.0, (0.1, 0.3), (6, 10)),
            **controls_of(model, (2, 4)),
        },
    )


# ImageNet classes of the photographs that packages bring, as a person sees them; the astronaut has none.
BUNDLED_CLASSES = {
    "chelsea": 285,
    "coffee": 967,
    "rocket": 657,
    "camera": 872,
    "motorcycle": 665,
    "grace_hopper": 652,
    "china": 698,
    "flower": 985,
}


def photographs(
    folder: File | None, choosing: int, reporting: int, confidence: float, side: int = 224
) -> Task:
    """Photographs of a folder with a labels.csv, or those that packages bring; EfficientNet-Lite0."""
    model = load_classifier().model
    if folder is None:
        name, labelled = "bundled photographs", list(BUNDLED_CLASSES.items())
        images = torch.stack([photograph(place, side).image for place in BUNDLED_CLASSES])
    else:
        name, labelled = "photographs", photo_folder(folder)
        images = torch.stack([load_photo(path, side).image for path, _ in labelled])
    targets = torch.tensor([target for _, target in labelled])
    grids = [
        make_grids(images, targets, model, count, confidence, part=part)
        for part, count in (("choosing", choosing), ("reporting", reporting))
    ]
    ours = at_input_and_depth(model, grids[0].images[:1], Blurred(), (0.6875, 0.9375), competitors=8)
    return Task(
        name,
        f"photographs, {side} px a cell",
        model,
        *grids,
        square=8,
        widths=(0, 8, 16, 32, 48),
        contenders={
            **ours_of(ours),
            **peers_of(model, ours.members[1].coordinates.module, Blurred(24.0), (0.1,), (64,)),
            **controls_of(model, (16,)),
        },
    )


# ---- scores, kept on disk ----------------------------------------------------------------------------------


def scores_of(task: Task, part: str, contender: str, settings: str, batch: int = 8) -> pd.DataFrame:
    """Scores at every width, one row a (grid, cell, width): `grid_pointing`'s columns and smoothing."""
    grids: Grids = getattr(task, part)
    key = "|".join(map(str, (task.name, part, contender, settings, grids.members.tolist(), task.widths)))
    file = CACHE / f"{task.name}-{part}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.csv"
    known = pd.read_csv(file) if file.is_file() else None
    done = 0 if known is None else int(known["grid"].max()) + 1
    tables = [] if known is None else [known]
    method = None if contender in FIXED else task.contenders[contender][settings]
    for start in range(done, len(grids), batch):
        rows = slice(start, min(start + batch, len(grids)))
        few = grids[rows]
        if method is None:
            maps = controls(few, seed=start)[contender]
        else:
            maps = cell_maps(lambda x, target: method.attribute(x, target=target), few, batch_size=batch)
        for width in task.widths:
            table = grid_pointing(
                {contender: maps}, few, task.square, width, with_controls=False, show_progress=False
            )
            tables.append(table.assign(grid=table["grid"] + start, smoothing=width))
        write_whole(pd.concat(tables, ignore_index=True), file)
    return pd.concat(tables, ignore_index=True)


def chosen(task: Task) -> dict[str, tuple[str, float]]:
    """Settings and width with the highest mean rank AUC on the choosing grids, for every contender."""
    names = {name: list(settings) for name, settings in task.contenders.items()}
    names |= {name: [""] for name in FIXED if name in controls(task.choosing[:1])}
    best = {}
    for name, settings in tqdm(names.items(), desc=f"{task.name}: choosing"):
        means = {
            (one, width): table["rank_auc"].mean()
            for one in settings
            for width, table in scores_of(task, "choosing", name, one).groupby("smoothing")
        }
        best[name] = max(means, key=means.get)
    return best


def reported(task: Task, choice: Mapping[str, tuple[str, float]]) -> pd.DataFrame:
    """Scores on the reporting grids at every width, with columns settings and chosen (the width is)."""
    tables = []
    for name, (settings, width) in tqdm(choice.items(), desc=f"{task.name}: reporting"):
        table = scores_of(task, "reporting", name, settings)
        tables.append(table.assign(settings=settings, chosen=table["smoothing"] == width))
    return pd.concat(tables, ignore_index=True)


# ---- the table ---------------------------------------------------------------------------------------------


def cost_of(task: Task, name: str, settings: str, repeats: int = 3) -> dict:
    """Exact cost of one map, and seconds (median, one grid at a time)."""
    if name in FIXED:
        return {"cost": "no pass", "work": 0.0, "seconds": 0.0}
    method = task.contenders[name][settings]
    image, target = task.reporting.images[:1], task.reporting.targets[:1, 0]
    _, cost = measured(method, image, target)
    seconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        method.attribute(image, target=target)
        seconds.append(time.perf_counter() - begin)
    return {"cost": str(cost), "work": round(cost.work, 1), "seconds": sorted(seconds)[repeats // 2]}


def table_of(task: Task) -> pd.DataFrame:
    """One row a (contender, smoothing, part): means, intervals, differences of ours to it, cost."""
    choice = chosen(task)
    scores = reported(task, choice)
    costs = {name: cost_of(task, name, settings) for name, (settings, _) in choice.items()}
    rows = []
    for width, at_width in scores.groupby("smoothing"):
        rows.append(_means(at_width).assign(smoothing=width))
    curves = pd.concat(rows, ignore_index=True)
    own = scores[scores["chosen"]]
    versus = (
        compare(own, OURS, group="member")
        .drop(columns=["p"])
        .rename(columns={"peer": "method", "low": "difference_low", "high": "difference_high"})
    )
    curves["chosen"] = [choice[row.method][1] == row.smoothing for row in curves.itertuples()]
    curves["settings"] = [choice[name][0] for name in curves["method"]]
    table = curves.merge(versus.assign(chosen=True), on=["method", "part", "chosen"], how="left")
    for column in ("cost", "work", "seconds"):
        table[column] = [costs[name][column] for name in table["method"]]
    table.insert(0, "task", task.name)
    table["grids"], table["images"] = len(task.reporting), task.reporting.members.unique().numel()
    return table


def _means(scores: pd.DataFrame) -> pd.DataFrame:
    """Mean and interval of rank AUC, means of the other metrics, for each method and part."""
    table = summarise(scores, "rank_auc", group="member").rename(
        columns={"mean": "rank_auc", "low": "rank_auc_low", "high": "rank_auc_high"}
    )
    for metric in METRICS:
        if metric != "rank_auc":
            other = summarise(scores, metric, group="member", samples=10)
            table[metric] = other["mean"].to_numpy()
    return table


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--grids", type=int, default=200, help="reporting grids of digits")
    parser.add_argument("--choosing", type=int, default=60, help="choosing grids of digits")
    parser.add_argument("--photo-grids", type=int, default=14, help="reporting grids of photographs")
    parser.add_argument("--photo-choosing", type=int, default=16, help="choosing grids of photographs")
    parser.add_argument("--confidence", type=float, default=0.9, help="of a photograph alone")
    options = parser.parse_args()
    few = min(options.photo_choosing, 2), min(options.photo_grids, 4)
    tasks: list[Callable[[], Task]] = [
        lambda: digits(options.choosing, options.grids),
        # Four of the eight for each half; alone, most of them are far from certain.
        lambda: photographs(None, *few, confidence=0.2),
    ]
    if options.photos:
        tasks.append(
            lambda: photographs(
                options.photos, options.photo_choosing, options.photo_grids, options.confidence
            )
        )
    table = pd.concat([table_of(make()) for make in tasks], ignore_index=True).round(4)
    write(table)


def headline(table: pd.DataFrame) -> list[str]:
    """Lines of a small table in Markdown: mean rank AUC with its interval, methods by tasks and parts.

    Methods are in the order of their mean for the other classes of the last task.
    """
    rows = table[table["chosen"].astype(bool) & (table["part"] != "all classes")]
    columns = [
        (task, part) for task in rows["task"].unique() for part in ("best-ranked class", "other classes")
    ]
    cells = {
        (
            row.method,
            row.task,
            row.part,
        ): f"{row.rank_auc:.3f} ({row.rank_auc_low:.3f} to {row.rank_auc_high:.3f})"
        for row in rows.itertuples()
    }
    work = rows.groupby(["method", "task"], sort=False)["work"].first()
    last = rows[(rows["task"] == columns[-1][0]) & (rows["part"] == "other classes")]
    order = last.sort_values("rank_auc", ascending=False, kind="stable")["method"]
    lines = ["| method | " + " | ".join(f"{task}, {part}" for task, part in columns) + " | work |"]
    lines.append("|---|" + "---|" * (len(columns) + 1))
    for method in order:
        found = " | ".join(cells.get((method, *column), "") for column in columns)
        lines.append(f"| {method} | {found} | {work[method, columns[-1][0]]:.0f} |")
    return lines


def write(table: pd.DataFrame) -> None:
    """specificity.csv with everything, specificity.md with the headline and the chosen rows."""
    chosen_rows = table[table["chosen"]].drop(columns=["chosen", "energy"])
    write_table(
        "specificity",
        chosen_rows,
        "Grid pointing; rank AUC is primary (chance 0.5). Settings and smoothing of every method were chosen on "
        "other images. Differences: ours minus the method's, 95 % intervals, bootstrap by explained image; "
        "better: Holm-corrected over the methods of the part. Work: arithmetic of one map, in passes.\n\n"
        + "\n".join(headline(table)),
    )
    table.to_csv(HERE / "specificity.csv", index=False)


if __name__ == "__main__":
    main()
