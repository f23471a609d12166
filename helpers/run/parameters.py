"""A notebook's parameters: read from its tagged cell, checked against what is given."""

import ast
import difflib
import math
import re
from dataclasses import dataclass
from pathlib import Path

from nbformat import NotebookNode
from papermill.translators import PythonTranslator

from helpers.run.notebook_files import read

_NUMBER = r"-?\d+(?:\.\d+)?(?:e-?\d+)?"


def check_parameters(source: str | Path, given: dict) -> dict:
    """All parameters of a notebook with the values that it is to run with.

    Raises:
        ParameterError: a name that the notebook does not have (papermill would only warn, and run
            with its default), or a value of the wrong type.
        ValueError: the notebook's parameters cell cannot be read.

    Example:
        >>> from helpers.run.execute import find
        >>> check_parameters(find("00"), {"steps": 8})
        {'point': [1.8, -0.1], 'image': 5, 'steps': 8}
        >>> check_parameters(find("00"), {"step": 8})
        Traceback (most recent call last):
            ...
        helpers.run.parameters.ParameterError: 00_index.ipynb has no parameter 'step'; did you mean 'steps'? ...
    """
    known = parameters(source)
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            names = ", ".join(known) or "none"
            raise ParameterError(
                f"{Path(source).name} has no parameter {name!r}{hint} (its parameters: {names})"
            )
    return {name: p.accept(given[name]) if name in given else p.default for name, p in known.items()}


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
        >>> from helpers.run.execute import find
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
        >>> from helpers.run.execute import find
        >>> parameters(find("00"))["steps"].accept("many")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        helpers.run.parameters.ParameterError: parameter 'steps': expected ...
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


def is_parameters(cell: NotebookNode) -> bool:
    """Whether this is the cell tagged ``parameters``.

    Example:
        >>> from helpers.run.execute import find
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
        >>> from helpers.run.execute import find
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
        >>> from helpers.run.execute import find
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
