"""Row-group pruning: which row groups can contain a matching row, from their statistics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from laion_dask.predicate.nodes import (
    Absolute,
    And,
    Compare,
    Condition,
    Constant,
    Extreme,
    In,
    InFile,
    IsNone,
    Name,
    Not,
    Operand,
    Or,
    Predicate,
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


def _may(node: Condition, ranges: Mapping[str, Range], outcome: bool) -> bool:
    """Whether a row may exist for which a node is certainly true (or false, if not wanted)."""
    if isinstance(node, Not):
        return _may(node.of, ranges, not outcome)
    if isinstance(node, (And, Or)):
        join = all if isinstance(node, And) == outcome else any
        return join(_may(operand, ranges, outcome) for operand in node.parts)
    if isinstance(node, Compare):
        return _may_compare(node, ranges, outcome)
    if isinstance(node, (In, InFile, Truth)) and isinstance(node.of, Name):
        value_range = ranges.get(node.of.name, Range())
        if value_range.only_null:
            return False
        if value_range.low is None or not outcome or not isinstance(node, In):
            return True
        values = (value.value for value in node.values)
        return any(
            value_range.low <= v <= value_range.high
            for v in values
            if _comparable(v, value_range.low)
        )
    if isinstance(node, IsNone):
        return True  # NaN is missing too, and no statistic counts it
    return True


def _may_compare(node: Compare, ranges: Mapping[str, Range], outcome: bool) -> bool:
    left, right, op = node.left, node.right, node.op
    if isinstance(left, Constant):
        left, right, op = right, left, _TURNED[op]
    if not isinstance(right, Constant):
        return True
    value_range = _range(left, ranges)
    if value_range.only_null:
        return False
    if value_range.low is None or not _comparable(right.value, value_range.low):
        return True
    low, high, value = value_range.low, value_range.high, right.value
    may_hold: bool = {
        "==": low <= value <= high,
        "!=": not low == value == high,
        "<": low < value,
        "<=": low <= value,
        ">": high > value,
        ">=": high >= value,
    }[op if outcome else _NEGATED[op]]
    return may_hold


def _range(node: Operand, ranges: Mapping[str, Range]) -> Range:
    """The range of an operand's values, apart from NaN."""
    if isinstance(node, Name):
        return ranges.get(node.name, Range())
    if isinstance(node, Constant):
        return Range(node.value, node.value)
    parts = [_range(part, ranges) for part in _parts(node)]
    if any(part.only_null for part in parts):
        return Range(only_null=True)
    if not parts or any(part.low is None for part in parts):
        return Range()
    if isinstance(node, Extreme):
        function = min if node.op == "min" else max
        return Range(function(p.low for p in parts), function(p.high for p in parts))
    (low, high) = sorted((abs(parts[0].low), abs(parts[0].high)))
    return Range(0 if parts[0].low < 0 < parts[0].high else low, high)


def _parts(node: Operand) -> tuple[Operand, ...]:
    """The parts of ``min``, ``max`` and ``abs``; none for any other operand."""
    if isinstance(node, Extreme):
        return node.parts
    return (node.of,) if isinstance(node, Absolute) else ()


def _comparable(one: object, two: object) -> bool:
    return isinstance(one, str) == isinstance(two, str)
