"""Find near duplicates: rows that share a band meet in a bucket on disk, and each pair is compared.

Five passes, each through files sorted by bucket; a task holds one partition or one bucket:

1. Each partition writes what its rows are compared by, a list of numbers a row, by the list's hash.
2. Rows of equal lists meet. The first of them stands for all, the others are dropped. It is written
   by its key, and a small record for each of its bands by the band.
3. Rows of an equal band meet, and are written as pairs, by the earlier row.
4. The list of the earlier row joins each pair, which is written by the later row.
5. The list of the later row joins it, and the pair is compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import dask.dataframe as dd
import numpy as np
import pyarrow as pa
from dask.delayed import Delayed

from laion_dask.backend import Frame
from laion_dask.curation.bucket_pass import HASH, bucket_count, buckets_of
from laion_dask.curation.duplicates.exact import KEEP, LOW, ORDER, Rule
from laion_dask.curation.duplicates.near_lists import TYPE, Lists
from laion_dask.curation.row_table import KEY, row_keys, shards_per_block
from laion_dask.curation.row_writer import RowWriter, Written
from laion_dask.frame.provenance import Provenance
from laion_dask.io.storage import spill
from laion_dask.io.storage.spill import SpilledFiles, SpillFolder
from laion_dask.numerics.murmur3 import hashes_of_rows
from laion_dask.runtime import cancellation, graph
from laion_dask.runtime.disk_shuffle import spill_folder
from laion_dask.schema import PROVENANCE

#: Columns of the table of results: the earlier row that a row duplicates, and how near it is.
REPRESENTATIVE, SIMILARITY = "representative", "similarity"
SCHEMA = pa.schema({KEEP: pa.bool_(), REPRESENTATIVE: pa.int64(), SIMILARITY: pa.float64()})

_ITEMS, _SKETCH, _EARLIER, _LATER = "items", "sketch", "earlier", "later"
_LISTED = pa.schema(
    {KEY: pa.int64(), ORDER: pa.uint64(), HASH: pa.uint64(), LOW: pa.uint64(), _ITEMS: TYPE}
)
_STORED = pa.schema({KEY: pa.int64(), ORDER: pa.uint64(), _ITEMS: TYPE})
_JOINED = pa.schema({_LATER: pa.int64(), _EARLIER: pa.int64(), ORDER: pa.uint64(), _ITEMS: TYPE})
_BAND = np.dtype([(HASH, "<u8"), (ORDER, "<u8"), (KEY, "<i8"), (_SKETCH, "<u8")])
_PAIR = np.dtype([(_EARLIER, "<i8"), (_LATER, "<i8")])
#: Buckets of bands for each bucket of rows, which has several records a row.
_BANDS = 8
#: Pairs that are held or written at once.
_PAIRS = 1 << 21
#: Pairs to which lists are joined at once.
_JOINED_PAIRS = 1 << 16


class Measure(Protocol):
    """How rows are compared; see `near_captions.Captions` and `near_hashes.Hashes`."""

    @property
    def reads(self) -> list[str]: ...
    def compared(self, part: Frame) -> tuple[Lists, np.ndarray]: ...
    def sketch(self, lists: Lists) -> np.ndarray: ...
    def possible(self, one: np.ndarray, other: np.ndarray) -> np.ndarray: ...
    def bands(self, lists: Lists) -> np.ndarray: ...
    def near(self, one: Lists, other: Lists) -> tuple[np.ndarray, np.ndarray]: ...


@dataclass(frozen=True, eq=False)
class _Stage:
    """What all passes share: the measure, the number of buckets of rows, and the folders."""

    measure: Measure
    rule: Rule
    n: int
    listed: SpillFolder
    stored: SpillFolder
    bands: SpillFolder
    pairs: SpillFolder
    joined: SpillFolder
    writer: RowWriter

    @property
    def n_bands(self) -> int:
        """The number of buckets of bands."""
        return self.n * _BANDS


def near_table(frame: dd.DataFrame, measure: Measure, rule: Rule) -> Delayed:
    """Which rows are kept, as a delayed `RowTable` with `SCHEMA`. Lazy.

    A row is dropped if it is near some earlier row, even one that is dropped itself: "earlier" by
    the rule's order, then by shard and row. Rows that lack what is compared are not in the table.
    """
    provenance = Provenance.of(frame)
    writer = RowWriter.create(SCHEMA, shards_per_block(provenance))
    n = bucket_count(provenance)
    listed, stored, bands, pairs, joined = (spill_folder() for _ in range(5))
    stage = _Stage(measure, rule, n, listed, stored, bands, pairs, joined, writer)
    ranked = [rule.ranking.column] if rule.ranking else []
    reads = list(dict.fromkeys([*measure.reads, *ranked, *PROVENANCE]))
    numbers = graph.map_to_values(frame[reads], _write_lists, stage)
    lists = graph.gathered(graph.parts(numbers), _files, listed)
    buckets = list(range(n))
    distinct = graph.tasks(_write_distinct, buckets, lists, stage)
    of_rows = graph.gathered(distinct, _bucket_files, stored)
    of_bands = graph.gathered(distinct, _bucket_files, bands)
    paired = graph.tasks(_write_pairs, list(range(stage.n_bands)), of_bands, stage)
    of_pairs = graph.gathered(paired, _several_files, pairs)
    joining = graph.tasks(_write_joined, buckets, of_pairs, of_rows, stage)
    of_joined = graph.gathered(joining, _several_files, joined)
    verified = graph.tasks(_verify, buckets, of_joined, of_rows, stage)
    return writer.lazily([*distinct, *verified], n)


def _files(numbers: Sequence[int], folder: SpillFolder) -> SpilledFiles:
    return SpilledFiles(folder, sorted(numbers))


def _bucket_files(written: Sequence[Written], folder: SpillFolder) -> SpilledFiles:
    return SpilledFiles(folder, sorted(one.number for one in written))


def _several_files(numbers: Sequence[tuple[int, ...]], folder: SpillFolder) -> SpilledFiles:
    return SpilledFiles(folder, sorted(number for several in numbers for number in several))


def _write_lists(part: Frame, stage: _Stage, partition_info: dict | None = None) -> int:
    """Pass 1: the lists of a partition's rows; return the number of its file."""
    number: int = (partition_info or {}).get("number", 0)
    lists, valid = stage.measure.compared(part)
    keys, identified = row_keys(part)
    is_first = stage.rule.how == "first"
    order = np.zeros(len(keys), np.uint64) if is_first else stage.rule.order(part, keys)
    hashes = lists.hashes()
    columns = [keys, order, *np.ascontiguousarray(hashes.T)]
    arrays = [pa.array(one) for one in columns]
    table = pa.Table.from_arrays([*arrays, lists.to_arrow()], schema=_LISTED)
    table = table.filter(pa.array(valid & identified))
    buckets = buckets_of(table[HASH].to_numpy(), stage.n)
    return spill.write_table(table, buckets, stage.n, number, stage.listed)


