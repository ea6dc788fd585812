"""Search on the GPU code path, with tensors in main memory: the same answers in any memory."""

import threading
from functools import partial
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from support.embeddings import pair
from support.failing_memory import Full
from support.searches import check, opened, unit_rows
from support.shards import collection, npy, vectors

import laion_dask as ld
from laion_dask import backend
from laion_dask.errors import DeviceMemoryError
from laion_dask.numerics.dot_products import scales
from laion_dask.numerics.gpu import fused as one_pass
from laion_dask.numerics.gpu import memory, row_cache, transfer
from laion_dask.numerics.gpu.row_cache import PAD, DeviceRows, RowCache, rows_on_device
from laion_dask.retrieval.exact import bounded_cosines, bounded_cosines_gpu, candidates_gpu
from laion_dask.retrieval.exact import candidates as choosing
from laion_dask.retrieval.exact import top_k as kernel
from laion_dask.retrieval.exact.shared_state import SearchState


def product(vectors, rows):
    """`bounded_cosines_gpu.gemm` in full float32."""
    return vectors.float() @ rows.float().T


@pytest.fixture(autouse=True, params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def gpu(request, monkeypatch):
    """Route searches through the GPU path; controls the memory and records what was read."""
    if request.param == "cuda" and not backend.gpu_count():
        pytest.skip("no CUDA device that torch can use is on this machine")
    here = SimpleNamespace(device=request.param, available=1 << 30, read=0, runs=None)
    here.runs = RowCache(lambda device, held: here.available)
    monkeypatch.setattr(row_cache, "cached_rows", here.runs)
    monkeypatch.setattr(choosing, "gpu_count", lambda: 1)
    monkeypatch.setattr(
        choosing,
        "select_candidates_on",
        lambda device, *args: candidates_gpu.select_candidates_on(here.device, *args),
    )
    if here.device == "cpu":
        monkeypatch.setattr(bounded_cosines_gpu, "gemm", product)
    bring = row_cache.prefetch_to_device

    def counted(embeddings, blocks, device):
        for block, x in bring(embeddings, blocks, device):
            here.read += len(x)
            yield block, x

    monkeypatch.setattr(row_cache, "prefetch_to_device", counted)
    monkeypatch.setattr(memory, "_releasers", [here.runs.clear])
    return here


@pytest.mark.parametrize("m", [1, 4, 5, 40])
@pytest.mark.parametrize("k", [1, 10, 96])
def test_against_a_loop(corpus, m, k, gpu):
    frame, emb = opened(corpus)
    queries = vectors(m, seed=9)
    for _ in range(2):
        check(frame.laion.search(emb, queries, k, columns=[]), corpus.images, unit_rows(queries), k)
    assert gpu.read == 96 and len(gpu.runs) == 3


@pytest.mark.parametrize("m", [2, 30])
def test_with_a_filter(corpus, m, gpu):
    frame, emb = opened(corpus)
    queries = vectors(m, seed=9)
    allowed = {(s, r) for s, x in enumerate(corpus.images) for r in range(len(x)) if r % 3}
    for kept in (frame[frame["row"] % 3 != 0], frame.shuffle("row", npartitions=3)):
        kept = kept[kept["row"] % 3 != 0]
        for _ in range(2):
            result = kept.laion.search(emb, queries, 5, columns=[])
            check(result, corpus.images, unit_rows(queries), 5, allowed)
    assert gpu.read == 2 * len(allowed)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("m", [3, 20])
def test_rows_without_direction_and_of_any_length(tmp_path, dtype, m):
    c = collection(tmp_path, (300, 200), 16, dtype)
    for i, x in enumerate(c.images):
        most = 1e3 if dtype == "float16" else 1e37
        x *= np.geomspace(1 / most, most, len(x))[:, None].astype(dtype)
        x[3], x[5, 2], x[7, 1] = 0, np.nan, np.inf
        x[9] = np.finfo(dtype).smallest_subnormal
        npy(f"{c.img_emb}/img_emb_{i}.npy", x)
    frame, emb = opened(c)
    queries = vectors(m, 16, seed=3)
    result = frame.laion.search(emb, queries, 500, columns=[])
    check(result, c.images, unit_rows(queries), 500)
    rows = result.attrs["rows"]
    assert (rows["kept"], rows["unscored"]) == (494, 6)


@pytest.mark.parametrize("m", [2, 30])
def test_nothing_of_how_it_is_computed_changes_the_answer(corpus, m, gpu, monkeypatch):
    frame, emb = opened(corpus)
    queries = vectors(m, seed=5)
    wanted = frame.laion.search(emb, queries, 20)

    def same():
        pd.testing.assert_frame_equal(frame.laion.search(emb, queries, 20), wanted)

    same()
    monkeypatch.setattr(candidates_gpu, "MIN_BLOCK_ROWS", 5)
    smaller = {
        "MAX_ROWS": 7,
        "MAX_COSINES": 1,
        "QUERIES_PER_BATCH": 3,
        "GROUP": 4,
        "MAX_MEMBERS": 8,
    }
    for name, value in smaller.items():
        with monkeypatch.context() as patch:
            patch.setattr(candidates_gpu, name, value)
            same()
    monkeypatch.setattr(row_cache, "MIN_BLOCK_ROWS", 7)
    monkeypatch.setattr(row_cache, "_BLOCK", 1)
    same()
    gpu.runs.clear()
    same()
    gpu.available = 0  # so nothing is cached
    gpu.runs.clear()
    same()
    assert len(gpu.runs) == 0
    monkeypatch.setattr(bounded_cosines, "GEMV_MAX_QUERIES", 0)
    same()


def same(a, b):
    for name in ("query", "shard", "row"):
        np.testing.assert_array_equal(getattr(a.pairs, name), getattr(b.pairs, name))
    np.testing.assert_array_equal(a.cosine, b.cosine)


@pytest.mark.parametrize("m", [1, 30])
@pytest.mark.parametrize("room", [100, 30_000, 50_000])
def test_where_memory_is_short_the_answer_is_the_same(tmp_path, m, room, gpu, monkeypatch):
    floors = (
        (candidates_gpu, "MIN_BLOCK_ROWS"),
        (transfer, "MIN_BLOCK_ROWS"),
        (row_cache, "MIN_BLOCK_ROWS"),
        (one_pass, "_LEAST_ROWS"),
    )
    for module, name in floors:
        monkeypatch.setattr(module, name, 16)
    c = collection(tmp_path, (500, 300), 32, "float16")
    _, emb = opened(c)
    queries = unit_rows(vectors(m, 32, seed=1)).astype(np.float32)
    parts = [((0, 0, 500),), ((1, 0, 300),)]

    def found():
        made = [
            choosing.select_candidates(part, i, emb, queries, 3) for i, part in enumerate(parts)
        ]
        made = kernel.merge(made, emb, queries)
        assert (made.searched, made.unscored) == (800, 0)
        return kernel.best_of_queries((0, m), 0, made, emb, queries, 3, SearchState())

    wanted = found()
    gpu.runs.clear()
    with Full(room) as full:
        if room < 1000:
            with pytest.raises(DeviceMemoryError, match="Memory does not hold"):
                found()
        else:
            same(found(), wanted)
    assert full.failures
    same(found(), wanted)  # the next search succeeds


def test_rows_that_repeat_do_not_pile_up(tmp_path, monkeypatch):
    monkeypatch.setattr(candidates_gpu, "MAX_MEMBERS", 1 << 12)
    monkeypatch.setattr(candidates_gpu, "MAX_ROWS", 1 << 10)
    c = collection(tmp_path, (20_000,), 32)
    npy(f"{c.img_emb}/img_emb_0.npy", np.ones((20_000, 32), "float16"))
    _, emb = opened(c)
    queries = unit_rows(vectors(8, 32)).astype(np.float32)
    made = choosing.select_candidates(((0, 0, 20_000),), 0, emb, queries, 10)
    assert len(made.pairs) <= 8 * 10 * 8 + 2048
    for query in range(8):
        rows = np.sort(made.pairs.row[made.pairs.query == query])
        assert rows[:10].tolist() == list(range(10))


@pytest.mark.parametrize("way", ["few", "many"])
@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("dim", [2, 64, 768])
def test_rough_cosines_keep_their_bound(way, dtype, dim, gpu):
    draw = np.random.default_rng(dim)
    m = 3 if way == "few" else 50
    queries = unit_rows(draw.normal(size=(m, dim))).astype(np.float32)
    several = (1e-30, 1.0, 1e37) if dtype == "float32" else (1e-2, 1.0, 1e3)
    for scale in several:
        x = (scale * draw.normal(size=(300, dim))).astype(dtype)
        x[:m] = queries * scale
        if scale == 1:
            x = unit_rows(x.astype(np.float64)).astype(dtype)
        x[77] = 0
        run = DeviceRows(300, dim, gpu.device)
        run.put(0, torch.from_numpy(x[:100]).to(gpu.device))
        run.put(100, torch.from_numpy(x[100:]).to(gpu.device))
        made = bounded_cosines_gpu.GpuBoundedCosines(queries, dtype, gpu.device)
        for start, stop in ((0, 300), (64, 200), (250, 300)):
            out = made.scores(run, start, stop, 300 - start).cpu().numpy()
            assert np.isneginf(out[:, stop - start :]).all()
            here = np.arange(start, stop) != 77
            got = out[:, : stop - start]
            assert np.isneginf(got[:, ~here]).all()
            got = np.ascontiguousarray(got[:, here])
            true = queries.astype(np.float64) @ unit_rows(x[start:stop][here].astype(float)).T
            assert (true >= made.bound.lower(got)).all()
            query, row = np.divmod(np.arange(got.size), got.shape[1])
            assert (true.ravel() <= made.bound.upper(got[query, row], query)).all()
        assert run.n_without_direction(0, 300) == 1 and run.n_without_direction(78, 300) == 0


def test_lengths_are_those_of_the_processor(gpu):
    x = vectors(400, 24, "float16", 3)
    x[::2] = unit_rows(x[::2].astype(float))
    for rows, near in ((x, False), (x[::2], True)):
        run = DeviceRows(len(rows), 24, gpu.device)
        run.put(0, torch.from_numpy(rows.copy()).to(gpu.device))
        ones = torch.ones((1, len(rows)), device=gpu.device)
        run.to_cosines(ones, 0, len(rows))
        wanted = np.ones(len(rows)) if near else scales(rows)
        np.testing.assert_allclose(ones[0].cpu(), wanted, rtol=1e-6)


def test_what_does_not_fit_is_streamed_and_what_was_used_last_stays(tmp_path, gpu):
    c = collection(tmp_path, (100, 100, 100, 100), 8, "float16")
    _, emb = opened(c)
    size = DeviceRows.bytes_of(100, 8)
    gpu.available = 4 * size  # of which at most half may be used
    kept = lambda: sorted(key[0][1].path[-5] for key in gpu.runs._runs)  # noqa: E731

    def use(shard, search):
        before = gpu.read
        for *_, rows in rows_on_device(emb, shard, range(100), gpu.device, search):
            assert len(rows)
        return gpu.read - before

    assert [use(shard, "a") for shard in range(4)] == [100] * 4 and kept() == ["0", "1"]
    assert [use(shard, "b") for shard in range(4)] == [0, 0, 100, 100] and kept() == ["0", "1"]
    assert use(3, "c") == 100 and kept() == ["1", "3"]
    assert use(1, "d") == 0 and use(2, "e") == 100 and kept() == ["1", "2"]
    npy(f"{c.img_emb}/img_emb_1.npy", np.ones((100, 8), "float16"))
    assert use(1, "f") == 100  # the file has changed
    memory.release()
    assert kept() == []


def test_runs_of_rows_in_any_form_are_the_same(small, gpu):
    _, emb = opened(small)
    for rows in (range(4, 20), np.arange(4, 20), np.arange(4, 20, dtype=np.int32)):
        for run, start, stop, here in rows_on_device(emb, 0, rows, gpu.device, "a"):
            got = run.rows[start:stop].float().cpu().numpy()
            wanted = unit_rows(small.images[0][np.asarray(here)])
            np.testing.assert_allclose(got, wanted, atol=1e-3)
    assert gpu.read == 16
    list(rows_on_device(emb, 0, np.array([24, 25, 27]), gpu.device, "a"))
    list(rows_on_device(emb, 0, np.array([24, 26, 27]), gpu.device, "a"))
    list(rows_on_device(emb, 0, np.array([24, 25, 27]), gpu.device, "b"))
    assert gpu.read == 22
    assert len(gpu.runs) == 3
    list(rows_on_device(emb, 0, np.array([9, 12]), gpu.device, "b"))
    assert gpu.read == 22  # a subset of the first rows
    assert run.rows.shape == (16 + PAD, 8)


def test_many_tasks_at_once(small):
    frame, emb = opened(small)
    queries = unit_rows(vectors(9, seed=4)).astype(np.float32)
    emb = pair(emb, frame)
    parts = [((0, at, at + 5),) for at in range(0, 40, 5)]
    state, found = SearchState(), {}

    def work(number):
        found[number] = choosing.select_candidates(parts[number], number, emb, queries, 3, state)

    threads = [threading.Thread(target=partial(work, i)) for i in range(len(parts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(f.searched for f in found.values()) == 40


@pytest.mark.parametrize("m", [2, 30])
def test_what_is_there_is_not_brought_again(corpus, m, gpu, monkeypatch):
    frame, emb = opened(corpus)
    queries = vectors(m, seed=9)
    frame.laion.search(emb, queries, 5, columns=[])
    assert gpu.read == 96
    monkeypatch.setattr(row_cache, "MIN_BLOCK_ROWS", 7)
    monkeypatch.setattr(row_cache, "_BLOCK", 1)
    cut = ld.read_shards(corpus.metadata, max_rows_per_partition=10)
    for subset in (cut, cut[cut["row"] % 3 != 0], frame[frame["row"] > 11]):
        allowed = {*subset[["shard", "row"]].compute().itertuples(index=False, name=None)}
        result = subset.laion.search(emb, queries, 5, columns=[])
        check(result, corpus.images, unit_rows(queries), 5, allowed)
    assert gpu.read == 96 and len(gpu.runs) == 3


def test_threads_end_when_a_search_fails(small, monkeypatch):
    _, emb = opened(small)
    queries = unit_rows(vectors(9, seed=4)).astype(np.float32)
    before = set(threading.enumerate())

    def fails(*args):
        raise ZeroDivisionError

    monkeypatch.setattr(candidates_gpu.GpuQueryBatch, "add", fails)
    with pytest.raises(ZeroDivisionError):
        choosing.select_candidates(((0, 0, 40),), 0, emb, queries, 3)
    assert set(threading.enumerate()) <= before and len(row_cache.cached_rows) == 0
