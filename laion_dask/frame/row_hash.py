"""A hash of a row, by which rows are drawn and ordered at random, wherever they are computed."""

from __future__ import annotations

import numpy as np


def identity_hash(shard: np.ndarray, row: np.ndarray, seed: int) -> np.ndarray:
    """A uint64 hash of each row, independent of where it is computed.

    Applies the finalizer of SplitMix64 (Steele, Lea and Flood 2014) to seed and shard, then to the
    result and the row.
    """
    with np.errstate(over="ignore"):
        mixed = _mix(np.asarray(shard).astype(np.uint64) + np.uint64(seed) * np.uint64(2**32 + 1))
        return _mix(mixed ^ np.asarray(row).astype(np.uint64))


def _mix(x: np.ndarray) -> np.ndarray:
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: np.ndarray = x ^ (x >> np.uint64(31))
    return mixed
