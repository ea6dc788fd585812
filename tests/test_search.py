"""Exact search against a loop in float64, and everything that must not change its answer."""

import io
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dask
import distributed
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from PIL import Image
from shards import collection, cosine, npy, refuse, space, vectors
from small_clip import make_small_clip, picture

import laion_dask as ld
from laion_dask import partition
from laion_dask.errors import (
    ColumnError,
    EmbeddingsError,
    ModelMismatchError,
    OptionError,
    PairingError,
    ProvenanceError,
)
from laion_dask.io.embedding_files import EmbeddingFile
from laion_dask.io.scan import Scan
from laion_dask.kernels import choose as choosing
from laion_dask.kernels import rough
from laion_dask.kernels import search as kernel
from laion_dask.kernels.pairs import Pairs
from laion_dask.kernels.search import order, settled
from laion_dask.kernels.together import Together
from laion_dask.models import Vectors
from laion_dask.verbs import by_index, hits
from laion_dask.verbs import search as searching

SIZES = (40, 0, 25, 31)


@pytest.fixture(params=["float32", "float16"])
def corpus(request, tmp_path):
    return collection(tmp_path, SIZES, dtype=request.param)


@pytest.fixture
def small(tmp_path):
    return collection(tmp_path, SIZES)


def opened(c, **options):
    return ld.read_shards(c.metadata, **options), ld.open_embeddings(c.img_emb, model=c.model)


def brute(images, query, k, allowed=None):
    """[(shard, row, cosine)] by a loop in float64; ties by (shard, row)."""
    found = []
    for shard, x in enumerate(images):
        for row, one in enumerate(x):
            value = cosine(one, query)
            if not np.isnan(value) and (allowed is None or (shard, row) in allowed):
                found.append((-value, shard, row))
    return [(shard, row, -value) for value, shard, row in sorted(found)[:k]]


def check(result, images, queries, k, allowed=None, to="query_similarity"):
    """A result against the loop: ids in order, ranks, and cosines to one digit of float32."""
    assert result.columns[:5].tolist() == ["query", "rank", to, "shard", "row"]
    for number, query in enumerate(queries):
        wanted = brute(images, query, k, allowed)
        got = result[result["query"] == number]
        assert got[["shard", "row"]].to_numpy().tolist() == [[s, r] for s, r, _ in wanted]
        assert got["rank"].tolist() == list(range(1, len(wanted) + 1))
        np.testing.assert_allclose(got[to], [c for _, _, c in wanted], atol=1e-7)


