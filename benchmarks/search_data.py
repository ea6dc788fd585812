"""Clustered unit vectors in shards of float16, with metadata beside them, and queries; once.

``python search_data.py FOLDER ROWS`` prints one line of JSON: where they are.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

DIM, SHARDS, QUERIES, SEED = 768, 8, 1000, 7
#: Clusters, and how far a row strays from its centre: neighbours of a row have cosines from 0.4 to
#: 0.7, as in CLIP's space.
CLUSTERS, SPREAD = 1000, 0.8


def write(folder: Path, rows: int) -> None:
    """Shards ``img_emb/img_emb_0.npy`` …, ``metadata/metadata_0.parquet`` …, ``queries.npy``."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    draw = np.random.default_rng(SEED)
    centres = _unit(draw.standard_normal((CLUSTERS, DIM), dtype=np.float32))
    for name in ("img_emb", "metadata"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    ends = [rows * (i + 1) // SHARDS for i in range(SHARDS)]
    for i, (start, stop) in enumerate(zip([0, *ends], ends, strict=False)):
        path = folder / "img_emb" / f"img_emb_{i}.npy"
        shape = (stop - start, DIM)
        out = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=shape)
        for at in range(0, len(out), 8192):
            out[at : at + 8192] = _some(draw, centres, len(out[at : at + 8192]))
        out.flush()
        numbers = pa.array(range(start, stop), pa.int64())
        table = pa.table({"URL": pa.compute.cast(numbers, pa.string()), "hash": numbers})
        pq.write_table(table, folder / "metadata" / f"metadata_{i}.parquet")
    np.save(folder / "queries.npy", _some(draw, centres, QUERIES).astype(np.float32))


def _some(draw, centres, n: int):
    """Rows near centres that are drawn at random."""
    import numpy as np

    noise = draw.standard_normal((n, DIM), dtype=np.float32) * np.float32(SPREAD / DIM**0.5)
    return _unit(centres[draw.integers(0, len(centres), n)] + noise)


def _unit(x):
    import numpy as np

    return x / np.linalg.norm(x, axis=1, keepdims=True)


def prepare(folder: str, rows: int) -> Path:
    """The folder of the data, made if it is not there."""
    target = Path(folder) / f"search-{rows}"
    if not target.exists():
        half = target.with_name(f"{target.name}.{os.getpid()}")
        write(half, rows)
        half.rename(target)
    return target


if __name__ == "__main__":
    import pyarrow.compute  # noqa: F401

    print(json.dumps(str(prepare(sys.argv[1], int(sys.argv[2])))))
