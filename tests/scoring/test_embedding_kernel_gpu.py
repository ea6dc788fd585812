"""Scores of a frame on the GPU: the same code with CPU tensors, against the CPU kernel."""

import numpy as np
import pytest
import torch
from support.failing_memory import Full
from support.searches import opened
from support.shards import collection, cosine, vectors

import laion_dask as ld
from laion_dask.errors import DeviceMemoryError
from laion_dask.numerics.gpu import transfer
from laion_dask.scoring import embedding_kernel as score
from laion_dask.scoring import embedding_kernel_gpu

NASTY = [0.0, np.nan, np.inf, 1e-30, 1e30, 1e-42, 3e38]


def nasty_rows(dtype):
    x = vectors(40, 8, dtype)
    for i, value in enumerate(NASTY):
        with np.errstate(over="ignore"):
            x[i] = np.array(value).astype(dtype)
            x[10 + i, 2] = np.array(value).astype(dtype)
    return x


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_cosines_against_a_loop(dtype):
    x, y = nasty_rows(dtype), vectors(40, 8, dtype, seed=3)
    y[5], y[6] = x[5], -y[6]
    for other in (y, y[7]):
        got = embedding_kernel_gpu.cosines(torch.from_numpy(x), torch.from_numpy(other)).numpy()
        wanted = [cosine(a, b) for a, b in zip(x, np.broadcast_to(other, x.shape), strict=True)]
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, wanted, atol=2e-6)
    assert len(embedding_kernel_gpu.cosines(torch.empty(0, 8), torch.ones(8))) == 0


@pytest.fixture
def parts(corpus):
    """A partition with rows of several shards in random order, and both its embeddings."""
    frame, images = opened(corpus)
    texts = ld.open_embeddings(corpus.text_emb, model=corpus.model)
    part = frame.compute().sample(frac=0.7, random_state=1)
    return part, images, texts


def on_gpu(kernel, monkeypatch, *args):
    """Run a score kernel as for a frame on the GPU, with the CPU as the device."""
    monkeypatch.setattr(score, "device_of", lambda part: "cpu:0")
    try:
        return kernel(*args)
    finally:
        monkeypatch.undo()


@pytest.mark.parametrize("block", [1, 7, 1 << 16])
def test_the_scores_of_the_processor(parts, monkeypatch, block, tmp_path):
    part, images, texts = parts
    monkeypatch.setattr(embedding_kernel_gpu, "BLOCK", block)
    query = score.Query(tuple(np.eye(8, dtype=np.float32)[3].tolist()))
    for kernel, args in (
        (score.similarity, (images, query, "q")),
        (score.similarity_to, (images, texts, score.Pair("clip", images.dim))),
    ):
        wanted = kernel(part, *args)
        monkeypatch.setattr(embedding_kernel_gpu, "BLOCK", block)
        got = on_gpu(kernel, monkeypatch, part, *args)
        np.testing.assert_allclose(got, wanted, atol=1e-6)
        assert got.index.equals(part.index) and got.dtypes.tolist() == [np.float32]
        assert len(on_gpu(kernel, monkeypatch, part[:0], *args)) == 0


def test_smaller_blocks_where_memory_does_not_suffice(tmp_path, monkeypatch):
    c = collection(tmp_path, (400,))
    frame, images = opened(c)
    part = frame.compute()
    query = score.Query(tuple(vectors(1)[0].tolist()))
    wanted = score.similarity(part, images, query, "q")
    monkeypatch.setattr(embedding_kernel_gpu, "MIN_BLOCK_ROWS", 32)
    with Full(4 * 8 * 120) as full:  # the score columns fit, products of 400 rows do not
        got = on_gpu(score.similarity, monkeypatch, part, images, query, "q")
    assert full.failures
    np.testing.assert_allclose(got, wanted, atol=1e-6)
    monkeypatch.setattr(embedding_kernel_gpu, "MIN_BLOCK_ROWS", 400)
    with Full(4 * 8 * 120), pytest.raises(DeviceMemoryError, match="400 rows"):
        on_gpu(score.similarity, monkeypatch, part, images, query, "q")
    again = on_gpu(score.similarity, monkeypatch, part, images, query, "q")
    np.testing.assert_allclose(again, wanted, atol=1e-6)
    assert transfer.MIN_BLOCK_ROWS == 1024
