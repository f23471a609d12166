"""One photograph, as people use a map: insertion minus deletion, ours against peers: python -m benchmarks.single.

Squares of 16 px are taken away in the order of a map, or put back, with three fills; the class's probability is
followed (`helpers.measure.faithfulness`). The number is the area under insertion less that under deletion, mean of
the fills: a map that names what the network uses is high. Each photograph is explained for the class that the
network puts first, and for the second. All settings are frozen: nothing was chosen on these photographs, and
nothing at all on EfficientNet-Lite1 and -Lite2.

Every photograph's numbers are kept in build/single/: an interrupted run goes on where it stopped.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor
from tqdm.auto import tqdm

from benchmarks.common import HERE, parser_of, write_table, write_whole
from benchmarks.specificity import BUNDLED_CLASSES
from helpers.measure.cost import measured
from helpers.measure.faithfulness import area, fills, perturbation_curve
from helpers.measure.grids import centre_distance
from helpers.measure.peers import GradCam, Gradient, IntegratedGradients, Occlusion, SmoothGrad
from helpers.measure.statistics import paired_difference
from helpers.saliency import (
    AllDepths,
    Blurred,
    Input,
    Layer,
    Logit,
    NonlinearSaliency,
    OwnMean,
    Straight,
    StraightTangent,
    fitted,
    presets,
    stages,
)
from helpers.zoo.classifiers import load_classifier
from helpers.zoo.photographs import load_photo, photo_folder, photograph

CACHE = HERE.parent / "build" / "single"
NETWORKS = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")
SIDE, SQUARE, STEPS = 224, 16, 7
OURS = "nonlinear, supports"
TWIN = "linear twin of supports"
CENTRE = "control: nearness to the centre"
FEWEST = 8  # photographs, for an interval
RANKS = ("first", "second")


def methods(model, image: Tensor) -> dict[str, object]:
    """Name -> method; all with the logit, the same blurred copy or mean colour, and the same last block."""
    ours, last = presets.supports(model), stages(model, image)[-1]
    straight = [member for member in ours.members if isinstance(member.path, Straight)]
    nothing = Layer(last, Input(reference=0.0))
    return {
        OURS: ours,
        "nonlinear, one path, 9 gradients": presets.supports(model, OwnMean()),
        "nonlinear, one path, 3 gradients": presets.supports(model, OwnMean(), steps=2),
        TWIN: AllDepths(straight).replace(path=StraightTangent()),
        "Grad-CAM": GradCam(model, last, score=Logit()),
        "HiResCAM": NonlinearSaliency(model, Logit(), nothing, path=StraightTangent()),
        "Integrated Gradients, 16": IntegratedGradients(model, Blurred(), 16, score=Logit()),
        "SmoothGrad, 16": SmoothGrad(model, 0.1, 16, score=Logit()),
        "Occlusion, 64 px": Occlusion(model, Blurred(), 64, 32, score=Logit()),
        "gradient": Gradient(model, score=Logit()),
    }


def faithfulness(model, image: Tensor, target: int, saliency: Tensor) -> float:
    """Insertion minus deletion of a map (1, H, W), mean of the three fills, as probability."""

    def probability(logits: Tensor, targets: Tensor) -> Tensor:
        return logits.softmax(1).gather(1, targets[:, None])[:, 0]

    values = []
    for fill in fills(20.0).values():
        of = [
            perturbation_curve(
                model, image, torch.tensor([target]), saliency, fill, kind, SQUARE, STEPS, [probability]
            )
            for kind in ("insertion", "deletion")
        ]
        values.append(area(of[0] - of[1]).item())
    return sum(values) / len(values)


def scores_of(network: str, model, image: Tensor, show_progress: bool = True) -> pd.DataFrame:
    """One row a (class, method), with its faithfulness; from the cache, as far as it is there."""
    file = CACHE / f"{network}-{hashlib.sha256(image.numpy().tobytes()).hexdigest()[:16]}.csv"
    table = pd.read_csv(file) if file.is_file() else pd.DataFrame({"method": []})
    missing = {
        n: m for n, m in {**methods(model, image), CENTRE: None}.items() if n not in set(table["method"])
    }
    with torch.no_grad():
        best = model(image)[0].topk(2).indices.tolist()
    for name, method in tqdm(missing.items(), desc=network, leave=False, disable=not show_progress):
        rows = []
        for rank, target in zip(RANKS, best, strict=True):
            plane = -centre_distance(*image.shape[-2:])[None]
            if method is not None:
                plane = fitted(method.attribute(image, target), image)[:, 0]
            rows.append((rank, name, faithfulness(model, image, target, plane)))
        table = pd.concat(
            [table, pd.DataFrame(rows, columns=["class", "method", "value"])], ignore_index=True
        )
        write_whole(table, file)
    return table


def passes_of(model, image: Tensor) -> dict[str, float]:
    """The arithmetic of each method's map, in forward passes of the network."""
    costs = {name: measured(method, image, 0)[1].work for name, method in methods(model, image).items()}
    return costs | {CENTRE: 0.0}


