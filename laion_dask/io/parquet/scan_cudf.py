"""Scan row groups with cuDF: decode them on the GPU as a frame, then apply the filter as a mask.

Row groups whose statistics exclude every row are skipped. The others are decoded in batches, so
that no string column exceeds cuDF's limit; batches are smaller if GPU memory is scarce. The mask is
exact.
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

#: Uncompressed bytes of row groups per batch: a cuDF string column with 32-bit offsets is limited
#: to 2**31 bytes, and a dictionary may expand to several times its size.
_BATCH_BYTES = 1 << 29
_REMEDY = "Read fewer columns, stop other GPU programs, or write the shard with smaller row groups."
_PLAIN = {"boolean", "integer", "float", "string"}


class NotText(Exception):
    """A string column holds bytes that are not UTF-8."""


class NotDecoded(Exception):
    """The decoder cannot read the file; the CPU reads it or raises the appropriate error."""


class Decoder(Protocol):
    """Decodes row groups as a frame."""

    backend: str

    def read(self, path: str, columns: Sequence[str], groups: Sequence[int]):
        """Decode the given columns of some row groups of a file."""

    def text(self, series) -> tuple:
        """A string column as the tensors that `utf8.is_valid` expects."""


@dataclass(frozen=True)
class _Group:
    """A row group of a piece, with its number and its range of rows in the file."""

    number: int
    start: int
    stop: int
    metadata: pq.RowGroupMetaData


def can_read(piece: Piece, names: Sequence[str], scan: ScanSpec) -> bool:
    """Whether cuDF can read a piece: a local file, with supported types and names where needed."""
    if "://" in piece.shard.path:  # libcudf does not read byte ranges from stores
        return False
    for old, new, stored in piece.shard.columns:
        if new in names or (scan.where and new in scan.where.columns):
            # cuDF supports neither dictionaries nor float16, and treats a dot as a nested path.
            half = pa.types.is_float16(stored)
            plain = family(stored) in _PLAIN and not isinstance(stored, pa.BaseExtensionType)
            if half or not plain or "." in old:
                return False
    return True


def read(piece: Piece, names: Sequence[str], scan: ScanSpec, decoder: Decoder, *, counted: bool):
    """The rows of a piece that pass the filter, as a frame, and the number of undecided rows.

    Parameters
    ----------
    piece : Piece
    names : sequence of str
        The columns, in the requested order.
    scan : ScanSpec
    decoder : Decoder
    counted : bool
        Whether to count undecided rows, which requires reading every row group; otherwise 0.

    Raises
    ------
    ShardError
        When the file has changed since it was opened, or is damaged.
    NotText
        When a string is not valid UTF-8.
    NotDecoded
        When the decoder cannot read the file.
    DeviceMemoryError
        When a single row group does not fit in GPU memory.
    """
    groups = _groups(piece)
    if scan.where is not None and not counted:
        groups = [g for g in groups if may_pass(scan.where, _ranges(g, piece))]
    needed = dict.fromkeys([*names, *(scan.where.columns if scan.where else ())])
    batches: dict[int, tuple] = {}

    def read_batch(start: int, stop: int) -> None:
        frame = _decode(piece, list(needed), groups[start:stop], scan, decoder)
        batches[start] = _masked(frame, names, scan)

    run_with_oom_backoff(
        read_batch, len(groups), _batch_size(groups), min_size=1, noun="row groups", remedy=_REMEDY
    )
    if not batches:
        empty = pa.schema([(n, dict(scan.types)[n]) for n in names]).empty_table()
        return frame_from_arrow(empty, decoder.backend), 0
    unscored = sum(count for _, count in batches.values())
    frames = [batches.pop(start)[0] for start in sorted(batches)]
    frame = frames[0] if len(frames) == 1 else methods.concat(frames).reset_index(drop=True)
    return frame, unscored


def _groups(piece: Piece) -> list[_Group]:
    """The nonempty row groups of a piece."""
    path = piece.shard.path
    metadata = groups_of(path, check_unchanged(path, piece.shard.footer_sha256))
    return [
        _Group(number, first, first + group.num_rows, group)
        for number, first, group in groups_between(metadata, piece.start, piece.stop)
    ]


def _batch_size(groups: Sequence[_Group]) -> int:
    """The number of row groups to decode per batch."""
    largest = max((g.metadata.total_byte_size for g in groups), default=1)
    return max(1, _BATCH_BYTES // max(1, largest))


def known_values(shard: Shard) -> dict[str, Range]:
    """The ranges of columns implied by the folder names of a shard."""
    return {
        name: Range(only_null=True) if value is None else Range(value, value)
        for _, name, value in shard.partition
    }


def _ranges(group: _Group, piece: Piece) -> dict[str, Range]:
    """The ranges of columns implied by the statistics of a row group."""
    stored = {old: new for old, new, _ in piece.shard.columns}
    ranges = {"row": Range(group.start, group.stop - 1)}
    ranges["shard"] = Range(piece.shard.index, piece.shard.index)
    ranges |= known_values(piece.shard)
    for i in range(group.metadata.num_columns):
        chunk = group.metadata.column(i)
        if chunk.path_in_schema in stored and chunk.is_stats_set:
            ranges[stored[chunk.path_in_schema]] = _range(chunk.statistics, group)
    return ranges


def _range(statistics: pq.Statistics, group: _Group) -> Range:
    if statistics.has_null_count and statistics.null_count == group.metadata.num_rows:
        return Range(only_null=True)
    try:
        low, high = (statistics.min, statistics.max) if statistics.has_min_max else (None, None)
    except (pa.ArrowException, UnicodeDecodeError):
        return Range()
    if isinstance(low, str):
        return Range(low, high)
    numbers = all(isinstance(x, (bool, int, float)) and not math.isnan(x) for x in (low, high))
    return Range(low, high) if numbers else Range()


def _decode(
    piece: Piece, needed: list[str], groups: list[_Group], scan: ScanSpec, decoder: Decoder
):
    """Decode row groups as a frame of the required columns, converted to their common types."""
    stored = {new: (old, type_) for old, new, type_ in piece.shard.columns}
    constants = _constants(piece, [n for n in needed if n not in stored], groups, scan)
    frame = frame_from_arrow(constants, decoder.backend)
    names = [n for n in needed if n in stored]
    if not names:
        return frame[needed]
    decoded = _verified(piece, [stored[n][0] for n in names], groups, decoder)
    decoded.columns = names
    for name in names:
        is_text = family(stored[name][1]) == "string"
        if is_text and not utf8.is_valid(*decoder.text(decoded[name])):
            raise NotText
    types = dict(scan.types)
    other = [n for n in names if stored[n][1] != types[n] and family(stored[n][1]) != "string"]
    if other:  # rare; cast on the CPU, with the same errors
        raw, rows = frame_to_arrow(decoded[other]), constants["row"]
        cast = {
            n: cast_exactly(raw[n], types[n], name=n, path=piece.shard.path, rows=rows)
            for n in other
        }
        converted = frame_from_arrow(pa.table(cast), decoder.backend)
        decoded = decoded.assign(**{n: converted[n] for n in other})
    return methods.concat([frame, decoded], axis=1)[needed]


def _constants(piece: Piece, names: list[str], groups: list[_Group], scan: ScanSpec) -> pa.Table:
    """The row numbers, and the requested columns that the file does not store."""
    types = dict(scan.types)
    rows = np.concatenate([np.arange(g.start, g.stop) for g in groups])
    columns = {"row": pa.array(rows, pa.int64())}
    for name in names:
        if name == "shard":
            columns[name] = pa.repeat(pa.scalar(piece.shard.index, pa.int32()), len(rows))
        elif name != "row":
            columns[name] = pa.repeat(pa.scalar(piece.shard.value_of(name), types[name]), len(rows))
    return pa.table(columns)


def _verified(piece: Piece, names: list[str], groups: list[_Group], decoder: Decoder):
    """Decode columns, named as in the file, after verifying their page checksums."""
    numbers = [g.number for g in groups]
    footer = check_unchanged(piece.shard.path, piece.shard.footer_sha256)
    verify(piece.shard.path, [c for c in chunks_of(piece, footer, names) if c.group in numbers])
    try:
        return decoder.read(piece.shard.path, names, numbers)[names]
    except Exception as error:
        if is_out_of_memory(error) or is_context_corrupted(error):
            raise
        raise NotDecoded(str(error)) from error


def _masked(frame, names: Sequence[str], scan: ScanSpec) -> tuple:
    """The requested columns of the rows that pass, and the number of undecided rows."""
    if scan.where is None:
        return frame[list(names)], 0
    certain, possible = certain_and_possible(scan.where, frame)
    unscored = int((possible & ~certain).sum())
    return frame[list(names)][certain].reset_index(drop=True), unscored
