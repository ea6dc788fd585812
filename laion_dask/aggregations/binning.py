"""Bin the values of a column by ascending cuts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from laion_dask.dtypes import arrow_column_type

#: Whether a value that equals a cut reaches it: ``"right"`` if it does; see `numpy.searchsorted`.
Side = Literal["left", "right"]


def cuts_reached(
    column: pa.ChunkedArray, cuts: Sequence[float], side: Side = "right"
) -> np.ndarray:
    """Number of ascending cuts that each value reaches, (n,) int64.

    A value reaches a cut that it equals or exceeds; with ``side="left"``, only a cut that it
    exceeds. Null and NaN get ``len(cuts) + 1``. Values and cuts are compared as in a ``where``
    expression, so a threshold keeps the same rows in both.
    """
    if pa.types.is_integer(column.type):
        return _cuts_reached_by_integers(column, cuts, side)
    limits = np.asarray(cuts, np.float64)
    values = pc.cast(column, pa.float64(), safe=False).to_numpy()  # null becomes NaN
    n_reached = np.searchsorted(limits, values, side=side)
    column_type = arrow_column_type(column.type)
    if column_type in ("float32", "float64"):
        with np.errstate(over="ignore", under="ignore"):
            near = limits.astype(np.float32).astype(np.float64)
        near = np.where((near == 0) | np.isinf(near), limits, near)
        # In float64, only a value that may have been rounded from a cut to float32 equals the cut.
        rounded = True if column_type == "float32" else np.isin(values, near)
        n_reached = np.where(rounded, np.searchsorted(near, values, side=side), n_reached)
    n_reached[np.isnan(values)] = len(cuts) + 1
    return n_reached


def _cuts_reached_by_integers(
    column: pa.ChunkedArray, cuts: Sequence[float], side: Side
) -> np.ndarray:
    """`cuts_reached` for integers; an integer exceeds a cut if it exceeds the cut's floor."""
    values = pc.fill_null(column, 0).to_numpy()
    minimum, maximum = (
        int(end) for end in (np.iinfo(values.dtype).min, np.iinfo(values.dtype).max)
    )
    lower = sum(cut < minimum for cut in cuts)
    inside = [cut for cut in cuts if minimum <= cut <= maximum]
    rounded = [math.floor(cut) if side == "left" else math.ceil(cut) for cut in inside]
    limits = np.array([cut for cut in rounded if cut <= maximum], values.dtype)
    n_reached = lower + np.searchsorted(limits, values, side=side)
    n_reached[column.is_null().to_numpy()] = len(cuts) + 1
    return n_reached
