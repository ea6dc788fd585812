"""``min``, ``max`` and ``abs`` of numbers on frames; a missing part makes the result missing.

Integers are exact, also a signed and an unsigned one together.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from laion_dask.backend import Column, Frame, column_like, is_cudf

_HIGHEST = np.int64(2**63 - 1)


def floats(operand: Any, kind: str = "float64") -> Any:
    """A number, or a column as an array of floats with null as NaN.

    Returns an array, not a series, because cuDF's division may flip the sign in a column that
    contains an infinity.
    """
    if not hasattr(operand, "notna"):
        return np.float32(operand) if kind == "float32" else float(operand)
    if is_cudf(operand):
        return operand.astype(kind).values
    return operand.to_numpy(kind, na_value=np.nan)


def extreme(op: str, parts: list[Any], kind: str, frame: Frame) -> Column:
    """The minimum or maximum of columns and constants, as a column of the frame."""
    if kind != "integer":
        function = np.minimum if op == "min" else np.maximum
        with np.errstate(invalid="ignore"):
            values = functools.reduce(function, (floats(part, kind) for part in parts))
        return column_like(values, frame)
    arrays, missing = zip(*map(_integers, parts), strict=True)
    unsigned = [array.dtype == np.uint64 for array in arrays]
    if op == "min" and not all(unsigned):  # at most the signed one, so the result is signed
        arrays = tuple(np.minimum(a, np.uint64(_HIGHEST)).astype(np.int64) if u else a
                       for a, u in zip(arrays, unsigned, strict=True))  # fmt: skip
    elif op == "max" and any(unsigned):  # at least the unsigned one
        arrays = tuple(a if u else np.maximum(a, np.int64(0)).astype(np.uint64)
                       for a, u in zip(arrays, unsigned, strict=True))  # fmt: skip
    values = functools.reduce(np.minimum if op == "min" else np.maximum, arrays)
    return _column(values, functools.reduce(np.logical_or, missing), _index_of(parts))


def absolute(column: Column, kind: str) -> Column:
    """The absolute value of a column; that of the lowest int64 is 2**63."""
    if kind != "integer":
        return column.abs()
    values, missing = _integers(column)
    if values.dtype == np.int64:
        as_unsigned = values.astype(np.uint64)  # modulo 2**64, as is the negation
        values = np.where(values < 0, np.uint64(0) - as_unsigned, as_unsigned)
    return _column(values, missing, column)


def _integers(operand: Any) -> tuple[Any, Any]:
    """The int64 or uint64 values of a column or a constant, and which of them are missing."""
    if not hasattr(operand, "notna"):
        return (np.int64 if operand < 2**63 else np.uint64)(operand), np.False_
    array = as_arrow(operand)
    missing = array.is_null().to_numpy(zero_copy_only=False)
    return array.fill_null(0).to_numpy(zero_copy_only=False), missing


def as_arrow(column: Column) -> pa.Array:
    """The texts of a column, or its integers as int64 or uint64."""
    array: Any = column.to_arrow() if is_cudf(column) else pa.array(column, from_pandas=True)
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    if pa.types.is_integer(array.type) or pa.types.is_floating(array.type):
        # Lengths of text may be floats, with NaN for null.
        return array.cast(pa.uint64() if array.type == pa.uint64() else pa.int64())
    return array.cast(pa.large_string()) if pa.types.is_null(array.type) else array


def _index_of(parts: list[Any]) -> Column:
    column: Column = next(part for part in parts if hasattr(part, "notna"))
    return column


def _column(values: np.ndarray, missing: np.ndarray, like: Column) -> Column:
    """A column of integers with the index, and the backend, of another column."""
    missing = np.broadcast_to(missing, values.shape)
    if is_cudf(like):
        made: Column = type(like)(pa.array(values, mask=missing), index=like.index)
        return made
    return pd.Series(pd.arrays.IntegerArray(values, missing.copy()), index=like.index)
