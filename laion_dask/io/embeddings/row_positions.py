"""Validate row numbers of a file as positions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from laion_dask.errors import EmbeddingsError


def positions(rows: Sequence[int] | np.ndarray, n_rows: int, path: str) -> np.ndarray | slice:
    """Row numbers as a slice if they are a run, else as (n,) int64.

    Raises
    ------
    EmbeddingsError
        When the row numbers are not integers, or one is out of range.
    """
    if not isinstance(rows, range):
        rows = np.asarray(rows)
        if rows.ndim != 1 or (len(rows) and rows.dtype.kind not in "iu"):
            raise EmbeddingsError(
                f"Rows of {path} were requested as {rows.dtype} of shape {rows.shape}; "
                "expected integers, one per row."
            )
    if not len(rows):
        return slice(0, 0)
    if isinstance(rows, range):
        low, high = sorted((rows[0], rows[-1]))
        ascending = rows.step > 0
    else:
        low, high = int(rows.min()), int(rows.max())
        ascending = high - low == len(rows) - 1 and bool((rows[1:] > rows[:-1]).all())
    if low < 0 or high >= n_rows:
        raise EmbeddingsError(
            f"Row {high if high >= n_rows else low} was requested from {path}, which has "
            f"{n_rows:,} rows. Rows are numbered from 0."
        )
    if ascending and high - low == len(rows) - 1:
        return slice(low, high + 1)
    return np.asarray(rows, np.int64)
