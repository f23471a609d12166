"""The floors of the house: helpers' docstring names every module once, and imports go downwards."""

import ast
import re
from pathlib import Path

import pytest

import helpers

FOLDER = Path(helpers.__file__).parent
FLOORS = [
    re.findall(r"\w+", re.split(r" {3,}", line.strip())[0])
    for line in helpers.__doc__.split("::\n")[1].splitlines()
    if line.strip()
]
ROOMS = sorted({path.stem for path in FOLDER.glob("*.py")} - {"__init__"} | {"paths"})


def imported(room: str) -> set[str]:
    """The modules of helpers that a room imports, wherever in its code."""
    files = (FOLDER / room).glob("*.py") if room == "paths" else [FOLDER / f"{room}.py"]
    found = set()
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module == "helpers":
                found |= {name.name for name in node.names}
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("helpers."):
                found.add(node.module.split(".")[1])
            elif isinstance(node, ast.Import):
                found |= {name.name.split(".")[1] for name in node.names if name.name.startswith("helpers.")}
    return found - {room, "__version__"}


def floor(room: str) -> int:
    """0 is the top floor."""
    return next(number for number, rooms in enumerate(FLOORS) if room in rooms)


def test_every_module_has_its_place():
    assert sorted(room for rooms in FLOORS for room in rooms) == ROOMS


@pytest.mark.parametrize("room", ROOMS)
def test_imports_go_down_or_along(room):
    for other in imported(room):
        assert floor(other) >= floor(room), f"{room} imports {other}, which stands above it"
