"""Rows that stay on the card between searches, ready to be multiplied.

Reading a shard takes the bus to the card some eighty times as long as the card takes to look at
it, so what fits is kept. Nothing here is used where vectors are compared on the CPU, which keeps
maps of the files in its place.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from laion_dask import memory
from laion_dask.kernels.feed import LEAST, on_device
from laion_dask.products import NEAR

if TYPE_CHECKING:
    from laion_dask.io.embeddings import Embeddings

#: The share of the card's memory that is not in use otherwise which such rows may take.
SHARE = 0.5
#: Bytes of the blocks that are brought to the card.
_BLOCK = 1 << 26
#: Rows of zeros behind the last one, so that any number of rows can be looked at as a multiple.
PAD = 64


class Run:
    """Rows on a device: float16, each one's scale, and those without direction.

    Rows that are stored as float16 are kept as they are, those of float32 at length one. A row
    without direction, of a length that is zero, infinite or NaN, is one of zeros.

    Attributes
    ----------
    rows : (n + PAD, dim) float16 tensor
    n, n_bytes : int
    """

    def __init__(self, n: int, dim: int, device: str) -> None:
        import torch

        self._torch = torch
        self.rows = torch.empty((n + PAD, dim), dtype=torch.float16, device=device)
        self.rows[n:] = 0
        self._scale = torch.ones(n + PAD, dtype=torch.float32, device=device)
        self._bad = torch.zeros(n + PAD, dtype=torch.bool, device=device)
        self._n_bad, self._near = np.zeros(n, bool), True
        self.n, self.n_bytes = n, self.bytes_of(n, dim)

    @staticmethod
    def bytes_of(n: int, dim: int) -> int:
        """What so many rows take on the card."""
        return (n + PAD) * (2 * dim + 5)

    def put(self, at: int, x) -> None:
        """Take in rows as they are stored, an (m, dim) tensor, from position ``at`` on."""

        def some(start: int, stop: int) -> None:
            self._put(at + start, x[start:stop])

        memory.in_blocks(some, len(x), len(x), least=LEAST)

    def _put(self, at: int, x) -> None:
        torch, here = self._torch, slice(at, at + len(x))
        # Squares of float16 are normal numbers of float32, those of float32 ones of float64.
        wide = torch.float32 if x.dtype == torch.float16 else torch.float64
        length = torch.linalg.vector_norm(x, dim=1, dtype=wide)
        bad = ~(torch.isfinite(length) & (length > 0))
        if x.dtype == torch.float16:
            self.rows[here] = x
            self._scale[here] = 1 / length
            far = (length - 1).abs() >= 0.75 * NEAR
        else:
            self.rows[here] = (x.double() / length[:, None]).half()
            far = torch.zeros_like(bad)
        self.rows[here].masked_fill_(bad[:, None], 0)
        self._scale[here].masked_fill_(bad, 1)
        self._bad[here] = bad
        counts = torch.stack([bad, far & ~bad]).cpu().numpy()
        self._n_bad[here], self._near = counts[0], self._near and not counts[1].any()

    def bad(self, start: int, stop: int) -> int:
        """How many of some rows have no direction."""
        return int(np.count_nonzero(self._n_bad[start:stop]))

    def mend(self, scores, start: int, stop: int) -> None:
        """Bring products with some rows to those with rows of length one; -inf without direction.

        Parameters
        ----------
        scores : (m, at least stop - start) float32 tensor
            Columns behind the last row become -inf too.
        """
        n = stop - start
        if not self._near:
            scores[:, :n] *= self._scale[start:stop]
        if self.bad(start, stop):
            scores[:, :n].masked_fill_(self._bad[start:stop], -np.inf)
        scores[:, n:] = -np.inf


class Residents:
    """Runs that are kept, within `SHARE` of the memory that there is; those used last stay.

    A search never drops what it has used itself: of rows that do not all fit it would else drop
    each just before it is wanted again.

    Parameters
    ----------
    available : callable
        ``available(device)``: bytes that are free, next to what is kept here.
    """

    def __init__(self, available: Callable[[str], int]) -> None:
        self._available, self._guard = available, threading.Lock()
        self._runs: dict[tuple, tuple[Run, str]] = {}

    def get(self, key: tuple, search: str) -> Run | None:
        """What is kept of some rows."""
        with self._guard:
            run, _ = self._runs.pop(key, (None, ""))
            if run is not None:
                self._runs[key] = run, search
            return run

    def make(self, n: int, dim: int, device: str, search: str) -> Run | None:
        """Memory for rows that can be kept; None where there is too little of it."""
        size = Run.bytes_of(n, dim)
        with self._guard:
            held = sum(run.n_bytes for run, _ in self._runs.values())
            most = SHARE * (self._available(device) + held)
            others = [key for key, (_, by) in self._runs.items() if by != search]
            mine = sum(run.n_bytes for run, by in self._runs.values() if by == search)
            if mine + size > most:
                return None
            for key in others:
                if held + size <= most:
                    break
                held -= self._runs.pop(key)[0].n_bytes
        try:
            return Run(n, dim, device)
        except Exception as error:
            if not memory.is_out_of_memory(error):
                raise
        memory.release()
        return None

    def keep(self, key: tuple, run: Run, search: str) -> None:
        """Keep a run that is full."""
        with self._guard:
            self._runs[key] = run, search

    def clear(self) -> None:
        """Drop everything, as when memory is short."""
        with self._guard:
            self._runs.clear()

    def __len__(self) -> int:
        return len(self._runs)


def _free(device: str) -> int:
    import torch

    return torch.cuda.mem_get_info(device)[0]


#: Those of this process.
residents = Residents(_free)
memory.when_released(residents.clear)


def stretches(
    embeddings: Embeddings, shard: int, rows: np.ndarray | range, device: str, search: str
) -> Iterator[tuple[Run, int, int, np.ndarray | range]]:
    """Some rows of a shard on a device: (run, start, stop, the rows that are there).

    Those that are kept come at once; others block by block, as they arrive.
    """
    if not isinstance(rows, range) and rows[-1] - rows[0] == len(rows) - 1:
        rows = range(int(rows[0]), int(rows[-1]) + 1)  # they ascend
    key = (device, *embeddings.identity(shard), *_digest(rows))
    run = residents.get(key, search)
    if run is not None:
        yield run, 0, len(rows), rows
        return
    dim = embeddings.dim
    step = max(LEAST, _BLOCK // (dim * np.dtype(embeddings.dtype).itemsize))
    run, at = residents.make(len(rows), dim, device, search), 0
    blocks = ((shard, rows[at : at + step]) for at in range(0, len(rows), step))
    passing = None
    for (_, here), x in on_device(embeddings, blocks, device):
        if run is None:
            passing = passing or _as_many(len(here), dim, device)
            yield from _passing(passing, x, here)
            continue
        run.put(at, x)
        yield run, at, at + len(here), here
        at += len(here)
    if run is not None:
        residents.keep(key, run, search)


def _passing(run: Run, x, rows: np.ndarray | range) -> Iterator[tuple]:
    """Rows that are not kept, as many at a time as a run has room for."""
    for at in range(0, len(rows), run.n):
        some = slice(at, at + run.n)
        run.put(0, x[some])
        yield run, 0, len(rows[some]), rows[some]


def _as_many(n: int, dim: int, device: str) -> Run:
    """A run of n rows, or of as many as there is room for."""
    made = []

    def make(start: int, stop: int) -> None:
        if not made:
            made.append(Run(stop - start, dim, device))

    memory.in_blocks(make, n, n, least=LEAST)
    return made[0]


def _digest(rows: np.ndarray | range) -> tuple:
    if isinstance(rows, range):
        return rows.start, rows.stop
    return len(rows), hashlib.blake2b(np.ascontiguousarray(rows, np.int64)).hexdigest()
