"""Validation of numeric arguments; bool is rejected."""

from __future__ import annotations

from numbers import Integral, Real

from laion_dask.errors import OptionError


def whole_number(name: str, value: object, expected: str, minimum: int = 1) -> int:
    """Validate an integer, including NumPy integers.

    Raises
    ------
    OptionError
        When the value is not an integer or is less than ``minimum``.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < minimum:
        raise OptionError(f"{name} is {_shown(value)}. Expected {expected}, at least {minimum}.")
    return int(value)


def number(name: str, value: object, expected: str) -> float:
    """Validate a finite number above 0, including NumPy numbers.

    Raises
    ------
    OptionError
        When the value is not a finite number above 0.
    """
    result = 0.0
    if isinstance(value, Real) and not isinstance(value, bool):
        result = float(value)
    if not 0 < result < float("inf"):
        raise OptionError(f"{name} is {_shown(value)}. Expected {expected}.")
    return result


def _shown(value: object) -> str:
    return f"{value:,}" if type(value) is int else repr(value)