def unit_rows(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


# -- the answer ------------------------------------------------------------------------------


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
    """Shards in which most rows are equal to another, also across shards."""
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
    for name, value in (("ROWS", 7), ("HELD", 1), ("QUERIES", 3), ("PENDING", 16), ("GROUP", 4)):
        with monkeypatch.context() as patch:
            patch.setattr(choosing, name, value)
            same(frame.laion.search(emb, queries, 20))
    for few in (0, 1000):
        monkeypatch.setattr(rough, "FEW", few)
        same(frame.laion.search(emb, queries, 20))
    monkeypatch.setattr(searching, "_LOT", 7)
    same(frame.laion.search(emb, queries, 20))
    monkeypatch.setattr(hits, "_NAMED", 0)
    same(frame.laion.search(emb, queries, 20))


def test_on_worker_processes(small):
    frame, emb = opened(small)
    queries = vectors(12, seed=5)
    wanted = frame.laion.search(emb, queries, 9)
    with (
        distributed.LocalCluster(2, threads_per_worker=1, dashboard_address=":0") as cluster,
        distributed.Client(cluster),
    ):
        pd.testing.assert_frame_equal(frame.laion.search(emb, queries, 9), wanted)
        pd.testing.assert_frame_equal(
            frame[frame["row"] >= 0].laion.search(emb, queries, 9), wanted
        )


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("narrow", ["bfloat16", "float32"])
def test_thousands_of_queries_over_crowded_rows(tmp_path, dtype, narrow, monkeypatch):
    import torch

    monkeypatch.setattr(rough, "narrow_dtype", lambda device: getattr(torch, narrow))
    monkeypatch.setattr(choosing, "ROWS", 300)
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


@pytest.mark.parametrize("relative", [0.0, 2.0**-8])
def test_the_cut_keeps_every_row_that_can_be_among_the_best(relative):
    bound = rough.Bound(relative, np.array([0.01]))
    for kth in np.linspace(-1, 1, 81, dtype=np.float32):
        cut = bound.cut(np.array([kth]))[0]
        low = kth - relative * abs(kth) - 0.01
        assert cut + relative * abs(cut) + 0.01 <= low + 1e-6
        assert cut <= kth and cut > kth - 0.03
        assert bound.below(np.array([[kth]]))[0, 0] <= low + 1e-7
        assert bound.above(np.array([kth]), np.array([0]))[0] >= kth + 0.01
        reach = bound.reach(np.array([kth]))[0]
        assert kth - 0.03 < reach and reach + relative * abs(reach) + 0.01 <= kth + 1e-6
    for of in (bound.cut, bound.reach):
        assert of(np.array([-np.inf], np.float32))[0] == -np.inf


@pytest.mark.parametrize("narrow", ["bfloat16", "float32"])
@pytest.mark.parametrize("least", [-np.inf, 0.0, 0.3])
def test_the_greatest_of_groups(narrow, least, monkeypatch):
    import torch

    monkeypatch.setattr(rough, "narrow_dtype", lambda device: getattr(torch, narrow))
    made = rough.ByMatrix(unit_rows(vectors(5, 8)).astype("float32"), "cpu")
    draw = torch.Generator().manual_seed(0)
    for group in (1, 2, 8):
        lines = torch.rand(5, group, 40, generator=draw).to(made.result_dtype) * 2 - 1
        lines[0], lines[1, :, :20], lines[2, 0] = -0.5, 0, -np.inf
        lines[3, :, 1] = -np.inf
        wanted = lines.float().numpy().max(axis=1)
        got = made.tops(lines, least)
        assert got.dtype == np.float32
        np.testing.assert_array_equal(got[wanted >= least], wanted[wanted >= least])
        assert (got[wanted < least] < max(least, 0)).all()


def test_what_cannot_be_among_the_best_is_not_scored(small, monkeypatch):
    _, emb = opened(small)
    queries = unit_rows(vectors(3, seed=9)).astype("float32")
    rows = np.array([(s, r) for s, x in enumerate(small.images) for r in range(len(x))])
    n = len(rows)
    pairs = Pairs(
        np.repeat(np.arange(3, dtype=np.int32), n), *np.tile(rows, (3, 1)).T, np.zeros(3 * n, int)
    )
    true = kernel.score_pairs(pairs, emb, queries)
    scored, score = [], kernel.score_pairs

    def counted(pairs, *args):
        scored.append(len(pairs))
        return score(pairs, *args)

    monkeypatch.setattr(kernel, "score_pairs", counted)
    monkeypatch.setattr(kernel, "_PAIRS", 4)
    for k in (1, 5, n, n + 1):
        wanted = order(pairs, true, k)
        for apart in (0, 0.05, np.inf):
            upper = np.nextafter((true + apart).astype(np.float32), np.float32(np.inf))
            scored.clear()
            found = kernel.best(pairs, upper, emb, queries, k)
            for name in ("query", "shard", "row"):
                expected = getattr(pairs.take(wanted[0]), name)
                np.testing.assert_array_equal(getattr(found.pairs, name), expected)
            np.testing.assert_array_equal(found.rank, wanted[1])
            np.testing.assert_array_equal(found.cosine, true[wanted[0]].astype(np.float32))
            assert sum(scored) <= (3 * n if apart else 3 * min(k, n) + 3)
            assert sum(scored) >= 3 * min(k, n)


def test_memory_of_a_search_is_taken_in_turn():
    together = Together()
    with together.space() as a, together.space() as b:
        assert a is not b
        a.block = "rows"
        first = a.array("scores", 10)
        assert np.shares_memory(first, a.array("scores", 6)) and len(a.array("scores", 6)) == 6
        assert not np.shares_memory(first, a.array("others", 6))
    with together.space() as again:
        assert again in (a, b) and again.block is None
    with pickle.loads(pickle.dumps(together)).space() as other:
        assert other not in (a, b)


def test_searches_that_run_at_once_share_nothing(small):
    assert partition.share(Together()).key != partition.share(Together()).key
    frame, emb = opened(small)
    queries = [vectors(9, seed=seed) for seed in range(6)]
    wanted = [frame.laion.search(emb, q, 3, columns=[]) for q in queries]
    with (
        distributed.LocalCluster(1, processes=False, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
        ThreadPoolExecutor(6) as pool,
    ):

        def search(query):
            with client.as_current():
                return frame.laion.search(emb, query, 3, columns=[])

        for got, expected in zip(pool.map(search, queries), wanted, strict=True):
            pd.testing.assert_frame_equal(got, expected)


def test_what_is_known_of_the_kth_best_counts_a_partition_once():
    together = Together()
    assert np.isneginf(together.floor(2)).all()
    lower = np.array([[0.3, 0.1], [-np.inf, 0.5]], np.float32)
    for _ in range(3):
        together.learn(0, lower)
        assert together.floor(2).tolist() == lower.min(axis=1).tolist()
    together.learn(1, np.array([[0.2, 0.0], [0.4, 0.6]], np.float32))
    np.testing.assert_array_equal(together.floor(2), np.float32([0.2, 0.5]))
    assert np.isneginf(pickle.loads(pickle.dumps(together)).floor(2)).all()


@pytest.mark.parametrize("m", [1, 30])
def test_a_task_that_runs_again_changes_nothing(small, m):
    frame, emb = opened(small)
    emb = emb.like(frame)
    queries = unit_rows(vectors(m, seed=5)).astype("float32")
    parts = hits.parts(frame)
    together = Together()
    once = [choosing.choose(part, i, emb, queries, 9) for i, part in enumerate(parts)]
    again = [
        choosing.choose(part, i, emb, queries, 9, together)
        for _ in range(3)
        for i, part in enumerate(parts)
    ]
    wanted = kernel.best_of(
        (0, m), 0, kernel.merge(once, emb, queries), emb, queries, 9, Together()
    )
    for at in (slice(0, len(parts)), slice(-len(parts), None)):
        several = again[at]
        assert sum(len(c.pairs) for c in several) <= sum(len(c.pairs) for c in once)
        found = kernel.best_of(
            (0, m), 0, kernel.merge(several, emb, queries), emb, queries, 9, Together()
        )
        np.testing.assert_array_equal(found.cosine, wanted.cosine)
        np.testing.assert_array_equal(found.pairs.row, wanted.pairs.row)
        assert (found.searched, found.unscored) == (wanted.searched, wanted.unscored)


@pytest.mark.parametrize("narrow", ["bfloat16", "float32", "float16"])
@pytest.mark.parametrize("dim", [2, 64, 768])
def test_rough_cosines_of_many_keep_their_bound(narrow, dim, monkeypatch):
    import torch

    monkeypatch.setattr(rough, "narrow_dtype", lambda device: getattr(torch, narrow))
    draw = np.random.default_rng(dim)
    queries = unit_rows(draw.normal(size=(50, dim))).astype(np.float32)
    for scale in (1e-30, 1e-3, 1.0, 1e37):
        x = (scale * draw.normal(size=(300, dim))).astype(np.float32)
        x[:50] = queries * np.float32(scale)
        made = rough.ByMatrix(queries, "cpu")
        out = torch.empty((50, 320), dtype=made.result_dtype)
        assert made.fill(x, out) == 0
        got = out[:, :300].float().numpy()
        true = queries.astype(np.float64) @ unit_rows(x.astype(np.float64)).T
        assert (true >= made.bound.below(got)).all()
        query, row = np.divmod(np.arange(50 * 300), 300)
        assert (true.ravel() <= made.bound.above(got[query, row], query)).all()


def test_order_by_hand():
    pairs = Pairs(
        *(np.array(v) for v in ([1, 0, 0, 0, 1], [0, 1, 0, 0, 2], [5, 2, 9, 3, 1], [0] * 5))
    )
    values = np.array([-0.0, 0.5, 0.5, np.nan, 0.0], np.float32)
    best, rank = order(pairs, values, 2)
    assert best.tolist() == [2, 1, 0, 4] and rank.tolist() == [0, 1, 0, 1]
    best, rank = order(pairs, values, 1)
    assert best.tolist() == [2, 0] and rank.tolist() == [0, 0]
    descending = np.array([1, 0.1, 0, -0.1, -1], np.float32)
    one = Pairs(*(np.zeros(5, int) for _ in range(3)), np.zeros(5, int))
    assert order(one, descending[::-1].copy(), 5)[0].tolist() == [4, 3, 2, 1, 0]
    near = np.array([1 - 2e-12, 1 - 1e-12, 1, -1e-300, 1e-300])
    for k in range(1, 6):
        assert order(one, near, k)[0].tolist() == [2, 1, 0, 4, 3][:k]


def near_ties(folder, n, dim, dtype="float32"):
    """A shard of rows that come closer to e0 one by one, and less so than float32 can tell."""
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
    monkeypatch.setattr(choosing, "PENDING", 16)
    monkeypatch.setattr(choosing, "ROWS", 7)
    pd.testing.assert_frame_equal(frame.laion.search(emb, queries[0], 4, columns=[]), first)
    again = ld.Rerank(emb, queries[0], take=63)
    by_other = frame.laion.search(emb, -queries[0], 4, rerank=again, columns=[])
    assert by_other["row"].tolist() == first["row"].tolist()


# -- rows ------------------------------------------------------------------------------------


def directionless(c):
    """The same shards with rows that have no direction; how many."""
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
    lost = directionless(corpus)
    frame, emb = opened(corpus)
    queries = vectors(m, seed=9)
    result = frame.laion.search(emb, queries, 1000, columns=[])
    check(result, corpus.images, queries, 1000)
    rows = ld.Rows(**result.attrs["rows"])
    assert rows == ld.Rows(sum(SIZES), sum(SIZES) - lost, 0, lost, 0)
    assert str(rows) == "96 read = 92 kept + 0 dropped + 4 unscored + 0 rejected"


@pytest.mark.parametrize("how", ["where=", "where", "mask", "sample", "partitions"])
@pytest.mark.parametrize("m", [1, 20])
def test_only_rows_of_the_frame_are_found(small, how, m):
    lost = directionless(small)
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
    assert len(bad) <= lost and rows.kept == len(allowed) - len(bad)
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
    import pyarrow as pa

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


@pytest.mark.parametrize("npartitions", [1, 4])
@pytest.mark.parametrize("k", [1, 5])
@pytest.mark.parametrize("by", ["all", "index"])
def test_a_row_that_is_there_twice_is_refused(small, npartitions, k, by):
    frame, emb = opened(small)
    twice = pd.DataFrame({"hash": small.tables[0]["hash"].to_pylist()[:3] * 2})
    twice = dask.dataframe.from_pandas(twice.astype({"hash": "Int64"}), npartitions=2)
    other = frame.merge(twice, on="hash")
    # In one partition copies are side by side; dealt out, each is in another.
    if npartitions == 1:
        other = other.repartition(npartitions=1)
    else:
        dealt = other.assign(to=other.groupby(["shard", "row"]).cumcount(), by=0)
        other = dealt.shuffle("to", npartitions=npartitions)
    index = Brute(small.images) if by == "index" else None
    with pytest.raises(ProvenanceError, match="multiplied rows"):
        other.laion.search(emb, small.images[0][1], k, columns=["hash"], index=index)


def test_a_frame_of_two_branches_is_refused(small):
    frame, emb = opened(small)
    both = dask.dataframe.concat([frame[frame["row"] > 3], frame[frame["row"] > 5]])
    with pytest.raises(ProvenanceError, match="end to end"):
        both.laion.search(emb, vectors(1, seed=9)[0], 10)


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
    names = {file.path: i for i, file in enumerate(emb.like(frame).files)}
    read, before = set(), EmbeddingFile.read

    def spy(self, rows):
        read.update((names[self.path], int(row)) for row in rows)
        return before(self, rows)

    monkeypatch.setattr(EmbeddingFile, "read", spy)
    frame.laion.search(emb, vectors(3, seed=9), 5, where="language == 'de'")
    assert read == allowed


def test_the_frame_is_not_computed_before(small, no_compute):
    frame, emb = opened(small)
    with pytest.raises(AssertionError, match="should have been lazy"):
        frame.laion.search(emb, vectors(1, seed=9)[0])
    for wrong in ({"k": 0}, {"columns": ["nobody"]}, {"to": "text"}, {"where": "nobody > 1"}):
        with pytest.raises((OptionError, ColumnError)):
            frame.laion.search(emb, vectors(1, seed=9)[0], **wrong)


# -- queries ---------------------------------------------------------------------------------


def test_kinds_of_vectors(small):
    frame, emb = opened(small)
    query = vectors(2, seed=9)
    wanted = frame.laion.search(emb, query, 6)
    for same in (
        query.tolist(),
        tuple(query),
        3 * query.astype(np.float64),
        Vectors(query, small.model),
    ):
        pd.testing.assert_frame_equal(frame.laion.search(emb, same, 6), wanted)
    one = frame.laion.search(emb, query[0], 6)
    pd.testing.assert_frame_equal(one, wanted[wanted["query"] == 0])
    equal = frame.laion.search(emb, query[[0, 0]], 6)
    np.testing.assert_array_equal(equal["row"][:6], equal["row"][6:])


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "float16"])
def test_tensors(small, dtype):
    import torch

    frame, emb = opened(small)
    query = torch.from_numpy(vectors(2, seed=9)).to(getattr(torch, dtype))
    wanted = frame.laion.search(emb, query.double().numpy(), 6)
    for same in (query, query.clone().requires_grad_(), list(query)):
        pd.testing.assert_frame_equal(frame.laion.search(emb, same, 6), wanted)
    similar = frame.laion.similarity(emb, query[0].clone().requires_grad_()).compute()
    at = wanted.loc[0]
    here = similar[(similar["shard"] == at["shard"]) & (similar["row"] == at["row"])]
    assert here["query_similarity"].tolist() == [at["query_similarity"]]
    for wrong in (query > 0, query[:, :7], list(query[:, :7]), query.to_sparse()):
        with pytest.raises(EmbeddingsError, match=r"expected \(8,\) or \(m, 8\)"):
            frame.laion.search(emb, wrong)


