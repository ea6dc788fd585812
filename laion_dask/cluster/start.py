"""Local workers: on the visible GPUs, or else on the CPU cores."""

from __future__ import annotations

import logging
import multiprocessing
import operator
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from typing import Literal

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
#: The part of `torch_share` that the pool never uses: for CUDA contexts, loaded kernels, and the
#: allocations of cuBLAS and cuDNN. Our own choice: 5 % of the GPU by default.
_OUTSIDE = 0.2
#: RMM's pool sizes are multiples of this (dask_cuda.plugins.RMMSetup, ``alignment_size``).
_ALIGNED = 256

#: The required form of a script, for error messages.
_SCRIPT = "A script must call start_cluster() under if __name__ == '__main__':"


def start_cluster(
    n_workers: int | None = None,
    *,
    gpu: bool | None = None,
    memory_limit: str | int | float | None = "auto",
    dashboard_port: int = 0,
    torch_share: float = 0.25,
    protocol: str = "tcp",
) -> distributed.Client:
    """A client with local workers: one per GPU if any is visible, else one per core. Eager.

    An existing client is reused. The client's repr shows all settings and the address of the
    dashboard, which are also logged at level INFO. ``client.shutdown()`` ends the workers. With
    TCP, all connections are local to this machine.

    A GPU worker has one GPU and one thread. cuDF, CuPy and torch allocate from one RMM pool, and
    cuDF moves frames to host memory when the pool is full, even if torch makes the request. A
    worker whose process can no longer use its GPU is replaced, and its tasks are rerun.

    Parameters
    ----------
    n_workers : int, optional
        By default one per GPU, or one per core available to this process.
    gpu : bool, optional
        True requires GPU workers and raises if there is no GPU; False starts CPU workers, to which
        no GPU is visible.
    memory_limit : str, int, float or None
        Host memory per worker, such as ``"4GB"``; ``"auto"`` is its share of the machine's memory.
        Near the limit, results are spilled to disk, as configured in Dask's
        ``distributed.worker.memory``; None for no limit.
    dashboard_port : int
        0 chooses a free port.
    torch_share : float
        Share of each GPU that is available to running tasks, for models, blocks of embeddings and
        workspaces: from 0.05 to 0.95, default 0.25; use more for large models. The pool starts
        without this share, and results that workers keep between tasks are moved to host memory
        if they would occupy it. It is not reserved for torch: the pool grows into four fifths of
        it when necessary, for any library. One fifth stays outside the pool, for CUDA contexts
        and the allocations of cuBLAS and cuDNN. Only for GPU workers.
    protocol : {"tcp", "ucx"}
        UCX moves frames between GPUs over NVLink or InfiniBand if there are several. It needs
        distributed-ucxx, which listens on all network interfaces of the machine. Only for GPU
        workers.

    Raises
    ------
    MissingExtraError
        When GPU workers are requested without dask-cuda, or UCX without distributed-ucxx.
    OptionError
        Immediately, for an option out of its range, and when GPU workers are requested and fewer
        GPUs are visible; when CPU workers do not start.
    DeviceMemoryError
        When the GPU workers do not start, as when a GPU has less free memory than the pool needs.

    Notes
    -----
    Workers are processes that import the caller's script: a script must call this under
    ``if __name__ == "__main__":``. A notebook needs nothing special.

    Under RMM's allocator, torch has no memory statistics (``torch.cuda.memory_stats`` raises),
    cannot capture CUDA graphs, and ``Tensor.record_stream`` does nothing: memory used on a second
    stream must be kept until an event shows that the work is done.

    The result of ``frame.compute()`` is stored on the client's own first GPU, in the memory that
    the pool leaves: search, summarize or export large data, and compute only small results.

    Examples
    --------
    >>> import laion_dask as ld
    >>> client = ld.start_cluster(n_workers=1)
    >>> client.submit(sum, [1, 2]).result()
    3
    >>> client.shutdown()
    """
    _check_importing()
    n_workers, dashboard_port = _check(
        n_workers, gpu, memory_limit, dashboard_port, torch_share, protocol
    )
    client = _current()
    if client is not None and (not gpu or getattr(client, "gpu", None)):
        _log.info("Using the existing client: %s", client.dashboard_link)
        return client
    if gpu and not gpu_count():
        raise OptionError("gpu=True was requested, but no CUDA device is visible. Leave it out.")
    common: dict[str, object] = {"host": _HERE, "dashboard_address": f"{_HERE}:{dashboard_port}"}
    common |= {"memory_limit": memory_limit, "threads_per_worker": 1, "protocol": protocol}
    gpu = gpu_count() > 0 if gpu is None else gpu
    if protocol != "tcp" and not gpu:
        raise OptionError(
            f"protocol={protocol!r} applies to GPU workers only, and no GPU worker is started."
        )
    with _uninterrupted():
        if gpu:
            cluster, settings = _gpu_cluster(n_workers, torch_share, common)
        else:
            cluster, settings = _cpu_cluster(n_workers, common)
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
    """Start workers so that they ignore Ctrl-C, which is meant for the waiting process.

    A terminal, and Jupyter's interrupt, send SIGINT to every process of the group. New threads and
    processes inherit the blocked signals: the thread of the cluster's event loop, and from it the
    workers, including later replacements. Ctrl-C itself is held back until the end.
    """
    resource_tracker.ensure_running()  # started later, it would unblock the signal again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _gpu_cluster(n_workers: int | None, torch_share: float, common: dict) -> tuple:
    """A `LocalCUDACluster`, and the settings that its client shows."""
    n_gpus = gpu_count()
    if n_workers is not None and n_workers > n_gpus:
        raise OptionError(
            f"n_workers is {n_workers}, but {n_gpus} CUDA devices are visible, and each worker "
            "needs one. Leave n_workers out for one per device."
        )
    cuda = require_dask_cuda()
    if common["protocol"] == "ucx":
        require_ucx()
    gpu_bytes = gpu_memory_bytes()
    pool = int(gpu_bytes * (1 - torch_share)) // _ALIGNED * _ALIGNED
    max_pool = int(gpu_bytes * (1 - torch_share * _OUTSIDE)) // _ALIGNED * _ALIGNED
    try:
        cluster = cuda.LocalCUDACluster(
            n_workers=n_workers,
            rmm_pool_size=pool,
            rmm_maximum_pool_size=max_pool,
            rmm_allocator_external_lib_list=["torch", "cupy"],
            device_memory_limit=pool,
            enable_cudf_spill=True,
            **common,
        )
    except (RuntimeError, MemoryError) as error:
        raise DeviceMemoryError(
            f"The GPU workers did not start ({error}). Each takes {format_bytes(pool)} of its GPU "
            "immediately: end other programs that use it (see nvidia-smi), or give a larger "
            "torch_share. "
            f"{_SCRIPT}"
        ) from error
    return cluster, {
        "pool": f"{format_bytes(pool)} of each GPU, grows to {format_bytes(max_pool)}; "
        "shared by cuDF, CuPy and torch",
        "torch share": f"{torch_share:.0%} of each GPU",
        "spill": "cuDF frames to host memory when the pool is full",
    }


