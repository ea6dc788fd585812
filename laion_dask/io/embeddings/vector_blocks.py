"""Read the vectors of a partition's rows block by block, across shards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from laion_dask.io.embeddings import row_ids

if TYPE_CHECKING:
    from laion_dask.io.embeddings.embeddings import Embeddings

#: Rows of a shard that are searched together with those of other shards, and of all of them.
_SMALL, _JOINED = 2048, 8192

_Block = tuple[int, np.ndarray, np.ndarray]


def vector_blocks(
    part, sets: Sequence[Embeddings]
) -> Iterator[tuple[list[np.ndarray], np.ndarray]]:
    """The vectors of a partition's rows in blocks of up to `row_ids.BLOCK` rows.

    A block may have rows of several small shards, but only of files with the same dtypes, since the
    dtype of a vector may change the last digits of its scores.

    Parameters
    ----------
    part : frame with ``shard`` and ``row``
    sets : sequence of Embeddings

    Yields
    ------
    vectors : list of (k, dim) array
        One for each of ``sets``, in the dtype of its files.
    positions : (k,) int64 array
        The positions of the rows in the partition.
    """
    together: list[_Block] = []
    n, together_dtypes = 0, None
    for block in row_ids.blocks(part):
        dtypes = [embeddings.dtype_of(block[0]) for embeddings in sets]
        if together and (n + len(block[1]) > row_ids.BLOCK or dtypes != together_dtypes):
            yield _read(together, sets)
            together, n = [], 0
        together.append(block)
        n, together_dtypes = n + len(block[1]), dtypes
    if together:
        yield _read(together, sets)


def _read(
    together: Sequence[_Block], sets: Sequence[Embeddings]
) -> tuple[list[np.ndarray], np.ndarray]:
    if len(together) == 1:
        shard, rows, positions = together[0]
        return [embeddings.read(shard, rows) for embeddings in sets], positions
    vectors = [
        np.concatenate([embeddings.read(shard, rows) for shard, rows, _ in together])
        for embeddings in sets
    ]
    return vectors, np.concatenate([positions for *_, positions in together])


def scaled_blocks(
    part, embeddings: Embeddings, step: int
) -> Iterator[tuple[np.ndarray, np.ndarray | None, int | np.ndarray, np.ndarray | range]]:
    """The vectors of a partition's rows with their scales, in blocks of up to ``step`` rows.

    Parameters
    ----------
    part : frame with ``shard`` and ``row``, or tuple of (shard, start, stop)
    embeddings : Embeddings
    step : int

    Yields
    ------
    vectors : (k, dim) array
        In the widest dtype of all files.
    scale : (k,) float64 array, or None
        See `Embeddings.read_scaled`.
    shard : int, or (k,) int32 array
        That of all rows, or of each row if they are from several small shards.
    rows : range, or (k,) int64 array
        Positions in the shards.
    """
    small: list[tuple] = []
    n = 0
    for shard, rows in row_ids.runs(part):
        for at in range(0, len(rows), step):
            chunk = rows[at : at + step]
            x, scale = embeddings.read_scaled(shard, chunk)
            x = x.astype(embeddings.dtype, copy=False)
            if len(chunk) > min(_SMALL, step // 2):
                yield x, scale, shard, chunk
                continue
            if n + len(chunk) > min(_JOINED, step):
                yield _joined(small)
                small, n = [], 0
            small.append((x, scale, shard, chunk))
            n += len(chunk)
    if small:
        yield _joined(small)


def _joined(small: Sequence[tuple]):
    if len(small) == 1:
        return small[0]
    sizes = [len(rows) for *_, rows in small]
    scales = None
    if any(scale is not None for _, scale, _, _ in small):
        scales = np.concatenate([np.ones(len(r)) if s is None else s for _, s, _, r in small])
    return (
        np.concatenate([x for x, *_ in small]),
        scales,
        np.repeat(np.array([shard for *_, shard, _ in small], np.int32), sizes),
        np.concatenate([np.asarray(rows) for *_, rows in small]),
    )
