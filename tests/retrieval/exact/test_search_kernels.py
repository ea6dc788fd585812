"""The steps of a search: bounds, candidate selection, exact scores and order."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import distributed
import numpy as np
import pandas as pd
import pytest
from support.embeddings import pair
from support.searches import opened, unit_rows
from support.shards import collection, npy, vectors
from support.small_clip import make_small_clip

import laion_dask as ld
from laion_dask.frame.provenance import Provenance
from laion_dask.numerics.dot_products import NEAR, are_near_one, scales
from laion_dask.retrieval import fetch
from laion_dask.retrieval.exact import bounded_cosines
from laion_dask.retrieval.exact import candidates as choosing
from laion_dask.retrieval.exact import top_k as kernel
from laion_dask.retrieval.exact.pairs import Pairs
from laion_dask.retrieval.exact.shared_state import SearchState
from laion_dask.retrieval.exact.top_k import order, pairs_to_keep
from laion_dask.runtime import graph


@pytest.mark.parametrize("relative", [0.0, 2.0**-8])
def test_the_cut_keeps_every_row_that_can_be_among_the_best(relative):
    bound = bounded_cosines.ErrorBound(relative, np.array([0.01]))
    for kth in np.linspace(-1, 1, 81, dtype=np.float32):
        cut = bound.threshold(np.array([kth]))[0]
        low = kth - relative * abs(kth) - 0.01
        assert cut + relative * abs(cut) + 0.01 <= low + 1e-6
        assert cut <= kth and cut > kth - 0.03
        assert bound.lower(np.array([[kth]]))[0, 0] <= low + 1e-7
        assert bound.upper(np.array([kth]), np.array([0]))[0] >= kth + 0.01
        reach = bound.threshold_of(np.array([kth]))[0]
        assert kth - 0.03 < reach and reach + relative * abs(reach) + 0.01 <= kth + 1e-6
    for of in (bound.threshold, bound.threshold_of):
        assert of(np.array([-np.inf], np.float32))[0] == -np.inf


@pytest.mark.parametrize("narrow", ["bfloat16", "float32"])
@pytest.mark.parametrize("least", [-np.inf, 0.0, 0.3])
def test_the_greatest_of_groups(narrow, least, monkeypatch):
    import torch

    monkeypatch.setattr(bounded_cosines, "narrow_dtype", lambda: getattr(torch, narrow))
    made = bounded_cosines.GemmCosines(unit_rows(vectors(5, 8)).astype("float32"))
    draw = torch.Generator().manual_seed(0)
    for group in (1, 2, 8):
        lines = torch.rand(5, group, 40, generator=draw).to(made.dtype) * 2 - 1
        lines[0], lines[1, :, :20], lines[2, 0] = -0.5, 0, -np.inf
        lines[3, :, 1] = -np.inf
        wanted = lines.float().numpy().max(axis=1)
        got = made.group_max(lines, least)
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
    state = SearchState()
    with state.scratch() as a, state.scratch() as b:
        assert a is not b
        a.block = "rows"
        first = a.array("scores", 10)
        assert np.shares_memory(first, a.array("scores", 6)) and len(a.array("scores", 6)) == 6
        assert not np.shares_memory(first, a.array("others", 6))
    with state.scratch() as again:
        assert again in (a, b) and again.block is None
    with pickle.loads(pickle.dumps(state)).scratch() as other:
        assert other not in (a, b)


def test_searches_that_run_at_once_share_nothing(small):
    assert graph.share(SearchState()).key != graph.share(SearchState()).key
    frame, emb = opened(small)
    queries = [vectors(9, seed=seed) for seed in range(6)]
    wanted = [frame.laion.search(emb, q, 3, columns=[]) for q in queries]
    with (
        distributed.LocalCluster(1, processes=False, dashboard_address="127.0.0.1:0") as cluster,
        distributed.Client(cluster) as client,
        ThreadPoolExecutor(6) as pool,
    ):

        def search(query):
            with client.as_current():
                return frame.laion.search(emb, query, 3, columns=[])

        for got, expected in zip(pool.map(search, queries), wanted, strict=True):
            pd.testing.assert_frame_equal(got, expected)


def test_what_is_known_of_the_kth_best_counts_a_partition_once():
    state = SearchState()
    assert np.isneginf(state.floor(2)).all()
    lower = np.array([[0.3, 0.1], [-np.inf, 0.5]], np.float32)
    for _ in range(3):
        state.add_bounds(0, lower)
        assert state.floor(2).tolist() == lower.min(axis=1).tolist()
    state.add_bounds(1, np.array([[0.2, 0.0], [0.4, 0.6]], np.float32))
    np.testing.assert_array_equal(state.floor(2), np.float32([0.2, 0.5]))
    assert np.isneginf(pickle.loads(pickle.dumps(state)).floor(2)).all()


def test_partitions_that_run_together_exchange_what_they_know():
    state = SearchState()
    lower = np.array([[0.3, 0.1], [-np.inf, 0.5]], np.float32)
    for _ in range(2):  # the bounds of a partition count once
        assert state.exchange(0, 0, lower).tolist() == lower.min(axis=1).tolist()
    other = np.array([[0.2, 0.0], [0.4, 0.6]], np.float32)
    np.testing.assert_array_equal(state.exchange(1, 0, other), np.float32([0.2, 0.5]))
    assert np.isneginf(state.exchange(1, 1024, other[:, :1] * -np.inf)).all()  # other queries
    state.add_bounds(0, lower)
    np.testing.assert_array_equal(state.exchange(1, 0, other), np.float32([0.2, 0.5]))
    # A finished partition that runs again learns nothing from its own bounds.
    np.testing.assert_array_equal(state.exchange(0, 0, lower), lower.min(axis=1))


@pytest.mark.parametrize("m", [1, 30])
def test_a_task_that_runs_again_changes_nothing(small, m):
    frame, emb = opened(small)
    emb = pair(emb, frame)
    queries = unit_rows(vectors(m, seed=5)).astype("float32")
    parts = fetch.parts(Provenance.of(frame))
    state = SearchState()
    once = [choosing.select_candidates(part, i, emb, queries, 9) for i, part in enumerate(parts)]
    again = [
        choosing.select_candidates(part, i, emb, queries, 9, state)
        for _ in range(3)
        for i, part in enumerate(parts)
    ]
    wanted = kernel.best_of_queries(
        (0, m), 0, kernel.merge(once, emb, queries), emb, queries, 9, SearchState()
    )
    for at in (slice(0, len(parts)), slice(-len(parts), None)):
        several = again[at]
        assert sum(len(c.pairs) for c in several) <= sum(len(c.pairs) for c in once)
        found = kernel.best_of_queries(
            (0, m), 0, kernel.merge(several, emb, queries), emb, queries, 9, SearchState()
        )
        np.testing.assert_array_equal(found.cosine, wanted.cosine)
        np.testing.assert_array_equal(found.pairs.row, wanted.pairs.row)
        assert (found.searched, found.unscored) == (wanted.searched, wanted.unscored)


@pytest.mark.parametrize("narrow", ["bfloat16", "float32", "float16"])
@pytest.mark.parametrize("dim", [2, 64, 768])
def test_rough_cosines_of_many_keep_their_bound(narrow, dim, monkeypatch):
    import torch

    monkeypatch.setattr(bounded_cosines, "narrow_dtype", lambda: getattr(torch, narrow))
    draw = np.random.default_rng(dim)
    queries = unit_rows(draw.normal(size=(50, dim))).astype(np.float32)
    for scale in (1e-30, 1e-3, 1.0, 1e37):
        x = (scale * draw.normal(size=(300, dim))).astype(np.float32)
        x[:50] = queries * np.float32(scale)
        made = bounded_cosines.GemmCosines(queries)
        out = torch.empty((50, 320), dtype=made.dtype)
        made.compute(x, scales(x), out)
        got = out[:, :300].float().numpy()
        true = queries.astype(np.float64) @ unit_rows(x.astype(np.float64)).T
        assert (true >= made.bound.lower(got)).all()
        query, row = np.divmod(np.arange(50 * 300), 300)
        assert (true.ravel() <= made.bound.upper(got[query, row], query)).all()


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("dim", [2, 64, 768])
def test_rough_cosines_of_few_keep_their_bound(dtype, dim):
    queries = unit_rows(np.random.default_rng(dim).normal(size=(3, dim))).astype(np.float32)
    several = (1e-30, 1.0, 1e37) if dtype == "float32" else (1e-2, 1.0, 1e3)
    for scale in several:
        x = (scale * np.random.default_rng(1).normal(size=(300, dim))).astype(dtype)
        x[:3], x[7] = queries * scale, 0
        made = bounded_cosines.GemvCosines(queries, dtype)
        out = made.allocate(320)
        made.compute(x, scales(x), out)
        good = np.arange(300) != 7
        got, true = out[:, :300], queries.astype(np.float64) @ unit_rows(x[good].astype(float)).T
        assert np.isneginf(got[:, 7]).all()
        got = got[:, good]
        assert (true >= made.bound.lower(got)).all()
        query, row = np.divmod(np.arange(3 * 299), 299)
        assert (true.ravel() <= made.bound.upper(got[query, row], query)).all()


@pytest.mark.parametrize("way", ["few", "many"])
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_rough_cosines_of_rows_that_are_nearly_of_length_one_keep_their_bound(way, dtype):
    queries = unit_rows(np.random.default_rng(0).normal(size=(3, 768))).astype(np.float32)
    x = np.concatenate([queries, unit_rows(np.random.default_rng(1).normal(size=(297, 768)))])
    x = (x * np.linspace(1 - 0.5 * NEAR, 1 + 0.5 * NEAR, 300)[:, None]).astype(dtype)
    assert are_near_one(scales(x))
    made = (
        bounded_cosines.GemvCosines(queries, dtype)
        if way == "few"
        else bounded_cosines.GemmCosines(queries)
    )
    out = made.allocate(300)
    made.compute(x, None, out)
    got = np.asarray(out) if way == "few" else out.float().numpy()
    true = queries.astype(np.float64) @ unit_rows(x.astype(np.float64)).T
    assert (true >= made.bound.lower(got)).all()
    query, row = np.divmod(np.arange(3 * 300), 300)
    assert (true.ravel() <= made.bound.upper(got[query, row], query)).all()


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


def test_rows_that_repeat_do_not_pile_up(tmp_path):
    """Every row is the same image; never more than a few times k pairs are kept."""
    from laion_dask.retrieval.exact.candidates import select_candidates
    from laion_dask.retrieval.exact.top_k import merge

    rng = np.random.default_rng(0)
    one = rng.normal(size=32)
    np.save(tmp_path / "x_0.npy", np.tile(one / np.linalg.norm(one), (40_000, 1)).astype("f2"))
    config, weights = make_small_clip(tmp_path)
    embeddings = ld.open_embeddings(tmp_path / "x_0.npy", model=ld.ClipModel(config, weights))
    vectors = rng.normal(size=(8, 32)).astype("f4")
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    spans = [((0, at, at + 5_000),) for at in range(0, 40_000, 5_000)]
    chosen = [select_candidates(span, i, embeddings, vectors, 10) for i, span in enumerate(spans)]
    state = merge(chosen, embeddings, vectors)
    assert max(len(c.pairs) for c in (*chosen, state)) <= 8 * 10 * 8 + 2048
    for query in range(8):
        rows = np.sort(state.pairs.row[state.pairs.query == query])
        assert rows[:10].tolist() == list(range(10))


def test_a_copy_of_the_last_row_stays_among_rows_that_repeat(tmp_path):
    n = 2100
    c = collection(tmp_path, (n,))
    npy(f"{c.img_emb}/img_emb_0.npy", np.ones((n, 8), "float32"))
    emb = ld.open_embeddings(c.img_emb, model=c.model)
    row = np.concatenate([np.arange(n), [0]])
    part = (np.arange(n + 1) == n).astype(np.int32)
    pairs = Pairs(np.zeros(n + 1, np.int32), np.zeros(n + 1, np.int32), row, part)
    kept = pairs_to_keep(pairs, emb, unit_rows(np.ones((1, 8), "float32")), 1)
    assert pairs.row[kept].tolist() == [0, 0] and sorted(part[kept].tolist()) == [0, 1]
