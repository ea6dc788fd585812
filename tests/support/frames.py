"""Run one test over pandas and cuDF frames and compare the results in pandas."""

from __future__ import annotations

from functools import cache

import pytest

from laion_dask.backend import is_cudf, resolve_backend, to_pandas
from laion_dask.errors import MissingExtraError

#: Mark a module or a test to run with both frame types; cuDF runs under ``-m gpu``.
both = pytest.mark.usefixtures("frames")
KINDS = [pytest.param("pandas", id="pandas"), pytest.param("cudf", marks=pytest.mark.gpu)]


@cache
def why_no_cudf() -> str | None:
    """Return why cuDF frames cannot be created here, or None if they can."""
    try:
        resolve_backend("cudf")
    except MissingExtraError as error:
        return str(error)
    return None


def on_host(computed):
    """Convert a computed frame or series to what pandas would return; pandas passes unchanged.

    Integers are nullable, as in a shard, except ``shard``, ``row`` and the counts from `search`.
    """
    if not is_cudf(computed):
        return computed
    if not hasattr(computed, "columns"):
        return on_host(computed.to_frame("it"))["it"].rename(computed.name)
    frame = to_pandas(computed.reset_index(drop=True))
    frame.index, frame.attrs = computed.index.to_pandas(), dict(computed.attrs)
    return frame.astype({name: "int64" for name in ("query", "rank") if name in frame})


def with_host_results(method):
    """Wrap a method so that it returns its result `on_host`."""
    return lambda *args, **kwargs: on_host(method(*args, **kwargs))
