"""Exact search against a float64 loop, and everything that must not change its answer."""

from pathlib import Path

import dask
import distributed
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.embeddings import pair
from support.frames import both
from support.searches import SIZES, Brute, check, opened, unit_rows
from support.shards import collection, cosine, npy, refuse, vectors

import laion_dask as ld
from laion_dask.errors import (
    ColumnError,
    OptionError,
    ProvenanceError,
)
from laion_dask.io.embeddings import stored_rows
from laion_dask.io.embeddings.file import EmbeddingFile
from laion_dask.io.parquet.scan import Scan
from laion_dask.retrieval import fetch
from laion_dask.retrieval import search as searching
from laion_dask.retrieval.exact import bounded_cosines, query_batch
from laion_dask.retrieval.exact import candidates as choosing

pytestmark = both


@pytest.mark.parametrize("m", [1, 3, 40])
@pytest.mark.parametrize("k", [1, 10, 96, 1000])
def test_against_a_loop(corpus, m, k):
    frame, emb = opened(corpus)
    queries = vectors(m, seed=9)
    result = frame.laion.search(emb, queries, k, columns=[])
    check(result, corpus.images, unit_rows(queries), k)
    assert len(result) == m * min(k, sum(SIZES))
    dtypes = {"query": "int64", "rank": "int64", "query_similarity": "float32"}
    dtypes |= {"shard": "int32", "row": "int64"}
    assert {name: str(t) for name, t in result.dtypes.items()} == dtypes


def test_columns_of_what_was_found(small):
    frame, emb = opened(small)
    every = frame.compute().set_index(["shard", "row"])
    result = ld.search(frame, emb, vectors(5, seed=9), 7, to="close")
    names = ["query", "rank", "close", "shard", "row", *every.columns]
    assert result.columns.tolist() == names
    wanted = every.loc[list(zip(result["shard"], result["row"], strict=True))].reset_index()
    pd.testing.assert_frame_equal(result[wanted.columns], wanted)
    some = ld.search(frame, emb, vectors(5, seed=9), 7, columns=["text", "hash"], to="close")
    pd.testing.assert_frame_equal(some, result[some.columns])
    assert some.columns[5:].tolist() == ["text", "hash"]


def test_similarity_gives_the_same_numbers(corpus):
    frame, emb = opened(corpus)
    query = vectors(1, seed=9)[0]
    result = frame.laion.search(emb, query, 1000, columns=[])
    scored = frame.laion.similarity(emb, query).compute().set_index(["shard", "row"])
    wanted = scored["query_similarity"].loc[list(zip(result["shard"], result["row"], strict=True))]
    np.testing.assert_array_equal(result["query_similarity"], wanted)


def tied(folder, dtype="float16", copies=12):
    """Shards in which most rows equal another row, also across shards."""
    draw = np.random.default_rng(0)
    few = draw.normal(size=(6, 8)).astype(dtype)
    c = collection(folder, (60, 0, 45, 70), dtype=dtype)
    for i, x in enumerate(c.images):
        x[:] = few[draw.integers(0, 6, len(x))]
        npy(f"{c.img_emb}/img_emb_{i}.npy", x)
    return c


@pytest.mark.parametrize("m", [2, 9])
@pytest.mark.parametrize("k", [1, 17, 100])
def test_ties_go_to_the_smaller_shard_and_row(tmp_path, m, k):
    c = tied(tmp_path)
    frame, emb = opened(c)
    queries = np.concatenate([c.images[0][:1], vectors(m - 1, seed=3)]).astype("float32")
    check(frame.laion.search(emb, queries, k, columns=[]), c.images, queries, k)


@pytest.mark.parametrize("m", [1, 9])
def test_rows_too_small_for_float32(tmp_path, m):
    c = collection(tmp_path, (50, 30))
    for i, x in enumerate(c.images):
        x *= np.where(np.arange(len(x)) % 2, 1, 1e-40)[:, None].astype("float32")
        npy(f"{c.img_emb}/img_emb_{i}.npy", x)
    frame, emb = opened(c)
    queries = vectors(m, seed=5)
    check(frame.laion.search(emb, queries, 20, columns=[]), c.images, queries, 20)


