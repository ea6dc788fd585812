"""Read a list of entries: text, CSV, Parquet, uids of DataComp, or a Python sequence."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.csv as pc_csv
import pyarrow.parquet as pq

from laion_dask.errors import OptionError, did_you_mean


def read_list(
    entries: str | os.PathLike | Sequence, column: str, is_named: bool
) -> pa.ChunkedArray:
    """The entries of a list, of any type.

    Parameters
    ----------
    entries : str, path or sequence
    column : str
        The column of a file that has several.
    is_named : bool
        Whether the user named the column; otherwise a file of one column may have any name.

    Raises
    ------
    OptionError
        When the list cannot be read, or has no such column.
    """
    if not isinstance(entries, (str, os.PathLike)):
        try:
            return pa.chunked_array([pa.array(entries)])
        except (pa.ArrowException, TypeError) as error:
            raise OptionError(
                f"list is {type(entries).__name__} of values that do not fit together: {error}. "
                "Expected a path, or a sequence of strings or of integers."
            ) from error
    path = os.fspath(entries)
    plain = path.removesuffix(".gz").lower()
    try:
        with fsspec.open(path, "rb", compression="gzip" if path.endswith(".gz") else None) as file:
            if plain.endswith((".parquet", ".pq")):
                table = pq.read_table(pa.BufferReader(file.read()))
            elif plain.endswith(".csv"):
                table = pc_csv.read_csv(pa.BufferReader(file.read()))
            elif plain.endswith(".npy"):
                return _uids(np.lib.format.read_array(file, allow_pickle=False), path)
            else:
                lines = file.read().decode("utf-8").splitlines()
                texts = [line.strip() for line in lines if line.strip()]
                return pa.chunked_array([pa.array(texts, pa.large_string())])
    except (OSError, ValueError, pa.ArrowException) as error:
        raise OptionError(
            f"list is {path!r}, which cannot be read: {error}. Expected .parquet, .csv, .npy, or "
            "text with one entry a line."
        ) from error
    return _column(table, column, is_named, path)


def _column(table: pa.Table, column: str, is_named: bool, path: str) -> pa.ChunkedArray:
    by_lower = {name.lower(): name for name in reversed(table.column_names)}
    if column in table.column_names:
        return table[column]
    if column.lower() in by_lower:
        return table[by_lower[column.lower()]]
    if len(table.column_names) == 1 and not is_named:
        return table[0]
    raise OptionError(
        f"The list {path!r} has no column {column!r}.{did_you_mean(column, table.column_names)} "
        "Name its column, such as column='url'."
    )


def _uids(array: np.ndarray, path: str) -> pa.ChunkedArray:
    """Entries of an array: DataComp's pairs of uint64 as 32 hexadecimal digits."""
    if array.dtype.names and len(array.dtype.names) == 2:
        high, low = (array[name] for name in array.dtype.names)
        pairs = zip(high.tolist(), low.tolist(), strict=True)
        return pa.chunked_array(
            [pa.array([f"{a:016x}{b:016x}" for a, b in pairs], pa.large_string())]
        )
    if array.ndim == 1 and array.dtype.kind in "iuUS":
        return pa.chunked_array([pa.array(array)])
    raise OptionError(
        f"The list {path!r} is an array of {array.dtype} and shape {array.shape}. Expected one "
        "dimension of integers, text, or DataComp's pairs of uint64."
    )


def digests_of(values: pa.ChunkedArray, algorithm: str) -> pa.Array:
    """The hexadecimal digest of each text or byte string, in UTF-8; null stays null."""
    make = getattr(hashlib, algorithm)

    def digest(value: object) -> str | None:
        if value is None:
            return None
        data = value if isinstance(value, bytes) else str(value).encode()
        return str(make(data).hexdigest())

    return pa.array([digest(value) for value in values.to_pylist()], pa.large_string())
