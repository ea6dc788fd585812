"""Shards as a Dask frame and as a pandas frame, and a grouping of their captions by words."""

import laion_dask as ld
from support.groupings import Words

WORDS = Words("words", ("bird", "a", "car", "zebra"))
UNSAFE = "punsafe > 0.5"


def tables(rated_shards):
    """The Dask frame, and the same rows as a pandas frame."""
    frame = ld.read_shards(rated_shards)
    return frame, frame.compute()
