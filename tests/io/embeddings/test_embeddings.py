"""Reading embeddings: every file kind, pairing by key, hostile files, and which bytes are read."""

import io
import os
import pickle
import struct
import zipfile

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from numpy.lib import format as npy_format
from support.embeddings import pair
from support.frames import both
from support.shards import collection, laion_table, npy, space, vectors, write_shard

import laion_dask as ld
from laion_dask.errors import (
    EmbeddingsError,
    PairingError,
    ProvenanceError,
    ShardNotFoundError,
)
from laion_dask.io.embeddings import file as embedding_file
from laion_dask.io.embeddings import mmap_cache, stored_rows


@pytest.fixture
def model(tmp_path):
    return space(tmp_path)


@pytest.fixture
def memory():
    """The URL of an empty folder in the memory store."""
    fs = fsspec.filesystem("memory")
    yield "memory://test_embeddings"
    if fs.exists("/test_embeddings"):
        fs.rm("/test_embeddings", recursive=True)


def with_header(header: str, body: bytes = b"", version=(1, 0)) -> bytes:
    size = struct.pack("<H" if version == (1, 0) else "<I", len(header))
    return b"\x93NUMPY" + bytes(version) + size + header.encode() + body


def parquet_column(array, type_, nulls=()):
    values = [None if i in nulls else row.tolist() for i, row in enumerate(array)]
    return pa.array(values, type_)


# -- every kind of file ----------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_npy(tmp_path, model, dtype, version):
    x = vectors(12, dtype=dtype)
    with open(tmp_path / "e_0.npy", "wb") as file:
        npy_format.write_array(file, x, version=version)
    emb = ld.open_embeddings(tmp_path / "e_0.npy", model=model)
    assert (len(emb), emb.dim, emb.dtype, len(emb.files)) == (12, 8, dtype, 1)
    got = emb.read(0, np.arange(12))
    assert got.dtype == dtype
    np.testing.assert_array_equal(got, x)
    assert "12 x 8" in repr(emb)


@pytest.mark.parametrize("where", ["local", "memory"])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_members(tmp_path, model, memory, save, where):
    one, two = vectors(9, seed=1, dtype="float16"), vectors(9, seed=2, dtype="float16")
    data = io.BytesIO()
    save(data, l14_img=one, b32_txt=two)
    folder = str(tmp_path) if where == "local" else memory
    path = f"{folder}/{'0' * 31}a.npz"
    with fsspec.open(path, "wb") as file:
        file.write(data.getvalue())
    for name, x in (("l14_img", one), ("b32_txt", two)):
        emb = ld.open_embeddings(path, model=model, field=name)
        np.testing.assert_array_equal(emb.read(0, [8, 0, 3]), x[[8, 0, 3]])
        assert emb.read(0, [8]).dtype == np.float16
    with pytest.raises(EmbeddingsError, match=r"several arrays and no field.*b32_txt, l14_img"):
        ld.open_embeddings(path, model=model)
    with pytest.raises(EmbeddingsError, match="Did you mean 'l14_img'"):
        ld.open_embeddings(path, model=model, field="l14_image")


def test_endings_in_any_case(tmp_path, model):
    x = vectors(6, dtype="float32")
    np.save(tmp_path / "a.npy", x)
    (tmp_path / "a.npy").rename(tmp_path / "a_0.NPY")
    stored = io.BytesIO()
    np.savez(stored, x)
    (tmp_path / "a_1.Npz").write_bytes(stored.getvalue())
    for name in ("a_2.PARQUET", "a_3.parq", "a_4.pq"):
        pq.write_table(pa.table({"v": x.tolist()}), tmp_path / name)
    emb = ld.open_embeddings(tmp_path, model=model)
    for shard in range(5):
        np.testing.assert_array_equal(emb.read(shard, range(6)), x)
    with open(tmp_path / "a_0.NPY", "ab") as file:
        file.write(bytes(8))
    with pytest.raises(EmbeddingsError, match="is too long"):
        ld.open_embeddings(tmp_path, model=model)


def test_npz_with_one_member_needs_no_field(tmp_path, model):
    x = vectors(4)
    np.savez(tmp_path / "a_1.npz", x)
    np.testing.assert_array_equal(
        ld.open_embeddings(tmp_path / "a_1.npz", model=model).read(0, range(4)), x
    )


