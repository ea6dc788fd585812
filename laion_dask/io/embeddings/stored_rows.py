"""Read rows of files that cannot be memory-mapped: Parquet, remote files, compressed members."""

from __future__ import annotations

import io
import zipfile
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from laion_dask.errors import EmbeddingsError
from laion_dask.io.embeddings.file_state import state_of
from laion_dask.io.embeddings.vector_file import VectorFile
from laion_dask.io.parquet.footer import read_footer
from laion_dask.io.storage.local_file import file_system, open_bytes

#: Runs of rows separated by less than this are fetched together from a remote store, in bytes.
_GAP = 1 << 18
#: Maximum bytes of a run, so that a few rows of a large shard never need all its bytes at once.
_RUN = 1 << 24
#: Maximum bytes of an array's header.
_HEADERS = 1 << 14
#: Runs that are fetched concurrently.
_THREADS = 16


def parquet_rows(file: VectorFile, rows: np.ndarray) -> np.ndarray:
    """Rows of a list column of a Parquet file, (len(rows), dim)."""
    out = np.empty((len(rows), file.dim), file.dtype)
    state = state_of(file.path)
    try:
        starts = _group_starts(file.path, state)
        if starts[-1] != file.n_rows:
            raise ValueError(
                f"it has {starts[-1]:,} rows, but had {file.n_rows:,} when it was opened"
            )
        groups = np.searchsorted(starts, rows, side="right") - 1
        for group in np.unique(groups):
            mask = groups == group
            column = _group(file.path, file.field, int(group), state)
            out[mask] = _as_matrix(column.take(pa.array(rows[mask] - starts[group])), file)
    except pa.ArrowException as error:
        raise EmbeddingsError(
            f"{file.path} cannot be read: {error}. Fetch the file again."
        ) from error
    return out


@lru_cache(maxsize=256)
def _group_starts(path: str, state: str) -> np.ndarray:
    """The first row of each row group, and the number of rows of the file."""
    return np.cumsum([0, *read_footer(path).row_groups])


@lru_cache(maxsize=2)
def _group(path: str, field: str, group: int, state: str) -> pa.ChunkedArray:
    """The column of one row group, read as a whole; the last two are cached."""
    with open_bytes(path) as source:
        table = pq.ParquetFile(source).read_row_group(group, columns=[field], use_threads=False)
    return table[field]


def _as_matrix(column: pa.ChunkedArray, file: VectorFile) -> np.ndarray:
    """A list column as (n, dim); a null row becomes NaN, and so has no score."""
    out = np.full((len(column), file.dim), np.nan, file.dtype)
    valid = np.flatnonzero(column.is_valid().to_numpy())
    rows = column.drop_null().combine_chunks()
    values = np.asarray(rows.flatten(), dtype=file.dtype)
    if not pc.all(pc.equal(pc.list_value_length(rows), file.dim), min_count=0).as_py():
        raise EmbeddingsError(
            f"{file.path}, column {file.field!r}: not every row has {file.dim} numbers. Every row "
            "must have as many as the first."
        )
    out[valid] = values.reshape(len(valid), file.dim)
    return out


def remote_rows(file: VectorFile, rows: np.ndarray) -> np.ndarray:
    """Rows of a remote file; neighboring rows are fetched as one range of bytes."""
    assert file.offset is not None  # packed files are read as a whole
    first = file.offset
    fs, inner = file_system(file.path)
    width = file.dim * np.dtype(file.dtype).itemsize
    order = np.argsort(rows, kind="stable")
    runs = _runs(rows[order], width)
    out = np.empty((len(rows), file.dim), file.dtype)
    at = 0
    for first_run in range(0, len(runs), _THREADS):
        batch = runs[first_run : first_run + _THREADS]
        starts = [first + int(r[0]) * width for r in batch]
        stops = [first + (int(r[-1]) + 1) * width for r in batch]
        blocks = fs.cat_ranges([inner] * len(batch), starts, stops, on_error="raise")
        for block, run in zip(blocks, batch, strict=True):
            vectors = np.frombuffer(block, file.dtype).reshape(-1, file.dim)[run - run[0]]
            out[order[at : at + len(run)]] = vectors
            at += len(run)
    return out


def _runs(ordered: np.ndarray, width: int) -> list[np.ndarray]:
    """Split sorted rows where the gap between two is wide, and where a run gets too long."""
    max_rows = max(1, _RUN // width)
    is_wide_gap = np.diff(ordered) * width > _GAP
    return np.split(ordered, np.flatnonzero(is_wide_gap | (np.diff(ordered // max_rows) > 0)) + 1)


@lru_cache(maxsize=2)
def unpacked(member: VectorFile, state: str) -> np.ndarray:
    """A compressed member as a whole; the last two are cached."""
    assert member.field is not None  # opening the file has chosen a member
    with open_bytes(member.path) as file, zipfile.ZipFile(file) as archive:
        name = f"{member.field}.npy"
        with archive.open(name if name in archive.namelist() else member.field) as packed:
            max_bytes = member.n_rows * member.dim * np.dtype(member.dtype).itemsize + _HEADERS
            data = packed.read(max_bytes)  # a replaced file may claim any size
    array = np.load(io.BytesIO(data), allow_pickle=False)
    if array.shape != (member.n_rows, member.dim) or array.dtype != member.dtype:
        raise ValueError(f"member {member.field!r} is {array.dtype} of shape {array.shape} now")
    array.flags.writeable = False  # views of it are returned
    return array
