"""Does a map point into the object? Photographs that come with masks: python -m benchmarks.masks --photos FOLDER.

The folder's labels.csv has a third column, mask: a picture of the photograph's size, white where the object is. Two
numbers for the labelled class: the pointing game (Zhang et al. 2018, arXiv 1608.00507: how often the largest place
lies in the object) and the rank AUC of "this square lies in the object" (chance 0.5).
"""

from pathlib import Path

import pandas as pd
import torch
from PIL import Image
from torch import Tensor
from tqdm.auto import tqdm

from benchmarks.common import folder_for, parser_of, write_table
from benchmarks.methods import SUPPORTS, chosen, methods_of
from helpers.measure.maps import pool, rank_auc, smooth
from helpers.measure.statistics import against
from helpers.zoo.classifiers import load_classifier
from helpers.zoo.photographs import load_photo, photo_folder

SIDE, SQUARE, WIDTH = 224, 8, 8.0


def masked_photos(folder: Path) -> list[tuple[Path, int, Path]]:
    """Photograph, class and mask of each line of labels.csv.

    Raises:
        ValueError: no column mask, or a mask of another size than its photograph.
        FileNotFoundError: a mask that is missing. And what `photo_folder` raises.
    """
    photos = photo_folder(folder)
    table = pd.read_csv(folder / "labels.csv", skipinitialspace=True)
    if "mask" not in table.columns:
        raise ValueError(
            f"--photos: expected a column mask in {folder / 'labels.csv'}; got {', '.join(table.columns)}. Name a "
            "picture for each photograph, white where the object is."
        )
    found = []
    for (path, label), name in zip(photos, table["mask"], strict=True):
        mask = folder / str(name)
        if not mask.is_file():
            raise FileNotFoundError(f"--photos: expected the mask {mask} of {path.name}; there is none.")
        sizes = [Image.open(file).size for file in (path, mask)]
        if sizes[0] != sizes[1]:
            raise ValueError(
                f"--photos: expected the mask {mask.name} to have the size of {path.name}, {sizes[0]}; got "
                f"{sizes[1]}."
            )
        found.append((path, label, mask))
    return found


def pointed(saliency: Tensor, mask: Tensor) -> tuple[float, float]:
    """Pointing game and rank AUC of a map (H, W) and a mask (H, W), bool; mixed squares count nowhere.

    Raises:
        ValueError: a mask without a whole square inside, or outside.
    """
    plane = pool(smooth(saliency[None], WIDTH), SQUARE)[0]
    shares = pool(mask[None].double(), SQUARE)[0]
    known = (shares == 0) | (shares == 1)
    if not ((shares == 1).any() and (shares == 0).any()):
        raise ValueError(f"mask: expected squares of {SQUARE} px inside and outside the object; got none.")
    hit = float(shares.flatten()[plane.argmax()] > 0.5)
    auc = rank_auc(plane[known][None].clamp_min(0), (shares == 1)[known][None]).item()
    return hit, auc


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--network", default="efficientnet_lite0")
    parser.add_argument("--count", type=int, default=30, help="photographs of it")
    options = parser.parse_args()
    if options.photos is None:
        parser.error("--photos: name a folder whose labels.csv has a column mask.")
    torch.set_num_threads(1)
    model, rows = load_classifier(options.network).model, []
    photos = masked_photos(options.photos)[: 2 if options.quick else options.count]
    for number, (path, label, file) in enumerate(tqdm(photos, desc="masks")):
        image, mask = load_photo(path, SIDE).image[None], load_photo(file, SIDE).image[0] > 0.5
        for name, maps in chosen(methods_of(model, image), {}).items():
            rows.append((number, name, *pointed(maps(image, [label])[0], mask)))
    scores = pd.DataFrame(rows, columns=["photo", "method", "pointing game", "rank_auc"])
    wide = scores.pivot(index="photo", columns="method", values="rank_auc")
    table = scores.groupby("method", sort=False)[["pointing game", "rank_auc"]].mean()
    table = table.join(against(wide, SUPPORTS)).reset_index()
    notes = f"Labelled class of {len(photos)} photographs with masks, {options.network}; ours: {SUPPORTS}."
    write_table("masks", table.round(3), notes, folder=folder_for(options.quick))


if __name__ == "__main__":
    main()
