"""Scores of one partition from the embeddings of its rows.

Rows are read by shard and in blocks, so memory use is that of a block, not of a partition.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from laion_dask.backend import column_like, device_of, is_cudf
from laion_dask.cost import EMBEDDINGS, Cost
from laion_dask.io.embeddings.row_ids import blocks
from laion_dask.io.embeddings.vector_blocks import vector_blocks
from laion_dask.numerics.dot_products import cosines
from laion_dask.scoring import embedding_kernel_gpu

if TYPE_CHECKING:
    import torch

    from laion_dask.io.embeddings.embeddings import Embeddings
    from laion_dask.models.heads import FilterNetwork, Head


def fill_columns(
    partition,
    names: Sequence[str],
    sets: Sequence[Embeddings],
    score: Callable,
    score_on_gpu: Callable,
    device: str | None = None,
):
    """A frame of float32 columns with the partition's index, filled block by block.

    Scores are computed on the device of the frame: on the CPU, or on the GPU, where they stay.

    Parameters
    ----------
    partition : frame with ``shard`` and ``row``
    names : sequence of str
    sets : sequence of Embeddings
        Each row's vector is read once from each set.
    score : callable
        ``score(*rows)`` of (k, dim) arrays, one for each of ``sets``, yields a (k,) array per
        name.
    score_on_gpu : callable
        The same for tensors on a device; see `embedding_kernel_gpu`.
    device : str, optional
        By default the frame's device.
    """
    device = device or device_of(partition)
    if device != "cpu":
        device_blocks = blocks(partition, embedding_kernel_gpu.BLOCK)
        return score_columns(
            partition,
            names,
            embedding_kernel_gpu.fill(
                len(partition), len(names), sets, device_blocks, score_on_gpu, device
            ),
        )
    out = [np.full(len(partition), np.nan, dtype=np.float32) for _ in names]
    for matrices, positions in vector_blocks(partition, sets):
        for column, values in zip(out, score(*matrices), strict=True):
            column[positions] = values
    return score_columns(partition, names, out)


def score_columns(partition, names: Sequence[str], values: Sequence[np.ndarray | torch.Tensor]):
    """A frame of float32 columns with the partition's index."""
    columns = dict(zip(names, values, strict=True))
    if not is_cudf(partition):
        return pd.DataFrame(columns, index=partition.index, copy=False)
    return partition[[]].assign(**{n: column_like(v, partition) for n, v in columns.items()})


@dataclass(frozen=True)
class Query:
    """A direction in embedding space: a unit-norm float32 vector of ``dim`` numbers."""

    vector: tuple[float, ...]
    column: str | None = None
    text: str | None = None

    def recipe(self) -> dict:
        """The manifest entry of a query: its text, if known, and the digest of its bytes."""
        digest = hashlib.sha256(self.array().tobytes()).hexdigest()
        return {"column": self.column, "query": self.text, "query_sha256": digest}

    def array(self) -> np.ndarray:
        """The vector, (dim,) float32."""
        return np.array(self.vector, dtype=np.float32)

    @property
    def cost(self) -> Cost:
        """The cost of one dot product per row; see `laion_dask.cost`."""
        flop = 2.0 * len(self.vector)
        return Cost(("similarity",), reads=EMBEDDINGS, flop=flop, label=self.column or "similarity")


@dataclass(frozen=True)
class Pair:
    """The cosine of two sets of embeddings of the same rows, as a column.

    Attributes
    ----------
    column : str
        The column that it computes.
    dim : int
        The width of an embedding.
    """

    column: str
    dim: int

    @property
    def cost(self) -> Cost:
        """The cost of a dot product and two norms per row; see `laion_dask.cost`."""
        return Cost(("clip_score",), reads=EMBEDDINGS, flop=6.0 * self.dim, label=self.column)


def similarity(partition, embeddings: Embeddings, query: Query, to: str):
    """Cosine of each row's embedding with one query vector.

    Returns
    -------
    DataFrame
        One column of float32 in [-1, 1]; NaN for a row whose embedding is NaN, infinite or zero.
    """
    vector = query.array()

    def score(x: np.ndarray):
        yield cosines(x, vector)

    def score_on_gpu(x):
        yield embedding_kernel_gpu.cosines(x, embedding_kernel_gpu.as_tensor(vector, x.device))

    return fill_columns(partition, [to], [embeddings], score, score_on_gpu)


def similarity_to(partition, embeddings: Embeddings, others: Embeddings, pair: Pair):
    """Cosine of each row's embedding with its embedding in a second set: the CLIP score.

    Returns
    -------
    DataFrame
        As `similarity`; NaN if either embedding has no direction.
    """

    def score(x: np.ndarray, y: np.ndarray):
        yield cosines(x, y)

    def score_on_gpu(x, y):
        yield embedding_kernel_gpu.cosines(x, y)

    return fill_columns(partition, [pair.column], [embeddings, others], score, score_on_gpu)


def heads(partition, embeddings: Embeddings, specs: Sequence[Head]):
    """One column per head; each row's embedding is read once.

    Returns
    -------
    DataFrame of float32
        NaN where the embedding has no direction, or a length that the head does not accept.
    """

    def score(x: np.ndarray):
        yield from (head.scored(x) for head in specs)

    def score_on_gpu(x):
        yield from (head.on_device(x) for head in specs)

    return fill_columns(partition, [head.name for head in specs], [embeddings], score, score_on_gpu)


def filter_networks(
    partition, images: Embeddings, texts: Embeddings, networks: Sequence[FilterNetwork]
):
    """One column per filter network; each row's embeddings are read once.

    Returns
    -------
    DataFrame of float32
        In [-1, 1]; NaN where either embedding has no direction.
    """

    def score(x: np.ndarray, y: np.ndarray):
        yield from (network.predict(x, y) for network in networks)

    def score_on_gpu(x, y):
        yield from (network.on_device(x, y) for network in networks)

    names = [network.name for network in networks]
    return fill_columns(partition, names, [images, texts], score, score_on_gpu)
