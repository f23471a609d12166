"""Photographs: what packages ship, a user's own, and every way in which a file can be none."""

import dataclasses
import io
import random
import re
import socket
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from helpers.measure.grids import assemble
from helpers.zoo.classifiers import LITE_WEIGHTS
from helpers.zoo.decoders import DIGIT_VAE_FILE, DIGIT_VAE_SHA256
from helpers.zoo.networks import (
    DIGIT_NET_FILE,
    DIGIT_NET_SHA256,
    DIGIT_VIT_FILE,
    DIGIT_VIT_SHA256,
    DIGIT_WITNESS_FILE,
    DIGIT_WITNESS_SHA256,
)
from helpers.zoo.photographs import (
    BUNDLED,
    Bundled,
    Photograph,
    bundled_content,
    load_photo,
    photo_folder,
    photograph,
    photographs,
)

README = (Path(__file__).resolve().parent.parent / "data" / "README.md").read_text(encoding="utf-8")
# the import names of the packages that data/README.md names as they are installed
IMPORTED = {"scikit-image": "skimage", "scikit-learn": "sklearn", "matplotlib": "matplotlib"}
RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*arguments):
        raise AssertionError("a photograph asked for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def pixels(path, side) -> np.ndarray:
    """The loaded photo as 8-bit pixels, (S, S, 3)."""
    image = load_photo(path, side).image
    assert image.dtype == torch.float32
    assert image.shape == (3, side, side)
    return (image * 255).round().byte().permute(1, 2, 0).numpy()


def saved(path, image: Image.Image, **options) -> Path:
    image.save(path, **options)
    return path


def noise(side: int = 32, seed: int = 0) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    return Image.fromarray(values)


# ---- bundled -----------------------------------------------------------------------------------------------


def test_the_bundled_photographs():
    photos = photographs(64)
    assert list(photos) == list(BUNDLED)
    assert len(photos) == 9
    for name, photo in photos.items():
        assert type(photo) is Photograph
        assert type(photo.image) is torch.Tensor
        assert (photo.name, photo.source) == (name, BUNDLED[name].source)
        assert photo.image.shape == (3, 64, 64)
        assert photo.image.dtype == torch.float32
        assert 0 <= photo.image.min() < 0.3
        assert 0.7 < photo.image.max() <= 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        photos["coffee"].name = "tea"


def test_default_side_and_choice_of_names():
    photos = photographs(names=["china", "coffee"])
    assert list(photos) == ["china", "coffee"]
    assert photos["china"].image.shape == (3, 448, 448)
    assert list(photographs(32, "camera")) == ["camera"]
    assert photographs(32, []) == {}


def test_at_its_own_size_a_photograph_is_its_own_middle_square():
    content = bundled_content(BUNDLED["chelsea"])
    values = np.asarray(Image.open(io.BytesIO(content)))
    left = round((451 - 300) / 2)
    ours = (photographs(300, ["chelsea"])["chelsea"].image * 255).round().byte().permute(1, 2, 0).numpy()
    assert any(np.array_equal(ours, values[:, at : at + 300]) for at in (left - 1, left, left + 1))


def test_a_grey_photograph_has_three_equal_channels():
    image = photographs(128, ["camera"])["camera"].image
    assert torch.equal(image[0], image[1])
    assert torch.equal(image[0], image[2])


def test_four_photographs_make_a_grid():
    photos = list(photographs(224).values())[:4]
    grid = assemble(torch.stack([photo.image for photo in photos])[None])
    assert grid.shape == (1, 3, 448, 448)
    assert torch.equal(grid[0, :, 224:, :224], photos[2].image)


@pytest.mark.parametrize(
    ("name", "near"), [("cofee", "coffee"), ("Chelsea", "chelsea"), ("hopper", "grace_hopper")]
)
def test_an_unknown_name_tells_the_nearest(name, near):
    with pytest.raises(ValueError, match=f"Did you mean '{near}'"):
        photographs(32, [name])
    with pytest.raises(FileNotFoundError, match=f"Did you mean '{near}'"):
        photograph(name, 32)


@pytest.mark.parametrize("side", [0, -1, 2.5, True, "224"])
def test_side_must_be_a_positive_integer(side, tmp_path):
    path = saved(tmp_path / "a.png", noise())
    for call in (lambda: photographs(side), lambda: load_photo(path, side)):
        with pytest.raises(ValueError, match="side"):
            call()


def test_a_changed_file_is_refused(monkeypatch):
    other = dataclasses.replace(BUNDLED["coffee"], sha256="0" * 64)
    monkeypatch.setitem(BUNDLED, "coffee", other)
    with pytest.raises(
        ValueError, match=r"coffee\.png: expected the SHA-256 0{64}, got cc02f8ca.*make setup"
    ):
        photographs(32, ["coffee"])
    photographs(32, ["camera"])  # the others are not touched


@pytest.mark.parametrize(
    ("bundled", "told"),
    [
        (Bundled("no_such_package", "a.png", "", ""), "not installed"),
        (Bundled("skimage", "data/eagle.png", "", ""), "found none"),
        (Bundled("csv", "a.png", "", ""), "not installed"),  # a module, which holds no files
    ],
)
def test_a_missing_package_or_file_is_told(bundled, told):
    with pytest.raises(FileNotFoundError, match=f"{told}.*constraints.txt"):
        bundled_content(bundled)


def test_photograph_takes_names_and_paths(tmp_path, monkeypatch):
    assert torch.equal(photograph("coffee", 32).image, photographs(32, ["coffee"])["coffee"].image)
    path = saved(tmp_path / "mine.png", noise())
    assert photograph(path, 32).name == "mine"
    assert photograph(str(path), 32).source == str(path)
    monkeypatch.chdir(tmp_path)
    saved(tmp_path / "coffee", noise(), format="PNG")
    assert photograph("coffee", 32).source == BUNDLED["coffee"].source  # a name comes first
    assert photograph("./coffee", 32).source == "coffee"


# ---- a user's own photo ------------------------------------------------------------------------------------


def test_own_photo_at_its_own_size(tmp_path):
    image = noise()
    path = saved(tmp_path / "mine.png", image)
    assert np.array_equal(pixels(path, 32), np.asarray(image))
    photo = load_photo(str(path), 32)
    assert (photo.name, photo.source) == ("mine", str(path))


@pytest.mark.parametrize("size", [(60, 20), (20, 60)])
def test_the_middle_square_is_cut_out(tmp_path, size):
    image = Image.new("RGB", size, RED)
    image.paste(Image.new("RGB", (20, 20), GREEN), ((size[0] - 20) // 2, (size[1] - 20) // 2))
    seen = pixels(saved(tmp_path / "a.png", image), 20)
    assert (seen == GREEN).all()


def test_shrinking_is_antialiased(tmp_path):
    board = (np.indices((256, 256)).sum(axis=0) % 2 * 255).astype(np.uint8)
    seen = pixels(saved(tmp_path / "a.png", Image.fromarray(board)), 32)
    assert np.abs(seen[2:-2, 2:-2].astype(int) - 127.5).max() <= 1


def test_small_and_long_photos(tmp_path):
    assert (pixels(saved(tmp_path / "dot.png", Image.new("RGB", (1, 1), BLUE)), 64) == BLUE).all()
    # magnified as a whole, this strip would have 5 million columns
    assert (pixels(saved(tmp_path / "strip.png", Image.new("RGB", (12000, 1), BLUE)), 448) == BLUE).all()


# EXIF's orientation -> the operations that bring the stored pixels upright, written out from the standard:
# which side of the picture the stored row 0 and column 0 are
UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: a.transpose(1, 0, 2)[:, ::-1],
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: a.transpose(1, 0, 2)[::-1],
}


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_the_cameras_orientation_is_honoured(tmp_path, orientation):
    image = noise()
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path / "a.png", image, exif=exif)
    assert np.array_equal(pixels(path, 32), UPRIGHT[orientation](np.asarray(image)))


def test_transparency_is_laid_on_white(tmp_path):
    half = Image.new("RGBA", (8, 8), (*RED, 255))
    half.paste((0, 0, 0, 0), (4, 0, 8, 8))
    seen = pixels(saved(tmp_path / "a.png", half), 8)
    assert (seen[:, :4] == RED).all()
    assert (seen[:, 4:] == WHITE).all()
    grey = Image.new("LA", (8, 8), (0, 128))
    assert (np.abs(pixels(saved(tmp_path / "b.png", grey), 8).astype(int) - 127) <= 1).all()


def test_palettes(tmp_path):
    image = Image.new("P", (8, 8), 1)
    image.putpalette([*RED, *BLUE])
    assert (pixels(saved(tmp_path / "a.png", image), 8) == BLUE).all()
    assert (pixels(saved(tmp_path / "b.png", image, transparency=1), 8) == WHITE).all()
    assert (pixels(saved(tmp_path / "c.gif", image), 8) == BLUE).all()


def test_grey_and_black_and_white(tmp_path):
    assert (pixels(saved(tmp_path / "a.png", Image.new("L", (8, 8), 77)), 8) == 77).all()
    assert (pixels(saved(tmp_path / "b.png", Image.new("1", (8, 8), 1)), 8) == 255).all()


@pytest.mark.parametrize("ending", ["png", "tif", "pgm"])
def test_16_bit_grey_keeps_its_range(tmp_path, ending):
    ramp = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    path = tmp_path / f"a.{ending}"
    if ending == "pgm":  # big-endian samples after a short header
        path.write_bytes(b"P5 8 8 65535\n" + ramp.astype(">u2").tobytes())
    else:
        Image.fromarray(ramp).save(path)
    expected = np.round(ramp / 65535 * 255)
    assert (np.abs(pixels(path, 8) - expected[..., None]) <= 1).all()


def test_floating_point_grey(tmp_path):
    ramp = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    path = saved(tmp_path / "a.tif", Image.fromarray(ramp))
    assert np.array_equal(pixels(path, 8)[..., 0], np.round(ramp * 255).astype(np.uint8))
    for name, value in (("large", 2.0), ("nan", float("nan")), ("negative", -0.5)):
        bad = saved(tmp_path / f"{name}.tif", Image.fromarray(np.full((8, 8), value, dtype=np.float32)))
        with pytest.raises(ValueError, match=rf"{name}\.tif.*0 to 1 in mode F"):
            load_photo(bad, 8)


def test_32_bit_grey_beyond_16_bits_is_refused(tmp_path):
    bad = saved(tmp_path / "deep.tif", Image.fromarray(np.full((8, 8), 70000, dtype=np.int32)))
    with pytest.raises(ValueError, match=r"deep\.tif.*0 to 65535"):
        load_photo(bad, 8)


def test_cmyk(tmp_path):
    image = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    assert (pixels(saved(tmp_path / "a.tif", image), 16) == RED).all()
    assert (np.abs(pixels(saved(tmp_path / "a.jpg", image), 16).astype(int) - RED) <= 3).all()


@pytest.mark.parametrize("ending", ["gif", "png", "tif"])
def test_of_an_animation_the_first_frame(tmp_path, ending):
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, GREEN, BLUE)]
    path = saved(tmp_path / f"a.{ending}", frames[0], save_all=True, append_images=frames[1:])
    with Image.open(path) as image:
        assert image.n_frames == 3
    assert (pixels(path, 8) == RED).all()


