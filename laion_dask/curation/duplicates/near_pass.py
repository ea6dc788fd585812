"""Find near duplicates: rows that share a band meet in a bucket on disk, and each pair is compared.

Five passes, each through files sorted by bucket; a task holds one partition or one bucket:

1. Each partition writes what its rows are compared by, a list of numbers a row, by the list's hash.
2. Rows of equal lists meet. The first of them stands for all, the others are dropped. It is written
   by its key, and a small record for each of its bands by the band.
3. Rows of an equal band meet, and are written as pairs, by the earlier row.
4. The list of the earlier row joins each pair, which is written by the later row.
5. The list of the later row joins it, and the pair is compared.

For connected components, the near pairs are united, and 4 and 5 run once more, on pairs of the
first row of a component and each other one; see `near_components`.
"""

from __future__ import annotations

from collections.abc import Sequence

import dask.dataframe as dd
import numpy as np
import pyarrow as pa
from dask.delayed import Delayed

from laion_dask.backend import Frame
from laion_dask.curation.bucket_pass import HASH, bucket_count, buckets_of
from laion_dask.curation.duplicates.exact import KEEP, LOW, ORDER, Rule
from laion_dask.curation.duplicates.near_bands import Measure, band_dtype, band_records, pairs_of
from laion_dask.curation.duplicates.near_components import write_components, write_edges
from laion_dask.curation.duplicates.near_join import (
    ITEMS,
    STORED,
    Stage,
    by_key,
    compare,
    key_buckets,
    read,
    write_joined,
    write_pairs,
)
from laion_dask.curation.duplicates.near_lists import TYPE, Lists
from laion_dask.curation.row_table import KEY, row_keys, shards_per_block
from laion_dask.curation.row_writer import RowWriter, Written
from laion_dask.frame.provenance import Provenance
from laion_dask.io.storage import spill
from laion_dask.io.storage.spill import SpilledFiles, SpillFolder
from laion_dask.runtime import graph
from laion_dask.runtime.disk_shuffle import spill_folder
from laion_dask.schema import PROVENANCE

#: Columns of the table of results: the earlier row that a row duplicates, and how near it is.
REPRESENTATIVE, SIMILARITY = "representative", "similarity"
SCHEMA = pa.schema({KEEP: pa.bool_(), REPRESENTATIVE: pa.int64(), SIMILARITY: pa.float64()})

#: Buckets of bands for each bucket of rows, which has several records a row.
_BANDS = 8
_LISTED = pa.schema(
    {KEY: pa.int64(), ORDER: pa.uint64(), HASH: pa.uint64(), LOW: pa.uint64(), ITEMS: TYPE}
)
_NO_LISTS = Lists(np.zeros(1, np.int64), np.empty(0, np.uint64))


def near_table(frame: dd.DataFrame, measure: Measure, rule: Rule, components: bool) -> Delayed:
    """Which rows are kept, as a delayed `RowTable` with `SCHEMA`. Lazy.

    A row is dropped if it is near some earlier row, even one that is dropped itself: "earlier" by
    the rule's order, then by shard and row. With ``components``, all but the first row of each
    connected component of near rows are dropped. Rows that lack what is compared are not in the
    table.
    """
    provenance = Provenance.of(frame)
    writer = RowWriter.create(SCHEMA, shards_per_block(provenance))
    n = bucket_count(provenance)
    stage = Stage(measure, rule, components, n, n * _BANDS, writer)
    ranked = [rule.ranking.column] if rule.ranking else []
    reads = list(dict.fromkeys([*measure.reads, *ranked, *PROVENANCE]))
    listed, stored, bands, pairs = (spill_folder() for _ in range(4))
    numbers = graph.map_to_values(frame[reads], _write_lists, stage, listed)
    lists = graph.gathered(graph.parts(numbers), _files, listed)
    distinct = graph.tasks(_write_distinct, list(range(n)), lists, stage, stored, bands)
    of_rows = graph.gathered(distinct, _bucket_files, stored)
    of_bands = graph.gathered(distinct, _bucket_files, bands)
    paired = graph.tasks(_write_pairs, list(range(stage.n_bands)), of_bands, stage, pairs)
    of_pairs = graph.gathered(paired, _several_files, pairs)
    of_joined = _joined(of_pairs, of_rows, stage)
    if components:
        edges = spill_folder()
        found = graph.tasks(write_edges, list(range(n)), of_joined, of_rows, stage, edges)
        of_pairs = graph.gathered(found, write_components, edges, stage, spill_folder())
        of_joined = _joined(of_pairs, of_rows, stage)
    verified = graph.tasks(_verify, list(range(n)), of_joined, of_rows, stage)
    return writer.lazily([*distinct, *verified], n)


def _joined(of_pairs: Delayed, of_rows: Delayed, stage: Stage) -> Delayed:
    folder = spill_folder()
    joining = graph.tasks(write_joined, list(range(stage.n)), of_pairs, of_rows, stage, folder)
    return graph.gathered(joining, _several_files, folder)


