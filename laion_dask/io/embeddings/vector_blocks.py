"""Read the vectors of a partition's rows block by block, across shards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from laion_dask.io.embeddings import row_ids

if TYPE_CHECKING:
    from laion_dask.io.embeddings.embeddings import Embeddings

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
