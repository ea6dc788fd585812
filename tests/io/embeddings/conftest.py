"""Fixtures of the embeddings tests."""

import fsspec
import pytest
from support.reopened_exports import SIZES
from support.shards import collection, space

import laion_dask as ld


@pytest.fixture
def model(tmp_path):
    return space(tmp_path)


@pytest.fixture
def memory():
    """The URL of an empty folder in the memory store."""
    fs = fsspec.filesystem("memory")
    yield "memory://test_embeddings"
    if fs.exists("/test_embeddings"):
        fs.rm("/test_embeddings", recursive=True)


@pytest.fixture
def c(tmp_path):
    """Four shards, one of them empty, with their embeddings."""
    return collection(tmp_path / "set", SIZES, odd=False)


@pytest.fixture
def out(tmp_path, c):
    """The folder of an export, the export opened, and the embeddings of its source."""
    ld.where(ld.read_shards(c.metadata), "width > 300").laion.export(
        tmp_path / "out", rows_per_part=30
    )
    again = ld.read_shards(tmp_path / "out")
    return tmp_path / "out", again, ld.open_embeddings(c.img_emb, model=c.model)
