"""Does a map stay when the picture hardly changes? Sizes, mirrored, shifted: python -m benchmarks.stability.

The same photograph at 160, 224 and 320 px, mirrored, and shifted by 8 px, explained for the class that the network
puts first at 224 px. Maps are brought to one grid of 10 x 10 squares and compared by their rank correlation.
"""

import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional
from tqdm.auto import tqdm

from benchmarks.common import folder_for, parser_of, write_table
from benchmarks.single import photographs
from helpers.measure.maps import spearman
from helpers.measure.peers import GradCam, Gradient, IntegratedGradients, Occlusion
from helpers.measure.statistics import bootstrap_interval
from helpers.saliency import Blurred, Logit, OwnMean, fitted, presets, stages
from helpers.zoo.classifiers import load_classifier

SIZES, GRID, SHIFT = (160, 224, 320), 10, 8
PAIRS = ((160, 224), (224, 320), (160, 320))


def methods(model, image: Tensor) -> dict[str, object]:
    """Name -> method; windows are a share of the image."""
    side = image.shape[-1]
    return {
        "nonlinear, supports": presets.supports(model),
        "nonlinear, one path, 9 gradients": presets.supports(model, OwnMean()),
        "Grad-CAM": GradCam(model, stages(model, image)[-1], score=Logit()),
        "Integrated Gradients, 16": IntegratedGradients(model, Blurred(), 16, score=Logit()),
        "Occlusion": Occlusion(model, Blurred(), 2 * side // 7, side // 7, score=Logit()),
        "gradient": Gradient(model, score=Logit()),
    }


def squares(saliency: Tensor) -> Tensor:
    """A map (1, 1, H, W) on the common grid, (1, 10, 10)."""
    return functional.adaptive_avg_pool2d(saliency, GRID)[:, 0]


def agreements(model, images: dict[int, Tensor]) -> pd.DataFrame:
    """One row a (method, change): the rank correlation with the map of the unchanged picture; or between sizes."""
    with torch.no_grad():
        target = int(model(images[224])[0].argmax())

    def explained(image: Tensor) -> dict[str, Tensor]:
        return {n: fitted(m.attribute(image, target), image) for n, m in methods(model, image).items()}

    found = {size: explained(image) for size, image in images.items()}
    mirrored = explained(images[224].flip(-1))
    shifted = explained(images[224].roll((SHIFT, SHIFT), (-2, -1)))
    rows = []
    for name, plain in found[224].items():
        pairs = {between(a, b): (found[a][name], found[b][name]) for a, b in PAIRS}
        pairs["mirrored"] = plain, mirrored[name].flip(-1)
        pairs[f"shifted by {SHIFT} px"] = plain, shifted[name].roll((-SHIFT, -SHIFT), (-2, -1))
        rows += [(name, how, spearman(squares(a), squares(b)).item()) for how, (a, b) in pairs.items()]
    return pd.DataFrame(rows, columns=["method", "change", "spearman"])


def between(smaller: int, larger: int) -> str:
    """The change from one size to another, in words."""
    return f"{smaller} and {larger} px"


def summary(scores: pd.DataFrame) -> pd.DataFrame:
    """One row a method: the mean over photographs of each change, and of the sizes with its 95 % interval."""
    sizes = scores[scores["change"].isin([between(*pair) for pair in PAIRS])]
    rows = []
    for name in scores["method"].unique():
        of = sizes[sizes["method"] == name].groupby("photo")["spearman"].mean()
        mean, low, high = bootstrap_interval(of.to_numpy())
        row = {"method": name, "between sizes": mean, "low": low, "high": high}
        for change, part in scores[scores["method"] == name].groupby("change", sort=False):
            row[change] = part["spearman"].mean()
        rows.append(row)
    return pd.DataFrame(rows)


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--count", type=int, default=12, help="photographs of it")
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = load_classifier().model
    sizes = {size: photographs(options.photos, options.count, size) for size in SIZES}
    tables = [
        agreements(model, {size: images[photo][None] for size, images in sizes.items()}).assign(photo=photo)
        for photo in tqdm(range(len(sizes[224])), desc="photographs")
    ]
    table = summary(pd.concat(tables, ignore_index=True)).round(2)
    write_table(
        "stability",
        table,
        f"Rank correlation of a photograph's maps on {GRID} x {GRID} squares, EfficientNet-Lite0, {len(tables)} "
        "photographs that chose nothing; between sizes: mean of the three pairs, with its 95 % "
        "interval (bootstrap by photograph).",
        folder=folder_for(options.quick),
    )


if __name__ == "__main__":
    main()