# ---- files that are none -----------------------------------------------------------------------------------


def test_a_missing_file_and_a_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.png"):
        load_photo(tmp_path / "nowhere.png")
    with pytest.raises(ValueError, match=f"expected a file, got {re.escape(str(tmp_path))}"):
        load_photo(tmp_path)


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


BROKEN = {
    "empty.jpg": b"",
    "text.png": b"this is no image\n",
    "zeros.jpg": bytes(1000),
    "header.png": b"\x89PNG\r\n\x1a\n",
    "no_pixels.png": b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0)),
    "jpeg_start.jpg": b"\xff\xd8\xff\xe0",
    "page.html": b"<!doctype html><title>404</title>",
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_told_by_its_path(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(BROKEN[name])
    with pytest.raises(ValueError, match=re.escape(str(path))):
        load_photo(path, 32)


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif", "bmp"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_file_cut_short_is_refused(tmp_path, ending, share):
    path = saved(tmp_path / f"cut.{ending}", noise(64))
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match=re.escape(str(path))):
        load_photo(path, 32)


@pytest.mark.parametrize("ending", ["jpg", "png", "gif", "webp", "tif"])
@pytest.mark.filterwarnings("ignore")  # Pillow warns of some damages that it can read over
def test_damaged_bytes_give_a_photo_or_a_clear_error(tmp_path, ending):
    path = saved(tmp_path / f"damaged.{ending}", noise(16))
    content = path.read_bytes()
    chance = random.Random(0)
    refused = []
    for _ in range(60):
        damaged = bytearray(content)
        for _ in range(3):
            damaged[chance.randrange(min(len(damaged), 200))] = chance.randrange(256)
        path.write_bytes(damaged)
        try:
            image = load_photo(path, 8).image
        except ValueError as error:
            refused.append(str(error))
        else:
            assert image.shape == (3, 8, 8)
            assert ((image >= 0) & (image <= 1)).all()
    assert refused
    assert all(str(path) in message for message in refused)


