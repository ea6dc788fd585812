"""Which rows exact search finds: those of the frame that have a direction, each once."""

import dask
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.frames import both
from support.searches import SIZES, Brute, check, opened
from support.shards import collection, npy, vectors

import laion_dask as ld
from laion_dask.errors import ProvenanceError

pytestmark = both


def directionless(c):
    """Give some rows of the shards no direction; return how many."""
    x = c.images[0]
    x[3], x[7, 2], x[8, 0], x[9, 1] = 0, np.nan, np.inf, -np.inf
    npy(f"{c.img_emb}/img_emb_0.npy", x)
    return 4


@pytest.mark.parametrize("m", [1, 20])
def test_rows_without_direction_are_never_found_and_are_counted(corpus, m):
    n_without_direction = directionless(corpus)
    frame, emb = opened(corpus)
    queries = vectors(m, seed=9)
    result = frame.laion.search(emb, queries, 1000, columns=[])
    check(result, corpus.images, queries, 1000)
    rows = ld.Rows(**result.attrs["rows"])
    assert rows == ld.Rows(sum(SIZES), sum(SIZES) - n_without_direction, 0, n_without_direction, 0)
    assert str(rows) == "96 read = 92 kept + 0 dropped + 4 unscored + 0 rejected"


@pytest.mark.parametrize("how", ["where=", "where", "mask", "sample", "partitions"])
@pytest.mark.parametrize("m", [1, 20])
def test_only_rows_of_the_frame_are_found(small, how, m):
    n_without_direction = directionless(small)
    frame, emb = opened(small)
    queries, condition = vectors(m, seed=9), "width >= 900"
    kept, options = frame, {}
    if how == "where=":
        options = {"where": condition}
    kept = {
        "where=": lambda: frame,
        "where": lambda: frame.laion.where(condition),
        "mask": lambda: frame[frame["width"].fillna(0) >= 900],
        "sample": lambda: frame.sample(frac=0.5, random_state=1),
        "partitions": lambda: frame.partitions[[0, 3]],
    }[how]()
    narrowed = frame.laion.where(condition) if how == "where=" else kept
    left = narrowed.compute()
    allowed = set(zip(left["shard"], left["row"], strict=True))
    result = kept.laion.search(emb, queries, 12, **options)
    check(result, small.images, queries, 12, allowed)
    wanted = left.set_index(["shard", "row"]).loc[
        list(zip(result["shard"], result["row"], strict=True))
    ]
    assert result["hash"].tolist() == wanted["hash"].tolist()
    rows = ld.Rows(**result.attrs["rows"])
    assert rows.read == rows.kept + rows.dropped + rows.unscored + rows.rejected
    bad = {(0, 3), (0, 7), (0, 8), (0, 9)} & allowed
    assert len(bad) <= n_without_direction and rows.kept == len(allowed) - len(bad)
    if how in ("where=", "where"):
        nulls = ld.rows(narrowed).unscored
        assert nulls > 0 and rows.unscored == nulls + len(bad)


def test_computed_columns_can_be_filtered_and_fetched(small):
    frame, emb = opened(small)
    scored = frame.laion.similarity(emb, vectors(1, seed=1)[0], to="a")
    kept = scored.laion.where("a > 0")
    result = kept.laion.search(emb, vectors(1, seed=2)[0], 5)
    assert (result["a"] > 0).all() and len(result) == 5
    everything = scored.compute()
    positive = everything[everything["a"] > 0]
    allowed = set(zip(positive["shard"], positive["row"], strict=True))
    check(result, small.images, vectors(1, seed=2), 5, allowed)


