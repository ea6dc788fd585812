"""Validation of numeric arguments; bool is rejected."""

from __future__ import annotations

from numbers import Integral, Real

from laion_dask.errors import OptionError


def whole(what: str, given: object, expected: str, least: int = 1) -> int:
    """Validate an integer, including NumPy integers.

    Raises
    ------
    OptionError
        When the value is not an integer or is less than ``least``.
    """
    if isinstance(given, bool) or not isinstance(given, Integral) or int(given) < least:
        raise OptionError(f"{what} is {_shown(given)}. Expected {expected}, at least {least}.")
    return int(given)


def number(what: str, given: object, expected: str) -> float:
    """Validate a finite number above 0, including NumPy numbers.

    Raises
    ------
    OptionError
        When the value is not a finite number above 0.
    """
    value = 0.0
    if isinstance(given, Real) and not isinstance(given, bool):
        value = float(given)
    if not 0 < value < float("inf"):
        raise OptionError(f"{what} is {_shown(given)}. Expected {expected}.")
    return value


def _shown(given: object) -> str:
    return f"{given:,}" if type(given) is int else repr(given)