def _read(files: SpilledFiles, bucket: int, schema: pa.Schema) -> pa.Table:
    batches = [spill.read_batch(files.folder, number, bucket) for number in files.numbers]
    return pa.Table.from_batches(batches, schema)


def _write_distinct(bucket: int, _number: int, listed: SpilledFiles, stage: _Stage) -> Written:
    """Pass 2: one row of each group of equal lists; the others are dropped."""
    table = _read(listed, bucket, _LISTED)
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
    distinct = table.select(_STORED.names).take(pa.array(ordered[new]))
    own = distinct[KEY].to_numpy()
    spill.write_table(distinct, key_buckets(own, stage.n), stage.n, bucket, stage.stored)
    records = _band_records(distinct, stage.measure)
    buckets = buckets_of(records[HASH], stage.n_bands)
    spill.write_records(records, buckets, stage.n_bands, bucket, stage.bands)
    return written


def _band_records(distinct: pa.Table, measure: Measure) -> np.ndarray:
    lists = Lists.of_arrow(distinct[_ITEMS])
    bands = measure.bands(lists)
    records = np.empty(bands.shape, _BAND)
    records[HASH] = bands
    records[ORDER] = distinct[ORDER].to_numpy()[:, None]
    records[KEY] = distinct[KEY].to_numpy()[:, None]
    records[_SKETCH] = measure.sketch(lists)[:, None]
    return records.ravel()


def key_buckets(keys: np.ndarray, n: int) -> np.ndarray:
    """The bucket of each key of a row, out of n."""
    hashes = hashes_of_rows(keys.view(np.uint64).reshape(-1, 1))[:, 0]
    return buckets_of(hashes, n)


