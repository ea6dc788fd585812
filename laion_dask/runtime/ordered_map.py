"""Map a function on threads, with results in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from laion_dask.runtime import cancellation

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def in_order(
    function: Callable[[_Item], _Result],
    items: Iterable[_Item],
    n_threads: int,
    before: Callable[[], None] | None = None,
) -> Iterator[_Result]:
    """``function(item)`` for every item, in order, computed on ``n_threads`` threads.

    At most ``n_threads + 1`` items are in progress. The first error, or a consumer that stops
    early, cancels items that have not started and waits for the others, as does a canceled
    computation.

    Parameters
    ----------
    function : callable
    items : iterable
    n_threads : int
    before : callable, optional
        Called once in each thread.
    """
    pending: deque[Future] = deque()
    function = cancellation.carried(function)
    with ThreadPoolExecutor(n_threads, thread_name_prefix="in-order", initializer=before) as pool:
        try:
            for item in items:
                cancellation.check()
                pending.append(pool.submit(function, item))
                if len(pending) > n_threads:
                    yield pending.popleft().result()
            while pending:
                cancellation.check()
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