def _cpu_cluster(n_workers: int | None, common: dict) -> tuple:
    """A `LocalCluster` whose workers see no GPU, and the settings that its client shows."""
    # Arrow's own pool does not return freed memory, until Dask pauses the worker because of it.
    pool = os.environ.get("ARROW_DEFAULT_MEMORY_POOL", "system")
    env = {"CUDA_VISIBLE_DEVICES": "", "ARROW_DEFAULT_MEMORY_POOL": pool}
    common |= {"n_workers": n_workers or _cores(), "preload": [worker_logs.__name__]}
    try:
        cluster = distributed.LocalCluster(env=env, worker_class=_PatientNanny, **common)
    except RuntimeError as error:
        raise OptionError(
            f"The CPU workers did not start ({error}). See their output for the reason. {_SCRIPT}"
        ) from error
    return cluster, {"spill": "results to disk, as configured in distributed.worker.memory"}


class _PatientNanny(distributed.Nanny):
    """Waits a minute for a worker to end; after five seconds, ``client.shutdown()`` would raise."""

    async def close(  # type: ignore[override]  # as Nanny's own
        self, timeout: float = 60, reason: str = "nanny-close"
    ) -> Literal["OK"]:
        return await super().close(timeout, reason)


def _check_importing() -> None:
    """Raise if this is called while a worker imports the caller's script."""
    # `multiprocessing.spawn` has the same check: it refuses to start processes (RuntimeError).
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise OptionError(
            "start_cluster() was called while a worker imports this script, as each does when it "
            f"starts. {_SCRIPT}"
        )


def _check(n_workers, gpu, memory_limit, dashboard_port, torch_share, protocol) -> tuple:
    """Raise for options out of their range; return n_workers and dashboard_port as Python ints."""
    if n_workers is not None:
        n_workers = _integer("n_workers", n_workers, "a number of workers, or None for all")
        if n_workers < 1:
            raise OptionError(f"n_workers is {n_workers}; expected at least 1, or None for all.")
    must_be("gpu", gpu, (bool, type(None)), "True, False, or None for GPUs if any are visible")
    try:
        if isinstance(memory_limit, bool):
            raise TypeError
        limit = parse_memory_limit(memory_limit, 1, 1, logger=logging.getLogger(__name__))
    except (ValueError, TypeError, OverflowError):
        limit = -1
    if limit is not None and limit < 0:
        raise OptionError(
            f"memory_limit is {memory_limit!r}. Expected a number of bytes, a text such as '4GB', "
            "'auto', or None for no limit."
        )
    dashboard_port = _integer("dashboard_port", dashboard_port, "a port, or 0 for a free one")
    if not 0 <= dashboard_port < 2**16:
        raise OptionError(f"dashboard_port is {dashboard_port}. Expected 0 to 65535.")
    must_be("torch_share", torch_share, (int, float), "a share of the GPU, 0.05 to 0.95")
    if not 0.05 <= torch_share <= 0.95:
        raise OptionError(f"torch_share is {torch_share}. Expected a share, 0.05 to 0.95.")
    if protocol not in ("tcp", "ucx"):
        raise one_of("protocol", protocol, ["tcp", "ucx"])
    return n_workers, dashboard_port


def _integer(name: str, value, expected: str) -> int:
    """Convert any integer, including NumPy's; bool is rejected."""
    try:
        if isinstance(value, bool):
            raise TypeError
        return operator.index(value)
    except TypeError:
        raise OptionError(f"{name} is {value!r}. Expected {expected}.") from None


def _current() -> distributed.Client | None:
    """The existing client, unless it has lost its scheduler."""
    client = current_client()
    if client is None or client.asynchronous or client.status == "running":
        return client
    return None


def _cores() -> int:
    """Cores available to this process, which a container or a job scheduler may limit."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
