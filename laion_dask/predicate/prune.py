"""Row-group pruning: which row groups can contain a matching row, from their statistics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from laion_dask.predicate.nodes import (
    Among,
    Compare,
    Condition,
    Constant,
    Every,
    IsNone,
    Name,
    Not,
    Predicate,
    Some,
    Truth,
)

_NEGATED = {"==": "!=", "!=": "==", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}
_TURNED = {"==": "==", "!=": "!=", "<": ">", ">": "<", "<=": ">=", ">=": "<="}


@dataclass(frozen=True)
class Range:
    """Statistics of one column in a row group.

    Attributes
    ----------
    low, high : str or number, like the column's constants
        Bounds of the values; both None if unknown.
    only_null : bool
        Whether all values are null.
    """

    low: Any = None
    high: Any = None
    only_null: bool = False


def may_pass(predicate: Predicate, ranges: Mapping[str, Range]) -> bool:
    """Whether any row may satisfy the expression; False only if no row can.

    Statistics do not cover NaN, and need not: a comparison with NaN is never true.

    Parameters
    ----------
    predicate : Predicate
    ranges : mapping of str to Range
        The columns with known statistics.
    """
    return _may(predicate.root, ranges, True)


def _may(node: Condition, ranges: Mapping[str, Range], wanted: bool) -> bool:
    """Whether a row may exist for which a node is certainly true (or false, if not wanted)."""
    if isinstance(node, Not):
        return _may(node.of, ranges, not wanted)
    if isinstance(node, (Every, Some)):
        join = all if isinstance(node, Every) == wanted else any
        return join(_may(part, ranges, wanted) for part in node.parts)
    if isinstance(node, Compare):
        return _may_compare(node, ranges, wanted)
    if isinstance(node, (Among, Truth)) and isinstance(node.of, Name):
        found = ranges.get(node.of.name, Range())
        if found.only_null:
            return False
        if found.low is None or not wanted or isinstance(node, Truth):
            return True
        values = (value.value for value in node.values)
        return any(found.low <= v <= found.high for v in values if _comparable(v, found.low))
    if isinstance(node, IsNone):
        return True  # NaN is missing too, and no statistic counts it
    return True


def _may_compare(node: Compare, ranges: Mapping[str, Range], wanted: bool) -> bool:
    left, right, op = node.left, node.right, node.op
    if isinstance(left, Constant):
        left, right, op = right, left, _TURNED[op]
    if not (isinstance(left, Name) and isinstance(right, Constant)):
        return True
    found = ranges.get(left.name, Range())
    if found.only_null:
        return False
    if found.low is None or not _comparable(right.value, found.low):
        return True
    low, high, value = found.low, found.high, right.value
    may_hold: bool = {
        "==": low <= value <= high,
        "!=": not low == value == high,
        "<": low < value,
        "<=": low <= value,
        ">": high > value,
        ">=": high >= value,
    }[op if wanted else _NEGATED[op]]
    return may_hold


def _comparable(one: object, two: object) -> bool:
    return isinstance(one, str) == isinstance(two, str)
