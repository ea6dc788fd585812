"""Connecting to a cluster: failures leave no trace, and which Dask settings apply."""

import importlib.util
import socket
import threading

import dask
import distributed
import pytest
from distributed import LocalCluster
from support.shards import collection

import laion_dask as ld
from laion_dask.cluster import Client, start
from laion_dask.errors import MissingExtraError, OptionError

#: Arguments of a cluster that listens on localhost only.
HERE = {"host": "127.0.0.1", "protocol": "tcp", "dashboard_address": "127.0.0.1:0"}
#: The setting for how long a cluster waits for a lost worker before it ends the nanny.
WAIT = "distributed.deploy.lost-worker-timeout"


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
                assert other.settings["shuffle"] == "disk"  # the user's setting wins
                assert other.submit(sum, [3, 4]).result() == 7
            assert dask.config.get("dataframe.shuffle.method") == "disk"
        assert dask.config.get("dataframe.shuffle.method") == "tasks"
        assert dask.config.get(WAIT) == "2m"
    assert dask.config.get(WAIT) == "15s"
    assert dask.config.get("dataframe.convert-string") == before
    assert dask.config.get("dataframe.shuffle.method", None) is None


def untouched():
    """The process state that a client changes; fails if there is a default client."""
    with pytest.raises(ValueError, match="No clients found"):
        distributed.default_client()
    loops = [t for t in threading.enumerate() if t.name == "IO loop" and t.is_alive()]
    return settings_here(), len(loops)


def assert_untouched(before):
    settings, loops = untouched()
    assert settings == before[0]
    assert loops <= before[1]  # a loop of an earlier test may have ended meanwhile


def settings_here():
    names = ("scheduler", "dataframe.convert-string", "dataframe.shuffle.method", WAIT)
    return [dask.config.get(name, None) for name in names]


@pytest.mark.parametrize(
    ("address", "error", "words"),
    [
        ("http://127.0.0.1:8787", OptionError, "a web page, such as the dashboard"),
        ("https://example.org", OptionError, "a web page"),
        ("ftp://127.0.0.1:1", OptionError, "unknown address scheme 'ftp'"),
        ("nowhere", OptionError, "is neither a scheduler's address"),
        ("", OptionError, "is neither a scheduler's address"),
        ("tcp://127.0.0.1:0", OptionError, "is not a host and port"),
        ("tcp://127.0.0.1:70000", OptionError, "is not a host and port"),
        ("tcp://:8786", OptionError, "is not a host and port"),
        ("tls://127.0.0.1:9", OptionError, r"needs certificates.*distributed\.comm\.tls\.ca-file"),
        ("inproc://x/1/2", OptionError, "inproc"),
        ("ucx://127.0.0.1:9", MissingExtraError, "distributed-ucxx"),
        (" tcp://127.0.0.1:9\n", OSError, "127.0.0.1:9"),
        (b"tcp://127.0.0.1:9", OptionError, "address is a bytes"),
    ],
)
def test_what_is_no_address_leaves_nothing_behind(monkeypatch, tmp_path, address, error, words):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if "ucxx" in name else find_spec(name)
    )
    check_nothing_is_left(tmp_path, address, error, words)


@pytest.mark.parametrize(
    "text", ["{}", "", "no JSON", "[1]", '{"address": 1}', '{"address": "http://127.0.0.1:8787"}']
)
def test_a_file_that_names_no_scheduler(tmp_path, text):
    path = tmp_path / "scheduler.json"
    path.write_text(text)
    check_nothing_is_left(tmp_path, path, OptionError, r"scheduler\.json' is n")


def test_what_listens_and_never_answers(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        check_nothing_is_left(tmp_path, address, OSError, "did not respond like a scheduler")


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
    assert untouched()[0] == before[0]  # `shutdown` leaves the loop running until exit


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
        # A setting changed while a client is open is kept.
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


def test_connect_to_nothing():
    with pytest.raises(OSError):
        run_connect()


def run_connect():
    with dask.config.set({"distributed.comm.timeouts.connect": "1s"}):
        ld.connect("tcp://127.0.0.1:9")