def test_a_row_of_the_frame(small):
    frame, emb = opened(small)
    result = frame.laion.search(emb, (2, 4), 3)
    assert (result["shard"][0], result["row"][0], result["query_similarity"][0]) == (2, 4, 1)
    two = frame.laion.search(emb, [(2, 4), (np.int64(0), 7)], 1)
    assert two[["shard", "row"]].to_numpy().tolist() == [[2, 4], [0, 7]]
    with pytest.raises(EmbeddingsError, match="Shard 9"):
        frame.laion.search(emb, (9, 4))


@pytest.fixture
def clip(tmp_path):
    config, weights = make_small_clip(tmp_path)
    c = collection(tmp_path / "data", (30, 20), dim=32)
    model = ld.ClipModel(config, weights)
    return ld.read_shards(c.metadata), ld.open_embeddings(c.img_emb, model=model), c


def test_texts_and_pictures(clip, tmp_path):
    frame, emb, _ = clip
    model = emb.model
    path = tmp_path / "picture.png"
    path.write_bytes(picture(1))

    def same(query, vector, **options):
        wanted = frame.laion.search(emb, vector, 4)
        pd.testing.assert_frame_equal(frame.laion.search(emb, query, 4, **options), wanted)

    same("a red bird", model.text("a red bird"))
    same(["a bird", "a boat"], model.text(["a bird", "a boat"]))
    for image in (picture(1), path, Image.open(path)):
        same(image, model.image(picture(1)))
    same([path, picture(2)], np.stack([model.image(picture(1)), model.image(picture(2))]))
    same(["a bird", path], np.stack([model.text("a bird"), model.image(path)]))


