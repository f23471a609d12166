"""The form in which notebooks are committed: a file is brought to it, and what cannot be repaired is listed."""

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from helpers.files import FRAMES
from helpers.run.notebook_files import ANSI, Notebook, dumps

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
IMAGES = ("image/png", "image/jpeg")
KERNELSPEC = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
LANGUAGE_INFO = {"file_extension": ".py", "name": "python", "pygments_lexer": "ipython3"}
CELL_METADATA = ("tags", "jupyter")
COMPARED = "nbval-check-output"  # the tag of cells whose output nbval compares
_IDENTIFIER = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
# Not after a letter or a dot: the path part of an address on the web, or a relative path, is fine.
_PATH = re.compile(
    r"(?<![\w.:/~-])/(?:home|Users|root|work|tmp|var|usr|opt|mnt|private|builds|content)/[\w.-]+"
    r"|(?<![A-Za-z])[A-Z]:\\+(?:Users|Windows|Temp|Program)"
)
_ADDRESS = re.compile(r"\bat 0x[0-9a-fA-F]{6,}")


def check_form(path: str | Path) -> list[str]:
    """What keeps a notebook's file from being in the committed form, one line each; empty if nothing does.

    Example:
        >>> from helpers.run.notebook_files import find
        >>> check_form(find("00"))
        []
    """
    notebook = Notebook.read(path)
    found = problems(notebook.node)
    if notebook.text != dumps(normalise(notebook.node)):
        found.append("not in normal form (run: nonlinear-saliency normalise FILE, or: make notebooks)")
    return found


def normalise(notebook: NotebookNode) -> NotebookNode:
    """The form in which a notebook is committed, as a new notebook; applied twice it changes nothing more.

    Execution counts 1..n, nbformat 4.5, cell ids kept or made from the cell's place, kernelspec ``python3``;
    no timing or papermill metadata, no widget state, no outputs that are nothing without it (a widget's view,
    a progress bar), neighbouring pieces of one stream joined. What cannot be repaired, `problems` lists.

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
            if FRAMES not in output.data:
                continue
            del output.data[WIDGET_VIEW]
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
        elif not cell.outputs and _shows(cell):
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
                if ANSI.search(text):
                    found.append(f"{where}: terminal colour codes in the output")
    return found


def _shows(cell: NotebookNode) -> bool:
    """Whether a cell promises an output that the committed notebook must hold."""
    if COMPARED in cell.metadata.get("tags", []):
        return True
    return bool(re.search(r"^print\(|^(?:\w+\.)*(?:record|show|display)\(", cell.source, re.M))


def _texts(output: NotebookNode) -> Iterator[str]:
    if output.output_type == "stream":
        yield output.text
    for kind, value in output.get("data", {}).items():
        if kind not in (*IMAGES, FRAMES) and kind != "image/svg+xml":
            yield value if isinstance(value, str) else json.dumps(value)
