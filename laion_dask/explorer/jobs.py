"""Work in the background: one job after another, with progress and cancel.

A view's callbacks run on the main thread of the kernel, or of the server, which draws nothing while
they do. Work that may take more than about 0.3 s is started as a job instead. Its thread never
touches a view: results are delivered on the thread that owns the views.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from contextvars import copy_context
from typing import Any

from laion_dask.errors import LaionDaskError
from laion_dask.formatting import printable
from laion_dask.notebook_traceback import notebook_shell
from laion_dask.runtime.cancellation import Cancelled
from laion_dask.runtime.observation import Observer, observed
from laion_dask.runtime.workers import leave_closed_client, waiting_client

#: Held while views change: in a notebook messages arrive on several threads, and what is sent to
#: the browser must not be interleaved.
VIEWS = threading.RLock()
#: Minimum seconds between progress reports: each is a message, and nobody could read more.
_TICK_S = 0.15
#: Characters of an error that fit in one line of the page.
_LONGEST_ERROR = 400


class Job:
    """Some work that runs, or ran, in the background.

    Attributes
    ----------
    label : str
        What is being done, such as ``"drawing the sample"``.
    state : {"waiting", "running", "canceling", "done", "failed", "canceled"}
    done, total : int
        How much of the work is done; ``total`` is 0 while it is not known.
    result : object
        What the work returned, once ``state`` is ``"done"``.
    exception : Exception or None
        What it raised, if ``state`` is ``"failed"``.
    """

    def __init__(self, label: str, jobs: Jobs) -> None:
        self.label, self.state, self.done, self.total = label, "waiting", 0, 0
        self.result: Any = None
        self.exception: Exception | None = None
        self._jobs, self._ended = jobs, threading.Event()
        self.observer = Observer(self._computed)

    def progress(self, done: int, total: int, label: str | None = None) -> None:
        """Report how far the work is; called by the work itself. Raises if it was canceled."""
        if self.observer.is_cancelled:
            raise self.observer.computation.stop()
        self._computed(self.label if label is None else label, done, total)

    def _computed(self, label: str, done: int, total: int) -> None:
        self.label, self.done, self.total = label, done, total
        self._jobs._tell(at_once=False)

    @property
    def has_ended(self) -> bool:
        return self._ended.is_set()

    @property
    def error(self) -> str:
        """The error in one line of text, or an empty string."""
        return "" if self.exception is None else error_line(self.exception)

    def cancel(self) -> None:
        """Ask the work to stop; it stops at its next task, `check` or progress report."""
        self.observer.cancel()
        if self._move(("waiting", "running"), "canceling"):
            self._jobs._tell()

    def _move(self, before: tuple[str, ...], after: str) -> bool:
        """Change the state if it is in ``before``; return whether it was."""
        with self._jobs._lock:  # the job's thread and that of the views change it
            is_one = self.state in before
            if is_one:
                self.state = after
            return is_one

    def wait(self, timeout: float | None = None) -> None:
        """Wait until the work has ended, then deliver its result, in this thread. Ctrl-C cancels.

        Raises
        ------
        OptionError
            When the Dask client is asynchronous, and its event loop runs in this thread.
        Exception
            Whatever the work raised.
        """
        if not self.has_ended:
            waiting_client()  # refuses to block the loop that the work needs
        try:
            self._ended.wait(timeout)
        except KeyboardInterrupt:
            self.cancel()
            raise
        self._jobs.deliver()
        if self.exception is not None:
            raise self.exception


class Jobs:
    """Runs jobs in background threads, one at a time and in the order they were started.

    Parameters
    ----------
    wake : callable, optional
        ``wake(callback)`` has the callback called soon on the thread that owns the views; any
        thread may call it. By default, that of the page or the event loop of this thread; if there
        is neither, as in a script, results are delivered when somebody waits for a job.
    """

    def __init__(self, wake: Callable[[Callable[[], None]], object] | None = None) -> None:
        self._wake = _owner() if wake is None else wake
        self._lock = threading.RLock()
        self._queue: deque[tuple[Job, Callable[[Job], object]]] = deque()
        self._outbox: deque[Callable[[], None]] = deque()
        self._subscribers: list[Callable[[], None]] = []
        self._is_woken, self._is_closed, self._told_at = False, False, 0.0
        self.current: Job | None = None

    def start(
        self,
        label: str,
        work: Callable[[Job], Any],
        *,
        then: Callable[[Any], object] | None = None,
        failed: Callable[[Exception], object] | None = None,
    ) -> Job:
        """Start ``work(job)`` in the background, after the jobs that were started before.

        Parameters
        ----------
        label : str
            What the page shows while it runs.
        work : callable
            Computations of `laion_dask.runtime.graph` in it report their progress by themselves;
            long work of another kind calls ``job.progress(done, total)``.
        then, failed : callable, optional
            Called with the result, or the error, on the thread that owns the views. Neither is
            called for a job that was canceled.
        """
        job = Job(label, self)

        def deliver() -> None:
            if job.observer.is_cancelled and job._move(("done",), "canceled"):
                return  # canceled between its end and now
            try:
                if job.state == "done" and then is not None:
                    then(job.result)
            except Exception as error:  # an event loop would only log it
                job.exception, job.state = error, "failed"
            if job.exception is not None and failed is not None:
                failed(job.exception)

        def run(job: Job) -> None:
            self._perform(job, work)
            self._send(deliver)

        with self._lock:
            if self._is_closed:
                job.state = "canceled"
                job._ended.set()
                return job
            context = copy_context()  # the client that is current in a ``with`` block
            self._queue.append((job, lambda job: context.run(run, job)))
            if self.current is None or self.current.has_ended:
                self._start_next()
        self._tell()
        return job

    def _start_next(self) -> None:
        if self._queue:
            self.current, run = self._queue.popleft()
            threading.Thread(target=self._run, args=(self.current, run), daemon=True).start()

    def _run(self, job: Job, run: Callable[[Job], object]) -> None:
        try:
            run(job)
        finally:
            with self._lock:
                job._ended.set()
                self._start_next()
            self._tell()

    def _perform(self, job: Job, work: Callable[[Job], Any]) -> None:
        job._move(("waiting",), "running")
        self._tell()
        leave_closed_client()  # that of the cell in which the explorer was made, for one
        try:
            with observed(job.observer):
                result = work(job)
            job.result = result
            if job.observer.is_cancelled or not job._move(("running",), "done"):
                raise Cancelled
        except Cancelled:
            job.state = "canceled"
        except Exception as error:
            job.exception, job.state = error, "failed"

    @property
    def waiting(self) -> list[Job]:
        """The jobs that will run after the current one, in their order."""
        with self._lock:
            return [job for job, _ in self._queue if job.state == "waiting"]

    def cancel(self) -> None:
        """Cancel the job that runs and those that wait."""
        with self._lock:
            jobs = [job for job, _ in self._queue]
        for job in ([] if self.current is None else [self.current]) + jobs:
            if not job.has_ended:
                job.cancel()

    def subscribe(self, callback: Callable[[], None]) -> None:
        """Have a callback called, on the thread that owns the views, when `current` has changed."""
        self._subscribers.append(callback)

    def close(self) -> None:
        """Cancel all jobs; nothing is delivered any more."""
        with self._lock:
            self._is_closed = True
            self._subscribers.clear()
        self.cancel()
        self._outbox.clear()

    def _tell(self, at_once: bool = True) -> None:
        """Notify subscribers that a job has changed; progress is rate-limited."""
        now = time.monotonic()
        if at_once or now - self._told_at >= _TICK_S:
            self._told_at = now
            self._send(None)

    def _send(self, delivery: Callable[[], None] | None) -> None:
        with self._lock:
            if self._is_closed:
                return
            if delivery is not None:
                self._outbox.append(delivery)
            if self._is_woken or self._wake is None:
                return
            self._is_woken = True
        try:
            self._wake(self.deliver)
        except RuntimeError:  # the event loop or the page was closed
            self._is_woken = False

    def deliver(self) -> None:
        """Deliver results and notify subscribers; call it on the thread that owns the views."""
        self._is_woken = False
        with VIEWS:
            while self._outbox:
                self._outbox.popleft()()
            for callback in tuple(self._subscribers):
                callback()


def error_line(error: BaseException) -> str:
    """An error on one line: its message, preceded by its type unless it is a `LaionDaskError`."""
    message = printable(" ".join(str(error).split()))
    if not isinstance(error, LaionDaskError):
        message = ": ".join(filter(None, [type(error).__name__, message]))
    return message if len(message) <= _LONGEST_ERROR else f"{message[:_LONGEST_ERROR]}…"


def _owner() -> Callable[[Callable[[], None]], object] | None:
    """How to deliver what a job sends to views that this thread creates.

    On a server, on the thread of its page. In a notebook, in the job's own thread: the main thread
    may be busy with a cell for minutes, and JupyterLab sends messages of views to other threads.
    """
    import panel

    if notebook_shell() is not None:
        return _now
    document = panel.state.curdoc
    if document is not None and document.session_context is not None:
        return document.add_next_tick_callback
    try:
        return asyncio.get_running_loop().call_soon_threadsafe
    except RuntimeError:
        return None


def _now(callback: Callable[[], None]) -> None:
    callback()
