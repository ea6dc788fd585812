"""A scan by row groups: decoded as a frame, wherever it lives, and masked there.

How cuDF reads. Row groups that can hold no row that passes are left out by their statistics; those
that are left are decoded some at a time, so that no string column grows beyond what a column of
cuDF holds, and fewer where the card's memory does not suffice; the filter is then an exact mask.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from dask.dataframe import methods

from laion_dask.backend import frame_from_arrow, frame_to_arrow
from laion_dask.cuda_errors import is_context_corrupted, is_out_of_memory
from laion_dask.io.parquet import utf8
from laion_dask.io.parquet.common_types import family
from laion_dask.io.parquet.exact_cast import cast_exactly
from laion_dask.io.parquet.footer import check_unchanged, chunks_of, groups_between, groups_of
from laion_dask.io.parquet.page_checksums import verify
from laion_dask.io.parquet.scan_spec import ScanSpec
from laion_dask.io.parquet.shard import Piece, Shard
from laion_dask.numerics.gpu.memory import run_with_oom_backoff
from laion_dask.predicate import certain_and_possible
from laion_dask.predicate.prune import Range, may_pass

#: Bytes of row groups, unpacked, that are decoded at a time: a string column of cuDF with offsets
#: of 32 bits ends at 2**31, and a dictionary may stand for several times its bytes.
_AT_ONCE = 1 << 29
_REMEDY = (
    "Read fewer columns, end what else uses the card, or write the shard with smaller row groups."
)
_PLAIN = {"boolean", "integer", "float", "string"}


class NotText(Exception):
    """A column of strings holds bytes that are not UTF-8."""


class NotDecoded(Exception):
    """The decoder does not read the file; the processor may, or says why not."""


class Decoder(Protocol):
    """What turns row groups into a frame."""

    backend: str

    def read(self, path: str, columns: Sequence[str], groups: Sequence[int]):
        """The columns of some row groups of a file, as a frame."""

    def text(self, series) -> tuple:
        """A column of strings as tensors, as `utf8.is_valid` takes it."""


@dataclass(frozen=True)
class _Group:
    """A row group of a piece: its number in the file, and the rows of the file that it holds."""

    number: int
    start: int
    stop: int
    metadata: pq.RowGroupMetaData


def can_read(piece: Piece, names: Sequence[str], scan: ScanSpec) -> bool:
    """Whether it is a local file, and every column that is needed of a plain type and name."""
    if "://" in piece.shard.path:  # a store is read by its ranges, which libcudf does not do
        return False
    for old, new, stored in piece.shard.columns:
        if new in names or (scan.where and new in scan.where.columns):
            # Of a dictionary cuDF knows nothing, nor of half precision; a point is a path to it.
            half = pa.types.is_float16(stored)
            plain = family(stored) in _PLAIN and not isinstance(stored, pa.BaseExtensionType)
            if half or not plain or "." in old:
                return False
    return True


def read(piece: Piece, names: Sequence[str], scan: ScanSpec, decoder: Decoder, *, counted: bool):
    """The rows of a piece that pass, as a frame, and how many the filter cannot decide on.

    Parameters
    ----------
    piece : Piece
    names : sequence of str
        The columns, in the order wanted.
    scan : ScanSpec
    decoder : Decoder
    counted : bool
        Whether undecided rows are counted, for which every row group has to be read; else 0.

    Raises
    ------
    ShardError
        When the file is another than when it was opened, or damaged.
    NotText
        When a string that is read is not UTF-8.
    NotDecoded
        When the decoder does not read the file.
    DeviceMemoryError
        When a single row group does not fit into memory.
    """
    groups = _groups(piece)
    if scan.where is not None and not counted:
        groups = [g for g in groups if may_pass(scan.where, _ranges(g, piece))]
    wanted = dict.fromkeys([*names, *(scan.where.columns if scan.where else ())])
    done: dict[int, tuple] = {}

    def some(start: int, stop: int) -> None:
        frame = _decoded(piece, list(wanted), groups[start:stop], scan, decoder)
        done[start] = _masked(frame, names, scan)

    run_with_oom_backoff(
        some, len(groups), _at_once(groups), least=1, what="row groups", remedy=_REMEDY
    )
    if not done:
        empty = pa.schema([(n, dict(scan.types)[n]) for n in names]).empty_table()
        return frame_from_arrow(empty, decoder.backend), 0
    unscored = sum(count for _, count in done.values())
    frames = [done.pop(start)[0] for start in sorted(done)]
    frame = frames[0] if len(frames) == 1 else methods.concat(frames).reset_index(drop=True)
    return frame, unscored


def _groups(piece: Piece) -> list[_Group]:
    """The row groups of a piece that have rows."""
    path = piece.shard.path
    metadata = groups_of(path, check_unchanged(path, piece.shard.footer_sha256))
    return [
        _Group(number, first, first + group.num_rows, group)
        for number, first, group in groups_between(metadata, piece.start, piece.stop)
    ]


def _at_once(groups: Sequence[_Group]) -> int:
    """How many row groups are decoded at a time."""
    largest = max((g.metadata.total_byte_size for g in groups), default=1)
    return max(1, _AT_ONCE // max(1, largest))


def known_values(shard: Shard) -> dict[str, Range]:
    """What the names of a shard's folders say of the frame's columns."""
    return {
        name: Range(only_null=True) if value is None else Range(value, value)
        for _, name, value in shard.partition
    }


def _ranges(group: _Group, piece: Piece) -> dict[str, Range]:
    """What the statistics of a row group say of the frame's columns."""
    stored = {old: new for old, new, _ in piece.shard.columns}
    found = {"row": Range(group.start, group.stop - 1)}
    found["shard"] = Range(piece.shard.index, piece.shard.index)
    found |= known_values(piece.shard)
    for i in range(group.metadata.num_columns):
        chunk = group.metadata.column(i)
        if chunk.path_in_schema in stored and chunk.is_stats_set:
            found[stored[chunk.path_in_schema]] = _range(chunk.statistics, group)
    return found


