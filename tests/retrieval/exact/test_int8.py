"""Queries multiplied in int8: the rotation, what rounding loses, and the same answers."""

import numpy as np
import pandas as pd
import pytest
from support.embeddings import pair
from support.searches import opened, unit_rows
from support.shards import collection, npy, vectors

from laion_dask.numerics.dot_products import NEAR, scales
from laion_dask.numerics.int8 import compiles_int8, multiplies_int8, product
from laion_dask.retrieval.exact import candidates as choosing
from laion_dask.retrieval.exact import int8_batch, int8_rows
from laion_dask.retrieval.exact.int8_rows import (
    ROTATION_ERROR,
    TILE_QUERIES,
    TILE_ROWS,
    EncodedQueries,
    EncodedRows,
    kernel,
    rotate,
)
from laion_dask.retrieval.exact.shared_state import ScratchPool

pytestmark = pytest.mark.skipif(not multiplies_int8(), reason="this CPU multiplies no int8")


def rows_of(dim, dtype="float32", n=300):
    """Rows near unit length, long, short, spiked, zero and NaN."""
    draw = np.random.default_rng(dim)
    x = unit_rows(draw.normal(size=(n, dim)))
    x[10:20] = np.eye(dim)[np.arange(10) % dim]
    x[20:30, dim // 2] += 0.6
    # What the rotation turns into a few large elements.
    spikes = np.zeros((10, dim))
    spikes[:, :2] = 1
    x[30:40] = spikes @ rotate(np.eye(dim)).T
    x[40], x[41, 0], x[42, 0] = 0, np.nan, np.inf
    x[50:60] *= 1e-2
    if dtype == "float32":
        x[60:70] *= 1e-36
        x[70:80] *= 1e36
    return x.astype(dtype)


@pytest.mark.parametrize("dim", [4, 64, 264, 272, 512, 640, 768, 1024, 1280])
def test_the_rotation_keeps_products_and_spreads_elements(dim):
    rotation = rotate(np.eye(dim))
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(dim), atol=1e-12)
    if dim >= 256:
        assert abs(rotation).max() <= 1 / 16


def test_products_of_extreme_codes_are_exact():
    import torch

    codes = torch.full((3, 768), 127, dtype=torch.int8)
    codes[1] = -127
    out = torch.empty(3, 3, dtype=torch.int32)
    product(codes, codes, out)
    assert out.tolist() == (768 * 127**2 * np.array([[1, -1, 1], [-1, 1, -1], [1, -1, 1]])).tolist()


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("dim", [4, 64, 768])
def test_codes_are_as_near_as_they_say(dim, dtype):
    x = rows_of(dim, dtype)
    scale = scales(x)
    encoded = EncodedRows(x, scale, ScratchPool())
    assert encoded.undefined.tolist() == [40, 41, 42]
    assert np.isnan(encoded.scale[40:43]).all() and not encoded.codes[40:43].any()
    fine = np.setdiff1d(np.arange(len(x)), [*encoded.undefined, *encoded.coarse])
    assert len(fine) > 0.8 * len(x)
    exact = rotate(unit_rows(x[fine].astype(np.float64)))
    distance = np.linalg.norm(exact - encoded.codes[fine] * encoded.step, axis=1)
    assert (distance <= encoded.lost + ROTATION_ERROR + NEAR).all()
    queries = unit_rows(np.random.default_rng(0).normal(size=(9, dim))).astype(np.float32)
    rounded = EncodedQueries(queries)
    moved = rotate(queries.astype(np.float64)) - rounded.codes * rounded.step[:, None]
    assert (np.linalg.norm(moved, axis=1) <= rounded.lost).all() and (rounded.lost < 0.02).all()


def test_a_larger_step_follows_a_block_with_large_elements():
    rotated = np.zeros((200, 768))
    rotated[:, :256] = unit_rows(np.random.default_rng(0).normal(size=(200, 256)))
    x = (rotated @ rotate(np.eye(768)).T).astype(np.float32)
    scratch, shares = ScratchPool(), []
    for _ in range(4):
        encoded = EncodedRows(x, None, scratch)
        shares.append(len(encoded.coarse) / len(x))
    assert shares[0] > 0.2 and shares[-1] <= 0.01