def test_a_compressed_member_is_read_anew_when_its_file_has_changed(tmp_path, model):
    path = tmp_path / "a_1.npz"
    np.savez_compressed(path, x=vectors(5, seed=1))
    ld.open_embeddings(path, model=model).read(0, [0])
    np.savez_compressed(path, x=vectors(5, seed=2))
    got = ld.open_embeddings(path, model=model).read(0, range(5))
    np.testing.assert_array_equal(got, vectors(5, seed=2))


@pytest.mark.parametrize("value", [pa.float16(), pa.float32()])
@pytest.mark.parametrize("kind", ["list", "large_list", "fixed_size_list"])
def test_parquet_list_columns(tmp_path, model, value, kind):
    type_ = {
        "list": pa.list_(value),
        "large_list": pa.large_list(value),
        "fixed_size_list": pa.list_(value, 8),
    }[kind]
    x = vectors(23, dtype="float16" if value == pa.float16() else "float32")
    nulls = {0, 7, 22}
    table = pa.table({"url": ["u"] * 23, "vector": parquet_column(x, type_, nulls)})
    pq.write_table(table, tmp_path / "v_3.parquet", row_group_size=5)
    emb = ld.open_embeddings(tmp_path / "v_3.parquet", model=model)
    assert (len(emb), emb.dim, emb.dtype) == (23, 8, x.dtype.name)
    rows = [22, 1, 1, 0, 19, 6, 7]
    got = emb.read(0, rows)
    assert got.dtype == x.dtype
    for row, vector in zip(rows, got, strict=True):
        if row in nulls:
            assert np.isnan(vector).all()
        else:
            np.testing.assert_array_equal(vector, x[row])


def test_parquet_column_choice(tmp_path, model):
    lists = parquet_column(vectors(3), pa.list_(pa.float32()))
    pq.write_table(pa.table({"a": lists, "b": lists}), tmp_path / "two.parquet")
    assert len(ld.open_embeddings(tmp_path / "two.parquet", model=model, field="b")) == 3
    with pytest.raises(EmbeddingsError, match=r"2 list columns.*a, b"):
        ld.open_embeddings(tmp_path / "two.parquet", model=model)
    whole = pa.array([[1] * 8], pa.list_(pa.int64()))
    pq.write_table(pa.table({"a": whole}), tmp_path / "whole.parquet")
    with pytest.raises(EmbeddingsError, match=r"column .a., has the type list<element: int64>"):
        ld.open_embeddings(tmp_path / "whole.parquet", model=model)


@pytest.mark.parametrize(
    ("array", "why"),
    [
        (pa.array([[1, 2]] * 3, pa.list_(pa.int8())), r"list<element: int8>.*quantised"),
        (pa.FixedShapeTensorArray.from_numpy_ndarray(np.ones((3, 2), "f4")), "Write it as such a"),
    ],
    ids=str,
)
def test_parquet_vectors_of_other_types_are_named(tmp_path, model, array, why):
    write_shard(tmp_path / "a.parquet", pa.table({"emb": array, "key": ["a"] * 3}))
    for field in (None, "emb"):
        with pytest.raises(EmbeddingsError, match=f"column 'emb', has the type .*{why}"):
            ld.open_embeddings(tmp_path / "a.parquet", model=model, field=field)
    with pytest.raises(EmbeddingsError, match=r"'key', has the type string.*Write it as such"):
        ld.open_embeddings(tmp_path / "a.parquet", model=model, field="key")


def test_lists_of_python_numbers_as_pandas_writes_them(tmp_path, model):
    x = vectors(5).astype(np.float32)
    pd.DataFrame({"v": x.astype(float).tolist()}).to_parquet(tmp_path / "e_0.parquet")
    emb = ld.open_embeddings(tmp_path / "e_0.parquet", model=model)
    assert emb.dtype == "float32"
    np.testing.assert_array_equal(emb.read(0, [3, 1]), x[[3, 1]])


def test_metadata_beside_datacomps_arrays_is_not_taken_for_embeddings(tmp_path, model):
    np.savez(tmp_path / "a1.npz", l14_img=vectors(4), b32_txt=vectors(4))
    pq.write_table(pa.table({"uid": ["1", "2", "3", "4"]}), tmp_path / "a1.parquet")
    (tmp_path / "a1.PARQ").write_bytes((tmp_path / "a1.parquet").read_bytes())
    assert len(ld.open_embeddings(tmp_path, model=model, field="l14_img")) == 4
    with pytest.raises(EmbeddingsError, match="0 list columns"):
        ld.open_embeddings(tmp_path / "a1.parquet", model=model)


