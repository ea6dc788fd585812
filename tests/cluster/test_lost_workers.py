"""A worker that lost its GPU is replaced and its tasks retried; otherwise an error says why."""

import subprocess
import sys
import textwrap
from types import SimpleNamespace

import distributed
import pytest
import torch
from distributed.core import error_message
from distributed.scheduler import WorkerState

import laion_dask as ld
from laion_dask.cluster import worker_recovery
from laion_dask.cluster.worker_recovery import ReplaceLostGpuWorker, corrupting_error_text
from laion_dask.errors import DeviceLostError, DeviceMemoryError, ShardError
from laion_dask.runtime import graph, workers
from laion_dask.runtime.tasks import run_each

SPOILED = "CUDA error: an illegal memory access was encountered"

SCRIPT = """
    import os, sys
    from pathlib import Path

    import dask
    import laion_dask as ld
    from laion_dask.runtime import graph, worker_backends
    from laion_dask.errors import DeviceLostError
    from laion_dask.runtime.tasks import run_each

    def fail_once(part, number, marker):
        if number == 1 and not Path(marker).exists():
            Path(marker).write_text(str(os.getpid()))
            raise RuntimeError("{SPOILED}")
        return number * 10, os.getpid()

    def fail_once_inside(run, number, marker):
        with run:
            try:
                return fail_once(None, number, marker)[0]
            except RuntimeError as error:
                raise ValueError("a task of a verb failed") from error

    def fail_always(part, number):
        if number == 1:
            try:
                raise RuntimeError("{SPOILED}")
            except RuntimeError as error:
                raise ValueError("my kernel failed") from error
        return number

    def tasks(kernel, *args):
        return graph.compute(*graph.tasks(kernel, range(4), *args), label="test")

    if __name__ == "__main__":
        here = Path(sys.argv[1])
        dask.config.set({{"distributed.scheduler.allowed-failures": 1}})
        client = ld.start_cluster(1, gpu=False, memory_limit="2GB")
        try:
            # A shard is retried on a new worker.
            results = tasks(fail_once, str(here / "one"))
            assert [value for value, _ in results] == [0, 10, 20, 30], results
            lost = int((here / "one").read_text())
            assert lost not in {{pid for _, pid in results}}, (lost, results)
            # So is a task that writes, even where the CUDA error is only the cause of another.
            items = [(n, str(here / "two")) for n in range(3)]
            options = dict(sizes=[1] * 3, label="test", unit="item", progress=None)
            assert run_each(fail_once_inside, items, **options) == [0, 10, 20]
            assert int((here / "two").read_text()) != lost
            # A task that always fails is given up, with its error.
            try:
                tasks(fail_always)
            except DeviceLostError as error:
                assert "{SPOILED}" in str(error) and "'fail_always-" in str(error), error
                assert "my kernel failed" in str(error), error
                assert str(error).startswith("2 workers ended"), error
            else:
                raise AssertionError("no error")
            # The next job succeeds, starting with the choice of backend.
            assert worker_backends.choose_backend("auto") == "pandas"
            assert [value for value, _ in tasks(fail_once, str(here / "one"))] == [0, 10, 20, 30]
        finally:
            client.shutdown()
        print("done")
"""


@pytest.mark.slow
def test_a_worker_that_lost_its_gpu_is_replaced(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT.format(SPOILED=SPOILED)))
    command = [sys.executable, str(script), str(tmp_path)]
    process = subprocess.run(command, capture_output=True, text=True, timeout=250)
    assert process.returncode == 0, process.stderr
    assert process.stdout.splitlines()[-1] == "done"


def spoiled(*_):
    raise RuntimeError(SPOILED)


def test_a_worker_without_a_nanny_is_not_ended():
    here = {"host": "127.0.0.1", "protocol": "tcp", "dashboard_address": "127.0.0.1:0"}
    with (
        distributed.LocalCluster(n_workers=1, processes=False, **here) as cluster,
        ld.connect(cluster) as client,
    ):
        with pytest.raises(DeviceLostError, match=rf"{SPOILED}.*client\.restart"):
            graph.compute(*graph.tasks(spoiled, [0]), label="test")
        with pytest.raises(DeviceLostError, match=SPOILED):
            options = {"label": "test", "unit": "item", "progress": None}
            run_each(spoiled, [(0,)], sizes=[1], **options)
        assert client.submit(sum, [1, 2]).result() == 3


