"""The largest product of each row's codes with those of many centroids, tile by tile."""

from __future__ import annotations

import numpy as np

from laion_dask.numerics.int8_codes import Products, kernel
from laion_dask.runtime import cancellation

#: Rows and centroids of a tile: 4 MiB of products, which stay in the cache.
TILE_ROWS, TILE_COLUMNS = 1024, 1024


class CentroidTiles:
    """The codes of centroids in tiles, each prepared for products."""

    def __init__(self, codes: np.ndarray) -> None:
        self.starts = range(0, len(codes), TILE_COLUMNS)
        self.tiles = [
            Products(np.ascontiguousarray(codes[at : at + TILE_COLUMNS])) for at in self.starts
        ]

    def __iter__(self):
        return zip(self.starts, self.tiles, strict=True)


def largest_products(
    codes: np.ndarray, centroids: np.ndarray | CentroidTiles
) -> tuple[np.ndarray, np.ndarray]:
    """The largest product of each row, (n,) int32, and the number of its centroid, (n,) int32.

    Of equal products, that of the first centroid.
    """
    tiles = centroids if isinstance(centroids, CentroidTiles) else CentroidTiles(centroids)
    best = np.full(len(codes), np.iinfo(np.int32).min, np.int32)
    label = np.zeros(len(codes), np.int32)
    buffer = np.empty(TILE_ROWS * TILE_COLUMNS, np.int32)
    update = kernel("assign", buffer[:0].reshape(0, 1), 0, best[:0], label[:0])
    for at in range(0, len(codes), TILE_ROWS):
        cancellation.check()
        rows = slice(at, at + TILE_ROWS)
        for first, tile in tiles:
            update(tile.of(codes[rows], buffer), first, best[rows], label[rows])
    return best, label
