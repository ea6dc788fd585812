"""Rows given as pairs of shard and row: a frame with these columns, or an array."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import dask.dataframe as dd
import numpy as np
import pandas as pd

from laion_dask.backend import is_cudf, to_pandas
from laion_dask.errors import OptionError, no_column
from laion_dask.schema import PROVENANCE

#: The most rows of one set: every process has it in memory, 8 bytes a row.
MAX_ROWS = 10_000_000
_EXPECTED = (
    "Expected a DataFrame with the columns shard and row, or pairs such as [[0, 17], [0, 18]]."
)


def rows_by_shard(rows: Any) -> Iterator[tuple[int, np.ndarray]]:
    """The number of each shard, ascending, and its rows, (n,) int64, ascending and each once.

    Parameters
    ----------
    rows : DataFrame, mapping, or (n, 2) array
        The columns ``shard`` and ``row``, or pairs of them.

    Raises
    ------
    OptionError, ColumnError
    """
    shard, row = _columns(rows)
    if len(shard) > MAX_ROWS:
        raise OptionError(
            f"rows has {len(shard):,} rows. Expected at most {MAX_ROWS:,}; write a filter or a "
            "table to join for more."
        )
    order = np.lexsort((row, shard))
    shard, row = shard[order], row[order]
    numbers, starts = np.unique(shard, return_index=True)
    for number, rows_of_shard in zip(numbers.tolist(), np.split(row, starts[1:]), strict=False):
        yield number, np.unique(rows_of_shard)


def _columns(rows: Any) -> tuple[np.ndarray, np.ndarray]:
    if isinstance(rows, dd.DataFrame):
        raise OptionError(
            "rows is a Dask DataFrame. Compute it first: frame[['shard', 'row']].compute()."
        )
    if is_cudf(rows):
        rows = to_pandas(rows)
    if isinstance(rows, (pd.DataFrame, Mapping)):
        for name in PROVENANCE:
            if name not in rows:
                raise no_column(name, map(str, rows))
        shard, row = (_integers(rows[name], name) for name in PROVENANCE)
        if len(shard) != len(row):
            raise OptionError(f"rows has {len(shard):,} values of shard and {len(row):,} of row.")
        return shard, row
    try:
        pairs = np.asarray(rows)
    except ValueError as error:
        raise OptionError(
            f"rows is a {type(rows).__name__} of unequal parts. {_EXPECTED}"
        ) from error
    if pairs.ndim > 0 and pairs.size == 0:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    if pairs.ndim != 2 or pairs.shape[1] != 2:
        raise OptionError(f"rows is a {type(rows).__name__} of shape {pairs.shape}. {_EXPECTED}")
    return _integers(pairs[:, 0], "shard"), _integers(pairs[:, 1], "row")


def _integers(values: Any, name: str) -> np.ndarray:
    """A column as int64; raises for nulls, fractions and booleans."""
    series = values if isinstance(values, pd.Series) else pd.Series(np.asarray(values))
    if series.isna().any():
        raise OptionError(f"rows has a row without a {name}. Leave out rows without shard and row.")
    array = series.to_numpy()
    if array.dtype == object and len(array) and all(type(one) is int for one in array.tolist()):
        array = array.astype(np.int64)
    if not len(array):
        return np.empty(0, np.int64)
    if array.dtype.kind not in "iu":
        raise OptionError(f"rows has {array.dtype} in {name}. Expected integers.")
    if array.max() >= 2**63:
        raise OptionError(f"rows has {name} {array.max()}. Expected the number of a {name}.")
    found: np.ndarray = array.astype(np.int64)
    return found
