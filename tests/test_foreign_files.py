"""Folders as people have them: odd endings, odd names, one picture twice, photos with broken metadata."""

import io
import os
import struct
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from helpers.lessons.saved_maps import Recipe, save_maps
from helpers.lessons.your_model import image_set
from helpers.zoo.classifiers import Classifier
from helpers.zoo.photographs import load_photo

SIDE = 16


def picture(path, seed: int = 0, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (30, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, **options)
    return path


def saved(folder, output):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, 2)).eval().requires_grad_(False)
    classifier = Classifier("linear", model, ("cat", "dog"), SIDE)
    return save_maps(classifier, image_set(folder), Recipe("tangent"), output, show_progress=False)


def test_every_ending_that_pillow_reads_is_seen_and_the_others_are_counted(tmp_path):
    folder = tmp_path / "images"
    kinds = {
        "a.jpg": "JPEG",
        "b.jfif": "JPEG",
        "c.JPE": "JPEG",
        "f.tga": "TGA",
        "k.dib": "DIB",
        "p.pcx": "PCX",
    }
    for seed, (name, kind) in enumerate(kinds.items()):
        picture(folder / name, seed, format=kind)
    for name in ("h.unknown", "notes.txt", "more.txt", "README"):
        (folder / name).write_bytes(b"no picture")
    images = image_set(folder)
    assert images.names == tuple(sorted(kinds))
    assert images.passed_over == ("4 files with an ending that Pillow does not read (none, .txt, .unknown)",)
    report = saved(folder, tmp_path / "maps")
    assert len(report.maps) == len(kinds)
    assert str(report).splitlines()[-1] == f"passed over: {images.passed_over[0]}"
    for name in kinds:
        (folder / name).unlink()
    with pytest.raises(ValueError, match=r"found none among 4 files: 4 files .* \(none, .txt, .unknown\)\."):
        image_set(folder)


def test_folders_of_images_alone_say_nothing(tmp_path):
    picture(tmp_path / "images" / "a.png")
    assert image_set(tmp_path / "images").passed_over == image_set().passed_over == ()
    assert "passed over" not in str(saved(tmp_path / "images", tmp_path / "maps"))


def with_exif(path, orientation: int):
    """A JPEG with that orientation and a signed rational of -1/0, which Pillow reads but cannot write."""
    entries = struct.pack("<HHII", 0x0112, 3, 1, orientation)
    entries += struct.pack("<HHII", 0x011A, 10, 1, 8 + 2 + 2 * 12 + 4)  # resolution, outside the table
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + entries + struct.pack("<Iii", 0, -1, 0)
    return picture(path, quality=95, subsampling=0, exif=exif)


@pytest.mark.parametrize(("orientation", "turns"), [(1, 0), (3, 2), (6, -1), (8, 1)])
def test_of_the_metadata_only_the_orientation_is_read(tmp_path, orientation, turns):
    plain = load_photo(picture(tmp_path / "plain.jpg", quality=95, subsampling=0), side=30).image
    photo = load_photo(with_exif(tmp_path / "odd.jpg", orientation), side=30).image
    assert torch.equal(photo, plain.rot90(turns, dims=(1, 2)))


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere file systems refuse such names")
def test_a_name_that_is_not_utf8_is_named_and_the_others_are_explained(tmp_path):
    folder = tmp_path / "images"
    picture(folder / "a.png", 1)
    content = io.BytesIO()
    Image.new("RGB", (20, 20)).save(content, "PNG")
    with open(os.fsencode(folder) + b"/caf\xe9.png", "wb") as file:
        file.write(content.getvalue())
    report = saved(folder, tmp_path / "maps")
    assert [one.record["image"] for one in report.maps] == ["a.png"]
    assert str(report).encode().endswith(b"passed over: caf\\xe9.png: the name is not UTF-8; rename the file")


@pytest.mark.parametrize(
    "names",
    [(f"cats/{'0' * 64}.png", f"dogs/{'0' * 64}.png"), ("a b.png", "a_b.png"), ("x/a.png", "x_a.png")],
)
def test_one_picture_under_two_names_has_two_maps(tmp_path, names):
    folder, output = tmp_path / "images", tmp_path / "maps"
    for name in names:
        picture(folder / name)
    first, second = saved(folder, output), saved(folder, output)
    assert {one.record["image"] for one in first.maps} == set(names)
    assert len({one.file for one in first.maps}) == 2
    assert (second.computed, second.damaged) == (0, ())
    assert [one.record["image"] for one in second.maps] == [one.record["image"] for one in first.maps]
    assert torch.equal(second.maps[0].map(), second.maps[1].map())