def test_rejected_rows_are_not_found(tmp_path):
    c = collection(tmp_path, (30, 10), odd=False)
    text = pa.array([b"fine"] * 5 + [b"\xff\xfe"] + [b"fine"] * 24).cast(pa.binary())
    bad = pa.Array.from_buffers(pa.string(), 30, text.buffers())
    table = c.tables[0].set_column(c.tables[0].column_names.index("TEXT"), "TEXT", bad)
    pq.write_table(table, f"{c.metadata}/metadata_0000.parquet")
    with ld.set_options(invalid_text="reject"):
        frame, emb = opened(c)
        result = frame.laion.search(emb, c.images[0][5], 40, columns=["hash"])
    assert len(result) == 39 and (0, 5) not in set(zip(result["shard"], result["row"], strict=True))
    assert ld.Rows(**result.attrs["rows"]) == ld.Rows(40, 39, 0, 0, 1)


def test_nothing_left(small):
    frame, emb = opened(small)
    result = frame.laion.search(emb, vectors(3, seed=9), 5, where="width > 100000")
    assert len(result) == 0 and result.columns[5:].tolist() == [
        n for n in frame.columns if n not in ("shard", "row")
    ]
    assert result.dtypes["query_similarity"] == np.float32
    rows = ld.Rows(**result.attrs["rows"])
    assert rows.kept == 0 and rows.read == sum(SIZES)


@pytest.mark.only_pandas
@pytest.mark.parametrize("npartitions", [1, 4])
@pytest.mark.parametrize("k", [1, 5])
@pytest.mark.parametrize("by", ["all", "index"])
def test_a_row_that_is_there_twice_is_refused(small, npartitions, k, by):
    frame, emb = opened(small)
    twice = pd.DataFrame({"hash": small.tables[0]["hash"].to_pylist()[:3] * 2})
    twice = dask.dataframe.from_pandas(twice.astype({"hash": "Int64"}), npartitions=2)
    other = frame.merge(twice, on="hash")
    # In one partition the copies are adjacent; when dealt out, each is in another partition.
    if npartitions == 1:
        other = other.repartition(npartitions=1)
    else:
        dealt = other.assign(to=other.groupby(["shard", "row"]).cumcount(), by=0)
        other = dealt.shuffle("to", npartitions=npartitions)
    index = Brute(small.images) if by == "index" else None
    with pytest.raises(ProvenanceError, match="duplicated rows"):
        other.laion.search(emb, small.images[0][1], k, columns=["hash"], index=index)


def test_a_frame_of_two_branches_is_refused(small):
    frame, emb = opened(small)
    both = dask.dataframe.concat([frame[frame["row"] > 3], frame[frame["row"] > 5]])
    with pytest.raises(ProvenanceError, match="end to end"):
        both.laion.search(emb, vectors(1, seed=9)[0], 10)


@pytest.mark.only_pandas
def test_rows_that_are_in_no_shard_are_refused_and_may_be_left_out(small):
    frame, emb = opened(small)
    hashes = [*small.tables[0]["hash"].to_pylist()[:3], 5, 6]
    some = pd.DataFrame({"hash": hashes, "mine": range(5)}).astype({"hash": "Int64"})
    some = dask.dataframe.from_pandas(some, npartitions=1)
    outer = frame.merge(some, on="hash", how="outer")
    query = vectors(2, seed=9)
    for index in (None, Brute(small.images)):
        with pytest.raises(ProvenanceError, match=r"dropna\(subset=\['shard', 'row'\]\)"):
            outer.laion.search(emb, query, 5, index=index)
    wanted = frame.laion.search(emb, query, 5, columns=["hash"])
    left = outer.dropna(subset=["shard", "row"])
    for index in (None, Brute(small.images)):
        found = left.laion.search(emb, query, 5, columns=["hash"], index=index)
        pd.testing.assert_frame_equal(found, wanted)


def test_a_row_column_of_another_integer_type(small):
    frame, emb = opened(small)
    queries = vectors(1, seed=5)
    wanted = frame.laion.search(emb, queries, 5, columns=[])
    other = frame.assign(row=frame["row"].astype("uint64"))
    got = other.laion.search(emb, queries, 5, columns=[])
    pd.testing.assert_frame_equal(got, wanted)
