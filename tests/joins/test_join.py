"""Scores joined by key: every row once, with its score or none, and all rows counted."""

import errno
import gc
from dataclasses import replace
from itertools import pairwise

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dask.callbacks import Callback
from hypothesis import given
from hypothesis import strategies as st
from support.property_tests import examples

import laion_dask as ld
from laion_dask.errors import (
    ColumnError,
    ExportError,
    JoinError,
    OptionError,
    ProvenanceError,
    SchemaError,
    SpillError,
)
from laion_dask.io.storage import spill
from laion_dask.io.storage.folder_lock import owner
from laion_dask.joins import join as joining
from laion_dask.joins import size

N = 60


@pytest.fixture(params=["held by every worker", "shuffled"])
def way(request, monkeypatch):
    """Run a test with each join strategy."""
    if request.param == "shuffled":
        monkeypatch.setattr(joining, "MAX_LOOKUP_BYTES", 0)
    return request.param


def write(path, columns: dict, n_files: int = 1, **options) -> str:
    path.mkdir(parents=True, exist_ok=True)
    table = pa.table(columns)
    cuts = np.linspace(0, len(table), n_files + 1).astype(int)
    for i, (start, stop) in enumerate(pairwise(cuts)):
        pq.write_table(table.slice(start, stop - start), path / f"{i:04d}.parquet", **options)
    return str(path)


def rows(hashes) -> dict:
    n = len(hashes)
    return {
        "URL": [f"http://a.com/{i}" for i in range(n)],
        "TEXT": [f"caption {i % 7}" for i in range(n)],
        "similarity": np.linspace(0, 1, n, dtype="f4"),
        "hash": pa.array(hashes, pa.int64()),
    }


def big(i: np.ndarray) -> np.ndarray:
    """Integers too large for float64 to distinguish."""
    return (np.asarray(i, np.int64) + 2**62).astype(np.int64)


@pytest.fixture
def folders(tmp_path):
    """A data set of 60 rows, and scores for 40 of them and for 10 other keys."""
    frame = write(tmp_path / "meta", rows(big(np.arange(N))), 3, row_group_size=8)
    order = np.random.default_rng(0).permutation(np.r_[np.arange(20, N), np.arange(1000, 1010)])
    scores = {"hash": big(order), "punsafe": (order % 10 / 10).astype("f4"), "n": order}
    return frame, write(tmp_path / "scores", scores, 2)


def by_pandas(folder: str, scores: str, how: str) -> pd.DataFrame:
    read = [pq.read_table(f).to_pandas() for f in (folder, scores)]
    return read[0].merge(read[1], on="hash", how=how, sort=False)


@pytest.mark.parametrize("how", ["left", "inner"])
@pytest.mark.parametrize("most", [10, 10**6])
def test_it_is_what_pandas_merges(folders, way, how, most):
    frame = ld.read_shards(folders[0], max_rows_per_partition=most)
    joined = frame.laion.join(folders[1], on="hash", how=how)
    got, right = joined.compute(), by_pandas(*folders, how)
    assert list(got.columns) == [*frame.columns, "punsafe", "n"]
    assert got["hash"].tolist() == right["hash"].tolist()
    np.testing.assert_array_equal(got["punsafe"].to_numpy(), right["punsafe"].to_numpy())
    assert [None if pd.isna(v) else int(v) for v in got["n"]] == [
        None if pd.isna(v) else int(v) for v in right["n"]
    ]
    if how == "left":
        plain = frame.compute()
        assert got[list(frame.columns)].equals(plain) and joined.divisions == frame.divisions
        assert str(joined.laion.rows()).startswith("60 read = 60 kept + 0 dropped + 0 unscored")
    else:
        assert str(joined.laion.rows()).startswith("60 read = 40 kept + 0 dropped + 20 unscored")


def test_a_row_without_a_match_is_unscored(folders, way, tmp_path):
    joined = ld.read_shards(folders[0]).laion.join(folders[1], on="hash")
    exported = joined.laion.where("punsafe < 0.5").laion.export(tmp_path / "out")
    right = by_pandas(*folders, "left")["punsafe"]
    assert exported.rows == ld.Rows(60, int((right < 0.5).sum()), int((right >= 0.5).sum()), 20, 0)
    (entry,) = exported.manifest["joins"]
    assert entry["join"] == ["hash"] and entry["duplicates_left_out"] == 0
    assert sum(one["rows"] for one in entry["inputs"]) == 50
    assert all(len(one["footer_sha256"]) == 64 for one in entry["inputs"])
    assert len(exported.manifest["inputs"]) == 3  # the table's rows do not count as read


