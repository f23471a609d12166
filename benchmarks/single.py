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

from benchmarks import peers
from benchmarks.common import BUNDLED_CLASSES, folder_for, page_of, parser_of, write_table, write_whole
from benchmarks.common import HERE as BENCHES
from benchmarks.methods import (
    AT_BLOCKS,
    CENTRE,
    SUPPORTS,
    TWINS,
    Maps,
    adapted,
    chosen,
    control,
    from_same_passes,
    methods_of,
    one_by_one,
    twin,
    twin_at_blocks,
)
from benchmarks.pointing import DIGIT_NETWORKS
from helpers.lessons.scoreboard import NO_PEERS
from helpers.measure.cost import Work, counted
from helpers.measure.faithfulness import fills, insertion_minus_deletion
from helpers.measure.peers import (
    GradCam,
    Gradient,
    InputTimesGradient,
    IntegratedGradients,
    Occlusion,
    SmoothGrad,
)
from helpers.measure.statistics import against
from helpers.saliency import (
    Blurred,
    Input,
    Layer,
    Logit,
    NonlinearSaliency,
    OwnMean,
    StraightTangent,
    presets,
    stages,
)
from helpers.zoo.classifiers import load_classifier
from helpers.zoo.datasets import mnist5k
from helpers.zoo.photographs import load_photo, photo_folder, photograph

CACHE = BENCHES.parent / "build" / "single"
NETWORKS = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")
SIDE, SQUARE, STEPS = 224, 16, 7
DIGIT_SQUARE = 2
RANKS = ("first", "second")


def head(model) -> torch.nn.Module:
    """The last module of EfficientNet-Lite that returns feature maps, an activation; of others the last block."""
    return (
        getattr(getattr(model, "model", None), "_swish", None)
        or stages(model, torch.zeros(1, 3, SIDE, SIDE))[-1]
    )


def methods(model, image: Tensor, dear: bool = False) -> dict[str, Maps]:
    """Name -> maps; all of the logit. Ours and their linear twins end at a blurred copy or the mean colour."""
    last = stages(model, image)[-1]
    supports = presets.supports(model)
    nothing = Layer(last, Input(reference=0.0))
    found = {
        SUPPORTS: from_same_passes(supports),
        "nonlinear, one path, 9 gradients": from_same_passes(presets.supports(model, OwnMean())),
        "nonlinear, one path, 3 gradients": from_same_passes(presets.supports(model, OwnMean(), steps=2)),
        AT_BLOCKS: twin_at_blocks(supports),
        TWINS[SUPPORTS]: from_same_passes(twin(supports)),
        "Grad-CAM": one_by_one(GradCam(model, last, score=Logit())),
        "HiResCAM": one_by_one(NonlinearSaliency(model, Logit(), nothing, path=StraightTangent())),
        "Grad-CAM, head": one_by_one(GradCam(model, head(model), score=Logit())),
        "LayerCAM": adapted(peers.layer_cam(last), model),
        "Finer-CAM": adapted(peers.finer_cam(last), model),
        "LRP": adapted(peers.lrp(), model),
        "Integrated Gradients, 16": one_by_one(IntegratedGradients(model, Blurred(), 16, score=Logit())),
        "Integrated Gradients, 16, mean colour": one_by_one(
            IntegratedGradients(model, OwnMean(), 16, score=Logit())
        ),
        "SmoothGrad, 16": one_by_one(SmoothGrad(model, 0.1, 16, score=Logit())),
        "Occlusion, 64 px": one_by_one(Occlusion(model, Blurred(), 64, 32, score=Logit())),
        "input x gradient": one_by_one(InputTimesGradient(model, score=Logit())),
        "gradient": one_by_one(Gradient(model, score=Logit())),
        CENTRE: control(CENTRE),
    }
    if dear:
        found |= {
            "Blur IG, 16": adapted(peers.blur_ig(steps=16), model),
            "Guided IG, 200": adapted(peers.guided_ig(reference=Blurred()), model),
            "RISE, 100 masks": adapted(peers.rise(masks=100), model),
            "RISE, 500 masks": adapted(peers.rise(masks=500), model),
            "RISE, 500 masks, mean colour": adapted(peers.rise(masks=500, reference=OwnMean()), model),
            "Score-CAM": adapted(peers.score_cam(last), model),
            "AGI": adapted(peers.agi(), model),
            # in full, 20 iterations of 20 steps, one map takes 1,600 gradients and 14,000 passes
            "iGOS++, cut down": adapted(peers.igos_pp(iterations=2, steps=6, tries=5, area=1.0), model),
            "Integrated Gradients, 64": one_by_one(IntegratedGradients(model, Blurred(), 64, score=Logit())),
            "SmoothGrad, 64": one_by_one(SmoothGrad(model, 0.1, 64, score=Logit())),
        }
    return found


