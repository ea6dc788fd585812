"""The rows of a band, and the pairs of them that are compared.

Rows that share a band are ordered by the rule of what is kept. A row is compared with the first
few of the earlier ones that may be near it by their sketches, so that the pairs of a band are no
more than a multiple of its rows, however many captions are made from one template.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np

from laion_dask.backend import Frame
from laion_dask.curation.bucket_pass import HASH
from laion_dask.curation.duplicates import near_native
from laion_dask.curation.duplicates.exact import ORDER
from laion_dask.curation.duplicates.near_lists import Lists
from laion_dask.curation.row_table import KEY
from laion_dask.runtime import cancellation

EARLIER, LATER = "earlier", "later"
PAIR = np.dtype([(EARLIER, "<i8"), (LATER, "<i8")])
_SIZE, _BITS = "size", "bits"
#: Pairs that are held or written at once.
_PAIRS = 1 << 20
#: Comparisons of sketches between two checks for an interrupt: some 0.1 seconds.
_COMPARISONS = 1 << 26


class Measure(Protocol):
    """How rows are compared; see `near_captions.Captions` and `near_hashes.Hashes`."""

    @property
    def reads(self) -> list[str]: ...
    @property
    def limits(self) -> tuple[float, float]: ...
    @property
    def compared_rows(self) -> tuple[int, int]: ...
    @property
    def is_sketch_exact(self) -> bool: ...
    def compared(self, part: Frame) -> tuple[Lists, np.ndarray]: ...
    def sketch(self, lists: Lists) -> tuple[np.ndarray, np.ndarray]: ...
    def bands(self, lists: Lists) -> np.ndarray: ...
    def near(
        self, one: Lists, at: np.ndarray, other: Lists, other_at: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]: ...


def band_dtype(words: int, ordered: bool) -> np.dtype:
    """That of the records of bands, with sketches of so many words."""
    order = [(ORDER, "<u8")] if ordered else []
    return np.dtype([(HASH, "<u8"), *order, (KEY, "<i8"), (_SIZE, "<i4"), (_BITS, "<u8", (words,))])


def band_records(
    lists: Lists, keys: np.ndarray, order: np.ndarray | None, measure: Measure
) -> np.ndarray:
    """A record of each band of each row."""
    bands = measure.bands(lists)
    bits, sizes = measure.sketch(lists)
    records = np.empty(bands.shape, band_dtype(bits.shape[1], order is not None))
    records[HASH] = bands
    records[KEY] = keys[:, None]
    if order is not None:
        records[ORDER] = order[:, None]
    records[_SIZE] = sizes[:, None]
    records[_BITS] = bits[:, None]
    return records.ravel()


def pairs_of(records: np.ndarray, measure: Measure, components: bool) -> Iterator[np.ndarray]:
    """The distinct pairs of records of equal hashes that are to be compared, some at a time.

    Parameters
    ----------
    records : structured array
    measure : Measure
    components : bool
        Whether pairs have to connect all rows that near pairs connect. If sketches are exact, the
        pairs are then a spanning forest.
    """
    order = [records[ORDER]] if ORDER in (records.dtype.names or ()) else []
    records = records[np.lexsort((records[KEY], *order, records[HASH]))]
    hashes, keys = np.ascontiguousarray(records[HASH]), records[KEY]
    starts = np.searchsorted(hashes, hashes, side="left").astype(np.int64)
    bits = np.ascontiguousarray(records[_BITS])
    sizes = records[_SIZE].astype(np.int64)
    forest = components and measure.is_sketch_exact
    most, first = (len(records), 2**62) if forest else measure.compared_rows
    parents = np.arange(len(records) if forest else 0)
    limits = np.array(measure.limits)
    counts = np.array([0, 0, most, first, _COMPARISONS])
    room = len(records) if forest else min(_PAIRS, most * len(records))
    earlier, later = np.empty(room, np.int64), np.empty(room, np.int64)
    find = near_native.find_pairs()
    while counts[0] < len(records):
        cancellation.check()
        find(starts, bits, sizes, limits, counts, parents, earlier, later)
        is_full = not forest and counts[1] + most > room
        if counts[1] and (is_full or counts[0] == len(records)):
            pairs = np.empty(counts[1], PAIR)
            pairs[EARLIER] = keys[earlier[: counts[1]]]
            pairs[LATER] = keys[later[: counts[1]]]
            counts[1] = 0
            yield distinct_pairs([pairs])


def distinct_pairs(found: Sequence[np.ndarray]) -> np.ndarray:
    """The distinct ones of some pairs, sorted by the earlier row, then the later one."""
    pairs = np.concatenate([np.empty(0, PAIR), *found])
    pairs = pairs[np.lexsort((pairs[LATER], pairs[EARLIER]))]
    new = np.ones(len(pairs), bool)
    new[1:] = (pairs[EARLIER][1:] != pairs[EARLIER][:-1]) | (pairs[LATER][1:] != pairs[LATER][:-1])
    return pairs[new]
