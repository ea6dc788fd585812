"""Unit vectors in clusters, queries like them, and the rows of embeddings that have a direction."""

import numpy as np

DIM = 16


def clustered(n: int, seed: int = 0) -> np.ndarray:
    """Float16 unit vectors around twenty centers."""
    draw = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(20, DIM))
    found = centres[draw.integers(20, size=n)] + 0.5 * draw.normal(size=(n, DIM))
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float16)


def everything(emb) -> list[tuple[int, int, np.ndarray]]:
    """(shard, row, float64 unit vector) of every row that has a direction."""
    found = []
    for shard, file in enumerate(emb.files):
        for row, x in enumerate(emb.read(shard, np.arange(file.n_rows)).astype(float)):
            length = np.sqrt((x * x).sum())
            if np.isfinite(length) and length > 0:
                found.append((shard, row, x / length))
    return found


def queries(n: int, seed: int = 5) -> np.ndarray:
    x = clustered(n, seed).astype(np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)
