"""An expression over a frame in memory, pandas or cuDF: two boolean masks."""

from __future__ import annotations

import functools
import operator

import numpy as np
import pandas as pd

from laion_dask.predicate.nodes import (
    Among,
    Arithmetic,
    Compare,
    Constant,
    Every,
    IsNone,
    Name,
    Node,
    Not,
    Predicate,
    Some,
    TextTest,
    TextValue,
    Truth,
)

_OPS = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_ARITHMETIC = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
}


def certain_and_possible(predicate: Predicate, frame):
    """Where an expression is true, and where it is true or unknown.

    Parameters
    ----------
    predicate : Predicate
    frame : pandas.DataFrame or cudf.DataFrame
        With the predicate's columns; zero rows are fine.

    Returns
    -------
    certain, possible : Series of bool
        With the frame's index; never null.
    """
    return _Masks(frame).of(predicate.root)


class _Masks:
    def __init__(self, frame):
        self.frame = frame

    def of(self, node: Node):
        if isinstance(node, Not):
            certain, possible = self.of(node.of)
            return ~possible, ~certain
        if isinstance(node, (Every, Some)):
            join = operator.and_ if isinstance(node, Every) else operator.or_
            certain, possible = self.of(node.parts[0])
            for part in node.parts[1:]:
                more_certain, more_possible = self.of(part)
                certain, possible = join(certain, more_certain), join(possible, more_possible)
            return certain, possible
        if isinstance(node, IsNone):
            missing = ~_known(self.value(node.of))
            return missing, missing
        result, operands = self.test(node)
        known = True
        for operand in operands:
            known = known & _known(operand) if _is_series(operand) else known
        result = _filled(result)
        return known & result, ~known | result

    def test(self, node: Node):
        """A result over known operands, and those operands."""
        if isinstance(node, Compare):
            left, right = self.value(node.left), self.value(node.right)
            return _OPS[node.op](left, right), (left, right)
        of = self.value(node.of)
        if isinstance(node, Among):
            lists: dict[type, list] = {}
            for value in node.values:
                lists.setdefault(type(value.value), []).append(self.value(value))
            # Beyond int64 and uint64, isin would turn the column and the list into floats.
            if int in lists:
                lists[int] = _held_by(of.dtype, lists[int])
            results = [_filled(of.isin(values)) for values in lists.values()]
            return functools.reduce(operator.or_, results), (of,)
        if isinstance(node, TextTest):
            if node.op == "contains":
                return of.str.contains(node.pattern, regex=False), (of,)
            return getattr(of.str, node.op)(node.pattern), (of,)
        if isinstance(node, Truth):
            return of, (of,)
        raise AssertionError(node)

    def value(self, node: Node):
        if isinstance(node, Name):
            return self.frame[node.name]
        if isinstance(node, Constant):
            return np.float32(node.value) if node.kind == "float32" else node.value
        if isinstance(node, TextValue):
            text = self.value(node.of).str
            return text.lower() if node.op == "lower" else text.len()
        if isinstance(node, Arithmetic):
            left, right = _double(self.value(node.left)), _double(self.value(node.right))
            if node.op == "/":
                right = right.where(right != 0) if _is_series(right) else right or np.nan
            return _ARITHMETIC[node.op](left, right)
        raise AssertionError(node)


def _held_by(dtype, values: list[int]) -> list[int]:
    """The integers that a column of a dtype can hold; no other can be in it."""
    numpy_dtype = np.dtype(getattr(dtype, "numpy_dtype", dtype))
    if numpy_dtype.kind not in "iu":
        return values
    info = np.iinfo(numpy_dtype)
    return [v for v in values if info.min <= v <= info.max]


def _is_series(operand) -> bool:
    return hasattr(operand, "notna")


def _known(series):
    known = series.notna()
    if pd.api.types.is_float_dtype(series.dtype):
        known = known & _filled(series == series)
    return known.astype("bool")


def _filled(mask):
    return mask.fillna(False).astype("bool")


def _double(operand):
    """An operand in float64, null as NaN."""
    if not _is_series(operand):
        return float(operand)
    if operand.isna().any():
        operand = operand.astype("Float64") if hasattr(operand, "array") else operand
        operand = operand.fillna(np.nan) if hasattr(operand, "array") else operand
    return operand.astype("float64")
