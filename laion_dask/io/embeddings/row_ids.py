"""The shards of a partition's rows, and the rows' positions in their shards."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from laion_dask.backend import to_numpy
from laion_dask.errors import ProvenanceError
from laion_dask.runtime import cancellation

#: Rows that are read and scored at a time: 24 MiB of float32 at 768 dimensions.
BLOCK = 8192


def runs(part) -> Iterator[tuple[int, np.ndarray | range]]:
    """A partition's rows by shard: (shard, sorted unique rows), never empty.

    Parameters
    ----------
    part : frame with ``shard`` and ``row``, or tuple of (shard, start, stop)

    Raises
    ------
    ProvenanceError
        When a row occurs twice, or has no shard or row number.
    """
    if isinstance(part, tuple):
        for shard, start, stop in part:
            if stop > start:
                yield shard, range(start, stop)
        return
    shards, rows = shards_and_rows(part)
    for shard, positions in _by_shard(shards):
        distinct = np.unique(rows[positions])
        if len(distinct) < len(positions):
            raise duplicate_rows_error()
        yield shard, distinct


def _by_shard(shards: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """The positions of each shard's rows, in ascending order."""
    order = np.argsort(shards, kind="stable")  # linear if they are sorted, as a scan reads them
    ordered = shards[order]
    for positions in np.split(order, np.flatnonzero(np.diff(ordered)) + 1):
        if len(positions):
            yield int(shards[positions[0]]), positions


def shards_and_rows(part) -> tuple[np.ndarray, np.ndarray]:
    """The shard and the row number of every row of a partition, int64.

    Raises
    ------
    ProvenanceError
        When a shard or a row number is missing.
    """
    return _int64_column(part, "shard"), _int64_column(part, "row")


def _int64_column(part, name: str) -> np.ndarray:
    """The shards or row numbers of a partition; a merge may have turned them into floats."""
    missing = int(part[name].isna().sum())
    if missing:
        raise ProvenanceError(
            f"{missing:,} rows of a partition have no {name!r}: an outer merge or a concat has "
            "added rows that are in no shard. Merge with merge(..., how='left') or 'inner', or "
            "drop them with frame.dropna(subset=['shard', 'row'])."
        )
    values = to_numpy(part[name])
    return values.astype(np.int64, copy=False)


def blocks(part, size: int | None = None) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """A partition's rows by shard and block: (shard, rows in it, positions in the partition)."""
    size = size or BLOCK
    shards, rows = shards_and_rows(part)
    for shard, shard_positions in _by_shard(shards):
        for at in range(0, len(shard_positions), size):
            cancellation.check()
            positions = shard_positions[at : at + size]
            yield shard, rows[positions], positions


def duplicate_rows_error() -> ProvenanceError:
    """The error for a row that a frame has more than once."""
    return ProvenanceError(
        "The frame has the same row several times: a merge or a concat has duplicated rows, so "
        "the nearest rows cannot be counted. Search first, and merge the result."
    )
