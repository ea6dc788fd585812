"""Spherical k-means (Dhillon and Modha 2001): iterations on a sample, the last one on all rows.

The sample goes to disk once, rounded to int8, and each iteration reads it from there. Rows are
assigned by products of integers, and summed in fixed point, so the centroids do not depend on the
order of rows, blocks, tasks and workers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import uuid4

import numpy as np

from laion_dask.curation.clusters.chunks import Chunk, keys_of_chunk, n_rows, vectors_of
from laion_dask.curation.clusters.products import CentroidTiles, largest_products
from laion_dask.curation.clusters.seeding import first_centroids
from laion_dask.curation.clusters.stages import Workspace, is_written, read_arrays, write_arrays
from laion_dask.curation.row_table import shard_and_row
from laion_dask.frame.row_hash import identity_hash
from laion_dask.io.embeddings.embeddings import Embeddings
from laion_dask.io.storage.spill import SpillFolder
from laion_dask.numerics.int8_codes import encode, kernel
from laion_dask.numerics.normalization import unit
from laion_dask.numerics.torch_threads import one_torch_thread
from laion_dask.runtime import graph

#: Rows of the sample per centroid, as in faiss (Clustering.h, max_points_per_centroid).
PER_CENTROID = 256
#: Steps of the iteration over all rows, after each of which a run can be continued, and the fewest
#: chunks of a step: 4 million rows.
_STEPS, _CHUNKS_PER_STEP = 32, 32
#: How far the two halves of a cluster are moved apart, in lengths of its centroid.
_APART = 0.2


@dataclass(frozen=True, eq=False)
class Training:
    """What determines the centroids.

    Attributes
    ----------
    k, iterations, seed : int
    sample : int
        The expected number of rows of the sample.
    """

    k: int
    iterations: int
    seed: int
    sample: int


@dataclass(frozen=True, eq=False)
class _Sums:
    """Of the rows of each cluster: the sum of their directions in fixed point, and their number."""

    sums: np.ndarray
    sizes: np.ndarray


def train(
    chunks: Sequence[Chunk], embeddings: Embeddings, chosen: Training, workspace: Workspace
) -> np.ndarray:
    """The centroids, (k, dim) float32 of length one; fewer if there are fewer rows. Eager.

    The centroids of each finished iteration are in the workspace, where an interrupted run goes on.
    """
    done, last = workspace.stage("iterations"), chosen.iterations
    if not any(is_written(done, number) for number in (last - 1, last)):
        _train_on_sample(chunks, embeddings, chosen, workspace, done)
    if not is_written(done, last):
        before = np.array(read_arrays(done, last - 1)[0])
        sums = _sums_of_all(chunks, embeddings, before, workspace) if len(before) else None
        write_arrays(
            done, last, [before if sums is None else _moved(before, sums, chosen.seed, last)]
        )
    return np.array(read_arrays(done, last)[0])


def _train_on_sample(
    chunks: Sequence[Chunk],
    embeddings: Embeddings,
    chosen: Training,
    workspace: Workspace,
    done: SpillFolder,
) -> None:
    """Write the first centroids, and those of each iteration but the last."""
    folder = workspace.stage("sample")
    n = n_rows(chunks)
    most = min(2**64 - 1, 2**64 * chosen.sample // max(n, 1))
    shared = graph.share((embeddings, chosen.seed, most, folder), f"sample-{uuid4().hex}")
    tasks = graph.tasks(_draw, list(chunks), shared)
    drawn = graph.compute(*tasks, label="sample") if tasks else ()
    numbers = [number for number, rows in enumerate(drawn) if rows]
    if not is_written(done, 0):
        first = first_centroids(folder, numbers, chosen.k, chosen.seed)
        write_arrays(done, 0, [first if len(first) else np.empty((0, embeddings.dim), np.float32)])
    for iteration in range(chosen.iterations - 1):
        if is_written(done, iteration + 1):
            continue
        centroids = np.array(read_arrays(done, iteration)[0])
        if len(centroids):
            shared = graph.share((_coded(centroids), folder), f"centroids-{uuid4().hex}")
            steps = graph.tasks(_assign_sample, numbers, shared)
            (sums,) = graph.compute(graph.tree(steps, _added), label=f"k-means {iteration + 1}")
            centroids = _moved(centroids, sums, chosen.seed, iteration)
        write_arrays(done, iteration + 1, [centroids])


def _sums_of_all(
    chunks: Sequence[Chunk], embeddings: Embeddings, centroids: np.ndarray, workspace: Workspace
) -> _Sums:
    """The sums of all rows, in several steps, of which a kept workspace has the sum so far."""
    folder, total = workspace.stage("sums"), None
    n_steps = min(_STEPS, -(-len(chunks) // _CHUNKS_PER_STEP)) if workspace.is_kept else 1
    shared = graph.share((_coded(centroids), embeddings), f"centroids-{uuid4().hex}")
    ends = [len(chunks) * step // n_steps for step in range(n_steps + 1)]
    finished = max((step for step in range(n_steps) if is_written(folder, step)), default=-1)
    if finished >= 0:
        total = _Sums(*map(np.array, read_arrays(folder, finished)))
    for step in range(finished + 1, n_steps):
        tasks = graph.tasks(_assign_chunk, list(chunks[ends[step] : ends[step + 1]]), shared)
        label = f"k-means, all rows, {step + 1} of {n_steps}"
        (sums,) = graph.compute(graph.tree(tasks, _added), label=label)
        total = sums if total is None else _added([total, sums])
        if workspace.is_kept:
            write_arrays(folder, step, [total.sums, total.sizes])
    assert total is not None  # there are centroids only if there are chunks
    return total


def _draw(chunk: Chunk, number: int, shared: tuple) -> int:
    """Write the rows of a chunk that belong to the sample, rounded to int8; return their number."""
    embeddings, seed, most, folder = shared
    if is_written(folder, number):
        return len(read_arrays(folder, number)[0])
    none = encode(np.empty((0, embeddings.dim), np.float32))
    keys, hashes = [np.empty(0, np.int64)], [np.empty(0, np.uint64)]
    codes, scales = [none.codes], [none.scale]
    for block in keys_of_chunk(chunk):
        order = identity_hash(*shard_and_row(block), seed)
        is_drawn = order <= np.uint64(most)
        if not is_drawn.any():
            continue
        block, order = block[is_drawn], order[is_drawn]
        coded = encode(vectors_of(block, embeddings))
        scored = coded.is_scored
        keys.append(block[scored])
        hashes.append(order[scored])
        codes.append(coded.codes[scored])
        scales.append(coded.scale[scored])
    n = sum(map(len, keys))
    write_arrays(folder, number, [np.concatenate(x) for x in (keys, hashes, codes, scales)])
    return n


def _coded(centroids: np.ndarray) -> np.ndarray:
    """Centroids rounded to int8 by one step, so that their products compare as they are."""
    return encode(centroids, common_step=True).codes


def _empty(codes: np.ndarray) -> _Sums:
    return _Sums(np.zeros(codes.shape, np.int64), np.zeros(len(codes), np.int64))


def _assign_sample(file: int, number: int, shared: tuple) -> _Sums:
    centroids, folder = shared
    _, _, codes, scale = read_arrays(folder, file)
    out, tiles = _empty(centroids), CentroidTiles(centroids)
    with one_torch_thread():
        _, label = largest_products(np.asarray(codes), tiles)
    scale = np.asarray(scale)
    add = kernel("add_codes", np.empty((0, 1), np.int8), scale[:0].copy(), label[:0], *_none())
    add(np.array(codes), np.array(scale), label, out.sums, out.sizes)
    return out


def _assign_chunk(chunk: Chunk, number: int, shared: tuple) -> _Sums:
    centroids, embeddings = shared
    out, tiles = _empty(centroids), CentroidTiles(centroids)
    none = np.empty((0, 1), np.float32), np.empty(0), np.empty(0, np.int32)
    add = kernel("add_rows", *none, *_none())
    invert = kernel("inverse_lengths", *none[:2])
    with one_torch_thread():
        for keys in keys_of_chunk(chunk):
            x = np.ascontiguousarray(vectors_of(keys, embeddings), np.float32)
            _, label = largest_products(encode(x).codes, tiles)
            inverse = np.empty(len(x))
            invert(x, inverse)
            add(x, inverse, label, out.sums, out.sizes)
    return out


def _none() -> tuple[np.ndarray, np.ndarray]:
    return np.empty((0, 1), np.int64), np.empty(0, np.int64)


def _added(several: Sequence[_Sums]) -> _Sums:
    sums, sizes = several[0].sums.copy(), several[0].sizes.copy()
    for one in several[1:]:
        sums += one.sums
        sizes += one.sizes
    return _Sums(sums, sizes)


def _moved(centroids: np.ndarray, new: _Sums, seed: int, iteration: int) -> np.ndarray:
    """The directions of the sums; clusters without rows take half of the largest ones."""
    moved = unit(new.sums.astype(np.float64))
    has_none = np.isnan(moved[:, 0])  # no rows, or rows that cancel
    moved[has_none] = centroids[has_none]
    sizes = new.sizes.copy()
    for empty in np.flatnonzero(sizes == 0):
        large = int(np.argmax(sizes))
        if sizes[large] < 2:
            break
        rng = np.random.default_rng([seed, iteration, int(empty)])
        drawn = rng.standard_normal(moved.shape[1])
        aside = drawn * (_APART / np.linalg.norm(drawn))
        halves = unit(moved[large].astype(np.float64) + np.stack([aside, -aside]))
        moved[large], moved[empty] = halves
        sizes[empty] = sizes[large] // 2
        sizes[large] -= sizes[empty]
    return moved
