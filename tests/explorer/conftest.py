"""What tests of the explorer's views share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from laion_dask.explorer.jobs import Jobs


@pytest.fixture
def jobs() -> Iterator[Jobs]:
    """Jobs that end with the test."""
    jobs = Jobs()
    yield jobs
    jobs.close()
