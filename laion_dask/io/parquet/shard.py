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
    partition : tuple of (folder's name, frame name, value)
        Columns that stand in the names of its folders, with the value that every row has; None
        for null. See `laion_dask.io.parquet.hive`.
    twins : frozenset of str
        Columns of the file whose names differ in their case only, which DuckDB takes for one.
    int96 : frozenset of str
        Columns of the file with INT96 timestamps, of which DuckDB reads no nanoseconds.
    """

    index: int
    path: str
    n_rows: int
    size: int
    footer_sha256: str
    columns: tuple[tuple[str, str, pa.DataType], ...]
    partition: tuple[tuple[str, str, str | int | float | None], ...] = ()
    twins: frozenset[str] = frozenset()
    int96: frozenset[str] = frozenset()

    def value_of(self, column: str) -> str | int | float | None:
        """What the names of its folders say of a frame's column; None where they say nothing."""
        return next((value for _, name, value in self.partition if name == column), None)


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
        return ("laion_dask.Piece", *where, str(columns), str(shard.partition))

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
