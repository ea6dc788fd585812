"""The groups of duplicates, as a table."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import dask.dataframe as dd
import numpy as np
import pandas as pd

from laion_dask.backend import Frame, to_pandas
from laion_dask.cost import Cost, PlannedFrame
from laion_dask.curation.bucket_pass import HASH, Spilled, bucket_count, spilled
from laion_dask.curation.duplicates.dedup import (
    check_no_semantic_options,
    dedup_cost,
    given_options,
    needed_columns,
    rule_of,
)
from laion_dask.curation.duplicates.exact import LOW, ORDER, records_of
from laion_dask.curation.duplicates.near import (
    check_no_near_options,
    is_components,
    is_near,
    measure_of,
    near_groups,
)
from laion_dask.curation.duplicates.semantic import semantic_groups
from laion_dask.curation.key import Key
from laion_dask.curation.row_table import KEY, row_keys, shard_and_row
from laion_dask.frame.exploded import refuse_exploded
from laion_dask.frame.provenance import Provenance
from laion_dask.io.embeddings.embeddings import Embeddings
from laion_dask.runtime import graph
from laion_dask.schema import PROVENANCE
from laion_dask.stats.checks import check_integer


def duplicates(
    frame: dd.DataFrame,
    by: str | Sequence[str] | Embeddings = "url",
    *,
    keep: str | Mapping[str, str] | None = None,
    most: int = 1000,
    members: int = 10,
    seed: int = 0,
    eps: float | None = None,
    n_clusters: int | None = None,
    rule: str | None = None,
    iterations: int | None = None,
    memory_limit: int | None = None,
    folder: str | os.PathLike | None = None,
    similar: float | None = None,
    shingles: str | None = None,
    shingle_size: int | None = None,
    radius: int | None = None,
) -> pd.DataFrame:
    """The largest groups of rows that are equal by a key, as a table. Eager.

    These are the groups of which `dedup` keeps one row each. The frame is computed twice: its keys,
    and then the key of each row shown.

    Parameters
    ----------
    frame : dask DataFrame
    by, keep, seed, eps, n_clusters, rule, iterations, memory_limit, folder
        As for `dedup`.
    similar, shingles, shingle_size, radius
        As for `dedup`.
    most : int
        The number of groups to return: the largest ones, those of equal size by their row.
    members : int
        The number of rows to name of each group.

    Returns
    -------
    pandas.DataFrame
        One row for each group of two rows or more, the largest first:

        ``size``
            int64: its number of rows.
        ``shard``, ``row``
            The row that `dedup` keeps.
        the columns of the key
            As they are in that row.
        ``members``
            A list of pairs (shard, row): the rows that `dedup` would keep, first to last, at most
            ``members`` of them.

        ``attrs`` has the counts of the whole frame: ``rows``; ``missing``, rows without a key;
        ``groups``, of two rows or more; ``repeats``, the rows that `dedup` drops.

        By embeddings, one row for each row of a group, the largest group first: ``group``,
        ``rank`` (from 1, the row that is kept), ``shard``, ``row``, ``kept``,
        ``representative_shard`` and ``representative_row`` (the earlier row that it duplicates) and
        ``similarity``, the cosine with it; of all rows of a group, whatever ``members`` is.
        With ``similar`` and ``radius``, the same; ``similarity`` is the Jaccard similarity, or the
        share of equal bits.

    Raises
    ------
    OptionError, ColumnError, ProvenanceError
        Immediately, as for `dedup`.
    SpillError
        When the disk is full.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> groups = frame.laion.duplicates(by="text")
    >>> groups.columns.tolist()
    ['size', 'shard', 'row', 'text', 'members']
    >>> groups["size"].is_monotonic_decreasing
    True
    """
    refuse_exploded(frame, "duplicates")
    check_integer("most", most, 1)
    check_integer("members", members, 1)
    options = given_options(
        eps=eps,
        n_clusters=n_clusters,
        rule=rule,
        iterations=iterations,
        memory_limit=memory_limit,
        folder=folder,
    )
    if isinstance(by, Embeddings):
        check_no_near_options(similar, radius, shingles, shingle_size)
        order = "hard" if keep is None else keep
        return semantic_groups(frame, by, most, keep=order, seed=seed, **options)
    if is_near(similar, radius, shingles, shingle_size):
        check_no_semantic_options(options, but="rule")
        components = is_components(rule)
        measure = measure_of(frame, by, similar, radius, shingles, shingle_size)
        rule_ = rule_of(frame, "first" if keep is None else keep, seed)
        return near_groups(frame, measure, rule_, most, components)
    check_no_semantic_options(options)
    return _by_key(frame, by, "first" if keep is None else keep, most, members, seed)


def _by_key(
    frame: dd.DataFrame,
    by: str | Sequence[str],
    keep: str | Mapping[str, str],
    most: int,
    members: int,
    seed: int,
) -> pd.DataFrame:
    """The groups of rows that are equal by a key."""
    provenance = Provenance.of(frame)
    provenance.check_row_identity()
    key, rule = Key.of(frame, by), rule_of(frame, keep, seed)
    reads = key.reads(frame.columns)
    rows = frame[needed_columns(frame, key, rule)]
    files = spilled(rows, records_of, rule.dtype, n := bucket_count(provenance), key, rule)
    found = graph.tasks(_groups, list(range(n)), files, most, members)
    total = graph.tree(found, _largest, most)
    (largest,) = graph.compute(total, label="duplicates")
    shown = largest.table
    texts = _keys_of_rows(frame[[*dict.fromkeys([*reads, *PROVENANCE])]], shown[KEY].to_numpy())
    table = pd.DataFrame({"size": shown["size"]})
    table["shard"], table["row"] = shard_and_row(shown[KEY].to_numpy())
    for name in reads:
        table[name] = texts[name].array
    pairs = [shard_and_row(np.array(one, np.int64)) for one in shown["members"]]
    table["members"] = pd.Series(
        [list(zip(shard.tolist(), row.tolist(), strict=True)) for shard, row in pairs], dtype=object
    )
    table.attrs = largest.counts
    return table


def duplicates_cost(
    frame: PlannedFrame,
    by: str | Sequence[str] | Embeddings = "url",
    similar: float | None = None,
    radius: int | None = None,
    n_clusters: int | None = None,
    iterations: int | None = None,
) -> Cost:
    """The cost of `duplicates`: that of `dedup`.

    Raises
    ------
    OptionError, ColumnError
        As for `duplicates`.
    """
    return dedup_cost(frame, by, similar, radius, n_clusters, iterations)


class _Groups:
    """The largest groups of some buckets, and the counts of all their rows."""

    def __init__(self, table: pd.DataFrame, counts: dict[str, int]) -> None:
        self.table, self.counts = table, counts


def _groups(bucket: int, _number: int, files: Spilled, most: int, members: int) -> _Groups:
    records = files.bucket(bucket)
    ordered = np.sort(records[HASH])
    again = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    same = records[np.isin(records[HASH], again)]
    ordering = [same[ORDER]] if ORDER in (files.dtype.names or ()) else []
    by = [same[KEY], *ordering, same[LOW], same[HASH]]
    same = same[np.lexsort(by)]
    new = np.ones(len(same), bool)
    new[1:] = (same[HASH][1:] != same[HASH][:-1]) | (same[LOW][1:] != same[LOW][:-1])
    starts = np.flatnonzero(new)
    sizes = np.diff(starts, append=len(same))
    starts, sizes = starts[sizes > 1], sizes[sizes > 1]
    keys = same[KEY]
    table = pd.DataFrame({"size": sizes, KEY: keys[starts], "start": starts})
    table = _first(table, most)
    ends = table["start"] + np.minimum(table["size"], members)
    table["members"] = pd.Series(
        [keys[a:b].tolist() for a, b in zip(table["start"], ends, strict=True)], dtype=object
    )
    repeats = int(sizes.sum()) - len(sizes)
    rows, missing = (files.n_rows, files.n_rows) if bucket == 0 else (0, 0)
    counts = {
        "rows": rows,
        "missing": missing - len(records),
        "groups": len(sizes),
        "repeats": repeats,
    }
    return _Groups(table.drop(columns="start"), counts)


def _first(table: pd.DataFrame, most: int) -> pd.DataFrame:
    order = np.lexsort((table[KEY].to_numpy(), -table["size"].to_numpy()))[:most]
    return table.iloc[order].reset_index(drop=True)


def _largest(found: Sequence[_Groups], most: int) -> _Groups:
    table = _first(pd.concat([one.table for one in found], ignore_index=True), most)
    counts = {name: sum(one.counts[name] for one in found) for name in found[0].counts}
    return _Groups(table, counts)


def _keys_of_rows(frame: dd.DataFrame, keys: np.ndarray) -> pd.DataFrame:
    """The rows of a frame with these keys, in their order."""
    if not len(keys):
        return to_pandas(frame._meta)
    parts = graph.tasks(_rows_of, graph.parts(frame), graph.share(keys))
    found = pd.concat(graph.compute(*parts, label="duplicates"), ignore_index=True)
    at = pd.Index(row_keys(found)[0]).get_indexer(keys)
    return found.iloc[at].reset_index(drop=True)


def _rows_of(part: Frame, _number: int, keys: np.ndarray) -> pd.DataFrame:
    own, valid = row_keys(part)
    return to_pandas(part).loc[valid & np.isin(own, keys)].reset_index(drop=True)
