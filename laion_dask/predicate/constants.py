"""Numeric constants of an expression, in the type in which a column is compared with them."""

from __future__ import annotations

import math

import numpy as np

from laion_dask.predicate.nodes import Constant


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
    """A constant that floats are compared with: rounded to float32 where they are float32."""
    with np.errstate(over="ignore"):
        value = float(np.float32(value)) if kind == "float32" else float(value)
    return Constant(value, kind)
