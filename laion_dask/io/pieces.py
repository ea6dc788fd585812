"""Shards, the pieces they are cut into, and what reading a piece gives."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

PROVENANCE_TYPES = {"shard": pa.int32(), "row": pa.int64()}


@dataclass(frozen=True)
class Shard:
    """A metadata file as the reader knows it.

    Attributes
    ----------
    index : int
        What the frame's ``shard`` column says.
    path : str
    n_rows, size : int
    footer_sha256 : str
    columns : tuple of (file name, frame name, Arrow type)
    """

    index: int
    path: str
    n_rows: int
    size: int
    footer_sha256: str
    columns: tuple[tuple[str, str, pa.DataType], ...]


@dataclass(frozen=True)
class Piece:
    """A run of rows of one shard, whole row groups: one partition."""

    shard: Shard
    start: int
    stop: int

    def __dask_tokenize__(self):
        shard = self.shard
        columns = [(old, new, str(type_)) for old, new, type_ in shard.columns]
        where = (shard.index, shard.path, shard.footer_sha256, self.start, self.stop)
        return ("laion_dask.Piece", *where, str(columns))

    @property
    def n_rows(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True)
class Read:
    """What one scan of a piece found.

    Attributes
    ----------
    table : pyarrow.Table
        The kept rows.
    unscored, rejected : int
        How many rows the filter could not decide on, and how many are no valid rows.
    """

    table: pa.Table
    unscored: int
    rejected: int
