"""Embeddings in the order of a frame's shards."""

from __future__ import annotations

from laion_dask.frame.provenance import Provenance


def pair(embeddings, frame):
    """Pair embeddings with the shards of a frame."""
    return embeddings.paired_with(Provenance.of(frame).shards)
