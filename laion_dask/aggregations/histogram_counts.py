"""How many values of a column fall between edges; mergeable by adding."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from laion_dask.dtypes import kind_of_arrow


def binned(table: pa.Table, columns: tuple[str, ...], edges: tuple[tuple[float, ...], ...]):
    """Counts of every column's values by its edges.

    Returns
    -------
    list of (len(edges) + 2,) int64 array
        One a column: values below the first edge; in [edge i, edge i + 1); at or above the last
        edge; and last those that are null or NaN.
    """
    return [
        np.bincount(passed(table[name], cuts), minlength=len(cuts) + 2).astype(np.int64)
        for name, cuts in zip(columns, edges, strict=True)
    ]


def passed(column: pa.ChunkedArray, cuts: Sequence[float], side: str = "right") -> np.ndarray:
    """How many of the ascending cuts each value is at or over; null or NaN: one more than all.

    With ``side="left"``, how many it is over. Values and cuts are compared as an expression of
    ``where`` compares them, so that a threshold keeps the same rows in both.
    """
    if pa.types.is_integer(column.type):
        return _passed_by_whole_numbers(column, cuts, side)
    cuts = np.asarray(cuts, np.float64)
    values = pc.cast(column, pa.float64(), safe=False).to_numpy()  # null becomes NaN
    places = np.searchsorted(cuts, values, side=side)
    kind = kind_of_arrow(column.type)
    if kind in ("float32", "float64"):
        with np.errstate(over="ignore", under="ignore"):
            near = cuts.astype(np.float32).astype(np.float64)
        near = np.where((near == 0) | np.isinf(near), cuts, near)
        # In float64, only a value that may have been a cut's float32 is equal to the cut.
        rounded = True if kind == "float32" else np.isin(values, near)
        places = np.where(rounded, np.searchsorted(near, values, side=side), places)
    places[np.isnan(values)] = len(cuts) + 1
    return places


def _passed_by_whole_numbers(
    column: pa.ChunkedArray, cuts: Sequence[float], side: str
) -> np.ndarray:
    """`passed` of whole numbers, which are over a cut where they are over its floor."""
    values = pc.fill_null(column, 0).to_numpy()
    least, most = (int(end) for end in (np.iinfo(values.dtype).min, np.iinfo(values.dtype).max))
    lower = sum(cut < least for cut in cuts)
    inside = [cut for cut in cuts if least <= cut <= most]
    whole = [math.floor(cut) if side == "left" else math.ceil(cut) for cut in inside]
    whole = np.array([cut for cut in whole if cut <= most], values.dtype)
    places = lower + np.searchsorted(whole, values, side=side)
    places[column.is_null().to_numpy()] = len(cuts) + 1
    return places
