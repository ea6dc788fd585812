"""Exact search against a float64 loop, with ties, and all that must not change its answer."""

import dask
import distributed
import numpy as np
import pandas as pd
import pytest
from support.frames import both
from support.searches import SIZES, Brute, check, opened, unit_rows
from support.shards import collection, cosine, npy, vectors

import laion_dask as ld
from laion_dask.numerics.int8 import multiplies_int8
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
@pytest.mark.parametrize("narrow", ["bfloat16", "float32", "int8"])
def test_thousands_of_queries_over_crowded_rows(tmp_path, dtype, narrow, monkeypatch):
    import torch

    if narrow == "int8" and not multiplies_int8():
        pytest.skip("this CPU multiplies no int8")
    monkeypatch.setattr(choosing, "uses_int8", lambda m, dim: narrow == "int8")
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


def test_a_result_can_be_written_as_it_is(small, tmp_path):
    frame, emb = opened(small)
    result = frame.laion.search(emb, vectors(2, seed=9), 3)
    result.to_parquet(tmp_path / "hits.parquet")
    back = pd.read_parquet(tmp_path / "hits.parquet")
    assert back["row"].tolist() == result["row"].tolist() and back.attrs == result.attrs
