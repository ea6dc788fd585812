"""How many values of a column fall between edges; mergeable by adding."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, floor, isinf

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from laion_dask.kinds import kind_of_arrow


def binned(table: pa.Table, columns: tuple[str, ...], edges: tuple[tuple[float, ...], ...]):
    """Counts of every column's values by its edges, which are compared as `reached` says.

    Returns
    -------
    list of (len(edges) + 2,) int64 array
        One a column: values below the first edge; in [edge i, edge i + 1); at or above the last
        edge; and last those that are null or NaN.
    """
    return [
        np.bincount(reached(table[name], cuts, above=False), minlength=len(cuts) + 2)
        for name, cuts in zip(columns, edges, strict=True)
    ]


def reached(column: pa.ChunkedArray, cuts: Sequence[float], above: bool) -> np.ndarray:
    """How many ascending cuts each value is above, or else at or above; (n,) int64.

    One more than there are cuts for null and NaN. The same rows are over a cut as a ``where``
    keeps: a column of float32 is compared with the cuts as float32 has them, a value of float64
    that was float32 once is at its cut, and whole numbers are compared exactly.
    """
    kind = kind_of_arrow(column.type)
    if kind == "integer":
        found = _whole_reached(column.fill_null(0), cuts, above)
        found[column.is_null().to_numpy()] = len(cuts) + 1
        return found
    cuts = np.array(cuts, np.float64)
    with np.errstate(over="ignore", under="ignore"):
        near = cuts.astype(np.float32).astype(np.float64)
    near = np.where((near == 0) | np.isinf(near), cuts, near)
    values = pc.cast(column, pa.float64(), safe=False).to_numpy()  # null becomes NaN
    if kind == "float32":
        cuts = near
    elif kind == "float64":
        at = np.minimum(np.searchsorted(near, values), len(near) - 1)
        values = np.where(near[at] == values, cuts[at], values)
    found = np.searchsorted(cuts, values, side="left" if above else "right")
    found[np.isnan(values)] = len(cuts) + 1
    return found


def _whole_reached(column: pa.ChunkedArray, cuts: Sequence[float], above: bool) -> np.ndarray:
    """How many ascending cuts each whole number is above, or else at or above; (n,) int64.

    Exactly, where float64 would round numbers beyond 2**53: a whole number is above a cut when it
    is above the whole number beneath the cut, and at or above it when it is so of the whole number
    over the cut.

    Parameters
    ----------
    column : ChunkedArray of integers
        Without nulls.
    cuts : sequence of float or int
        Infinite ones too.
    above : bool
    """
    dtype = np.int64 if pa.types.is_signed_integer(column.type) else np.uint64
    ends = np.iinfo(dtype)
    whole = [cut if isinf(cut) else (floor if above else ceil)(cut) for cut in cuts]
    inside = np.array([cut for cut in whole if ends.min <= cut <= ends.max], dtype)
    beneath = sum(cut < ends.min for cut in whole)
    values = column.cast(pa.from_numpy_dtype(dtype)).to_numpy()
    return beneath + np.searchsorted(inside, values, side="left" if above else "right")
