"""The arguments that start GPU workers, recorded by a stand-in for dask-cuda."""

import inspect
import os
import subprocess
import sys
from types import SimpleNamespace

import dask
import distributed
import numpy as np
import pytest
from support.shards import collection, cosine

import laion_dask as ld
from laion_dask import backend
from laion_dask.backend import gpu_count
from laion_dask.cluster import start
from laion_dask.errors import DeviceMemoryError, MissingExtraError, OptionError

#: The named parameters of `dask_cuda.LocalCUDACluster.__init__`, dask-cuda 26.10.0.
OF_DASK_CUDA = [
    *("CUDA_VISIBLE_DEVICES", "n_workers", "threads_per_worker", "memory_limit"),
    *("device_memory_limit", "enable_cudf_spill", "cudf_spill_stats", "local_directory"),
    *("protocol", "enable_tcp_over_ucx", "enable_infiniband", "enable_nvlink", "enable_rdmacm"),
    *("rmm_pool_size", "rmm_maximum_pool_size", "rmm_managed_memory", "rmm_async"),
    *("rmm_allocator_external_lib_list", "rmm_release_threshold", "rmm_log_directory"),
    *("rmm_track_allocations", "log_spilling", "pre_import"),
]
#: Parameters that it passes on to `distributed.LocalCluster` in ``**kwargs``.
OF_DISTRIBUTED = {"host", "dashboard_address"}
#: The memory of a GPU, in bytes: 24 GiB.
GPU_MEMORY = 24 * 2**30


class StandIn:
    """Replaces dask_cuda: starts threads in this process and records the arguments."""

    def __init__(self):
        self.arguments = None

    def LocalCUDACluster(self, **arguments):
        self.arguments = arguments
        return distributed.LocalCluster(
            n_workers=arguments["n_workers"] or 2,
            processes=False,
            threads_per_worker=1,
            host="127.0.0.1",
            protocol="tcp",
            dashboard_address="127.0.0.1:0",
        )


@pytest.fixture
def stand(monkeypatch):
    """Make `start_cluster` see two GPUs."""
    stand = StandIn()
    monkeypatch.setattr(start, "_current", lambda: None)
    monkeypatch.setattr(start, "gpu_count", lambda: 2)
    monkeypatch.setattr(start, "gpu_memory_bytes", lambda: GPU_MEMORY)
    monkeypatch.setattr(start, "require_dask_cuda", lambda: stand)
    return stand


def close(client):
    cluster = client.cluster
    client.close()
    cluster.close()


def test_gpu_workers_share_one_pool(stand, monkeypatch):
    logged: list[str] = []
    log = "laion_dask.cluster.start._log.info"
    monkeypatch.setattr(log, lambda text, *words: logged.append(text % words))
    client = ld.start_cluster(memory_limit="1GB", dashboard_port=8899)
    try:
        plain, html = repr(client), client._repr_html_()
        assert client.submit(sum, [1, 2]).result() == 3
        assert client.settings["shuffle"] == "tasks"
        assert dask.config.get("distributed.deploy.lost-worker-timeout") == "1h"
    finally:
        close(client)
    arguments = stand.arguments
    assert set(arguments) <= {*OF_DASK_CUDA, *OF_DISTRIBUTED}
    assert arguments["n_workers"] is None and arguments["threads_per_worker"] == 1
    assert arguments["rmm_pool_size"] == arguments["device_memory_limit"] == GPU_MEMORY * 3 // 4
    assert arguments["rmm_pool_size"] < arguments["rmm_maximum_pool_size"] < GPU_MEMORY * 0.951
    assert arguments["rmm_maximum_pool_size"] % 256 == 0
    assert arguments["rmm_allocator_external_lib_list"] == ["torch", "cupy"]
    assert arguments["enable_cudf_spill"] is True
    assert (arguments["host"], arguments["protocol"], arguments["memory_limit"]) == (
        "127.0.0.1",
        "tcp",
        "1GB",
    )
    assert arguments["dashboard_address"] == "127.0.0.1:8899"
    for part in ("2 GPU workers", "tcp", "18.00 GiB of each GPU", "22.80 GiB", "25%", "host mem"):
        assert part in plain and part in html, (part, plain)
    assert logged[0].startswith("2 GPU workers; dashboard at ")


@pytest.mark.parametrize("share", [0.05, 0.4, 0.95])
def test_the_pool_leaves_what_torch_share_says(stand, share):
    close(ld.start_cluster(1, gpu=True, torch_share=share))
    pool, most = stand.arguments["rmm_pool_size"], stand.arguments["rmm_maximum_pool_size"]
    assert pool == pytest.approx(GPU_MEMORY * (1 - share), abs=256)
    assert most == pytest.approx(GPU_MEMORY * (1 - share / 5), abs=256)


