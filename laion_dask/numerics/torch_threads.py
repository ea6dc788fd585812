"""Limit torch's threads per operation while many batches run concurrently."""

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
    # torch keeps one setting for the process, and another one in the pool of each thread. A new
    # thread reads or sets that of the process, and leaves the pool of this thread unchanged, whose
    # setting may be that of an earlier caller.
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call, *args).result()


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """While any caller is inside, newly started threads run torch on one thread each.

    A forward pass inside a Dask task runs on exactly one thread, and parallelism comes from the
    tasks and from the batches of a task. W tasks that each let torch use N threads would run W * N
    threads on N cores. Equally important: how torch splits a matrix product over threads can change
    its last digit, so a fixed number of threads makes the result the same for any number of cores,
    workers and schedulers, and a resumed run byte-identical.

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


def spread(work: Callable[[Any], None], items: Sequence) -> None:
    """Call a function for every item, each with torch on one thread, on all of torch's threads.

    Concurrent callers, such as Dask tasks, share these threads. When the calling task is canceled,
    the remaining items are not started.

    Parameters
    ----------
    work : callable
    items : sequence
        They are processed in new threads, even if one suffices, since torch may use several
        threads in the caller's thread.
    """
    each = cancellation.carried(partial(_unless_cancelled, work))
    if items:
        with one_torch_thread():
            with _guard:
                free = max(1, _state["before"] // _state["inside"])
            with ThreadPoolExecutor(min(free, len(items)), thread_name_prefix="spread") as pool:
                for _ in pool.map(each, items):
                    pass


def _unless_cancelled(work: Callable[[Any], None], item) -> None:
    cancellation.check()
    work(item)
