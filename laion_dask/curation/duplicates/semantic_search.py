"""Duplicates within one cluster: pairs of rows whose cosine exceeds a threshold, exactly.

Rows are compared block by block by products of their codes in int8, and the cosines of the pairs
that these admit are computed in float64. Only pairs of a row and an earlier one are compared.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from laion_dask.numerics.int8_codes import ROUNDING, Codes, Products, encode, kernel
from laion_dask.runtime import cancellation

#: Rows of a block: 4 MiB of products, which stay in the cache.
_BLOCK = 1024


@dataclass(frozen=True, eq=False)
class Found:
    """What became of the rows of a cluster, which are numbered by their position in its order.

    Attributes
    ----------
    representative : (n,) int64 array
        An earlier row that a row duplicates; -1 for a row that is kept.
    similarity : (n,) float64 array
        The cosine with the representative; NaN for a row that is kept.
    group : (n,) int64 array
        The row that is kept of the group of each row.
    """

    representative: np.ndarray
    similarity: np.ndarray
    group: np.ndarray


class _Block:
    """Rows of a cluster, in float32 and in int8."""

    def __init__(self, x: np.ndarray, start: int) -> None:
        self.start = start
        self.x = np.ascontiguousarray(x[start : start + _BLOCK], np.float32)
        self.inverse = np.empty(len(self.x))
        kernel("inverse_lengths", self.x[:0], self.inverse[:0])(self.x, self.inverse)
        self.codes: Codes = encode(self.x)

    def bound(self, other: _Block) -> np.ndarray:
        """Of the errors of the approximate cosines of the rows with those of another block."""
        most = float(other.codes.lost.max(initial=0.0))
        return np.asarray(self.codes.lost.astype(np.float64) * (1 + most) + most + ROUNDING)


def published_rule(x: np.ndarray, eps: float) -> Found:
    """The duplicates by the rule of SemDeDup: a row goes if it is near *some* earlier row.

    That row may go itself. The representative is the nearest of the earlier rows. Following
    representatives ends at a row that is kept, which names the group.

    Parameters
    ----------
    x : (n, dim) float16 or float32 array
        The rows of a cluster in their order, each with a direction; may be a memory map.
    eps : float
        A row is near another if their cosine is more than ``1 - eps``.
    """
    cosine, position = np.full(len(x), 1.0 - eps), np.full(len(x), -1, np.int64)
    call = kernel("nearest_earlier", *_examples(), 0, 0, cosine[:0], position[:0])
    for one, other, arguments in _pairs_of_blocks(x, cosine):
        rows = slice(one.start, one.start + len(one.x))
        call(*arguments, one.start - other.start, other.start, cosine[rows], position[rows])
    group = np.where(position < 0, np.arange(len(x)), position)
    while (group[group] != group).any():
        group = group[group]
    return Found(position, np.where(position < 0, np.nan, cosine), group)


def components(x: np.ndarray, eps: float) -> Found:
    """The duplicates by connected components: the first row of each is kept, and represents it.

    Parameters are those of `published_rule`. A row may be far from the row that represents it.
    """
    least, parents = 1.0 - eps, np.arange(len(x))
    call = kernel("unite", *_examples(), 0, 0, least, parents[:0])
    for one, other, arguments in _pairs_of_blocks(x, None):
        call(*arguments, one.start - other.start, other.start, least, parents)
    while (parents[parents] != parents).any():
        parents = parents[parents]
    gone = np.flatnonzero(parents != np.arange(len(x)))
    similarity = np.full(len(x), np.nan)
    for start in range(0, len(gone), _BLOCK):
        at = gone[start : start + _BLOCK]
        similarity[at] = _cosines(x[at], x[parents[at]])
    return Found(np.where(parents == np.arange(len(x)), -1, parents), similarity, parents)


def _pairs_of_blocks(x: np.ndarray, cosine: np.ndarray | None):
    """Each block with itself and with all earlier ones, and the first arguments of the kernels."""
    buffer = np.empty(_BLOCK * _BLOCK, np.int32)
    for start in range(0, len(x), _BLOCK):
        one = _Block(x, start)
        for earlier in range(0, start + 1, _BLOCK):
            cancellation.check()
            if cosine is not None and (cosine[start : start + _BLOCK] >= 1).all():
                break  # no other row is nearer
            other = one if earlier == start else _Block(x, earlier)
            products = Products(other.codes.codes).of(one.codes.codes, buffer)
            scales = one.codes.scale, one.bound(other), other.codes.scale
            yield one, other, (products, *scales, one.x, other.x, one.inverse, other.inverse)


def _examples() -> tuple[np.ndarray, ...]:
    """The first arguments of the kernels, without rows."""
    number, row = np.empty(0), np.empty((0, 1), np.float32)
    scale = number.astype(np.float32)
    return np.empty((0, 1), np.int32), scale, number, scale, row, row, number, number


def _cosines(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    one, other = x.astype(np.float64), y.astype(np.float64)
    lengths = (np.sqrt(np.einsum("ij,ij->i", each, each)) for each in (one, other))
    dots = np.einsum("ij,ij->i", one, other)
    for length in lengths:
        dots = dots / length
    return np.asarray(np.clip(dots, -1, 1))
