"""Fixtures of the join tests."""

import numpy as np
import pytest
from support.join_tables import N, big, rows, write

from laion_dask.joins import join as joining


@pytest.fixture(params=["held by every worker", "shuffled"])
def way(request, monkeypatch):
    """Run a test with each join strategy."""
    if request.param == "shuffled":
        monkeypatch.setattr(joining, "MAX_LOOKUP_BYTES", 0)
    return request.param


@pytest.fixture
def folders(tmp_path):
    """A data set of 60 rows, and scores for 40 of them and for 10 other keys."""
    frame = write(tmp_path / "meta", rows(big(np.arange(N))), 3, row_group_size=8)
    order = np.random.default_rng(0).permutation(np.r_[np.arange(20, N), np.arange(1000, 1010)])
    scores = {"hash": big(order), "punsafe": (order % 10 / 10).astype("f4"), "n": order}
    return frame, write(tmp_path / "scores", scores, 2)
