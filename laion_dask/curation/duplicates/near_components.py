"""Groups of near duplicates as connected components: the first row of each stands for all.

The near pairs of each bucket are reduced to a spanning forest; the forests are united in one task,
which holds 24 bytes for each distinct row that is near another, and the forest of one bucket.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from laion_dask.curation.duplicates import near_native
from laion_dask.curation.duplicates.exact import ORDER
from laion_dask.curation.duplicates.near_bands import EARLIER, LATER, PAIR
from laion_dask.curation.duplicates.near_join import Stage, by_key, compare, write_pairs
from laion_dask.curation.row_table import KEY
from laion_dask.io.storage import spill
from laion_dask.io.storage.spill import SpilledFiles, SpillFolder
from laion_dask.runtime import cancellation

_LATER_ORDER = "later_order"
_EDGE = np.dtype([(ORDER, "<u8"), (EARLIER, "<i8"), (_LATER_ORDER, "<u8"), (LATER, "<i8")])
#: Rows of a file of pairs of a row and the first one of its component.
_ROWS = 1 << 20


def write_edges(
    bucket: int,
    _number: int,
    joined: SpilledFiles,
    stored: SpilledFiles,
    stage: Stage,
    folder: SpillFolder,
) -> int:
    """Write a spanning forest of the near pairs of a bucket; return the number of its file."""
    table = by_key(stored, bucket)
    keys, orders = table[KEY].to_numpy(), table[ORDER].to_numpy()
    forest = np.empty(0, _EDGE)
    for one in compare(bucket, joined, table, stage.measure):
        edges = np.empty(int(one.near.sum()), _EDGE)
        later = one.later[one.near]
        edges[ORDER], edges[EARLIER] = one.order[one.near], one.earlier[one.near]
        edges[_LATER_ORDER], edges[LATER] = orders[later], keys[later]
        forest = _forest(np.concatenate([forest, edges]))
    spill.write_records(forest, np.zeros(len(forest), np.int64), 1, bucket, folder)
    return bucket


def _forest(edges: np.ndarray) -> np.ndarray:
    """The edges without those that connect what earlier ones connect."""
    nodes = np.unique(np.concatenate([edges[EARLIER], edges[LATER]]))
    ends = (np.searchsorted(nodes, edges[name]) for name in (EARLIER, LATER))
    joined = np.empty(len(edges), np.uint8)
    near_native.unite()(*ends, np.arange(len(nodes)), joined)
    return edges[joined > 0]


def write_components(
    numbers: Sequence[int], edges: SpillFolder, stage: Stage, folder: SpillFolder
) -> SpilledFiles:
    """Pairs of the first row of each component and each other one, like those of bands."""
    files = SpilledFiles(edges, sorted(numbers))
    keys = _ranked(files)
    by_value = np.argsort(keys)
    parents = np.arange(len(keys))
    unite = near_native.unite()
    for forest in _forests(files):
        ends = (
            by_value[np.searchsorted(keys, forest[n], sorter=by_value)] for n in (EARLIER, LATER)
        )
        unite(*ends, parents, np.empty(len(forest), np.uint8))
    while (parents[parents] != parents).any():
        parents = parents[parents]
    gone = np.flatnonzero(parents != np.arange(len(parents)))
    written = []
    for number, start in enumerate(range(0, len(gone), _ROWS)):
        rows = gone[start : start + _ROWS]
        pairs = np.empty(len(rows), PAIR)
        pairs[EARLIER], pairs[LATER] = keys[parents[rows]], keys[rows]
        write_pairs(pairs, number, stage, folder)
        written.append(number)
    return SpilledFiles(folder, written)


def _ranked(files: SpilledFiles) -> np.ndarray:
    """The keys of all rows that are near another, the first one by the rule's order first."""
    order, keys = np.empty(0, np.uint64), np.empty(0, np.int64)
    for forest in _forests(files):
        keys = np.concatenate([keys, forest[EARLIER], forest[LATER]])
        order = np.concatenate([order, forest[ORDER], forest[_LATER_ORDER]])
        keys, first = np.unique(keys, return_index=True)
        order = order[first]
    return np.asarray(keys[np.lexsort((keys, order))])


def _forests(files: SpilledFiles):
    for number in files.numbers:
        cancellation.check()
        yield spill.read_records(SpilledFiles(files.folder, [number]), 0, 1, _EDGE)
