"""Run tasks that write files: show progress, and stop cleanly.

They run on the distributed client of this process if there is one, else on Dask's threads.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from uuid import uuid4

import dask

from laion_dask.options import is_watched
from laion_dask.runtime import cancellation
from laion_dask.runtime.interrupts import interruptible
from laion_dask.runtime.observation import completed
from laion_dask.runtime.progress import ProgressBar
from laion_dask.runtime.workers import (
    compute_without_client,
    lost_workers_named,
    missing_workers_reported,
    slot_released,
    waiting_client,
)


class Run:
    """State that the tasks of one run share with the caller: progress, and a request to stop.

    It works within one process. A copy in another process shows no progress, and stops its task
    through `cancellation.check`.
    """

    def __init__(
        self, bar: ProgressBar | None = None, after: Callable[[int], None] | None = None
    ) -> None:
        self._bar, self._after = bar, after
        self._stop = threading.Event()
        self._idle = threading.Condition()
        self._active = 0

    def __reduce__(self):
        return (Run, ())

    def advance(self, n: int) -> None:
        """Count n items of progress; raise ``Cancelled`` if the run has been canceled."""
        self._check()
        if self._bar is not None:
            with self._idle:
                self._bar.update(n)

    def end_of(self, position: int) -> None:
        """Tell the caller that the item at this position is done."""
        if self._after is not None:
            self._after(position)

    def __enter__(self) -> Run:
        with self._idle:
            self._check()
            self._active += 1
        return self

    def __exit__(self, *_) -> None:
        with self._idle:
            self._active -= 1
            self._idle.notify_all()

    def _check(self) -> None:
        if self._stop.is_set():
            raise cancellation.Cancelled
        cancellation.check()

    def stop(self) -> None:
        """Ask the tasks of this process to stop, and wait until they have."""
        self._stop.set()
        with self._idle:
            self._idle.wait_for(lambda: self._active == 0)


class _Call:
    """A task with its arguments, which Dask does not search for collections."""

    def __init__(self, task: Callable, run: Run, item: tuple, position: int) -> None:
        self.task, self.run, self.item, self.position = task, run, item, position

    def __call__(self):
        result = self.task(self.run, *self.item)
        self.run.end_of(self.position)
        return result


def verb_bar(label: str, total: int | None, progress: bool | None, unit: str = "it") -> ProgressBar:
    """A progress bar that disappears when it is done, unless it was explicitly requested."""
    requested = progress is not None
    shown = progress if requested else is_watched()
    delay = 0 if requested else 2
    return ProgressBar(
        total=total, desc=label, unit=unit, disable=not shown, delay=delay, leave=requested
    )


def run_each(
    task: Callable,
    items: Sequence[tuple],
    *,
    sizes: Sequence[int],
    label: str,
    unit: str,
    progress: bool | None,
    after: Callable[[int], None] | None = None,
) -> list:
    """The results of ``task(run, *item)`` for every item, in order. Eager.

    An error in one task, or Ctrl-C, cancels the tasks that have not started, waits for the running
    tasks of this process to stop, and is raised again.

    Parameters
    ----------
    task : callable
        Pickled for workers. It must work inside ``with run:`` and may call ``run.advance(n)``.
    items : sequence of tuple
    sizes : sequence of int
        The weight of each item on the progress bar.
    label, unit : str
        Label and unit of the progress bar.
    progress : bool or None
        ``None``: as set with ``set_options(progress=…)``; shown only in a terminal or notebook,
        after two seconds.
    after : callable, optional
        ``after(position)`` is called in this process, in any thread, when the result of an item has
        arrived: the item's task will not run again.

    Raises
    ------
    DeviceLostError
        When the workers that ran a task were lost, or can no longer use their GPU.

    Warns
    -----
    ClusterWarning
        When the cluster has had no workers for ten seconds.
    """
    client = waiting_client()
    bar = verb_bar(label, sum(sizes), progress, unit)
    with interruptible(), bar, lost_workers_named():
        if client is not None:
            with slot_released(), missing_workers_reported(client):
                return _on_client(client, task, items, sizes, bar, after)
        return _on_threads(task, items, bar, after)


def _on_client(client, task, items, sizes, bar, after) -> list:
    run = Run()
    futures = {client.submit(task, run, *item, pure=False): n for n, item in enumerate(items)}
    results = [None] * len(items)
    try:
        for future in completed(list(futures)):
            position = futures.pop(future)
            results[position] = future.result()
            future.release()  # if its worker is lost, the task does not run again
            bar.update(sizes[position])
            if after is not None:
                after(position)
        return results
    except BaseException:
        client.cancel(list(futures))
        raise


def _on_threads(task, items, bar, after) -> list:
    run, name = Run(bar, after), f"{getattr(task, '__name__', 'task')}-{uuid4().hex}"
    calls = (_Call(task, run, item, position) for position, item in enumerate(items))
    # Dask starts tasks by their names: in this order or the reverse, so neighbors run together.
    tasks = [
        dask.delayed(call, traverse=False)(dask_key_name=f"{name}-{call.position:09d}")
        for call in calls
    ]
    try:
        with cancellation.cancelled_on_error():
            return list(compute_without_client(*tasks))
    except BaseException:
        run.stop()
        raise
