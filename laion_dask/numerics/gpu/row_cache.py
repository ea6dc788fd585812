"""Rows that stay on the GPU between searches, ready to be multiplied.

Copying a shard over the bus takes about eighty times as long as searching it on the GPU, so as many
rows as fit are cached. The CPU does not use this cache; it keeps the files memory-mapped instead.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import closing

import numpy as np

from laion_dask.cuda_errors import is_out_of_memory
from laion_dask.numerics.dot_products import NEAR
from laion_dask.numerics.gpu import memory
from laion_dask.numerics.gpu.row_source import StoredRows
from laion_dask.numerics.gpu.transfer import MIN_BLOCK_ROWS, prefetch_to_device

#: The share of the otherwise unused GPU memory that cached rows may use.
SHARE = 0.5
#: Bytes per block that is copied to the GPU.
_BLOCK = 1 << 26
#: Zero rows after the last row, so that a range of rows can be rounded up to a multiple.
PAD = 64


class DeviceRows:
    """float16 rows on a device, their scales, and which of them have no direction.

    Rows stored as float16 are kept unchanged, float32 rows are normalized. A row without direction,
    whose length is zero, infinite or NaN, is replaced by zeros.

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
        self._invalid, self._all_near_one = np.zeros(n, bool), True
        self.n, self.n_bytes = n, self.bytes_of(n, dim)

    @staticmethod
    def bytes_of(n: int, dim: int) -> int:
        """The GPU memory needed for n rows."""
        return (n + PAD) * (2 * dim + 4)

    def put(self, at: int, x) -> None:
        """Copy rows as stored, an (m, dim) tensor, to position ``at``."""

        def put_block(start: int, stop: int) -> None:
            self._put(at + start, x[start:stop])

        memory.run_with_oom_backoff(put_block, len(x), len(x), min_size=MIN_BLOCK_ROWS)

    def _put(self, start: int, x) -> None:
        torch, target = self._torch, slice(start, start + len(x))
        # Squares of float16 are normal in float32, squares of float32 are normal in float64.
        length_dtype = torch.float32 if x.dtype == torch.float16 else torch.float64
        length = torch.linalg.vector_norm(x, dim=1, dtype=length_dtype)
        invalid = ~(torch.isfinite(length) & (length > 0))
        if x.dtype == torch.float16:
            self.rows[target] = x
            self._scale[target] = 1 / length
            not_unit = (length - 1).abs() >= 0.75 * NEAR
        else:
            self.rows[target] = (x.double() / length[:, None]).half()
            not_unit = torch.zeros_like(invalid)
        self.rows[target].masked_fill_(invalid[:, None], 0)
        self._scale[target].masked_fill_(invalid, 1)
        counts = torch.stack([invalid, not_unit & ~invalid]).cpu().numpy()
        self._invalid[target], self._all_near_one = (
            counts[0],
            self._all_near_one and not counts[1].any(),
        )

    def take(self, other: DeviceRows, positions: np.ndarray) -> None:
        """Copy the rows at the given positions of ``other`` to the start."""
        n, indices = len(positions), self._torch.from_numpy(positions).to(self.rows.device)
        for target, source in ((self.rows, other.rows), (self._scale, other._scale)):
            self._torch.index_select(source, 0, indices, out=target[:n])
        self._invalid[:n], self._all_near_one = other._invalid[positions], other._all_near_one

    def n_without_direction(self, start: int, stop: int) -> int:
        """The number of rows without direction in a range."""
        return int(np.count_nonzero(self._invalid[start:stop]))

    def to_cosines(self, scores, start: int, stop: int) -> None:
        """Turn products with a range of rows into cosines, in place; -inf without direction.

        Parameters
        ----------
        scores : (m, at least stop - start) float32 tensor
            Columns after the last row become -inf too.
        """
        n = stop - start
        if not self._all_near_one:
            scores[:, :n].mul_(self._scale[start:stop])
        invalid = np.flatnonzero(self._invalid[start:stop])
        if len(invalid):
            scores[:, self._torch.from_numpy(invalid).to(scores.device)] = -np.inf
        scores[:, n:] = -np.inf


