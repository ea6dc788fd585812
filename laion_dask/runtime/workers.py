"""The current client: whether to wait for it, and what it says when workers are lost."""

from __future__ import annotations

import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial

import dask
from dask.base import named_schedulers

from laion_dask.cuda_errors import corrupting_error, is_out_of_device_memory
from laion_dask.errors import (
    ClusterWarning,
    DeviceLostError,
    DeviceMemoryError,
    OptionError,
    parameter,
)
from laion_dask.runtime import plain_graph

#: Seconds that a cluster may be without workers before a warning.
_PATIENCE_S = 10.0
#: Dask's schedulers that run a graph as it is.
_IN_THREADS = (named_schedulers["threads"], named_schedulers["sync"])
#: The topic under which a worker that lost its GPU reports why, for ``client.get_events``.
LOST = "laion-dask-lost-gpus"


def current_client():
    """The distributed client of this process, or None; never starts one or imports distributed.

    Inside a task, it is the client of the task's worker.
    """
    if "distributed" not in sys.modules:
        return None
    import distributed

    try:
        return distributed.get_client()
    except ValueError:
        return None


def leave_closed_client() -> None:
    """Have what runs in this context use the latest open client, or none, if its own is closed.

    The client of a ``with`` block stays that of the block, and of contexts copied in it. If it is
    closed there, `distributed` also remains Dask's scheduler, although it has no client.
    """
    if "distributed" not in sys.modules:
        return
    from distributed.client import _current_client

    if (client := _current_client.get()) is None or client.status != "closed":
        return
    _current_client.set(None)
    if current_client() is None and dask.config.get("scheduler", None) == "dask.distributed":
        dask.config.config.pop("scheduler")


def waiting_client():
    """`current_client`, if Dask would use it and this thread may wait for its results.

    None also if the user has set another scheduler, such as ``"threads"``.

    Raises
    ------
    OptionError
        When the client is asynchronous: its event loop runs in this thread, so waiting here
        would block it forever.
    """
    client = current_client()
    if dask.config.get("scheduler", None) not in (None, "dask.distributed", "distributed"):
        return None
    if client is not None and client.asynchronous:
        raise OptionError(
            "The Dask client is asynchronous: its event loop runs in this thread, where waiting "
            "would block it forever. Create it with Client(asynchronous=False), or call the verb "
            "in another thread: await asyncio.to_thread(verb, ...)."
        )
    return client


def compute_without_client(*collections, **options) -> tuple:
    """``dask.compute`` where there is no client to use; does not import distributed.

    Options, such as ``callbacks``, are passed to the scheduler.

    ``dask.compute`` imports distributed to look for a client, even with ``scheduler="threads"``,
    which takes 0.2 s and 20 MB. There can be none if nobody has imported it.
    """
    if "distributed" in sys.modules:
        return dask.compute(*collections, **options)
    chosen = dask.config.get("scheduler", None) or "threads"
    # By name, Dask would look for a client; an executor or a function is passed on as it is.
    scheduler = named_schedulers.get(chosen.lower(), chosen) if isinstance(chosen, str) else chosen
    if scheduler in _IN_THREADS and all(map(plain_graph.is_plain, collections)):
        return plain_graph.run(collections, partial(scheduler, **options))
    return dask.compute(*collections, scheduler=scheduler, **options)


@contextmanager
def slot_released() -> Iterator[None]:
    """Inside a task, release its slot on the worker while the task waits for other tasks.

    Elsewhere it does nothing. Otherwise a worker with one thread would wait for itself forever.
    """
    from distributed import rejoin, secede
    from distributed.worker import thread_state

    has_seceded = False
    if getattr(thread_state, "key", None) is not None:
        with suppress(KeyError):  # the task has seceded already
            secede()
            has_seceded = True
    try:
        yield
    finally:
        if has_seceded:
            rejoin()


