"""Write many small shards of LAION-shaped rows, with embeddings, as img2dataset users have them.

``python small_shards_data.py FOLDER SHARDS ROWS`` prints the folder of the data, as JSON. It has
``metadata/metadata_00000.parquet`` and ``img_emb/img_emb_00000.npy``, and so on.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from laion_dask.demo.synthetic_rows import draw_block

#: Narrow, so that the time per file shows, and so that 20 million rows fit on a small disk.
DIM = 64
SEED = 0


def prepare(folder: str, shards: int, rows: int) -> str:
    """Write the shards unless they are there already."""
    out = Path(folder) / f"small-{shards}x{rows}"
    done = out / "done"
    if done.exists():
        return str(out)
    for name in ("metadata", "img_emb"):
        (out / name).mkdir(parents=True, exist_ok=True)
    drawn, block, at = None, 0, 0
    for number in range(shards):
        if drawn is None or at + rows > len(drawn):
            drawn, block, at = draw_block(SEED, "laion2B-multi", block), block + 1, 0
            drawn = drawn if isinstance(drawn, pa.Table) else pa.Table.from_pandas(drawn)
        pq.write_table(drawn.slice(at, rows), out / f"metadata/metadata_{number:05d}.parquet")
        at += rows
        vectors = np.random.default_rng([SEED, number]).standard_normal((rows, DIM), np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        np.save(out / f"img_emb/img_emb_{number:05d}.npy", vectors.astype(np.float16))
    done.touch()
    return str(out)


if __name__ == "__main__":
    print(json.dumps(prepare(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
