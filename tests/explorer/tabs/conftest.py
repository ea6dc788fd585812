"""What tests of the explorer's tabs share."""

from __future__ import annotations

import pytest
from support.explorations import exploration_of

from laion_dask.explorer.exploration import Exploration


@pytest.fixture
def exploration(tmp_path, monkeypatch) -> Exploration:
    """An exploration of 400 rows, with a temporary folder as the current one and for the cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return exploration_of(tmp_path)