def test_on_threads_the_error_is_named_too():
    with pytest.raises(DeviceLostError, match=SPOILED):
        graph.compute(*graph.tasks(spoiled, [0]), label="test")


def chained(error, cause):
    error.__cause__ = cause
    return error


def root(error):
    while error.__cause__ is not None:
        error = error.__cause__
    return error


class Unpicklable(RuntimeError):
    def __reduce__(self):
        raise TypeError("not this one")


@pytest.mark.parametrize(
    ("error", "ends"),
    [
        (RuntimeError(SPOILED), True),
        (DeviceLostError("The GPU can no longer be used by this process."), True),
        (chained(ValueError("a"), chained(KeyError("b"), RuntimeError(SPOILED))), True),
        (Unpicklable(SPOILED), True),
        (Unpicklable("CUDA out of memory"), False),
        (RuntimeError("CUDA out of memory"), False),
        (ValueError("not a number"), False),
        # A row's text may hold anything; only errors from CUDA count.
        (ShardError(f"the url {SPOILED!r} is not UTF-8"), False),
        (chained(ValueError("a"), ShardError(SPOILED)), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_which_errors_end_a_worker(monkeypatch, error, ends):
    # The plugin would change the settings of this process instead of a worker's.
    monkeypatch.setattr(worker_recovery.dask.config, "set", lambda settings: None)
    reported, ended = [], []
    message = error_message(error)
    task = SimpleNamespace(exception=message["exception"], exception_text=message["exception_text"])
    text = corrupting_error_text(task)
    assert (text is not None) is ends
    # The message has both the error that was raised and the CUDA error that caused it.
    assert not ends or (message["exception_text"] in text and str(root(error)) in text)
    worker = SimpleNamespace(nanny="tcp://1", state=SimpleNamespace(tasks={"a": task}))
    plugin = ReplaceLostGpuWorker()
    plugin.setup(worker)
    monkeypatch.setattr(plugin, "_tell", lambda *text: reported.append(text))
    monkeypatch.setattr(worker_recovery.logging, "shutdown", lambda: None)
    monkeypatch.setattr(worker_recovery.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(worker_recovery.os, "_exit", ended.append)
    plugin.transition("a", "executing", "memory")
    plugin.transition("gone", "executing", "error")
    assert not ended
    plugin.transition("a", "executing", "error")
    assert ended == [worker_recovery.EXIT_STATUS] * ends
    assert reported == [("a", text)] * ends


def test_a_worker_that_ended_without_a_word(monkeypatch):
    last = WorkerState(
        address="tcp://10.0.0.2:1",
        status=distributed.Status.closed,
        pid=1,
        name="1",
        nthreads=1,
        memory_limit=1,
        local_directory="",
        nanny="",
        server_id="1",
    )
    killed = distributed.KilledWorker(("read-shards", 7), last, 3)
    other = (0.0, {"worker": "tcp://10.0.0.3:1", "task": "a", "error": "another"})
    client = SimpleNamespace(asynchronous=False, get_events=lambda topic: (other,))
    monkeypatch.setattr(workers, "current_client", lambda: client)
    words = r"4 workers .*\('read-shards', 7\).*10\.0\.0\.2.*memory.*max_rows_per_partition"
    with pytest.raises(DeviceLostError, match=words) as caught, workers.lost_workers_named():
        raise killed
    assert caught.value.__cause__ is killed


def fails(part, number, error):
    raise ValueError("my kernel failed") from error


def is_full(part, number, error):
    raise error


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("std::bad_alloc: out_of_memory: CUDA error at: x.hpp"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    ],
)
def test_a_full_gpu_outside_of_blocks(error):
    with pytest.raises(DeviceMemoryError, match=r"max_rows_per_partition"):
        graph.compute(*graph.tasks(is_full, [0], error), label="test")
    with pytest.raises(MemoryError, match=r"^Unable to allocate"):  # host memory: unchanged
        error = MemoryError("Unable to allocate 7 TiB for an array")
        graph.compute(*graph.tasks(is_full, [0], error), label="test")


def test_the_cause_on_threads_counts_too():
    with pytest.raises(DeviceLostError, match="illegal memory access"):
        graph.compute(*graph.tasks(fails, [0], RuntimeError(SPOILED)), label="test")