def test_gpu_workers_are_used_again(stand, monkeypatch):
    client = ld.start_cluster(1)
    try:
        monkeypatch.setattr(start, "_current", lambda: client)
        assert ld.start_cluster(gpu=True) is client
    finally:
        close(client)


def test_gpu_workers_that_cannot_be(stand, monkeypatch):
    with pytest.raises(OptionError, match=r"n_workers is 3, but 2 CUDA devices"):
        ld.start_cluster(3)
    monkeypatch.setattr(start, "require_ucx", require_nothing)
    with pytest.raises(MissingExtraError, match="ucx"):
        ld.start_cluster(protocol="ucx")

    def full(**_):
        raise RuntimeError("Nanny failed to start.")

    monkeypatch.setattr(start, "require_dask_cuda", lambda: SimpleNamespace(LocalCUDACluster=full))
    with pytest.raises(DeviceMemoryError, match=r"Nanny failed.*18\.00 GiB.*torch_share"):
        ld.start_cluster()


def require_nothing():
    from laion_dask.gpu_packages import importlib, require_ucx

    find_spec = importlib.util.find_spec
    try:
        importlib.util.find_spec = lambda name: None
        require_ucx()
    finally:
        importlib.util.find_spec = find_spec


def test_the_parameters_are_those_of_dask_cuda():
    # In a separate process, because importing dask_cuda patches Dask.
    code = "import inspect, dask_cuda; print(*inspect.signature(dask_cuda.LocalCUDACluster.__init__"
    process = subprocess.run(
        [sys.executable, "-c", f"{code}).parameters)"], capture_output=True, text=True, timeout=250
    )
    if "No module named 'dask_cuda'" in process.stderr:
        pytest.skip("dask-cuda is not installed")
    assert process.returncode == 0, process.stderr
    assert process.stdout.split() == ["self", *OF_DASK_CUDA, "kwargs"]


def test_the_rest_is_for_distributed():
    assert set(inspect.signature(distributed.LocalCluster.__init__).parameters) >= OF_DISTRIBUTED


@pytest.mark.gpu
def test_one_worker_per_gpu():
    if not gpu_count():
        pytest.skip("no CUDA device that torch can use")
    pytest.importorskip("dask_cuda")
    client = ld.start_cluster(1, gpu=True)
    try:
        assert client.submit(allocators).result() == ("CUDAPluggableAllocator", "rmm", True)
    finally:
        client.shutdown()


def allocators():
    """The memory allocators of torch and CuPy in a worker, and whether cuDF spills."""
    from importlib import import_module

    import torch

    cudf, cupy = import_module("cudf"), import_module("cupy")
    torch.ones(1, device="cuda")
    of_torch = torch.cuda.memory.get_allocator_backend()
    of_torch = "CUDAPluggableAllocator" if of_torch == "pluggable" else of_torch
    return of_torch, cupy.cuda.get_allocator().__module__.split(".")[0], cudf.get_option("spill")


@pytest.mark.gpu
def test_a_gpu_that_is_lost_and_one_that_is_full(tmp_path):
    """A kernel assertion, then memory taken by others: every row is still scored."""
    if not gpu_count():
        pytest.skip("no CUDA device that torch can use")
    pytest.importorskip("dask_cuda")
    c = collection(tmp_path, (400, 0, 250), dim=768, odd=False)
    client = ld.start_cluster(1, gpu=True)
    try:
        with ld.set_options(backend="auto"):
            frame = ld.read_shards(c.metadata)
        assert backend.is_cudf(frame._meta)
        lost = frame.map_partitions(asserts_once, str(tmp_path / "once"), meta=frame._meta)
        assert len(lost.compute()) == 650
        assert int((tmp_path / "once").read_text()) not in client.run(os.getpid).values()
        emb = ld.open_embeddings(c.img_emb, model=c.model, like=frame)
        client.run(hold, 64 << 20)
        scored = frame.laion.similarity(emb, np.eye(768, dtype=np.float32)[0])
        got = scored["query_similarity"].compute().to_numpy()
        wanted = [cosine(row, np.eye(768)[0]) for x in c.images for row in x]
        np.testing.assert_allclose(got, wanted, atol=1e-5)
    finally:
        client.shutdown()


def asserts_once(part, marker: str):
    """On the first call, trigger a device-side assertion by indexing out of bounds."""
    import torch

    if not os.path.exists(marker):
        with open(marker, "w") as file:
            file.write(str(os.getpid()))
        torch.zeros(1, device="cuda")[torch.tensor([5], device="cuda")]
        torch.cuda.synchronize()
    return part


def hold(free: int) -> None:
    """Occupy a worker's GPU memory, except for `free` bytes, until the worker ends."""
    import torch

    held, size = [], 1 << 34
    while size >= free:
        try:
            held.append(torch.empty(size, dtype=torch.uint8, device="cuda"))
        except (RuntimeError, MemoryError):
            size //= 2
    distributed.get_worker().held = held