def test_arithmetic(clip, tmp_path):
    frame, emb, c = clip
    text = emb.model.text
    path = tmp_path / "picture.png"
    path.write_bytes(picture(1))
    wanted = frame.laion.search(emb, text("king") - text("man") + 2 * text("woman"), 5)
    mixed = ld.mix({"king": 1, "man": -1, "woman": 2})
    pd.testing.assert_frame_equal(
        frame.laion.search(emb, mixed, 5), wanted, check_exact=False, atol=1e-6
    )
    rating = vectors(1, 32, seed=4)[0]
    frame.laion.search(emb, text("a bird") + 0.3 * rating, 5)
    of_row = ld.mix({(1, 3): 1.0, path: 0.5})
    found = frame.laion.search(emb, [of_row, "a bird"], 5)
    vector = unit_rows(c.images[1][3]) + 0.5 * emb.model.image(path)
    check(found[found["query"] == 0], c.images, [np.asarray(vector)], 5)
    for wrong in ({}, {"a": "b"}, {"a": float("nan")}, {0.5: 1}, {"a": True}, ["a", "b"]):
        with pytest.raises(OptionError):
            ld.mix(wrong)


def test_what_is_refused(small):
    frame, emb = opened(small)
    query = vectors(1, seed=9)[0]
    for k in (0, -1, 2.5, "ten", True, None):
        with pytest.raises(OptionError, match="k is"):
            frame.laion.search(emb, query, k)
    for wrong in (vectors(1, 7)[0], np.zeros((2, 2, 8)), np.array(["a"] * 8)):
        with pytest.raises(EmbeddingsError, match=r"expected \(8,\) or \(m, 8\)"):
            frame.laion.search(emb, wrong)
    with pytest.raises(EmbeddingsError, match=r"Query 1 of 2.*no direction"):
        frame.laion.search(emb, np.stack([query, 0 * query]))
    with pytest.raises(EmbeddingsError, match="no query"):
        frame.laion.search(emb, np.empty((0, 8)))
    other = space(Path(small.metadata).parent, name="other")
    for wrong in (Vectors(query, other), [Vectors(query, other)] * 2):
        with pytest.raises(ModelMismatchError):
            frame.laion.search(emb, wrong)
    with pytest.raises(OptionError, match="more than 50,000,000"):
        frame.laion.search(emb, np.ones((1000, 8)), 60_000)
    for wrong in ("my-index", Path("my-index"), 3, frame, emb):
        with pytest.raises(OptionError, match=r"index is .*what ld.open_index"):
            frame.laion.search(emb, query, index=wrong)
    for wrong in ([[1.0, 2], [3]], [np.zeros((2, 8)), np.zeros((2, 7))]):
        with pytest.raises(EmbeddingsError, match=r"no array.*expected \(8,\) or"):
            frame.laion.search(emb, wrong)
    with pytest.raises(OptionError, match="list of names"):
        frame.laion.search(emb, query, columns="text")
    with pytest.raises(ColumnError, match="Did you mean 'width'"):
        frame.laion.search(emb, query, columns=["widht"])
    with pytest.raises(ProvenanceError):
        frame.drop(columns="row").laion.search(emb, query)
    with pytest.raises(PairingError):
        ld.read_shards(f"{small.metadata}/metadata_0000.parquet").laion.search(emb, query)
    renamed = frame.rename(columns={"text": "query"})
    with pytest.raises(OptionError, match="'query' is a column"):
        renamed.laion.search(emb, query)
    assert len(renamed.laion.search(emb, query, columns=["width"])) == 96
    random = frame.map_partitions(_at_random, meta=frame._meta)
    with pytest.raises(ProvenanceError, match="gave other rows"):
        for _ in range(20):
            random.laion.search(emb, query, 5)


