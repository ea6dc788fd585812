"""Estimate the in-memory size of both sides of a join from Parquet footers."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from math import ceil

import pyarrow as pa

from laion_dask.backend import frame_to_arrow
from laion_dask.errors import ProvenanceError
from laion_dask.frame.provenance import Provenance
from laion_dask.io.parquet.column_sizes import column_sizes
from laion_dask.io.parquet.read_shards import MAX_ROWS_PER_PARTITION
from laion_dask.io.parquet.shard import Shard, shards_of

#: Approximate bytes per bucket: requested keys, rows of the table, and answers.
_BUCKET_BYTES = 64 * 2**20
#: Number of files whose footers are read to estimate the length of text.
_SAMPLED_FILES = 16


def bucket_count(requester: Provenance, scores: Provenance, on: Sequence[str]) -> int:
    """The number of buckets, chosen so that each holds about ``_BUCKET_BYTES``."""
    n_requests, key_width = size(requester.select(on))
    n_rows, row_width = size(scores)
    n_bytes = n_rows * row_width + n_requests * (key_width + row_width)
    return max(1, ceil(n_bytes / _BUCKET_BYTES))


def size(provenance: Provenance) -> tuple[int, float]:
    """Estimate the rows of a frame, and the bytes per row in memory, from footers."""
    frame = provenance.frame
    try:
        partitions = provenance.partitions
    except ProvenanceError:  # not read from shards
        return frame.npartitions * MAX_ROWS_PER_PARTITION, 64.0 * len(frame.columns)
    shards = list(shards_of(partitions))
    sampled = shards[:: max(1, len(shards) // _SAMPLED_FILES)]
    width = 0.0
    for name in frame.columns:
        type_ = frame_to_arrow(frame._meta[[name]].reset_index(drop=True)).schema.field(0).type
        width += 8 if _is_number(type_) else _stored_width(name, sampled)
    return sum(partition.n_rows for partition in partitions), width


def _is_number(type_: pa.DataType) -> bool:
    return pa.types.is_primitive(type_)


def _stored_width(name: str, shards: Sequence[Shard]) -> float:
    """Uncompressed bytes per row of a column; an estimate if the column was computed."""
    plain = rows = 0
    for shard, sizes in zip(shards, column_sizes([s.path for s in shards]), strict=True):
        stored = next((old for old, new, _ in shard.columns if new == name), None)
        if stored in sizes:
            plain, rows = plain + sizes[stored].plain, rows + shard.n_rows
    return 8 + (plain / rows if rows else 64)


def stored_bytes(shards: Sequence[Shard], names: Collection[str]) -> int:
    """Stored bytes of columns in shards, by the frame's column names."""
    total = 0
    for shard, sizes in zip(shards, column_sizes([s.path for s in shards]), strict=True):
        stored = (old for old, new, _ in shard.columns if new in names)
        total += sum(sizes[name].stored for name in stored if name in sizes)
    return total
