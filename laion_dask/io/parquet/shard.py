"""Shards, the pieces that they are split into, and the partitions made of pieces."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa

PROVENANCE_TYPES = {"shard": pa.int32(), "row": pa.int64()}


@dataclass(frozen=True, slots=True)
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
    """A range of rows of one shard, in whole row groups."""

    shard: Shard
    start: int
    stop: int

    @property
    def n_rows(self) -> int:
        return self.stop - self.start

    @property
    def is_whole(self) -> bool:
        """Whether the piece has all rows of its shard."""
        return self.start == 0 and self.stop == self.shard.n_rows


@dataclass(frozen=True, eq=False)
class ScanPartition:
    """The pieces that one partition reads: part of a large shard, or one or more whole shards.

    Partitions are equal if they read the same rows of the same files.

    Attributes
    ----------
    pieces : tuple of Piece
        In order of their shards' numbers.
    """

    pieces: tuple[Piece, ...]

    @property
    def n_rows(self) -> int:
        return sum(piece.n_rows for piece in self.pieces)

    def of_shards(self, numbers: Collection[int]) -> ScanPartition:
        """The same partition with only the pieces of some shards, given by their numbers."""
        return ScanPartition(tuple(p for p in self.pieces if p.shard.index in numbers))

    @cached_property
    def digest(self) -> str:
        """Identifies files, rows, and how their columns are read."""
        state = hashlib.sha256()
        columns: object = None
        for piece in self.pieces:
            shard = piece.shard
            where = (shard.index, shard.path, shard.footer_sha256, piece.start, piece.stop)
            state.update(repr(where).encode("utf-8", "surrogateescape"))
            if shard.columns is not columns:  # shards of one schema share the tuple
                columns = shard.columns
                types = [(old, new, str(type_)) for old, new, type_ in shard.columns]
                state.update(repr(types).encode("utf-8", "surrogateescape"))
            if shard.partition:
                state.update(repr(shard.partition).encode("utf-8", "surrogateescape"))
        return state.hexdigest()

    def __dask_tokenize__(self) -> tuple[str, str]:
        return ("laion_dask.ScanPartition", self.digest)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ScanPartition) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)


def shards_of(partitions: Iterable[ScanPartition]) -> Iterator[Shard]:
    """The shards that partitions read, in order, each once."""
    seen: dict[int, Shard] = {}
    for partition in partitions:
        for piece in partition.pieces:
            if id(piece.shard) not in seen:
                seen[id(piece.shard)] = piece.shard  # keeps the id in use
                yield piece.shard


@dataclass(frozen=True)
class Read:
    """The result of reading.

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


def joined(results: Sequence[Read]) -> Read:
    """The results of reading one after another; at least one."""
    if len(results) == 1:
        return results[0]
    return Read(
        pa.concat_tables([result.table for result in results]),
        sum(result.unscored for result in results),
        sum(result.rejected for result in results),
    )
