"""The same test over frames of pandas and of cuDF: what it computes is compared in pandas."""

from __future__ import annotations

from functools import cache

import pytest

from laion_dask.backend import is_cudf, resolve_backend, to_pandas
from laion_dask.errors import MissingExtraError

#: On a module or a test: run it with both kinds of frame, cuDF's under ``-m gpu``.
both = pytest.mark.usefixtures("frames")
KINDS = [pytest.param("pandas", id="pandas"), pytest.param("cudf", marks=pytest.mark.gpu)]


@cache
def why_no_cudf() -> str | None:
    """Why frames of cuDF cannot be made here; None where they can."""
    try:
        resolve_backend("cudf")
    except MissingExtraError as error:
        return str(error)
    return None


def on_host(computed):
    """A computed frame or series as the pandas backend would give it; that of pandas as it is.

    Integers are nullable, as those of a shard are, but for ``shard`` and ``row`` and what `search`
    counts.
    """
    if not is_cudf(computed):
        return computed
    if not hasattr(computed, "columns"):
        return on_host(computed.to_frame("it"))["it"].rename(computed.name)
    frame = to_pandas(computed.reset_index(drop=True))
    frame.index, frame.attrs = computed.index.to_pandas(), dict(computed.attrs)
    return frame.astype({name: "int64" for name in ("query", "rank") if name in frame})


def brought_home(method):
    """A method whose answer comes `on_host`."""
    return lambda *args, **kwargs: on_host(method(*args, **kwargs))
