"""What an export knows about the licenses of its images, and the consent of their authors.

A row without a statement is "unknown", which is counted like any other value.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping

import pyarrow as pa
import pyarrow.compute as pc

UNKNOWN = "unknown"
#: The values that are counted under their own name; others are counted together.
_VALUES = 1000
_OTHER = "other values"
_CONSENT = re.compile("consent|opt[_ -]?(out|in)$", re.IGNORECASE)
_LICENSE = re.compile("licen[cs]e|copyright|^rights$|usage[_ -]?terms", re.IGNORECASE)
#: What files say if they do not know; LAION-400M's column LICENSE has "?".
_NO_STATEMENT = {"", "?", "unknown", "n/a", "na", "null", "none given"}


def tells_rights(name: str) -> bool:
    """Whether a column is one of licenses or consent, by its name."""
    return bool(_LICENSE.search(name) or _CONSENT.search(name))


def rights_of(table: pa.Table) -> dict[str, dict[str, int]]:
    """The number of rows by value, for each column of licenses or consent in a part."""
    return {
        name: _most_frequent(_counts(table[name]))
        for name in table.column_names
        if tells_rights(name) and _is_countable(table[name].type)
    }


def total_rights(
    parts: Iterable[Mapping[str, Mapping[str, int]]], rows: int
) -> dict[str, dict[str, int]]:
    """The numbers of all parts; ``license`` and ``consent`` are unknown if no column has them."""
    totals: dict[str, Counter[str]] = {}
    for part in parts:
        for name, counts in part.items():
            totals.setdefault(name, Counter()).update(counts)
    if not any(not _CONSENT.search(name) for name in totals):
        totals["license"] = Counter({UNKNOWN: rows})
    if not any(_CONSENT.search(name) for name in totals):
        totals["consent"] = Counter({UNKNOWN: rows})
    return {name: _most_frequent(totals[name]) for name in sorted(totals)}


def _is_countable(type_: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(type_)
        or pa.types.is_large_string(type_)
        or pa.types.is_boolean(type_)
        or pa.types.is_integer(type_)
        or pa.types.is_null(type_)
    )


def _counts(column: pa.ChunkedArray) -> Counter[str]:
    counts = Counter[str]()
    texts = pc.cast(column, pa.large_string())
    for entry in pc.value_counts(texts).to_pylist():
        text = (entry["values"] or "").strip()
        counts[UNKNOWN if text.lower() in _NO_STATEMENT else text] += entry["counts"]
    return counts


def _most_frequent(counts: Mapping[str, int]) -> dict[str, int]:
    """The unknown first, then the most frequent values; the rest is added up."""
    named = {value for value in counts if value not in (UNKNOWN, _OTHER)}
    ordered = sorted(named, key=lambda value: (-counts[value], value))
    rest = counts.get(_OTHER, 0) + sum(counts[value] for value in ordered[_VALUES:])
    first = {UNKNOWN: counts[UNKNOWN]} if UNKNOWN in counts else {}
    kept = {value: counts[value] for value in ordered[:_VALUES]}
    return {**first, **kept, **({_OTHER: rest} if rest else {})}
