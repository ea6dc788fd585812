"""Clients and workers in notebooks: interrupts, asynchronous clients, adaptive clusters."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
import warnings
from types import SimpleNamespace

import dask
import distributed
import pytest

import laion_dask as ld
from laion_dask.cluster import dask_config
from laion_dask.errors import ClusterWarning, MissingExtraError, OptionError
from laion_dask.runtime import graph, worker_backends, workers
from laion_dask.runtime.tasks import run_each

HERE = {"host": "127.0.0.1", "protocol": "tcp", "dashboard_address": "127.0.0.1:0"}

INTERRUPTED = """
import os, signal, sys, time
import laion_dask as ld
from laion_dask.runtime import cancellation


def slow(part, folder):
    open(f"{folder}/{os.getpid()}", "w").close()
    for _ in range(1_200):  # a minute of blocks
        cancellation.check()
        time.sleep(0.05)
    open(f"{folder}/ran to its end", "w").close()
    return part


if __name__ == "__main__":
    client = ld.start_cluster(1, gpu=False)
    before = sorted(client.run(os.getpid).values())
    frame = ld.read_shards(sys.argv[1])
    print("ready", flush=True)
    try:
        frame.map_partitions(slow, sys.argv[2], meta=frame._meta).laion.rows()
    except KeyboardInterrupt:
        print("interrupted")
    print(frame.laion.where("width >= 0").laion.rows())
    print(sorted(client.run(os.getpid).values()) == before)
    client.restart()
    print(frame.laion.rows())
    client.shutdown()
"""


def test_an_interrupt_is_not_for_the_workers(laion_shards, tmp_path):
    """Jupyter's interrupt signals the whole process group; workers must survive it."""
    folder, started = os.path.dirname(laion_shards(3, 3, 3, 3, 3, 3)[0]), tmp_path / "started"
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(INTERRUPTED))
    started.mkdir()
    child = subprocess.Popen(
        [sys.executable, "-W", "ignore", script, folder, started],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    with child:
        for line in child.stdout:
            if line == "ready\n":
                break
        while not list(started.iterdir()):
            assert child.poll() is None
            time.sleep(0.05)
        os.killpg(child.pid, signal.SIGINT)
        printed = child.stdout.read().splitlines()
    every = "18 read = 18 kept + 0 dropped + 0 unscored + 0 rejected"
    assert printed[-4:] == ["interrupted", every, "True", every] and child.returncode == 0
    assert not (started / "ran to its end").exists()


def test_an_asynchronous_client_is_refused_in_one_line(laion_shards, tmp_path):
    frame = ld.read_shards(laion_shards(5))

    async def refused():
        async with distributed.Client(asynchronous=True, processes=False, n_workers=1, **HERE):
            for verb in (
                lambda: frame.laion.rows(),
                lambda: frame.laion.export(tmp_path / "out"),
                lambda: frame.laion.summary(),
                lambda: ld.read_shards(laion_shards(5), backend="auto"),
            ):
                with ld.set_options(backend="auto"), pytest.raises(OptionError, match="asynchr"):
                    verb()
            with dask.config.set(scheduler="sync"):
                assert frame.laion.rows().kept == 5
            return await asyncio.to_thread(frame.laion.rows)

    assert asyncio.run(refused()).kept == 5
    assert not (tmp_path / "out").exists() or not any((tmp_path / "out").iterdir())


def _inside(run, paths, out):
    with run:
        return ld.read_shards(paths).laion.export(out).rows.kept


def _verbs_in_a_task(paths, out):
    each = {"sizes": [1, 1], "label": "x", "unit": "it", "progress": False}
    kept = run_each(_inside, [(paths, f"{out}/{i}") for i in range(2)], **each)
    return [*kept, ld.read_shards(paths).laion.rows().kept]


def test_a_task_may_call_verbs_of_the_only_thread(laion_shards, tmp_path, monkeypatch):
    monkeypatch.setattr(graph, "is_watched", lambda: True)
    with (
        distributed.LocalCluster(n_workers=1, threads_per_worker=1, processes=False, **HERE) as one,
        distributed.Client(one) as client,
    ):
        future = client.submit(_verbs_in_a_task, laion_shards(4), str(tmp_path))
        assert future.result(timeout=120) == [4, 4, 4]


def test_a_cluster_that_adapts_from_no_worker_starts_one(laion_shards):
    paths = laion_shards(4)
    with distributed.LocalCluster(n_workers=0, processes=False, **HERE) as cluster:
        cluster.adapt(minimum=0, maximum=1, interval="50ms")
        with distributed.Client(cluster), ld.set_options(backend="auto"):
            assert ld.read_shards(paths).laion.rows().kept == 4


def test_a_cluster_without_workers_is_reported(laion_shards, monkeypatch):
    monkeypatch.setattr(workers, "_PATIENCE_S", 0.05)
    with distributed.LocalCluster(n_workers=0, processes=False, **HERE) as cluster:
        seen = []

        def report(message, category, *_, **__):
            seen.append((str(message), category))
            cluster.scale(1)

        with distributed.Client(cluster), warnings.catch_warnings(action="always"):
            monkeypatch.setattr(warnings, "showwarning", report)
            frame = ld.read_shards(laion_shards(4), backend="pandas")
            assert frame.laion.rows().kept == 4
    (message, category), *more = seen
    assert "has no workers" in message and category is ClusterWarning and not more


def test_lost_workers_of_a_local_cluster_are_started_again(laion_shards, monkeypatch):
    monkeypatch.setattr(workers, "_PATIENCE_S", 0.1)
    with (
        dask.config.set({"distributed.deploy.lost-worker-timeout": "200ms"}),
        distributed.LocalCluster(n_workers=1, processes=False, **HERE) as cluster,
        distributed.Client(cluster) as client,
        pytest.warns(ClusterWarning, match="started again"),
    ):
        cluster.sync(cluster.workers[0].close)
        while client.nthreads():
            time.sleep(0.01)
        frame = ld.read_shards(laion_shards(4), backend="pandas")
        assert frame.laion.rows().kept == 4


@pytest.mark.parametrize(
    "error",
    [ModuleNotFoundError("No module named 'laion_dask'"), ImportError("no"),
     Exception("ModuleNotFoundError(\"No module named 'laion_dask'\")")],
)  # fmt: skip
def test_a_worker_without_the_package_is_named(error):
    class Client:
        asynchronous = False

        def run(self, function, on_error):
            return {"tcp://10.0.0.7:4000": error}

    with pytest.raises(MissingExtraError, match=r"at tcp://10\.0\.0\.7:4000 cannot import"):
        worker_backends.ask_workers(Client())
    assert not worker_backends.is_import_error(Exception("something else: ImportError("))


def test_a_client_may_be_collected_while_another_closes(monkeypatch):
    states = iter([SimpleNamespace(status="running"), None])
    monkeypatch.setattr(dask_config, "_clients", [(lambda: next(states, None), {})])
    dask_config.release(object())
