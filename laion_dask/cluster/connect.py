"""Connect to a running scheduler, on any kind of cluster."""

from __future__ import annotations

import json
import os

import dask
from distributed import Security, Status
from distributed.comm.addressing import parse_address, parse_host_port
from distributed.comm.registry import get_backend
from distributed.deploy import Cluster

from laion_dask.cluster.client import Client
from laion_dask.errors import LaionDaskError, MissingExtraError, OptionError, must_be
from laion_dask.gpu_packages import require_ucx


def connect(address: str | os.PathLike | Cluster) -> Client:
    """A client of a running scheduler. Eager.

    Workers need the same version of this package, and must read the shards by the same paths: from
    a shared file system or an object store. Each needs a nanny (all kinds below have one), which
    restarts it when it can no longer use its GPU.

    Parameters
    ----------
    address : str, path or cluster
        Such as ``"tcp://10.0.0.1:8786"``, the path of a scheduler file, or the cluster object
        itself.

    Raises
    ------
        When ``address`` is not that of a scheduler, such as the dashboard's link; when the file is
        not a scheduler file; when certificates are needed but not configured. No client remains
        open in these cases.
    MissingExtraError
        When a worker cannot import this package, or for UCX without distributed-ucxx.
    OSError
        When no scheduler answers at the address.

    Notes
    -----
    How to start workers: one per GPU, with one thread each. ``G`` stands for the options that
    `start_cluster` sets itself, and that must be given here::

        --enable-cudf-spill --rmm-pool-size 0.75 --rmm-maximum-pool-size 0.95
        --set-rmm-allocator-for-libs torch,cupy --device-memory-limit 0.75

    Omit ``cuda`` and ``G`` for CPU workers. For cuDF frames, the scheduler and this process also
    need a GPU and the extra ``gpu``: a graph includes an empty frame, which takes almost no GPU
    memory. None of these commands has been tested on the service that it is for; their sources are
    given.

    *By hand, or with SSH* (dask-cuda 26.10, "Quickstart"). The first command on one machine, the
    second on each machine with GPUs::

        dask scheduler --scheduler-file /shared/scheduler.json
        dask cuda worker --scheduler-file /shared/scheduler.json G

    and ``ld.connect("/shared/scheduler.json")``. ``dask ssh host1 host2 host3`` starts a scheduler
    and CPU workers in one step.

    *SLURM* (dask-jobqueue 0.9). One job per GPU; ``worker_command`` is a module run by Python::

        from dask_jobqueue import SLURMCluster
        cluster = SLURMCluster(
            queue="gpu", walltime="04:00:00", cores=1, processes=1, memory="120GB",
            job_extra_directives=["--gres=gpu:1", "--cpus-per-task=8"], job_cpu=8,
            worker_command="dask_cuda.cli", worker_extra_args=G.split(),
        )
        cluster.scale(jobs=8)
        client = ld.connect(cluster)

    PBS, LSF and SGE have similar classes. Alternatively, start the two commands above from a batch
    script, the second with ``srun``.

    *Kubernetes* (dask-kubernetes 2026.3, with its operator installed by Helm). One pod per GPU,
    from an image with this package and the extra ``gpu``::

        from dask_kubernetes.operator import KubeCluster
        cluster = KubeCluster(
            name="laion", image="…", n_workers=8,
            resources={"limits": {"nvidia.com/gpu": "1"}},
            worker_command=["dask", "cuda", "worker", *G.split()],
        )
        client = ld.connect(cluster)

    *Cloud machines* (dask-cloudprovider; Coiled)::

        from dask_cloudprovider.aws import EC2Cluster
        cluster = EC2Cluster(
            instance_type="g6.12xlarge", n_workers=2, docker_image="…",
            worker_class="dask_cuda.CUDAWorker",
            worker_options=options,
        )
        cluster = coiled.Cluster(
            n_workers=8, worker_gpu=1, worker_class="dask_cuda.CUDAWorker",
            worker_options={"nthreads": 1, **options},
        )
        client = ld.connect(cluster)

    where ``options`` correspond to ``G``: ``{"enable_cudf_spill": True, "rmm_pool_size": 0.75,
    "rmm_maximum_pool_size": 0.95, "rmm_allocator_external_lib_list": ["torch", "cupy"],
    "device_memory_limit": 0.75}``.

    Examples
    --------
    >>> import laion_dask as ld
    >>> from distributed import LocalCluster
    >>> cluster = LocalCluster(n_workers=1, processes=False, dashboard_address="127.0.0.1:0")
    >>> with ld.connect(cluster.scheduler_address) as client:
    ...     client.submit(sum, [1, 2]).result()
    3
    >>> cluster.close()
    """
    kinds = (str, os.PathLike, Cluster)
    must_be("address", address, kinds, "a scheduler's address, its file, or a cluster")
    if isinstance(address, Cluster):
        if address.status in (Status.closing, Status.closed):
            raise OptionError(f"address is {address!r}, which is closed. Start a new cluster.")
        return _joined(address, address.scheduler_address)
    address = os.fspath(address).strip()
    if os.path.isfile(address):
        _check(_address_in_file(address), f"The address in the file {address!r}")
        return _joined(None, address, scheduler_file=address)
    _check(address, repr(address))
    return _joined(address, address)


