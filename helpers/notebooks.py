"""Notebook files: the form in which they are committed, and the parameters that they declare."""

import ast
import base64
import difflib
import hashlib
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from papermill.translators import PythonTranslator

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
WIDGET_STATE = "application/vnd.jupyter.widget-state+json"
IMAGES = ("image/png", "image/jpeg")

KERNELSPEC = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
LANGUAGE_INFO = {"file_extension": ".py", "name": "python", "pygments_lexer": "ipython3"}
CELL_METADATA = ("tags", "jupyter")

_NUMBER = r"-?\d+(?:\.\d+)?(?:e-?\d+)?"
_IDENTIFIER = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
# Not after a letter or a dot: the path part of an address on the web, or a relative path, is fine.
_PATH = re.compile(
    r"(?<![\w.:/~-])/(?:home|Users|root|work|tmp|var|usr|opt|mnt|private|builds|content)/[\w.-]+"
    r"|(?<![A-Za-z])[A-Z]:\\+(?:Users|Windows|Temp|Program)"
)
_ADDRESS = re.compile(r"\bat 0x[0-9a-fA-F]{6,}")


@dataclass(frozen=True)
class Domain:
    """The values that a parameter may take, as its help ends with them in round brackets.

    ``(at least 1)``, ``(above 0, at most 1)``, ``(0 to 999)``, ``(one of: log-odds, margin)``. Of a list they
    hold for each entry; ``(0 to 999; at least 2 entries)`` asks for so many as well.

    Attributes:
        text: as it stands in the brackets.
        choices: the names or numbers, as text; empty for a range.
        low, high: bounds of a number.
        low_open, high_open: whether the bound itself is outside.
        entries: how many entries a list has at least.

    Example:
        >>> domain = Domain.of("steps of the flow (1 to 512)")
        >>> domain.low, domain.high, domain.holds(0), domain.holds(16)
        (1.0, 512.0, False, True)
    """

    text: str
    choices: tuple[str, ...] = ()
    low: float = -math.inf
    high: float = math.inf
    low_open: bool = False
    high_open: bool = False
    entries: int = 0

    @classmethod
    def of(cls, help: str) -> "Domain | None":
        """The domain that a help text ends with; None if it ends otherwise."""
        bracket = re.search(r"\(([^()]*)\)$", help.strip())
        if not bracket:
            return None
        what, _, length = bracket.group(1).partition(";")
        found: dict = {"text": bracket.group(1)}
        if length:
            count = re.fullmatch(r"\s*at least (\d+) entr(?:y|ies)", length)
            if not count:
                return None
            found["entries"] = int(count.group(1))
        if what.startswith("one of: "):
            return cls(choices=tuple(name.strip() for name in what[8:].split(",")), **found)
        for part in what.split(","):
            between = re.fullmatch(rf"\s*({_NUMBER}) to ({_NUMBER})", part)
            bound = re.fullmatch(rf"\s*(at least|above|at most|below) ({_NUMBER})", part)
            if between:
                found |= {"low": float(between.group(1)), "high": float(between.group(2))}
            elif bound:
                side = "low" if bound.group(1) in ("at least", "above") else "high"
                found |= {side: float(bound.group(2)), f"{side}_open": bound.group(1) in ("above", "below")}
            else:
                return None
        return cls(**found)

    def holds(self, value) -> bool:
        """Whether a value, or each entry of a list, lies within."""
        if isinstance(value, list):
            return len(value) >= self.entries and all(map(self.holds, value))
        if self.choices:
            return str(value) in self.choices
        if isinstance(value, (bool, str)) or value is None:
            return False
        above = value > self.low if self.low_open else value >= self.low
        return above and (value < self.high if self.high_open else value <= self.high)


@dataclass(frozen=True)
class Parameter:
    """One line of a notebook's parameters cell: ``name = default  # help``, or ``... # help (domain)``.

    Example:
        >>> from helpers.runs import find
        >>> steps = parameters(find("00"))["steps"]
        >>> steps.default, steps.domain.text, steps.help
        (32, 'at least 1', 'steps of the nonlinear path: more is finer (at least 1)')
    """

    name: str
    default: bool | int | float | str | list | None
    help: str

    @property
    def domain(self) -> Domain | None:
        """The values that it may take, if its help says so."""
        return Domain.of(self.help)

    def accept(self, value):
        """The value as the notebook may take it (an int where the default is a float becomes one).

        Raises:
            ParameterError: the type is not that of the default, a number is not finite, or a value lies
                outside the domain.
        """
        fits, expected = _fits(value, self.default)
        if not fits:
            raise ParameterError(
                f"parameter {self.name!r}: expected {expected}, like its default {self.default!r}, "
                f"got {value!r} ({type(value).__name__})"
            )
        if self.domain and not self.domain.holds(value):
            near = difflib.get_close_matches(str(value), self.domain.choices, n=1, cutoff=0.5)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ParameterError(f"parameter {self.name!r}: expected {self.domain.text}, got {value!r}{hint}")
        return float(value) if type(self.default) is float else value


