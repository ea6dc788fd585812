"""The duplicates of each cluster, found cluster by cluster within a budget of memory."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from laion_dask.curation.clusters.assignment import Assigned
from laion_dask.curation.clusters.stages import is_written, read_arrays, write_arrays
from laion_dask.curation.duplicates.semantic_search import components, published_rule
from laion_dask.curation.row_table import shard_and_row
from laion_dask.curation.row_writer import RowWriter, Written
from laion_dask.curation.stored_decisions import KEEP
from laion_dask.errors import SpillError
from laion_dask.frame.row_hash import identity_hash
from laion_dask.io.storage.spill import SpillFolder
from laion_dask.numerics.torch_threads import one_torch_thread
from laion_dask.runtime.tasks import Run

#: The arrays of a file of results: each row's key and decision, then those of the rows in groups.
GROUP_FIELDS = ("group", "key", "rank", "representative", "similarity")


@dataclass(frozen=True, eq=False)
class Search:
    """How duplicates are searched.

    Attributes
    ----------
    eps : float
    keep : {"hard", "easy", "random"}
    rule : {"semdedup", "components"}
    seed : int
    memory : int
        Bytes of vectors that a task holds.
    """

    eps: float
    keep: str
    rule: str
    seed: int
    memory: int


@dataclass(frozen=True, eq=False)
class Batch:
    """Consecutive clusters that one task searches, and what it writes."""

    first: int
    stop: int
    assigned: Assigned
    search: Search
    results: SpillFolder
    writer: RowWriter


def batches(
    assigned: Assigned, row_bytes: int, search: Search, results: SpillFolder, writer: RowWriter
) -> list[Batch]:
    """Clusters in batches of as many as fit into memory; a larger one has a batch of its own."""
    found, first, held = [], 0, 0
    sizes = (assigned.sizes * row_bytes).tolist()
    for cluster, size in enumerate(sizes):
        if held and held + size > search.memory:
            found.append(Batch(first, cluster, assigned, search, results, writer))
            first, held = cluster, 0
        held += size
    if held:
        found.append(Batch(first, len(sizes), assigned, search, results, writer))
    return found


def search_batch(run: Run, number: int, batch: Batch) -> tuple[Written, int, int]:
    """Search the clusters of a batch; return what was written, and the rows kept and dropped."""
    with run:
        if is_written(batch.results, number):
            arrays = read_arrays(batch.results, number)
        else:
            arrays = _searched(run, batch)
            write_arrays(batch.results, number, arrays)
        keys, keep = np.asarray(arrays[0]), np.asarray(arrays[1])
        written = batch.writer.write(number, keys, {KEEP: keep})
        n_kept = int(keep.sum())
        return written, n_kept, len(keep) - n_kept


def _searched(run: Run, batch: Batch) -> list[np.ndarray]:
    """The arrays of a file of results."""
    label, keys, cosine = batch.assigned.rows(batch.first, batch.stop)
    order = np.lexsort((keys, _distance(keys, cosine, batch.search), label))
    vectors = _in_order(batch.assigned.vectors(batch.first, batch.stop), order, batch)
    keys, label = keys[order], label[order]
    ends = np.flatnonzero(np.diff(label, append=-1)) + 1
    found, start = [], 0
    find = published_rule if batch.search.rule == "semdedup" else components
    with one_torch_thread():
        for end in ends.tolist():
            run.advance(0)
            one = find(vectors[start:end], batch.search.eps)
            found.append((keys[start:end], one))
            start = end
    return _results(found)


def _distance(keys: np.ndarray, cosine: np.ndarray, search: Search) -> np.ndarray:
    """A number by which the rows of a cluster are ordered; equal ones are ordered by their keys."""
    if search.keep == "random":
        return identity_hash(*shard_and_row(keys), search.seed)
    return cosine if search.keep == "hard" else -cosine  # the farthest, or the nearest, first


def _in_order(pieces: Iterable[np.ndarray], order: np.ndarray, batch: Batch) -> np.ndarray:
    """The vectors of a batch in their order; on disk if they do not fit into memory."""
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    out, start = np.empty((0, 1), np.float32), 0
    for piece in pieces:
        if not start:
            out = _allocated((len(order), piece.shape[1]), piece.dtype, batch)
        for at in range(0, len(piece), _ROWS):
            block = piece[at : at + _ROWS]
            out[place[start : start + len(block)]] = block
            start += len(block)
    return out


def _allocated(shape: tuple[int, int], dtype: np.dtype, batch: Batch) -> np.ndarray:
    """An array in memory, or in a file without a name."""
    size = shape[0] * shape[1] * dtype.itemsize
    if size <= batch.search.memory:
        return np.empty(shape, dtype)
    parent = os.path.dirname(batch.results.path)
    try:
        with tempfile.TemporaryFile(dir=parent) as file:
            if hasattr(os, "posix_fallocate"):  # else a full disk would end the process
                os.posix_fallocate(file.fileno(), 0, size)
            return np.memmap(file, dtype, "w+", shape=shape)
    except OSError as error:
        raise SpillError(
            f"A cluster of {shape[0]:,} rows needs {size:,} bytes in {parent}: {error.strerror}. "
            "Expected room for them, or enough memory: use more clusters, a larger memory_limit, "
            "or a larger disk for dask.config.set(temporary_directory=...)."
        ) from error


#: Rows that are moved to their place at a time.
_ROWS = 1 << 14


def _results(found: Sequence[tuple]) -> list[np.ndarray]:
    keys, keep = [np.empty(0, np.int64)], [np.empty(0, bool)]
    groups = [tuple(np.empty(0, d) for d in (*["i8"] * 4, "f8"))]
    for cluster_keys, one in found:
        is_kept = one.representative < 0
        keys.append(cluster_keys)
        keep.append(is_kept)
        sizes = np.bincount(one.group, minlength=len(is_kept))
        rows = np.flatnonzero(sizes[one.group] > 1)
        rows = rows[np.argsort(one.group[rows], kind="stable")]  # by group, each in its order
        group = one.group[rows]
        starts = np.flatnonzero(np.diff(group, prepend=-1))
        rank = np.arange(len(rows)) - np.repeat(starts, np.diff([*starts, len(rows)])) + 1
        others = np.where(is_kept[rows], rows, one.representative[rows])
        identities = cluster_keys[group], cluster_keys[rows], rank, cluster_keys[others]
        groups.append((*identities, one.similarity[rows]))
    return [
        np.concatenate(keys),
        np.concatenate(keep),
        *map(np.concatenate, zip(*groups, strict=True)),
    ]
