"""Checks of arguments, one error text each, and warnings that point to the caller's line."""

import difflib
import math
import sys
import warnings
from collections.abc import Iterable


def warn_caller(message: str) -> None:
    """A UserWarning that points to the line outside this package (and captum) that led here.

    Example:
        >>> with warnings.catch_warnings(record=True) as caught:
        ...     warnings.simplefilter("always")
        ...     warn_caller("model: in train mode.")
        >>> str(caught[0].message)
        'model: in train mode.'
    """
    frame, level = sys._getframe(1), 2
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] in (
        "helpers",
        "captum",
        "contextlib",
    ):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, stacklevel=level)


def require_count(name: str, value: int, least: int = 1, hint: str = "") -> None:
    """Raises ValueError unless the value is an int of at least that; the hint says more of what was expected.

    Example:
        >>> require_count("steps", 0)
        Traceback (most recent call last):
            ...
        ValueError: steps: expected an integer of at least 1; got 0.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        more = f" ({hint})" if hint else ""
        raise ValueError(f"{name}: expected an integer of at least {least}{more}; got {value!r}.")


def require_finite(name: str, value: float) -> None:
    """Raises ValueError unless the value is a finite number.

    Example:
        >>> require_finite("level", float("inf"))
        Traceback (most recent call last):
            ...
        ValueError: level: expected a finite number; got inf.
    """
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"{name}: expected a finite number; got {value!r}.")


def require_width(name: str, width: float) -> None:
    """Raises ValueError unless the width is a finite number >= 0.

    Example:
        >>> require_width("width", -1)
        Traceback (most recent call last):
            ...
        ValueError: width: expected a width in pixels, a finite number >= 0; got -1.
    """
    if isinstance(width, bool) or not isinstance(width, (int, float)) or not 0 <= width < float("inf"):
        raise ValueError(f"{name}: expected a width in pixels, a finite number >= 0; got {width!r}.")


def require_above_0(name: str, value: float) -> None:
    """Raises ValueError unless the value is a finite number above 0.

    Example:
        >>> require_above_0("temperature", 0.0)
        Traceback (most recent call last):
            ...
        ValueError: temperature: expected a finite number above 0; got 0.0.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < float("inf"):
        raise ValueError(f"{name}: expected a finite number above 0; got {value!r}.")


def require_images(name: str, inputs, remedy: str = "") -> None:
    """Raises ValueError unless the inputs (a tensor) have the shape of images, (N, C, H, W).

    Example:
        >>> import torch
        >>> require_images("SobelEdges", torch.zeros(2, 30))
        Traceback (most recent call last):
            ...
        ValueError: SobelEdges: expected images of shape (N, C, H, W); got (2, 30).
    """
    if inputs.ndim != 4:
        got = tuple(inputs.shape)
        raise ValueError(f"{name}: expected images of shape (N, C, H, W); got {got}. {remedy}".rstrip())


def did_you_mean(name, known: Iterable[str], otherwise: str = "", prefix: str = "") -> str:
    """The end of an error message about an unknown name: the nearest known one, after a prefix; or something else.

    Example:
        >>> did_you_mean("cofee", ["chelsea", "coffee"]), did_you_mean("?", ["chelsea"], " Try none.")
        (" Did you mean 'coffee'?", ' Try none.')
    """
    near = difflib.get_close_matches(str(name), known, n=1)
    return f" Did you mean {prefix + near[0]!r}?" if near else otherwise
