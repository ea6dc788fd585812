"""The interface of embeddings in files, as the GPU's reader and its row cache need it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np


class StoredFile(Protocol):
    """A file of embeddings.

    Attributes
    ----------
    is_mapped : bool
        Whether rows are read without unpacking.
    """

    @property
    def is_mapped(self) -> bool: ...


class StoredRows(Protocol):
    """Embeddings in files, read by shard and row; `laion_dask.Embeddings` is one.

    Attributes
    ----------
    dim : int
    dtype : str
        The name of a NumPy dtype.
    files : sequence of StoredFile
        One per shard.
    """

    @property
    def dim(self) -> int: ...
    @property
    def dtype(self) -> str: ...
    @property
    def files(self) -> Sequence[StoredFile]: ...

    def read(self, shard: int, rows: np.ndarray | range) -> np.ndarray:
        """Rows of a shard, as (n, dim)."""

    def span(self, shard: int, rows: np.ndarray | range) -> tuple[str, int] | None:
        """The file and byte offset of a run of rows; None if they are not contiguous."""

    def identity(self, shard: int) -> tuple:
        """A key that distinguishes a shard's file from any other."""
