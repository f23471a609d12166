"""Notebook files: found, read once each and passed on as a `Notebook`, written; their errors and figures."""

import base64
import difflib
import hashlib
import json
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from helpers.files import ROOT, package_hash, write_whole
from helpers.run.parameters import Parameter, ParameterError, declared

WIDGET_STATE = "application/vnd.jupyter.widget-state+json"
ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


@dataclass(frozen=True)
class Notebook:
    """A notebook's file as it was when it was read: run, listed and checked without reading it again.

    Attributes:
        path: the file.
        text: its content.
        node: the same for nbformat, cell ids as they are in the file; not to be changed.

    Example:
        >>> notebook = Notebook.read(find("02"))
        >>> notebook.title, notebook.seconds
        ('02 · Off on a tangent: where the plane leaves the function', 10)
        >>> list(notebook.parameters)
        ['way', 'draws', 'seed']
    """

    path: Path
    text: str = field(repr=False)
    node: NotebookNode = field(repr=False)

    @classmethod
    def read(cls, path: str | Path) -> "Notebook":
        """The notebook in a file.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is not a notebook of format 4.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such notebook")
        try:
            text = path.read_text(encoding="utf-8")
            version = json.loads(text).get("nbformat")
        except (UnicodeDecodeError, json.JSONDecodeError, AttributeError) as error:
            raise ValueError(f"{path}: not a notebook ({error})") from error
        if version != 4:
            raise ValueError(f"{path}: expected a notebook of format 4, got {version!r}")
        # Not nbformat.reads, which adds random cell ids.
        return cls(path, text, nbformat.v4.reads_json(text))

    @classmethod
    def of(cls, source: "str | Path | Notebook") -> "Notebook":
        """What was read already, or the notebook in a file."""
        return source if isinstance(source, cls) else cls.read(source)

    @property
    def code(self) -> list[str]:
        """The sources of its code cells."""
        return [cell.source for cell in self.node.cells if cell.cell_type == "code"]

    @cached_property
    def parameters(self) -> dict[str, Parameter]:
        """The parameters that it declares, in its own order; empty if it has no cell for them.

        Raises:
            ValueError: the parameters cell holds anything but plain literals, or what papermill cannot read.
        """
        return declared(self.node, str(self.path))

    def values(self, given: dict) -> dict:
        """All of its parameters with the values that it runs with: those given, and its defaults.

        Raises:
            ParameterError: a name that it does not have (papermill would only warn, and run with its default),
                or a value that it cannot take.
            ValueError: its parameters cell cannot be read.

        Example:
            >>> {"point", "steps"} <= set(Notebook.read(find("00")).values({"steps": 8}))
            True
        """
        self._require_known(given)
        return {
            name: one.accept(given[name]) if name in given else one.default
            for name, one in self.parameters.items()
        }

    def typed(self, given: dict[str, str]) -> dict:
        """Values as they are typed on a command line, read by the types of the defaults (`Parameter.read`).

        Raises:
            ParameterError: as `values`.
        """
        self._require_known(given)
        return {name: self.parameters[name].read(text) for name, text in given.items()}

    def typed_grid(self, given: dict[str, str]) -> dict[str, list]:
        """The same for lists of values, separated by commas (`Parameter.read_all`)."""
        self._require_known(given)
        return {name: self.parameters[name].read_all(text) for name, text in given.items()}

    def _require_known(self, names) -> None:
        for name in names:
            if name not in self.parameters:
                near = difflib.get_close_matches(name, self.parameters, n=1, cutoff=0.0)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                known = ", ".join(self.parameters) or "none"
                raise ParameterError(
                    f"{self.path.name} has no parameter {name!r}{hint} (its parameters: {known})"
                )

    @property
    def title(self) -> str:
        """The first line of its head, without the links to its neighbours; "" if it has none."""
        found = re.match(r"# (.*?)(?= \[|\n| next:| previous:|$)", self._head.partition("\n")[0])
        return found.group(1) if found else ""

    @property
    def seconds(self) -> int | None:
        """The run time that its head states, if it does."""
        found = re.search(r"\*\*Run time\*\* about (\d+) (?:s|seconds)\b", " ".join(self._head.split()))
        return int(found.group(1)) if found else None

    @property
    def _head(self) -> str:
        return "".join(cell.source for cell in self.node.cells[:1] if cell.cell_type == "markdown")

    @property
    def fingerprint(self) -> str:
        """A hash of what decides its numbers besides its parameters: its code, and that of `helpers`."""
        return hashlib.sha256("\0".join([*self.code, package_hash()]).encode()).hexdigest()[:16]


def read(path: str | Path) -> NotebookNode:
    """The cells of a notebook's file; `Notebook.read` says what is raised.

    Example:
        >>> read(find("00")).cells[0].source.splitlines()[0]
        '# 00 · Linear and nonlinear saliency maps'
    """
    return Notebook.read(path).node


def write(notebook: NotebookNode, path: str | Path) -> None:
    """Write a notebook to a file, whole or not at all.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder, "empty.ipynb")
        ...     write(nbformat.v4.new_notebook(), file)
        ...     read(file).cells
        []
    """
    write_whole(path, dumps(notebook).encode())


def dumps(notebook: NotebookNode) -> str:
    """The text of a notebook's file.

    Example:
        >>> dumps(nbformat.v4.new_notebook(cells=[])).splitlines()[1]
        ' "cells": [],'
    """
    return nbformat.v4.writes_json(notebook).rstrip("\n") + "\n"


def walk(folder: str | Path = ROOT / "notebooks") -> list[Path]:
    """The notebooks of a folder in reading order: those named NN_*.ipynb.

    Raises:
        FileNotFoundError: there are none.

    Example:
        >>> [path.name for path in walk(ROOT / "notebooks")][:2]
        ['00_index.ipynb', '01_linear_saliency.ipynb']
    """
    found = sorted(path for path in Path(folder).glob("*.ipynb") if re.match(r"\d\d_", path.name))
    if not found:
        raise FileNotFoundError(f"{folder}: no notebooks there that are named NN_*.ipynb")
    return found


def committed(folder: str | Path = ROOT / "notebooks") -> list[Path]:
    """All committed notebooks: the walk, then the solutions.

    Raises:
        FileNotFoundError: there are none.

    Example:
        >>> committed()[0].name, committed()[-1].parent.name
        ('00_index.ipynb', 'solutions')
    """
    folder = Path(folder)
    return walk(folder) + sorted((folder / "solutions").glob("*.ipynb"))


def find(name: str | Path, folder: str | Path = ROOT / "notebooks") -> Path:
    """A notebook by its path, its name (``04_digits``) or its number (``04``, ``4``).

    Raises:
        FileNotFoundError: there is none; names the nearest.

    Example:
        >>> find("4").name, find("04_digits").name
        ('04_digits.ipynb', '04_digits.ipynb')
        >>> find("04_digit")
        Traceback (most recent call last):
            ...
        FileNotFoundError: 04_digit: no such notebook; did you mean '04_digits'? ...
    """
    path = Path(name)
    if path.is_file():
        return path
    names = {source.stem: source for source in walk(folder)}
    text = path.stem if path.suffix == ".ipynb" else str(name)
    for stem, source in names.items():
        if text in (stem, stem[:2], stem[:2].lstrip("0") or "0"):
            return source
    near = difflib.get_close_matches(text, names, n=1, cutoff=0.0)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise FileNotFoundError(f"{name}: no such notebook; {hint}(there are: {', '.join(names)})")


def errors(notebook: NotebookNode) -> list[tuple[int | None, str]]:
    """Errors in the outputs of cells and of Output widgets: (cell's index, or None; traceback).

    An exception in a widget's callback ends up in the state of its Output widget, and nowhere else: the
    cell itself succeeds.

    Example:
        >>> output = nbformat.v4.new_output("error", ename="ValueError", evalue="no", traceback=["ValueError: no"])
        >>> errors(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("f()", outputs=[output])]))
        [(0, 'ValueError: no')]
    """
    found = []
    for index, cell in enumerate(notebook.cells):
        found += [(index, traceback_of(output)) for output in cell.get("outputs", []) if _is_error(output)]
    state = notebook.metadata.get("widgets", {}).get(WIDGET_STATE, {}).get("state", {})
    for model in state.values():
        outputs = model.get("state", {}).get("outputs", [])
        found += [(None, traceback_of(output)) for output in outputs if _is_error(output)]
    return found


def _is_error(output: dict) -> bool:
    return output.get("output_type") == "error"


def traceback_of(output: dict) -> str:
    """The traceback of an error output, without terminal colours.

    Example:
        >>> traceback_of({"traceback": [chr(27) + "[31mValueError" + chr(27) + "[0m: no"]})
        'ValueError: no'
    """
    lines = "\n".join(output.get("traceback", [])) or f"{output.get('ename')}: {output.get('evalue')}"
    return plain(lines)


def plain(text: str) -> str:
    """A text without terminal colours.

    Example:
        >>> plain(chr(27) + "[31mred" + chr(27) + "[0m")
        'red'
    """
    return ANSI.sub("", text)


def figures(notebook: NotebookNode) -> list[bytes]:
    """The PNG figures in a notebook's outputs, in order.

    Example:
        >>> {figure[1:4] for figure in figures(read(find("00")))}
        {b'PNG'}
    """
    return [
        base64.b64decode(output.data["image/png"])
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]
