"""Workers that end during an export: the same bytes, or the shard that ends them is named."""

import multiprocessing
import os
import random
import signal
import threading
import time
from contextlib import suppress

import pytest
from support.carved_exports import files_of
from support.shards import laion_table, write_shard

import laion_dask as ld
from laion_dask.errors import ClusterWarning, DeviceLostError

pytestmark = [pytest.mark.only_pandas, pytest.mark.slow]
SHARDS, POISON = 5, "metadata_0003.parquet"


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lost") / "in"
    for i in range(SHARDS):
        write_shard(folder / f"metadata_{i:04d}.parquet", laion_table(40, i))
    return str(folder)


@pytest.fixture(scope="module")
def client():
    import dask
    from distributed import Client, LocalCluster

    settings = {"distributed.scheduler.allowed-failures": 1, "distributed.worker.daemon": False}
    options = {"processes": True, "dashboard_address": "127.0.0.1:0", "silence_logs": 60}
    others = set(multiprocessing.active_children())
    with dask.config.set(settings):
        cluster = LocalCluster(n_workers=2, threads_per_worker=1, **options)
        with Client(cluster) as client:
            yield client
        with suppress(TimeoutError):  # a nanny may wait for a worker that has just ended
            cluster.close(timeout=30)
    for process in set(multiprocessing.active_children()) - others:
        process.kill()


def carve(source):
    return ld.read_shards(source, where="width >= 300", max_rows_per_partition=40)


def poison(name: str) -> None:
    """Make this worker end when it reads a shard."""
    from laion_dask.io.parquet.scan import Scan

    read = Scan.read

    def ending(self, partition, *args, **options):
        if partition.pieces[0].shard.path.endswith(name):
            time.sleep(1.0)  # Dask gives up workers that end while they start
            os._exit(1)
        return read(self, partition, *args, **options)

    Scan.read = ending


@pytest.fixture
def poisoned(client):
    """Every worker, also one that is started later, ends when it reads the shard."""
    from distributed import WorkerPlugin

    class Poison(WorkerPlugin):
        def setup(self, worker):
            poison(POISON)

    client.register_plugin(Poison(), name="poison")


def test_a_shard_that_ends_its_workers_is_named_or_set_aside(client, poisoned, source, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(DeviceLostError, match=rf"rows 0 to 40 of .*{POISON}.*strict=False"):
        carve(source).laion.export(out)
    assert not out.exists()
    with pytest.warns(ClusterWarning, match=POISON):
        exported = carve(source).laion.export(out, strict=False)
    rows, (entry,) = exported.rows, exported.manifest["quarantined"]
    assert rows.read == 40 * SHARDS == rows.kept + rows.dropped + rows.unscored + rows.rejected
    assert rows.rejected == entry["rows"] == 40
    assert entry["shards"][0]["path"].endswith(POISON)
    kept = ld.read_shards(out)["source_shard"].compute(scheduler="sync")
    assert len(kept) == rows.kept and set(kept) == set(range(SHARDS)) - {3}
    assert ld.verify(out).rows == rows.kept
    assert len(exported.frame) == rows.kept
    wide = exported.funnel().iloc[0]  # reads only what can be read
    assert wide["before"] == 40 * (SHARDS - 1) and wide["after"] == rows.kept
    assert [wide[name] for name in ("dropped", "unscored")] == [rows.dropped, rows.unscored]


def kill_workers(cluster, client, done: threading.Event, killed: list[int]) -> None:
    """SIGKILL a random worker again and again while another one is left, until the export ends."""
    draw = random.Random(7)
    while not done.wait(3.0):
        alive = set(client.scheduler_info(n_workers=-1)["workers"])
        nannies = [one for one in cluster.workers.values() if one.worker_address in alive]
        pids = [nanny.pid for nanny in nannies if nanny.pid]
        if len(pids) > 1:  # a worker that is being started is left alone
            killed.append(draw.choice(pids))
            with suppress(ProcessLookupError):
                os.kill(killed[-1], signal.SIGKILL)


@pytest.mark.simulation
@pytest.mark.filterwarnings("ignore")
def test_workers_that_are_killed_at_random_change_no_byte(tmp_path):
    import dask
    from distributed import Client, LocalCluster

    for i in range(50):
        write_shard(tmp_path / "in" / f"metadata_{i:04d}.parquet", laion_table(400, i))
    frame = ld.read_shards(str(tmp_path / "in"), max_rows_per_partition=100)
    clean = frame.laion.export(tmp_path / "clean", rows_per_part=100)
    assert len(clean.manifest["parts"]) == 200
    settings = {
        "distributed.scheduler.allowed-failures": 1_000,
        "distributed.deploy.lost-worker-timeout": "1s",
    }
    options = {"processes": True, "dashboard_address": "127.0.0.1:0", "silence_logs": 60}
    kills, round_ = 0, 0
    with (
        dask.config.set(settings),
        LocalCluster(n_workers=3, threads_per_worker=1, **options) as cluster,
        Client(cluster) as client,
    ):
        while kills < 20:
            cluster.scale(3)  # Dask gives up workers that are killed while they start
            done, killed = threading.Event(), []
            killer = threading.Thread(target=kill_workers, args=(cluster, client, done, killed))
            killer.start()
            try:
                out = tmp_path / f"out-{round_}"
                frame.laion.export(out, rows_per_part=100)
            finally:
                done.set()
                killer.join()
            assert files_of(out) == files_of(tmp_path / "clean")
            kills, round_ = kills + len(killed), round_ + 1
            time.sleep(0.5)
    assert kills >= 20
