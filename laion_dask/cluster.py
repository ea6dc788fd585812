"""How workers start: on the GPUs that are visible, else on the processors."""

from __future__ import annotations

import os

import distributed
from distributed.comm.addressing import parse_address, parse_host_port

from laion_dask.backend import gpu_count, require_dask_cuda
from laion_dask.errors import OptionError, must_be

_HERE = "127.0.0.1"


def start_cluster(
    n_workers: int | None = None,
    *,
    gpu: bool | None = None,
    memory_limit: str | int = "auto",
    dashboard_port: int = 0,
) -> distributed.Client:
    """A client with local workers: one a GPU where any is visible, else one a core. Eager.

    A client that is there already is used again. Everything listens on this machine only. Says in
    one line what it started, and where the dashboard is. ``client.shutdown()`` ends the workers.

    Parameters
    ----------
    n_workers : int, optional
        By default one a GPU, or one a core that this process may use.
    gpu : bool, optional
        True asks for GPU workers and fails where there is none; False asks for CPU workers.
    memory_limit : str or int
        Of each CPU worker, such as ``"4GB"``.
    dashboard_port : int
        0 takes a free one.

    Raises
    ------
    MissingExtraError
        When GPU workers are wanted and dask-cuda is not installed.
    OptionError
        When GPU workers are asked for and no GPU is visible, or no worker is.
    """
    must_be("n_workers", n_workers, (int, type(None)), "a number of workers, or None for all")
    if n_workers is not None and n_workers < 1:
        raise OptionError(f"n_workers is {n_workers}; expected at least 1, or None for all.")
    client = _current()
    if client is not None and not gpu:
        print(f"Using the client that is there: {client.dashboard_link}")
        return client
    if gpu and not gpu_count():
        raise OptionError("gpu=True was asked for, but no CUDA device is visible. Leave it out.")
    wanted = gpu_count() > 0 if gpu is None else gpu
    dashboard = f"{_HERE}:{dashboard_port}"
    if wanted:
        cuda = require_dask_cuda()
        cluster = cuda.LocalCUDACluster(
            n_workers=n_workers, host=_HERE, dashboard_address=dashboard, enable_cudf_spill=True
        )
        kind = "GPU"
    else:
        cluster = distributed.LocalCluster(
            n_workers=n_workers or _cores(),
            threads_per_worker=1,
            host=_HERE,
            dashboard_address=dashboard,
            memory_limit=memory_limit,
        )
        kind = "CPU"
    client = distributed.Client(cluster)
    print(f"{len(cluster.workers)} {kind} workers; dashboard at {client.dashboard_link}")
    return client


def connect(address: str) -> distributed.Client:
    """A client of a scheduler that runs already. Eager.

    Parameters
    ----------
    address : str
        Such as ``"tcp://10.0.0.1:8786"``, or the path of a scheduler file.

    Raises
    ------
    OptionError
        When it is no address.
    OSError
        When no scheduler answers there.
    """
    must_be("address", address, (str, os.PathLike), "a scheduler's address, or its file")
    address = os.fspath(address)
    if os.path.isfile(address):
        return distributed.Client(scheduler_file=address)
    try:
        scheme, place = parse_address(address)
        if scheme in ("tcp", "tls"):  # before a client is made, which would be left behind
            parse_host_port(place)
        return distributed.Client(address)
    except ValueError as error:
        raise OptionError(
            f"{address!r} is no scheduler's address ({error}), nor a file. Expected one such as "
            "'tcp://10.0.0.1:8786', as the scheduler prints it when it starts."
        ) from error


def _current() -> distributed.Client | None:
    try:
        return distributed.get_client()
    except ValueError:
        return None


def _cores() -> int:
    """Cores that this process may use, which a container or a scheduler may have cut down."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
