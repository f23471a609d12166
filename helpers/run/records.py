"""Key numbers on record: shown in the notebook, and collected by `helpers.run.execute`.

A module of its own, because notebooks import it: what runs them takes seconds to import.
"""

import math

from IPython.display import display

RECORD = "application/vnd.nonlinear-saliency.record+json"
Number = bool | int | float | str


def record(digits: int = 4, /, **numbers) -> None:
    """Put a notebook's key numbers on record: shown as a small table, and kept for `run.execute` to collect.

    Call it in the last code cell. Shown are ``digits`` significant digits, so that another processor shows
    the same text; on record is every digit.

    Args:
        digits: significant digits shown, at least 1.
        numbers: text, truth values, whole or finite numbers; tensors and arrays of dimension 0 are converted.

    Raises:
        TypeError: a value of another type, ``digits`` not a whole number.
        ValueError: NaN or infinity, no numbers at all, ``digits`` below 1.

    Example:
        >>> import io
        >>> from contextlib import redirect_stdout
        >>> with redirect_stdout(io.StringIO()) as shown:  # without a notebook it is printed
        ...     record(rank_auc=0.876543, gradients=33)
        >>> "rank_auc:  0.8765" in shown.getvalue(), "gradients: 33" in shown.getvalue()
        (True, True)
    """
    if type(digits) is not int:
        raise TypeError(f"digits: expected a whole number, got {digits!r} ({type(digits).__name__})")
    if digits < 1:
        raise ValueError(f"digits: expected at least 1, got {digits}")
    if not numbers:
        raise ValueError("record: expected at least one name=value, got none")
    values = {name: _plain_number(name, value) for name, value in numbers.items()}
    width = max(map(len, values))
    lines = [f"{name + ':':<{width + 1}} {rounded(value, digits)}" for name, value in values.items()]
    # In the metadata, not the data: nbval compares all data, and last digits differ between processors.
    display({"text/plain": "\n".join(lines)}, metadata={RECORD: values}, raw=True)


def _plain_number(name: str, value) -> Number:
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        value = value.item()
    if not isinstance(value, (bool, int, float, str)):
        shape = f" of shape {tuple(value.shape)}" if hasattr(value, "shape") else ""
        raise TypeError(
            f"record: {name}: expected a number, text or truth value, got {type(value).__name__}{shape}"
        )
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"record: {name}: expected a finite number, got {value}")
    return value


def rounded(value: Number, digits: int) -> str:
    """A number as it is shown.

    Example:
        >>> rounded(0.876543, 4), rounded(12, 4), rounded(True, 4)
        ('0.8765', '12', 'True')
    """
    return f"{value:.{digits}g}" if isinstance(value, float) else str(value)


def recorded(notebook) -> dict[str, Number]:
    """The numbers that an executed notebook put on record.

    Raises:
        ValueError: one name was recorded twice.

    Example:
        >>> from nbformat.v4 import new_code_cell, new_notebook, new_output
        >>> output = new_output("display_data", metadata={RECORD: {"rank_auc": 0.876543}})
        >>> recorded(new_notebook(cells=[new_code_cell(outputs=[output])]))
        {'rank_auc': 0.876543}
    """
    numbers: dict[str, Number] = {}
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            for name, value in output.get("metadata", {}).get(RECORD, {}).items():
                if name in numbers:
                    raise ValueError(f"{name!r} is recorded twice; each number needs a name of its own")
                numbers[name] = value
    return numbers