def test_an_array_of_another_dtype_in_its_place(tmp_path, model):
    emb = ld.open_embeddings(npy(tmp_path / "e_0.npy", vectors(8)), model=model)
    np.save(tmp_path / "e_0.npy", vectors(16)[:, :4].astype(np.float16))  # the same number of bytes
    with pytest.raises(EmbeddingsError, match=r"e_0\.npy can no longer be read"):
        emb.read(0, [0])


@pytest.mark.parametrize("lengths", [(8, 7), (8, 7, 9), (8, 0, 16)])
def test_ragged_parquet_rows_are_refused(tmp_path, model, lengths):
    ragged = pa.array([[1.0] * n for n in lengths], pa.list_(pa.float32()))
    pq.write_table(pa.table({"v": ragged}), tmp_path / "r.parquet")
    emb = ld.open_embeddings(tmp_path / "r.parquet", model=model)
    with pytest.raises(EmbeddingsError, match=r"r\.parquet.*not every row has 8"):
        emb.read(0, range(len(lengths)))


def test_empty_parquet_shards_have_the_width_of_the_others(tmp_path, model):
    for i, n in enumerate((0, 3)):
        column = parquet_column(vectors(n), pa.list_(pa.float32()))
        pq.write_table(pa.table({"v": column}), tmp_path / f"e_{i}.parquet")
    emb = ld.open_embeddings(tmp_path, model=model)
    assert emb.dim == 8
    assert emb.read(0, []).shape == (0, 8)


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


def test_local_files_are_mapped(tmp_path, model, monkeypatch):
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


def test_few_maps_are_kept(tmp_path, model, monkeypatch):
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
    monkeypatch.setattr(embedding_file, "mapped_files", mmap_cache.MmapCache(0))
    np.testing.assert_array_equal(emb.read(2, range(30)), x[2])


def test_lengths_of_mapped_rows_are_computed_once(tmp_path, model, monkeypatch):
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


def test_lengths_of_rows_of_length_one_are_not_held(tmp_path, model, monkeypatch):
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


# -- rows ------------------------------------------------------------------------------------


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
        with pytest.raises(EmbeddingsError, match=rf"Shard {shard} was requested; there are 1"):
            emb.read(shard, [0])


def test_rows_must_be_whole_numbers(tmp_path, model):
    emb = ld.open_embeddings(npy(tmp_path / "e_0.npy", vectors(5)), model=model)
    for rows in ([1.5], [[0, 1]], ["a"], [True, False]):
        with pytest.raises(EmbeddingsError, match="expected integers"):
            emb.read(0, rows)


# -- pairing ---------------------------------------------------------------------------------


def check_pairs(frame, emb, wanted: dict):
    """Check the pairing; ``wanted`` maps the end of a shard's path to its embeddings."""
    from laion_dask.frame.provenance import Provenance

    paired = pair(emb, frame)
    for i, shard in enumerate(Provenance.of(frame).shards):
        x = next(x for end, x in wanted.items() if shard.path.endswith(end))
        np.testing.assert_array_equal(paired.read(i, range(len(x))), x)


@both
@pytest.mark.parametrize(
    "shard, vector",
    [
        ("metadata_{:04d}.parquet", "img_emb_{}.npy"),
        ("metadata_{}.parquet", "img_emb_{:04d}.npy"),
        ("part-{:05d}-0a1b2c3d-1111-2222-3333-444455556666-c000.snappy.parquet", "img_emb_{}.npy"),
        ("{:032x}.parquet", "{:032x}.npy"),
        ("{:05d}.parquet", "text_emb_{}.npy"),
    ],
)
def test_pairing_by_key_never_by_position(tmp_path, model, shard, vector):
    numbers = [12, 2, 107, 30]  # names sort differently as text and as numbers
    wanted = {}
    for n in numbers:
        write_shard(tmp_path / "metadata" / shard.format(n), laion_table(10, n))
        wanted[shard.format(n)] = vectors(10, seed=n)
        npy(tmp_path / "img_emb" / vector.format(n), wanted[shard.format(n)])
    names = [str(tmp_path / "img_emb" / vector.format(n)) for n in numbers]
    frame = ld.read_shards(tmp_path / "metadata")
    for listing in (names, names[::-1], sorted(names)):
        check_pairs(frame, ld.open_embeddings(listing, model=model), wanted)
        check_pairs(frame, ld.open_embeddings(listing, model=model, like=frame), wanted)
    backwards = ld.read_shards([tmp_path / "metadata" / shard.format(n) for n in numbers[::-1]])
    check_pairs(backwards, ld.open_embeddings(names, model=model), wanted)


