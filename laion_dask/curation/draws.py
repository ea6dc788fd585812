"""The random number of each row of a partition, for each purpose another one."""

from __future__ import annotations

import numpy as np

from laion_dask.backend import Frame
from laion_dask.curation.row_hash import row_hash
from laion_dask.curation.row_table import row_keys, shard_and_row

#: Draws of a seed: rows that one step kept at random are not those that another would keep.
DEDUP, SAMPLE, BALANCE = (1 << 32) + 1, (1 << 32) + 2, (1 << 32) + 3


def draws(part: Frame, seed: int, draw: int) -> tuple[np.ndarray, np.ndarray]:
    """A random number of each row, (n,) uint64, and a mask of the rows with an identity."""
    keys, valid = row_keys(part)
    return row_hash(*shard_and_row(keys), seed, draw), valid
