"""Frames with a partition per small shard, and frames as ``read_shards`` makes them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import dask.dataframe as dd
import pytest

import laion_dask as ld
from laion_dask.io.parquet import partitions

#: How many small shards ``read_shards`` combines in one partition.
_MAX_SHARDS = partitions._MAX_SHARDS


@contextmanager
def partition_per_shard() -> Iterator[None]:
    """Give every small shard its own partition, so that frames of a few rows have several."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(partitions, "_MAX_SHARDS", 1)
        yield


@contextmanager
def small_shards_combined() -> Iterator[None]:
    """Combine small shards in one partition, as ``read_shards`` does outside of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(partitions, "_MAX_SHARDS", _MAX_SHARDS)
        yield


def read_combined(paths, **options) -> dd.DataFrame:
    """``read_shards``, with small shards combined in one partition."""
    with small_shards_combined():
        return ld.read_shards(paths, **options)