def _address_in_file(path: str) -> str:
    """The address in a scheduler file."""
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
    except ValueError as error:
        raise _no_scheduler_file(path, f"it is not JSON ({error})") from error
    if not isinstance(content, dict) or not isinstance(content.get("address"), str):
        raise _no_scheduler_file(path, "it contains no address")
    return content["address"]


def _no_scheduler_file(path: str, why: str) -> OptionError:
    return OptionError(
        f'{path!r} is not a scheduler file: {why}. Expected JSON with an "address", as '
        "'dask scheduler --scheduler-file' writes it when it starts."
    )


def _check(address: str, shown: str) -> None:
    """Raise for an invalid address before a client is created."""
    try:
        scheme, location = parse_address(address)
        if scheme in ("http", "https"):
            raise ValueError("that is a web page, such as the dashboard")
        if scheme.startswith("ucx"):
            _require_ucx(address)
        get_backend(scheme)
        if scheme != "inproc":
            host, port = parse_host_port(location.partition("/")[0])
            if not host or not 0 < port < 2**16:
                raise ValueError(f"{location!r} is not a host and port")
    except ValueError as error:
        raise OptionError(
            f"{shown} is neither a scheduler's address ({error}) nor a file. Expected one such as "
            "'tcp://10.0.0.1:8786', as the scheduler prints it when it starts."
        ) from error
    loader = dask.config.get("distributed.client.security-loader", None)
    if scheme not in ("tls", "wss") or loader:
        return
    if Security().get_connection_args("client").get("ssl_context") is None:
        raise OptionError(
            f"{shown} needs certificates, and none are set. Set distributed.comm.tls.ca-file, "
            "distributed.comm.tls.client.cert and distributed.comm.tls.client.key in Dask's "
            "configuration, or give the cluster object."
        )


def _require_ucx(address: str) -> None:
    try:
        require_ucx()
    except MissingExtraError as error:
        raise MissingExtraError(
            f"{address!r} needs distributed-ucxx, which is not installed. Install "
            "distributed-ucxx-cu13 (distributed-ucxx from conda-forge), or have the scheduler "
            "listen on tcp://."
        ) from error


def _joined(address, shown: str, **kwargs) -> Client:
    # A scheduler does not report how its workers share their GPUs, and workers may come and go.
    settings = {"workers": f"those of the scheduler at {shown}"}
    try:
        return Client(address, settings=settings, gpu=None, **kwargs)
    except (OSError, ImportError, LaionDaskError):
        raise
    except Exception as error:
        raise OptionError(
            f"No client can be created for {shown!r} ({type(error).__name__}: {error}). Expected "
            "the address of a scheduler that this process can reach, such as 'tcp://10.0.0.1:8786'."
        ) from error