def faithfulness(model, image: Tensor, target: int, saliency: Tensor) -> float:
    """Insertion minus deletion of a map (1, H, W), mean of the three fills, as probability; a digit's is finer."""
    digit = image.shape[1] == 1
    square, others = (DIGIT_SQUARE, fills(4.0)) if digit else (SQUARE, fills(20.0))
    if digit:  # an empty ground in place of the mean grey
        others["mean"] = torch.zeros_like

    values = [
        insertion_minus_deletion(model, image, torch.tensor([target]), saliency, fill, square, STEPS).item()
        for fill in others.values()
    ]
    return sum(values) / len(values)


def scores_of(
    network: str, model, image: Tensor, of: Mapping[str, Maps], show_progress: bool = True
) -> pd.DataFrame:
    """One row a (class, method), with its faithfulness; from the cache, as far as it is there."""
    file = CACHE / f"{network}-{hashlib.sha256(image.numpy().tobytes()).hexdigest()[:16]}.csv"
    table = pd.read_csv(file) if file.is_file() else pd.DataFrame({"method": []})
    missing = {name: maps for name, maps in of.items() if name not in set(table["method"])}
    with torch.no_grad():
        best = model(image)[0].topk(2).indices.tolist()
    for name, maps in tqdm(missing.items(), desc=network, leave=False, disable=not show_progress):
        planes = maps(image, best)
        rows = [
            (rank, name, faithfulness(model, image, target, plane[None]))
            for rank, target, plane in zip(RANKS, best, planes, strict=True)
        ]
        table = pd.concat(
            [table, pd.DataFrame(rows, columns=["class", "method", "value"])], ignore_index=True
        )
        write_whole(table, file)
    return table[table["method"].isin(of)]


def passes_of(network: str, model, image: Tensor, of: Mapping[str, Maps]) -> pd.DataFrame:
    """What each method's map of one class costs: gradients, other passes, and all arithmetic in forward passes.

    Kept in the cache, too: the counts are those of a network and an image size.
    """
    file = CACHE / f"{network}-{max(image.shape[-2:])}-costs.csv"
    table = pd.read_csv(file) if file.is_file() else pd.DataFrame({"method": []})
    with torch.no_grad(), Work() as one:
        model(image)
    for name in (name for name in of if name not in set(table["method"])):
        with counted(model) as passes, Work() as work:
            of[name](image, [0])
        cost = passes.cost(1, work.operations / one.operations)
        row = {
            "method": name,
            "gradients": cost.gradients + cost.part_gradients,
            "forwards": cost.forwards + cost.part_forwards,
            "passes": cost.work,
        }
        table = pd.concat([table, pd.DataFrame([row])], ignore_index=True)
        write_whole(table, file)
    return table.set_index("method").loc[list(of)]


