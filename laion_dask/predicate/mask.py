"""Evaluate an expression on a pandas or cuDF frame, as two boolean masks.

Some operations are rewritten, because cuDF 26.10 would answer differently from pandas and DuckDB.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import Any, TypeAlias, TypeGuard

import numpy as np
import pandas as pd

from laion_dask.backend import Column, Frame, column_like, is_cudf
from laion_dask.predicate import extremes, list_file, regular_expressions, sites, white_space
from laion_dask.predicate.lower_case import lowered, without_lower
from laion_dask.predicate.nodes import (
    SITE_VALUES,
    Absolute,
    And,
    Arithmetic,
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
    Test,
    TextTest,
    TextValue,
    Truth,
)

#: The value of an operand: a column of either backend, or a constant.
Value: TypeAlias = Any

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


def certain_and_possible(predicate: Predicate, frame: Frame) -> tuple[Column, Column]:
    """Masks of rows where an expression is true, and where it is true or unknown.

    Parameters
    ----------
    predicate : Predicate
    frame : pandas.DataFrame or cudf.DataFrame
        Has the predicate's columns; may have zero rows.

    Returns
    -------
    certain, possible : Series of bool
        With the frame's index; never null.
    """
    masks = _Masks(frame).of(predicate.root)
    certain, possible = (column_like(m, frame) if isinstance(m, np.ndarray) else m for m in masks)
    return certain, possible


class _Masks:
    def __init__(self, frame: Frame) -> None:
        self.frame = frame

    def of(self, node: Condition) -> tuple[Column, Column]:
        if isinstance(node, Not):
            certain, possible = self.of(node.of)
            return ~possible, ~certain
        if isinstance(node, (And, Or)):
            join = operator.and_ if isinstance(node, And) else operator.or_
            certain, possible = self.of(node.parts[0])
            for child in node.parts[1:]:
                more_certain, more_possible = self.of(child)
                certain, possible = join(certain, more_certain), join(possible, more_possible)
            return certain, possible
        if isinstance(node, IsNone):
            missing = ~_known(_numbers(self.value(node.of)))
            return missing, missing
        result, operands = self.test(node)
        known: Any = True
        for operand in operands:
            known = known & _known(operand) if _is_column(operand) else known
        result = _filled(result)
        return known & result, ~known | result

    def test(self, node: Test) -> tuple[Column, tuple[Value, ...]]:
        """The result for known operands, and the operands."""
        if isinstance(node, Compare):
            left, right = (_numbers(self.value(of)) for of in (node.left, node.right))
            return _compared(_OPS[node.op], left, right), (left, right)
        of = self.value(node.of)
        if isinstance(node, In):
            lists: dict[type, list[Any]] = {}
            for value in node.values:
                lists.setdefault(type(value.value), []).append(self.value(value))
            # Outside int64 and uint64, isin would convert the column and the list to floats.
            if int in lists:
                lists[int] = _held_by(of.dtype, lists[int])
            results = [_filled(_is_in(of, values)) for values in lists.values()]
            return functools.reduce(operator.or_, results), (of,)
        if isinstance(node, InFile):
            found = list_file.values_of(node.values).contains(extremes.as_arrow(of))
            return column_like(found, self.frame), (of,)
        if isinstance(node, TextTest):
            if node.op == "contains":
                return of.str.contains(node.pattern, regex=False), (of,)
            if node.op == "matches":
                return column_like(regular_expressions.found(of, node.pattern), self.frame), (of,)
            return getattr(of.str, node.op)(node.pattern), (of,)
        if isinstance(node, Truth):
            return of, (of,)
        raise AssertionError(node)

    def value(self, node: Operand) -> Value:
        if isinstance(node, Name):
            return self.frame[node.name]
        if isinstance(node, Constant):
            # A NumPy scalar: NumPy would round a Python float to the column's width.
            width = {"float32": np.float32, "float64": np.float64}.get(node.kind)
            return width(node.value) if width else node.value
        if isinstance(node, TextValue):
            if node.op == "words":
                return white_space.words(self.value(without_lower(node.of)))
            text = self.value(node.of)
            if node.op == "distinct_words":
                return white_space.distinct_words(text)
            if node.op in SITE_VALUES:
                return sites.site_values(text, node.op)
            return lowered(text) if node.op == "lower" else text.str.len()
        if isinstance(node, Absolute):
            return extremes.absolute(self.value(node.of), node.kind)
        if isinstance(node, Extreme):
            parts = [self.value(part) for part in node.parts]
            return extremes.extreme(node.op, parts, node.kind, self.frame)
        if isinstance(node, Arithmetic):
            left, right = (extremes.floats(self.value(s)) for s in (node.left, node.right))
            with np.errstate(all="ignore"):
                if node.op == "/":  # division by 0 is unknown
                    right = right / (right != 0) if hasattr(right, "shape") else right or np.nan
                return column_like(_ARITHMETIC[node.op](left, right), self.frame)
        raise AssertionError(node)


def _compared(compare: Callable[[Any, Any], Column], left: Value, right: Value) -> Column:
    """Compare two columns, or a column and a constant.

    libcudf converts columns to C++'s common type: float32 for an integer and a float32, and
    unsigned for a signed and an unsigned integer, which turns a negative number into a large one.
    """
    if not (_is_series(left) and _is_series(right) and is_cudf(left)):
        return compare(left, right)
    kinds = {left.dtype.kind, right.dtype.kind}
    if "f" in kinds and len(kinds) == 2:
        return compare(left.astype("float64"), right.astype("float64"))
    if kinds != {"i", "u"}:
        return compare(left, right)
    signed, below = (left, (-1, 0)) if left.dtype.kind == "i" else (right, (0, -1))
    negative = signed < 0
    result = compare(left.astype("uint64"), right.astype("uint64"))
    return (negative & compare(*below)) | (~negative & result)


def _is_in(column: Column, values: list[Any]) -> Column:
    """Mask of rows whose value is in a list of values of one Python type.

    cuDF compares values of the column's own dtype; values of other dtypes may be cast or never
    match. No integer can equal a listed float, because the parser converts whole floats to
    integers.
    """
    if is_cudf(column) and column.dtype.kind in "iuf":
        types = int if column.dtype.kind in "iu" else (float, np.floating)
        dtype: Any = column.dtype
        return column.isin(np.array([value for value in values if isinstance(value, types)], dtype))
    return column.isin(values)


def _held_by(dtype: Any, values: list[int]) -> list[int]:
    """The integers that a column of the given dtype can hold; the others cannot match."""
    numpy_dtype = np.dtype(getattr(dtype, "numpy_dtype", dtype))
    if numpy_dtype.kind not in "iu":
        return values
    info = np.iinfo(numpy_dtype)
    return [v for v in values if info.min <= v <= info.max]


def _is_series(operand: object) -> TypeGuard[Column]:
    return hasattr(operand, "notna")


def _is_column(operand: object) -> bool:
    return _is_series(operand) or isinstance(operand, np.ndarray)


def _numbers(operand: Value) -> Value:
    """The array of a pandas column of floats, which compares in a tenth of the column's time."""
    if isinstance(operand, pd.Series) and operand.dtype in (np.float32, np.float64):
        return operand.to_numpy()
    return operand


def _known(series: Value) -> Value:
    if isinstance(series, np.ndarray):
        return series == series
    mask = series.notna()
    if series.dtype.kind == "f":
        mask = mask & _filled(series == series)
    return mask.astype("bool")


def _filled(mask: Value) -> Value:
    if isinstance(mask, np.ndarray):
        return mask
    return mask.fillna(False).astype("bool")
