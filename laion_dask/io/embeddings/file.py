"""One file of embeddings: ``.npy``, ``.npz``, ``.safetensors``, or a list column of Parquet.

Only the requested rows are read. Nothing is ever unpickled.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from laion_dask.errors import EmbeddingsError
from laion_dask.io.embeddings.file_state import (
    DAMAGED,
    check_size,
    local_path,
    state_of,
    storage_format,
)
from laion_dask.io.embeddings.mmap_cache import MappedFile, mapped_files
from laion_dask.io.embeddings.row_positions import positions
from laion_dask.io.embeddings.stored_rows import parquet_rows, remote_rows, unpacked
from laion_dask.numerics.dot_products import scales


@dataclass(frozen=True)
class EmbeddingFile:
    """A file of embeddings as described by its header.

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
        Byte offset of the uncompressed data; None if it must be unpacked.
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
        """A key that distinguishes it from other files, for the names of Dask's tasks."""
        return self.path, self.field, self.n_rows, self.dim, self.dtype

    @property
    def is_packed(self) -> bool:
        """Whether reading a row reads more of the file than the row's bytes."""
        return self.offset is None

    @property
    def is_mapped(self) -> bool:
        """Whether rows are read from a memory map, so that reading a row touches only its bytes."""
        return self.offset is not None and local_path(self.path) is not None

    def read(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """The rows at these positions, (len(rows), dim) in the file's dtype.

        Raises
        ------
        EmbeddingsError
            When a position is outside the file, or the size, shape or dtype of the file changed
            since it was opened.
        """
        return self._read(rows)[0]

    def read_scaled(self, rows: np.ndarray | range) -> tuple[np.ndarray, np.ndarray | None]:
        """The rows, and the reciprocal of each row's length, (len(rows),) float64.

        NaN for a row without direction; see `dot_products.scales`. The scales of a mapped file are
        cached with the map, and None if all are nearly 1. Raises as `read`.
        """
        x, mapped = self._read(rows)
        if mapped is None:
            return x, scales(x)
        return x, mapped.scales(positions(rows, self.n_rows, self.path), x)

    def _read(self, rows: Sequence[int] | np.ndarray) -> tuple[np.ndarray, MappedFile | None]:
        at = positions(rows, self.n_rows, self.path)
        if isinstance(at, slice) and at.start == at.stop:
            return np.empty((0, self.dim), self.dtype), None
        try:
            check_size(self.path, self.size)
            if storage_format(self.path) == "parquet":
                return parquet_rows(self, _numbers(at)), None
            if self.offset is None:
                return unpacked(self, state_of(self.path))[at], None
            if not self.is_mapped:
                return remote_rows(self, _numbers(at)), None
            mapped = mapped_files.get(self, state_of(self.path))
            return mapped.rows[at], mapped
        except DAMAGED as error:
            if isinstance(error, EmbeddingsError):
                raise
            raise _changed(self.path, error) from error

    def span(self, rows: np.ndarray | range) -> tuple[str, int] | None:
        """The local path and the offset in bytes at which a run of rows starts.

        None if they are not a run, or not memory-mapped. Raises as `read`.
        """
        at = positions(rows, self.n_rows, self.path)
        path = local_path(self.path)
        if path is None or self.offset is None:
            return None
        if not (isinstance(at, slice) and at.start < at.stop):
            return None
        try:
            check_size(self.path, self.size)
            mapped_files.get(self, state_of(self.path))  # validates its header
        except DAMAGED as error:
            raise _changed(self.path, error) from error
        width = self.dim * np.dtype(self.dtype).itemsize
        return path, self.offset + at.start * width

    def identity(self) -> tuple:
        """A key that distinguishes its vectors from any other file's, or a rewritten file's.

        Raises `EmbeddingsError` when the file is missing.
        """
        try:
            return self, state_of(self.path)
        except DAMAGED as error:
            raise _changed(self.path, error) from error


def _changed(path: str, error: BaseException) -> EmbeddingsError:
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        return EmbeddingsError(
            f"{path} cannot be opened, because this process may not open more files ({error}). "
            "Raise the limit, with ulimit -n on Linux and macOS, and start again."
        )
    return EmbeddingsError(f"{path} has changed or can no longer be read: {error}. Open it again.")


def _numbers(at: np.ndarray | slice) -> np.ndarray:
    return np.arange(at.start, at.stop) if isinstance(at, slice) else at
