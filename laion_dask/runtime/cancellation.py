"""Tasks that stop soon after nobody waits for their results any more.

An interrupt, or an error in one task, ends a computation in the thread that waits for it, while
its other tasks run on: Dask's threads and workers do not stop a task that has begun. So a kernel
whose task may take seconds calls `check` between two blocks. Here it looks at the computation
that its thread works for, which Dask hands to its threads as a context variable; on a worker, at
the state of its own task, which the scheduler changes when the last client lets go of it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Protocol


class Cancelled(BaseException):
    """Raised inside a task whose computation has ended without it; not an error of the task.

    It passes every handler of exceptions, and nobody waits for the task that it ends.
    """


class _Cancellable(Protocol):
    @property
    def is_cancelled(self) -> bool:
        """Whether nobody waits for it any more."""

    def stop(self) -> BaseException:
        """What to raise."""


_current: ContextVar[_Cancellable | None] = ContextVar("laion_dask_computation", default=None)


class Computation:
    """One computation on threads of this process, and whether it was cancelled.

    Parameters
    ----------
    within : Computation or _WorkerTask, optional
        What this one is a part of: it is cancelled with it.
    before : Computation or _WorkerTask, optional
        What its thread works for again when it has ended.
    """

    def __init__(
        self, within: _Cancellable | None = None, before: _Cancellable | None = None
    ) -> None:
        self.within, self.before = within, before
        self._cancelled = False

    def cancel(self) -> None:
        """End its tasks, each at its next `check`."""
        self._cancelled = True

    @property
    def is_cancelled(self) -> bool:
        return self._cancelled or (self.within is not None and self.within.is_cancelled)

    def stop(self) -> BaseException:
        return Cancelled() if self._cancelled else self.within.stop()


class _WorkerTask:
    """The task that a thread of a distributed worker runs."""

    def __init__(self, worker) -> None:
        self._worker, self._key = worker, worker.get_current_task()

    @property
    def is_cancelled(self) -> bool:
        task = self._worker.state.tasks.get(self._key)
        return task is not None and task.state == "cancelled"

    def stop(self) -> BaseException:
        return _rescheduled()()


@cache
def _rescheduled() -> type[Cancelled]:
    from distributed import Reschedule

    class Rescheduled(Cancelled, Reschedule):
        """The worker drops the task, or starts it again if a client has since asked for it."""

    return Rescheduled


def begin() -> None:
    """What this thread computes on Dask's threads from now on is one `Computation`."""
    _current.set(Computation(_here(), before=_current.get()))


def end(failed: bool) -> None:
    """End what `begin` began; where it failed, its tasks are cancelled."""
    computation = _current.get()
    if isinstance(computation, Computation):  # an interrupt may have come before `begin` was done
        if failed:
            computation.cancel()
        _current.set(computation.before)


@contextmanager
def cancelled_on_error() -> Iterator[None]:
    """Inside it, what this thread computes on Dask's threads is one `Computation`.

    An error, or an interrupt, that leaves it cancels the computation; others go on.
    """
    before = _current.get()
    computation = Computation(_here(), before=before)
    _current.set(computation)
    try:
        yield
    except BaseException:
        computation.cancel()
        raise
    finally:
        _current.set(before)


def check() -> None:
    """Raise `Cancelled` if nobody waits for the task of this thread; costs microseconds."""
    here = _here()
    if here is not None and here.is_cancelled:
        raise here.stop()


def carried(function: Callable) -> Callable:
    """A function that checks for the task of this thread in whichever thread it is called."""
    here = _here()

    def call(*args):
        before = _current.set(here)
        try:
            return function(*args)
        finally:
            _current.reset(before)

    return call


def _here() -> _Cancellable | None:
    current = _current.get()
    return _worker_task() if current is None else current


def _worker_task() -> _WorkerTask | None:
    if "distributed" not in sys.modules:
        return None
    from distributed import get_worker

    try:
        return _WorkerTask(get_worker())
    except (ValueError, KeyError):  # no thread of a worker, or none that a task began in
        return None
