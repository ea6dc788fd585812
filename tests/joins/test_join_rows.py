"""Scores joined by key: every row once, with its score or none, and all of them counted."""

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.join_tables import N, big, by_pandas, keys_of_others, rows, write
from support.property_tests import examples

import laion_dask as ld
from laion_dask.errors import (
    ColumnError,
    ExportError,
    JoinError,
    OptionError,
    ProvenanceError,
    SchemaError,
)
from laion_dask.joins import join as joining


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


def test_the_first_of_many_duplicates(tmp_path, way):
    keys = np.random.default_rng(0).integers(0, 50, 20_000)
    scores = {"hash": keys, "punsafe": np.arange(20_000, dtype="f8")}
    table = write(tmp_path / "scores", scores, 3, row_group_size=1000)
    frame = ld.read_shards(write(tmp_path / "meta", rows(np.arange(60)), 2))
    result = frame.laion.join(table, on="hash", duplicates="first").compute()
    first = pd.DataFrame(scores).drop_duplicates("hash").set_index("hash")["punsafe"]
    assert result["punsafe"].tolist()[:50] == first.reindex(range(50)).tolist()
    assert result["punsafe"].isna().sum() == 10


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