def summary(scores: pd.DataFrame, costs: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """One row a (network, class, method): its mean, and what ours has more, paired by photograph."""
    rows = []
    for (network, rank), table in scores.groupby(["network", "class"], sort=False):
        wide = table.pivot(index="photo", columns="method", values="value")[list(table["method"].unique())]
        few = wide.columns[wide.count() < len(wide)]  # the dear ones are corrected among themselves
        every = against(wide.drop(columns=few), SUPPORTS, apart=[n for n in wide if n.startswith(NO_PEERS)])
        found = pd.concat([every, against(wide[[SUPPORTS, *few]], SUPPORTS)])
        for name in wide.columns:
            known = {"network": network, "class": rank, "method": name, "photos": wide[name].count()}
            known |= {"value": wide[name].mean(), **costs[network].loc[name]}
            rows.append(known | (found.loc[name].to_dict() if name != SUPPORTS else {}))
    return pd.DataFrame(rows)


def page(table: pd.DataFrame) -> pd.DataFrame:
    """For a reader: a row a method; a column a network and class. Methods on fewer photographs say so."""
    few = table["photos"] < table["photos"].max()
    named = table["method"].where(
        ~few, table["method"] + " (" + table["photos"].astype(str) + " photographs)"
    )
    return page_of(
        table.assign(method=named),
        ["network", "class"],
        "value",
        lambda network, rank: f"{network.removeprefix('efficientnet_')}, {rank}",
    )


def photographs(folder: Path | None, count: int, side: int = SIDE) -> list[Tensor]:
    """Photographs that chose nothing, (3, side, side) each: of a folder, or those that packages bring."""
    if folder is None:
        return [photograph(name, side).image for name in BUNDLED_CLASSES]
    paths = [path for path, _ in photo_folder(folder)]
    order = torch.randperm(len(paths), generator=torch.Generator().manual_seed(0)).tolist()
    # the first half of this order chose the settings
    return [load_photo(paths[place], side).image for place in order[len(order) // 2 :][:count]]


def digits(count: int) -> list[Tensor]:
    """Held-out digits, (1, 28, 28) each. Methods run on them in their first setting: nothing is chosen."""
    inputs = mnist5k().test_inputs
    return list(inputs[torch.randperm(len(inputs), generator=torch.Generator().manual_seed(0))[:count]])


def write_digits(count: int, folder: Path) -> None:
    """The same question for digits, with the networks and methods of the planted ones, in their first setting."""
    images, tables, costs = digits(count), [], {}
    for name in DIGIT_NETWORKS:
        model = DIGIT_NETWORKS[name]()
        of = chosen(methods_of(model, images[0][None]), {})
        of |= {AT_BLOCKS: twin_at_blocks(presets.supports(model, 0.0))}
        for number, image in enumerate(tqdm(images, desc=name)):
            scores = scores_of(name, model, image[None], of, show_progress=False)
            tables.append(scores.assign(network=name, photo=number))
        costs[name] = passes_of(name, model, images[0][None], of)
    table = summary(pd.concat(tables, ignore_index=True), costs)
    write_table(
        "single_digits",
        page(table),
        f"As single.md, for {len(images)} held-out digits: squares of {DIGIT_SQUARE} px; fills: empty ground, "
        "blurred copy, noise. Nothing was chosen on digits for this: every method runs in its first setting. "
        "Costs and intervals: single_digits.csv.",
        table.round(4),
        folder,
    )


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--count", type=int, default=12, help="photographs of it")
    parser.add_argument("--networks", nargs="+", default=NETWORKS, help="these, or any of torchvision's")
    parser.add_argument(
        "--dear", type=int, default=8, help="photographs of the first network with dear methods"
    )
    parser.add_argument("--digits", type=int, default=40, help="digits")
    options = parser.parse_args()
    torch.set_num_threads(1)
    networks, count, dear = options.networks, options.count, options.dear
    if options.quick:
        networks, count, dear = networks[:1], 2, 0
    write_digits(8 if options.quick else options.digits, folder_for(options.quick))
    images = photographs(options.photos, count)[:count]
    tables, costs = [], {}
    for number, network in enumerate(networks):
        model = load_classifier(network).model
        of, many = (methods(model, images[0][None], each) for each in (False, number == 0 and dear > 0))
        for photo, image in enumerate(tqdm(images, desc=network)):
            scores = scores_of(network, model, image[None], many if photo < dear else of)
            tables.append(scores.assign(network=network, photo=photo))
        costs[network] = passes_of(network, model, images[0][None], many)
    table = summary(pd.concat(tables, ignore_index=True), costs)
    write_table(
        "single",
        page(table),
        f"Insertion minus deletion (probability, squares of {SQUARE} px, mean of three fills) for the class that a "
        f"network puts first, and second, on {len(images)} photographs of {SIDE} px that chose nothing; in "
        f"brackets what {SUPPORTS} is against the method, by the 95 % interval of the paired difference (bootstrap "
        "by photograph, Holm over the peers; no worse: above -0.01). A method on fewer photographs is compared on "
        "these: its mean is of other pictures. Costs and intervals: single.csv.",
        table.round(4),
        folder_for(options.quick),
    )


if __name__ == "__main__":
    main()
