"""Workers on this machine: on the GPUs that are visible, else on the processors."""

from __future__ import annotations

import logging
import multiprocessing
import operator
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker

import distributed
from dask.utils import format_bytes
from distributed.worker_memory import parse_memory_limit

from laion_dask.backend import gpu_count, gpu_memory_bytes
from laion_dask.cluster import worker_logs
from laion_dask.cluster.client import Client
from laion_dask.errors import DeviceMemoryError, OptionError, must_be, one_of
from laion_dask.gpu_packages import require_dask_cuda, require_ucx
from laion_dask.runtime.workers import current_client

_log = logging.getLogger(__name__)

_HERE = "127.0.0.1"
#: The part of `torch_share` that the pool never takes: CUDA contexts, loaded kernels, what cuBLAS
#: and cuDNN allocate by themselves. Our own choice: 5 % of the card by default.
_OUTSIDE = 0.2
#: RMM's pool takes sizes in multiples of this (dask_cuda.plugins.RMMSetup, ``alignment_size``).
_ALIGNED = 256

#: What a script has to look like, for errors.
_SCRIPT = "A script has to call start_cluster() under if __name__ == '__main__':"


def start_cluster(
    n_workers: int | None = None,
    *,
    gpu: bool | None = None,
    memory_limit: str | int | float | None = "auto",
    dashboard_port: int = 0,
    torch_share: float = 0.25,
    protocol: str = "tcp",
) -> distributed.Client:
    """A client with local workers: one a GPU where any is visible, else one a core. Eager.

    A client that is there already is used again. The client's repr has every setting and the
    address of the dashboard, which are logged at level INFO too. ``client.shutdown()`` ends the
    workers.
    With TCP everything listens on this machine only.

    A GPU worker has one card and one thread. cuDF, CuPy and torch allocate from one pool of
    RMM's on it, and cuDF moves frames to host memory when the pool is full, also when it is torch
    that asks. A worker whose card fails in a way that its process cannot go on is replaced, and
    its tasks are run again.

    Parameters
    ----------
    n_workers : int, optional
        By default one a GPU, or one a core that this process may use.
    gpu : bool, optional
        True asks for GPU workers and fails where there is none; False asks for CPU workers, which
        then see no card.
    memory_limit : str, int, float or None
        Of a worker's host memory, such as ``"4GB"``; ``"auto"`` is its part of the machine's.
        Near it results go to disk, as Dask's ``distributed.worker.memory`` says; None for none.
    dashboard_port : int
        0 takes a free one.
    torch_share : float
        Of each card, from 0.05 to 0.95, default 0.25; more for large models. It is what the
        pool leaves at the start, and what results that workers keep between tasks leave (these
        go to host memory beyond the rest). So it remains to the work of the tasks: models,
        blocks of embeddings, workspaces. Not kept for torch alone: the pool grows into four
        fifths of it when it has to, for whoever asks. One fifth stays outside of the pool, for
        CUDA contexts and for what cuBLAS and cuDNN allocate by themselves. Only GPU workers.
    protocol : {"tcp", "ucx"}
        UCX moves frames from card to card over NVLink or InfiniBand where there are several. It
        needs distributed-ucxx, which listens on all network interfaces of the machine. Only GPU
        workers.

    Raises
    ------
    MissingExtraError
        When GPU workers are wanted and dask-cuda is not installed, or UCX and not distributed-ucxx.
    OptionError
        At once, for an option out of its range, and when GPU workers are asked for and fewer GPUs
        are visible; when CPU workers do not start.
    DeviceMemoryError
        When the GPU workers do not start, as when a card has less memory free than the pool takes.

    Notes
    -----
    Workers are processes that import the caller's script again: in a script, what calls this has
    to stand under ``if __name__ == "__main__":``. A notebook needs nothing of the kind.

    Under RMM's allocator torch has no statistics of memory (``torch.cuda.memory_stats`` raises),
    cannot capture CUDA graphs, and ``Tensor.record_stream`` does nothing: memory that a second
    stream uses has to be kept until an event says that it is done with.

    What ``frame.compute()`` brings back lies on the client's own first card, which has only what
    the pool leaves: search, summarise or export, and compute what is small.
    """
    _check_importing()
    n_workers, dashboard_port = _check(
        n_workers, gpu, memory_limit, dashboard_port, torch_share, protocol
    )
    client = _current()
    if client is not None and (not gpu or getattr(client, "gpu", None)):
        _log.info("Using the client that is there: %s", client.dashboard_link)
        return client
    if gpu and not gpu_count():
        raise OptionError("gpu=True was asked for, but no CUDA device is visible. Leave it out.")
    common = {"host": _HERE, "dashboard_address": f"{_HERE}:{dashboard_port}"}
    common |= {"memory_limit": memory_limit, "threads_per_worker": 1, "protocol": protocol}
    gpu = gpu_count() > 0 if gpu is None else gpu
    if protocol != "tcp" and not gpu:
        raise OptionError(f"protocol={protocol!r} is for GPU workers, and here are none.")
    with _uninterrupted():
        if gpu:
            cluster, settings = _on_cards(n_workers, torch_share, common)
        else:
            cluster, settings = _on_cores(n_workers, common)
    n, kind = len(cluster.workers), "GPU" if gpu else "CPU"
    head = f"{n} {kind} workers, one thread each, at {cluster.scheduler_address}"
    settings = {"workers": head, "protocol": protocol, **settings}
    try:
        client = Client(cluster, settings=settings, gpu=gpu)
    except BaseException:
        cluster.close()
        raise
    _log.info("%d %s workers; dashboard at %s", n, kind, client.dashboard_link)
    return client


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Inside it, workers are started that never get Ctrl-C, which is for the process that waits.

    A terminal, and Jupyter's interrupt, send SIGINT to every process of the group. What a thread
    starts inherits the signals that it blocks: the thread of the cluster's event loop, and of it
    the workers, also those that replace others later. Ctrl-C itself is held back until the end.
    """
    resource_tracker.ensure_running()  # started later, it would unblock the signal again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _on_cards(n_workers: int | None, torch_share: float, common: dict) -> tuple:
    """A `LocalCUDACluster`, and what its client shows of it."""
    there = gpu_count()
    if n_workers is not None and n_workers > there:
        raise OptionError(
            f"n_workers is {n_workers}, but {there} CUDA devices are visible, and each worker has "
            "one. Leave n_workers out for one a device."
        )
    cuda = require_dask_cuda()
    if common["protocol"] == "ucx":
        require_ucx()
    card = gpu_memory_bytes()
    pool = int(card * (1 - torch_share)) // _ALIGNED * _ALIGNED
    most = int(card * (1 - torch_share * _OUTSIDE)) // _ALIGNED * _ALIGNED
    try:
        cluster = cuda.LocalCUDACluster(
            n_workers=n_workers,
            rmm_pool_size=pool,
            rmm_maximum_pool_size=most,
            rmm_allocator_external_lib_list=["torch", "cupy"],
            device_memory_limit=pool,
            enable_cudf_spill=True,
            **common,
        )
    except (RuntimeError, MemoryError) as error:
        raise DeviceMemoryError(
            f"The GPU workers did not start ({error}). Each takes {format_bytes(pool)} of its card "
            "at once: end what else uses it (nvidia-smi tells), or give a larger torch_share. "
            f"{_SCRIPT}"
        ) from error
    return cluster, {
        "pool": f"{format_bytes(pool)} of each card, grows to {format_bytes(most)}; "
        "of cuDF, CuPy and torch",
        "torch share": f"{torch_share:.0%} of each card",
        "spill": "cuDF frames to host memory when the pool is full",
    }


def _on_cores(n_workers: int | None, common: dict) -> tuple:
    """A `LocalCluster` whose workers see no card, and what its client shows of it."""
    # Arrow's own pool keeps what it has freed, until Dask pauses the worker for it.
    pool = os.environ.get("ARROW_DEFAULT_MEMORY_POOL", "system")
    env = {"CUDA_VISIBLE_DEVICES": "", "ARROW_DEFAULT_MEMORY_POOL": pool}
    common |= {"n_workers": n_workers or _cores(), "preload": [worker_logs.__name__]}
    try:
        cluster = distributed.LocalCluster(env=env, **common)
    except RuntimeError as error:
        raise OptionError(
            f"The CPU workers did not start ({error}). What they printed tells why. {_SCRIPT}"
        ) from error
    return cluster, {"spill": "results to disk, as distributed.worker.memory says"}


def _check_importing() -> None:
    """Refuse to start workers where a worker imports the caller's script to begin with."""
    # `multiprocessing.spawn` has the mark for itself: it starts no process there (RuntimeError).
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise OptionError(
            "start_cluster() was called while a worker imports this script, as each does to begin "
            f"with. {_SCRIPT}"
        )


