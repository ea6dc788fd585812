"""Every kind of embedding file: npy, npz and Parquet, with their members, columns and types."""

import io

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.lib import format as npy_format
from support.embeddings import parquet_column
from support.shards import npy, vectors, write_shard

import laion_dask as ld
from laion_dask.errors import EmbeddingsError


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
        (pa.array([[1, 2]] * 3, pa.list_(pa.int8())), r"list<element: int8>.*quantized"),
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
    with pytest.raises(EmbeddingsError, match=r"e_0\.npy has changed or can no longer be read"):
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