def marked(marks, m, n):
    """The marks as a boolean matrix (m, n)."""
    return np.unpackbits(marks.view(np.uint8), axis=1, bitorder="little")[:m, :n].astype(bool)


@pytest.mark.skipif(not compiles_int8(), reason="oneDNN multiplies int8 here")
@pytest.mark.parametrize("m", [1, 12, 13, 40])
@pytest.mark.parametrize("n", [1, 32, 33, 100])
def test_marks_are_those_of_the_products(m, n):
    from laion_dask.retrieval.exact import int8_tiles

    assert (TILE_ROWS, TILE_QUERIES) == (int8_tiles.TILE_ROWS, int8_tiles.TILE_QUERIES)
    draw = np.random.default_rng(m * n)
    queries = EncodedQueries(unit_rows(draw.normal(size=(m, 64))).astype(np.float32))
    x = unit_rows(draw.normal(size=(n, 64))).astype(np.float32)
    x[0], x[-1] = queries.vectors[0], -queries.vectors[-1]  # the greatest products
    rows = EncodedRows(x, None, ScratchPool())
    products = queries.codes.astype(np.int64) @ rows.codes.T
    cuts = np.array(products[:, n // 2])  # one product of each query is its cut
    expected = products >= cuts[:, None]
    panels, padded = -(-n // TILE_ROWS), -(-m // TILE_QUERIES) * TILE_QUERIES
    marks, limits = np.empty((padded, panels), np.uint32), np.zeros(padded, np.int32)
    limits[:m] = cuts
    kernel("int8_tiles", "mark_products", products.astype(np.int32), limits, marks)
    np.testing.assert_array_equal(marked(marks, m, n), expected)
    limits[:m] += queries.raised.astype(np.int32)
    codes = rows.codes.view(np.uint32)
    panel = np.empty((codes.shape[1], TILE_ROWS), np.uint32)
    kernel("int8_tiles", "mark", codes, panel, queries.packed, limits, marks)
    np.testing.assert_array_equal(marked(marks, m, n), expected)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("k", [1, 10, 400])
def test_the_answer_is_the_same(tmp_path, dtype, k, monkeypatch):
    c = collection(tmp_path, (300, 300, 7), dim=64, dtype=dtype)
    npy(f"{c.img_emb}/img_emb_0.npy", rows_of(64, dtype))
    frame, emb = opened(c)
    queries = np.concatenate([vectors(60, 64, seed=9), -vectors(5, 64, seed=2)])
    monkeypatch.setattr(choosing, "uses_int8", lambda m, dim: False)
    wanted = frame.laion.search(emb, queries, k, columns=[])
    monkeypatch.setattr(choosing, "uses_int8", lambda m, dim: True)
    pd.testing.assert_frame_equal(frame.laion.search(emb, queries, k, columns=[]), wanted)
    for module, name, value in (
        (choosing, "ROWS", 50),
        (choosing, "QUERIES_PER_BATCH", 7),
        (int8_batch, "_FOUND", 1),
        (int8_rows, "_UNUSUAL", 0.0),  # about half of the rows are coarse
        (int8_batch, "compiles_int8", lambda: False),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, value)
            pd.testing.assert_frame_equal(frame.laion.search(emb, queries, k, columns=[]), wanted)


@pytest.mark.parametrize("m", [1, int8_batch.MIN_QUERIES])
def test_only_many_queries_are_multiplied_in_int8(small, m, monkeypatch):
    frame, emb = opened(small)
    used = []
    monkeypatch.setattr(int8_batch.Int8QueryBatch, "add", lambda *arguments: used.append(1))
    queries = unit_rows(vectors(m, seed=5)).astype("float32")
    choosing.select_candidates(((0, 0, 5),), 0, pair(emb, frame), queries, 3)
    assert bool(used) == (m > 1)
    assert not int8_batch.uses_int8(1000, 6)
