"""Count the rows of frames, and those that occur more than once, by ``shard`` and ``row``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import dask.dataframe as dd
import numpy as np
import pandas as pd
from dask.delayed import Delayed

from laion_dask.backend import Frame
from laion_dask.errors import ProvenanceError
from laion_dask.frame import exploded
from laion_dask.frame.provenance import Provenance
from laion_dask.frame.record_set import RecordSet
from laion_dask.frame.scans import Sources, shard_number_clash
from laion_dask.io.parquet.shard import shards_of
from laion_dask.runtime import graph
from laion_dask.schema import PROVENANCE

#: Rows per set: a set takes at most 2 bits per row where rows are dense.
_ROWS_PER_SET = 1 << 30
_CHECKS = ("repeats", *PROVENANCE, "strays")
_OUTCOMES = ("kept", "unscored", "rejected")


def repeated_rows(
    frames: Sequence[dd.DataFrame], sources: Sources, number: str | None = None
) -> list[dd.DataFrame]:
    """The number of rows that occur more than once in frames, per group of shards. Lazy.

    Parameters
    ----------
    frames : sequence of dask DataFrame
        With ``shard`` and ``row``.
    sources : list of (Scan, list of ScanPartition)
        The scans that the rows come from.
    number : str, optional
        The column that tells the records of one row apart, where rows have several.

    Returns
    -------
    list of dask DataFrame
        One row each, int64: ``repeats``; ``shard`` and ``row`` of an example (-1 if none); and
        ``strays``, the number of rows that no shard has.
    """
    results = []
    for union, rows_of in _sets(frames, sources, number):
        results.append(graph.map_numbered(union, _count, rows_of, meta=_meta(_CHECKS)))
    return results


def counted_rows(
    frame: dd.DataFrame,
    undecided: Sequence[dd.DataFrame],
    sources: Sources,
    number: str | None,
) -> list[dd.DataFrame]:
    """The number of rows that records belong to, per group of shards. Lazy.

    Parameters
    ----------
    frame : dask DataFrame
        The records that are kept, with ``shard`` and ``row``.
    undecided : sequence of dask DataFrame
        The records that filters cannot decide.
    sources : list of (Scan, list of ScanPartition)
        The scans that the rows come from.
    number : str or None
        The column that tells the records of one row apart, if records may occur more than once.

    Returns
    -------
    list of dask DataFrame
        One row each, int64: ``kept``, the rows with a kept record; ``unscored``, the other rows
        with an undecided one; ``rejected``, 0; and the columns of `repeated_rows`, whose
        ``repeats`` are 0 if no number is given.
    """
    meta = _meta((*_OUTCOMES, *_CHECKS))
    kept = _sets([frame], sources, number)
    if not undecided:
        return [graph.map_numbered(k, _count_rows, None, of, number, meta=meta) for k, of in kept]
    others = _sets(undecided, sources, number)
    return [
        graph.map_aligned(k, _count_both, [other], of, number, meta=meta)
        for (k, of), (other, _) in zip(kept, others, strict=True)
    ]


def _sets(
    frames: Sequence[dd.DataFrame], sources: Sources, number: str | None
) -> list[tuple[dd.DataFrame, Delayed]]:
    """The set of all records of some frames, and the rows of each shard; per group of shards."""
    partitions = [partition for _, of_scan in sources for partition in of_scan]
    rows_of = {shard.index: shard.n_rows for shard in shards_of(partitions)}
    groups = 1 + sum(partition.n_rows for partition in partitions) // _ROWS_PER_SET
    meta = pd.DataFrame({"set": pd.Series([], dtype=object)})
    unions, shared = [], graph.share(rows_of)
    for group in range(groups):
        sets = [graph.map_numbered(f, _set, number, group, groups, meta=meta) for f in frames]
        unions.append((graph.reduce(graph.end_to_end(sets), _union, meta=meta), shared))
    return unions


def _meta(names: Sequence[str]) -> pd.DataFrame:
    return pd.DataFrame({name: pd.Series([], dtype="int64") for name in names})


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
    explosions = [exploded.explosion_in(side.steps) for side in (one, other)]
    number = None if explosions[0] is None else explosions[0].number
    if explosions[0] != explosions[1] or (number and number not in {*first} & {*second}):
        return None
    common = repeated_rows([first, second], sources, number)
    results = graph.compute(*common, label="rows in both")
    return sum(int(result["repeats"].iloc[0]) for result in results)


def _set(part: Frame, number: str | None, group: int, groups: int) -> pd.DataFrame:
    return _cell(RecordSet.of(part, number, group, groups))


def _union(sets: pd.DataFrame) -> pd.DataFrame:
    return _cell(_one(sets))


def _one(sets: pd.DataFrame) -> RecordSet:
    return RecordSet.union(list(sets["set"]))


def _cell(records: RecordSet) -> pd.DataFrame:
    cell = np.empty(1, dtype=object)
    cell[0] = records
    return pd.DataFrame({"set": cell}, copy=False)


def _count(sets: pd.DataFrame, rows_of: Mapping[int, int]) -> pd.DataFrame:
    """The counts of a set, without the set itself."""
    return pd.DataFrame(_checks(_one(sets), rows_of))


def _checks(union: RecordSet, rows_of: Mapping[int, int]) -> dict[str, list[int]]:
    shard, row = union.example or (-1, -1)
    strays = union.strays(rows_of)
    return {"repeats": [union.repeats], "shard": [shard], "row": [row], "strays": [strays]}


def _count_both(
    kept: pd.DataFrame, undecided: pd.DataFrame, rows_of: Mapping[int, int], number: str | None
) -> pd.DataFrame:
    return _count_rows(kept, undecided, rows_of, number)


def _count_rows(
    kept: pd.DataFrame,
    undecided: pd.DataFrame | None,
    rows_of: Mapping[int, int],
    number: str | None,
) -> pd.DataFrame:
    sets = [_one(kept), *([] if undecided is None else [_one(undecided)])]
    n_kept, n_either = len(sets[0].rows), len(RecordSet.union(sets).rows)
    outcomes = {"kept": [n_kept], "unscored": [n_either - n_kept], "rejected": [0]}
    checks = _checks(RecordSet.union(sets), rows_of)
    return pd.DataFrame({**outcomes, **checks, **({} if number else {"repeats": [0]})})
