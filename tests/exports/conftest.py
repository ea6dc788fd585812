"""Fixtures of the export tests."""

import os

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from support.carved_exports import SIZES
from support.s3_server import s3_bucket
from support.shards import laion_table, write_shard


@pytest.fixture
def no_fsync(monkeypatch):
    """Skip fsync, to keep the tests fast."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def store():
    fs = MemoryFileSystem()
    yield "memory://test_transaction/out"
    if fs.exists("/test_transaction"):
        fs.rm("/test_transaction", recursive=True)


@pytest.fixture(scope="module")
def bucket():
    """The address of a bucket of a local S3 server."""
    pytest.importorskip("moto")
    pytest.importorskip("s3fs")
    with s3_bucket() as address:
        yield address


@pytest.fixture
def source(tmp_path):
    """The folder of four shards, one of them empty."""
    for i, n in enumerate(SIZES):
        write_shard(tmp_path / "in" / f"metadata_{i:04d}.parquet", laion_table(n, i))
    return str(tmp_path / "in")


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"