def _write_pairs(bucket: int, _number: int, bands: SpilledFiles, stage: _Stage) -> tuple[int, ...]:
    """Pass 3: the pairs of rows that share a band; return the numbers of their files."""
    records = spill.read_records(bands, bucket, stage.n_bands, _BAND)
    records = records[np.lexsort((records[KEY], records[ORDER], records[HASH]))]
    numbers = []
    for chunk, pairs in enumerate(_pairs_of(records, stage.measure)):
        number = bucket + chunk * stage.n_bands
        destinations = key_buckets(np.ascontiguousarray(pairs[_EARLIER]), stage.n)
        spill.write_records(pairs, destinations, stage.n, number, stage.pairs)
        numbers.append(number)
    return tuple(numbers)


def _pairs_of(records: np.ndarray, measure: Measure) -> Iterator[np.ndarray]:
    """The distinct pairs of records of equal hashes that may be near, some at a time."""
    hashes, keys, sketch = (records[name] for name in (HASH, KEY, _SKETCH))
    ends = np.searchsorted(hashes, hashes, side="right")
    found: list[np.ndarray] = []
    first, held, lag = np.arange(len(records)), 0, 1
    while True:
        cancellation.check()
        first = first[first + lag < ends[first]]
        if not len(first):
            break
        possible = first[measure.possible(sketch[first], sketch[first + lag])]
        pairs = np.empty(len(possible), _PAIR)
        pairs[_EARLIER], pairs[_LATER] = keys[possible], keys[possible + lag]
        found.append(pairs)
        held += len(pairs)
        lag += 1
        if held >= _PAIRS:
            yield _distinct_pairs(found)
            found, held = [], 0
    if held:
        yield _distinct_pairs(found)


def _distinct_pairs(found: Sequence[np.ndarray]) -> np.ndarray:
    pairs = np.concatenate([np.empty(0, _PAIR), *found])
    pairs = pairs[np.lexsort((pairs[_LATER], pairs[_EARLIER]))]
    new = np.ones(len(pairs), bool)
    new[1:] = (pairs[_EARLIER][1:] != pairs[_EARLIER][:-1]) | (
        pairs[_LATER][1:] != pairs[_LATER][:-1]
    )
    return pairs[new]


def _write_joined(
    bucket: int, _number: int, pairs: SpilledFiles, stored: SpilledFiles, stage: _Stage
) -> tuple[int, ...]:
    """Pass 4: pairs with the list of the earlier row; return the numbers of their files."""
    found = _distinct_pairs([spill.read_records(pairs, bucket, stage.n, _PAIR)])
    table = _by_key(stored, bucket)
    at = np.searchsorted(table[KEY].to_numpy(), found[_EARLIER])
    numbers = []
    for chunk, start in enumerate(range(0, len(found), _JOINED_PAIRS)):
        cancellation.check()
        rows = slice(start, start + _JOINED_PAIRS)
        own = table.take(pa.array(at[rows]))
        later = np.ascontiguousarray(found[_LATER][rows])
        columns = [pa.array(later), own[KEY], own[ORDER], own[_ITEMS]]
        joined = pa.Table.from_arrays(columns, schema=_JOINED)
        number = bucket + chunk * stage.n
        spill.write_table(joined, key_buckets(later, stage.n), stage.n, number, stage.joined)
        numbers.append(number)
    return tuple(numbers)


def _by_key(stored: SpilledFiles, bucket: int) -> pa.Table:
    table = _read(stored, bucket, _STORED)
    return table.take(pa.array(np.argsort(table[KEY].to_numpy()))).combine_chunks()


def _verify(
    bucket: int, _number: int, joined: SpilledFiles, stored: SpilledFiles, stage: _Stage
) -> Written:
    """Pass 5: compare pairs; a later row that is near an earlier one is dropped."""
    table = _by_key(stored, bucket)
    keys = table[KEY].to_numpy()
    found = [(np.empty(0, np.int64), np.empty(0, np.uint64), np.empty(0, np.int64), np.empty(0))]
    for number in joined.numbers:
        cancellation.check()
        pairs = pa.Table.from_batches([spill.read_batch(joined.folder, number, bucket)], _JOINED)
        at = np.searchsorted(keys, pairs[_LATER].to_numpy())
        own = Lists.of_arrow(table[_ITEMS].take(pa.array(at)))
        similarity, near = stage.measure.near(Lists.of_arrow(pairs[_ITEMS]), own)
        order, earlier = pairs[ORDER].to_numpy(), pairs[_EARLIER].to_numpy()
        found.append((at[near], order[near], earlier[near], similarity[near]))
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
