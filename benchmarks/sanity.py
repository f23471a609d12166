"""Do maps depend on what was learnt, and on the class that is asked for? python -m benchmarks.sanity.

Two numbers a method, on photographs (EfficientNet-Lite0) and on digits (the digit CNN). Kept: the rank correlation
of a map with that of the same network with all weights at random (Adebayo et al. 2018, arXiv 1810.03292), every
method on the same draws; 0 is what a map of learnt things keeps. Overlap: how much of the largest 5 % of squares
the maps of the first and the second class of one image share.
"""

from collections.abc import Sequence

import pandas as pd
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from benchmarks.common import folder_for, parser_of, write_table
from benchmarks.methods import CONTRASTS, CONTROLS, SUPPORTS, chosen, methods_of
from benchmarks.single import photographs
from helpers.lessons.scoreboard import NO_PEERS
from helpers.lessons.your_model import untrained
from helpers.measure.maps import overlap, pool, smooth, spearman
from helpers.measure.statistics import against, bootstrap_interval
from helpers.zoo.classifiers import load_classifier
from helpers.zoo.datasets import mnist5k
from helpers.zoo.networks import digit_net

MEASURES = ("kept", "overlap")
DRAWS = (8, 2)  # of random weights, for digits and for photographs


def scores_of(
    model: nn.Module, drawn: Sequence[nn.Module], images: Tensor, square: int, width: float
) -> pd.DataFrame:
    """One row a (image, method), for images (N, C, H, W); maps are smoothed by width, in px, for the overlap.

    Args:
        drawn: the model with other weights, once or more: kept is the mean over them.
    """
    methods, *random = (chosen(methods_of(each, images[:1]), {}) for each in (model, *drawn))
    rows = []
    for number, image in enumerate(tqdm(images.split(1), desc="sanity")):
        with torch.no_grad():
            best = model(image)[0].topk(2).indices.tolist()
        for name in (name for name in methods if name not in CONTROLS):
            maps = methods[name](image, best)
            first, second = pool(smooth(maps, width).clamp_min(0), square).split(1)
            learnt = pool(maps[:1], square)
            others = [pool(of[name](image, best[:1]), square) for of in random]
            kept = sum(spearman(learnt, other).item() for other in others) / len(others)
            rows.append((number, name, kept, overlap(first, second).item()))
    return pd.DataFrame(rows, columns=["image", "method", *MEASURES])


def summary(scores: pd.DataFrame) -> pd.DataFrame:
    """One row a (data, method): the means with their intervals, and the overlap's difference to the method's."""
    rows = []
    for data, of in scores.groupby("data", sort=False):
        wide = of.pivot(index="image", columns="method", values="overlap")
        apart = [name for name in wide if name.startswith(NO_PEERS)]
        found = {name: against(-wide, name, apart=apart) for name in (SUPPORTS, CONTRASTS)}
        for name in of["method"].unique():
            mine, row = of[of["method"] == name], {"data": data, "method": name}
            for measure in MEASURES:
                mean, low, high = bootstrap_interval(mine[measure])
                row |= {measure: mean, f"{measure} low": low, f"{measure} high": high}
            for ours, table in found.items():
                row[f"overlap of {ours}"] = table["verdict"].get(name, "")
            rows.append(row | {"images": len(mine)})
    return pd.DataFrame(rows)


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--count", type=int, default=8, help="photographs of it")
    parser.add_argument("--digits", type=int, default=20)
    options = parser.parse_args()
    torch.set_num_threads(1)
    model, net = load_classifier().model, digit_net()
    count, small, draws = (2, 4, (1, 1)) if options.quick else (options.count, options.digits, DRAWS)
    images = torch.stack(photographs(options.photos, count)[:count])
    digits = mnist5k().test_inputs[:small]
    nets, models = (
        [untrained(own, seed) for seed in range(k)] for own, k in zip((net, model), draws, strict=True)
    )
    tables = [
        scores_of(net, nets, digits, 1, 1.0).assign(data="digits"),
        scores_of(model, models, images, 8, 8.0).assign(data="photographs"),
    ]
    table = summary(pd.concat(tables, ignore_index=True))
    page = table.drop(columns=[name for name in table if name.endswith((" low", " high"))])
    write_table(
        "sanity",
        page.round(2),
        f"Kept: rank correlation of a map with the same network's at random weights ({draws[0]} draws for digits, "
        f"{draws[1]} for photographs); overlap: share of the largest 5 % that the maps of an image's first two "
        f"classes have in common (chance 0.05). {len(images)} photographs, {len(digits)} digits. In the last "
        "columns whether ours overlap less (95 % intervals by image, Holm over the peers).",
        table.round(4),
        folder_for(options.quick),
    )


if __name__ == "__main__":
    main()
