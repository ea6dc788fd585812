"""Fixtures shared by all tests."""

from __future__ import annotations

import gc
import os
import signal
import sys
from pathlib import Path

# Idle BLAS and OpenMP threads sleep. By default they spin, which takes most of the CPU time of
# small matrix products when several test processes share the cores. numpy and torch read this on
# import.
os.environ["OMP_WAIT_POLICY"] = "passive"
os.environ["OPENBLAS_THREAD_TIMEOUT"] = "4"
# As in distributed's own tests: do not sample every server's and worker's stacks every 10 ms.
os.environ["DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED"] = "False"
# An idle cluster of two workers takes 2 % of a core, not 12 %.
os.environ["DASK_DISTRIBUTED__ADMIN__TICK__INTERVAL"] = "1s"
os.environ["DASK_DISTRIBUTED__ADMIN__SYSTEM_MONITOR__INTERVAL"] = "10s"
os.environ["DASK_DISTRIBUTED__WORKER__MEMORY__MONITOR_INTERVAL"] = "1s"

import dask
import distributed
import hypothesis
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dask.dataframe.dask_expr import FrameBase
from support.demo_cache import cached_demo_corpus
from support.frames import KINDS, why_no_cudf, with_host_results
from support.laion_columns import laion_columns
from support.partitionings import partition_per_shard, small_shards_combined
from support.paths import SHARED
from support.searches import SIZES
from support.shards import collection

import laion_dask as ld
from laion_dask.accessor import Laion

gc.disable()  # until all tests are imported: see `pytest_collection_finish`

#: Every run draws the same examples and remembers none from earlier runs. `make fuzz` loads the
#: other profile; what it finds becomes a fixed test case.
hypothesis.settings.register_profile("gate", derandomize=True, database=None, deadline=None)
hypothesis.settings.register_profile(
    "fuzz", max_examples=1000, database=None, deadline=None, print_blob=True
)
hypothesis.settings.load_profile("gate")


