"""Index a range of rows of embeddings: read in blocks, encode, and search exactly.

Rows without a direction are counted and excluded. One pass over the data serves both the index and
the exact search that its recall is measured against.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from laion_dask.io.embeddings.row_ids import BLOCK
from laion_dask.numerics.normalization import unit
from laion_dask.retrieval.index import ivf_pq
from laion_dask.retrieval.index.brute_force import best, exact
from laion_dask.runtime.ordered_map import in_order

if TYPE_CHECKING:
    from laion_dask.io.embeddings.file import EmbeddingFile


@dataclass(frozen=True)
class Stretch:
    """A range of consecutive rows of a file.

    Attributes
    ----------
    file : EmbeddingFile
    first, stop : int
        Positions in the file.
    start : int
        Position of the first row among the rows of all files.
    """

    file: EmbeddingFile
    first: int
    stop: int
    start: int

    def __len__(self) -> int:
        return self.stop - self.first


@dataclass(frozen=True)
class Queries:
    """Rows used as queries, and the number of neighbors per query.

    Attributes
    ----------
    vectors : (q, dim) float32 array
        Unit norm.
    ids : (q,) int64 array
        Their positions among the rows of all files.
    k : int
    """

    vectors: np.ndarray
    ids: np.ndarray
    k: int


def stretches(files: Sequence[EmbeddingFile], start: int, stop: int) -> list[Stretch]:
    """The rows from ``start`` to ``stop``, counted over all files."""
    pieces, before = [], 0
    for file in files:
        first, end = max(0, start - before), min(file.n_rows, stop - before)
        if first < end:
            pieces.append(Stretch(file, first, end, before + first))
        before += file.n_rows
    return pieces


def with_direction(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows with a direction, scaled to length one in float32, and their mask."""
    scaled = unit(x)
    positions = np.flatnonzero(~np.isnan(scaled[:, 0]))
    return scaled[positions], positions


def rows_at(
    parts: Sequence[Stretch], ids: np.ndarray, advance: Callable[[int], None]
) -> tuple[np.ndarray, np.ndarray]:
    """The rows at sorted positions, (n, dim) float32, without those that have no direction.

    Returns
    -------
    rows, ids
    """
    rows, kept_ids = [np.empty((0, parts[0].file.dim), np.float32)], [np.empty(0, np.int64)]
    for stretch in parts:
        stretch_ids = ids[(ids >= stretch.start) & (ids < stretch.start + len(stretch))]
        for at in range(0, len(stretch_ids), BLOCK):
            block_ids = stretch_ids[at : at + BLOCK]
            scaled, positions = with_direction(
                stretch.file.read(block_ids - stretch.start + stretch.first)
            )
            rows.append(scaled)
            kept_ids.append(block_ids[positions])
            advance(len(block_ids))
    return np.concatenate(rows), np.concatenate(kept_ids)


def index_rows(
    parts: Sequence[Stretch],
    trained,
    queries: Queries,
    *,
    n_concurrent: int,
    device: str,
    advance: Callable[[int], None],
) -> tuple[Any, int, tuple[np.ndarray, np.ndarray]]:
    """Index one group: its encoded rows, the number of excluded rows, and each query's neighbors.

    Blocks follow the files and are added in order, so the group does not depend on
    ``n_concurrent``.

    Parameters
    ----------
    parts : sequence of Stretch
    trained : IndexIVFPQ
    queries : Queries
    n_concurrent : int
        Number of blocks that are encoded concurrently, each on one thread.
    device : str
        A torch device.
    advance : callable
        Called with the number of rows of every finished block; an exception from it stops the work.
    """

    encode = ivf_pq.encoder(trained, device)

    def work(block: Stretch) -> tuple[int, np.ndarray, np.ndarray, tuple[np.ndarray, np.ndarray]]:
        x, positions = with_direction(block.file.read(range(block.first, block.stop)))
        ids = positions + block.start
        nearest = exact(queries.vectors, queries.ids, x, ids, queries.k, device)
        return len(block), ids, encode(x), nearest

    group, unscored = ivf_pq.group_of(trained), 0
    q = len(queries.ids)
    nearest = np.full((q, queries.k), -np.inf, np.float32), np.full((q, queries.k), -1, np.int64)
    for n_rows, ids, codes, block_nearest in in_order(
        work, blocks(parts), n_concurrent, ivf_pq.one_thread
    ):
        ivf_pq.add(group, codes, ids)
        unscored += n_rows - len(ids)
        all_scores = np.concatenate([nearest[0], block_nearest[0]], axis=1)
        all_ids = np.concatenate([nearest[1], block_nearest[1]], axis=1)
        nearest = best(all_scores, all_ids, queries.k)
        advance(n_rows)
    return group, unscored, nearest


def blocks(parts: Sequence[Stretch]) -> Iterator[Stretch]:
    """The stretches, cut into blocks of at most ``BLOCK`` rows."""
    for stretch in parts:
        for first in range(stretch.first, stretch.stop, BLOCK):
            stop = min(first + BLOCK, stretch.stop)
            yield Stretch(stretch.file, first, stop, stretch.start + first - stretch.first)