@pytest.mark.parametrize("m", [1, 30])
def test_nothing_of_how_it_is_computed_changes_the_answer(tmp_path, m, monkeypatch):
    c = tied(tmp_path, "float32")
    for i, x in enumerate(c.images):
        x[::3] += np.random.default_rng(i).normal(size=x[::3].shape).astype("float32") / 50
        npy(f"{c.img_emb}/img_emb_{i}.npy", x)
    frame, emb = opened(c)
    queries = vectors(m, seed=5)
    wanted = frame.laion.search(emb, queries, 20)
    check(wanted, c.images, queries, 20)

    def same(other):
        pd.testing.assert_frame_equal(other, wanted)

    cut = ld.read_shards(c.metadata, max_rows_per_partition=10)
    assert cut.npartitions > 10
    same(cut.laion.search(emb, queries, 20))
    masked = frame[frame["row"] >= 0]
    same(masked.laion.search(emb, queries, 20))
    same(masked.repartition(npartitions=2).laion.search(emb, queries, 20))
    same(masked.repartition(npartitions=9).laion.search(emb, queries, 20))
    shuffled = masked.shuffle("hash", npartitions=5)
    same(shuffled.laion.search(emb, queries, 20))
    for scheduler in ("sync", "threads"):
        for workers in (1, 3):
            with dask.config.set(scheduler=scheduler, num_workers=workers):
                same(cut.laion.search(emb, queries, 20))
    smaller = {"MAX_ROWS": 7, "MAX_COSINES": 1, "QUERIES_PER_BATCH": 3, "GROUP": 4}
    for module, name, value in (
        *((choosing, *of) for of in smaller.items()),
        (query_batch, "MAX_PENDING", 16),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, value)
            same(frame.laion.search(emb, queries, 20))
    for few in (0, 1000):
        monkeypatch.setattr(bounded_cosines, "GEMV_MAX_QUERIES", few)
        same(frame.laion.search(emb, queries, 20))
    monkeypatch.setattr(searching, "_QUERIES_PER_TASK", 7)
    same(frame.laion.search(emb, queries, 20))
    monkeypatch.setattr(fetch, "_MAX_ROWS_BY_NUMBER", 0)
    same(frame.laion.search(emb, queries, 20))


@pytest.mark.only_pandas
def test_on_worker_processes(small, worker_processes):
    frame, emb = opened(small)
    queries = vectors(12, seed=5)
    wanted = frame.laion.search(emb, queries, 9)
    with distributed.Client(worker_processes):
        pd.testing.assert_frame_equal(frame.laion.search(emb, queries, 9), wanted)
        pd.testing.assert_frame_equal(
            frame[frame["row"] >= 0].laion.search(emb, queries, 9), wanted
        )


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("narrow", ["bfloat16", "float32"])
def test_thousands_of_queries_over_crowded_rows(tmp_path, dtype, narrow, monkeypatch):
    import torch

    monkeypatch.setattr(bounded_cosines, "narrow_dtype", lambda: getattr(torch, narrow))
    monkeypatch.setattr(choosing, "MAX_ROWS", 300)
    c = collection(tmp_path, (900, 700), dim=64, dtype=dtype)
    centre = vectors(1, 64, seed=1)
    for i, x in enumerate(c.images):
        x[:] = centre + vectors(len(x), 64, seed=2 + i) / 300  # cosines within 1e-4 of each other
        npy(f"{c.img_emb}/img_emb_{i}.npy", x)
    frame, emb = opened(c)
    queries = np.concatenate([centre + vectors(1000, 64, seed=8) / 30, vectors(1500, 64, seed=9)])
    result = frame.laion.search(emb, queries, 10, columns=[])
    x = unit_rows(np.concatenate(c.images).astype(np.float64))
    true = (unit_rows(queries.astype(np.float64)) @ x.T).astype(np.float32)
    assert len(result) == 25_000
    got = result["query_similarity"].to_numpy().reshape(2500, 10)
    np.testing.assert_allclose(got, -np.sort(-true, axis=1)[:, :10], atol=1e-7)
    rows = (result["shard"] * 900 + result["row"]).to_numpy().reshape(2500, 10)
    np.testing.assert_allclose(np.take_along_axis(true, rows, 1), got, atol=1e-7)


def near_ties(folder, n, dim, dtype="float32"):
    """A shard whose rows approach e0 one by one, in steps too small for float32."""
    c = collection(folder, (n, 3), dim, dtype)
    x = np.zeros((n, dim), dtype)
    x[:, 0], x[:, 1] = 1, np.linspace(2e-4, 0, n)
    x[:, -1] = x[:, 1] * np.where(np.arange(n) % 2, 1, -1)
    npy(f"{c.img_emb}/img_emb_0.npy", x)
    npy(f"{c.img_emb}/img_emb_1.npy", -c.images[1])
    assert len({np.float32(cosine(row, np.eye(dim)[0])) for row in x}) < n
    return c, [x, -c.images[1]]


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("m", [1, 9])
def test_near_ties_are_told_apart_below_float32(tmp_path, m, dtype, monkeypatch):
    c, images = near_ties(tmp_path, 60, 8, dtype)
    frame, emb = opened(c)
    queries = np.concatenate([np.eye(1, 8), vectors(m - 1, seed=2)]).astype("float32")
    queries = unit_rows(queries).astype("float32")
    for k in (1, 2, 7, 60):
        check(frame.laion.search(emb, queries, k, columns=[]), images, queries[:1], k)
        found = frame.laion.search(emb, queries, k, index=Brute(images), columns=[])
        check(found, images, queries[:1], k)
        assert found.attrs["short"] == 0
    first = frame.laion.search(emb, queries[0], 4, columns=[])
    assert first["row"].tolist() == [59, 58, 57, 56]
    assert first["query_similarity"].dtype == np.float32
    monkeypatch.setattr(query_batch, "MAX_PENDING", 16)
    monkeypatch.setattr(choosing, "MAX_ROWS", 7)
    pd.testing.assert_frame_equal(frame.laion.search(emb, queries[0], 4, columns=[]), first)
    again = ld.Rerank(emb, queries[0], take=63)
    by_other = frame.laion.search(emb, -queries[0], 4, rerank=again, columns=[])
    assert by_other["row"].tolist() == first["row"].tolist()


