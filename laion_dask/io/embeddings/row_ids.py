"""Where the rows of a partition are: their shards, and their positions in them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from laion_dask.backend import to_numpy
from laion_dask.errors import ProvenanceError
from laion_dask.retrieval.exact.pairs import Pairs


def among(part, number: int, wanted: Pairs) -> Pairs:
    """Those of some pairs whose row is in a partition, which they are told.

    Parameters
    ----------
    part : frame with ``shard`` and ``row``, or (shard, start, stop)
    number : int
        The partition's.
    wanted : Pairs
    """
    kept = np.zeros(len(wanted), bool)
    for shard, rows in runs(part):
        here = np.flatnonzero(wanted.shard == shard)
        kept[here] = _is_among(wanted.row[here], rows)
    found = wanted.take(kept)
    return Pairs(found.query, found.shard, found.row, np.full(len(found), number, np.int32))


def _is_among(row: np.ndarray, rows: np.ndarray | range) -> np.ndarray:
    """Whether each row is one of others, which ascend."""
    if isinstance(rows, range):
        return (row >= rows.start) & (row < rows.stop)
    at = np.minimum(np.searchsorted(rows, row), len(rows) - 1)
    return rows[at] == row


def runs(part) -> Iterator[tuple[int, np.ndarray | range]]:
    """A partition's rows shard by shard: (shard, rows ascending, each once); none are empty.

    Parameters
    ----------
    part : frame with ``shard`` and ``row``, or (shard, start, stop)

    Raises
    ------
    ProvenanceError
        When a row is there twice, or has no shard or no number.
    """
    if isinstance(part, tuple):
        shard, start, stop = part
        if stop > start:
            yield shard, range(start, stop)
        return
    shards, rows = shards_and_rows(part)
    for shard in np.unique(shards):
        here = rows[shards == shard]
        once = np.unique(here)
        if len(once) < len(here):
            raise multiplied()
        yield int(shard), once


def shards_and_rows(part) -> tuple[np.ndarray, np.ndarray]:
    """The shard and the row of every row of a partition, as whole numbers.

    Raises
    ------
    ProvenanceError
        When one has none.
    """
    return _places(part, "shard"), _places(part, "row")


def _places(part, name: str) -> np.ndarray:
    """The shards or rows of a partition; a merge may have made floats of them."""
    missing = int(part[name].isna().sum())
    if missing:
        raise ProvenanceError(
            f"{missing:,} rows of a partition have no {name!r}: an outer merge or a concat has "
            "added rows that are in no shard. Merge with merge(..., how='left') or 'inner', or "
            "leave them out with frame.dropna(subset=['shard', 'row'])."
        )
    values = to_numpy(part[name])
    return values.astype(np.int64, copy=False)


def multiplied() -> ProvenanceError:
    """The error for a row that a frame has more than once."""
    return ProvenanceError(
        "The frame has the same row several times: a merge or a concat has multiplied rows, so "
        "the nearest cannot be counted off. Search first, and merge what was found."
    )
