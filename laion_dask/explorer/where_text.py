"""Conditions on columns as text of the ``where`` language."""

from __future__ import annotations

import keyword
import math
from collections.abc import Sequence

#: Reserved words of the language, which are not read as columns.
_WORDS = frozenset({"col", "min", "max", "abs", "file", "null", "nan", "na", "none", "nil"})


def column_text(name: str) -> str:
    """A column as the language writes it: its name, or ``col('…')``."""
    plain = name.isascii() and name.isidentifier() and not keyword.iskeyword(name)
    return name if plain and name.lower() not in _WORDS else f"col({name!r})"


def number_text(value: int | float) -> str:
    """A number, such that it is read as the same number; whole numbers without a point."""
    value = value.item() if hasattr(value, "item") else value
    if math.isinf(value):
        return "1e999" if value > 0 else "-1e999"  # there is no literal for infinity
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    return repr(value)


def range_text(
    column: str, low: float | None, high: float | None, *, with_high: bool = False
) -> str:
    """The rows of a range: ``similarity >= 0.25 and similarity < 0.4``."""
    name, bounds = column_text(column), []
    if low is not None:
        bounds.append(f"{name} >= {number_text(low)}")
    if high is not None:
        bounds.append(f"{name} {'<=' if with_high else '<'} {number_text(high)}")
    return " and ".join(bounds) or f"{name} is not None"


def values_text(of: str, values: Sequence[str | bool], *, with_missing: bool) -> str:
    """The rows of some values: ``language in ('en', 'de')``, ``(… or language is None)``."""
    parts = []
    if values:
        listed = ", ".join(repr(value) for value in values)
        parts.append(f"{of} in ({listed}{',' if len(values) == 1 else ''})")
    if with_missing:
        parts.append(f"{of} is None")
    return f"({' or '.join(parts)})" if len(parts) > 1 else parts[0]
