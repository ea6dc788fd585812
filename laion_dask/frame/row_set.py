"""A compact set of rows that is cheap to merge.

A row is identified by (shard, row). Each block of 64 consecutive rows of a shard is a 64-bit word,
and a set stores its nonzero words with their positions: 2 bits per row where rows are dense, and at
most 16 bytes per row where they are scattered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from laion_dask.backend import Frame, to_numpy
from laion_dask.schema import PROVENANCE

#: Bits for the row number in a key; shards have fewer than 2**40 rows.
_ROW_BITS, _WORD_BITS = 40, 6


@dataclass(frozen=True)
class RowSet:
    """A set of rows that also counts repeated additions.

    Attributes
    ----------
    at : (n,) int64
        Positions of the words, in ascending order.
    words : (n,) uint64
    repeats : int
        Number of times that a row was added again.
    example : (int, int) or None
        The smallest (shard, row) that was added again, if any.
    strays : int
        Number of rows whose shard or row is null or out of range.
    """

    at: np.ndarray
    words: np.ndarray
    repeats: int
    example: tuple[int, int] | None
    strays: int

    def __len__(self) -> int:
        return int(np.bitwise_count(self.words).sum(dtype=np.int64))

    @classmethod
    def of(cls, part: Frame, group: int = 0, groups: int = 1) -> RowSet:
        """The rows of a partition that belong to one group of shards."""
        identified = part[list(PROVENANCE)].dropna()
        shard, row = (to_numpy(identified[name]).astype(np.int64) for name in PROVENANCE)
        possible = (
            (shard >= 0) & (shard < 1 << 63 - _ROW_BITS) & (row >= 0) & (row < 1 << _ROW_BITS)
        )
        shard, row = shard[possible], row[possible]
        strays = len(part) - len(shard) if group == 0 else 0
        if groups > 1:
            in_group = shard % groups == group
            shard, row = shard[in_group], row[in_group]
        keys = np.sort((shard << _ROW_BITS) | row)
        repeated = keys[1:][keys[1:] == keys[:-1]]
        example = _pair(int(repeated[0])) if len(repeated) else None
        bits = np.uint64(1) << (keys & ((1 << _WORD_BITS) - 1)).astype(np.uint64)
        at, words, _ = _words(keys >> _WORD_BITS, bits)
        return cls(at, words, len(repeated), example, strays)

    @classmethod
    def union(cls, sets: Sequence[RowSet]) -> RowSet:
        """The union of several sets."""
        at = np.concatenate([np.empty(0, np.int64), *(one.at for one in sets)])
        order = np.argsort(at, kind="stable")
        bits = np.concatenate([np.empty(0, np.uint64), *(one.words for one in sets)])[order]
        at, words, starts = _words(at[order], bits)
        examples = [one.example for one in sets if one.example is not None]
        repeated = _repeated_bits(bits, words, starts)
        first = np.flatnonzero(repeated)[:1]
        if len(first):
            word = int(repeated[first[0]])
            key = (int(at[first[0]]) << _WORD_BITS) | ((word & -word).bit_length() - 1)
            examples.append(_pair(key))
        repeats = sum(map(len, sets)) - int(np.bitwise_count(words).sum(dtype=np.int64))
        repeats += sum(one.repeats for one in sets)
        strays = sum(one.strays for one in sets)
        return cls(at, words, repeats, min(examples, default=None), strays)

    def outside(self, rows_of: Mapping[int, int]) -> int:
        """The number of rows beyond the end of their shard, or of an unknown shard."""
        shards, at = np.unique(self.at >> (_ROW_BITS - _WORD_BITS), return_inverse=True)
        n_rows = np.array([rows_of.get(int(shard), 0) for shard in shards], np.int64)[at]
        first = (self.at << _WORD_BITS) & ((1 << _ROW_BITS) - 1)
        n_inside = np.clip(n_rows - first, 0, 1 << _WORD_BITS).astype(np.uint64)
        beyond = np.where(
            n_inside < 64, self.words >> np.minimum(n_inside, np.uint64(63)), np.uint64(0)
        )
        return int(np.bitwise_count(beyond).sum(dtype=np.int64))


def _words(at: np.ndarray, bits: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The unique sorted positions, their bits combined, and the index of each first occurrence."""
    starts = np.flatnonzero(np.diff(at, prepend=-1))
    words = np.bitwise_or.reduceat(bits, starts) if len(starts) else bits[:0]
    return at[starts], words, starts


def _repeated_bits(bits: np.ndarray, words: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """The bits of each word that occur in more than one of its parts."""
    sizes = np.diff(starts, append=len(bits))
    repeated, previous = np.zeros_like(words), np.zeros_like(words)
    for nth in range(int(sizes.max(initial=0))):
        positions = np.flatnonzero(sizes > nth)
        current = bits[starts[positions] + nth]
        repeated[positions] |= previous[positions] & current
        previous[positions] |= current
    return repeated


def _pair(key: int) -> tuple[int, int]:
    return key >> _ROW_BITS, key & ((1 << _ROW_BITS) - 1)