@pytest.mark.parametrize(
    ("step", "entry"),
    [
        (lambda t: t.laion.where("punsafe < 0.3"), "punsafe < 0.3"),
        (lambda t: t[t["punsafe"] < 0.3], "pandas mask: (punsafe < 0.3)"),
        (lambda t: t.drop_duplicates("hash"), "pandas step: drop_duplicates(subset=['hash'])"),
        (lambda t: t.sample(frac=0.5, random_state=1), "pandas step: sample(frac=0.5)"),
    ],
)
def test_what_was_left_out_of_the_table_is_in_the_recipe(folders, tmp_path, step, entry):
    joined = ld.read_shards(folders[0]).laion.join(step(ld.read_shards(folders[1])), on="hash")
    recipe = joined.laion.export(tmp_path / "out").manifest
    assert recipe["joins"][0]["where"] == [entry] and recipe["where"] == []


def test_duplicates_of_the_table(folders, way, tmp_path):
    twice = {"hash": big(np.r_[np.arange(N), [7, 7, 9]]), "punsafe": np.arange(N + 3.0)}
    scores = write(tmp_path / "twice", twice, 4)
    frame = ld.read_shards(folders[0], max_rows_per_partition=10)
    pair = rf"hash = {2**62 + 7} more than once: row \d+ of \S+, row \d+ of "
    with pytest.raises(JoinError, match=pair):
        frame.laion.join(scores, on="hash").compute()
    first = frame.laion.join(scores, on="hash", duplicates="first")
    assert first.compute()["punsafe"].tolist() == list(range(N))
    exported = first.laion.export(tmp_path / "out")
    assert exported.manifest["joins"][0]["duplicates_left_out"] == 3 and "3" in str(exported)
    assert exported.rows == ld.Rows(60, 60, 0, 0, 0)


def test_duplicates_of_the_frame_and_missing_keys(tmp_path, way):
    frame = write(tmp_path / "m", rows([5, 5, None, 6, None]))
    scores = write(
        tmp_path / "s", {"hash": pa.array([5, None, 7], pa.int64()), "p": [0.5, 0.6, 0.7]}
    )
    got = ld.read_shards(frame).laion.join(scores, on="hash").compute()["p"]
    np.testing.assert_array_equal(got, [0.5, 0.5, np.nan, np.nan, np.nan])


@pytest.mark.parametrize(
    ("left", "right", "matches"),
    [
        (pa.array([-1, 5], pa.int64()), pa.array([2**64 - 1, 5], pa.uint64()), [False, True]),
        (pa.array([1, 2], pa.int32()), pa.array([2, 3], pa.int64()), [False, True]),
        (pa.array(["é", ""]), pa.array(["", "e\u0301"], pa.large_string()), [False, True]),
        (pa.array([b"a", b"b"]), pa.array([b"b", b"c"], pa.large_binary()), [False, True]),
        (pa.array([b"a", b"b"], pa.binary(1)), pa.array([b"b", b"c"]), [False, True]),
        (pa.array(["a", None]), pa.array(["a", None]).cast(pa.string_view()), [True, False]),
        (pa.array(["a", "b"]).dictionary_encode(), pa.array(["b", "c"]), [False, True]),
        (pa.array([1.0, float("nan")]), pa.array([1, None], pa.int64()), [True, False]),
    ],
)
def test_keys_compare_exactly(tmp_path, way, left, right, matches):
    base = {"URL": ["u", "v"], "TEXT": ["a", "b"]}
    frame = write(tmp_path / "m", {**base, "id": left})
    scores = write(tmp_path / "s", {"id": right, "p": [1.0, 2.0]})
    got = ld.read_shards(frame).laion.join(scores, on="id").compute()["p"]
    assert got.notna().tolist() == matches