def test_the_same_number_in_two_collections(tmp_path, model):
    wanted = {}
    for seed, name in enumerate(("laion2B-en", "laion1B-nolang")):
        shard = write_shard(
            tmp_path / name / "metadata" / "metadata_3.parquet", laion_table(6, seed)
        )
        wanted[shard] = vectors(6, seed=seed)
        npy(tmp_path / name / "img_emb" / "img_emb_3.npy", wanted[shard])
    frame = ld.read_shards(str(tmp_path / "*" / "metadata" / "*.parquet"))
    files = [tmp_path / n / "img_emb" / "img_emb_3.npy" for n in ("laion2B-en", "laion1B-nolang")]
    check_pairs(frame, ld.open_embeddings(files, model=model), wanted)
    assert frame.npartitions == 2
    one = ld.open_embeddings(files[:1], model=model)
    with pytest.raises(PairingError, match=r"laion1B-nolang/metadata.* \(6 rows\).*no emb"):
        pair(one, frame)


def test_pairing_errors_name_the_files_and_both_counts(tmp_path):
    c = collection(tmp_path, sizes=(10, 20, 30))
    frame = ld.read_shards(c.metadata)
    paths = [f"{c.img_emb}/img_emb_{i}.npy" for i in range(3)]
    with pytest.raises(PairingError, match=r"metadata_0001\.parquet \(20 rows\).*\(0 rows\)"):
        ld.open_embeddings([paths[0], paths[2]], model=c.model, like=frame)
    extra = npy(f"{c.img_emb}/img_emb_7.npy", vectors(4))
    with pytest.raises(PairingError, match=r"img_emb_7\.npy \(4 rows\).*\(0 rows"):
        ld.open_embeddings([*paths, extra], model=c.model, like=frame)
    npy(paths[1], vectors(19))
    with pytest.raises(PairingError, match=r"img_emb_1\.npy has 19 .*metadata_0001.*has 20"):
        ld.open_embeddings(paths, model=c.model, like=frame)
    npy(paths[1], vectors(0))
    with pytest.raises(PairingError, match=r"img_emb_1\.npy has 0 .*metadata_0001.*has 20"):
        ld.open_embeddings(paths, model=c.model, like=frame)
    twin = npy(f"{c.img_emb}/img_emb_0002.npy", vectors(30))
    with pytest.raises(PairingError, match=r"the same key '(.*/)?2'"):
        ld.open_embeddings([paths[0], paths[2], twin], model=c.model, like=frame)
    assert issubclass(PairingError, EmbeddingsError) and issubclass(PairingError, ValueError)


def test_pairing_needs_one_scan(tmp_path):
    import dask.dataframe as dd

    c = collection(tmp_path / "a", sizes=(10, 10, 10), odd=False)
    emb = ld.open_embeddings(c.img_emb, model=c.model)
    with pytest.raises(ProvenanceError, match="does not lead back"):
        pair(emb, dd.from_pandas(pd.DataFrame({"shard": [0], "row": [0]}), npartitions=1))
    paths = [f"{c.metadata}/metadata_{i:04d}.parquet" for i in range(3)]
    one, two = ld.read_shards([paths[0], paths[1]]), ld.read_shards([paths[0], paths[2]])
    with pytest.raises(ProvenanceError, match="2 calls"):
        pair(emb, dd.concat([one, two]))


@both
def test_pairing_of_chosen_partitions_keeps_the_shard_numbers(tmp_path):
    c = collection(tmp_path, sizes=(10, 10, 10), odd=False)
    emb = ld.open_embeddings(c.img_emb, model=c.model)
    frame = ld.read_shards(c.metadata)
    whole = ld.similarity(frame, emb, np.ones(8)).compute()
    for chosen in (frame.partitions[[2, 1]], frame.partitions[[2, 1]].optimize(fuse=False)):
        part = ld.similarity(ld.where(chosen, "similarity > 0.2"), emb, np.ones(8)).compute()
        both = part.merge(whole, on=["shard", "row"], suffixes=("", "_whole"))
        assert len(both) == len(part) > 0 and set(part["shard"]) == {1, 2}
        np.testing.assert_array_equal(both["query_similarity"], both["query_similarity_whole"])