def _at_random(part):
    return part.sample(frac=0.5)


# -- a second embedding ----------------------------------------------------------------------


def test_reorder_by_other_embeddings(small):
    frame, emb = opened(small)
    small.texts[0][:20] = np.nan
    npy(f"{small.text_emb}/text_emb_0.npy", small.texts[0])
    other = ld.open_embeddings(small.text_emb, model=small.model)
    one, two = vectors(4, seed=9), vectors(4, seed=10)
    first = frame.laion.search(emb, one, 16)
    result = frame.laion.search(emb, one, 5, rerank=ld.Rerank(other, two, take=16))
    names = ["query", "rank", "query_similarity", "rerank_similarity", "shard", "row"]
    assert result.columns[:6].tolist() == names
    for number in range(4):
        near = first[first["query"] == number].set_index(["shard", "row"])["query_similarity"]
        values = {(s, r): cosine(small.texts[s][r], two[number]) for s, r in near.index}
        ranked = sorted(values, key=lambda at: (np.isnan(values[at]), -values[at], at))[:5]
        got = result[result["query"] == number]
        assert list(zip(got["shard"], got["row"], strict=True)) == ranked
        assert got["rank"].tolist() == [1, 2, 3, 4, 5]
        np.testing.assert_allclose(
            got["rerank_similarity"], [values[at] for at in ranked], atol=1e-6
        )
        np.testing.assert_array_equal(got["query_similarity"], near.loc[ranked])
    same = frame.laion.search(emb, one, 5, rerank=ld.Rerank(other, two[0]))
    assert len(same) == 20
    with pytest.raises(OptionError, match="to reorder by"):
        frame.laion.search(emb, one, rerank=ld.Rerank(other, two[:2]))
    with pytest.raises(OptionError, match="rerank is"):
        frame.laion.search(emb, one, rerank=other)
    with pytest.raises(OptionError, match="take is"):
        frame.laion.search(emb, one, rerank=ld.Rerank(other, two, take=0))
    with pytest.raises(OptionError, match=r"take is 3, and k is 10.*larger take"):
        frame.laion.search(emb, one, 10, rerank=ld.Rerank(other, two, take=3))


