"""One file of embeddings: ``.npy``, ``.npz``, ``.safetensors``, or a list column of Parquet.

Reading touches the rows that are asked for. Nothing is ever unpickled.
"""

from __future__ import annotations

import io
import os
import struct
import tokenize
import zipfile
import zlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

from laion_dask.errors import EmbeddingsError
from laion_dask.io.embeddings.mmap_cache import Kept, kept
from laion_dask.io.embeddings.row_positions import positions
from laion_dask.io.parquet.footer import read_footer
from laion_dask.io.storage.discovery import PARQUET
from laion_dask.io.storage.local_file import file_system, open_bytes
from laion_dask.numerics.dot_products import scales

#: Two runs of rows that are closer than this are fetched as one from a remote store, in bytes.
_GAP = 1 << 18
#: A run is at most this long, so that few rows of a large shard never take all its bytes at once.
_RUN = 1 << 24
#: Bytes before the numbers of an array, at most.
_HEADERS = 1 << 14
#: Runs that are fetched at once.
_THREADS = 16

#: What a damaged or hostile file makes NumPy, zipfile and the stores raise.
DAMAGED = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    RuntimeError,
    EOFError,
    MemoryError,
    SyntaxError,
    OverflowError,
    struct.error,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)


def storage_format(path: str) -> str:
    """How a file is stored, by its ending: ``"npy"``, ``"npz"``, ``"safetensors"``, ``"parquet"``.

    Any other ending is returned in lower case.
    """
    ending = path.rpartition(".")[2].lower()
    return "parquet" if f".{ending}" in PARQUET else ending


@dataclass(frozen=True)
class EmbeddingFile:
    """A file of embeddings as its header describes it.

    Attributes
    ----------
    path : str
    field : str or None
        The member of an ``.npz``, the tensor of a ``.safetensors``, the column of a Parquet file.
    n_rows, dim : int
    dtype : str
        ``"float16"`` or ``"float32"``.
    size : int
        Bytes of the file.
    offset : int or None
        Where the numbers start, in bytes, when they lie in the file as such; None when they have
        to be unpacked.
    """

    path: str
    field: str | None
    n_rows: int
    dim: int
    dtype: str
    size: int
    offset: int | None

    @property
    def token(self) -> tuple:
        """What tells it from other files, for Dask to name a task by."""
        return self.path, self.field, self.n_rows, self.dim, self.dtype

    @property
    def is_packed(self) -> bool:
        """Whether reading a row takes more of the file than its own bytes."""
        return self.offset is None

    @property
    def is_mapped(self) -> bool:
        """Whether rows are read from a map of the file: some anywhere, at no cost for others."""
        return self.offset is not None and _local(self.path) is not None

    def read(self, rows: np.ndarray | range) -> np.ndarray:
        """The rows at these positions, (len(rows), dim) in the file's dtype.

        Raises
        ------
        EmbeddingsError
            When a position is outside the file, or the file now has another size, shape or dtype
            than when it was opened.
        """
        return self._read(rows)[0]

    def read_scaled(self, rows: np.ndarray | range) -> tuple[np.ndarray, np.ndarray | None]:
        """The same, and what brings each row to length one, (len(rows),) float64.

        NaN for a row without direction; see `products.scales`. Of a mapped file it is kept with
        the map, and None if all are nearly 1. Raises as `read`.
        """
        x, known = self._read(rows)
        if known is None:
            return x, scales(x)
        return x, known.scales(positions(rows, self.n_rows, self.path), x)

    def _read(self, rows: np.ndarray | range) -> tuple[np.ndarray, Kept | None]:
        at = positions(rows, self.n_rows, self.path)
        if isinstance(at, slice) and at.start == at.stop:
            return np.empty((0, self.dim), self.dtype), None
        try:
            _check_size(self)
            if storage_format(self.path) == "parquet":
                return _parquet_rows(self, _numbers(at)), None
            if self.offset is None:
                return _unpacked(self, state_of(self.path))[at], None
            if not self.is_mapped:
                return _ranges(self, _numbers(at)), None
            found = kept.get(self, state_of(self.path))
            return found.rows[at], found
        except DAMAGED as error:
            if isinstance(error, EmbeddingsError):
                raise
            raise _changed(self.path, error) from error

    def span(self, rows: np.ndarray | range) -> tuple[str, int] | None:
        """The local path and the position, in bytes, where a run of rows starts.

        None where they are no run, or not read from a map. Raises as `read`.
        """
        at = positions(rows, self.n_rows, self.path)
        if not (isinstance(at, slice) and at.start < at.stop and self.is_mapped):
            return None
        try:
            _check_size(self)
            kept.get(self, state_of(self.path))  # which compares its header
        except DAMAGED as error:
            raise _changed(self.path, error) from error
        width = self.dim * np.dtype(self.dtype).itemsize
        return _local(self.path), self.offset + at.start * width

    def identity(self) -> tuple:
        """What tells its vectors from those of any other file, or of this one, rewritten.

        Raises `EmbeddingsError` when the file is gone.
        """
        try:
            return self, state_of(self.path)
        except DAMAGED as error:
            raise _changed(self.path, error) from error


def _changed(path: str, error: BaseException) -> EmbeddingsError:
    return EmbeddingsError(
        f"{path} can no longer be read as when it was opened: {error}. Open it again."
    )


