"""Decide about rows group by group: rows of equal keys meet in a bucket on disk. Lazy.

Each partition writes a small record of each of its rows to a file, sorted by bucket. Each bucket is
then read from all files and decided, and the results are written to a `RowTable`. A task holds one
partition or one bucket.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dask.dataframe as dd
import numpy as np
from dask.delayed import Delayed

from laion_dask.curation.row_writer import RowWriter, Written
from laion_dask.errors import ProvenanceError
from laion_dask.frame.provenance import Provenance
from laion_dask.io.parquet.read_shards import MAX_ROWS_PER_PARTITION
from laion_dask.io.storage import spill
from laion_dask.io.storage.spill import SpilledFiles, SpillFolder
from laion_dask.runtime import graph
from laion_dask.runtime.disk_shuffle import spill_folder

#: The field of records that decides about the bucket of a row, uint64; its high bits are used.
HASH = "hash"
#: Rows of a bucket, on average, at first; a bucket then fits into the cache of a processor.
_SMALL_BUCKET = 1 << 18
#: Rows of a bucket, on average, of a large data set.
_LARGE_BUCKET = 1 << 21
#: The number of buckets from which they grow, because each partition writes to each of them.
_MANY_BUCKETS = 512

#: Takes all records of a bucket; returns keys of rows, (n,) int64, and their values.
Decide = Callable[..., tuple[np.ndarray, Mapping[str, Any]]]


@dataclass(frozen=True)
class Spilled:
    """The records of a frame's rows, in files sorted by bucket.

    Attributes
    ----------
    files : SpilledFiles
    dtype : structured dtype
    n_buckets : int
    n_rows : int
        Rows of the frame, with or without a record.
    """

    files: SpilledFiles
    dtype: np.dtype
    n_buckets: int
    n_rows: int

    def bucket(self, number: int) -> np.ndarray:
        """All records of a bucket, in the order of partitions and of rows."""
        return spill.read_records(self.files, number, self.n_buckets, self.dtype)


def bucket_count(provenance: Provenance) -> int:
    """The number of buckets for the rows of a frame. Reads footers only."""
    try:
        n_rows = sum(partition.n_rows for partition in provenance.partitions)
    except ProvenanceError:  # not read from shards
        n_rows = provenance.frame.npartitions * MAX_ROWS_PER_PARTITION
    return 1 + max(min(n_rows // _SMALL_BUCKET, _MANY_BUCKETS), n_rows // _LARGE_BUCKET)


def decide_in_buckets(
    frame: dd.DataFrame,
    records_of: Callable[..., np.ndarray],
    decide: Decide,
    writer: RowWriter,
    dtype: np.dtype,
    n_buckets: int,
    *args: object,
) -> Delayed:
    """The table of decisions about a frame's rows, as a delayed `RowTable`. Lazy.

    Parameters
    ----------
    frame : dask DataFrame
        Only the columns that ``records_of`` reads.
    records_of : callable
        ``records_of(part, *args)``, a structured array with the fields `HASH` (uint64) and `KEY`
        (int64, see `laion_dask.curation.row_table.row_keys`), and any others. Rows of one group
        have the same hash. Rows without a record are not in the table.
    decide : callable
        ``decide(records, *args)`` takes all records of a bucket; it returns keys of rows, and their
        values: the columns of the writer's schema.
    writer : RowWriter
    dtype : structured dtype
        That of the records.
    n_buckets : int
    *args
        Picklable; pass large ones through `graph.share`.
    """
    files = spilled(frame, records_of, dtype, n_buckets, *args)
    buckets = list(range(n_buckets))
    decided = graph.tasks(_decide, buckets, files, decide, writer, *args)
    return writer.lazily(decided, n_buckets)


def spilled(
    frame: dd.DataFrame, records_of: Callable, dtype: np.dtype, n_buckets: int, *args: object
) -> Delayed:
    """The records of a frame's rows on disk, as delayed `Spilled`. Lazy."""
    folder = spill_folder()
    # A kernel of its own in the name of each task: no partition is shared with other steps of a
    # computation, which would keep all of them in memory until the last bucket is decided.
    numbers = graph.map_to_values(frame, _write, records_of, dtype, n_buckets, folder, *args)
    return graph.gathered(graph.parts(numbers), _files, folder, dtype, n_buckets)


def _write(
    part,
    records_of: Callable[..., np.ndarray],
    dtype: np.dtype,
    n_buckets: int,
    folder: SpillFolder,
    *args: object,
    partition_info: dict | None = None,
) -> tuple[int, int]:
    records = records_of(part, *args)
    assert records.dtype == dtype
    number: int = (partition_info or {}).get("number", 0)
    buckets = buckets_of(records[HASH], n_buckets)
    return spill.write_records(records, buckets, n_buckets, number, folder), len(part)


def buckets_of(hashes: np.ndarray, n_buckets: int) -> np.ndarray:
    """The bucket of each row, (n,) int64, from the high 32 bits of its hash."""
    high = hashes >> np.uint64(32)
    buckets: np.ndarray = ((high * np.uint64(n_buckets)) >> np.uint64(32)).astype(np.int64)
    return buckets


def _files(
    written: Sequence[tuple[int, int]], folder: SpillFolder, dtype: np.dtype, n_buckets: int
) -> Spilled:
    files = SpilledFiles(folder, sorted(number for number, _ in written))
    return Spilled(files, dtype, n_buckets, sum(n for _, n in written))


def _decide(
    bucket: int, _number: int, spilled: Spilled, decide: Decide, writer: RowWriter, *args: object
) -> Written:
    keys, values = decide(spilled.bucket(bucket), *args)
    return writer.write(bucket, keys, values)