def verdict(low: float, high: float, photos: int) -> str:
    """Of ours against a peer, from the interval of the paired difference."""
    if photos < FEWEST:
        return "too few"
    if low > 0:
        return "better"
    return "worse" if high < 0 else "no worse" if low > -0.01 else "not shown"


def summary(scores: pd.DataFrame, passes: Mapping[tuple[str, str], float]) -> pd.DataFrame:
    """One row a (network, class, method): its mean, and what ours has more, paired by photograph."""
    rows = []
    for (network, rank), table in scores.groupby(["network", "class"], sort=False):
        wide = table.pivot(index="photo", columns="method", values="value")
        for name in table["method"].unique():
            row = {"network": network, "class": rank, "method": name, "photos": len(wide)}
            row |= {"value": wide[name].mean(), "passes": passes[network, name]}
            if name != OURS:
                found = paired_difference(wide[OURS], wide[name])
                row |= {"ours more by": found.estimate, "low": found.low, "high": found.high}
                row["verdict"] = verdict(found.low, found.high, len(wide))
            rows.append(row)
    return pd.DataFrame(rows)


def page(table: pd.DataFrame) -> pd.DataFrame:
    """The table for a reader: a row a method; a column a network and class, with the verdict on ours."""
    columns = {}
    for (network, rank), part in table.groupby(["network", "class"], sort=False):
        part = part.set_index("method")
        words = [f" ({word})" if isinstance(word, str) else "" for word in part["verdict"]]
        cells = [f"{value:.3f}{word}" for value, word in zip(part["value"], words, strict=True)]
        columns[f"{network.removeprefix('efficientnet_')}, {rank}"] = pd.Series(cells, part.index)
    return pd.DataFrame(columns).rename_axis("method").reset_index()


def photographs(folder: Path | None, count: int, side: int = SIDE) -> list[Tensor]:
    """Photographs that chose nothing, (3, side, side) each: of a folder, or those that packages bring."""
    if folder is None:
        return [photograph(name, side).image for name in BUNDLED_CLASSES]
    paths = [path for path, _ in photo_folder(folder)]
    order = torch.randperm(len(paths), generator=torch.Generator().manual_seed(0)).tolist()
    # the first half of this order chose the settings
    return [load_photo(paths[place], side).image for place in order[len(order) // 2 :][:count]]


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--count", type=int, default=12, help="photographs of it")
    parser.add_argument("--networks", nargs="+", default=NETWORKS, choices=NETWORKS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    images = photographs(options.photos, options.count)
    tables, passes = [], {}
    for network in options.networks:
        model = load_classifier(network).model
        passes |= {(network, name): work for name, work in passes_of(model, images[0][None]).items()}
        for photo, image in enumerate(tqdm(images, desc=network)):
            tables.append(scores_of(network, model, image[None]).assign(network=network, photo=photo))
    scores = pd.concat(tables, ignore_index=True)
    table = summary(scores, passes)
    write_table(
        "single",
        page(table),
        f"Insertion minus deletion (probability, squares of {SQUARE} px, mean of three fills) for the class that a "
        f"network puts first, and second, on {len(images)} photographs of {SIDE} px that chose nothing; in "
        f"brackets what {OURS} is against the method, by the 95 % interval of the paired difference (bootstrap by "
        "photograph; no worse: above -0.01).",
    )
    table.round(4).to_csv(HERE / "single.csv", index=False)


if __name__ == "__main__":
    main()
