"""Tables with keys to join, written to files, and what pandas makes of them."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

N = 60


def write(path, columns: dict, n_files: int = 1, **options) -> str:
    path.mkdir(parents=True, exist_ok=True)
    table = pa.table(columns)
    cuts = np.linspace(0, len(table), n_files + 1).astype(int)
    for i, (start, stop) in enumerate(pairwise(cuts)):
        pq.write_table(table.slice(start, stop - start), path / f"{i:04d}.parquet", **options)
    return str(path)


def rows(hashes) -> dict:
    n = len(hashes)
    return {
        "URL": [f"http://a.com/{i}" for i in range(n)],
        "TEXT": [f"caption {i % 7}" for i in range(n)],
        "similarity": np.linspace(0, 1, n, dtype="f4"),
        "hash": pa.array(hashes, pa.int64()),
    }


def big(i: np.ndarray) -> np.ndarray:
    """Integers too large for float64 to distinguish."""
    return (np.asarray(i, np.int64) + 2**62).astype(np.int64)


def by_pandas(folder: str, scores: str, how: str) -> pd.DataFrame:
    read = [pq.read_table(f).to_pandas() for f in (folder, scores)]
    return read[0].merge(read[1], on="hash", how=how, sort=False)


def keys_of_others(tmp_path) -> str:
    """A table that maps the keys to those of another table."""
    i = np.arange(N)
    return write(tmp_path / "keys", {"hash": big(i), "other": [f"k{j}" for j in i]}, 2)
