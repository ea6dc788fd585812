"""Generate the input of the explorer's benchmarks: LAION-shaped shards, with clustered embeddings.

Generated once a size: ``explorer-ROWS-DIM`` in the given folder has ``metadata/`` and, unless the
dimension is 0, ``img_emb/``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from laion_dask.demo.synthetic import write_laion_like

#: Clusters of embeddings, and the distance of a row from its center, as in `search_data`.
CLUSTERS, SPREAD, SEED = 400, 0.8, 11
#: Rows drawn at a time.
_BLOCK = 16_384
_AESTHETIC = "AESTHETIC_SCORE"


def prepare(folder: str, rows: int, dim: int = 64) -> Path:
    """Write the data if missing, and return their folder.

    Parameters
    ----------
    folder : str
    rows : int
    dim : int
        Dimensions of the float16 embeddings; 0: none are written.
    """
    target = Path(folder) / f"explorer-{rows}-{dim}"
    if (target / "complete").exists():
        return target
    shards = write_laion_like(target, rows, subset="laion2B-multi")
    draw = np.random.default_rng(SEED)
    centers = _unit(draw.standard_normal((CLUSTERS, max(dim, 1)), dtype=np.float32))
    shares = draw.dirichlet(np.full(CLUSTERS, 0.6))
    (target / "img_emb").mkdir(exist_ok=True)
    for number, shard in enumerate(shards):
        _add_ratings(shard, draw)
        if dim:
            path = target / "img_emb" / f"img_emb_{number:04d}.npy"
            _write_embeddings(path, pq.read_metadata(shard).num_rows, centers, shares, draw)
    (target / "complete").write_text("")
    return target


def _add_ratings(shard: Path, draw: np.random.Generator) -> None:
    """Add ratings with the mean and the deviation of those of LAION-2B-en by predictor v2."""
    table = pq.read_table(shard)
    if _AESTHETIC not in table.column_names:
        ratings = np.clip(draw.normal(5.1, 0.7, len(table)), 0, 10).astype(np.float32)
        pq.write_table(table.append_column(_AESTHETIC, pa.array(ratings)), shard)


def _write_embeddings(
    path: Path, n: int, centers: np.ndarray, shares: np.ndarray, draw: np.random.Generator
) -> None:
    dim = centers.shape[1]
    out = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=(n, dim))
    for at in range(0, n, _BLOCK):
        chosen = draw.choice(len(centers), min(_BLOCK, n - at), p=shares)
        noise = draw.standard_normal((len(chosen), dim), dtype=np.float32)
        out[at : at + _BLOCK] = _unit(centers[chosen] + noise * np.float32(SPREAD / dim**0.5))
    out.flush()


def _unit(x: np.ndarray) -> np.ndarray:
    unit: np.ndarray = x / np.linalg.norm(x, axis=1, keepdims=True)
    return unit


if __name__ == "__main__":
    print(json.dumps(str(prepare(sys.argv[1], *map(int, sys.argv[2:])))))