def _files(numbers: Sequence[int], folder: SpillFolder) -> SpilledFiles:
    return SpilledFiles(folder, sorted(numbers))


def _bucket_files(written: Sequence[Written], folder: SpillFolder) -> SpilledFiles:
    return SpilledFiles(folder, sorted(one.number for one in written))


def _several_files(numbers: Sequence[tuple[int, ...]], folder: SpillFolder) -> SpilledFiles:
    return SpilledFiles(folder, sorted(number for several in numbers for number in several))


def _write_lists(
    part: Frame, stage: Stage, folder: SpillFolder, partition_info: dict | None = None
) -> int:
    """Pass 1: the lists of a partition's rows; return the number of its file."""
    number: int = (partition_info or {}).get("number", 0)
    lists, valid = stage.measure.compared(part)
    keys, identified = row_keys(part)
    none = np.zeros(len(keys), np.uint64)
    order = stage.rule.order(part, keys) if stage.is_ordered else none
    hashes = lists.hashes()
    columns = [keys, order, *np.ascontiguousarray(hashes.T)]
    arrays = [pa.array(one) for one in columns]
    table = pa.Table.from_arrays([*arrays, lists.to_arrow()], schema=_LISTED)
    table = table.filter(pa.array(valid & identified))
    buckets = buckets_of(table[HASH].to_numpy(), stage.n)
    return spill.write_table(table, buckets, stage.n, number, folder)


def _write_distinct(
    bucket: int,
    _number: int,
    listed: SpilledFiles,
    stage: Stage,
    stored: SpillFolder,
    bands: SpillFolder,
) -> Written:
    """Pass 2: one row of each group of equal lists; the others are dropped."""
    table = read(listed, bucket, _LISTED)
    key, order, high, low = (table[name].to_numpy() for name in (KEY, ORDER, HASH, LOW))
    ordered = np.lexsort((key, order, low, high))
    new = np.ones(len(ordered), bool)
    new[1:] = (high[ordered[1:]] != high[ordered[:-1]]) | (low[ordered[1:]] != low[ordered[:-1]])
    first = ordered[np.flatnonzero(new)[np.cumsum(new) - 1]] if len(new) else ordered
    again = ~new
    n_again = int(again.sum())
    values = {
        KEEP: np.zeros(n_again, bool),
        REPRESENTATIVE: key[first[again]],
        SIMILARITY: np.ones(n_again),
    }
    written = stage.writer.write(bucket, key[ordered[again]], values)
    distinct = table.select(STORED.names).take(pa.array(ordered[new]))
    own = distinct[KEY].to_numpy()
    spill.write_table(distinct, key_buckets(own, stage.n), stage.n, bucket, stored)
    own_order = distinct[ORDER].to_numpy() if stage.is_ordered else None
    records = band_records(Lists.of_arrow(distinct[ITEMS]), own, own_order, stage.measure)
    buckets = buckets_of(records[HASH], stage.n_bands)
    spill.write_records(records, buckets, stage.n_bands, bucket, bands)
    return written


def _write_pairs(
    bucket: int, _number: int, bands: SpilledFiles, stage: Stage, folder: SpillFolder
) -> tuple[int, ...]:
    """Pass 3: the pairs of rows that share a band; return the numbers of their files."""
    words = stage.measure.sketch(_NO_LISTS)[0].shape[1]
    dtype = band_dtype(words, stage.is_ordered)
    records = spill.read_records(bands, bucket, stage.n_bands, dtype)
    numbers = []
    for chunk, pairs in enumerate(pairs_of(records, stage.measure, stage.components)):
        number = bucket + chunk * stage.n_bands
        write_pairs(pairs, number, stage, folder)
        numbers.append(number)
    return tuple(numbers)


def _verify(
    bucket: int, _number: int, joined: SpilledFiles, stored: SpilledFiles, stage: Stage
) -> Written:
    """Pass 5: compare pairs; a later row that is near an earlier one is dropped."""
    table = by_key(stored, bucket)
    keys = table[KEY].to_numpy()
    found = [(np.empty(0, np.int64), np.empty(0, np.uint64), np.empty(0, np.int64), np.empty(0))]
    for one in compare(bucket, joined, table, stage.measure):
        is_near = np.ones_like(one.near) if stage.components else one.near
        fields = (one.later, one.order, one.earlier, one.similarity)
        found.append(tuple(field[is_near] for field in fields))
    later, order, earlier, similarity = (np.concatenate(one) for one in zip(*found, strict=True))
    ordered = np.lexsort((earlier, order, later))
    later, first = np.unique(later[ordered], return_index=True)
    first = ordered[first]
    keep = np.ones(len(keys), bool)
    keep[later] = False
    representative, near_by = keys.copy(), np.full(len(keys), np.nan)
    representative[later], near_by[later] = earlier[first], similarity[first]
    values = {KEEP: keep, REPRESENTATIVE: representative, SIMILARITY: near_by}
    return stage.writer.write(stage.n + bucket, keys, values)
