"""Numeric constants of an expression, in the type in which a column is compared with them."""

from __future__ import annotations

import math

import numpy as np

from laion_dask.predicate.nodes import Among, Compare, Constant, Every, Name, Node, Not, Some

_TURNED = {"==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}


def number(value: int | float) -> Constant:
    """A numeric constant; an integer beyond int64 and uint64 is a float, or infinite."""
    if isinstance(value, int) and -(2**63) <= value < 2**64:
        return Constant(value, "integer")
    try:
        return Constant(float(value), "float64")
    except OverflowError:
        return Constant(math.inf if value > 0 else -math.inf, "float64")


def beside_integers(value: int | float) -> Constant:
    """A constant that integers are compared with exactly: whole numbers never as floats."""
    if not -(2.0**63) <= value < 2.0**64:
        return Constant(math.copysign(math.inf, value), "float64")
    whole = float(value).is_integer()
    return Constant(int(value), "integer") if whole else Constant(value, "float64")


def beside_floats(value: int | float, kind: str) -> Constant:
    """A constant that floats are compared with: rounded to float32 where they are float32.

    Beyond the range of float32 it stays what it is: rounded to 0, no number would be below 1e-50.
    """
    near = nearest_float32(value) if kind == "float32" else None
    if near is None and kind == "float32" and _rounded(value) != value:
        return Constant(float(value), "float64")
    return Constant(float(value) if near is None else near, kind)


def _rounded(value: float) -> float:
    with np.errstate(over="ignore", under="ignore"):
        return float(np.float32(value))


def nearest_float32(value: float) -> float | None:
    """The float32 nearest to a constant, where that is another number; None beyond its range."""
    near = _rounded(value)
    return near if near != value and near != 0 and math.isfinite(near) else None


def of_either_width(test: Compare) -> Node:
    """A comparison of a float64 column with a constant, for values that were float32 once, too.

    A float32 column is compared with the constant rounded to float32. Beside a float64 shard it
    becomes float64, and the same row must pass: a value that is the constant's nearest float32 is
    equal to the constant. No other value is touched.
    """
    column, constant, op = test.left, test.right, test.op
    if isinstance(column, Constant):
        column, constant, op = constant, column, _TURNED[op]
    if not (isinstance(column, Name) and column.kind == "float64"):
        return test
    near = nearest_float32(constant.value) if isinstance(constant, Constant) else None
    if near is None:
        return test
    other = Constant(near, "float64")
    if op in ("==", "!="):
        among = Among(column, (constant, other))
        return among if op == "==" else Not(among)
    if near > constant.value and op in (">", "<="):
        equal = Compare("!=" if op == ">" else "==", column, other)
    elif near < constant.value and op in ("<", ">="):
        equal = Compare("!=" if op == "<" else "==", column, other)
    else:
        return test
    return Every((test, equal)) if equal.op == "!=" else Some((test, equal))


def in_either_width(of: Node, values: tuple[Constant, ...]) -> tuple[Constant, ...]:
    """The values of a list, for `of_either_width`."""
    if not (isinstance(of, Name) and of.kind == "float64"):
        return values
    near = (nearest_float32(value.value) for value in values)
    return (*values, *(Constant(value, "float64") for value in near if value is not None))
