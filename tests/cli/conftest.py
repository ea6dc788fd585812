"""Fixtures of the tests of the command."""

from __future__ import annotations

import pytest
from tqdm import tqdm


@pytest.fixture(autouse=True)
def _no_open_bars():
    """Close bars that an interrupted test left open: each message would first clear their lines."""
    for bar in list(getattr(tqdm, "_instances", ())):
        bar.close()