def test_several_keys(tmp_path, way):
    rng = np.random.default_rng(1)
    url, text = rng.integers(0, 9, 80).astype(str), rng.integers(0, 9, 80).astype(str)
    frame = write(tmp_path / "m", {"URL": url, "TEXT": text}, 3)
    pairs = sorted({*zip(url[:50], text[:50], strict=True)})
    scores = write(tmp_path / "s", {"URL": [u for u, _ in pairs], "TEXT": [t for _, t in pairs],
                                    "p": np.arange(len(pairs), dtype="f8")}, 2)  # fmt: skip
    got = ld.read_shards(frame).laion.join(scores, on=["url", "text"]).compute()["p"]
    known = {pair: float(i) for i, pair in enumerate(pairs)}
    right = [known.get(pair, np.nan) for pair in zip(url, text, strict=True)]
    np.testing.assert_array_equal(got.to_numpy(), right)


def test_after_filters_and_scores_in_any_order(folders, way):
    right = by_pandas(*folders, "left")
    frame = ld.read_shards(folders[0], max_rows_per_partition=10)
    early = frame.laion.where("similarity > 0.4").laion.join(folders[1], on="hash")
    late = frame.laion.join(folders[1], on="hash").laion.where("similarity > 0.4")
    kept = right[right["similarity"] > np.float32(0.4)]
    for one in (early, late, early.sample(frac=1, random_state=1).laion.where("row >= 0")):
        got = one.compute().sort_values(["shard", "row"])
        np.testing.assert_array_equal(got["punsafe"].to_numpy(), kept["punsafe"].to_numpy())
        counted = one.laion.rows()
        assert (counted.read, counted.kept, counted.dropped) == (N, len(kept), N - len(kept))
    table = ld.read_shards(folders[1], where="punsafe < 0.5")
    got = frame.laion.join(table, on="hash").compute()["punsafe"]
    assert got.notna().sum() == (right["punsafe"] < 0.5).sum()


def test_empty_partitions_and_an_empty_table(folders, way, tmp_path):
    frame = ld.read_shards(folders[0], max_rows_per_partition=10)
    none = frame.laion.where("similarity > 2").laion.join(folders[1], on="hash")
    assert len(none.compute()) == 0 and none.laion.rows() == ld.Rows(60, 0, 60, 0, 0)
    empty = {"hash": pa.array([], pa.int64()), "punsafe": pa.array([], pa.float32())}
    got = frame.laion.join(write(tmp_path / "none", empty), on="hash").compute()
    assert len(got) == N and got["punsafe"].isna().all()


@examples(8)
@given(
    st.lists(st.integers(-3, 6), max_size=24),
    st.lists(st.integers(-3, 6), max_size=12, unique=True),
    st.integers(1, 4),
    st.integers(1, 4),
)
def test_any_keys_in_any_partitions(tmp_path_factory, left, right, cuts, files):
    path = tmp_path_factory.mktemp("join")
    frame = write(path / "m", rows(left), cuts)
    columns = {"hash": pa.array(right, pa.int64()), "p": np.arange(len(right)) + 0.5}
    scores = write(path / "s", columns, files)
    known = {key: i + 0.5 for i, key in enumerate(right)}
    expected = [known.get(key, np.nan) for key in left]
    for most in (joining.MAX_LOOKUP_BYTES, 0):
        with pytest.MonkeyPatch.context() as patch, dask.config.set(scheduler="sync"):
            patch.setattr(joining, "MAX_LOOKUP_BYTES", most)
            joined = ld.read_shards(frame, max_rows_per_partition=3).laion.join(scores, on="hash")
            np.testing.assert_array_equal(joined.compute()["p"].to_numpy(), expected)


