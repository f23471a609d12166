"""Photographs to explain: those that installed packages ship, and a user's own. Nothing is downloaded."""

import csv
import hashlib
import io
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image
from torch import Tensor
from torchvision.transforms.functional import center_crop, pil_to_tensor, resize

from helpers.checks import did_you_mean, require_count


@dataclass(frozen=True, eq=False)
class Photograph:
    """One photograph, ready for a classifier of `helpers.zoo.classifiers`.

    Attributes:
        name: short name; of a user's own photo the file's name without its ending.
        image: float32, (3, S, S), red, green, blue in [0, 1].
        source: author and licence of a bundled photograph (more in data/README.md); else the file's path.

    Example:
        >>> photo = photographs(side=64, names="coffee")["coffee"]
        >>> photo.image.shape, photo.source
        (torch.Size([3, 64, 64]), 'Rachel Michetti, CC0; in scikit-image')
    """

    name: str
    image: Tensor
    source: str


@dataclass(frozen=True)
class Bundled:
    """A file inside an installed package.

    Attributes:
        package: name by which the package is imported.
        path: the file's path inside the package, with "/".
        sha256: checksum, hexadecimal.
        source: author and licence, in a few words.

    Example:
        >>> BUNDLED["chelsea"].package, BUNDLED["chelsea"].path
        ('skimage', 'data/chelsea.png')
    """

    package: str
    path: str
    sha256: str
    source: str


# All of these lie in the wheels themselves; of the files that scikit-image fetches on demand none is used.
BUNDLED = {
    "chelsea": Bundled(
        "skimage",
        "data/chelsea.png",
        "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb",
        "Stefan van der Walt, CC0; in scikit-image",
    ),
    "coffee": Bundled(
        "skimage",
        "data/coffee.png",
        "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7",
        "Rachel Michetti, CC0; in scikit-image",
    ),
    "rocket": Bundled(
        "skimage",
        "data/rocket.jpg",
        "c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c",
        "SpaceX, public domain; in scikit-image",
    ),
    "camera": Bundled(
        "skimage",
        "data/camera.png",
        "b0793d2adda0fa6ae899c03989482bff9a42d3d5690fc7e3648f2795d730c23a",
        "Lav Varshney, CC0; in scikit-image",
    ),
    "motorcycle": Bundled(
        "skimage",
        "data/motorcycle_left.png",
        "db18e9c4157617403c3537a6ba355dfeafe9a7eabb6b9b94cb33f6525dd49179",
        "Middlebury stereo 2014, use with citation; in scikit-image",
    ),
    "astronaut": Bundled(
        "skimage",
        "data/astronaut.png",
        "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
        "NASA, public domain; in scikit-image",
    ),
    "grace_hopper": Bundled(
        "matplotlib",
        "mpl-data/sample_data/grace_hopper.jpg",
        "a8ca6d734765703b09728ab47fe59f473d93ae3967fc24c7c0288c3c7adb7130",
        "US Navy, public domain; in matplotlib",
    ),
    "china": Bundled(
        "sklearn",
        "datasets/images/china.jpg",
        "8378025ad2519d649d02e32bd98990db4ab572357d9f09841c2fbfbb4fefad29",
        "danielbuechele on Flickr, CC BY 2.0; in scikit-learn",
    ),
    "flower": Bundled(
        "sklearn",
        "datasets/images/flower.jpg",
        "a77f6ec41e353afdf8bdff2ea981b2955535d8d83294f8cfa49cf4e423dd5638",
        "vultilion on Flickr, CC BY 2.0; in scikit-learn",
    ),
}

# EXIF's orientation -> what brings the stored pixels upright.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def endings() -> set[str]:
    """Endings of the files that Pillow reads, in small letters, with what its plugins have registered.

    Example:
        >>> {".jpg", ".jfif", ".tga"} <= endings(), ".pdf" in endings()  # PDF it can only write
        (True, False)
    """
    return {ending for ending, kind in Image.registered_extensions().items() if kind in Image.OPEN}