@contextmanager
def missing_workers_reported(client) -> Iterator[None]:
    """Warn if tasks wait because the cluster has no workers, of which Dask says nothing.

    Workers of a cluster of this process, such as a `LocalCluster`, are started again: Dask gives
    one up that ends while it starts, as one does that gets a shard that ends workers.
    """
    done = threading.Event()
    threading.Thread(target=_report_missing_workers, args=(client, done), daemon=True).start()
    try:
        yield
    finally:
        done.set()


def _report_missing_workers(client, done: threading.Event) -> None:
    is_reported = False
    while not done.wait(_PATIENCE_S):
        try:
            has_workers = bool(client.nthreads())
        except Exception:  # the client was closed, or its scheduler is gone
            return
        if has_workers or done.is_set():
            continue
        _start_again(client.cluster)
        if not is_reported:
            is_reported = True
            warnings.warn(
                "The cluster has no workers, so its tasks wait. Lost workers of a LocalCluster are "
                "started again within half a minute, and an adaptive cluster or a queue may still "
                "start some. If this lasts, interrupt, close the client and the cluster, and start "
                "another with ld.start_cluster(), whose workers survive interrupts.",
                ClusterWarning,
                stacklevel=2,
            )


def _start_again(cluster) -> None:
    """Ask a cluster for the workers that it should have, and has lost."""
    from distributed import SpecCluster

    if isinstance(cluster, SpecCluster) and cluster.worker_spec:
        cluster.scale(len(cluster.worker_spec))


@contextmanager
def lost_workers_named() -> Iterator[None]:
    """Turn errors that report a lost worker or GPU into a `DeviceLostError`.

    Errors that report full GPU memory, except in blocks that are retried, become a
    `DeviceMemoryError`; those of a client that was closed, an `OptionError`.
    """
    client = current_client()
    try:
        yield
    except Exception as error:
        distributed = sys.modules.get("distributed")
        if getattr(client, "status", "") in ("closing", "closed"):
            raise OptionError(
                "The Dask client was closed before this had ended. Run it again with another "
                "client or, outside the `with` block of the closed one, without a client."
            ) from error
        if distributed is not None and isinstance(error, distributed.KilledWorker):
            raise DeviceLostError(_how_lost(error)) from error
        cause = corrupting_error(error)
        if cause is not None and not isinstance(error, DeviceLostError):
            raise DeviceLostError(
                f"The process that ran this can no longer use its GPU ({cause}). Restart it: this "
                "Python, or, with client.restart(), workers that have no nanny."
            ) from error
        if is_out_of_device_memory(error):
            raise DeviceMemoryError(
                f"The result of a task does not fit in GPU memory ({error}). Read fewer columns, "
                f"set a smaller {parameter('max_rows_per_partition')}, or end other programs that "
                "use the GPU."
            ) from error
        raise


def lost_task(error: DeviceLostError) -> int | None:
    """The position of the lost task among those of its layer; None if it is not known."""
    match getattr(error.__cause__, "task", None):
        case (str(), int(position)):
            return position
    return None


def _how_lost(error) -> str:
    """The message for a ``KilledWorker``, with the report of the last worker if there is one."""
    last = error.last_worker.address
    client = current_client()
    events = client.get_events(LOST) if client is not None and not client.asynchronous else ()
    reports = [event for _, event in events if event["worker"] == last]
    start = f"{error.allowed_failures + 1} workers ended while running the task {error.task!r}"
    if reports:
        return (
            f"{start}, so it is not retried. The last one ended because it could no longer "
            f"use its GPU, after {reports[-1]['error']} in the task {reports[-1]['task']!r}. Run "
            "that task by itself to find the cause; other jobs can continue."
        )
    return (
        f"{start}, the last one at {last}, so it is not retried. It reported no GPU error; "
        "the host probably ran out of memory. See the worker log. Use fewer workers or a "
        f"larger memory_limit, or set a smaller {parameter('max_rows_per_partition')}."
    )