def test_what_does_not_fit_is_refused_immediately(folders, tmp_path, no_compute):
    frame = ld.read_shards(folders[0])
    for bad, error, match in (
        ({"on": "hsh"}, ColumnError, "Did you mean 'hash'"),
        ({"on": "shard"}, OptionError, "Join on a column that identifies"),
        ({"on": []}, OptionError, "on is"),
        ({"how": "outer"}, OptionError, "how"),
        ({"duplicates": "last"}, OptionError, "duplicates"),
        ({"columns": "punsafe"}, OptionError, "list of names"),
        ({"columns": ["punsave"]}, ColumnError, "Did you mean 'punsafe'"),
    ):
        with pytest.raises(error, match=match):
            frame.laion.join(folders[1], **{"on": "hash", **bad})
    text = write(tmp_path / "t", {"hash": ["1"], "p": [1.0]})
    floats = write(tmp_path / "f", {"hash": [1.0], "p": [1.0]})
    for scores in (text, floats):
        with pytest.raises((JoinError, SchemaError), match="hash"):
            frame.laion.join(scores, on="hash")
    with pytest.raises(OptionError, match=r"both have 'similarity'.*suffix="):
        frame.laion.join(write(tmp_path / "c", rows([1])), on="hash", columns=["similarity"])
    assert "similarity_b" in frame.laion.join(
        write(tmp_path / "c", rows([1])), on="hash", columns=["similarity"], suffix="_b"
    )
    frame.laion.join(folders[1], on="hash")  # lazy


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


def keys_of_others(tmp_path) -> str:
    """A table that maps the keys to those of another table."""
    i = np.arange(N)
    return write(tmp_path / "keys", {"hash": big(i), "other": [f"k{j}" for j in i]}, 2)


def test_joined_twice_on_what_was_joined(folders, way, tmp_path):
    scores = {"other": [f"k{j}" for j in range(0, N, 2)], "p": np.arange(N // 2) + 0.5}
    second = write(tmp_path / "second", scores, 3)
    frame = ld.read_shards(folders[0], max_rows_per_partition=10)
    joined = frame.laion.join(keys_of_others(tmp_path), on="hash").laion.join(second, on="other")
    right = [i // 2 + 0.5 if i % 2 == 0 else np.nan for i in range(N)]
    np.testing.assert_array_equal(joined.compute()["p"].to_numpy(), right)
    np.testing.assert_array_equal(joined.partitions[1].compute()["p"].to_numpy(), right[8:16])
    kept = joined.laion.where("p > 3").repartition(npartitions=2)
    assert kept.laion.export(tmp_path / "out").rows == ld.Rows(N, 27, 3, 30, 0)


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
    with pytest.raises(JoinError, match="differ each time that it is computed"):
        half.laion.join(folders[1], on="hash").compute()
    same = frame.map_partitions(lambda part: part.sample(frac=0.5, random_state=0), meta=meta)
    assert len(same.laion.join(folders[1], on="hash").compute()) == N // 2


def test_the_first_of_many_duplicates(tmp_path, way):
    keys = np.random.default_rng(0).integers(0, 50, 20_000)
    scores = {"hash": keys, "punsafe": np.arange(20_000, dtype="f8")}
    table = write(tmp_path / "scores", scores, 3, row_group_size=1000)
    frame = ld.read_shards(write(tmp_path / "meta", rows(np.arange(60)), 2))
    result = frame.laion.join(table, on="hash", duplicates="first").compute()
    first = pd.DataFrame(scores).drop_duplicates("hash").set_index("hash")["punsafe"]
    assert result["punsafe"].tolist()[:50] == first.reindex(range(50)).tolist()
    assert result["punsafe"].isna().sum() == 10


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


def test_a_table_that_no_file_holds_is_refused_by_name(folders):
    frame, scores = ld.read_shards(folders[0]), pd.DataFrame({"hash": [1], "punsafe": [0.5]})
    with pytest.raises(OptionError, match=r"a DataFrame of pandas.*to_parquet"):
        frame.laion.join(scores)
    with pytest.raises(ProvenanceError, match=r"not a frame over known shards.*to_parquet"):
        frame.laion.join(dd.from_pandas(scores, npartitions=1))


def test_nothing_is_written_over_the_table(folders, way, tmp_path):
    scores = tmp_path / "table"
    ld.read_shards(folders[1]).laion.export(scores)
    joined = ld.read_shards(folders[0]).laion.join(scores, on="hash", columns=["punsafe"])
    before = {part: part.read_bytes() for part in (scores / "shards").iterdir()}
    with pytest.raises(ExportError, match=r"part-0000\S+, which this frame reads"):
        joined.laion.export(scores)
    with pytest.raises(ExportError, match="is a shard that this frame reads"):
        joined.laion.datasheet(min(before))
    assert {part: part.read_bytes() for part in (scores / "shards").iterdir()} == before
