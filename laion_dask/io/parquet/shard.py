"""Shards, the pieces that they are split into, and the result of reading a piece."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

PROVENANCE_TYPES = {"shard": pa.int32(), "row": pa.int64()}


@dataclass(frozen=True)
class Shard:
    """A Parquet file as the reader sees it.

    Attributes
    ----------
    index : int
        The value of the frame's ``shard`` column.
    path : str
    n_rows, size : int
    footer_sha256 : str
    columns : tuple of (file name, frame name, Arrow type)
    partition : tuple of (folder's name, frame name, value)
        Columns from folder names, with their constant value; None for null. See
        `laion_dask.io.parquet.hive`.
    twins : frozenset of str
        Columns of the file whose names differ only in case, which DuckDB does not distinguish.
    int96 : frozenset of str
        Columns of the file with INT96 timestamps, whose nanoseconds DuckDB drops.
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
        """The value of a frame's column that comes from folder names; None if it does not."""
        return next((value for _, name, value in self.partition if name == column), None)


@dataclass(frozen=True)
class Piece:
    """A range of rows of one shard, in whole row groups; becomes one partition."""

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
    """The result of reading one piece.

    Attributes
    ----------
    table : pyarrow.Table
        The kept rows.
    unscored, rejected : int
        The number of rows for which the filter is unknown, and of invalid rows.
    """

    table: pa.Table
    unscored: int
    rejected: int
