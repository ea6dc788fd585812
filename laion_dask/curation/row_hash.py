"""Hashes of rows, which do not depend on where and in which order they are computed."""

from __future__ import annotations

from typing import Any

import numpy as np


def row_hash(shard: np.ndarray, row: np.ndarray, seed: int, draw: int = 0) -> np.ndarray:
    """A hash of each row for one draw of a seed, (n,) uint64, uniform over all values.

    Applies the finalizer of SplitMix64 (Steele, Lea and Flood 2014) to the seed, then to the result
    and the draw, the shard, and the row.

    Parameters
    ----------
    shard, row : (n,) int array
        0 or more.
    seed, draw : int
        0 or more; different draws of a seed are independent of each other.
    """
    state = mix(mix(np.uint64(seed % (2**64 - 59))) ^ np.uint64(draw))
    mixed = mix(state ^ np.asarray(shard).astype(np.uint64))
    hashed: np.ndarray = mix(mixed ^ np.asarray(row).astype(np.uint64))
    return hashed


def mix(x: Any) -> Any:
    """The finalizer of SplitMix64, of uint64 values."""
    with np.errstate(over="ignore"):
        x = x + np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))
