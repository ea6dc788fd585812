"""Validate the counts and the reference of `exclusion`."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from math import isfinite
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from laion_dask.errors import OptionError

#: Rows of each group: by label, or by position.
GroupRows: TypeAlias = Mapping[Any, int] | pd.Series | Sequence[int]
#: The name of the axis, or the labels of the groups.
GroupNames: TypeAlias = str | Sequence[Hashable] | None


def group_counts(
    n_before: GroupRows, n_after: GroupRows, by: GroupNames
) -> tuple[str, dict[Hashable, tuple[int, int]]]:
    """The name of the axis, and the rows of each group before and after.

    Raises
    ------
    OptionError
        If counts are not numbers of rows by group, or exceed those before.
    """
    before, after = _mapping(n_before, by), _mapping(n_after, by)
    axis = by if isinstance(by, str) else "group"
    if before is None or after is None:
        labels = _positions(n_before) if isinstance(by, str) else _labels(by)
        lengths = [len(labels), *(len(sequence) for sequence in (n_before, n_after))]
        if len(set(lengths)) > 1:
            raise OptionError(
                "exclusion was given {1} counts before, {2} after, and {0} groups. Expected the "
                "same number of each.".format(*lengths)
            )
        before, after = (
            dict(zip(labels, sequence, strict=True)) for sequence in (n_before, n_after)
        )
    elif not isinstance(by, str) and by is not None:
        labels = _labels(by)
        before = {label: before.get(label, 0) for label in labels}
        after = {label: after.get(label, 0) for label in labels}
    elif by is None:
        axis = str(getattr(getattr(n_before, "index", None), "name", None) or axis)
    for label in after:
        if label not in before:
            raise OptionError(f"n_after has a group {label!r}, which is not in n_before.")
    counts = {g: (_count(n, g), _count(after.get(g, 0), g)) for g, n in before.items()}
    for label, (n, kept) in counts.items():
        if kept > n:
            raise OptionError(
                f"Group {label!r} has {kept:,} rows after and {n:,} before. Expected n_after to "
                "count the rows of n_before that were kept."
            )
    return axis, counts


def _mapping(counts: GroupRows, by: GroupNames) -> dict[Hashable, int] | None:
    """Counts by group; None if the counts are positional."""
    if isinstance(counts, pd.Series):
        named = not isinstance(counts.index, pd.RangeIndex)
        if not counts.index.is_unique:
            raise OptionError("A Series of counts has a duplicate group. Sum its counts first.")
        return dict(counts.items()) if named or by is None or isinstance(by, str) else None
    if isinstance(counts, Mapping):
        return dict(counts)
    if isinstance(counts, (str, bytes)) or not hasattr(counts, "__len__"):
        raise OptionError(
            f"exclusion was given {counts!r} as counts. Expected row counts by group: a mapping, "
            "or a sequence with the groups' names in by."
        )
    return None


def _positions(counts: GroupRows) -> list[str]:
    """The names of unnamed groups: 0, 1 and so on."""
    return [str(position) for position in range(len(counts))]


def _labels(by: GroupNames) -> list[Hashable]:
    if by is None or isinstance(by, str) or not hasattr(by, "__iter__"):
        raise OptionError(
            f"by is {by!r}. Expected the groups' names, one per count; or pass the counts as "
            "mappings."
        )
    labels = list(by)
    if len(set(labels)) < len(labels):
        raise OptionError("by contains a duplicate group. Expected each group once.")
    return labels


def _count(n: Any, label: Hashable) -> int:
    is_number = isinstance(n, (int, np.integer, float)) and not isinstance(n, bool)
    if not is_number or not isfinite(n) or n < 0 or n != int(n):
        raise OptionError(f"Group {label!r} has {n!r} rows. Expected a non-negative integer.")
    return int(n)


def totals(
    counts: Mapping[Hashable, tuple[int, int]], total: tuple[int, int] | None
) -> tuple[int, int]:
    """All rows before and after: ``total``, or the sums of the groups.

    Raises
    ------
    OptionError
        If ``total`` is not two integers, or is smaller than a group.
    """
    if total is None:
        return sum(n for n, _ in counts.values()), sum(kept for _, kept in counts.values())
    try:
        before, after = (_count(n, "(all)") for n in total)
    except (TypeError, ValueError) as error:
        raise OptionError(
            f"total is {total!r}. Expected all rows before and after, as two integers."
        ) from error
    for label, (n, kept) in counts.items():
        if kept > after or n - kept > before - after:
            raise OptionError(
                f"total has {before:,} rows before and {after:,} after, which cannot contain the "
                f"group {label!r} of {n:,} before and {kept:,} after. Count all rows once each."
            )
    return before, after


def expected_shares(
    counts: Mapping[Hashable, tuple[int, int]], reference: Mapping[Hashable, float] | None
) -> dict[Hashable, float]:
    """The reference share of each group; equal shares without a reference."""
    if reference is None:
        return {label: 1 / len(counts) for label in counts}
    return distribution(reference)


def distribution(reference: Mapping[Hashable, float]) -> dict[Hashable, float]:
    """Weights by group, normalized to sum to 1.

    Raises
    ------
    OptionError
        If ``reference`` is not a mapping, a weight is negative or not a number, or all weights are
        0.
    """
    if isinstance(reference, pd.Series):
        reference = dict(reference.items())
    if not isinstance(reference, Mapping):
        raise OptionError(
            f"reference is {reference!r}. Expected a share per group, such as "
            "{'women': 0.5, 'men': 0.5}."
        )
    weights = {}
    for label, weight in reference.items():
        number = isinstance(weight, (int, float, np.integer, np.floating))
        if not number or isinstance(weight, bool) or not isfinite(weight) or weight < 0:
            raise OptionError(
                f"reference has {weight!r} for {label!r}. Expected a non-negative number."
            )
        weights[label] = float(weight)
    total = sum(weights.values())
    if not total > 0:
        raise OptionError("reference has no positive share. Expected at least one.")
    return {label: weight / total for label, weight in weights.items()}
