"""A collection as a frame and its embeddings, and a computed column by row."""

import pandas as pd

import laion_dask as ld


def opened(c, **options):
    """Frame, image embeddings, text embeddings."""
    return (
        ld.read_shards(c.metadata, **options),
        ld.open_embeddings(c.img_emb, model=c.model),
        ld.open_embeddings(c.text_emb, model=c.model),
    )


def by_row(frame, column="query_similarity") -> pd.Series:
    """A computed column, sorted by (shard, row)."""
    got = frame.compute() if hasattr(frame, "compute") else frame
    return got.set_index(["shard", "row"])[column].sort_index()
