"""Fixtures of the plan tests."""

import numpy as np
import pytest
from support.plan_rates import DIM

import laion_dask as ld


@pytest.fixture
def folder(laion_shards, tmp_path):
    """Two shards of 30 and 10 rows, with 128-dimensional float16 embeddings."""
    laion_shards(30, 10, row_group_size=10)
    for i, n in enumerate((30, 10)):
        (tmp_path / "img_emb").mkdir(exist_ok=True)
        np.save(tmp_path / f"img_emb/part_{i}.npy", np.ones((n, DIM), np.float16))
    return tmp_path


@pytest.fixture
def frame(folder):
    return ld.read_shards(folder / "shards")


@pytest.fixture
def emb(folder, frame):
    return ld.open_embeddings(folder / "img_emb", model="demo", like=frame)