@pytest.fixture(autouse=True, scope="session")
def _interruptible():
    """Raise KeyboardInterrupt on Ctrl-C, as in a terminal; background jobs ignore SIGINT."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True, scope="session")
def _no_home(tmp_path_factory):
    """Set an empty home folder and cache, so that the user's own files cannot affect a test."""
    names = ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "LAION_DASK_WEIGHTS")
    with pytest.MonkeyPatch.context() as patch:
        for name in names:
            patch.delenv(name, raising=False)
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(autouse=True, scope="session")
def _patient_nannies():
    """Give a worker two minutes to exit instead of five seconds; a loaded machine may need them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distributed.Nanny.close, "__defaults__", (120.0, "nanny-close"))
        yield


@pytest.fixture(autouse=True, scope="session")
def _several_partitions():
    """Give every small shard its own partition, so that frames of a few rows have several.

    ``read_shards`` combines them for the user. Tests of that use `combined_shards`, `partitioning`
    or ``read_combined``; processes that tests start combine them too.
    """
    with partition_per_shard():
        yield


@pytest.fixture
def combined_shards():
    """Combine small shards in one partition, as ``read_shards`` does outside of the tests."""
    with small_shards_combined():
        yield


@pytest.fixture(params=["by_shard", "combined"])
def partitioning(request) -> str:
    """Run the test with a partition per shard, and with small shards combined in one."""
    if request.param == "combined":
        request.getfixturevalue("combined_shards")
    return request.param


#: Number of imported modules when `_frozen_heap` last froze the heap.
_imported = 0


@pytest.fixture(autouse=True)
def _frozen_heap():
    """Exclude live objects from garbage collection whenever new modules have been imported.

    Imports and collected tests add up to millions of objects. ``memory.release`` runs a full
    collection after every failed allocation, and scanning them takes half a second each time.
    """
    global _imported
    if _imported != len(sys.modules):
        gc.collect()
        gc.freeze()
        _imported = len(sys.modules)


@pytest.fixture
def shared() -> Path:
    """Return the folder of real inputs next to the repository; skip if it does not exist."""
    if not SHARED.is_dir():
        pytest.skip("the folder of real inputs, ../shared, is not beside this repository")
    return SHARED


@pytest.fixture(autouse=True)
def _pandas():
    """Use pandas frames on every machine, except in tests that request `frames`."""
    with ld.set_options(backend="pandas"):
        yield


@pytest.fixture
def frames(request, monkeypatch) -> str:
    """Run the test with pandas and with cuDF frames; cuDF is skipped with the reason if unusable.

    ``read_shards`` creates frames of that type. Results of ``compute`` and ``search`` are converted
    to pandas, so that one assertion covers both.
    """
    if request.param == "cudf":
        if why_no_cudf():
            pytest.skip(why_no_cudf())
        for owner, name in ((FrameBase, "compute"), (Laion, "search"), (ld, "search")):
            monkeypatch.setattr(owner, name, with_host_results(getattr(owner, name)))
    with ld.set_options(backend=request.param):
        yield request.param


def pytest_collection_modifyitems(items):
    """Run tests in a browser, slow tests and users of `worker_processes` first.

    ``--dist worksteal`` gives each process a contiguous part and lets idle processes take work from
    the end of another part. So quick tests remain for the end, and one process has the browser, or
    the cluster.
    """
    items.sort(
        key=lambda item: (
            "browser" not in item.fixturenames,
            "worker_processes" not in item.fixturenames,
            item.get_closest_marker("slow") is None,
        )
    )


def pytest_collection_finish():
    gc.enable()


def pytest_sessionfinish():
    gc.unfreeze()  # for libraries that check for leaks of their own objects at exit


def pytest_generate_tests(metafunc):
    """Parametrize `frames` with cuDF as well, unless the test is marked ``only_pandas``."""
    if "frames" in metafunc.fixturenames:
        alone = metafunc.definition.get_closest_marker("only_pandas")
        metafunc.parametrize("frames", KINDS[:1] if alone else KINDS, indirect=True)


@pytest.fixture
def no_compute():
    """Set a Dask scheduler that raises, so any computation inside the test fails."""

    def refuse(*args, **kwargs):
        raise AssertionError("something was computed that should have been lazy")

    with dask.config.set(scheduler=refuse):
        yield


@pytest.fixture
def write(tmp_path):
    """``write(name, columns, **options)`` writes a Parquet file below tmp_path; returns its path.

    ``columns`` is a pyarrow table or a mapping of names to arrays.
    """

    def write_shard(name: str, columns, **options) -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        table = columns if isinstance(columns, pa.Table) else pa.table(columns)
        pq.write_table(table, path, **options)
        return str(path)

    return write_shard


@pytest.fixture
def laion_shards(write):
    """``laion_shards(5, 0, 3)`` writes LAION-5B shards with that many rows; returns their paths."""

    def write_shards(*sizes: int, folder: str = "shards", **options) -> list[str]:
        starts = [sum(sizes[:i]) for i in range(len(sizes))]
        return [
            write(f"{folder}/part_{i}.parquet", laion_columns(n, start), **options)
            for i, (n, start) in enumerate(zip(sizes, starts, strict=True))
        ]

    return write_shards


@pytest.fixture(scope="session")
def demo_folder(request, tmp_path_factory) -> Path:
    """Return a small demo corpus with embeddings, as ``demo_corpus`` writes it; read-only.

    It is generated once and reused by all test processes and later runs, until one of its inputs
    changes. tests/demo generates corpora from scratch.
    """
    with cached_demo_corpus(request.config, tmp_path_factory, n_images=800) as folder:
        yield folder


#: The cluster of `worker_processes`, while one is running.
_clusters: list[distributed.LocalCluster] = []


@pytest.fixture
def worker_processes() -> distributed.LocalCluster:
    """Return a cluster of two worker processes with one thread each, shared by several tests.

    For tests that need worker processes but do not test them. Connect with ``with
    distributed.Client(worker_processes):`` and leave no state on the workers.
    """
    if not _clusters:
        address = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}
        _clusters.append(distributed.LocalCluster(n_workers=2, threads_per_worker=1, **address))
    return _clusters[0]


def pytest_runtest_teardown(nextitem):
    """Close the shared cluster after the last of consecutive tests that use it, to free the CPU."""
    if _clusters and (nextitem is None or "worker_processes" not in nextitem.fixturenames):
        _clusters.pop().close()


@pytest.fixture(params=["float32", "float16"])
def corpus(request, tmp_path):
    """Shards with float32 or float16 embeddings; one shard is empty."""
    return collection(tmp_path, SIZES, dtype=request.param)


@pytest.fixture
def small(tmp_path):
    """The same as `corpus`, in float32 only."""
    return collection(tmp_path, SIZES)
