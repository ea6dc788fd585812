"""Exact duplicates: the rows that pandas keeps, for any partitioning, and every row counted."""

from __future__ import annotations

import math

import dask
import dask.dataframe as dd
import mmh3
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from distributed import Client
from support.frames import both

import laion_dask as ld
from laion_dask.errors import ColumnError, OptionError, ProvenanceError
from laion_dask.frame.laion_hash import with_hash

SIZES = (70, 0, 1, 130, 40)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Shards whose URLs, captions and uids repeat within and across shards, some of them null."""
    folder = tmp_path_factory.mktemp("duplicates")
    draw = np.random.default_rng(0)
    for number, n in enumerate(SIZES):
        urls = [f"http://a.example/{x}" if x else None for x in draw.integers(0, 60, n)]
        texts = [["", "a", "b", None][x] for x in draw.integers(0, 4, n)]
        scores = draw.integers(0, 4, n) / 4 - 0.5
        scores[draw.random(n) < 0.2] = math.nan
        table = pa.table(
            {
                "url": pa.array(urls, pa.string()),
                "text": pa.array(texts, pa.string()),
                "similarity": pa.array(scores, pa.float32()),
                "hash": pa.array(
                    [x or None for x in draw.integers(-30, 30, n).tolist()], pa.int64()
                ),
                "width": pa.array(draw.integers(0, 3, n), pa.int32()),
            }
        )
        pq.write_table(table, folder / f"{number}.parquet", row_group_size=50)
    return folder


def identities(frame: pd.DataFrame) -> set:
    return set(zip(frame["shard"].tolist(), frame["row"].tolist(), strict=True))


def expected(rows: pd.DataFrame, by: list[str], order: list[str], ascending) -> pd.DataFrame:
    """What pandas keeps: the first of each group in an order; no row without a key."""
    ordered = rows.dropna(subset=by).sort_values(order, ascending=ascending, na_position="last")
    return ordered.drop_duplicates(by)


ORDERS = {
    "first": (["shard", "row"], True),
    "last": (["shard", "row"], False),
    "max": (["similarity", "shard", "row"], [False, True, True]),
    "min": (["similarity", "shard", "row"], True),
}


@both
@pytest.mark.parametrize("how", ORDERS)
@pytest.mark.parametrize("by", ["url", "hash", ["url", "text"]], ids=str)
def test_the_rows_that_pandas_keeps(folder, how, by):
    keep = {how: "similarity"} if how in ("max", "min") else how
    for rows_per_partition in (60, 1000):
        frame = ld.read_shards(folder, max_rows_per_partition=rows_per_partition)
        kept = frame.laion.dedup(by=by, keep=keep)
        names = [by] if isinstance(by, str) else by
        rows = frame.compute()
        best = expected(rows, names, *ORDERS[how])
        result = kept.compute()
        assert identities(result) == identities(best)
        assert list(result.columns) == list(frame.columns)
        counted = kept.laion.rows()
        assert counted.kept == len(best) and counted.read == sum(SIZES)
        assert counted.unscored == rows[names].isna().any(axis=1).sum()


def test_rows_without_a_key_can_be_kept(folder):
    frame = ld.read_shards(folder, max_rows_per_partition=60)
    rows = frame.compute()
    kept = frame.laion.dedup(by=["url", "text"], missing="keep")
    best = expected(rows, ["url", "text"], *ORDERS["first"])
    without = rows[rows[["url", "text"]].isna().any(axis=1)]
    assert identities(kept.compute()) == identities(best) | identities(without)
    assert kept.laion.rows().unscored == 0


def test_a_random_row_depends_on_the_seed_and_not_on_partitions(folder):
    drawn = {}
    for seed in range(3):
        for n in (60, 1000):
            frame = ld.read_shards(folder, max_rows_per_partition=n)
            kept = frame.laion.dedup(keep="random", seed=seed).compute()
            assert not kept["url"].duplicated().any()
            drawn.setdefault(seed, []).append(identities(kept))
        assert drawn[seed][0] == drawn[seed][1]
    assert drawn[0][0] != drawn[1][0] != drawn[2][0]


def test_every_row_of_a_group_is_drawn_equally_often(write):
    frame = ld.read_shards(write("groups.parquet", {"hash": np.repeat(np.arange(400), 4)}))
    drawn = frame.laion.dedup(by="hash", keep="random")["row"].compute() % 4
    assert np.bincount(drawn, minlength=4).min() >= 70  # 100 expected; fewer than 70: 0.05 %


def test_filters_before_it_apply_first_and_filters_after_it_do_not_bring_rows_back(folder):
    frame = ld.read_shards(folder, max_rows_per_partition=60)
    rows = frame.compute()
    before = frame.laion.where("width > 0").laion.dedup()
    wide = rows[rows["width"] > 0]
    assert identities(before.compute()) == identities(expected(wide, ["url"], *ORDERS["first"]))
    after = frame.laion.dedup().laion.where("width > 0")
    best = expected(rows, ["url"], *ORDERS["first"])
    assert identities(after.compute()) == identities(best[best["width"] > 0])


def test_every_step_is_counted_once_and_the_excluded_rows_are_the_others(folder):
    frame = ld.read_shards(folder, max_rows_per_partition=60)
    twice = (
        frame.laion.where("width > 0").laion.dedup(by="hash").laion.dedup(by="text", keep="last")
    )
    twice = twice.laion.where("similarity > -9")
    kept, excluded = twice.compute(), twice.laion.excluded().compute()
    assert identities(kept).isdisjoint(identities(excluded))
    assert len(kept) + len(excluded) == sum(SIZES)
    funnel, counted = twice.laion.funnel(), twice.laion.rows()
    assert funnel["clause"].tolist() == [
        "width > 0",
        "dedup(by='hash', keep='first')",
        "dedup(by='text', keep='last')",
        "similarity > -9",
    ]
    assert funnel["after"].iloc[-1] == counted.kept == len(kept)
    assert (
        funnel["dropped"].sum() == counted.dropped == (excluded["excluded_why"] == "dropped").sum()
    )
    assert funnel["unscored"].sum() == counted.unscored


def test_exports_say_what_was_dropped(folder, tmp_path):
    unique = ld.read_shards(folder).laion.dedup()
    export = unique.laion.export(tmp_path / "out")
    again = ld.read_shards(tmp_path / "out")
    assert len(again) == export.rows.kept == len(unique)
    assert "dedup(by='url', keep='first')" in (tmp_path / "out" / "_recipe.json").read_text()


def test_frames_with_columns_added_and_joined(folder, tmp_path):
    frame = ld.read_shards(folder, max_rows_per_partition=60)
    keys = frame["hash"].dropna().unique().compute().tolist()
    pq.write_table(pa.table({"hash": keys, "rating": keys}), tmp_path / "ratings.parquet")
    joined = frame.laion.join(str(tmp_path / "ratings.parquet"))
    kept = joined.laion.dedup(keep={"max": "rating"})
    best = expected(joined.compute(), ["url"], ["rating", "shard", "row"], [False, True, True])
    assert identities(kept.compute()) == identities(best)
    assert kept.laion.rows().kept == len(best)


def test_shuffled_and_repartitioned_frames(folder):
    frame = ld.read_shards(folder, max_rows_per_partition=60)
    best = identities(frame.laion.dedup().compute())
    for other in (
        frame.repartition(npartitions=2),
        frame.shuffle("width", npartitions=3),
        frame.sort_values("similarity"),
        frame.persist(),
    ):
        assert identities(other.laion.dedup().compute()) == best


def test_worker_processes_agree(folder, worker_processes):
    frame = ld.read_shards(folder, max_rows_per_partition=60)
    kept = frame.laion.dedup(keep={"max": "similarity"}).laion.dedup(by="text")
    expected_rows = identities(kept.compute(scheduler="sync"))
    with Client(worker_processes):
        assert identities(kept.compute()) == expected_rows
        assert kept.laion.rows().kept == len(expected_rows)


def test_a_frame_that_has_rows_twice_is_refused(folder):
    frame = ld.read_shards(folder)
    with pytest.raises(ProvenanceError, match="more than once, such as row"):
        dd.concat([frame, frame]).laion.dedup(by="hash").compute()


def test_no_rows_and_no_keys(write):
    empty = pa.table({"url": pa.array([], pa.string()), "hash": pa.array([], pa.int64())})
    frame = ld.read_shards(write("empty.parquet", empty))
    assert len(frame.laion.dedup()) == 0 and frame.laion.dedup().laion.rows().read == 0
    nulls = pa.table({"url": pa.array([None, None], pa.string())})
    frame = ld.read_shards(write("nulls/0.parquet", nulls))
    assert str(frame.laion.dedup().laion.rows()).startswith("2 read = 0 kept + 0 dropped + 2 uns")


def test_normalized_urls(write):
    same = ["HTTP://Example.com:80/a", "http://example.com./b/../a#x", "http://example.com/a"]
    different = ["https://example.com/a", "http://www.example.com/a", "http://example.com/a/", "?"]
    frame = ld.read_shards(write("urls.parquet", {"url": [*same, *different, "?", None]}))
    kept = frame.laion.dedup(by="normalized_url")
    assert kept["url"].compute().tolist() == [same[0], *different]
    assert kept.laion.rows().unscored == 1
    assert "normalized_url" not in kept.columns


@pytest.mark.parametrize(
    ("values", "n"),
    [
        (pa.array([1.5, -0.0, 0.0, math.nan, None, 1.5]), 2),
        (pa.array([True, None, False, True]), 2),
        (pa.array([b"a\0", b"a", b"", None, b""]), 3),
        (pa.array(["a", "a", None, "b"]).dictionary_encode(), 2),
        (pa.array([2**63 + 1, 2**63 + 2, 2**63 + 1, None], pa.uint64()), 2),
        (pa.array([-1, 1, -1], pa.int8()), 2),
        (pa.array([0, 1, 0], pa.timestamp("us")), 2),
        (
            pa.array(["\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16"), "\0", ""]),
            3,
        ),
    ],
)
def test_keys_of_each_type(write, values, n):
    frame = ld.read_shards(write("typed.parquet", {"key": values}))
    kept = frame.laion.dedup(by="key")
    assert len(kept) == n and kept.laion.rows().unscored == values.to_pandas().isna().sum()
    assert len(frame.laion.dedup(by=["key", "key2"] if "key2" in frame else ["key"])) == n


def test_the_hash_of_laion_is_computed_where_it_is_absent(write):
    rows = {"url": ["http://a", "http://a", "http://", None], "text": ["b", "b", "ab", "b"]}
    frame = ld.read_shards(write("hashes.parquet", rows))
    assert frame.laion.dedup(by="hash")["row"].compute().tolist() == [0]
    hashes = with_hash(frame)["hash"].compute().tolist()
    assert hashes == [mmh3.hash64(f"{u or ''}{t}")[0] for u, t in zip(*rows.values(), strict=True)]


def test_columns_together_are_not_their_concatenation(write):
    columns = {"url": ["a", "ab", "a"], "text": ["bc", "c", "bc"]}
    frame = ld.read_shards(write("pairs.parquet", columns))
    assert frame.laion.dedup(by=["url", "text"])["row"].compute().tolist() == [0, 1]


def test_arguments_are_checked_before_data_is_read(folder, no_compute):
    frame = ld.read_shards(folder)
    with pytest.raises(ColumnError, match=r"no column 'ur'\. Did you mean 'url'"):
        frame.laion.dedup(by="ur")
    with pytest.raises(ColumnError, match="computed from"):
        frame.drop(columns=["hash", "text"]).laion.dedup(by="hash")
    for by in ([], ["url", "url"], 3, ["shard", "row"]):
        with pytest.raises(OptionError, match="by"):
            frame.laion.dedup(by=by)
    for keep in ("best", {"max": "text"}, {"first": "width"}, {}):
        with pytest.raises(OptionError, match=r"keep|holds"):
            frame.laion.dedup(keep=keep)
    with pytest.raises(ColumnError, match="similarity"):
        frame.laion.dedup(keep={"max": "similarty"})
    with pytest.raises(OptionError, match="missing"):
        frame.laion.dedup(missing="drop")
    with pytest.raises(ProvenanceError, match="no column row"):
        frame.drop(columns="row").laion.dedup()


def test_the_folder_is_removed_with_the_frame(folder, tmp_path):
    with dask.config.set(temporary_directory=str(tmp_path)):
        kept = ld.read_shards(folder).laion.dedup()
        assert len(kept) == len(kept) > 0
        assert list(tmp_path.iterdir()) != []
        del kept
        assert list(tmp_path.iterdir()) == []


VERBS_BY_ROW = {
    "dedup": lambda f: f.laion.dedup("url"),
    "dedup of near captions": lambda f: f.laion.dedup("text", similar=0.9),
    "duplicates": lambda f: f.laion.duplicates("url"),
    "drop_frequent": lambda f: f.laion.drop_frequent("url", more_than=3),
    "against_relaion": lambda f: f.laion.against_relaion(f, by="url"),
    "sample": lambda f: f.laion.sample(n=3),
    "balance": lambda f: f.laion.balance(["a"], t=2),
    "soft_cap": lambda f: f.laion.soft_cap("similarity", n=3),
}


@pytest.mark.parametrize("verb", VERBS_BY_ROW)
def test_rows_of_two_reads_under_the_same_numbers_are_refused(verb, folder):
    """A row without a key would get the fate of the row of the same number in the other read."""
    two = dd.concat([ld.read_shards(folder / "0.parquet"), ld.read_shards(folder / "3.parquet")])
    with pytest.raises(ProvenanceError, match=r"same shard numbers.*one call"):
        VERBS_BY_ROW[verb](two)


@pytest.mark.parametrize(
    "verb",
    [
        lambda f: f.laion.dedup("caption"),
        lambda f: f.laion.dedup("caption", similar=0.9),
        lambda f: f.laion.drop_frequent("caption", more_than=9),
        lambda f: f.laion.soft_cap("score", n=2),
    ],
    ids=["dedup", "near", "drop_frequent", "soft_cap"],
)
def test_a_copy_of_a_row_without_a_key_is_found(verb, folder):
    """A merge repeats rows; the pass sees only those copies that have a key."""
    twice = pd.DataFrame(
        {"hash": [1, 1, 2, 2], "caption": ["x", None, None, "y"], "score": [0.5, None, None, 0.4]}
    )
    twice = dd.from_pandas(twice.astype({"hash": "Int64"}), npartitions=1)
    frame = ld.read_shards(folder).merge(twice, on="hash")
    with pytest.raises(ProvenanceError, match="more than once, such as row"):
        verb(frame).compute(scheduler="sync")
