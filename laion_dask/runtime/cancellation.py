"""Stop tasks soon after their results are no longer needed.

An interrupt, or an error in one task, ends a computation in the thread that waits for it, but its
other tasks continue: Dask's threads and workers do not stop a running task. So a kernel whose tasks
may take seconds calls `check` between blocks. On Dask's threads, `check` looks at the computation
of its thread, which Dask passes on as a context variable; on a worker, at the state of its own
task, which the scheduler changes when the last client releases it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Protocol


class Cancelled(BaseException):
    """Raised inside a task whose computation has already ended; not an error of the task.

    It passes through ``except Exception``. No other code waits for the result of such a task.
    """


class _Cancellable(Protocol):
    @property
    def is_cancelled(self) -> bool:
        """Whether the result is no longer needed."""

    def stop(self) -> BaseException:
        """The exception to raise."""


_current: ContextVar[_Cancellable | None] = ContextVar("laion_dask_computation", default=None)


class Computation:
    """One computation on threads of this process, and whether it was canceled.

    Parameters
    ----------
    within : Computation or _WorkerTask, optional
        The computation that contains this one; canceling it cancels this one.
    before : Computation or _WorkerTask, optional
        The computation of the thread after this one has ended.
    """

    def __init__(
        self, within: _Cancellable | None = None, before: _Cancellable | None = None
    ) -> None:
        self.within, self.before = within, before
        self._cancelled = False

    def cancel(self) -> None:
        """Stop its tasks, each at its next `check`."""
        self._cancelled = True

    @property
    def is_cancelled(self) -> bool:
        return self._cancelled or (self.within is not None and self.within.is_cancelled)

    def stop(self) -> BaseException:
        if self._cancelled or self.within is None:
            return Cancelled()
        return self.within.stop()


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
        """The worker drops the task, or restarts it if a client has since requested it."""

    return Rescheduled


def begin() -> None:
    """Start a `Computation` for this thread's next computations on Dask's threads."""
    _current.set(Computation(_current_task(), before=_current.get()))


def end(failed: bool) -> None:
    """End the computation that `begin` started; if it failed, cancel its tasks."""
    computation = _current.get()
    if isinstance(computation, Computation):  # an interrupt may come before `begin` has finished
        if failed:
            computation.cancel()
        _current.set(computation.before)


@contextmanager
def cancelled_on_error() -> Iterator[None]:
    """A context in which this thread's computations on Dask's threads form one `Computation`.

    An error or interrupt that leaves the context cancels it; other computations continue.
    """
    before = _current.get()
    computation = Computation(_current_task(), before=before)
    _current.set(computation)
    try:
        yield
    except BaseException:
        computation.cancel()
        raise
    finally:
        _current.set(before)


@contextmanager
def within(computation: Computation) -> Iterator[None]:
    """A context in which this thread's computations, and `check`, stop if another one is canceled.

    The other one may be canceled by any thread.
    """
    token = _current.set(computation)
    try:
        yield
    finally:
        _current.reset(token)


def check() -> None:
    """Raise `Cancelled` if the result of this thread's task is no longer needed; a cheap call."""
    task = _current_task()
    if task is not None and task.is_cancelled:
        raise task.stop()


def carried(function: Callable) -> Callable:
    """Wrap a function so that `check` refers to the task of this thread in any other thread."""
    task = _current_task()

    def call(*args):
        token = _current.set(task)
        try:
            return function(*args)
        finally:
            _current.reset(token)

    return call


def _current_task() -> _Cancellable | None:
    current = _current.get()
    return _worker_task() if current is None else current


def _worker_task() -> _WorkerTask | None:
    if "distributed" not in sys.modules:
        return None
    from distributed import get_worker

    try:
        return _WorkerTask(get_worker())
    except (ValueError, KeyError):  # not a worker thread, or not running a task
        return None