def _numbers(at: np.ndarray | slice) -> np.ndarray:
    return np.arange(at.start, at.stop) if isinstance(at, slice) else at


def _parquet_rows(file: EmbeddingFile, rows: np.ndarray) -> np.ndarray:
    out = np.empty((len(rows), file.dim), file.dtype)
    state = state_of(file.path)
    try:
        starts = _group_starts(file.path, state)
        if starts[-1] != file.n_rows:
            raise ValueError(f"it has {starts[-1]:,} rows now, and had {file.n_rows:,}")
        groups = np.searchsorted(starts, rows, side="right") - 1
        for group in np.unique(groups):
            here = groups == group
            column = _group(file.path, file.field, int(group), state)
            out[here] = _as_matrix(column.take(pa.array(rows[here] - starts[group])), file)
    except pa.ArrowException as error:
        raise EmbeddingsError(
            f"{file.path} cannot be read: {error}. Fetch the file again."
        ) from error
    return out


@lru_cache(maxsize=256)
def _group_starts(path: str, state: str) -> np.ndarray:
    """Where each row group starts, and behind them where the file ends."""
    return np.cumsum([0, *read_footer(path).row_groups])


@lru_cache(maxsize=2)
def _group(path: str, field: str, group: int, state: str) -> pa.ChunkedArray:
    """The column in one row group, which is read as a whole; the last two are kept."""
    with open_bytes(path) as source:
        table = pq.ParquetFile(source).read_row_group(group, columns=[field], use_threads=False)
    return table[field]


def _as_matrix(column: pa.ChunkedArray, file: EmbeddingFile) -> np.ndarray:
    """A list column as (n, dim); a null row is a row of NaN, and so has no score."""
    out = np.full((len(column), file.dim), np.nan, file.dtype)
    known = np.flatnonzero(column.is_valid().to_numpy())
    rows = column.drop_null().combine_chunks()
    values = np.asarray(rows.flatten(), dtype=file.dtype)
    if not pc.all(pc.equal(pc.list_value_length(rows), file.dim), min_count=0).as_py():
        raise EmbeddingsError(
            f"{file.path}, column {file.field!r}: not every row has {file.dim} numbers. Every row "
            "needs as many as the first."
        )
    out[known] = values.reshape(len(known), file.dim)
    return out


@lru_cache(maxsize=1 << 16)
def _local(path: str) -> str | None:
    """A local file's path as the system spells it; None for one that is elsewhere."""
    fs, inner = file_system(path)
    return inner if isinstance(fs, LocalFileSystem) else None


def state_of(path: str) -> str:
    """What changes when a file is written anew, so that nothing stale is kept of it."""
    local = _local(path)
    if local is not None:
        found = os.stat(local)
        return f"{found.st_size}-{found.st_mtime_ns}-{found.st_ino}-{found.st_dev}"
    fs, inner = file_system(path)
    return fs.ukey(inner)


def _check_size(file: EmbeddingFile) -> None:
    local = _local(file.path)
    if local is not None:
        size = os.stat(local).st_size
    else:
        fs, inner = file_system(file.path)
        size = fs.size(inner)
    if size is not None and size != file.size:
        raise ValueError(f"it has {size:,} bytes now, and had {file.size:,}")


def _ranges(file: EmbeddingFile, rows: np.ndarray) -> np.ndarray:
    """Rows from a remote file: near ones are fetched as one run of bytes."""
    fs, inner = file_system(file.path)
    width = file.dim * np.dtype(file.dtype).itemsize
    order = np.argsort(rows, kind="stable")
    runs = _runs(rows[order], width)
    out = np.empty((len(rows), file.dim), file.dtype)
    at = 0
    for some in range(0, len(runs), _THREADS):
        here = runs[some : some + _THREADS]
        starts = [file.offset + int(r[0]) * width for r in here]
        stops = [file.offset + (int(r[-1]) + 1) * width for r in here]
        blocks = fs.cat_ranges([inner] * len(here), starts, stops, on_error="raise")
        for block, run in zip(blocks, here, strict=True):
            found = np.frombuffer(block, file.dtype).reshape(-1, file.dim)[run - run[0]]
            out[order[at : at + len(run)]] = found
            at += len(run)
    return out


def _runs(ordered: np.ndarray, width: int) -> list[np.ndarray]:
    """Ascending rows, cut where the gap between two is wide and where a run becomes too long."""
    most = max(1, _RUN // width)
    apart = np.diff(ordered) * width > _GAP
    return np.split(ordered, np.flatnonzero(apart | (np.diff(ordered // most) > 0)) + 1)


@lru_cache(maxsize=2)
def _unpacked(member: EmbeddingFile, state: str) -> np.ndarray:
    """A compressed member, whole; the last two are kept."""
    with open_bytes(member.path) as file, zipfile.ZipFile(file) as archive:
        name = f"{member.field}.npy"
        with archive.open(name if name in archive.namelist() else member.field) as packed:
            most = member.n_rows * member.dim * np.dtype(member.dtype).itemsize + _HEADERS
            data = packed.read(most)  # a file that is now another one may hold any number
    array = np.load(io.BytesIO(data), allow_pickle=False)
    if array.shape != (member.n_rows, member.dim) or array.dtype != member.dtype:
        raise ValueError(f"member {member.field!r} is {array.dtype} of shape {array.shape} now")
    array.flags.writeable = False  # parts of it are handed out
    return array
