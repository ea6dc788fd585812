"""Decide about rows group by group: rows of equal keys meet in a bucket on disk. Lazy.

Each partition writes a small row for each of its rows to a file, sorted by bucket. Each bucket is
then read from all files and decided, and the results are written to a `RowTable`. A task holds one
partition or one bucket.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import dask.dataframe as dd
import numpy as np
import pyarrow as pa
from dask.delayed import Delayed

from laion_dask.curation.row_table import KEY
from laion_dask.curation.row_writer import RowWriter, Written
from laion_dask.errors import ProvenanceError
from laion_dask.frame.provenance import Provenance
from laion_dask.io.parquet.read_shards import MAX_ROWS_PER_PARTITION
from laion_dask.io.storage import spill
from laion_dask.io.storage.spill import SpilledFiles, SpillFolder
from laion_dask.runtime import graph
from laion_dask.runtime.disk_shuffle import spill_folder

#: The column that decides about the bucket of a row, uint64; its high bits are used.
HASH = "hash"
#: Rows of a bucket, on average.
_BUCKET_ROWS = 1 << 20
#: Each partition writes a batch for every bucket, so there are not arbitrarily many.
_MAX_BUCKETS = 1 << 14


def bucket_count(provenance: Provenance) -> int:
    """The number of buckets, so that each has about a million rows. Reads footers only."""
    try:
        n_rows = sum(partition.n_rows for partition in provenance.partitions)
    except ProvenanceError:  # not read from shards
        n_rows = provenance.frame.npartitions * MAX_ROWS_PER_PARTITION
    return min(1 + n_rows // _BUCKET_ROWS, _MAX_BUCKETS)


def decide_in_buckets(
    frame: dd.DataFrame,
    rows_of: Callable,
    decide: Callable,
    writer: RowWriter,
    n_buckets: int,
    *args: object,
) -> Delayed:
    """The table of decisions about a frame's rows, as a delayed `RowTable`. Lazy.

    Parameters
    ----------
    frame : dask DataFrame
        Only the columns that ``rows_of`` reads.
    rows_of : callable
        ``rows_of(part, *args)``, an Arrow table with the columns `HASH` and `KEY`, and any others;
        rows of one group have the same hash.
    decide : callable
        ``decide(table, *args)`` takes all rows of a bucket, and returns an Arrow table with the
        column `KEY` and those of the writer's schema.
    writer : RowWriter
    n_buckets : int
    *args
        Picklable; pass large ones through `graph.share`.
    """
    written = spilled(frame, rows_of, n_buckets, *args)
    decided = graph.tasks(_decide, list(range(n_buckets)), written, decide, writer, *args)
    return writer.lazily(decided, n_buckets)


def spilled(frame: dd.DataFrame, rows_of: Callable, n_buckets: int, *args: object) -> Delayed:
    """The files of a frame's rows, sorted by bucket, as delayed `SpilledFiles`. Lazy."""
    folder = spill_folder()
    # A kernel of its own in the name of each task: no partition is shared with other steps of a
    # computation, which would keep all of them in memory until the last bucket is decided.
    numbers = graph.map_to_values(frame, _write, rows_of, n_buckets, folder, *args)
    return graph.gathered(graph.parts(numbers), _files, folder)


def _write(
    part, rows_of: Callable, n_buckets: int, folder: SpillFolder, *args, partition_info=None
) -> int:
    table = rows_of(part, *args)
    number = (partition_info or {}).get("number", 0)
    return spill.write_table(table, buckets_of(table, n_buckets), n_buckets, number, folder)


def buckets_of(table: pa.Table, n_buckets: int) -> np.ndarray:
    """The bucket of each row, (n,) int64, from the high 32 bits of its hash."""
    high = table[HASH].to_numpy() >> np.uint64(32)
    return ((high * np.uint64(n_buckets)) >> np.uint64(32)).astype(np.int64)


def _files(numbers: Sequence[int], folder: SpillFolder) -> SpilledFiles:
    return SpilledFiles(folder, list(numbers))


def _decide(
    bucket: int, _number: int, files: SpilledFiles, decide: Callable, writer: RowWriter, *args
) -> Written:
    decided = decide(read_bucket(files, bucket), *args)
    return writer.write(bucket, decided[KEY].to_numpy(), decided)


def read_bucket(files: SpilledFiles, bucket: int) -> pa.Table:
    """All rows of a bucket, in the order of partitions and of rows."""
    batches = [spill.read_batch(files.folder, number, bucket) for number in files.numbers]
    return pa.Table.from_batches(batches).combine_chunks()
