"""Reading rows of embeddings: in any order, by ranges, from memory maps, of changed files."""

import os
import pickle
import resource

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from support.embeddings import parquet_column
from support.shards import collection, npy, vectors

import laion_dask as ld
from laion_dask.errors import EmbeddingsError
from laion_dask.io.embeddings import file as embedding_file
from laion_dask.io.embeddings import mmap_cache, stored_rows


def test_memory_reads_ranges_only(memory, model, monkeypatch):
    x = vectors(50_000, seed=4)
    with fsspec.open(f"{memory}/e_0.npy", "wb") as file:
        np.save(file, x)
    opened = ld.open_embeddings(f"{memory}/e_0.npy", model=model)
    fetched = []
    cat_ranges = MemoryFileSystem.cat_ranges

    def spy(self, paths, starts, ends, **kwargs):
        fetched.extend(zip(starts, ends, strict=True))
        return cat_ranges(self, paths, starts, ends, **kwargs)

    def whole(*args, **kwargs):
        raise AssertionError("the whole file was opened")

    monkeypatch.setattr(MemoryFileSystem, "cat_ranges", spy)
    monkeypatch.setattr(MemoryFileSystem, "open", whole)
    rows = [49_999, 3, 20_000, 4, 3]
    np.testing.assert_array_equal(opened.read(0, rows), x[rows])
    assert sum(stop - start for start, stop in fetched) == (1 + 1 + 2) * 8 * 4
    assert len(fetched) == 3


def test_memory_runs_are_bounded(memory, model, monkeypatch):
    x = vectors(3000, seed=4)
    with fsspec.open(f"{memory}/e_0.npy", "wb") as file:
        np.save(file, x)
    opened = ld.open_embeddings(f"{memory}/e_0.npy", model=model)
    monkeypatch.setattr(stored_rows, "_RUN", 1000)
    monkeypatch.setattr(stored_rows, "_GAP", 100)
    lengths = []
    cat_ranges = MemoryFileSystem.cat_ranges

    def spy(self, paths, starts, ends, **kwargs):
        lengths.extend(e - s for s, e in zip(starts, ends, strict=True))
        return cat_ranges(self, paths, starts, ends, **kwargs)

    monkeypatch.setattr(MemoryFileSystem, "cat_ranges", spy)
    rows = np.random.default_rng(1).permutation(3000)[:1500]
    np.testing.assert_array_equal(opened.read(0, rows), x[rows])
    assert max(lengths) <= 1000


def test_memory_file_that_went_away(memory, model):
    with fsspec.open(f"{memory}/e_0.npy", "wb") as file:
        np.save(file, vectors(9))
    emb = ld.open_embeddings(f"{memory}/e_0.npy", model=model)
    fs = fsspec.filesystem("memory")
    short = fs.cat_file("/test_embeddings/e_0.npy")[:200]
    fs.pipe_file("/test_embeddings/e_0.npy", short)
    with pytest.raises(EmbeddingsError, match="can no longer be read"):
        emb.read(0, [8])
    fs.rm("/test_embeddings/e_0.npy")
    with pytest.raises(EmbeddingsError, match="can no longer be read"):
        emb.read(0, [8])


@pytest.fixture
def all_mapped(monkeypatch):
    """Small files are mapped too."""
    monkeypatch.setattr(mmap_cache, "_SMALL", 0)


def test_small_files_are_read_without_a_map(tmp_path, model, monkeypatch):
    x = vectors(30)
    emb = ld.open_embeddings(npy(tmp_path / "e_0.npy", x), model=model)
    monkeypatch.setattr(np, "memmap", lambda *a, **k: pytest.fail("a small file was mapped"))
    np.testing.assert_array_equal(emb.read(0, [4, 2]), x[[4, 2]])
    np.testing.assert_array_equal(emb.read(0, range(5, 20)), x[5:20])
    npy(tmp_path / "new.npy", x.reshape(15, -1))  # as large, but of another shape
    os.replace(tmp_path / "new.npy", tmp_path / "e_0.npy")
    with pytest.raises(EmbeddingsError, match="now"):
        emb.read(0, [4, 2])


