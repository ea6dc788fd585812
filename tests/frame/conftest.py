"""Fixtures that the tests of frames share."""

from __future__ import annotations

import dask
import pytest
from support.shards import collection

import laion_dask as ld


@pytest.fixture(scope="session")
def two_shards(tmp_path_factory):
    """Two shards of 40 and 25 rows with embeddings; read-only."""
    return collection(tmp_path_factory.mktemp("two_shards"), (40, 25))


@pytest.fixture
def frame(two_shards):
    """A frame of `two_shards`, computed in this thread."""
    with dask.config.set(scheduler="sync"):
        yield ld.read_shards(two_shards.metadata)