class ParameterError(ValueError):
    """A parameter that the notebook does not have, or a value that it cannot take.

    Example:
        >>> from helpers.runs import find
        >>> parameters(find("00"))["steps"].accept("many")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        helpers.notebooks.ParameterError: parameter 'steps': expected ...
    """


def _fits(value, default) -> tuple[bool, str]:
    """Whether a value has the type of a default, and that type in words."""
    kind = type(default)
    if kind is float:
        # type() and not isinstance(): True is an int in Python, and never meant as one here.
        return type(value) in (int, float) and math.isfinite(value), "a finite number"
    if kind is list:
        inner = default[0] if default else None
        expected = "a list" if inner is None else f"a list, each element {_fits(inner, inner)[1]}"
        return type(value) is list and all(_fits(item, inner)[0] for item in value), expected
    if default is None:
        finite = type(value) is not float or math.isfinite(value)
        return finite and (value is None or type(value) in (bool, int, float, str)), "a plain value"
    return type(value) is kind, {bool: "True or False", int: "a whole number", str: "a text"}[kind]


def read(path: str | Path) -> NotebookNode:
    """The notebook in a file, exactly as it is there (nbformat's own reader adds random cell ids).

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not a notebook of format 4.

    Example:
        >>> from helpers.runs import find
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


def is_parameters(cell: NotebookNode) -> bool:
    """Whether this is the cell tagged ``parameters``.

    Example:
        >>> from helpers.runs import find
        >>> [number for number, cell in enumerate(read(find("00")).cells) if is_parameters(cell)]
        [2]
    """
    return cell.cell_type == "code" and "parameters" in cell.metadata.get("tags", [])


def parameters(path: str | Path) -> dict[str, Parameter]:
    """The parameters that a notebook declares, in its own order; empty if it has no cell for them.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the parameters cell holds anything but plain literals, or what papermill cannot read.

    Example:
        >>> from helpers.runs import find
        >>> list(parameters(find("00")))
        ['point', 'image', 'steps']
    """
    path = Path(path)
    cells = [cell for cell in read(path).cells if is_parameters(cell)]
    if not cells:
        return {}
    if len(cells) > 1:
        raise ValueError(f"{path}: {len(cells)} cells are tagged 'parameters', there may be one")
    defaults = {}
    for statement in ast.parse(cells[0].source).body:
        named = isinstance(statement, ast.Assign) and len(statement.targets) == 1
        if not named or not isinstance(statement.targets[0], ast.Name):
            raise ValueError(f"{path}: in the parameters cell: expected name = value, got {_text(statement)}")
        try:
            value = ast.literal_eval(statement.value)
        except ValueError:
            value = statement
        if value is not None and type(value) not in (bool, int, float, str, list):
            raise ValueError(
                f"{path}: in the parameters cell: expected a plain number, text, truth value or list, "
                f"got {_text(statement)}"
            )
        defaults[statement.targets[0].id] = value
    # What papermill.inspect_notebook reads, without its need for a kernelspec.
    seen = {parameter.name: parameter for parameter in PythonTranslator.inspect(cells[0])}
    # papermill reads the lines itself, and passes over what it cannot read (a second "=" in the help, say).
    if list(seen) != list(defaults):
        missed = ", ".join(name for name in defaults if name not in seen) or "the order"
        raise ValueError(f"{path}: papermill cannot read {missed}: 'name = value  # help', one '=' a line")
    return {name: Parameter(name, value, seen[name].help) for name, value in defaults.items()}


def head(path: str | Path) -> tuple[str, str]:
    """A notebook's title and the run time that its head states ("about 40 seconds on two cores"); "" if none.

    Example:
        >>> from helpers.runs import find
        >>> head(find("02"))
        ('02 · Off on a tangent: where the plane leaves the function', 'about 10 seconds')
    """
    cells = [cell.source for cell in read(path).cells[:1] if cell.cell_type == "markdown"]
    text = " ".join("".join(cells).split())
    title = re.match(r"# (.*?)(?= \[|\n| next:| previous:|$)", "".join(cells).partition("\n")[0])
    seconds = re.search(r"\*\*Run time\*\* (about \d+ (?:s|seconds)\b)", text)
    return title.group(1) if title else "", seconds.group(1) if seconds else ""


def _text(statement: ast.stmt) -> str:
    return repr(ast.unparse(statement))


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
        >>> from helpers.runs import find
        >>> [figure[1:4] for figure in figures(read(find("00")))]
        [b'PNG', b'PNG', b'PNG']
    """
    return [
        base64.b64decode(output.data["image/png"])
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]
