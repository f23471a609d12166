"""The pictures of README and of the home page: outputs of notebook 00, as files.

``python docs/exports.py`` writes them from the committed notebook; ``--check`` only tells which differ.
"""

import io
import sys
from collections.abc import Sequence

from PIL import Image

from helpers.files import ROOT, write_whole
from helpers.run.notebook_files import figures, find, read

FOLDER = ROOT / "notebooks" / "images"


def chosen(pictures: Sequence[bytes]) -> dict[str, bytes]:
    """The first picture that stands still and the first that moves, by the names of their files.

    Raises:
        ValueError: there is none of one kind.

    Example:
        >>> sorted(chosen(figures(read(find("00")))))
        ['moons.png', 'mosaic.png']
    """
    found = {}
    for picture in pictures:
        name = "moons.png" if Image.open(io.BytesIO(picture)).is_animated else "mosaic.png"
        found.setdefault(name, picture)
    if len(found) < 2:
        raise ValueError(
            f"notebook 00: expected a picture that moves and one that does not; got {list(found)}."
        )
    return found


def main(arguments: Sequence[str]) -> int:
    """Write the files, or only compare them; 1 if one differs."""
    different = 0
    for name, picture in chosen(figures(read(find("00")))).items():
        path = FOLDER / name
        if not path.is_file() or path.read_bytes() != picture:
            if "--check" in arguments:
                print(f"{name} is not the picture of notebook 00: python docs/exports.py", file=sys.stderr)
                different = 1
            else:
                write_whole(path, picture)
    return different


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
