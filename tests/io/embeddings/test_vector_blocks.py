"""Vectors of several small shards in one block: dtypes stay apart, scales and rows together."""

import numpy as np
import pandas as pd
import pytest
from support.embeddings import set_block_rows
from support.shards import npy, vectors

import laion_dask as ld
from laion_dask.io.embeddings import mmap_cache, vector_blocks

SIZES = (5, 3, 0, 4, 6, 2)


@pytest.fixture
def arrays():
    """Alternately float16 and float32; every second one has rows of length one."""
    made = [vectors(n, seed=i) for i, n in enumerate(SIZES)]
    for x in made[::2]:
        x /= np.linalg.norm(x, axis=1, keepdims=True)
    return [x.astype("float16" if i in (1, 4) else "float32") for i, x in enumerate(made)]


@pytest.fixture
def emb(tmp_path, model, arrays):
    paths = [npy(tmp_path / f"e_{i}.npy", x) for i, x in enumerate(arrays)]
    return ld.open_embeddings(paths, model=model)


def every_row() -> pd.DataFrame:
    shard = np.repeat(np.arange(len(SIZES)), SIZES)
    row = np.concatenate([np.arange(n) for n in SIZES])
    return pd.DataFrame({"shard": shard, "row": row})


@pytest.mark.parametrize("block", [1, 4, 7, 100])
def test_a_block_has_one_dtype_and_each_row_once(emb, arrays, monkeypatch, block):
    set_block_rows(monkeypatch, block)
    part, seen = every_row().sample(frac=1, random_state=0), []
    for (x, y), positions in vector_blocks.vector_blocks(part, [emb, emb]):
        assert len(x) == len(positions) <= block
        np.testing.assert_array_equal(x, y)
        rows = part.iloc[positions]
        for vector, shard, row in zip(x, rows["shard"], rows["row"], strict=True):
            assert vector.dtype == arrays[shard].dtype
            np.testing.assert_array_equal(vector, arrays[shard][row])
        seen += positions.tolist()
    assert sorted(seen) == list(range(sum(SIZES)))


@pytest.mark.parametrize("step", [2, 9, 100])
@pytest.mark.parametrize("is_frame", [True, False])
def test_scales_belong_to_their_rows(emb, arrays, monkeypatch, step, is_frame):
    monkeypatch.setattr(mmap_cache, "_SMALL", 0)  # keeps scales, which are None once all are near 1
    part = every_row() if is_frame else tuple((i, 0, n) for i, n in enumerate(SIZES))
    for _ in range(2):
        seen = []
        for x, scale, shard, rows in vector_blocks.scaled_blocks(part, emb, step):
            assert x.dtype == "float32" and len(x) == len(rows) <= step
            shards = np.broadcast_to(shard, len(rows)).tolist()
            wanted = [arrays[s][r].astype("float32") for s, r in zip(shards, rows, strict=True)]
            np.testing.assert_array_equal(x, wanted)
            lengths = np.linalg.norm(x.astype("float64"), axis=1)
            scale = np.ones(len(x)) if scale is None else scale
            np.testing.assert_allclose(lengths * scale, 1, rtol=1e-3)
            seen += zip(shards, rows, strict=True)
        assert sorted(seen) == list(zip(*every_row().to_numpy().T.tolist(), strict=True))