@both
def test_zero_row_shards_pair(tmp_path):
    c = collection(tmp_path, sizes=(0, 5))
    emb = ld.open_embeddings(c.img_emb, model=c.model, like=ld.read_shards(c.metadata))
    assert len(emb) == 5 and emb.read(0, []).shape == (0, 8)


# -- hostile and mistaken files --------------------------------------------------------------


@pytest.mark.parametrize(
    "array, says",
    [
        (np.zeros((3, 8)), "float64; expected float16 or float32"),
        (np.zeros((3, 8), int), "int64; expected float16 or float32"),
        (np.zeros((3, 8), ">f4"), ">f4; expected float16 or float32, little-endian"),
        (np.zeros((3, 8), "c8"), "complex64; expected"),
        (np.zeros(24, "f4"), r"shape \(24,\); expected \(rows, dim\)"),
        (np.zeros((3, 8, 1), "f4"), r"shape \(3, 8, 1\); expected"),
        (np.zeros((3, 0), "f4"), r"shape \(3, 0\); expected"),
        (np.float32(1), r"shape \(\); expected"),
        (np.asfortranarray(vectors(3)), "column by column"),
        (np.zeros(3, [("a", "f4")]), "expected"),
    ],
)
def test_arrays_of_the_wrong_kind(tmp_path, model, array, says):
    path = npy(tmp_path / "bad_0.npy", array)
    with pytest.raises(EmbeddingsError, match=says) as caught:
        ld.open_embeddings(path, model=model)
    assert path in str(caught.value)
    np.savez(tmp_path / "bad_0.npz", x=array)
    with pytest.raises(EmbeddingsError, match=says) as caught:
        ld.open_embeddings(tmp_path / "bad_0.npz", model=model)
    assert "bad_0.npz" in str(caught.value)