def test_the_exact_picture_among_near_duplicates(demo_folder, tmp_path):
    """Its near duplicate and pictures of the same thing come first by CLIP; pixels find it."""
    truth = pd.read_parquet(demo_folder / "truth.parquet")
    corpus = ld.demo_corpus(demo_folder)
    frame = ld.read_shards(corpus.metadata)
    clip = ld.open_embeddings(corpus.img_emb, model="demo")
    pixels = pixel_embeddings(frame, ld.open_images(corpus.images), tmp_path)
    rows = frame[["key", "shard", "row"]].compute().set_index("key")
    near = truth[truth["near_duplicate_of"].notna() & ~truth["is_broken"]]
    exact = [tuple(rows.loc[key].tolist()) for key in near["key"]]
    # What is known of a picture by its content is only what another one like it shows.
    alike = [tuple(rows.loc[key].tolist()) for key in near["near_duplicate_of"]]
    assert len(exact) >= 10
    first = frame.laion.search(clip, alike, 1, columns=[])
    assert not set(zip(first["shard"], first["row"], strict=True)) & set(exact)
    found = frame.laion.search(
        clip, alike, 1, columns=["key"], rerank=ld.Rerank(pixels, exact, take=16)
    )
    assert found["key"].tolist() == near["key"].tolist()
    assert (found["rerank_similarity"] == 1).all()


