"""The rows that a projection is fitted on: a bounded number, drawn by hash.

Files are taken in the order of their paths, so the rows are the same whatever order a frame or a
listing has. A run of neighboring rows costs a store as much as one row, so rows are drawn in short
runs where there are many.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from laion_dask.frame.row_hash import identity_hash
from laion_dask.io.embeddings.embeddings import Embeddings
from laion_dask.runtime import cancellation

#: From so many rows on, runs of `_RUN` rows are drawn.
_MANY, _RUN = 10_000_000, 16
#: Bytes of files that must be read as a whole: above, only some of the files are drawn from.
_PACKED_BYTES = 2**30
#: The fewest files of those, if there are as many.
_FEWEST_FILES = 16
#: Rows of a block.
_BLOCK = 4096


def sampled_blocks(embeddings: Embeddings, n: int, seed: int) -> Iterator[np.ndarray]:
    """The vectors of drawn rows, in blocks (k, dim), in the dtype of their files.

    Parameters
    ----------
    embeddings : Embeddings
    n : int
        How many rows are drawn; all, if there are fewer.
    seed : int
    """
    for number, rows in sampled_rows(embeddings, n, seed):
        for at in range(0, len(rows), _BLOCK):
            cancellation.check()
            yield embeddings.read(number, rows[at : at + _BLOCK])


def sampled_rows(embeddings: Embeddings, n: int, seed: int) -> list[tuple[int, np.ndarray]]:
    """The drawn rows: the number of a file, and ascending positions in it, (k,) int64."""
    numbers = _files(embeddings, n, seed)
    sizes = np.array([embeddings.files[number].n_rows for number in numbers], np.int64)
    starts = np.concatenate([[0], np.cumsum(sizes)])
    positions = drawn_positions(int(starts[-1]), n, seed)
    cuts = np.searchsorted(positions, starts)
    return [
        (number, positions[cuts[at] : cuts[at + 1]] - starts[at])
        for at, number in enumerate(numbers)
        if cuts[at + 1] > cuts[at]
    ]


def drawn_positions(n_rows: int, n: int, seed: int) -> np.ndarray:
    """``n`` distinct positions out of ``n_rows``, ascending, (n,) int64; all, if there are fewer.

    Runs are aligned, so the last run, and with it the sample, may be shorter.
    """
    run = _RUN if n_rows >= _MANY else 1
    n_runs, wanted = -(-n_rows // run), -(-n // run)
    if wanted >= n_runs:
        return np.arange(n_rows)
    if n_runs <= 4 * wanted:  # few: those with the smallest hashes
        hashes = identity_hash(np.zeros(n_runs, np.int64), np.arange(n_runs), seed)
        runs = np.argsort(hashes, kind="stable")[:wanted]
    else:
        count = 2 * wanted  # at least so many are distinct, except with a vanishing probability
        hashes = identity_hash(np.zeros(count, np.int64), np.arange(count), seed)
        share = (hashes >> np.uint64(11)).astype(np.float64) * 2.0**-53
        drawn, first = np.unique((share * n_runs).astype(np.int64), return_index=True)
        runs = drawn[np.argsort(first, kind="stable")[:wanted]]
    positions = (np.sort(runs)[:, None] * run + np.arange(run)).ravel()
    return positions[positions < n_rows]


def _files(embeddings: Embeddings, n: int, seed: int) -> Sequence[int]:
    """The numbers of the files that rows are drawn from, in the order of their paths."""
    files = embeddings.files
    ordered = sorted(range(len(files)), key=lambda number: repr(files[number].token))
    if sum(file.size for file in files if file.is_packed) <= _PACKED_BYTES:
        return ordered
    hashes = identity_hash(np.ones(len(files), np.int64), np.arange(len(files)), seed)
    chosen: list[int] = []
    rows = size = 0
    for at in np.argsort(hashes, kind="stable").tolist():
        chosen.append(at)
        rows += files[ordered[at]].n_rows
        size += files[ordered[at]].size
        if rows >= n and len(chosen) >= _FEWEST_FILES and size > _PACKED_BYTES // 2:
            break
    return [ordered[at] for at in sorted(chosen)]
