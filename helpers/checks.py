"""Checks of arguments, one error text each, and warnings that point to the caller's line."""

import math
import sys
import warnings


def warn_caller(message: str) -> None:
    """A UserWarning that points to the line outside this package (and captum) that led here.

    Example:
        >>> with warnings.catch_warnings(record=True) as caught:
        ...     warnings.simplefilter("always")
        ...     warn_caller("model: in train mode.")
        >>> caught[0].filename.startswith("<doctest")
        True
    """
    frame, level = sys._getframe(1), 2
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] in ("helpers", "captum"):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, stacklevel=level)


def require_count(name: str, value: int) -> None:
    """Raises ValueError unless the value is an int of at least 1.

    Example:
        >>> require_count("steps", 0)
        Traceback (most recent call last):
            ...
        ValueError: steps: expected an integer of at least 1; got 0.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name}: expected an integer of at least 1; got {value!r}.")


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
