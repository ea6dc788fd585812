"""How a join exchanges rows: on disk, across processes, with keys that repeat or change."""

import errno
import gc
from dataclasses import replace

import dask
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from dask.callbacks import Callback
from support.join_tables import N, by_pandas, keys_of_others, rows, write

import laion_dask as ld
from laion_dask.errors import JoinError, SpillError
from laion_dask.io.storage import spill
from laion_dask.io.storage.folder_lock import owner
from laion_dask.joins import join as joining
from laion_dask.joins import size


def test_nothing_stays_on_disk(folders, tmp_path, monkeypatch):
    monkeypatch.setattr(joining, "MAX_LOOKUP_BYTES", 0)
    frame, waiting = ld.read_shards(folders[0], max_rows_per_partition=10), tmp_path / "waiting"
    waiting.mkdir()
    right = by_pandas(*folders, "left")["punsafe"].to_numpy()
    joined, seen = frame.laion.join(folders[1], on="hash"), []

    def look(part):
        seen.extend(waiting.iterdir())
        return part

    def stop(part):
        raise KeyboardInterrupt

    killed = waiting / f"laion_dask-spill-{replace(owner(), pid=2**22 + 1)}-0"
    killed.mkdir()
    with dask.config.set(temporary_directory=str(waiting)):
        got = joined.map_partitions(look, meta=joined._meta).compute()["punsafe"]
        np.testing.assert_array_equal(got.to_numpy(), right)
        assert seen and killed not in seen
        with dask.config.set(scheduler="processes", num_workers=2):
            np.testing.assert_array_equal(joined["punsafe"].compute().to_numpy(), right)
        with pytest.raises(KeyboardInterrupt):
            joined.map_partitions(stop, meta=joined._meta).compute(scheduler="sync")
        gc.collect()
        assert not list(waiting.iterdir())


def test_a_full_disk_is_one_clear_line(folders, tmp_path, monkeypatch):
    monkeypatch.setattr(joining, "MAX_LOOKUP_BYTES", 0)
    joined = ld.read_shards(folders[0]).laion.join(folders[1], on="hash")

    class Full:
        def __init__(self, path, mode="rb"):
            raise OSError(errno.ENOSPC, "No space left on device")

    with dask.config.set(temporary_directory=str(tmp_path)):
        monkeypatch.setattr(pa, "OSFile", Full)
        with pytest.raises(SpillError, match=r"No space left.*temporary_directory"):
            joined.compute(scheduler="sync")


def test_on_worker_processes(folders, tmp_path):
    from distributed import Client, LocalCluster

    right = by_pandas(*folders, "left")["punsafe"].to_numpy()
    options = {"host": "127.0.0.1", "protocol": "tcp", "dashboard_address": "127.0.0.1:0"}
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, processes=False, **options) as cluster,
        Client(cluster),
    ):
        for most in (joining.MAX_LOOKUP_BYTES, 0):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(joining, "MAX_LOOKUP_BYTES", most)
                frame = ld.read_shards(folders[0], max_rows_per_partition=10)
                got = frame.laion.join(folders[1], on="hash").compute()["punsafe"]
                np.testing.assert_array_equal(got.to_numpy(), right)
                twice = frame.laion.join(keys_of_others(tmp_path), on="hash")
                twice = twice.laion.join(keys_of_others(tmp_path), on="other", suffix="_2")
                assert (twice["hash_2"] == twice["hash"]).compute().all()


def test_keys_that_change_between_two_computations_are_an_error(folders, monkeypatch):
    monkeypatch.setattr(joining, "MAX_LOOKUP_BYTES", 0)
    frame = ld.read_shards(folders[0])
    meta = frame._meta
    half = frame.map_partitions(lambda part: part.sample(frac=0.5), meta=meta)
    with pytest.raises(JoinError, match="differ each time it is computed"):
        half.laion.join(folders[1], on="hash").compute()
    same = frame.map_partitions(lambda part: part.sample(frac=0.5, random_state=0), meta=meta)
    assert len(same.laion.join(folders[1], on="hash").compute()) == N // 2


def test_the_frame_is_read_when_the_exchange_has_ended(folders, monkeypatch):
    """Partitions that are read early would all stay in memory."""
    monkeypatch.setattr(joining, "MAX_LOOKUP_BYTES", 0)
    frame = ld.read_shards(folders[0], max_rows_per_partition=10)
    joined, begun = frame.laion.join(folders[1], on="hash"), []

    def note(key, *_):
        begun.append(str(key[0]) if isinstance(key, tuple) else str(key))

    with Callback(pretask=note):
        sums = dask.compute(joined["punsafe"].sum(), joined["similarity"].sum(), joined["n"].sum())
    assert sums[2] == by_pandas(*folders, "left")["n"].sum()
    written = [i for i, name in enumerate(begun) if name.startswith("write-")]
    read = [i for i, name in enumerate(begun) if name.startswith("_readafter-")]
    assert len(read) == frame.npartitions and min(read) > max(written)
    begun.clear()
    with Callback(pretask=note):  # without score columns there is no exchange
        assert len(joined[["url"]].compute()) == len(joined) == N
    assert not [name for name in begun if name.startswith("write-")]


@pytest.mark.parametrize("key", ["hash", "url"])
@pytest.mark.parametrize("cut", [7, 10**6])
def test_a_key_that_is_repeated_on_both_sides_is_written_once_a_partition(
    tmp_path, monkeypatch, key, cut
):
    """A single key fills both sides, so buckets cannot spread it."""
    monkeypatch.setattr(joining, "MAX_LOOKUP_BYTES", 0)
    monkeypatch.setattr(size, "_BUCKET_BYTES", 9000)
    rng, n = np.random.default_rng(3), 800
    numbers = np.where(rng.random(n) < 0.9, 5, rng.integers(0, 100, n))
    left, right = numbers[: n // 2], numbers[n // 2 :]
    urls = [f"http://a.com/{i}" for i in right]
    frame = rows(left) | {"URL": [f"http://a.com/{i}" for i in left]}
    frame = ld.read_shards(write(tmp_path / "m", frame, 4), max_rows_per_partition=cut * 20)
    scores = {"hash": right, "URL": urls, "p": np.arange(len(right)) + 0.5}
    scores = ld.read_shards(write(tmp_path / "s", scores, 3), max_rows_per_partition=cut * 15)
    written, write_all = [], spill.write
    monkeypatch.setattr(
        spill, "write", lambda part, *a: written.append(part) or write_all(part, *a)
    )
    joined = frame.laion.join(scores, on=key, columns=["p"], duplicates="first")
    got = joined.compute()["p"].to_numpy()
    first = pd.Series(np.arange(len(right)) + 0.5, right).groupby(level=0).first()
    np.testing.assert_array_equal(got, first.reindex(left).to_numpy())
    assert all(not part.duplicated(["key_hash"]).any() for part in written if "bucket" in part)
    assert len(written) > frame.npartitions + scores.npartitions + 2  # several buckets
    (entry,) = joined.laion.export(tmp_path / "out").manifest["joins"]
    assert entry["duplicates_left_out"] == len(right) - len(first)
