"""Workers listen on localhost only, are reused, and are never started by an import."""

import asyncio
import logging
import subprocess
import sys
import textwrap
from types import SimpleNamespace

import numpy as np
import pytest

import laion_dask as ld
from laion_dask.cluster import start, worker_logs
from laion_dask.errors import MissingExtraError, OptionError


def run(code: str) -> str:
    """Run code in a fresh process and return its standard output."""
    process = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=250
    )
    assert process.returncode == 0 and "Compute Failed" not in process.stderr, process.stderr
    return process.stdout


def test_an_import_starts_nothing():
    printed = run(
        """
        import threading, psutil
        import laion_dask
        import distributed
        me = psutil.Process()
        assert not me.children(recursive=True), me.children()
        assert not [c for c in me.net_connections() if c.status == psutil.CONN_LISTEN]
        names = [t.name for t in threading.enumerate() if t is not threading.main_thread()]
        assert not [n for n in names if "Dask" in n or "IO loop" in n or "Profile" in n], names
        try:
            distributed.get_client()
        except ValueError:
            print("no client")
        """
    )
    assert printed == "no client\n"


def test_start_cluster_on_processors():
    printed = run(
        """
        import dask
        import psutil
        import pyarrow as pa
        import laion_dask as ld
        from laion_dask.runtime import worker_backends

        def set_here():
            names = ("dataframe.convert-string", "dataframe.shuffle.method")
            return tuple(dask.config.get(name, None) for name in names)

        def check_settings(client):
            for text in (repr(client), client._repr_html_()):
                shown = ("2 CPU workers", "tcp", "1.86 GiB per worker", "p2p")
                assert client.dashboard_link in text
                assert all(part in text for part in shown), text
            assert set_here() == (False, "p2p")
            there = client.run(set_here)
            assert len(there) == 2 and all(off is False for off, _ in there.values())
            answers = worker_backends.ask_workers(client)
            assert set(answers) == set(there) and all(answers.values()), answers
            pools = client.run(lambda: pa.default_memory_pool().backend_name)
            assert set(pools.values()) == {"system"}
            return worker_backends.choose_backend("auto") == "pandas"

        def listening():
            me = psutil.Process()
            for process in [me, *me.children(recursive=True)]:
                for connection in process.net_connections():
                    if connection.status == psutil.CONN_LISTEN:
                        yield connection.laddr.ip

        if __name__ == "__main__":
            client = ld.start_cluster(2, gpu=False, memory_limit="2GB")
            try:
                addresses = set(listening())
                assert addresses == {"127.0.0.1"}, addresses
                assert client.scheduler.address.startswith("tcp://127.0.0.1:")
                workers = client.scheduler_info()["workers"]
                assert len(workers) == 2 and all(w.startswith("tcp://127.0.0.1:") for w in workers)
                assert all(w["nthreads"] == 1 for w in workers.values())
                assert ld.start_cluster(5) is client
                assert check_settings(client)
                assert client.submit(sum, [1, 2]).result() == 3
                again = ld.connect(client.scheduler.address)
                assert again.submit(sum, [3, 4]).result() == 7
                again.close()
                failed = client.submit(int, "no number").exception()
                assert isinstance(failed, ValueError)
            finally:
                client.shutdown()
            assert set_here() == (None, None)
        """
    )
    assert printed == ""  # the cluster is described in the client's repr and the log


def test_gpu_workers_are_never_silently_replaced(monkeypatch):
    from laion_dask.backend import gpu_count

    if gpu_count():
        pytest.skip("a GPU is available")
    monkeypatch.setattr(start, "_current", lambda: None)
    monkeypatch.setattr(
        start.distributed, "LocalCluster", lambda **k: pytest.fail("CPU workers were started")
    )
    with pytest.raises(OptionError, match="no CUDA device is visible"):
        ld.start_cluster(gpu=True)
    monkeypatch.setattr(start, "gpu_count", lambda: 1)
    monkeypatch.setitem(sys.modules, "dask_cuda", None)  # as if it were not installed
    with pytest.raises(MissingExtraError, match=r"laion_dask\[gpu\]"):
        ld.start_cluster()
    with pytest.raises(OptionError, match="at least 1"):
        ld.start_cluster(0)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("memory_limit", "much"),
        ("memory_limit", -1),
        ("memory_limit", float("inf")),
        ("memory_limit", []),
        ("dashboard_port", 70_000),
        ("dashboard_port", "8787"),
        ("torch_share", 0),
        ("torch_share", 25),
        ("torch_share", float("nan")),
        ("torch_share", "a quarter"),
        ("protocol", "http"),
        ("protocol", "ucx"),
        ("n_workers", 1.5),
        ("n_workers", True),
        ("memory_limit", True),
        ("dashboard_port", True),
        ("dashboard_port", 1.0),
        ("gpu", "yes"),
        ("gpu", 0),
    ],
)
def test_options_are_checked_before_anything_starts(monkeypatch, option, value):
    monkeypatch.setattr(
        start.distributed, "LocalCluster", lambda **k: pytest.fail("workers were started")
    )
    with pytest.raises(OptionError, match=option):
        ld.start_cluster(**{"gpu": False, option: value})


def test_numbers_of_numpy_are_numbers(monkeypatch):
    def fail(**options):
        raise RuntimeError(f"{options['n_workers']!r} at {options['dashboard_address']}")

    monkeypatch.setattr(start, "_current", lambda: None)
    monkeypatch.setattr(start.distributed, "LocalCluster", fail)
    with pytest.raises(OptionError, match=r"did not start \(3 at 127\.0\.0\.1:80\)"):
        ld.start_cluster(np.int64(3), gpu=False, dashboard_port=np.uint16(80))


def test_a_script_without_a_main_says_so(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("import laion_dask as ld\nld.start_cluster(1, gpu=False)\n")
    process = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=250
    )
    assert process.returncode == 1
    assert "while a worker imports this script" in process.stderr
    last = process.stderr.strip().splitlines()[-1]
    assert "workers did not start" in last and "if __name__ == '__main__'" in last


def test_a_worker_that_closes_says_nothing_of_the_tasks_it_leaves(caplog):
    from distributed.worker_state_machine import BaseWorker

    async def leave() -> None:
        task = asyncio.ensure_future(asyncio.sleep(60))
        task.cancel()
        await asyncio.wait([task])
        worker = SimpleNamespace(_async_instructions={task})
        BaseWorker._finish_async_instruction(worker, task, None, None)

    names = ("distributed.worker", "distributed.worker.state_machine")
    loggers = [logging.getLogger(name) for name in names]
    caplog.set_level(logging.WARNING)
    for logger in loggers:
        logger.addHandler(caplog.handler)
    try:
        asyncio.run(leave())
        assert [record.name for record in caplog.records if "Async" in record.message]
        caplog.clear()
        worker_logs.dask_setup(None)
        asyncio.run(leave())
        loggers[0].warning("Compute Failed")
        loggers[0].warning("a lost worker")
        assert {record.message for record in caplog.records} == {"a lost worker"}
    finally:
        for logger in loggers:
            logger.removeHandler(caplog.handler)
            logger.removeFilter(worker_logs._should_log)