def test_more_files_than_may_be_open(tmp_path, model, all_mapped):
    paths = [npy(tmp_path / f"e_{i:03d}.npy", vectors(3, seed=i)) for i in range(400)]
    emb = ld.open_embeddings(paths, model=model)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    n_open = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 100
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, n_open + 120), hard))
    try:
        for i in range(400):
            np.testing.assert_array_equal(emb.read(i, [1]), vectors(3, seed=i)[[1]])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_local_files_are_mapped(tmp_path, model, monkeypatch, all_mapped):
    x = vectors(30)
    emb = ld.open_embeddings(npy(tmp_path / "e_0.npy", x), model=model)
    mapped = []
    memmap = np.memmap
    monkeypatch.setattr(np, "memmap", lambda *a, **k: mapped.append(a[0]) or memmap(*a, **k))
    monkeypatch.setattr(np, "load", lambda *a, **k: pytest.fail("the whole file was loaded"))
    np.testing.assert_array_equal(emb.read(0, [4, 2]), x[[4, 2]])
    np.testing.assert_array_equal(emb.read(0, range(5, 20)), x[5:20])
    assert mapped == [str(tmp_path / "e_0.npy")]
    npy(tmp_path / "new.npy", -x)
    os.replace(tmp_path / "new.npy", tmp_path / "e_0.npy")
    np.testing.assert_array_equal(emb.read(0, [4, 2]), -x[[4, 2]])


def test_few_maps_are_kept(tmp_path, model, monkeypatch, all_mapped):
    x = [vectors(30, seed=i) for i in range(5)]
    for i, array in enumerate(x):
        npy(tmp_path / f"e_{i}.npy", array)
    emb = ld.open_embeddings(tmp_path, model=model)
    kept = mmap_cache.MmapCache(2 * x[0].nbytes + 1)
    monkeypatch.setattr(embedding_file, "mapped_files", kept)
    for shard in (0, 1, 0, 2, 4, 3, 3):
        np.testing.assert_array_equal(emb.read(shard, [7, 1]), x[shard][[7, 1]])
        assert len(kept._maps) <= 2
    assert [file.path[-5] for file, _ in kept._maps] == ["4", "3"]
    before = emb.read(3, [7, 1])
    kept.clear()
    assert not kept._maps
    np.testing.assert_array_equal(emb.read(3, [7, 1]), before)
    monkeypatch.setattr(embedding_file, "mapped_files", mmap_cache.MmapCache(0))
    np.testing.assert_array_equal(emb.read(2, range(30)), x[2])


def test_lengths_of_mapped_rows_are_computed_once(tmp_path, model, monkeypatch, all_mapped):
    x = vectors(30)
    x[4], x[5, 2], x[6, 1] = 0, np.nan, np.inf
    emb = ld.open_embeddings(npy(tmp_path / "e_0.npy", x), model=model)
    computed, before = [], mmap_cache.scales
    monkeypatch.setattr(mmap_cache, "scales", lambda x: computed.append(len(x)) or before(x))
    with np.errstate(divide="ignore"):
        wanted = 1 / np.linalg.norm(x.astype(np.float64), axis=1)
    wanted[4:7] = np.nan
    for rows in (range(3, 20), range(3, 20), [7, 5], np.array([9, 3]), range(30), range(30)):
        got = emb.read_scaled(0, rows)[1]
        np.testing.assert_allclose(got, wanted[list(rows)], rtol=1e-6)
    assert computed == [17, 30]
    npy(tmp_path / "new.npy", 2 * x)
    os.replace(tmp_path / "new.npy", tmp_path / "e_0.npy")
    np.testing.assert_allclose(emb.read_scaled(0, range(30))[1], wanted / 2, rtol=1e-6)


def test_lengths_of_rows_of_length_one_are_not_held(tmp_path, model, monkeypatch, all_mapped):
    x = vectors(30)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    emb = ld.open_embeddings(npy(tmp_path / "e_0.npy", x), model=model)
    assert abs(emb.read_scaled(0, range(20))[1] - 1).max() < 2.0**-12
    assert emb.read_scaled(0, [3])[1] is not None
    emb.read_scaled(0, range(20, 30))
    assert emb.read_scaled(0, [3])[1] is None
    with monkeypatch.context() as patch:  # a file that is too large is not cached
        patch.setattr(embedding_file, "mapped_files", mmap_cache.MmapCache(0))
        for _ in range(2):
            assert abs(emb.read_scaled(0, range(30))[1] - 1).max() < 2.0**-12
    x[3] *= 1 + 2.0**-12
    emb = ld.open_embeddings(npy(tmp_path / "f_0.npy", x), model=model)
    emb.read_scaled(0, range(30))
    np.testing.assert_allclose(emb.read_scaled(0, [3])[1], 1 - 2.0**-12, atol=1e-6)


