"""Let one thread follow the computations of another, and cancel them.

A job that runs in the background has no terminal: whoever started it wants to know how far it is,
and to stop it. Within `observed`, each `laion_dask.runtime.graph.compute` of the thread reports the
tasks that it has done instead of showing a progress bar, and stops soon after `cancel`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

from laion_dask.runtime import cancellation

#: Seconds between two looks at the tasks of a distributed client.
_TICK_S = 0.1


class Observer:
    """Follows and cancels the computations of the threads that run within `observed`.

    Parameters
    ----------
    report : callable
        ``report(label, done, total)``, called in the observed thread: what is computed, how many of
        its tasks are done, and how many there are.
    """

    def __init__(self, report: Callable[[str, int, int], None]) -> None:
        self.report = report
        self.computation = cancellation.Computation()

    def cancel(self) -> None:
        """Stop the computations that run, and any that start later; may be called by any thread."""
        self.computation.cancel()

    @property
    def is_cancelled(self) -> bool:
        return self.computation.is_cancelled


_current: ContextVar[Observer | None] = ContextVar("laion_dask_observer", default=None)


@contextmanager
def observed(observer: Observer) -> Iterator[None]:
    """A context in which an observer follows the computations of this thread.

    Raises
    ------
    Cancelled
        By computations, and by `laion_dask.runtime.cancellation.check`, once it was canceled.
    """
    token = _current.set(observer)
    try:
        with cancellation.within(observer.computation):
            yield
    finally:
        _current.reset(token)


def current_observer() -> Observer | None:
    """The observer of this thread's computations, or None."""
    return _current.get()


def callbacks_of(observer: Observer, label: str) -> list[tuple]:
    """Callbacks for one computation on Dask's threads, passed to the scheduler.

    Dask's global callbacks would also be called for computations of other threads.
    """
    total = 0

    def start_state(graph, state) -> None:
        nonlocal total
        total = len(state["ready"]) + len(state["waiting"])
        observer.report(label, 0, total)

    def before_task(key, graph, state) -> None:
        if observer.is_cancelled:
            raise observer.computation.stop()

    def after_task(key, result, graph, state, worker) -> None:
        observer.report(label, min(len(state["finished"]), total), total)

    return [(None, start_state, before_task, after_task, None)]


def completed(futures: Sequence) -> Iterator:
    """The futures of a distributed client as they end; stops soon after the observer cancels."""
    from distributed import as_completed

    observer, ended = current_observer(), as_completed(futures)
    if observer is None:
        yield from ended
        return
    while not ended.is_empty():
        if observer.is_cancelled:
            raise observer.computation.stop()
        if ended.has_ready():
            yield next(ended)
        else:
            time.sleep(_TICK_S)