def bundled_content(bundled: Bundled) -> bytes:
    """The bytes of a file that an installed package ships, after its SHA-256 was compared.

    Raises:
        FileNotFoundError: the package, or the file in it, is not installed.
        ValueError: the file is another one.

    Example:
        >>> bundled_content(BUNDLED["chelsea"])[1:4]
        b'PNG'
    """
    # The package is found, not imported: importing scikit-learn for one file would take a second.
    spec = find_spec(bundled.package)
    again = "install the tested versions again (constraints.txt; `make setup` does)."
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(
            f"{bundled.path}: expected it in the package {bundled.package}, which is not installed; {again}"
        )
    path = Path(spec.submodule_search_locations[0], *bundled.path.split("/"))
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: expected the package {bundled.package} to ship this file, found none; {again}"
        )
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != bundled.sha256:
        raise ValueError(
            f"{path}: expected the SHA-256 {bundled.sha256}, got {found}; the file is damaged or comes from "
            f"another version of {bundled.package}: {again}"
        )
    return content


def photographs(side: int = 448, names: Iterable[str] | None = None) -> dict[str, Photograph]:
    """The bundled photographs by name, shorter side brought to ``side`` pixels, the middle square cut out.

    They come inside scikit-image, matplotlib and scikit-learn; sources, licences and checksums are in
    data/README.md. Their shorter sides are 300 to 512 pixels, so that 448 magnifies some. Four of them in a
    grid: ``helpers.measure.grids.assemble(torch.stack([...])[None])``.

    Args:
        side: S, pixels a side of the square images.
        names: which ones, in that order; default all nine.

    Raises:
        ValueError: an unknown name (with the nearest one), a side that is not a positive integer, or a file
            with another checksum.
        FileNotFoundError: a package, or its file, is missing.

    Example:
        >>> cat, cup = photographs(side=64, names=["chelsea", "coffee"]).values()
        >>> cat.name, cup.image.shape
        ('chelsea', torch.Size([3, 64, 64]))
    """
    require_count("side", side)
    if isinstance(names, str):
        names = [names]
    chosen = list(BUNDLED) if names is None else list(names)
    for name in chosen:
        if name not in BUNDLED:
            raise ValueError(f"photographs: {_unknown(name)}")
    return {
        name: Photograph(
            name,
            _read(io.BytesIO(bundled_content(BUNDLED[name])), BUNDLED[name].path, side),
            BUNDLED[name].source,
        )
        for name in chosen
    }


def load_photo(path: str | Path, side: int = 448) -> Photograph:
    """A photo from a file, shorter side brought to ``side`` pixels, the middle square cut out.

    Any file that Pillow reads. The camera's orientation (EXIF) is honoured; what is transparent is laid on
    white; of an animation the first frame is taken; grey and palette images become RGB, and so does CMYK (by
    Pillow's plain formula); 16-bit grey is divided by 65535. Colour profiles are not applied.

    Args:
        path: the file; at most Pillow's ``Image.MAX_IMAGE_PIXELS`` pixels (89 478 485 unless changed), which
            guards against files that are small on disk and huge in memory.
        side: S, pixels a side of the square image.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not a file, no image, broken, cut short, or with too many pixels; a side that is not
            a positive integer. Names the path.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from PIL import Image
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Image.new("RGB", (60, 40), "red").save(Path(folder, "wall.png"))
        ...     photo = load_photo(Path(folder, "wall.png"), side=32)
        >>> photo.name, photo.image.shape, photo.image.amax((1, 2))
        ('wall', torch.Size([3, 32, 32]), tensor([1., 0., 0.]))
    """
    require_count("side", side)
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(
            f"load_photo: expected a photo in {path}, found no such file; check the path."
        )
    if not path.is_file():
        raise ValueError(f"load_photo: expected a file, got {path}; name one photo (folders: photo_folder).")
    with path.open("rb") as file:
        return Photograph(path.stem, _read(file, path, side), str(path))


def photograph(name: str | Path, side: int = 448) -> Photograph:
    """A bundled photograph by its name or, where there is none of that name, a photo by its path.

    Raises:
        FileNotFoundError: neither of the two; names the nearest bundled one.
        ValueError: as for ``photographs`` and ``load_photo``.

    Example:
        >>> photograph("coffee", side=64).image.shape
        torch.Size([3, 64, 64])
    """
    if name in BUNDLED:
        return photographs(side, [name])[name]
    if not Path(name).exists():
        raise FileNotFoundError(f"photograph: {_unknown(name)} Nor is there a file {str(name)!r}.")
    return load_photo(name, side)


