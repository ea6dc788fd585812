"""Join lists to pairs of rows, through files sorted by bucket, and compare them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from laion_dask.curation.bucket_pass import buckets_of
from laion_dask.curation.duplicates.exact import ORDER, Rule
from laion_dask.curation.duplicates.near_bands import EARLIER, LATER, PAIR, Measure, distinct_pairs
from laion_dask.curation.duplicates.near_lists import TYPE, Lists
from laion_dask.curation.row_table import KEY
from laion_dask.curation.row_writer import RowWriter
from laion_dask.io.storage import spill
from laion_dask.io.storage.spill import SpilledFiles, SpillFolder
from laion_dask.numerics.murmur3 import hashes_of_rows
from laion_dask.runtime import cancellation

#: The column of lists.
ITEMS = "items"
STORED = pa.schema({KEY: pa.int64(), ORDER: pa.uint64(), ITEMS: TYPE})
_JOINED = pa.schema(
    {LATER: pa.large_list(pa.int64()), EARLIER: pa.int64(), ORDER: pa.uint64(), ITEMS: TYPE}
)
#: Pairs to which lists are joined at once.
_JOINED_PAIRS = 1 << 17


@dataclass(frozen=True, eq=False)
class Stage:
    """What all passes share.

    Attributes
    ----------
    measure : Measure
    rule : Rule
    components : bool
        Whether groups are connected components.
    n, n_bands : int
        The numbers of buckets of rows and of bands.
    writer : RowWriter
    """

    measure: Measure
    rule: Rule
    components: bool
    n: int
    n_bands: int
    writer: RowWriter

    @property
    def is_ordered(self) -> bool:
        """Whether rows have an order other than that of their keys."""
        return self.rule.how != "first"


def key_buckets(keys: np.ndarray, n: int) -> np.ndarray:
    """The bucket of each key of a row, out of n."""
    hashes = hashes_of_rows(keys.view(np.uint64).reshape(-1, 1))[:, 0]
    return buckets_of(hashes, n)


def read(files: SpilledFiles, bucket: int, schema: pa.Schema) -> pa.Table:
    """The rows of a bucket."""
    batches = [spill.read_batch(files.folder, number, bucket) for number in files.numbers]
    return pa.Table.from_batches(batches, schema)


def write_pairs(pairs: np.ndarray, number: int, stage: Stage, folder: SpillFolder) -> None:
    """Write pairs to a file, sorted by the bucket of their earlier row."""
    destinations = key_buckets(np.ascontiguousarray(pairs[EARLIER]), stage.n)
    spill.write_records(pairs, destinations, stage.n, number, folder)


def write_joined(
    bucket: int,
    _number: int,
    pairs: SpilledFiles,
    stored: SpilledFiles,
    stage: Stage,
    folder: SpillFolder,
) -> tuple[int, ...]:
    """Pass 4: pairs with the list of the earlier row; return the numbers of their files.

    A file has the list of a row once for each bucket, with all later rows of that bucket.
    """
    found = distinct_pairs([spill.read_records(pairs, bucket, stage.n, PAIR)])
    table = by_key(stored, bucket)
    at = np.searchsorted(table[KEY].to_numpy(), found[EARLIER])
    numbers = []
    for chunk, start in enumerate(range(0, len(found), _JOINED_PAIRS)):
        cancellation.check()
        rows = slice(start, start + _JOINED_PAIRS)
        later = np.ascontiguousarray(found[LATER][rows])
        buckets = key_buckets(later, stage.n)
        order = np.lexsort((later, at[rows], buckets))
        later, buckets, earlier = later[order], buckets[order], at[rows][order]
        changes = (np.diff(buckets) != 0) | (np.diff(earlier) != 0)
        starts = np.append(0, np.flatnonzero(changes) + 1)
        own = table.take(pa.array(earlier[starts]))
        offsets = pa.array(np.append(starts, len(later)))
        several = pa.LargeListArray.from_arrays(offsets, pa.array(later))
        columns = [several, own[KEY], own[ORDER], own[ITEMS]]
        joined = pa.Table.from_arrays(columns, schema=_JOINED)
        number = bucket + chunk * stage.n
        spill.write_table(joined, buckets[starts], stage.n, number, folder)
        numbers.append(number)
    return tuple(numbers)


def by_key(stored: SpilledFiles, bucket: int) -> pa.Table:
    """The distinct rows of a bucket in the order of their keys."""
    table = read(stored, bucket, STORED)
    return table.take(pa.array(np.argsort(table[KEY].to_numpy()))).combine_chunks()


@dataclass(frozen=True, eq=False)
class Compared:
    """Pairs of which the later row is in a bucket, with their similarity; (m,) arrays each.

    Attributes
    ----------
    later : int64 array
        The position of the later row among the rows of the bucket, by key.
    order, earlier : uint64 and int64 arrays
        The order and the key of the earlier row.
    similarity : float64 array
    near : bool array
    """

    later: np.ndarray
    order: np.ndarray
    earlier: np.ndarray
    similarity: np.ndarray
    near: np.ndarray


def compare(
    bucket: int, joined: SpilledFiles, table: pa.Table, measure: Measure
) -> Iterator[Compared]:
    """Compare the pairs of a bucket, whose rows are those of the table."""
    keys, lists = table[KEY].to_numpy(), Lists.of_arrow(table[ITEMS])
    for number in joined.numbers:
        cancellation.check()
        pairs = pa.Table.from_batches([spill.read_batch(joined.folder, number, bucket)], _JOINED)
        several = pairs[LATER].combine_chunks()
        sizes = np.diff(several.offsets.to_numpy())
        later = np.searchsorted(keys, several.flatten().to_numpy())
        at = np.repeat(np.arange(len(pairs)), sizes)
        similarity, near = measure.near(Lists.of_arrow(pairs[ITEMS]), at, lists, later)
        order, earlier = (np.repeat(pairs[name].to_numpy(), sizes) for name in (ORDER, EARLIER))
        yield Compared(later, order, earlier, similarity, near)
