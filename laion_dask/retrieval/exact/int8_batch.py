"""Many queries on a CPU that multiplies int8 twice as fast as bfloat16.

A product of codes is exact in int32. It differs from the cosine by what rounding lost, which is
known: the rows that reach a query's threshold all the same are multiplied in float32 while they
are still in the cache, and only those that are possible after that are kept. With AVX-512 VNNI,
products are compared in registers (`int8_tiles`); with AMX, oneDNN writes them to memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from laion_dask.numerics.dot_products import NEAR
from laion_dask.numerics.int8 import compiles_int8, multiplies_int8, product
from laion_dask.retrieval.exact.bounded_cosines import ErrorBound
from laion_dask.retrieval.exact.int8_rows import (
    ROTATION_ERROR,
    TILE_QUERIES,
    TILE_ROWS,
    EncodedQueries,
    EncodedRows,
    kernel,
)
from laion_dask.retrieval.exact.query_batch import QueryBatch
from laion_dask.retrieval.exact.shared_state import ScratchPool

if TYPE_CHECKING:
    from laion_dask.io.embeddings.embeddings import Embeddings

#: Rows at a time: 5 MiB at 768 dimensions, as they are and in int8, with their marks.
ROWS = 2048
#: The fewest queries for which this is faster than bfloat16: rounding to int8 costs more.
MIN_QUERIES = 256
#: Pairs found before they are added to those held.
_FOUND = 1 << 16
_INT32 = np.iinfo(np.int32)


def uses_int8(m: int, dim: int) -> bool:
    """Whether m queries are multiplied in int8; also the rotation must be possible."""
    return m >= MIN_QUERIES and dim % 4 == 0 and multiplies_int8()


class Float32Cosines:
    """The bound of a cosine computed in float32.

    As for `GemvCosines`, with queries that are not rounded: summation moves a cosine by at most
    ``g``, the row's length by half as much, scaling and the result by ``2**-24`` each. Treating a
    row as having length one adds a relative `NEAR`.
    """

    def __init__(self, m: int, dim: int) -> None:
        g = 1.02 * (dim + 4) * 2.0**-24
        self.bound = ErrorBound(1.02 * NEAR, np.full(m, 1.02 * 1.5 * g + 2.0**-22))


class Int8QueryBatch(QueryBatch):
    """A query batch whose rows are in main memory, compared by int8 products first.

    Let q and y be a rotated query and row, and p and c their codes times the steps. Then ``q y - p
    c = (q - p) c + q (y - c)``, so by Cauchy-Schwarz the product of codes differs from the cosine
    by at most ``|q - p| (1 + |y - c|) + |y - c|``, and by `NEAR` if the row is not scaled.

    Parameters
    ----------
    queries, number, k, embeddings, floor, scratch
        As for `QueryBatch`.
    exchange : callable
        Takes lower bounds of the k best cosines so far, (queries, k) float32, and returns lower
        bounds of each query's k-th best cosine. Only used if some floors are unknown: then most
        pairs are found in the first blocks, and partitions that run together find half as many.
    """

    def __init__(
        self,
        queries: EncodedQueries,
        number: int,
        k: int,
        embeddings: Embeddings,
        floor: np.ndarray,
        scratch: ScratchPool,
        exchange: Callable[[np.ndarray], np.ndarray],
    ) -> None:
        vectors, bounded = queries.vectors, Float32Cosines(*queries.vectors.shape)
        super().__init__(vectors, number, k, embeddings, floor, bounded, scratch)
        #: (m,) float64: a lower bound of each query's k-th best cosine.
        self._low = floor.astype(np.float64)
        self._queries = queries
        self._exchange = exchange if np.isneginf(floor).any() else None
        self._n_blocks = 0

    def add(self, x: np.ndarray, scale, shard: int | np.ndarray, rows: np.ndarray | range) -> None:
        """Add a block of rows and their scales, as `GemmCosines.compute` accepts them."""
        if not len(x):
            return
        if self._scratch.block is None or self._scratch.block[0] is not x:
            self._scratch.block = x, EncodedRows(x, scale, self._scratch)
        encoded = self._scratch.block[1]
        lost = self._queries.lost
        error = 1.02 * (lost * (1 + encoded.lost) + encoded.lost + NEAR + ROTATION_ERROR)
        products, unit = None, self._queries.step * encoded.step
        unknown = np.flatnonzero(np.isneginf(self._low))
        if len(unknown) and len(rows) >= self._k:
            products = self._products(encoded)
            kth = np.partition(products[unknown], -self._k, axis=1)[:, -self._k]
            self._low[unknown] = kth * unit[unknown] - error[unknown]
            self._raise_least()
        cuts = np.floor((self._low - error) / unit - 1)
        marks = self._marks(encoded, cuts, products)
        self._scan(marks, encoded, shard, rows)
        bound = self._cosines.bound
        self._raise_low(bound.lower(self._best[:, :1])[:, 0])  # the heaps' least values
        self._n_blocks += 1
        if self._exchange is not None and self._n_blocks.bit_count() == 1:  # as they double
            self._raise_low(self._exchange(bound.lower(self._best)))

    def _raise_low(self, floor: np.ndarray) -> None:
        self._low = np.maximum(self._low, floor)
        self._raise_least()

    def _raise_least(self) -> None:
        least = self._cosines.bound.threshold_of(self._low)
        self._threshold = np.maximum(self._threshold, least)

    def _products(self, encoded: EncodedRows) -> np.ndarray:
        """The products of all codes, (m, n) int32; least for coarse rows and those undefined."""
        import torch

        codes = self._queries.codes
        m, n = len(codes), len(encoded.rows)
        products = self._scratch.tensor("products", m * n, torch.int32).view(m, n)
        product(torch.from_numpy(codes), torch.from_numpy(encoded.codes), products)
        result = products.numpy()
        for unusable in (encoded.coarse, encoded.undefined):
            if len(unusable):
                result[:, unusable] = _INT32.min
        return result

    def _marks(
        self, encoded: EncodedRows, cuts: np.ndarray, products: np.ndarray | None
    ) -> np.ndarray:
        """The pairs whose product reaches its query's cut, and those of coarse rows; see `scan`."""
        queries, n_panels = self._queries, -(-len(encoded.rows) // TILE_ROWS)
        padded = np.full(queries.packed.shape[0] * TILE_QUERIES, _INT32.max, np.int32)
        marks = self._scratch.array("marks", len(padded) * n_panels, np.uint32)
        marks = marks.reshape(len(padded), n_panels)
        if products is None and not compiles_int8():
            products = self._products(encoded)
        if products is None:
            cuts = cuts + queries.raised
        padded[: len(cuts)] = np.clip(cuts, _INT32.min, _INT32.max)
        if products is None:
            codes = encoded.codes.view(np.uint32)
            panel = self._scratch.array("panel", codes.shape[1] * TILE_ROWS, np.uint32)
            panel = panel.reshape(-1, TILE_ROWS)
            kernel("int8_tiles", "mark", codes, panel, queries.packed, padded, marks)
        else:
            kernel("int8_tiles", "mark_products", products, padded, marks)
        if len(encoded.coarse):
            marks |= _bits(encoded.coarse, n_panels)
        return marks

    def _scan(
        self,
        marks: np.ndarray,
        encoded: EncodedRows,
        shard: int | np.ndarray,
        rows: np.ndarray | range,
    ) -> None:
        """Hold the pairs that are possible; update the best cosines."""
        size = max(_FOUND, len(rows))
        found = [
            self._scratch.array(f"found {name}", size, dtype)
            for name, dtype in (("query", np.int32), ("position", np.int64), ("cosine", np.float32))
        ]
        fixed = marks, encoded.rows, encoded.scale, self._vectors, self._threshold, self._best
        at = 0
        while at < len(self):
            n, at = kernel("int8_kernels", "scan", *fixed, at, *found)
            query, position, cosine = (values[:n].copy() for values in found)
            self._hold(query, position, cosine, shard, rows)


def _bits(positions: np.ndarray, panels: int) -> np.ndarray:
    """The marks of some rows, (panels,) uint32."""
    marked = np.zeros(panels * TILE_ROWS, np.uint32)
    marked[positions] = 1
    return np.bitwise_or.reduce(
        marked.reshape(panels, -1) << np.arange(TILE_ROWS, dtype=np.uint32), axis=1
    )