def photo_folder(folder: str | Path) -> list[tuple[Path, int]]:
    """Paths and class indices of the photos that a folder's ``labels.csv`` lists, in its order.

    Args:
        folder: holds ``labels.csv`` (UTF-8) with a header and at least the columns ``file``, a path relative
            to the folder, and ``class_index``, an integer from 0 in the order of the classifier's classes.

    Raises:
        FileNotFoundError: no ``labels.csv``, or a file that it lists is missing.
        ValueError: a missing column, a class index that is not such an integer, a file listed twice, no photo at
            all, or a ``labels.csv`` that cannot be read as a table. Names the line.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     lines = Path(folder, "labels.csv").write_text("file,class_index" + chr(10) + "cat.png,281")
        ...     (Path(folder, "cat.png")).touch()
        ...     photos = photo_folder(folder)
        >>> [(path.name, class_index) for path, class_index in photos]
        [('cat.png', 281)]
    """
    labels = Path(folder) / "labels.csv"
    if not labels.is_file():
        raise FileNotFoundError(
            f"photo_folder: expected {labels} with the columns file, class_index, found none; write one line "
            "for each photo."
        )
    try:
        with labels.open(encoding="utf-8-sig", newline="") as table:
            reader = csv.DictReader(table)
            columns = [column.strip() for column in reader.fieldnames or []]
            reader.fieldnames = columns
            rows = [(reader.line_num, row) for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(
            f"photo_folder: expected {labels} to be a table in UTF-8, got: {error}; save it anew."
        ) from error
    missing = [column for column in ("file", "class_index") if column not in columns]
    if missing:
        raise ValueError(
            f"photo_folder: expected {labels} to have the columns file and class_index, got "
            f"{', '.join(columns) or 'an empty file'}; add {' and '.join(missing)} to its first line."
        )
    photos: dict[Path, int] = {}
    for line, row in rows:
        place = f"photo_folder: {labels}, line {line}"
        name, number = (row["file"] or "").strip(), (row["class_index"] or "").strip()
        path = labels.parent / name
        if not (number.isascii() and number.isdigit()):
            raise ValueError(f"{place}: expected class_index to be an integer of at least 0, got {number!r}.")
        if not name or not path.is_file():
            raise FileNotFoundError(f"{place}: expected a photo in {path}, found no such file.")
        if path in photos:
            raise ValueError(
                f"{place}: expected each file once, got {name!r} again; delete one of the lines."
            )
        photos[path] = int(number)
    if not photos:
        raise ValueError(f"photo_folder: expected at least one photo in {labels}, got none.")
    return list(photos.items())


def _unknown(name) -> str:
    hint = did_you_mean(str(name).lower(), BUNDLED)
    return f"expected the name of a bundled photograph, one of {', '.join(BUNDLED)}; got {str(name)!r}.{hint}"


def _read(file: io.BufferedIOBase, path: str | Path, side: int) -> Tensor:
    """Decodes an open file: float32, (3, side, side); ValueError with the path if that fails."""
    limit = f"the limit is {Image.MAX_IMAGE_PIXELS} pixels (PIL.Image.MAX_IMAGE_PIXELS); make it smaller."
    try:
        with warnings.catch_warnings():
            # Pillow only warns from its limit on, and refuses from twice as many pixels.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file) as image:
                # The orientation alone: other entries of the EXIF may be broken, and do not matter here.
                turn = TURNS.get(image.getexif().get(ExifTags.Base.Orientation))
                image = image if turn is None else image.transpose(turn)
                # The square is cut out first, so that a long strip is not magnified as a whole.
                square = _colours(center_crop(image, [min(image.size)] * 2))
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise ValueError(f"{path}: expected a photo of moderate size, got: {error} Here {limit}") from error
    except Exception as error:  # Pillow raises a dozen kinds for a file that is not what it should be
        raise ValueError(
            f"{path}: expected an image that Pillow reads, got: {error} ({type(error).__name__}). The file is "
            "broken, cut short or not an image: open it in a viewer, and save it as PNG or JPEG."
        ) from error
    return pil_to_tensor(resize(square, [side, side], antialias=True)).float() / 255


def _colours(image: Image.Image) -> Image.Image:
    """Any mode as RGB with 8 bits a channel; transparency is laid on white."""
    if image.mode.startswith("I") or image.mode == "F":
        # Pillow's own conversion would clip these at 255.
        values = np.asarray(image).astype(np.float64) / (1 if image.mode == "F" else 65535)
        if not ((values >= 0) & (values <= 1)).all():
            unit = "0 to 1" if image.mode == "F" else "0 to 65535"
            raise ValueError(f"grey values outside {unit} in mode {image.mode}.")
        image = Image.fromarray((values * 255).round().astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")
