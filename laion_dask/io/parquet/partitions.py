"""Divide shards into partitions: large ones are split by row groups, small ones are combined."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from laion_dask.io.parquet.shard import Piece, ScanPartition, Shard

#: As long as they have `_WORTH_A_TASK` rows, there are at least so many partitions, so that a data
#: set of medium size uses all cores, and a task takes little memory.
_MIN_PARTITIONS = 128
_WORTH_A_TASK = 10_000
#: Bytes of files per partition of combined shards: a million LAION rows, or 2,000 images.
_MAX_BYTES = 1 << 28
#: Shards per partition, which limits the size of a task.
_MAX_SHARDS = 4096


def partitions_of(
    shards: Sequence[Shard], row_groups: Sequence[Sequence[int]], max_rows: int
) -> list[ScanPartition]:
    """The partitions of a frame, in order of shard and row.

    They depend only on the files and on ``max_rows``, not on the machine.

    Parameters
    ----------
    shards : sequence of Shard
    row_groups : sequence of sequence of int
        The number of rows in each row group of each shard.
    max_rows : int
        Rows per partition, unless a single row group has more.
    """
    fair_share = sum(shard.n_rows for shard in shards) // _MIN_PARTITIONS
    target = min(max_rows, max(_WORTH_A_TASK, fair_share))
    pieces = (
        piece
        for shard, groups in zip(shards, row_groups, strict=True)
        for piece in _split(shard, groups, max_rows)
    )
    return list(_combine(pieces, target))


def _split(shard: Shard, row_groups: Sequence[int], max_rows: int) -> list[Piece]:
    """Split a shard into pieces of at most ``max_rows`` rows, or of one larger row group."""
    if shard.n_rows <= max_rows:
        return [Piece(shard, 0, shard.n_rows)]
    pieces, start, stop = [], 0, 0
    for n in row_groups:
        if stop > start and stop + n - start > max_rows:
            pieces.append(Piece(shard, start, stop))
            start = stop
        stop += n
    return [*pieces, Piece(shard, start, stop)]


def _combine(pieces: Iterator[Piece], target: int) -> Iterator[ScanPartition]:
    """Combine consecutive whole shards, up to ``target`` rows."""
    together: list[Piece] = []
    rows = size = 0
    for piece in pieces:
        rows, size = rows + piece.n_rows, size + piece.shard.size
        fits = rows <= target and size <= _MAX_BYTES and len(together) < _MAX_SHARDS
        if together and not (fits and piece.is_whole and together[0].is_whole):
            yield ScanPartition(tuple(together))
            together, rows, size = [], piece.n_rows, piece.shard.size
        together.append(piece)
    if together:
        yield ScanPartition(tuple(together))
