"""The first centroids: rows of the sample, drawn where no centroid is near yet."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

import numpy as np

from laion_dask.curation.clusters.stages import read_arrays
from laion_dask.frame.row_hash import identity_hash
from laion_dask.io.storage.spill import SpillFolder
from laion_dask.numerics.int8_codes import Codes, Products, encode
from laion_dask.numerics.normalization import unit
from laion_dask.runtime import cancellation

#: Centroids that are drawn together, and rows among which they are drawn, per centroid.
_GROUP, ROWS = 1024, 16
#: The fewest rows among which centroids are drawn, if there are so many.
FEWEST = 1 << 14
#: Rounds of drawing: as many centroids are drawn in each.
_ROUNDS = 64


def first_centroids(folder: SpillFolder, numbers: Sequence[int], k: int, seed: int) -> np.ndarray:
    """Up to k rows of the sample, (k, dim) float32 of length one; fewer if it has fewer.

    Groups of centroids are drawn from rows of their own by greedy k-means++ (Arthur and
    Vassilvitskii 2007): the probability of a row is proportional to its squared distance from the
    nearest centroid, and of several rows drawn, those are taken that reduce the sum of these most.
    Draws depend on the seed and the rows only: the rows whose exponential variates, from a hash,
    are the smallest (Efraimidis and Spirakis 2006).
    """
    sample = _Sample(folder, numbers)
    n, groups = min(len(sample), max(FEWEST, ROWS * k)), []
    k = min(k, n)
    n_groups = -(-k // _GROUP)
    for group in range(n_groups):
        first, stop = (n * at // n_groups for at in (group, group + 1))
        start, end = (k * at // n_groups for at in (group, group + 1))
        keys, rows = sample.read(first, stop)
        groups.append(rows[_draw(keys, rows, end - start, seed)])
    return np.concatenate(groups) if groups else np.empty((0, 0), np.float32)


def _draw(keys: np.ndarray, rows: np.ndarray, k: int, seed: int) -> np.ndarray:
    """The positions of k of the rows."""
    codes = encode(rows)
    chosen: list[int] = []
    free = np.ones(len(rows), bool)
    distance = np.ones(len(rows))
    trials = 2 + int(np.log(k))
    rounds = min(k, _ROUNDS)
    for number in range(rounds):
        cancellation.check()
        n = k * (number + 1) // rounds - len(chosen)
        uniform = (identity_hash(keys, np.full(len(keys), number), seed) >> np.uint64(11)) + 0.5
        with np.errstate(divide="ignore"):
            clock = -np.log(uniform * 2.0**-53) / np.where(free, distance, 0.0)
        clock[~free] = np.nan  # last, after rows of distance zero
        drawn = np.argsort(clock, kind="stable")[: min(n * trials, int(free.sum()))]
        taken, distance = _most_useful(codes, rows[drawn], n, distance if chosen else distance * 2)
        chosen += drawn[taken].tolist()
        free[drawn[taken]] = False
    return np.array(chosen, np.int64)


def _most_useful(
    codes: Codes, drawn: np.ndarray, n: int, distance: np.ndarray
) -> tuple[list[int], np.ndarray]:
    """Take n of the drawn rows, each the one that most reduces the sum of distances.

    Returns
    -------
    taken : list of int
    distance : (rows,) float64 array
        The cosine distance of each row to the nearest centroid, those taken included.
    """
    added = encode(drawn, common_step=True)
    products = Products(added.codes).of(codes.codes, np.empty(len(codes) * len(drawn), np.int32))
    scale = codes.scale * added.scale[0]
    to_drawn = np.clip(1 - products.T * scale, 0, 2)  # (drawn, rows)
    taken: list[int] = []
    # A reduction only shrinks while others are taken, so the largest is computed again, and taken
    # if it is still the largest (Minoux 1978).
    heap = [(-_gain(distance, far), at) for at, far in enumerate(to_drawn)]
    heapq.heapify(heap)
    while len(taken) < n:
        _, at = heapq.heappop(heap)
        now = (-_gain(distance, to_drawn[at]), at)
        if heap and now > heap[0]:
            heapq.heappush(heap, now)
            continue
        taken.append(at)
        distance = np.minimum(distance, to_drawn[at])
    return taken, distance


def _gain(distance: np.ndarray, to_one: np.ndarray) -> int:
    """The reduction of the sum of distances, in fixed point: it does not depend on the order."""
    gain = np.maximum(distance - to_one, 0) * 2.0**40
    return int(gain.astype(np.int64).sum())


class _Sample:
    """The rows of the sample in the order of their hashes."""

    def __init__(self, folder: SpillFolder, numbers: Sequence[int]) -> None:
        self._folder, self._numbers = folder, numbers
        by_file = [tuple(map(np.array, read_arrays(folder, number)[:2])) for number in numbers]
        sizes = [len(keys) for keys, _ in by_file]
        hashes = np.concatenate([np.empty(0, np.uint64), *(one for _, one in by_file)])
        keys = np.concatenate([np.empty(0, np.int64), *(one for one, _ in by_file)])
        order = np.lexsort((keys, hashes))
        self._keys = keys[order]
        self._file = np.repeat(np.arange(len(sizes)), sizes)[order]
        self._place = np.concatenate([np.empty(0, np.int64), *map(np.arange, sizes)])[order]

    def __len__(self) -> int:
        return len(self._keys)

    def read(self, first: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """The keys and the directions of rows, (n,) int64 and (n, dim) float32."""
        files, places = self._file[first:stop], self._place[first:stop]
        dim = read_arrays(self._folder, self._numbers[0])[2].shape[1]
        rows = np.empty((len(files), dim), np.float32)
        for file in np.unique(files):
            at = np.flatnonzero(files == file)
            _, _, codes, _ = read_arrays(self._folder, self._numbers[file])
            rows[at] = codes[places[at]]
        return self._keys[first:stop], unit(rows)
