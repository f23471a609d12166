"""The parameters that a notebook declares in its tagged cell, and what is given for them."""

import ast
import difflib
import math
import re
from dataclasses import dataclass

from nbformat import NotebookNode
from papermill.translators import PythonTranslator

_INT = re.compile(r"[+-]?[0-9]{1,4000}")  # Python reads no longer ones
_FLOAT = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_NUMBER = r"-?\d+(?:\.\d+)?(?:e-?\d+)?"


class ParameterError(ValueError):
    """A parameter that the notebook does not have, or a value that it cannot take.

    Example:
        >>> Parameter("steps", 32, "").accept("many")
        Traceback (most recent call last):
            ...
        helpers.run.parameters.ParameterError: parameter 'steps': expected a whole number, like its default 32, ...
    """


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
        >>> steps = Parameter("steps", 32, "more is finer (at least 1)")
        >>> steps.domain.text, steps.accept(8)
        ('at least 1', 8)
    """

    name: str
    default: bool | int | float | str | list | None
    help: str

    @property
    def domain(self) -> Domain | None:
        """The values that it may take, if its help says so."""
        return Domain.of(self.help)

    def read(self, text: str):
        """A value as it is typed on a command line, by the type of the default; a text is taken as typed.

        Raises:
            ParameterError: the text is not of that type, or `accept` refuses the value.

        Example:
            >>> Parameter("image", 5, "").read("010"), Parameter("folder", "", "").read("holiday #1")
            (10, 'holiday #1')
        """
        return self.accept(_typed(text, self.default))

    def read_all(self, text: str) -> list:
        """Values separated by commas, except within brackets and quotes.

        Raises:
            ParameterError: as `read`, or a bracket or quote is not closed.

        Example:
            >>> Parameter("image", 5, "").read_all("5,15"), Parameter("word", "", "").read_all("a, 'b,c'")
            ([5, 15], ['a', 'b,c'])
        """
        pieces = _separated(text)
        if pieces is None:
            raise ParameterError(f"parameter {self.name!r}: a bracket or quote is not closed in {text!r}")
        return [self.accept(_typed(_unquoted(piece, self.default), self.default)) for piece in pieces]

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


def _typed(text: str, default):
    """A text as a value of the default's type, or as it is where it is not one."""
    kind = type(default)
    if kind is str:
        return text
    text = text.strip()
    if kind is bool:
        return {"true": True, "false": False}.get(text.lower(), text)
    if kind is int:
        return int(text) if _INT.fullmatch(text) else text
    if kind is float:
        return float(text) if _FLOAT.fullmatch(text) else text
    if kind is list:
        pieces = _separated(text[1:-1]) if text.startswith("[") and text.endswith("]") else None
        if pieces is None:
            return text
        inner = default[0] if default else None
        return [_typed(_unquoted(piece, inner), inner) for piece in pieces if piece or len(pieces) > 1]
    # Without a type to go by: the first that fits, and None.
    if text in ("None", "null"):
        return None
    typed = [value for one in (False, 0, 0.0) if not isinstance(value := _typed(text, one), str)]
    return typed[0] if typed else _unquoted(text, "")


def _separated(text: str) -> list[str] | None:
    """The pieces between commas, except those in brackets and quotes; None if one of these is not closed."""
    pieces, depth, quote = [""], 0, ""
    for sign in text:
        if quote:
            quote = "" if sign == quote else quote
        elif sign in "'\"" and pieces[-1].rstrip()[-1:] in ("", ",", "["):  # not the one of "it's"
            quote = sign
        elif sign == "," and depth == 0:
            pieces.append("")
            continue
        depth += 0 if quote else (sign == "[") - (sign == "]")
        if depth < 0:
            return None
        pieces[-1] += sign
    return None if quote or depth else [piece.strip() for piece in pieces]


def _unquoted(piece: str, default) -> str:
    """A text without its quotes, which protect commas; other values have none."""
    quoted = type(default) is str and len(piece) > 1 and piece[0] == piece[-1] and piece[0] in "'\""
    return piece[1:-1] if quoted else piece


def is_parameters(cell: NotebookNode) -> bool:
    """Whether this is the cell tagged ``parameters``.

    Example:
        >>> from nbformat.v4 import new_code_cell
        >>> is_parameters(new_code_cell("steps = 8", metadata={"tags": ["parameters"]}))
        True
    """
    return cell.cell_type == "code" and "parameters" in cell.metadata.get("tags", [])


def declared(notebook: NotebookNode, name: str) -> dict[str, Parameter]:
    """The parameters that a notebook declares, in its own order; empty if it has no cell for them.

    Args:
        name: of its file, for messages.

    Raises:
        ValueError: the parameters cell holds anything but plain literals, or what papermill cannot read.

    Example:
        >>> from nbformat.v4 import new_code_cell, new_notebook
        >>> cell = new_code_cell("steps = 8  # more is finer", metadata={"tags": ["parameters"]})
        >>> declared(new_notebook(cells=[cell]), "x.ipynb")
        {'steps': Parameter(name='steps', default=8, help='more is finer')}
    """
    cells = [cell for cell in notebook.cells if is_parameters(cell)]
    if not cells:
        return {}
    if len(cells) > 1:
        raise ValueError(f"{name}: {len(cells)} cells are tagged 'parameters', there may be one")
    where = f"{name}: in the parameters cell"
    defaults = dict(_assigned(statement, where) for statement in ast.parse(cells[0].source).body)
    # What papermill.inspect_notebook reads, without its need for a kernelspec.
    seen = {parameter.name: parameter for parameter in PythonTranslator.inspect(cells[0])}
    # papermill reads the lines itself, and passes over what it cannot read (a second "=" in the help, say).
    if list(seen) != list(defaults):
        missed = ", ".join(key for key in defaults if key not in seen) or "the order"
        raise ValueError(f"{name}: papermill cannot read {missed}: 'name = value  # help', one '=' a line")
    return {key: Parameter(key, value, seen[key].help) for key, value in defaults.items()}


def _assigned(statement: ast.stmt, where: str) -> tuple[str, bool | int | float | str | list | None]:
    text = repr(ast.unparse(statement))
    named = isinstance(statement, ast.Assign) and len(statement.targets) == 1
    if not named or not isinstance(statement.targets[0], ast.Name):
        raise ValueError(f"{where}: expected name = value, got {text}")
    try:
        value = ast.literal_eval(statement.value)
    except ValueError:
        value = statement
    if value is not None and type(value) not in (bool, int, float, str, list):
        raise ValueError(f"{where}: expected a plain number, text, truth value or list, got {text}")
    return statement.targets[0].id, value
