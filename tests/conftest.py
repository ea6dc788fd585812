"""Fixtures that every test may ask for."""

from __future__ import annotations

import gc
import os
import signal
import sys
from pathlib import Path

# Threads of BLAS and OpenMP that have nothing to do sleep; by default they spin, which takes most
# of the processor time of small products where test processes share the processors. Read when
# numpy and torch are imported.
os.environ["OMP_WAIT_POLICY"] = "passive"
os.environ["OPENBLAS_THREAD_TIMEOUT"] = "4"
# As in distributed's own tests: no server or worker samples the stacks of its threads every 10 ms.
os.environ["DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED"] = "False"

import dask
import distributed
import hypothesis
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dask.dataframe.dask_expr import FrameBase
from support.demo_cache import cached_demo_corpus
from support.frames import KINDS, brought_home, why_no_cudf
from support.laion_columns import laion_columns
from support.paths import SHARED
from support.searches import SIZES
from support.shards import collection

import laion_dask as ld
from laion_dask.accessor import Laion

gc.disable()  # until all tests are imported: see `pytest_collection_finish`

#: The same examples in every run, and none remembered from an earlier one; `make fuzz` loads the
#: other profile, and what it finds becomes a fixed case.
hypothesis.settings.register_profile("gate", derandomize=True, database=None, deadline=None)
hypothesis.settings.register_profile("fuzz", database=None, deadline=None, print_blob=True)
hypothesis.settings.load_profile("gate")


@pytest.fixture(autouse=True, scope="session")
def _interruptible():
    """Ctrl-C raises here and in child processes, as in a terminal; a background job ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True, scope="session")
def _no_home(tmp_path_factory):
    """An empty home folder and cache: what a person keeps in theirs decides no test."""
    names = ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "LAION_DASK_WEIGHTS")
    with pytest.MonkeyPatch.context() as patch:
        for name in names:
            patch.delenv(name, raising=False)
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(autouse=True, scope="session")
def _patient_nannies():
    """A worker has two minutes to end, not five seconds, which a busy machine may well take."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distributed.Nanny.close, "__defaults__", (120.0, "nanny-close"))
        yield


#: How many modules were imported when `_frozen_heap` last did its work.
_imported = 0


@pytest.fixture(autouse=True)
def _frozen_heap():
    """Exempt from garbage collection what is alive before a test, whenever modules were imported.

    Imports and collected tests are millions of objects. ``memory.release`` runs a full collection
    whenever an allocation fails, and each would take half a second to visit them.
    """
    global _imported
    if _imported != len(sys.modules):
        gc.collect()
        gc.freeze()
        _imported = len(sys.modules)


@pytest.fixture
def shared() -> Path:
    """The folder of real inputs beside the repository; skips where it is not there."""
    if not SHARED.is_dir():
        pytest.skip("the folder of real inputs, ../shared, is not beside this repository")
    return SHARED


@pytest.fixture(autouse=True)
def _pandas():
    """Frames are pandas' on any machine, but in a test that asks for `frames`."""
    with ld.set_options(backend="pandas"):
        yield


@pytest.fixture
def frames(request, monkeypatch) -> str:
    """Both kinds of frame, one after the other; cuDF skips, with its reason, where it cannot run.

    ``read_shards`` makes frames of that kind. What ``compute`` and ``search`` give comes to pandas,
    so that one test compares both.
    """
    if request.param == "cudf":
        if why_no_cudf():
            pytest.skip(why_no_cudf())
        for owner, name in ((FrameBase, "compute"), (Laion, "search"), (ld, "search")):
            monkeypatch.setattr(owner, name, brought_home(getattr(owner, name)))
    with ld.set_options(backend=request.param):
        yield request.param


def pytest_collection_modifyitems(items):
    """Run slow tests and those that share `worker_processes` first, in any number of processes.

    ``--dist worksteal`` gives each process a contiguous part and lets idle ones take from the end
    of another's, so that quick tests are left for the end and one process has the cluster.
    """
    items.sort(
        key=lambda item: (
            "worker_processes" not in item.fixturenames,
            item.get_closest_marker("slow") is None,
        )
    )


def pytest_collection_finish():
    gc.enable()


def pytest_sessionfinish():
    gc.unfreeze()  # for libraries that look for leaks of their own objects when Python ends


def pytest_generate_tests(metafunc):
    """`frames` is cuDF's too, but in tests that are marked as of pandas alone."""
    if "frames" in metafunc.fixturenames:
        alone = metafunc.definition.get_closest_marker("only_pandas")
        metafunc.parametrize("frames", KINDS[:1] if alone else KINDS, indirect=True)


@pytest.fixture
def no_compute():
    """Dask with a scheduler that raises: whatever is done under it is lazy."""

    def refuse(*args, **kwargs):
        raise AssertionError("something was computed that should have been lazy")

    with dask.config.set(scheduler=refuse):
        yield


@pytest.fixture
def write(tmp_path):
    """``write(name, columns, **options)`` writes a Parquet file below tmp_path, returns its path.

    Columns are a pyarrow table or a mapping of names to arrays.
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
    """``laion_shards(5, 0, 3)`` writes shards of so many LAION-5B rows, returns their paths."""

    def write_shards(*sizes: int, folder: str = "shards", **options) -> list[str]:
        starts = [sum(sizes[:i]) for i in range(len(sizes))]
        return [
            write(f"{folder}/part_{i}.parquet", laion_columns(n, start), **options)
            for i, (n, start) in enumerate(zip(sizes, starts, strict=True))
        ]

    return write_shards


@pytest.fixture(scope="session")
def demo_folder(request, tmp_path_factory) -> Path:
    """A small demo corpus with its embeddings, as ``demo_corpus`` leaves it; read-only.

    It is generated once for all test processes and runs, until something that it is made by
    changes; tests/demo generates corpora anew.
    """
    with cached_demo_corpus(request.config, tmp_path_factory, n_images=800) as folder:
        yield folder


#: The cluster of `worker_processes` while there is one.
_clusters: list[distributed.LocalCluster] = []


@pytest.fixture
def worker_processes() -> distributed.LocalCluster:
    """A cluster of two worker processes with one thread each, which several tests share.

    For tests in which worker processes are a means: connect with
    ``with distributed.Client(worker_processes):`` and leave no state on the workers.
    """
    if not _clusters:
        address = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}
        _clusters.append(distributed.LocalCluster(n_workers=2, threads_per_worker=1, **address))
    return _clusters[0]


def pytest_runtest_teardown(nextitem):
    """Close the shared cluster after the last test in a row that uses it: it would take time."""
    if _clusters and (nextitem is None or "worker_processes" not in nextitem.fixturenames):
        _clusters.pop().close()


@pytest.fixture(params=["float32", "float16"])
def corpus(request, tmp_path):
    """Shards with embeddings of both dtypes, one of them empty."""
    return collection(tmp_path, SIZES, dtype=request.param)


@pytest.fixture
def small(tmp_path):
    """The same in one dtype."""
    return collection(tmp_path, SIZES)
