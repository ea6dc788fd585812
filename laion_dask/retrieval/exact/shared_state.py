"""What the tasks of one search share, as far as they run in one process."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import numpy as np

from laion_dask.retrieval.exact.pairs import greatest


class Space:
    """Memory that blocks take in turn, and the rows that all queries read.

    A page of new memory costs a fault, which takes several times as long as to fill it.
    """

    def __init__(self) -> None:
        self._held: dict = {}
        self.block: tuple | None = None

    def array(self, name: str, size: int, dtype=np.float32) -> np.ndarray:
        """(size,) of a dtype, the same memory for a name and dtype every time."""
        held = self._held.get((name, dtype))
        if held is None or len(held) < size:
            held = self._held[name, dtype] = np.empty(size, dtype)
        return held[:size]

    def tensor(self, name: str, size: int, dtype):
        """The same as a tensor."""
        import torch

        held = self._held.get((name, dtype))
        if held is None or len(held) < size:
            held = self._held[name, dtype] = torch.empty(size, dtype=dtype)
        return held[:size]


class Together:
    """Memory to compute in, and what is known of the k-th best cosines.

    Both only save time: a task that finds nothing here, since it runs first or in a process of its
    own, gives a result that leads to the same answer.

    Attributes
    ----------
    search : str
        Names the search, in one process.
    """

    def __init__(self) -> None:
        self.search = uuid4().hex
        self._guard = threading.Lock()
        self._free: deque[Space] = deque()
        self._seen: set[int] = set()
        self._lower: np.ndarray | None = None

    def __reduce__(self):
        return Together, ()

    def __dask_tokenize__(self):
        # Searches must never share one, though in another process it comes out empty.
        return ("laion_dask.Together", self.search)

    @contextmanager
    def space(self) -> Iterator[Space]:
        """Memory that no other task uses meanwhile."""
        try:
            space = self._free.pop()
        except IndexError:
            space = Space()
        try:
            yield space
        finally:
            space.block = None
            self._free.append(space)

    def floor(self, m: int) -> np.ndarray:
        """What the k-th best cosine of each query is at least, (m,) float32; -inf if unknown."""
        with self._guard:
            if self._lower is None:
                return np.full(m, -np.inf, np.float32)
            return self._lower.min(axis=1)

    def learn(self, number: int, lower: np.ndarray) -> None:
        """Take in what the cosines of k rows of a partition are at least, (m, k) float32.

        A partition that comes again, as when its task is run anew, says nothing more: its rows
        would count twice. They must be the same rows, as Dask asks of every task.
        """
        with self._guard:
            if number in self._seen:
                return
            self._seen.add(number)
            known = lower if self._lower is None else np.concatenate([self._lower, lower], axis=1)
            self._lower = greatest(known, lower.shape[1])
