"""Rows that stay on the card between searches, ready to be multiplied.

Reading a shard takes the bus to the card some eighty times as long as the card takes to look at
it, so what fits is kept. Nothing here is used where vectors are compared on the CPU, which keeps
maps of the files in its place.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import closing

import numpy as np

from laion_dask.cuda_errors import is_out_of_memory
from laion_dask.numerics.dot_products import NEAR
from laion_dask.numerics.gpu import memory
from laion_dask.numerics.gpu.transfer import LEAST, StoredRows, on_device

#: The share of the card's memory that such rows may take, of what is not in use otherwise.
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
        self._bad, self._near = np.zeros(n, bool), True
        self.n, self.n_bytes = n, self.bytes_of(n, dim)

    @staticmethod
    def bytes_of(n: int, dim: int) -> int:
        """What so many rows take on the card."""
        return (n + PAD) * (2 * dim + 4)

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
        counts = torch.stack([bad, far & ~bad]).cpu().numpy()
        self._bad[here], self._near = counts[0], self._near and not counts[1].any()

    def take(self, other: Run, at: np.ndarray) -> None:
        """Take in the rows of another run at some positions, from the start on."""
        n, which = len(at), self._torch.from_numpy(at).to(self.rows.device)
        for mine, its in ((self.rows, other.rows), (self._scale, other._scale)):
            self._torch.index_select(its, 0, which, out=mine[:n])
        self._bad[:n], self._near = other._bad[at], other._near

    def bad(self, start: int, stop: int) -> int:
        """How many of some rows have no direction."""
        return int(np.count_nonzero(self._bad[start:stop]))

    def mend(self, scores, start: int, stop: int) -> None:
        """Bring products with some rows to those with rows of length one; -inf without direction.

        Parameters
        ----------
        scores : (m, at least stop - start) float32 tensor
            Columns behind the last row become -inf too.
        """
        n = stop - start
        if not self._near:
            scores[:, :n].mul_(self._scale[start:stop])
        bad = np.flatnonzero(self._bad[start:stop])
        if len(bad):
            scores[:, self._torch.from_numpy(bad).to(scores.device)] = -np.inf
        scores[:, n:] = -np.inf


class Residents:
    """Runs that are kept, within `SHARE` of the memory that there is; those used last stay.

    A search never drops what it has used itself: of rows that do not all fit it would else drop
    each just before it is wanted again.

    Parameters
    ----------
    room : callable
        ``room(device, held)``: bytes that are free, and those held here, which are given.
    """

    def __init__(self, room: Callable[[str, int], int]) -> None:
        self._room, self._guard = room, threading.Lock()
        self._runs: dict[tuple, tuple[Run, str]] = {}

    def get(self, key: tuple, search: str) -> Run | None:
        """What is kept of some rows."""
        with self._guard:
            run, _ = self._runs.pop(key, (None, ""))
            if run is not None:
                self._runs[key] = run, search
            return run

    def around(self, of: tuple, rows: np.ndarray | range, search: str) -> tuple:
        """A run without gaps that has some rows, which ascend, and its first; (None, 0) if none."""
        with self._guard:
            for key, (run, _) in self._runs.items():
                its, there = key
                if (
                    its == of
                    and isinstance(there, range)
                    and rows[0] in there
                    and rows[-1] in there
                ):
                    self._runs[key] = self._runs.pop(key)[0], search
                    return run, there.start
        return None, 0

    def make(self, n: int, dim: int, device: str, search: str) -> Run | None:
        """Memory for rows that can be kept; None where there is too little of it."""
        size = Run.bytes_of(n, dim)
        with self._guard:
            held = sum(run.n_bytes for run, _ in self._runs.values())
            most = SHARE * self._room(device, held)
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
            if not is_out_of_memory(error):
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


def _room(device: str, held: int) -> int:
    import torch

    free, total = torch.cuda.mem_get_info(device)
    if torch.cuda.get_allocator_backend() not in ("native", "cudaMallocAsync"):
        return total // 2  # RMM's pool has taken most of the card, and does not say what is free
    return free + held + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


#: Those of this process.
residents = Residents(_room)
memory.when_released(residents.clear)


def stretches(
    embeddings: StoredRows, shard: int, rows: np.ndarray | range, device: str, search: str
) -> Iterator[tuple[Run, int, int, np.ndarray | range]]:
    """Some rows of a shard on a device: (run, start, stop, the rows that are there).

    Those that are kept come at once; others block by block, as they arrive.
    """
    if not isinstance(rows, range) and rows[-1] - rows[0] == len(rows) - 1:
        rows = range(int(rows[0]), int(rows[-1]) + 1)  # they ascend
    of = (device, *embeddings.identity(shard))
    key = of, rows if isinstance(rows, range) else _digest(rows)
    run = residents.get(key, search)
    if run is not None:
        yield run, 0, len(rows), rows
        return
    dim = embeddings.dim
    step = max(LEAST, _BLOCK // (dim * np.dtype(embeddings.dtype).itemsize))
    run, first = residents.around(of, rows, search)
    if run is not None and isinstance(rows, range):
        yield run, rows.start - first, rows.stop - first, rows
        return
    if run is not None:
        yield from _gathered(run, rows, first, _as_many(min(step, len(rows)), dim, device))
        return
    run, at = residents.make(len(rows), dim, device, search), 0
    blocks = ((shard, rows[at : at + step]) for at in range(0, len(rows), step))
    passing = None
    with closing(on_device(embeddings, blocks, device)) as fed:
        for (_, here), x in fed:
            if run is None:
                passing = passing or _as_many(len(here), dim, device)
                yield from _passing(passing, x, here)
                continue
            run.put(at, x)
            yield run, at, at + len(here), here
            at += len(here)
    if run is not None:
        residents.keep(key, run, search)


def _gathered(run: Run, rows: np.ndarray, first: int, into: Run) -> Iterator[tuple]:
    """Rows of a run that is kept, as many at a time as another has room for."""
    for at in range(0, len(rows), into.n):
        some = rows[at : at + into.n]
        into.take(run, some.astype(np.int64) - first)
        yield into, 0, len(some), some


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


def _digest(rows: np.ndarray) -> tuple:
    return len(rows), hashlib.blake2b(np.ascontiguousarray(rows, np.int64)).hexdigest()