@pytest.mark.parametrize("kind", ["npy", "npz", "packed", "parquet"])
def test_a_file_that_changed_since_it_was_opened(tmp_path, model, kind):
    def write(n):
        if kind == "npy":
            npy(tmp_path / "e_0.npy", vectors(n))
        elif kind == "parquet":
            column = parquet_column(vectors(n), pa.list_(pa.float32()))
            pq.write_table(pa.table({"v": column}), tmp_path / "e_0.parquet")
        else:
            save = np.savez if kind == "npz" else np.savez_compressed
            save(tmp_path / "e_0.npz", x=vectors(n))

    write(300)
    suffix = {"packed": "npz"}.get(kind, kind)
    emb = ld.open_embeddings(tmp_path / f"e_0.{suffix}", model=model)
    write(3)
    with pytest.raises(EmbeddingsError, match=rf"e_0\.{suffix}"):
        emb.read(0, [299])
    (tmp_path / f"e_0.{suffix}").unlink()
    with pytest.raises(EmbeddingsError, match=rf"e_0\.{suffix}"):
        emb.read(0, [299])


@pytest.mark.parametrize("kind", ["npy", "npz", "packed", "parquet", "memory"])
def test_rows_in_any_order(tmp_path, model, kind, memory):
    x = vectors(17, dtype="float16")
    path = tmp_path / "e_0.npy"
    if kind == "memory":
        path = f"{memory}/e_0.npy"
        with fsspec.open(path, "wb") as file:
            np.save(file, x)
    elif kind == "npy":
        npy(path, x)
    elif kind == "parquet":
        path = tmp_path / "e_0.parquet"
        column = parquet_column(x, pa.list_(pa.float16()))
        pq.write_table(pa.table({"v": column}), path, row_group_size=4)
    else:
        path = tmp_path / "e_0.npz"
        (np.savez if kind == "npz" else np.savez_compressed)(path, x=x)
    emb = ld.open_embeddings(path, model=model)
    draw = np.random.default_rng(0)
    several = [], [16], [0, 0, 0], [0, 1, 3], [2, 2, 4, 5], [3, 1, 2], [4, 5, 6], np.array([7, 8])
    runs = [(17,), (16, -1, -1), (3, 9), (5, 5), (9, 3), (0, 17, 4), (16, 3, -3), (7, 8, -1)]
    for rows in (*several, *(range(*each) for each in runs)):
        got = emb.read(0, rows)
        assert got.shape == (len(rows), 8) and got.dtype == np.float16
        np.testing.assert_array_equal(got, x[list(rows)] if len(rows) else x[:0])
        if got.flags.writeable:
            got[:] = 7  # a caller may modify the result
            got = emb.read(0, rows)
            np.testing.assert_array_equal(got, x[list(rows)] if len(rows) else x[:0])
        again, scale = emb.read_scaled(0, rows)
        np.testing.assert_array_equal(again, got)
        wanted = 1 / np.linalg.norm(got.astype(np.float64), axis=1)
        np.testing.assert_allclose(scale, wanted, rtol=1e-6)
    for _ in range(20):
        rows = draw.integers(0, 17, draw.integers(1, 40))
        np.testing.assert_array_equal(emb.read(0, rows), x[rows])
    wrong = ([17], 17), ([3, -1], -1), ([2, 10**15], 10**15), (range(9, 18), 17), (range(-2, 4), -2)
    for rows, named in wrong:
        with pytest.raises(EmbeddingsError, match=rf"Row {named} .*has 17 rows"):
            emb.read(0, rows)
    for shard in (-1, 1):
        with pytest.raises(
            EmbeddingsError, match=rf"Shard {shard} was requested. Expected a number from 0 to 0"
        ):
            emb.read(shard, [0])


def test_rows_must_be_whole_numbers(tmp_path, model):
    emb = ld.open_embeddings(npy(tmp_path / "e_0.npy", vectors(5)), model=model)
    for rows in ([1.5], [[0, 1]], ["a"], [True, False]):
        with pytest.raises(EmbeddingsError, match="expected integers"):
            emb.read(0, rows)


def test_embeddings_pickle_and_have_a_stable_token(tmp_path):
    from dask.base import tokenize

    c = collection(tmp_path)
    emb = ld.open_embeddings(c.img_emb, model=c.model)
    again = pickle.loads(pickle.dumps(emb))
    assert again == emb and tokenize(again) == tokenize(emb)
    assert tokenize(emb) != tokenize(ld.open_embeddings(c.text_emb, model=c.model))
    np.testing.assert_array_equal(again.read(2, [3]), c.images[2][[3]])
    recipe = emb.recipe()
    assert recipe["rows"] == 65 and recipe["dim"] == 8 and len(recipe["embeddings"]) == 3
