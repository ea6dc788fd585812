"""The rule, shared by all views, that decides whether a sampled row is safe to show."""

from __future__ import annotations

import numpy as np

from laion_dask.explorer.columns import NumberColumn
from laion_dask.explorer.sample import Sample
from laion_dask.io.images.thumbnails import UNSAFE, doubt


def safe_rows(sample: Sample, safety: str) -> np.ndarray:
    """Mask of the rows that are known to be safe, (n,) bool: none without the column.

    The same decision as that of `laion_dask.io.images.thumbnails.doubt` for one score.
    """
    column = sample.columns.get(safety)
    if not isinstance(column, NumberColumn):
        return np.zeros(sample.n, bool)
    is_safe = (column.values >= 0) & (column.values < UNSAFE)
    return is_safe & ~column.missing()


def known_unsafe(sample: Sample, safety: str) -> np.ndarray:
    """Mask of the rows whose score says that they are unsafe, (n,) bool: none without the column.

    A negative score counts as missing.
    """
    column = sample.columns.get(safety)
    if not isinstance(column, NumberColumn):
        return np.zeros(sample.n, bool)
    return (column.values >= UNSAFE) & ~column.missing()


def hidden_as(sample: Sample, safety: str) -> str:
    """Why rows of a sample are hidden, as an adjective for all of them."""
    n_hidden = sample.n - int(np.count_nonzero(safe_rows(sample, safety)))
    n_unsafe = int(np.count_nonzero(known_unsafe(sample, safety)))
    if not n_unsafe:
        return "without a score"
    return "unsafe" if n_unsafe == n_hidden else "unsafe or unscored"


def why_unsafe(sample: Sample, position: int, safety: str) -> str | None:
    """Why a row is not known to be safe, in words; None if it is."""
    column = sample.columns.get(safety)
    if not isinstance(column, NumberColumn):
        return f"the rows have no {safety} score"
    if column.codes[position] == column.n_bins:
        return f"the row has no {safety} score"
    reason = doubt(column.values[position].item())
    return reason and f"{safety} {reason}"