class RowCache:
    """Cached rows within `SHARE` of the available memory; the least recently used are evicted.

    A search never evicts rows that it has used itself: if the rows do not all fit, it would evict
    each just before it is needed again.

    Parameters
    ----------
    available : callable
        ``available(device, held)``: free bytes, plus ``held``, the bytes that are cached here.
    """

    def __init__(self, available: Callable[[str, int], int]) -> None:
        self._available, self._guard = available, threading.Lock()
        self._runs: dict[tuple, tuple[DeviceRows, str]] = {}

    def get(self, key: tuple, search: str) -> DeviceRows | None:
        """The cached rows of a key, or None."""
        with self._guard:
            run, _ = self._runs.pop(key, (None, ""))
            if run is not None:
                self._runs[key] = run, search
            return run

    def around(self, file_key: tuple, rows: np.ndarray | range, search: str) -> tuple:
        """Cached contiguous rows that contain sorted ``rows``, and the first; or (None, 0)."""
        with self._guard:
            for key, (run, _) in self._runs.items():
                cached_key, cached = key
                if (
                    cached_key == file_key
                    and isinstance(cached, range)
                    and rows[0] in cached
                    and rows[-1] in cached
                ):
                    self._runs[key] = self._runs.pop(key)[0], search
                    return run, cached.start
        return None, 0

    def make(self, n: int, dim: int, device: str, search: str) -> DeviceRows | None:
        """Allocate rows that may be cached; None when memory is short."""
        size = DeviceRows.bytes_of(n, dim)
        with self._guard:
            cached_bytes = sum(run.n_bytes for run, _ in self._runs.values())
            max_bytes = SHARE * self._available(device, cached_bytes)
            evictable = [key for key, (_, owner) in self._runs.items() if owner != search]
            search_bytes = sum(run.n_bytes for run, owner in self._runs.values() if owner == search)
            if search_bytes + size > max_bytes:
                return None
            for key in evictable:
                if cached_bytes + size <= max_bytes:
                    break
                cached_bytes -= self._runs.pop(key)[0].n_bytes
        try:
            return DeviceRows(n, dim, device)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        memory.release()
        return None

    def keep(self, key: tuple, run: DeviceRows, search: str) -> None:
        """Cache complete rows."""
        with self._guard:
            self._runs[key] = run, search

    def clear(self) -> None:
        """Evict everything."""
        with self._guard:
            self._runs.clear()

    def __len__(self) -> int:
        return len(self._runs)


def _available(device: str, cached_bytes: int) -> int:
    import torch

    free, total = torch.cuda.mem_get_info(device)
    if torch.cuda.get_allocator_backend() not in ("native", "cudaMallocAsync"):
        return total // 2  # RMM's pool holds most of the GPU, and does not report free memory
    return (
        free
        + cached_bytes
        + torch.cuda.memory_reserved(device)
        - torch.cuda.memory_allocated(device)
    )


#: The cache of this process.
cached_rows = RowCache(_available)
memory.on_release(cached_rows.clear)


def rows_on_device(
    embeddings: StoredRows, shard: int, rows: np.ndarray | range, device: str, search: str
) -> Generator[tuple[DeviceRows, int, int, np.ndarray | range]]:
    """The rows of a shard on a device: (device rows, start, stop, their row numbers).

    Cached rows are yielded in one piece, others block by block as they arrive.
    """
    if not isinstance(rows, range) and rows[-1] - rows[0] == len(rows) - 1:
        rows = range(int(rows[0]), int(rows[-1]) + 1)  # rows are sorted
    file_key = (device, *embeddings.identity(shard))
    key = file_key, rows if isinstance(rows, range) else _digest(rows)
    run = cached_rows.get(key, search)
    if run is not None:
        yield run, 0, len(rows), rows
        return
    dim = embeddings.dim
    step = max(MIN_BLOCK_ROWS, _BLOCK // (dim * np.dtype(embeddings.dtype).itemsize))
    run, first = cached_rows.around(file_key, rows, search)
    if run is not None:
        if isinstance(rows, range):
            yield run, rows.start - first, rows.stop - first, rows
            return
        yield from _cached_blocks(
            run, rows, first, _allocate_up_to(min(step, len(rows)), dim, device)
        )
        return
    run, at = cached_rows.make(len(rows), dim, device, search), 0
    blocks = ((shard, rows[at : at + step]) for at in range(0, len(rows), step))
    buffer = None
    with closing(prefetch_to_device(embeddings, blocks, device)) as transfers:
        for (_, block_rows), x in transfers:
            if run is None:
                buffer = buffer or _allocate_up_to(len(block_rows), dim, device)
                yield from _uncached_blocks(buffer, x, block_rows)
                continue
            run.put(at, x)
            yield run, at, at + len(block_rows), block_rows
            at += len(block_rows)
    if run is not None:
        cached_rows.keep(key, run, search)


def _cached_blocks(
    run: DeviceRows, rows: np.ndarray, first: int, into: DeviceRows
) -> Iterator[tuple]:
    """Selected cached rows, in blocks that fit in ``into``."""
    for at in range(0, len(rows), into.n):
        block = rows[at : at + into.n]
        into.take(run, block.astype(np.int64) - first)
        yield into, 0, len(block), block


def _uncached_blocks(run: DeviceRows, x, rows: np.ndarray | range) -> Iterator[tuple]:
    """Rows that are not cached, in blocks that fit in ``run``."""
    for at in range(0, len(rows), run.n):
        block = slice(at, at + run.n)
        run.put(0, x[block])
        yield run, 0, len(rows[block]), rows[block]


def _allocate_up_to(n: int, dim: int, device: str) -> DeviceRows:
    """Allocate n rows, or as many as fit in memory."""
    allocated: list[DeviceRows] = []

    def make(start: int, stop: int) -> None:
        if not allocated:
            allocated.append(DeviceRows(stop - start, dim, device))

    memory.run_with_oom_backoff(make, n, n, min_size=MIN_BLOCK_ROWS)
    return allocated[0]


def _digest(rows: np.ndarray) -> tuple:
    return len(rows), hashlib.blake2b(np.ascontiguousarray(rows, np.int64).data).hexdigest()