class Planted:
    """An object that creates a file when unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (self.path, "w"))


@pytest.mark.parametrize("save", ["npy", "npz", "packed", "raw"])
def test_nothing_is_ever_unpickled(tmp_path, model, save):
    trap = tmp_path / "pwned"
    array = np.array([[Planted(str(trap))] * 8], dtype=object)
    path = tmp_path / ("x_0.npy" if save in ("npy", "raw") else "x_0.npz")
    if save == "npy":
        np.save(path, array, allow_pickle=True)
    elif save == "raw":
        path.write_bytes(pickle.dumps(Planted(str(trap))))
    else:
        {"npz": np.savez, "packed": np.savez_compressed}[save](path, x=array)
    with pytest.raises(EmbeddingsError, match=r"x_0\.np"):
        ld.open_embeddings(path, model=model)
    assert not trap.exists()


def test_a_pickle_swapped_in_after_opening_stays_unread(tmp_path, model):
    trap = tmp_path / "pwned"
    path = tmp_path / "x_0.npz"
    np.savez_compressed(path, x=vectors(1))
    emb = ld.open_embeddings(path, model=model)
    np.savez_compressed(path, x=np.array([[Planted(str(trap))] * 8], dtype=object))
    with pytest.raises(EmbeddingsError):
        emb.read(0, [0])
    assert not trap.exists()


F4 = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 8), }\n"


@pytest.mark.parametrize(
    "content, says",
    [
        (b"", "0 bytes"),
        (b"\x93NUM", "cannot be read"),
        (b"no array at all, only text", "cannot be read"),
        (with_header(F4, b"\0" * 63), r"header says 2 rows, its bytes make 1"),
        (with_header(F4), r"header says 2 rows, its bytes make 0"),
        (with_header(F4.replace("2, 8", "-2, 8"), b"\0" * 64), r"shape \(-2, 8\)"),
        (with_header(F4.replace("2, 8", "2, -8"), b"\0" * 64), r"shape \(2, -8\)"),
        (with_header(F4.replace("(2, 8)", "(2, 8"), b"\0" * 64), "cannot be read"),
        (with_header("(((((((((" * 20), "cannot be read"),
        (with_header("{'descr': 'f" + "'" * 7), "cannot be read"),
        (with_header(F4, b"\0" * 64, version=(9, 0)), "cannot be read"),
        (with_header(F4.replace("<f4", "|O"), b"\0" * 64), "Python objects"),
        (b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**31) + b"{", "cannot be read"),
    ],
)
def test_damaged_npy(tmp_path, model, content, says):
    path = tmp_path / "bad_0.npy"
    path.write_bytes(content)
    with pytest.raises(EmbeddingsError, match=says) as caught:
        ld.open_embeddings(path, model=model)
    assert str(path) in str(caught.value)


def test_damaged_npz(tmp_path, model):
    data = io.BytesIO()
    np.savez_compressed(data, x=vectors(50))
    whole, path = data.getvalue(), tmp_path / "bad_0.npz"
    for content in (whole[:100], whole[:-30], b"PK\x03\x04" + whole[4:60], b"PK"):
        path.write_bytes(content)
        with pytest.raises(EmbeddingsError, match=r"bad_0\.npz"):
            ld.open_embeddings(path, model=model)
    encrypted = bytearray(whole)
    encrypted[6] |= 1
    encrypted[whole.rindex(b"PK\x01\x02") + 8] |= 1
    unknown = bytearray(whole)
    unknown[whole.rindex(b"PK\x01\x02") + 10] = 99
    for content in (encrypted, unknown):
        path.write_bytes(content)
        with pytest.raises(EmbeddingsError, match=r"bad_0\.npz"):
            ld.open_embeddings(path, model=model)
    draw = np.random.default_rng(0)
    for _ in range(300):  # no crash and no other exception
        damaged = bytearray(whole)
        for at in draw.integers(0, len(whole), 3):
            damaged[at] = draw.integers(0, 256)
        path.write_bytes(damaged)
        try:
            emb = ld.open_embeddings(path, model=model)
            emb.read(0, range(len(emb)))
        except EmbeddingsError:
            pass


def test_an_npz_without_arrays(tmp_path, model):
    for members in ([], ["readme.txt"]):
        with zipfile.ZipFile(tmp_path / "a_0.npz", "w") as archive:
            for name in members:
                archive.writestr(name, "hello")
        with pytest.raises(EmbeddingsError, match=r"a_0\.npz"):
            ld.open_embeddings(tmp_path / "a_0.npz", model=model)


def test_damaged_parquet(tmp_path, model):
    (tmp_path / "a_0.parquet").write_bytes(b"")
    with pytest.raises(EmbeddingsError, match="0 bytes"):
        ld.open_embeddings(tmp_path / "a_0.parquet", model=model)
    (tmp_path / "a_0.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(EmbeddingsError, match="truncated"):
        ld.open_embeddings(tmp_path / "a_0.parquet", model=model)


def test_widths(tmp_path, model):
    npy(tmp_path / "e_0.npy", vectors(3, 8))
    npy(tmp_path / "e_1.npy", vectors(3, 9))
    with pytest.raises(EmbeddingsError, match=r"e_0\.npy has 8 dim.*e_1\.npy has 9"):
        ld.open_embeddings(tmp_path, model=model)
    with pytest.raises(EmbeddingsError, match=r"e_0\.npy has 8 dim.*ViT-B-32 has 512"):
        ld.open_embeddings(tmp_path / "e_0.npy", model="ViT-B-32")


def test_missing_paths(tmp_path, model):
    for path in (tmp_path / "nope.npy", tmp_path / "*.npy", tmp_path / "nowhere"):
        with pytest.raises(ShardNotFoundError):
            ld.open_embeddings(path, model=model)


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


def test_parts_of_an_export_never_pair_by_their_number(tmp_path):
    """Part 0 of an export may have as many rows as shard 0, but from other shards."""
    for shard in range(2):
        columns = {"URL": [f"u{shard}{i}" for i in range(4)], "TEXT": ["t"] * 4}
        pq.write_table(pa.table(columns), tmp_path / f"metadata_{shard:04d}.parquet")
        np.save(tmp_path / f"img_emb_{shard:04d}.npy", np.full((4, 512), shard + 1, np.float16))
    source = ld.read_shards(str(tmp_path / "metadata_*.parquet"))
    source.partitions[[1, 0]].laion.export(tmp_path / "out")
    subset = ld.read_shards(tmp_path / "out")
    images = ld.open_embeddings(tmp_path / "img_emb_*.npy", model="ViT-B-32", like=subset)
    got = [images.read(part, range(4)).astype(int) for part in range(2)]
    for part, shard in enumerate(ld.read_shards(tmp_path / "out").partitions):
        assert (got[part] == shard.compute()["source_shard"].to_numpy()[:, None] + 1).all()
    (tmp_path / "own").mkdir()
    for part in (tmp_path / "out" / "shards").glob("*.parquet"):
        np.save(tmp_path / "own" / f"{part.stem}.npy", np.ones((4, 512), np.float16))
    assert len(ld.open_embeddings(tmp_path / "own", model="ViT-B-32", like=subset)) == 8
