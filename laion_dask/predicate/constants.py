"""Numeric constants of an expression, in the dtype in which a column is compared with them."""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np

from laion_dask.predicate.nodes import (
    Absolute,
    And,
    Compare,
    Condition,
    Constant,
    Extreme,
    In,
    Name,
    Not,
    Operand,
    Or,
)

_Width: TypeAlias = type[np.float32] | type[np.float16]

_TURNED = {"==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}


def number(value: int | float) -> Constant:
    """A numeric constant; an integer outside int64 and uint64 becomes a float or infinity."""
    if isinstance(value, int) and -(2**63) <= value < 2**64:
        return Constant(value, "integer")
    try:
        return Constant(float(value), "float64")
    except OverflowError:
        return Constant(math.inf if value > 0 else -math.inf, "float64")


def for_integers(value: int | float) -> Constant:
    """A constant for comparison with integers, which is exact: whole numbers are never floats."""
    if not -(2.0**63) <= value < 2.0**64:
        return Constant(math.copysign(math.inf, value), "float64")
    is_integer = float(value).is_integer()
    return Constant(int(value), "integer") if is_integer else Constant(value, "float64")


def for_floats(value: int | float, kind: str) -> Constant:
    """A constant for comparison with floats, rounded to float32 if they are float32.

    A constant outside the range of float32 is unchanged: if 1e-50 were rounded to 0, 0 would no
    longer be below it.
    """
    near = nearest_float32(value) if kind == "float32" else None
    if near is None and kind == "float32" and _rounded(value) != value:
        return Constant(float(value), "float64")
    return Constant(float(value) if near is None else near, kind)


def _rounded(value: float, to: _Width = np.float32) -> float:
    with np.errstate(over="ignore", under="ignore"):
        return float(to(value))


def nearest_float32(value: float) -> float | None:
    """The nearest float32, if it differs from the constant; None outside float32's range."""
    return _nearest(value, np.float32)


def _nearest(value: float, to: _Width) -> float | None:
    near = _rounded(value, to)
    return near if near != value and near != 0 and math.isfinite(near) else None


def _equals(column: Operand, value: str | int | float) -> tuple[float, ...]:
    """Other values of a column that equal a constant, because they were rounded when stored."""
    if isinstance(value, str) or not is_stored(column):
        return ()
    widths: list[_Width] = [np.float32] if column.kind == "float64" else []
    widths += [np.float16] if _is_half(column) else []
    nearest = dict.fromkeys(_nearest(value, width) for width in widths)
    return tuple(near for near in nearest if near is not None)


def is_stored(node: Operand) -> bool:
    """Whether each value of an operand is a float that a column stores, or its negative.

    The parts of ``min`` and ``max`` may also be constants that every width holds exactly.
    """
    if isinstance(node, Absolute):
        return is_stored(node.of)
    if isinstance(node, Extreme):
        return all(_in_every_width(p) or is_stored(p) for p in node.parts)
    return isinstance(node, Name) and node.kind in ("float32", "float64")


def _in_every_width(node: Operand) -> bool:
    if not isinstance(node, Constant) or isinstance(node.value, str):
        return False
    return _rounded(node.value, np.float16) == node.value


def _is_half(node: Operand) -> bool:
    """Whether a value of an operand may have been stored as float16."""
    if isinstance(node, Extreme):
        return any(map(_is_half, node.parts))
    return _is_half(node.of) if isinstance(node, Absolute) else getattr(node, "half", False)


def kind_of_extreme(parts: tuple[Operand, ...]) -> str:
    """The kind of ``min`` and ``max``: they select a value, which need not be converted."""
    if all(part.kind == "integer" for part in parts):
        return "integer"
    narrow = all(_in_every_width(p) or (is_stored(p) and p.kind == "float32") for p in parts)
    return "float32" if narrow else "float64"


def of_any_width(test: Compare) -> Condition:
    """Extend a comparison with a constant to values that were stored as float32 or float16.

    A float32 column is compared with the constant rounded to float32. Combined with a float64
    shard, that column becomes float64 (and a float16 column becomes float32), and the same rows
    must pass. Therefore a value that equals the rounded constant counts as equal to the constant.
    No other value is affected, and float16 only applies to columns that a shard stores as float16.
    """
    column, constant, op = test.left, test.right, test.op
    if isinstance(column, Constant):
        column, constant, op = constant, column, _TURNED[op]
    if not isinstance(constant, Constant) or isinstance(constant.value, str):
        return test
    value, equals = constant.value, _equals(column, constant.value)
    if not equals:
        return test
    if op in ("==", "!="):
        membership = In(column, in_any_width(column, (constant,)))
        return membership if op == "==" else Not(membership)
    above, strict = op in (">", "<="), op in ("<", ">")
    equal = tuple(
        Compare("!=" if strict else "==", column, Constant(other, column.kind))
        for other in equals
        if (other > value) == above
    )
    if not equal:
        return test
    return And((test, *equal)) if strict else Or((test, *equal))


def in_any_width(operand: Operand, values: tuple[Constant, ...]) -> tuple[Constant, ...]:
    """The values of an ``in`` list, extended as in `of_any_width`."""
    equals = (other for value in values for other in _equals(operand, value.value))
    return (*values, *(Constant(other, operand.kind) for other in equals))