def pixel_embeddings(frame, images, folder):
    """Every picture as 16 x 16 grey values around their mean, one file a shard."""
    for shard, part in frame[["key", "shard", "row"]].compute().groupby("shard"):
        grey = [
            np.asarray(Image.open(io.BytesIO(data)).convert("L").resize((16, 16)), np.float32)
            for data in images.read(part.sort_values("row")["key"])
        ]
        x = np.stack(grey).reshape(len(grey), 256)
        npy(folder / f"pixels/img_emb_{shard:04d}.npy", x - x.mean(axis=1, keepdims=True))
    return ld.open_embeddings(folder / "pixels", model=space(folder, 256, "pixels"))


# -- an index --------------------------------------------------------------------------------


class Brute:
    """An index that knows all: what `search` asks of one."""

    def __init__(self, images, miss=()):
        self._rows = [(s, r) for s, x in enumerate(images) for r in range(len(x))]
        self._x = unit_rows(np.concatenate(images).astype(np.float64))
        self._miss, self.of, self.checked = set(miss), [], None

    def check(self, embeddings):
        self.checked = embeddings

    def n_candidates(self, k):
        return 4 * k

    def candidates(self, queries, n):
        assert queries.dtype == np.float32 and self.checked is not None
        np.testing.assert_allclose(np.linalg.norm(queries, axis=1), 1, atol=1e-6)
        self.of.append((n, len(queries)))
        shard = np.full((len(queries), n), -1, np.int32)
        row = np.full((len(queries), n), -1, np.int64)
        for i, scores in enumerate(queries @ self._x.T):
            best = [j for j in np.argsort(-scores) if self._rows[j] not in self._miss][:n]
            at = np.array([self._rows[j] for j in best]).reshape(-1, 2)
            shard[i, : len(at)], row[i, : len(at)] = at[:, 0], at[:, 1]
        return shard, row


@pytest.mark.parametrize("how", ["all", "where=", "mask"])
@pytest.mark.parametrize("k", [1, 7, 96, 200])
def test_by_an_index(small, how, k):
    frame, emb = opened(small)
    queries = vectors(5, seed=9)
    kept = frame[frame["width"].fillna(0) > 1500] if how == "mask" else frame
    options = {"where": "width > 1500"} if how == "where=" else {}
    index = Brute(small.images)
    wanted = kept.laion.search(emb, queries, k, **options)
    got = kept.laion.search(emb, queries, k, index=index, **options)
    assert "rows" in wanted.attrs and "rows" not in got.attrs
    wanted.attrs.clear()
    pd.testing.assert_frame_equal(got, wanted)
    asked = [n for n, _ in index.of]
    assert asked == sorted(set(asked)) and asked[0] == min(4 * k, 96)
    if how == "all":
        assert len(asked) == 1
    short = (got["query"].value_counts() < k).sum()
    assert got.attrs == {"short": short} and (short == 0 or k > 7)


def test_an_index_may_miss_rows_and_propose_directionless_ones(small):
    frame, emb = opened(small)
    query = vectors(1, seed=9)[0]
    best = brute(small.images, query, 3)
    index = Brute(small.images, miss=[best[0][:2]])
    npy(f"{small.img_emb}/img_emb_{best[1][0]}.npy", _zeroed(small.images, best[1]))
    got = frame.laion.search(emb, query, 1, index=index, columns=[])
    assert got[["shard", "row"]].to_numpy().tolist() == [list(best[2][:2])]


@pytest.mark.parametrize("held", [1, 40, 200])
def test_candidates_are_held_for_few_queries_at_a_time(small, held, monkeypatch):
    frame, emb = opened(small)
    queries = vectors(23, seed=9)
    wanted = frame.laion.search(emb, queries, 4, where="width > 1500")
    monkeypatch.setattr(by_index, "_HELD", held)
    index = Brute(small.images)
    got = frame.laion.search(emb, queries, 4, where="width > 1500", index=index)
    wanted.attrs.clear()
    assert got.attrs == {"short": 0}
    pd.testing.assert_frame_equal(got, wanted)
    assert all(n * m <= max(n, held) for n, m in index.of)
    first = sum(m for n, m in index.of if n == 16)
    assert first == 23 > sum(m for n, m in index.of if n == 64) > 0


