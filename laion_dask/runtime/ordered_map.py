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
    lanes: int,
    before: Callable[[], None] | None = None,
) -> Iterator[_Result]:
    """``function(item)`` for every item, in order, computed on ``lanes`` threads.

    At most ``lanes + 1`` items are in progress. The first error, or a consumer that stops early,
    cancels items that have not started and waits for the others, as does a canceled computation.

    Parameters
    ----------
    function : callable
    items : iterable
    lanes : int
    before : callable, optional
        Called once in each thread.
    """
    pending: deque[Future] = deque()
    function = cancellation.carried(function)
    with ThreadPoolExecutor(lanes, thread_name_prefix="lane", initializer=before) as pool:
        try:
            for item in items:
                cancellation.check()
                pending.append(pool.submit(function, item))
                if len(pending) > lanes:
                    yield pending.popleft().result()
            while pending:
                cancellation.check()
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
