"""Workers: on this machine only, used again, and never started by an import."""

import importlib.util
import socket
import subprocess
import sys
import textwrap
import threading

import dask
import distributed
import numpy as np
import pytest
from distributed import LocalCluster
from shards import collection

import laion_dask as ld
from laion_dask.cluster import Client, start
from laion_dask.errors import MissingExtraError, OptionError

#: A cluster of threads, on this machine only.
HERE = {"host": "127.0.0.1", "protocol": "tcp", "dashboard_address": "127.0.0.1:0"}
#: How long a cluster object waits for a worker that has gone, before it ends its nanny.
WAIT = "distributed.deploy.lost-worker-timeout"


def run(code: str) -> str:
    """What a fresh process prints."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=250
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_import_starts_nothing():
    said = run(
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
    assert said == "no client\n"


def test_start_cluster_on_processors():
    said = run(
        """
        import dask
        import psutil
        import laion_dask as ld
        from laion_dask import workers as asking

        def set_here():
            names = ("dataframe.convert-string", "dataframe.shuffle.method")
            return tuple(dask.config.get(name, None) for name in names)

        def check_settings(client):
            for said in (repr(client), client._repr_html_()):
                shown = ("2 CPU workers", "tcp", "1.86 GiB a worker", "p2p", client.dashboard_link)
                assert all(part in said for part in shown), said
            assert set_here() == (False, "p2p")
            there = client.run(set_here)
            assert len(there) == 2 and all(off is False for off, _ in there.values())
            asked = asking.ask_workers(client)
            assert set(asked) == set(there) and all(asked.values()), asked
            return asking.choose_backend("auto") == "pandas"

        def listening():
            me = psutil.Process()
            for process in [me, *me.children(recursive=True)]:
                for connection in process.net_connections():
                    if connection.status == psutil.CONN_LISTEN:
                        yield connection.laddr.ip

        if __name__ == "__main__":
            client = ld.start_cluster(2, gpu=False, memory_limit="2GB")
            try:
                found = set(listening())
                assert found == {"127.0.0.1"}, found
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
            finally:
                client.shutdown()
            assert set_here() == (None, None)
        """
    )
    lines = said.splitlines()
    assert lines[0].startswith("2 CPU workers; dashboard at http://127.0.0.1:")
    assert lines[1].startswith("Using the client that is there: http://127.0.0.1:")


def test_gpu_workers_are_never_silently_replaced(monkeypatch):
    from laion_dask.backend import gpu_count

    if gpu_count():
        pytest.skip("there is a GPU here")
    monkeypatch.setattr(start, "_current", lambda: None)
    monkeypatch.setattr(
        start.distributed, "LocalCluster", lambda **k: pytest.fail("CPU workers were started")
    )
    with pytest.raises(OptionError, match="no CUDA device is visible"):
        ld.start_cluster(gpu=True)
    monkeypatch.setattr(start, "gpu_count", lambda: 1)
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
    def asked(**given):
        raise RuntimeError(f"{given['n_workers']!r} at {given['dashboard_address']}")

    monkeypatch.setattr(start, "_current", lambda: None)
    monkeypatch.setattr(start.distributed, "LocalCluster", asked)
    with pytest.raises(OptionError, match=r"did not start \(3 at 127\.0\.0\.1:80\)"):
        ld.start_cluster(np.int64(3), gpu=False, dashboard_port=np.uint16(80))


def test_a_cluster_is_joined_as_an_object_or_by_its_file(tmp_path):
    before = dask.config.get("dataframe.convert-string")
    with (
        distributed.LocalCluster(n_workers=1, processes=False, **HERE) as cluster,
        ld.connect(cluster) as client,
    ):
        assert client.submit(sum, [1, 2]).result() == 3
        assert cluster.scheduler_address in repr(client)
        client.write_scheduler_file(tmp_path / "scheduler.json")
        with dask.config.set({"dataframe.shuffle.method": "disk"}):
            with ld.connect(tmp_path / "scheduler.json") as other:
                assert other.settings["shuffle"] == "disk"  # the user's word stays
                assert other.submit(sum, [3, 4]).result() == 7
            assert dask.config.get("dataframe.shuffle.method") == "disk"
        assert dask.config.get("dataframe.shuffle.method") == "tasks"
        assert dask.config.get(WAIT) == "2m"
    assert dask.config.get(WAIT) == "15s"
    assert dask.config.get("dataframe.convert-string") == before
    assert dask.config.get("dataframe.shuffle.method", None) is None


def untouched():
    """What a client changes in this process: the default client, settings, threads."""
    with pytest.raises(ValueError, match="No clients found"):
        distributed.default_client()
    loops = [t for t in threading.enumerate() if t.name == "IO loop" and t.is_alive()]
    return settings_here(), len(loops)


def assert_untouched(before):
    settings, loops = untouched()
    assert settings == before[0]
    assert loops <= before[1]  # one that an earlier test left may have ended


def settings_here():
    names = ("scheduler", "dataframe.convert-string", "dataframe.shuffle.method", WAIT)
    return [dask.config.get(name, None) for name in names]


@pytest.mark.parametrize(
    ("address", "error", "words"),
    [
        ("http://127.0.0.1:8787", OptionError, "a web page, such as the dashboard"),
        ("https://example.org", OptionError, "a web page"),
        ("ftp://127.0.0.1:1", OptionError, "unknown address scheme 'ftp'"),
        ("nowhere", OptionError, "is no scheduler's address"),
        ("", OptionError, "is no scheduler's address"),
        ("tcp://127.0.0.1:0", OptionError, "no host and port"),
        ("tcp://127.0.0.1:70000", OptionError, "no host and port"),
        ("tcp://:8786", OptionError, "no host and port"),
        ("tls://127.0.0.1:9", OptionError, r"needs certificates.*distributed\.comm\.tls\.ca-file"),
        ("inproc://x/1/2", OptionError, "inproc"),
        ("ucx://127.0.0.1:9", MissingExtraError, "distributed-ucxx"),
        (" tcp://127.0.0.1:9\n", OSError, "127.0.0.1:9"),
        (b"tcp://127.0.0.1:9", OptionError, "address is a bytes"),
    ],
)
def test_what_is_no_address_leaves_nothing_behind(monkeypatch, tmp_path, address, error, words):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if "ucxx" in name else found(name)
    )
    check_nothing_is_left(tmp_path, address, error, words)


@pytest.mark.parametrize(
    "text", ["{}", "", "no JSON", "[1]", '{"address": 1}', '{"address": "http://127.0.0.1:8787"}']
)
def test_a_file_that_names_no_scheduler(tmp_path, text):
    path = tmp_path / "scheduler.json"
    path.write_text(text)
    check_nothing_is_left(tmp_path, path, OptionError, r"scheduler\.json' is no scheduler")


def test_what_listens_and_never_answers(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        check_nothing_is_left(tmp_path, address, OSError, "did not answer as a scheduler does")


def check_nothing_is_left(tmp_path, address, error, words):
    before = untouched()
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "200ms"}),
        pytest.raises(error, match=words),
    ):
        ld.connect(address)
    assert_untouched(before)
    assert len(ld.read_shards(collection(tmp_path, (3, 2)).metadata).compute()) == 5


def test_a_client_that_fails_late_leaves_nothing_behind(monkeypatch):
    before = untouched()
    with distributed.LocalCluster(n_workers=1, processes=False, **HERE) as cluster:

        def fails(self):
            raise AssertionError("in the middle")

        with monkeypatch.context() as patched:
            patched.setattr(Client, "_host_memory", fails)
            with pytest.raises(OptionError, match="AssertionError: in the middle"):
                ld.connect(cluster)
            with pytest.raises(OptionError, match="AssertionError: in the middle"):
                ld.connect(cluster.scheduler_address)
        assert untouched()[0] == before[0]
        with ld.connect(cluster) as client:
            assert client.submit(sum, [1, 2]).result() == 3
    with pytest.raises(OptionError, match="which is closed"):
        ld.connect(cluster)
    assert_untouched(before)


def test_the_next_cluster_starts_after_a_failed_connect(monkeypatch, capsys):
    before = untouched()
    with pytest.raises(OptionError):
        ld.connect("inproc://x/1/2")
    monkeypatch.setattr(start.distributed, "LocalCluster", threads)
    client = ld.start_cluster(1, gpu=False)
    try:
        assert client.submit(sum, [1, 2]).result() == 3
        assert ld.start_cluster(1, gpu=False) is client
    finally:
        client.shutdown()
    assert untouched()[0] == before[0]  # `shutdown` leaves the loop to Python's end


def threads(*, n_workers, **_):
    return LocalCluster(n_workers=n_workers, processes=False, **HERE)


def test_settings_hold_until_the_last_client_closes():
    before = untouched()
    with distributed.LocalCluster(n_workers=1, processes=False, **HERE) as cluster:
        first, second = ld.connect(cluster), ld.connect(cluster)
        while_open = settings_here()
        first.close()
        assert settings_here() == while_open == ["dask.distributed", False, "tasks", "2m"]
        third = ld.connect(cluster)
        with dask.config.set({WAIT: "7s"}):
            second.close()
            assert settings_here() == ["dask.distributed", False, "tasks", "7s"]
        assert settings_here() == while_open
        third.close()
        assert untouched()[0] == before[0]
        # What the user sets meanwhile stays.
        with dask.config.set({WAIT: "15s"}):
            with ld.connect(cluster):
                dask.config.set({WAIT: "7s"})
            assert dask.config.get(WAIT) == "7s"
    assert_untouched(before)


def test_a_cluster_that_died_leaves_the_next_its_own_settings(monkeypatch):
    before = untouched()
    with distributed.LocalCluster(n_workers=1, processes=False, **HERE) as cluster:
        lost = ld.connect(cluster)
        assert lost.settings["shuffle"] == "tasks"
    monkeypatch.setattr(start.distributed, "LocalCluster", threads)
    client = ld.start_cluster(1, gpu=False)
    try:
        assert client is not lost and client.settings["shuffle"] == "p2p"
    finally:
        client.shutdown()
    lost.close()
    assert untouched()[0] == before[0]


def test_a_script_without_a_main_says_so(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("import laion_dask as ld\nld.start_cluster(1, gpu=False)\n")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "while a worker imports this script" in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert "workers did not start" in last and "if __name__ == '__main__'" in last


def test_connect_to_nothing():
    with pytest.raises(OSError):
        run_connect()


def run_connect():
    with dask.config.set({"distributed.comm.timeouts.connect": "1s"}):
        ld.connect("tcp://127.0.0.1:9")
