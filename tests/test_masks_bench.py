"""benchmarks.masks: what is wrong with a folder is told before any map; the two numbers by hand."""

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks import masks as bench


def write(folder, mask_size=(32, 32), header="file,class_index,mask", mask="mask.png"):
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(folder / "photo.png")
    Image.fromarray(np.full((*mask_size[::-1], 3), 255, np.uint8)).save(folder / "mask.png")
    line = f"photo.png,3,{mask}" if "mask" in header else "photo.png,3"
    (folder / "labels.csv").write_text(f"{header}\n{line}\n")


def test_a_folder_with_masks(tmp_path):
    write(tmp_path)
    assert bench.masked_photos(tmp_path) == [(tmp_path / "photo.png", 3, tmp_path / "mask.png")]


@pytest.mark.parametrize(
    ("changed", "error", "words"),
    [
        ({"header": "file,class_index"}, ValueError, "expected a column mask .* got file, class_index"),
        ({"mask": "absent.png"}, FileNotFoundError, "expected the mask .*absent.png of photo.png"),
        ({"mask_size": (16, 32)}, ValueError, r"the size of photo.png, \(32, 32\); got \(16, 32\)"),
    ],
)
def test_a_folder_that_does_not_fit(tmp_path, changed, error, words):
    write(tmp_path, **changed)
    with pytest.raises(error, match=words):
        bench.masked_photos(tmp_path)


def test_a_map_that_is_the_mask_points_into_it():
    mask = torch.zeros(64, 64, dtype=torch.bool)
    mask[16:48, 16:32] = True
    assert bench.pointed(mask.float(), mask) == (1.0, 1.0)
    hit, auc = bench.pointed((~mask).float(), mask)
    assert (hit, auc < 0.1) == (0.0, True)
    with pytest.raises(ValueError, match="squares of 8 px inside and outside the object"):
        bench.pointed(mask.float(), torch.ones(64, 64, dtype=torch.bool))
