"""Scores of one partition from the embeddings that its rows point at; no Dask in sight.

Rows are read shard by shard and in blocks, so memory is a block's, not a partition's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from laion_dask.backend import column_like, device_of
from laion_dask.io.embeddings.row_ids import blocks
from laion_dask.numerics.dot_products import cosines
from laion_dask.scoring import embedding_kernel_gpu

if TYPE_CHECKING:
    from laion_dask.io.embeddings.embeddings import Embeddings
    from laion_dask.models.heads import Head


def columns(
    part,
    names: Sequence[str],
    several: Sequence[Embeddings],
    score: Callable,
    on_card: Callable,
    device: str | None = None,
):
    """A frame of float32 columns with the partition's index, filled block by block.

    Scores are made where the frame is: on the processor, or on the card and left there.

    Parameters
    ----------
    part : frame with ``shard`` and ``row``
    names : sequence of str
    several : sequence of Embeddings
        Of each, a row's vector is read once.
    score : callable
        ``score(*rows)`` of (k, dim) arrays, one for each of ``several``, yields a (k,) array a
        name.
    on_card : callable
        The same of tensors on a device; see `kernels.score_card`.
    device : str, optional
        By default the frame's.
    """
    device = device or device_of(part)
    if device != "cpu":
        many = blocks(part, embedding_kernel_gpu.BLOCK)
        out = embedding_kernel_gpu.fill(len(part), len(names), several, many, on_card, device)
        return scored(part, names, out)
    out = [np.full(len(part), np.nan, dtype=np.float32) for _ in names]
    for shard, rows, positions in blocks(part):
        given = (embeddings.read(shard, rows) for embeddings in several)
        for column, values in zip(out, score(*given), strict=True):
            column[positions] = values
    return scored(part, names, out)


def scored(part, names: Sequence[str], values: Sequence[np.ndarray]):
    """A frame of float32 columns with the partition's index."""
    return part[[]].assign(**{n: column_like(v, part) for n, v in zip(names, values, strict=True)})


@dataclass(frozen=True)
class Query:
    """A direction in embedding space: ``dim`` numbers of length one, in float32."""

    vector: tuple[float, ...]
    column: str | None = None
    text: str | None = None

    def recipe(self) -> dict:
        """What a manifest records of a query: its text, if known, and the digest of its bytes."""
        digest = hashlib.sha256(self.array().tobytes()).hexdigest()
        return {"column": self.column, "query": self.text, "query_sha256": digest}

    def array(self) -> np.ndarray:
        """The vector, (dim,) float32."""
        return np.array(self.vector, dtype=np.float32)


def similarity(part, embeddings: Embeddings, query: Query, to: str):
    """Cosine of each row's embedding with one query vector.

    Returns
    -------
    DataFrame
        One column of float32 in [-1, 1]; NaN for a row whose embedding is NaN, infinite or zero.
    """
    vector = query.array()

    def score(x: np.ndarray):
        yield cosines(x, vector)

    def on_card(x):
        yield embedding_kernel_gpu.cosines(x, embedding_kernel_gpu.as_tensor(vector, x.device))

    return columns(part, [to], [embeddings], score, on_card)


def similarity_to(part, embeddings: Embeddings, others: Embeddings, to: str):
    """Cosine of each row's embedding with the same row's other embedding: the CLIP score.

    Returns
    -------
    DataFrame
        As `similarity`; NaN where either has no direction.
    """

    def score(x: np.ndarray, y: np.ndarray):
        yield cosines(x, y)

    def on_card(x, y):
        yield embedding_kernel_gpu.cosines(x, y)

    return columns(part, [to], [embeddings, others], score, on_card)


def heads(part, embeddings: Embeddings, specs: Sequence[Head]):
    """One column a head, each row's embedding read once.

    Returns
    -------
    DataFrame of float32
        NaN where the embedding has no direction, or a length that the head does not take.
    """

    def score(x: np.ndarray):
        yield from (head.scored(x) for head in specs)

    def on_card(x):
        yield from (head.on_device(x) for head in specs)

    return columns(part, [head.name for head in specs], [embeddings], score, on_card)
