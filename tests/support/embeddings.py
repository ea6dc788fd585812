"""Pair embeddings with a frame's shards; Parquet columns of vectors."""

import pyarrow as pa

from laion_dask.frame.provenance import Provenance
from laion_dask.io.embeddings import row_ids


def pair(embeddings, frame):
    """Pair embeddings with the shards of a frame."""
    return embeddings.paired_with(Provenance.of(frame).shards)


def parquet_column(array, type_, nulls=()):
    values = [None if i in nulls else row.tolist() for i, row in enumerate(array)]
    return pa.array(values, type_)


def set_block_rows(monkeypatch, rows: int) -> None:
    """Read vectors in blocks of so many rows."""
    monkeypatch.setattr(row_ids, "BLOCK", rows)