def _range(statistics: pq.Statistics, group: _Group) -> Range:
    if statistics.has_null_count and statistics.null_count == group.metadata.num_rows:
        return Range(only_null=True)
    try:
        low, high = (statistics.min, statistics.max) if statistics.has_min_max else (None, None)
    except (pa.ArrowException, UnicodeDecodeError):
        return Range()
    numbers = isinstance(low, (bool, int, float)) and not (math.isnan(low) or math.isnan(high))
    return Range(low, high) if numbers or isinstance(low, str) else Range()


def _decoded(
    piece: Piece, wanted: list[str], groups: list[_Group], scan: ScanSpec, decoder: Decoder
):
    """Some row groups as a frame of the columns wanted, each in its common type."""
    stored = {new: (old, type_) for old, new, type_ in piece.shard.columns}
    types = dict(scan.types)
    names = [n for n in wanted if n in stored]
    rows = np.concatenate([np.arange(g.start, g.stop) for g in groups])
    made = {"row": pa.array(rows, pa.int64())}
    made["shard"] = pa.repeat(pa.scalar(piece.shard.index, pa.int32()), len(rows))
    for name in wanted:
        if name not in stored and name not in made:
            value = piece.shard.value_of(name)
            made[name] = pa.repeat(pa.scalar(value, types[name]), len(rows))
    made = pa.table({n: made[n] for n in made if n in wanted or n == "row"})
    frame = frame_from_arrow(made, decoder.backend)
    if not names:
        return frame[wanted]
    old = [stored[n][0] for n in names]
    numbers = {g.number for g in groups}
    footer = check_unchanged(piece.shard.path, piece.shard.footer_sha256)
    verify(piece.shard.path, [c for c in chunks_of(piece, footer, old) if c.group in numbers])
    try:
        read = decoder.read(piece.shard.path, old, [g.number for g in groups])[old]
    except Exception as error:
        if is_out_of_memory(error) or is_context_corrupted(error):
            raise
        raise NotDecoded(str(error)) from error
    read.columns = names
    for name in names:
        if family(stored[name][1]) == "string" and not utf8.is_valid(*decoder.text(read[name])):
            raise NotText
    other = [n for n in names if stored[n][1] != types[n] and family(stored[n][1]) != "string"]
    if other:  # few columns of few shards; exactly as on the other path, errors included
        raw = frame_to_arrow(read[other])
        cast = {
            n: cast_exactly(raw[n], types[n], name=n, path=piece.shard.path, rows=made["row"])
            for n in other
        }
        made = frame_from_arrow(pa.table(cast), decoder.backend)
        read = read.assign(**{n: made[n] for n in other})
    return methods.concat([frame, read], axis=1)[wanted]


def _masked(frame, names: Sequence[str], scan: ScanSpec) -> tuple:
    """The rows that pass, in the columns wanted, and how many are undecided."""
    if scan.where is None:
        return frame[list(names)], 0
    certain, possible = certain_and_possible(scan.where, frame)
    unscored = int((possible & ~certain).sum())
    return frame[list(names)][certain].reset_index(drop=True), unscored
