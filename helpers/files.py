"""Where the project's files lie, files that are whole or not there, and the hash of this package's code."""

import hashlib
import os
import tempfile
import time
from contextlib import suppress
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PART = ".part"  # ends the name of a file that is being written
FRAMES = "application/vnd.nonlinear-saliency.frames+json"  # in notebooks: a panel's pictures, for pages


def write_whole(path: str | Path, content: bytes) -> None:
    """Write a file whole or not at all: under a name of its own first. Missing folders are made.

    Args:
        path: where it is to lie; a file that is there is replaced.
        content: all of it.

    Raises:
        OSError: the file cannot be written; nothing is left behind.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_whole(Path(folder, "made", "a.txt"), b"whole")
        ...     [file.name for file in Path(folder, "made").iterdir()]
        ['a.txt']
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, made = tempfile.mkstemp(prefix=f".{path.stem[:40]}-", suffix=PART, dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        mask = os.umask(0)  # mkstemp leaves the file to its owner alone; this one is like any other
        os.umask(mask)
        os.chmod(made, 0o666 & ~mask)
        os.replace(made, path)
    except BaseException:
        Path(made).unlink(missing_ok=True)
        raise


def sweep_up(folder: str | Path) -> None:
    """Remove what killed runs were writing in a folder, if it is older than an hour.

    What is younger may be that of a run that is going on.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     part = Path(folder, f".a-{PART}")
        ...     part.touch()
        ...     os.utime(part, (0, 0))  # long ago
        ...     sweep_up(folder)
        ...     part.exists()
        False
    """
    for path in Path(folder).glob(f".*{PART}"):
        with suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > 3600:
                path.unlink()


@cache
def package_hash() -> str:
    """A hash of the code of `helpers`: other code may give other numbers, whatever its version says.

    Example:
        >>> len(package_hash())
        16
    """
    files = sorted((ROOT / "helpers").rglob("*.py"))
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in files)).hexdigest()[:16]