def test_more_candidates_are_asked_for_up_to_a_bound(small, monkeypatch):
    frame, emb = opened(small)
    monkeypatch.setattr(by_index, "_A_RESULT", 10)
    monkeypatch.setattr(by_index, "_A_QUERY", 30)
    queries = vectors(6, seed=9)
    allowed = frame.laion.where("width > 1900").compute()
    allowed = set(zip(allowed["shard"], allowed["row"], strict=True))
    index = Brute(small.images)
    got = frame.laion.search(emb, queries, 2, where="width > 1900", index=index, columns=[])
    assert {n for n, _ in index.of} == {8, 30}
    short = 0
    for number, query in enumerate(queries):
        proposed = [at[:2] for at in brute(small.images, query, 8)]
        if len(allowed & set(proposed)) < 2:
            proposed = [at[:2] for at in brute(small.images, query, 30)]
        kept = [list(at) for at in proposed if at in allowed][:2]
        of_query = got[got["query"] == number]
        assert of_query[["shard", "row"]].to_numpy().tolist() == kept
        short += len(kept) < 2
    assert got.attrs == {"short": short} and 0 < short < 6
    index = Brute(small.images)
    frame.laion.search(emb, queries, 5, where="width > 1900", index=index, columns=[])
    assert {n for n, _ in index.of} == {20, 50}
    nothing = frame.laion.search(emb, queries, 5, where="width > 10000", index=index)
    assert len(nothing) == 0 and nothing.attrs == {"short": 6}


def test_the_short_are_counted_after_reordering(small):
    frame, emb = opened(small)
    query = vectors(3, seed=9)
    left = frame[(frame["shard"] == 0) & (frame["row"] < 5)]
    for k, short in ((5, 0), (6, 3)):
        rerank = ld.Rerank(emb, query, take=9)
        found = left.laion.search(emb, query, k, index=Brute(small.images), rerank=rerank)
        assert len(found) == 15 and found.attrs == {"short": short}


def _zeroed(images, at):
    x = images[at[0]].copy()
    x[at[1]] = 0
    return x


def test_an_index_of_other_embeddings_is_refused(small):
    frame, emb = opened(small)

    class Other(Brute):
        def check(self, embeddings):
            raise PairingError("other embeddings")

    with pytest.raises(PairingError):
        frame.laion.search(emb, vectors(1, seed=9)[0], index=Other(small.images))


def test_rows_that_repeat_do_not_pile_up(tmp_path):
    """Every row is the same picture: no more than a few times k pairs are ever kept."""
    from laion_dask.kernels.choose import choose
    from laion_dask.kernels.search import merge

    rng = np.random.default_rng(0)
    one = rng.normal(size=32)
    np.save(tmp_path / "x_0.npy", np.tile(one / np.linalg.norm(one), (40_000, 1)).astype("f2"))
    config, weights = make_small_clip(tmp_path)
    embeddings = ld.open_embeddings(tmp_path / "x_0.npy", model=ld.ClipModel(config, weights))
    vectors = rng.normal(size=(8, 32)).astype("f4")
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    spans = [(0, at, at + 5_000) for at in range(0, 40_000, 5_000)]
    chosen = [choose(span, i, embeddings, vectors, 10) for i, span in enumerate(spans)]
    together = merge(chosen, embeddings, vectors)
    assert max(len(c.pairs) for c in (*chosen, together)) <= 8 * 10 * 8 + 2048
    for query in range(8):
        rows = np.sort(together.pairs.row[together.pairs.query == query])
        assert rows[:10].tolist() == list(range(10))


def test_a_copy_of_the_last_row_stays_among_rows_that_repeat(tmp_path):
    n = 2100
    c = collection(tmp_path, (n,))
    npy(f"{c.img_emb}/img_emb_0.npy", np.ones((n, 8), "float32"))
    emb = ld.open_embeddings(c.img_emb, model=c.model)
    row = np.concatenate([np.arange(n), [0]])
    part = (np.arange(n + 1) == n).astype(np.int32)
    pairs = Pairs(np.zeros(n + 1, np.int32), np.zeros(n + 1, np.int32), row, part)
    kept = settled(pairs, emb, unit_rows(np.ones((1, 8), "float32")), 1)
    assert pairs.row[kept].tolist() == [0, 0] and sorted(part[kept].tolist()) == [0, 1]