# -- rows ------------------------------------------------------------------------------------


def directionless(c):
    """Give some rows of the shards no direction; return how many."""
    x = c.images[0]
    x[3], x[7, 2], x[8, 0], x[9, 1] = 0, np.nan, np.inf, -np.inf
    npy(f"{c.img_emb}/img_emb_0.npy", x)
    return 4


def test_a_result_can_be_written_as_it_is(small, tmp_path):
    frame, emb = opened(small)
    result = frame.laion.search(emb, vectors(2, seed=9), 3)
    result.to_parquet(tmp_path / "hits.parquet")
    back = pd.read_parquet(tmp_path / "hits.parquet")
    assert back["row"].tolist() == result["row"].tolist() and back.attrs == result.attrs


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


@pytest.mark.only_pandas
def test_parquet_is_read_only_for_what_was_found(small, monkeypatch):
    frame, emb = opened(small)
    read = []
    before = Scan.__call__

    def spy(self, piece, columns):
        found = before(self, piece, columns)
        read.append((piece.shard.index, tuple(columns), len(found)))
        return found

    monkeypatch.setattr(Scan, "__call__", spy)
    monkeypatch.setattr(Scan, "read", refuse)
    frame.laion.search(emb, vectors(3, seed=9), 5, columns=[])
    assert read == []
    result = frame.laion.search(emb, small.images[2][4], 1, columns=["text"])
    assert [len(result), *read] == [1, (2, ("text", "shard", "row"), 1)]
    read.clear()
    filtered = frame.laion.where("width > 500")
    filtered.laion.search(emb, vectors(3, seed=9), 5, columns=[])
    assert {columns for _, columns, _ in read} == {("shard", "row")}


def test_embeddings_are_read_of_no_other_rows(small, monkeypatch):
    frame, emb = opened(small)
    kept = frame.laion.where("language == 'de'").compute()
    allowed = set(zip(kept["shard"], kept["row"], strict=True))
    names = {file.path: i for i, file in enumerate(pair(emb, frame).files)}
    read, before = set(), EmbeddingFile._read

    def spy(self, rows):
        read.update((names[self.path], int(row)) for row in rows)
        return before(self, rows)

    monkeypatch.setattr(EmbeddingFile, "_read", spy)
    frame.laion.search(emb, vectors(3, seed=9), 5, where="language == 'de'")
    assert read == allowed


@pytest.mark.only_pandas
@pytest.mark.parametrize("kind", ["parquet", "packed"])
def test_packed_embeddings_are_unpacked_no_more_often_for_many_queries(small, kind, monkeypatch):
    for i, x in enumerate(small.images):
        path = Path(f"{small.img_emb}/img_emb_{i}.npy")
        path.unlink()
        if kind == "packed":
            np.savez_compressed(path.with_suffix(".npz"), x=x)
        else:
            column = pa.array(x.tolist(), pa.list_(pa.float32()))
            pq.write_table(pa.table({"v": column}), path.with_suffix(".parquet"), row_group_size=9)
    frame, emb = opened(small)
    pieces = stored_rows._group if kind == "parquet" else stored_rows.unpacked
    monkeypatch.setattr(searching, "_QUERIES_PER_TASK", 4)
    read = []
    for m in (5, 200):
        pieces.cache_clear()
        queries = vectors(m, seed=9)
        with dask.config.set(scheduler="sync"):
            found = frame.laion.search(emb, queries, 3, columns=[])
        check(found, small.images, queries[:5], 3)
        read.append(pieces.cache_info().misses)
    assert read[1] <= read[0] + 8


@pytest.mark.only_pandas
def test_a_piece_is_asked_for_its_own_rows(small, monkeypatch):
    frame, emb = opened(small)
    asked, before = [], Scan.and_where

    def spy(self, predicate):
        asked.append(len(predicate.root.values))
        return before(self, predicate)

    monkeypatch.setattr(Scan, "and_where", spy)
    found = frame.laion.search(emb, vectors(20, seed=9), 5, columns=["text"])
    own = found.groupby("shard")["row"].nunique().tolist()
    assert asked == own


def test_the_frame_is_not_computed_before(small, no_compute):
    frame, emb = opened(small)
    with pytest.raises(AssertionError, match="should have been lazy"):
        frame.laion.search(emb, vectors(1, seed=9)[0])
    for wrong in ({"k": 0}, {"columns": ["nobody"]}, {"to": "text"}, {"where": "nobody > 1"}):
        with pytest.raises((OptionError, ColumnError)):
            frame.laion.search(emb, vectors(1, seed=9)[0], **wrong)


def test_a_row_column_of_another_integer_type(small):
    frame, emb = opened(small)
    queries = vectors(1, seed=5)
    wanted = frame.laion.search(emb, queries, 5, columns=[])
    other = frame.assign(row=frame["row"].astype("uint64"))
    got = other.laion.search(emb, queries, 5, columns=[])
    pd.testing.assert_frame_equal(got, wanted)
