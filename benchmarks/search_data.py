"""Generate the input of the search benchmark and compare its results.

Clustered float16 unit vectors in shards, with metadata, and queries; generated once.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

DIM, SHARDS, QUERIES, SEED = 768, 8, 1000, 7
#: Number of clusters, and the distance of a row from its center: neighbors have cosines of 0.4 to
#: 0.7, as in CLIP's embedding space.
CLUSTERS, SPREAD = 1000, 0.8


def write(folder: Path, rows: int) -> None:
    """Write ``img_emb/img_emb_0.npy``, ``metadata/metadata_0.parquet``, …, and ``queries.npy``."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc
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
            out[at : at + 8192] = _draw_rows(draw, centres, len(out[at : at + 8192]))
        out.flush()
        numbers = pa.array(range(start, stop), pa.int64())
        table = pa.table({"URL": pc.cast(numbers, pa.string()), "hash": numbers})
        pq.write_table(table, folder / "metadata" / f"metadata_{i}.parquet")
    np.save(folder / "queries.npy", _draw_rows(draw, centres, QUERIES).astype(np.float32))


def _draw_rows(draw, centres, n: int):
    """Rows near randomly drawn centers."""
    import numpy as np

    noise = draw.standard_normal((n, DIM), dtype=np.float32) * np.float32(SPREAD / DIM**0.5)
    return _unit(centres[draw.integers(0, len(centres), n)] + noise)


def _unit(x):
    import numpy as np

    return x / np.linalg.norm(x, axis=1, keepdims=True)


def prepare(folder: str, rows: int) -> Path:
    """Write the data if missing, and return their folder."""
    target = Path(folder) / f"search-{rows}"
    if not target.exists():
        partial = target.with_name(f"{target.name}.{os.getpid()}")
        write(partial, rows)
        partial.rename(target)
    return target


def compare(folder: str, reference: str, *others: str) -> dict:
    """Recall and wrong rows of each contender, keyed by the stem of its file.

    A row is correct if the reference contains it, or if its true cosine, in float64, is at least
    that of the reference's last row minus 1e-6.
    """
    import numpy as np

    shards = [np.load(p, mmap_mode="r") for p in sorted(Path(folder, "img_emb").glob("*.npy"))]
    starts = np.cumsum([0, *map(len, shards)])
    queries = np.load(Path(folder) / "queries.npy").astype(np.float64)
    true = np.load(reference)
    last = true["cosines"].min(axis=1) - 1e-6
    result = {}
    for path in others:
        output = np.load(path)
        n = different = 0
        for query, rows in enumerate(output["rows"]):
            for row in rows[~np.isin(rows, true["rows"][query])]:
                shard = np.searchsorted(starts, row, side="right") - 1
                x = shards[shard][row - starts[shard]].astype(np.float64)
                different += float(_unit(x[None])[0] @ _unit(queries[[query]])[0]) < last[query]
            n += len(rows)
        result[Path(path).stem] = {"recall": 1 - different / n, "different": int(different)}
    return result


if __name__ == "__main__":
    task, *arguments = sys.argv[1:]
    if task == "prepare":
        print(json.dumps(str(prepare(arguments[0], int(arguments[1])))))
    else:
        print(json.dumps(compare(*arguments)))