def _check(n_workers, gpu, memory_limit, dashboard_port, torch_share, protocol) -> tuple:
    """Refuse at once what is out of range; the first and the fourth as Python's own numbers."""
    if n_workers is not None:
        n_workers = _whole("n_workers", n_workers, "a number of workers, or None for all")
        if n_workers < 1:
            raise OptionError(f"n_workers is {n_workers}; expected at least 1, or None for all.")
    must_be("gpu", gpu, (bool, type(None)), "True, False, or None for GPUs where there are any")
    try:
        if isinstance(memory_limit, bool):
            raise TypeError
        limit = parse_memory_limit(memory_limit, 1, 1, logger=logging.getLogger(__name__))
    except (ValueError, TypeError, OverflowError):
        limit = -1
    if limit is not None and limit < 0:
        raise OptionError(
            f"memory_limit is {memory_limit!r}. Expected such as '4GB', a number of bytes, 'auto', "
            "or None for no limit."
        )
    dashboard_port = _whole("dashboard_port", dashboard_port, "a port, or 0 for a free one")
    if not 0 <= dashboard_port < 2**16:
        raise OptionError(f"dashboard_port is {dashboard_port}. Expected 0 to 65535.")
    must_be("torch_share", torch_share, (int, float), "a part of the card, 0.05 to 0.95")
    if not 0.05 <= torch_share <= 0.95:
        raise OptionError(f"torch_share is {torch_share}. Expected a part of 1, 0.05 to 0.95.")
    if protocol not in ("tcp", "ucx"):
        raise one_of("protocol", protocol, ["tcp", "ucx"])
    return n_workers, dashboard_port


def _whole(what: str, given, expected: str) -> int:
    """Any whole number, NumPy's too, but no bool."""
    try:
        if isinstance(given, bool):
            raise TypeError
        return operator.index(given)
    except TypeError:
        raise OptionError(f"{what} is {given!r}. Expected {expected}.") from None


def _current() -> distributed.Client | None:
    """The client that is there, unless it has lost its scheduler."""
    client = current_client()
    if client is None or client.asynchronous or client.status == "running":
        return client
    return None


def _cores() -> int:
    """Cores that this process may use, which a container or a scheduler may have cut down."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
