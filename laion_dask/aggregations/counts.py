"""Labeled integer counts, which can be added although partitions have seen different labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import pyarrow.compute as pc

from laion_dask.aggregations.engine.base import Partition
from laion_dask.aggregations.grouping.base import (
    MAX_GROUPS,
    Grouping,
    Members,
    members,
    too_many_groups,
)
from laion_dask.errors import OptionError

#: Counts are kept per shard while the number of groups times shards does not exceed this.
MAX_CELLS = 1 << 21
#: Maximum number of counts that one statistic keeps (128 MB).
MAX_NUMBERS = 1 << 24

#: Rows counted at a time, so that intermediate arrays stay in the processor's cache.
_BLOCK = 1 << 14

#: Labels: all rows; (1, name) for a group; groups that are pooled; the rows in no group.
ALL, OTHERS, NONE = (0, ""), (2, ""), (3, "")


@dataclass(frozen=True, eq=False)
class Counts:
    """An integer array whose leading axes are labeled.

    Attributes
    ----------
    labels : tuple of tuple
        Labels of each labeled axis; unique.
    values : int64 array
        One number, or an array of numbers, per combination of labels.
    """

    labels: tuple[tuple, ...]
    values: np.ndarray

    def ordered(self, *labels: Sequence) -> np.ndarray:
        """The values with the labeled axes in the given order, and zeros for unseen labels."""
        return _reordered(self, tuple(map(tuple, labels)))


def merge_counts(several: Sequence[Counts]) -> Counts:
    """The sum over the union of the labels, which are sorted."""
    first = several[0]
    if all(other.labels == first.labels for other in several):
        total = np.add.reduce([c.values for c in several], axis=0, dtype=np.int64)
        return Counts(first.labels, total)
    axes = range(len(first.labels))
    labels = tuple(tuple(sorted({label for c in several for label in c.labels[i]})) for i in axes)
    return Counts(labels, reduce(np.add, (_reordered(c, labels) for c in several)))


def _reordered(one: Counts, labels: tuple[tuple, ...]) -> np.ndarray:
    if one.labels == labels:
        return one.values
    tail = one.values.shape[len(labels) :]
    values = np.zeros((*map(len, labels), *tail), np.int64)
    positions = [{label: i for i, label in enumerate(level)} for level in labels]
    source, target = [], []
    for source_labels, position in zip(one.labels, positions, strict=True):
        source.append([i for i, label in enumerate(source_labels) if label in position])
        target.append([position[source_labels[i]] for i in source[-1]])
    values[np.ix_(*target)] = one.values[np.ix_(*source)]
    return values


@dataclass(frozen=True, eq=False)
class Tally:
    """Contingency table: rows per group and outcome code.

    Attributes
    ----------
    groups : Counts
        Labels `ALL`, ``(1, group)`` and `NONE`; values (labels, outcomes).
    shards : Counts or None
        The same by shard, values (labels, shards, outcomes); None if not requested, or if labels
        times shards exceed `MAX_CELLS`.
    """

    groups: Counts
    shards: Counts | None


def tally(
    partition: Partition,
    by: Grouping | None,
    outcomes: np.ndarray,
    n_outcomes: int,
    by_shard: bool = False,
) -> Tally:
    """Rows by outcome, for each group, for all rows and for the rows in no group.

    Parameters
    ----------
    partition : Partition
    by : Grouping or None
        None for all rows only.
    outcomes : (n,) int array
        The outcome code of each row, from 0 to ``n_outcomes`` - 1.
    n_outcomes : int
    by_shard : bool
        Whether to count per value of the column ``shard`` too.
    """
    memberships = None if by is None else members(partition, by)
    labels = (
        (ALL,) if memberships is None else (ALL, *((1, text) for text in memberships.labels), NONE)
    )
    shards, shard_of = partition.memo(_shards) if by_shard else ((0,), None)
    if len(labels) * max(1, len(shards)) > MAX_CELLS:
        by_shard, shards, shard_of = False, (0,), None
    _check_size(by, len(labels) * n_outcomes)
    width = len(shards) * n_outcomes
    keys = outcomes if shard_of is None else shard_of * n_outcomes + outcomes
    values = np.zeros((len(labels), width), np.int64)
    if memberships is not None:
        _count_groups(memberships, keys, values)
    if memberships is not None and memberships.is_disjoint:
        values[0] = values[1:].sum(axis=0)
    else:
        values[0] = np.bincount(keys, minlength=width)
    of_shards = values.reshape(len(labels), len(shards), n_outcomes)
    overall = Counts((labels,), of_shards.sum(axis=1))
    return Tally(overall, Counts((labels, shards), of_shards) if by_shard else None)


def _count_groups(memberships: Members, keys: np.ndarray, values: np.ndarray) -> None:
    """Count the rows of each key by group, and in no group, in all rows of a table but the first.

    ``keys`` has one entry for each row of the partition; ``values`` one column for each key.
    """
    n_groups, width = len(memberships.labels), values.shape[1]
    is_complete = memberships.is_disjoint and len(memberships.rows) == len(keys)
    counts = np.zeros(n_groups * width, np.int64)
    step = max(_BLOCK, len(counts))
    for at in range(0, len(memberships.codes), step):
        block = slice(at, at + step)
        placed = memberships.codes[block] * np.int64(width)
        placed += keys[block] if is_complete else keys[memberships.rows[block]]
        counts += np.bincount(placed, minlength=len(counts))
    values[1:-1] = counts.reshape(n_groups, width)
    if not is_complete:
        values[-1] = np.bincount(keys[~memberships.in_any()], minlength=width)


def merge_tallies(several: Sequence[Tally], by: Grouping | None) -> Tally:
    """The sum of several tallies of one grouping.

    Raises
    ------
    OptionError
        If there are more groups than allowed.
    """
    groups = merge_counts([t.groups for t in several])
    n_groups = len(groups.labels[0])
    if by is not None and n_groups > MAX_GROUPS + 2:
        raise too_many_groups(by.axis, n_groups)
    _check_size(by, groups.values.size)
    parts = [t.shards for t in several if t.shards is not None]
    if len(parts) < len(several):
        return Tally(groups, None)
    n_shards = len({shard for one in parts for shard in one.labels[1]})
    return Tally(groups, merge_counts(parts) if n_groups * n_shards <= MAX_CELLS else None)


def pool_groups(group_tally: Tally, top: int | None) -> Tally:
    """The tally with only the largest groups; the others become one.

    If rows can be in several groups, the others cannot be added and are dropped.
    """
    size = dict(
        zip(
            group_tally.groups.labels[0],
            group_tally.groups.values.sum(axis=1).tolist(),
            strict=True,
        )
    )
    groups = sorted((label for label in size if label[0] == 1), key=lambda g: (-size[g], g))
    if top is None or len(groups) <= top:
        return group_tally
    ends = [label for label in (ALL, NONE) if label in size]
    is_disjoint = sum(n for label, n in size.items() if label != ALL) == size[ALL]
    kept, others = [*ends, *groups[:top]], groups[top:] if is_disjoint else None

    def pooled_counts(counts: Counts) -> Counts:
        other_labels = counts.labels[1:]
        values = counts.ordered(kept, *other_labels)
        if others is None:
            return Counts((tuple(kept), *other_labels), values)
        pooled = counts.ordered(others, *other_labels).sum(axis=0, keepdims=True)
        return Counts(((*kept, OTHERS), *other_labels), np.concatenate([values, pooled]))

    return Tally(
        pooled_counts(group_tally.groups),
        None if group_tally.shards is None else pooled_counts(group_tally.shards),
    )


def _check_size(by: Grouping | None, size: int) -> None:
    if size <= MAX_NUMBERS:
        return
    if by is None:
        raise OptionError(
            f"The thresholds require {size:,} counts in memory, but at most "
            f"{MAX_NUMBERS:,} are allowed. Give fewer thresholds."
        )
    raise OptionError(
        f"{by.axis!r} has so many groups that {size:,} counts are required in memory, but at most "
        f"{MAX_NUMBERS:,} are allowed. Use a coarser grouping, or give fewer thresholds."
    )


def _shards(partition: Partition) -> tuple[tuple[int, ...], np.ndarray | None]:
    """The distinct shards, and the index of each row's shard; None if there is only one shard.

    Rows without a shard number count as one shard, -1.
    """
    column = pc.fill_null(partition.table["shard"], -1)
    ends = pc.min_max(column).as_py()
    if ends["min"] == ends["max"]:
        return (() if ends["min"] is None else (ends["min"],)), None
    shards, shard_of = np.unique(column.to_numpy(), return_inverse=True)
    return tuple(shards.tolist()), shard_of
