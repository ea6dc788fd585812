"""Count rows that occur more than once in frames, by ``shard`` and ``row``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import dask.dataframe as dd
import numpy as np
import pandas as pd

from laion_dask.backend import Frame
from laion_dask.errors import ProvenanceError
from laion_dask.frame.provenance import Provenance
from laion_dask.frame.row_set import RowSet
from laion_dask.frame.scans import Sources, shard_number_clash
from laion_dask.io.parquet.shard import shards_of
from laion_dask.runtime import graph
from laion_dask.schema import PROVENANCE

#: Rows per set: a set takes at most 2 bits per row where rows are dense.
_ROWS_PER_SET = 1 << 30


def repeated_rows(frames: Sequence[dd.DataFrame], sources: Sources) -> list[dd.DataFrame]:
    """The number of rows that occur more than once in frames, per group of shards. Lazy.

    Parameters
    ----------
    frames : sequence of dask DataFrame
        With ``shard`` and ``row``.
    sources : list of (Scan, list of ScanPartition)
        The scans that the rows come from.

    Returns
    -------
    list of dask DataFrame
        One row each, int64: ``repeats``; ``shard`` and ``row`` of an example (-1 if none); and
        ``strays``, the number of rows that no shard has.
    """
    partitions = [partition for _, of_scan in sources for partition in of_scan]
    rows_of = {shard.index: shard.n_rows for shard in shards_of(partitions)}
    groups = 1 + sum(partition.n_rows for partition in partitions) // _ROWS_PER_SET
    meta = pd.DataFrame({"set": pd.Series([], dtype=object)})
    names = ("repeats", *PROVENANCE, "strays")
    counts = pd.DataFrame({name: pd.Series([], dtype="int64") for name in names})
    results, shared = [], graph.share(rows_of)
    for group in range(groups):
        sets = [graph.map_numbered(f, _row_set, group, groups, meta=meta) for f in frames]
        union = graph.reduce(graph.end_to_end(sets), _union, meta=meta)
        results.append(graph.map_numbered(union, _count, shared, meta=counts))
    return results


def rows_in_both(one: Provenance, other: Provenance) -> int | None:
    """The number of rows that two frames have in common, by ``shard`` and ``row``. Eager.

    None if rows cannot be identified, because ``shard`` and ``row`` are lost or refer to several
    data sets. A row that occurs twice in one frame is counted as common.
    """
    try:
        sources = [*one.sources, *other.sources]
    except ProvenanceError:
        return None
    first, second = one.with_identity, other.with_identity
    if first is None or second is None or shard_number_clash(sources) is not None:
        return None
    results = graph.compute(*repeated_rows([first, second], sources), label="rows in both")
    return sum(int(result["repeats"].iloc[0]) for result in results)


def _row_set(part: Frame, group: int, groups: int) -> pd.DataFrame:
    return _cell(RowSet.of(part, group, groups))


def _union(sets: pd.DataFrame) -> pd.DataFrame:
    return _cell(RowSet.union(list(sets["set"])))


def _cell(rows: RowSet) -> pd.DataFrame:
    cell = np.empty(1, dtype=object)
    cell[0] = rows
    return pd.DataFrame({"set": cell}, copy=False)


def _count(sets: pd.DataFrame, rows_of: Mapping[int, int]) -> pd.DataFrame:
    """The counts of a set, without the set itself."""
    union = RowSet.union(list(sets["set"]))
    shard, row = union.example or (-1, -1)
    strays = union.strays + union.outside(rows_of)
    return pd.DataFrame(
        {"repeats": [union.repeats], "shard": [shard], "row": [row], "strays": [strays]}
    )
