"""A notebook's file: read, brought to normal form, checked, its figures and errors."""

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

import nbformat
from nbformat import NotebookNode

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
WIDGET_STATE = "application/vnd.jupyter.widget-state+json"
IMAGES = ("image/png", "image/jpeg")
KERNELSPEC = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
LANGUAGE_INFO = {"file_extension": ".py", "name": "python", "pygments_lexer": "ipython3"}
CELL_METADATA = ("tags", "jupyter")
_IDENTIFIER = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
# Not after a letter or a dot: the path part of an address on the web, or a relative path, is fine.
_PATH = re.compile(
    r"(?<![\w.:/~-])/(?:home|Users|root|work|tmp|var|usr|opt|mnt|private|builds|content)/[\w.-]+"
    r"|(?<![A-Za-z])[A-Z]:\\+(?:Users|Windows|Temp|Program)"
)
_ADDRESS = re.compile(r"\bat 0x[0-9a-fA-F]{6,}")


def read(path: str | Path) -> NotebookNode:
    """The notebook in a file, exactly as it is there (nbformat's own reader adds random cell ids).

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not a notebook of format 4.

    Example:
        >>> from helpers.run.execute import find
        >>> read(find("00")).cells[0].source.splitlines()[0]
        '# 00 · Linear and nonlinear saliency maps'
    """
    path = Path(path)
    try:
        version = json.loads(path.read_text(encoding="utf-8")).get("nbformat")
    except (UnicodeDecodeError, json.JSONDecodeError, AttributeError) as error:
        raise ValueError(f"{path}: not a notebook ({error})") from error
    if version != 4:
        raise ValueError(f"{path}: expected a notebook of format 4, got {version!r}")
    return nbformat.v4.reads_json(path.read_text(encoding="utf-8"))


def write(notebook: NotebookNode, path: str | Path) -> None:
    """Write a notebook to a file.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder, "empty.ipynb")
        ...     write(nbformat.v4.new_notebook(), file)
        ...     read(file).cells
        []
    """
    Path(path).write_text(dumps(notebook), encoding="utf-8")


def dumps(notebook: NotebookNode) -> str:
    """The text of a notebook's file.

    Example:
        >>> dumps(nbformat.v4.new_notebook(cells=[])).splitlines()[1]
        ' "cells": [],'
    """
    return nbformat.v4.writes_json(notebook).rstrip("\n") + "\n"


def normalise(notebook: NotebookNode) -> NotebookNode:
    """The form in which a notebook is committed, as a new notebook; applied twice it changes nothing more.

    Execution counts 1..n, nbformat 4.5, cell ids kept or made from the cell's place, kernelspec ``python3``;
    no timing or papermill metadata, no widget state, no outputs that are nothing without it (a widget's view,
    a progress bar), neighbouring pieces of one stream joined. What cannot be repaired is told by `problems`.

    Raises:
        nbformat.ValidationError: this is not a notebook.

    Example:
        >>> cell = nbformat.v4.new_code_cell("1 + 1", execution_count=7)
        >>> normalise(nbformat.v4.new_notebook(cells=[cell])).cells[0].execution_count
        1
    """
    notebook = nbformat.from_dict(json.loads(json.dumps(notebook)))
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    notebook.metadata = nbformat.from_dict({"kernelspec": KERNELSPEC, "language_info": LANGUAGE_INFO})
    count = 0
    taken: set[str] = set()
    for place, cell in enumerate(notebook.cells):
        cell.id = _identifier(cell.get("id"), place, taken)
        kept = {key: cell.metadata[key] for key in CELL_METADATA if cell.metadata.get(key)}
        cell.metadata = nbformat.from_dict(kept)
        if cell.cell_type != "code":
            continue
        # A cell that was never executed stays so: it is a problem, not a number to be made up.
        if cell.execution_count is not None:
            count += 1
            cell.execution_count = count
        cell.outputs = list(_tidied(cell.outputs, cell.execution_count))
    nbformat.validate(notebook)
    return notebook


def _identifier(identifier: str | None, place: int, taken: set[str]) -> str:
    attempt = 0
    while not identifier or not _IDENTIFIER.match(identifier) or identifier in taken:
        identifier = hashlib.sha256(f"{place}/{attempt}".encode()).hexdigest()[:8]
        attempt += 1
    taken.add(identifier)
    return identifier


def _tidied(outputs: list[NotebookNode], count: int | None) -> Iterator[NotebookNode]:
    joined: list[NotebookNode] = []
    for output in outputs:
        last = joined[-1] if joined else None
        if output.output_type == "stream" and last and last.get("name") == output.name:
            last.text += output.text
        else:
            joined.append(output)
    for output in joined:
        if WIDGET_VIEW in output.get("data", {}):
            continue
        # A carriage return on stderr is a progress bar: its timings differ from run to run.
        if output.output_type == "stream" and output.name == "stderr" and "\r" in output.text:
            continue
        if output.output_type == "execute_result":
            output.execution_count = count
        output.pop("transient", None)
        yield output


def problems(notebook: NotebookNode) -> list[str]:
    """What keeps an executed notebook from being committed and no normaliser can repair, one line each.

    Example:
        >>> problems(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 + 1")]))
        ['cell 1: not executed']
    """
    found = []
    for place, cell in enumerate(notebook.cells, start=1):
        where = f"cell {place}"
        if match := _PATH.search(cell.source):
            found.append(f"{where}: absolute path {match[0]!r} in the source")
        if cell.cell_type != "code":
            continue
        if not cell.source.strip():
            found.append(f"{where}: empty code cell")
        elif cell.execution_count is None:
            found.append(f"{where}: not executed")
        elif not cell.outputs and _shows(cell.source):
            found.append(f"{where}: its outputs are missing")
        for output in cell.outputs:
            if output.output_type == "error":
                found.append(f"{where}: error output {output.ename}: {output.evalue}")
            if output.output_type == "stream" and output.name == "stderr":
                line = output.text.strip().splitlines()[0] if output.text.strip() else ""
                found.append(f"{where}: stderr output {line!r} (mend its cause, or print what matters)")
            if "image/svg+xml" in output.get("data", {}):
                found.append(f"{where}: an SVG figure (PNG, please)")
            for text in _texts(output):
                if match := _PATH.search(text):
                    found.append(f"{where}: absolute path {match[0]!r} in the output")
                if match := _ADDRESS.search(text):
                    found.append(f"{where}: memory address {match[0]!r} in the output")
                if _ANSI.search(text):
                    found.append(f"{where}: terminal colour codes in the output")
    return found


def _shows(source: str) -> bool:
    """Whether a cell's source promises an output that the committed notebook must hold."""
    return bool(re.search(r"NBVAL_CHECK_OUTPUT|^print\(|^(?:\w+\.)*(?:record|show|display)\(", source, re.M))


def _texts(output: NotebookNode) -> Iterator[str]:
    if output.output_type == "stream":
        yield output.text
    for kind, value in output.get("data", {}).items():
        if kind not in IMAGES and kind != "image/svg+xml":
            yield value if isinstance(value, str) else json.dumps(value)


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
    return _ANSI.sub("", text)


def figures(notebook: NotebookNode) -> list[bytes]:
    """The PNG figures in a notebook's outputs, in order.

    Example:
        >>> from helpers.run.execute import find
        >>> [figure[1:4] for figure in figures(read(find("00")))]
        [b'PNG', b'PNG', b'PNG']
    """
    return [
        base64.b64decode(output.data["image/png"])
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]
