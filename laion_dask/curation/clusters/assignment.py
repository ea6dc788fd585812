"""Assign every row to its nearest centroid, and keep the rows on disk, sorted by cluster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from uuid import uuid4

import numpy as np

from laion_dask.curation.clusters.chunks import Chunk, keys_of_chunk, vectors_of
from laion_dask.curation.clusters.nearest import Nearest
from laion_dask.curation.clusters.stages import is_written, read_arrays, write_arrays
from laion_dask.io.embeddings.embeddings import Embeddings
from laion_dask.io.storage.spill import SpillFolder
from laion_dask.numerics.torch_threads import one_torch_thread
from laion_dask.runtime import cancellation, graph

#: One, in the fixed-point sums of cosines, which do not depend on the order of rows: a sum of 8
#: billion rows fits in an int64.
_ONE = 2.0**30


@dataclass(frozen=True, eq=False)
class Assigned:
    """The rows of every cluster, on disk.

    Attributes
    ----------
    folder : SpillFolder
        Files of arrays, one per chunk, sorted by cluster and key: ``label`` (n,) int32, ``keys``
        (n,) int64, ``cosine`` (n,) float64 with the centroid, and, if kept, ``vectors`` (n, dim).
    numbers : list of int
        The files that have rows.
    sizes : (k,) int64 array
        The rows of each cluster.
    cosines : (k,) int64 array
        The sum of their cosines with the centroid, in units of 2**-30.
    unscored : int
        Rows without a direction, which are in no cluster.
    """

    folder: SpillFolder
    numbers: list[int]
    sizes: np.ndarray
    cosines: np.ndarray
    unscored: int

    @property
    def d_intra(self) -> np.ndarray:
        """The mean cosine distance of each cluster's rows to its centroid; NaN without rows."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return 1 - self.cosines / _ONE / self.sizes

    @property
    def distance(self) -> float:
        """The mean cosine distance of all rows to their centroids; NaN without rows."""
        total = int(self.sizes.sum())
        return 1 - sum(map(int, self.cosines)) / _ONE / total if total else float("nan")

    def rows(self, first: int, stop: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The label, key and cosine of the rows in the clusters from ``first`` to ``stop``."""
        parts = [(np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0))]
        for arrays in self._slices(first, stop):
            label, keys, cosine = map(np.array, arrays[:3])  # no maps: a process has few
            parts.append((label, keys, cosine))
        label, keys, cosine = (np.concatenate(each) for each in zip(*parts, strict=True))
        return label, keys, cosine

    def vectors(self, first: int, stop: int) -> Iterator[np.ndarray]:
        """The vectors of these rows, in the same order, file by file."""
        for arrays in self._slices(first, stop):
            yield arrays[3]

    def _slices(self, first: int, stop: int) -> Iterator[list[np.ndarray]]:
        for number in self.numbers:
            cancellation.check()
            arrays = read_arrays(self.folder, number)
            start, end = np.searchsorted(arrays[0], [first, stop])
            if start < end:
                yield [array[start:end] for array in arrays]


def assign(
    chunks: Sequence[Chunk],
    embeddings: Embeddings,
    centroids: np.ndarray,
    folder: SpillFolder,
    *,
    with_vectors: bool,
) -> Assigned:
    """Assign the rows of all chunks. Eager: a pass over the embeddings."""
    k = len(centroids)
    total = np.zeros((2, k + 1), np.int64)
    numbers = list(range(len(chunks)))
    if chunks and k:
        shared = graph.share((embeddings, centroids, folder, with_vectors), f"assign-{uuid4().hex}")
        tasks = graph.tasks(_assign, list(chunks), shared)
        (total,) = graph.compute(graph.tree(tasks, _total), label="assign")
    unscored = int(total[0, k])
    if not k:
        numbers, unscored = [], sum(len(run) for chunk in chunks for run in chunk)
    return Assigned(folder, numbers, total[0, :k], total[1, :k], unscored)


def _assign(chunk: Chunk, number: int, shared: tuple) -> np.ndarray:
    """Write the rows of a chunk; return their numbers and sums of cosines, (2, k + 1) int64."""
    embeddings, centroids, folder, with_vectors = shared
    if is_written(folder, number):
        labels, keys, cosines = read_arrays(folder, number)[:3]
        read = sum(map(len, chunk))
        return _counts(np.asarray(labels), np.asarray(cosines), len(centroids), read - len(keys))
    dtype = embeddings.dtype
    none = np.empty((0, embeddings.dim), dtype)
    parts = [(np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0), none)]
    unscored = 0
    with one_torch_thread():
        nearest = Nearest(centroids)
        for block in keys_of_chunk(chunk):
            x = vectors_of(block, embeddings)
            label, cosine = nearest.of(x)
            scored = label >= 0
            unscored += int((~scored).sum())
            kept = x[scored].astype(dtype, copy=False) if with_vectors else none
            parts.append((label[scored], block[scored], cosine[scored], kept))
    label, keys, cosine, vectors = (np.concatenate(each) for each in zip(*parts, strict=True))
    order = np.lexsort((keys, label))
    arrays = [label[order], keys[order], cosine[order]]
    if with_vectors:
        arrays.append(vectors[order])
    write_arrays(folder, number, arrays)
    return _counts(label, cosine, len(centroids), unscored)


def _counts(label: np.ndarray, cosine: np.ndarray, k: int, unscored: int) -> np.ndarray:
    """The number of rows and the sum of cosines of each cluster; last, of rows in none."""
    counts = np.zeros((2, k + 1), np.int64)
    counts[0, :k] = np.bincount(label, minlength=k)
    np.add.at(counts[1], label, np.rint(cosine * _ONE).astype(np.int64))
    counts[0, k] = unscored
    return counts


def _total(several: Sequence[np.ndarray]) -> np.ndarray:
    return np.sum(list(several), axis=0)