@pytest.mark.parametrize(
    "height", [9_000, 20_000]
)  # beyond the limit, where Pillow warns, and beyond its double
def test_a_decompression_bomb_is_refused(tmp_path, height):
    path = tmp_path / "bomb.png"
    rows = zlib.compress(bytes(height * (1 + 10_000 // 8)))
    header = struct.pack(">IIBBBBB", 10_000, height, 1, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", rows), (b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks))
    assert path.stat().st_size < 50_000
    limit = Image.MAX_IMAGE_PIXELS
    assert limit == 89_478_485  # as the docstring and data/README.md say
    with pytest.raises(ValueError, match=rf"{re.escape(str(path))}.*the limit is {limit} pixels"):
        load_photo(path, 32)
    assert limit == Image.MAX_IMAGE_PIXELS


# ---- a folder of photos ------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "more").mkdir()
    for name in ("a.png", "b.png", "more/c, d.png"):
        saved(tmp_path / name, noise(8))
    return tmp_path


def write_labels(folder: Path, text: str | bytes) -> Path:
    content = text if isinstance(text, bytes) else text.encode()
    (folder / "labels.csv").write_bytes(content)
    return folder


def test_photo_folder(folder):
    write_labels(folder, '\ufeffnote, class_index,file\r\nx,7,a.png\r\n\r\n"y", 0 ,"more/c, d.png"\r\n')
    assert photo_folder(folder) == [(folder / "a.png", 7), (folder / "more/c, d.png", 0)]
    assert photo_folder(str(folder)) == photo_folder(folder)
    assert all(load_photo(path, 8).image.shape == (3, 8, 8) for path, _ in photo_folder(folder))


@pytest.mark.parametrize(
    ("text", "error", "told"),
    [
        ("", ValueError, "an empty file; add file and class_index"),
        ("file,label\na.png,1\n", ValueError, "got file, label; add class_index"),
        ("class_index\n1\n", ValueError, "add file to"),
        ("a.png,1\nb.png,2\n", ValueError, "got a.png, 1"),
        ("file,class_index\n", ValueError, "at least one photo"),
        ("file,class_index\na.png,1\nb.png,cat\n", ValueError, "line 3: expected class_index .* got 'cat'"),
        ("file,class_index\na.png,1.0\n", ValueError, "line 2.* got '1.0'"),
        ("file,class_index\na.png,-1\n", ValueError, "line 2.* got '-1'"),
        ("file,class_index\na.png,\n", ValueError, "line 2.* got ''"),
        ("file,class_index\na.png\n", ValueError, "line 2.* got ''"),
        ("file,class_index\na.png,1\nnone.png,1\n", FileNotFoundError, "line 3: .*none.png"),
        ("file,class_index\n,1\n", FileNotFoundError, "line 2"),
        ("file,class_index\nmore,1\n", FileNotFoundError, "line 2"),
        ("file,class_index\na.png,1\na.png,2\n", ValueError, "line 3: expected each file once"),
        (b"file,class_index\n\xff\xfe.png,1\n", ValueError, "UTF-8"),
    ],
)
def test_photo_folder_tells_what_is_wrong(folder, text, error, told):
    write_labels(folder, text)
    with pytest.raises(error, match=told) as caught:
        photo_folder(folder)
    assert str(folder) in str(caught.value)


def test_photo_folder_without_labels(tmp_path):
    for place in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(FileNotFoundError, match=r"labels\.csv.*file, class_index"):
            photo_folder(place)


# ---- data/README.md ----------------------------------------------------------------------------------------


def test_the_readme_lists_the_photographs_as_they_are():
    pattern = r"^\| (\w+) \| (\d+) x (\d+) \| ([\w-]+), `(\S+)` \| (\d+) \| `([0-9a-f]{64})` \| (.+) \|$"
    rows = {row[0]: row[1:] for row in re.findall(pattern, README, re.M)}
    assert list(rows) == list(BUNDLED)
    for name, (width, height, package, path, size, sha256, licence) in rows.items():
        bundled = BUNDLED[name]
        content = bundled_content(bundled)  # compares the file with the code
        assert (IMPORTED[package], path, sha256) == (bundled.package, bundled.path, bundled.sha256)
        assert int(size) == len(content)
        assert Image.open(io.BytesIO(content)).size == (int(width), int(height))
        assert package in bundled.source
        assert f"**{name}**" in README, f"data/README.md says nothing about the origin of {name}"
        assert licence in bundled.source or licence == "free to use, citation asked for"


def test_the_readme_lists_the_models_as_they_are():
    for weights in LITE_WEIGHTS.values():
        pytest.importorskip(weights.package)
    pattern = r"\| (\S+, )?`(\S+\.pth?)` \| (\d+) \| `([0-9a-f]{64})` \|"
    rows = {path: (int(size), sha256) for _, path, size, sha256 in re.findall(pattern, README)}
    own = {
        DIGIT_NET_FILE: DIGIT_NET_SHA256,
        DIGIT_WITNESS_FILE: DIGIT_WITNESS_SHA256,
        DIGIT_VIT_FILE: DIGIT_VIT_SHA256,
        DIGIT_VAE_FILE: DIGIT_VAE_SHA256,
    }
    assert rows == {
        **{each.path: (len(bundled_content(each)), each.sha256) for each in LITE_WEIGHTS.values()},
        **{file.name: (file.stat().st_size, sha256) for file, sha256 in own.items()},
    }
