"""State that the tasks of one search share within a process."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import numpy as np

from laion_dask.retrieval.exact.pairs import k_greatest

#: Bytes of a cache line, which a load of AVX-512 fills.
_LINE = 64


class ScratchPool:
    """Scratch buffers that blocks reuse, and the converted rows that all query batches read.

    Each page of newly allocated memory costs a page fault, several times as slow as filling it.
    """

    def __init__(self) -> None:
        self._held: dict = {}
        self.block: tuple | None = None
        #: The largest element that `int8_rows` can represent, in deviations.
        self.reach = 5.0

    def array(self, name: str, size: int, dtype=np.float32) -> np.ndarray:
        """An uninitialized array (size,), aligned; the same memory for the same name and dtype."""
        buffer = self._held.get((name, dtype))
        if buffer is None or len(buffer) < size:
            buffer = self._held[name, dtype] = _aligned(size, np.dtype(dtype))
        return buffer[:size]

    def tensor(self, name: str, size: int, dtype):
        """As `array`, as a torch tensor."""
        import torch

        buffer = self._held.get((name, dtype))
        if buffer is None or len(buffer) < size:
            buffer = self._held[name, dtype] = torch.empty(size, dtype=dtype)
        return buffer[:size]


def _aligned(size: int, dtype: np.dtype) -> np.ndarray:
    """An uninitialized array (size,) that starts at a cache line."""
    memory = np.empty(size * dtype.itemsize + _LINE, np.uint8)
    start = -memory.ctypes.data % _LINE
    return memory[start : start + size * dtype.itemsize].view(dtype)


class SearchState:
    """Scratch buffers, values made once, and known lower bounds of the k-th best cosines.

    All of them only save time: a task that finds this state empty, because it runs first or in
    another process, leads to the same answer.

    Attributes
    ----------
    search : str
        The id of the search within this process.
    """

    def __init__(self) -> None:
        self.search = uuid4().hex
        self._guard = threading.Lock()
        self._free: deque[ScratchPool] = deque()
        self._seen: set[int] = set()
        self._lower: np.ndarray | None = None
        self._running: dict[tuple[int, int], np.ndarray] = {}
        self._making = threading.Lock()
        self._made: dict[Hashable, Any] = {}

    def __reduce__(self):
        return SearchState, ()

    def __dask_tokenize__(self):
        # Two searches must never share one, although it arrives empty in another process.
        return ("laion_dask.SearchState", self.search)

    def once(self, name: Hashable, make: Callable[[], Any]) -> Any:
        """A value that all tasks of this process share, made by the first to ask for it."""
        with self._making:
            if name not in self._made:
                self._made[name] = make()
            return self._made[name]

    @contextmanager
    def scratch(self) -> Iterator[ScratchPool]:
        """Scratch buffers for the exclusive use of this task."""
        try:
            scratch = self._free.pop()
        except IndexError:
            scratch = ScratchPool()
        try:
            yield scratch
        finally:
            scratch.block = None
            self._free.append(scratch)

    def floor(self, m: int) -> np.ndarray:
        """Lower bounds of each query's k-th best cosine, (m,) float32; -inf if unknown."""
        with self._guard:
            if self._lower is None:
                return np.full(m, -np.inf, np.float32)
            return self._lower.min(axis=1)

    def exchange(self, number: int, first: int, lower: np.ndarray) -> np.ndarray:
        """Record the bounds of a running partition; return the bounds that all partitions imply.

        Parameters
        ----------
        number : int
            Number of the partition.
        first : int
            The first of the queries that the bounds belong to.
        lower : (m, k) float32 array
            Lower bounds of the cosines of k of its rows.

        Returns
        -------
        (m,) float32
            Lower bounds of each query's k-th best cosine.
        """
        with self._guard:
            if number in self._seen:
                return lower.min(axis=1)
            self._running[number, first] = lower
            known = [bounds for (_, at), bounds in self._running.items() if at == first]
            if self._lower is not None:
                known.append(self._lower[first : first + len(lower)])
        return k_greatest(np.concatenate(known, axis=1), lower.shape[1]).min(axis=1)

    def add_bounds(self, number: int, lower: np.ndarray) -> None:
        """Add lower bounds of the cosines of k rows of a partition, (m, k) float32.

        A partition that is already known, such as that of a rerun task, is ignored, since its rows
        would count twice. Its rows must be the same, as Dask requires of every task.
        """
        with self._guard:
            if number in self._seen:
                return
            self._seen.add(number)
            self._running = {key: b for key, b in self._running.items() if key[0] != number}
            bounds = lower if self._lower is None else np.concatenate([self._lower, lower], axis=1)
            self._lower = k_greatest(bounds, lower.shape[1])
