"""Fixtures of the index tests: embeddings with clusters, and an index of them."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from support.clustered_vectors import DIM, clustered
from support.shards import npy, space

import laion_dask as ld


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Four files, one of them empty, with five rows without a direction."""
    folder = tmp_path_factory.mktemp("embeddings")
    for number, n in enumerate((600, 0, 501, 300)):
        x = clustered(n, number)
        if n:
            x[3], x[n - 1, 2] = 0, np.nan
        if n == 300:
            x[7, 1] = np.inf
        npy(folder / f"img_emb_{number}.npy", x)
    return folder


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    return space(tmp_path_factory.mktemp("model"), DIM)


@pytest.fixture(scope="session")
def emb(folder, model):
    return ld.open_embeddings(folder, model=model)


@pytest.fixture(scope="session")
def built(emb, tmp_path_factory):
    """An index of three groups; read-only."""
    return ld.build_index(emb, tmp_path_factory.mktemp("index") / "out", group_rows=500)


@pytest.fixture
def copied(built, tmp_path):
    """A copy of the same index that may be modified."""
    return Path(shutil.copytree(built.path, tmp_path / "copy"))
