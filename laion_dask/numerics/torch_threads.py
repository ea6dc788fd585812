"""How many threads torch may use for one operation while many batches run side by side."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

from laion_dask.runtime import cancellation

_guard = threading.Lock()
_state = {"inside": 0, "before": 1}


def _in_new_thread(call: Callable, *args) -> Any:
    # torch keeps one number for the process and another inside each thread's own pool. A thread
    # that ends at once reads or sets the first and leaves the caller's own pool alone, whose
    # number may be from a time when another caller was inside.
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call, *args).result()


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """While any caller is inside, threads started from now on run torch on one thread each.

    A forward pass inside a Dask task runs on exactly one thread, and the parallelism comes from
    the tasks and from the batches of a task. W tasks that each let torch use N threads would
    run W * N threads on N cores. The second reason matters as much: how torch splits a matrix
    product over threads can change its last digit, so a fixed number makes the result the same
    for any number of cores, workers and schedulers, and a resumed run byte-identical.

    Outside of tasks (``ClipModel.text`` in a notebook) torch keeps its own setting.
    """
    import torch

    with _guard:
        if _state["inside"] == 0:
            _state["before"] = _in_new_thread(torch.get_num_threads)
            _in_new_thread(torch.set_num_threads, 1)
        _state["inside"] += 1
    try:
        yield
    finally:
        with _guard:
            _state["inside"] -= 1
            if _state["inside"] == 0:
                _in_new_thread(torch.set_num_threads, _state["before"])


def spread(work: Callable[[Any], None], items: Sequence, *, lanes: int | None = None) -> None:
    """Do work for every item, torch on one thread in each, on all threads that torch would use.

    Callers that spread at the same time, such as Dask tasks, share these threads. When the task
    that calls is cancelled, the items that are left are not begun.

    Parameters
    ----------
    work : callable
    items : sequence
    lanes : int, optional
        Most items that are worked on at once. With 1 the work is done here, in the caller's
        thread; else in new threads, even where one is enough, since the caller's own torch may
        have more of them.
    """
    each = cancellation.carried(partial(_unless_cancelled, work))
    if lanes == 1:
        for item in items:
            each(item)
    elif items:
        with one_torch_thread():
            with _guard:
                free = max(1, _state["before"] // _state["inside"])
            lanes = min(lanes or free, free, len(items))
            with ThreadPoolExecutor(lanes, thread_name_prefix="spread") as pool:
                for _ in pool.map(each, items):
                    pass


def _unless_cancelled(work: Callable[[Any], None], item) -> None:
    cancellation.check()
    work(item)
