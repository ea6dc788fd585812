"""The current client and its workers: their backend, and errors when a worker is lost."""

from __future__ import annotations

import re
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import dask
from dask.base import named_schedulers
from dask.utils import parse_timedelta

from laion_dask.backend import (
    GPU_WITHOUT_CUDF,
    resolve_backend,
    warn_of_pandas,
    why_no_cudf,
)
from laion_dask.cuda_errors import corrupting_error, is_out_of_device_memory
from laion_dask.errors import (
    ClusterWarning,
    DeviceLostError,
    DeviceMemoryError,
    MissingExtraError,
    OptionError,
    argument,
    parameter,
)
from laion_dask.runtime import plain_graph

#: Seconds without workers before the user is told.
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


def compute_without_client(*collections) -> tuple:
    """``dask.compute`` where there is no client to use; does not import distributed.

    ``dask.compute`` imports distributed to look for a client, even with ``scheduler="threads"``,
    which takes 0.2 s and 20 MB. There can be none if nobody has imported it.
    """
    if "distributed" in sys.modules:
        return dask.compute(*collections)
    chosen = dask.config.get("scheduler", None) or "threads"
    # By name, Dask would look for a client; an executor or a function is passed on as it is.
    scheduler = named_schedulers.get(chosen.lower(), chosen) if isinstance(chosen, str) else chosen
    if scheduler in _IN_THREADS and all(map(plain_graph.is_plain, collections)):
        return plain_graph.run(collections, scheduler)
    return dask.compute(*collections, scheduler=scheduler)


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
    """Warn if tasks wait because the cluster has no workers, of which Dask says nothing."""
    done = threading.Event()
    threading.Thread(target=_report_missing_workers, args=(client, done), daemon=True).start()
    try:
        yield
    finally:
        done.set()


def _report_missing_workers(client, done: threading.Event) -> None:
    while not done.wait(_PATIENCE_S):
        with suppress(Exception):  # the client was closed, or its scheduler is gone
            if not client.nthreads() and not done.is_set():
                warnings.warn(
                    "The cluster has no workers, so its tasks wait. An adaptive cluster or a "
                    "queue may still start some. If a notebook's interrupt has ended the workers "
                    "of a LocalCluster, interrupt this cell, close the client and the cluster, and "
                    "start another with ld.start_cluster(), whose workers survive interrupts.",
                    ClusterWarning,
                    stacklevel=2,
                )
                return


#: The form of an error in distributed whose type cannot be unpickled in this process.
_NO_IMPORT = re.compile(r"(ModuleNotFoundError|ImportError)\(")


def is_import_error(error: object) -> bool:
    """Whether an error of a worker or the scheduler reports a failed import."""
    return isinstance(error, ImportError) or (
        type(error) is Exception and _NO_IMPORT.match(str(error)) is not None
    )


@contextmanager
def lost_workers_named() -> Iterator[None]:
    """Turn errors that report a lost worker or GPU into a `DeviceLostError`.

    Errors that report full GPU memory, except in blocks that are retried, become a
    `DeviceMemoryError`.
    """
    try:
        yield
    except Exception as error:
        distributed = sys.modules.get("distributed")
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


def choose_backend(backend: str) -> str:
    """``"pandas"`` or ``"cudf"``; ``"auto"`` depends on the current workers.

    Raises
    ------
    OptionError
        For an unknown name, and for ``"auto"`` if the workers cannot be asked.
    MissingExtraError
        When cuDF is explicitly requested but not available, or the workers lack this package.

    Warns
    -----
    BackendWarning
        When ``"auto"`` chooses pandas although a GPU is visible somewhere.
    """
    client = current_client() if backend in ("auto", "cudf") else None
    if client is None:
        return resolve_backend(backend)
    if backend == "cudf":
        return _with_scheduler(client, resolve_backend(backend))
    lacking = list(ask_workers(client).values())
    if not lacking:
        raise OptionError(
            f"{argument('backend', 'auto')} follows the workers, and none has joined the "
            "scheduler. Wait for one with client.wait_for_workers(1), keep one with "
            f"cluster.adapt(minimum=1), or use {argument('backend', 'pandas')}."
        )
    n_able, reasons = lacking.count(""), " and ".join(sorted(set(lacking) - {""}))
    if n_able == len(lacking):
        local_reason, scheduler_reason = why_no_cudf(), ask_scheduler(client)
        if not (local_reason or scheduler_reason):
            return "cudf"
        process = "this process, which creates" if local_reason else "the scheduler, which receives"
        warn_of_pandas(
            f"All {n_able} workers can make cuDF frames, but {process} an empty one to describe "
            f"them, cannot: {local_reason or scheduler_reason}. Run it on a machine with a GPU, "
            "such as a job"
        )
    elif n_able:
        warn_of_pandas(
            f"{n_able} of {len(lacking)} workers can make cuDF frames; of the others, {reasons}. "
            "Connect to a cluster with identical workers"
        )
    elif GPU_WITHOUT_CUDF in lacking:
        warn_of_pandas(f"Of the workers, {reasons}. Install the extra 'laion_dask[gpu]' there")
    return "pandas"


def _with_scheduler(client, backend: str) -> str:
    """The requested backend, if the scheduler supports it.

    Raises
    ------
    MissingExtraError
        When the scheduler does not support the backend.
    """
    lacks = ask_scheduler(client)
    if lacks:
        raise MissingExtraError(
            f"{argument('backend', 'cudf')} was requested, but the scheduler receives an empty "
            "frame to describe "
            f"the others, and on the scheduler {lacks}. Start it on a machine with a GPU, with the "
            f"extra 'laion_dask[gpu]', or use {argument('backend', 'pandas')}."
        )
    return backend


def ask_scheduler(client) -> str:
    """The reason why the scheduler cannot hold an empty cuDF frame, as from `why_no_cudf`.

    A frame's meta is sent with its graph and unpickled on the scheduler.
    """
    if client.asynchronous:
        return ""  # the scheduler cannot be asked from here
    try:
        return client.run_on_scheduler(why_no_cudf)
    except Exception as error:
        if not is_import_error(error):
            raise
        return f"this package is not installed ({error})"


def ask_workers(client) -> dict[str, str]:
    """The reason why each worker, by address, cannot make cuDF frames: see `why_no_cudf`.

    Waits for the first worker up to the connection timeout, ``distributed.comm.timeouts``, since
    one may be starting or being replaced. If no worker has joined, a task also waits for one, so
    that an adaptive cluster starts it.

    Raises
    ------
    OptionError
        For an asynchronous client.
    MissingExtraError
        When a worker cannot import this package.
    """
    if client.asynchronous:
        raise OptionError(
            f"{argument('backend', 'auto')} cannot ask the workers of an asynchronous client. Use "
            f"{argument('backend', 'pandas')} or {argument('backend', 'cudf')}."
        )
    timeout = parse_timedelta(dask.config.get("distributed.comm.timeouts.connect"))
    deadline = time.monotonic() + timeout
    probe = None
    try:
        while True:
            answers = client.run(why_no_cudf, on_error="return")
            for address, answer in answers.items():
                if is_import_error(answer):
                    raise MissingExtraError(
                        f"The worker at {address} cannot import a requirement of this package "
                        f"({answer}). Install the same version of laion_dask on all workers."
                    ) from answer
            reasons = {a: answer for a, answer in answers.items() if isinstance(answer, str)}
            if reasons or time.monotonic() > deadline:
                return reasons
            if not answers and probe is None:
                probe = client.submit(time.sleep, 0, pure=False)
            time.sleep(0.1)
    finally:
        if probe is not None:
            probe.cancel()
