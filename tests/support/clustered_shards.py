"""Shards whose embeddings lie around a few centers, with some rows that have no direction."""

from pathlib import Path

import numpy as np

import laion_dask as ld
from support.clustered_vectors import DIM, clustered
from support.shards import laion_table, npy, space, write_shard


def clustered_shards(folder, sizes=(300, 0, 170, 30), *, dtype="float16"):
    """Write shards and embeddings; return the frame and its embeddings.

    In every shard of more than ten rows, row 3 is zero, row 5 has a NaN, and row 7 equals row 2.
    """
    folder = Path(folder)
    for number, n in enumerate(sizes):
        x = clustered(n, number).astype(dtype)
        if n > 10:
            x[3], x[5, 0], x[7] = 0, np.nan, x[2]
        write_shard(folder / "metadata" / f"metadata_{number:04d}.parquet", laion_table(n, number))
        npy(folder / "img_emb" / f"img_emb_{number:04d}.npy", x)
    frame = ld.read_shards(folder / "metadata")
    return frame, ld.open_embeddings(folder / "img_emb", model=space(folder, DIM), like=frame)
