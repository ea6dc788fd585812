"""Mark the rows of a data set by their membership in two subsets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import dask.dataframe as dd
import numpy as np

from laion_dask.backend import Frame, column_like, to_numpy
from laion_dask.frame.exploded import explosion_of
from laion_dask.frame.filters import is_filter, mask_of, replace_step, unfiltered_scan
from laion_dask.frame.row_path import inputs, is_verb
from laion_dask.frame.scans import is_scan, partitions_of
from laion_dask.frame.undecided_rows import possible_mask
from laion_dask.frame.where_kernel import passes, possibly_passes
from laion_dask.runtime import graph
from laion_dask.runtime.dask_expressions import (
    Elemwise,
    Expr,
    Fillna,
    FromMap,
    MapPartitions,
    new_collection,
)

#: The columns that `mark_membership` adds, one per subset.
IN_ONE, IN_OTHER = "laion_dask: in the first", "laion_dask: in the second"
#: Their values: in the subset, not in it, or undecided by its filters.
OUTSIDE, UNDECIDED, INSIDE = range(3)


def mark_membership(
    one: dd.DataFrame, other: dd.DataFrame, columns: Sequence[str]
) -> dd.DataFrame | None:
    """The rows that two frames were filtered from, with their membership in each frame. Lazy.

    Parameters
    ----------
    one, other : dask DataFrame
    columns : sequence of str
        Columns of ``one`` to keep.

    Returns
    -------
    dask DataFrame or None
        ``columns``, plus `IN_ONE` and `IN_OTHER` (int8). None if the two do not derive from one
        frame, or if a step other than a filter selects or reorders rows.
    """
    trunk = _trunk(one.expr, other.expr)
    if trunk is None:
        return None
    first, second = (_filters_above(frame.expr, trunk) for frame in (one, other))
    if first is None or second is None:
        return None
    series, counts = [*first, *second], (len(first) // 2, len(second) // 2)
    kept = list(dict.fromkeys(columns)) or list(one.columns[-1:])
    base = new_collection(_unfiltered(one.expr, trunk))[kept]
    meta = _mark(base._meta, *(np.empty(0, bool) for _ in series), counts)
    marked: dd.DataFrame = graph.map_aligned(base, _mark, series, counts, meta=meta)
    return marked


def _mark(part: Frame, *masks_and_counts: Any) -> Frame:
    *masks, counts = masks_and_counts
    masks = [mask if isinstance(mask, np.ndarray) else to_numpy(mask) for mask in masks]
    marks = {}
    for name, n in zip((IN_ONE, IN_OTHER), counts, strict=True):
        inside, possible = np.ones((2, len(part)), bool)
        for _ in range(n):
            inside &= masks.pop(0).astype(bool)
            possible &= masks.pop(0).astype(bool)
        code = np.where(inside, INSIDE, np.where(possible, UNDECIDED, OUTSIDE)).astype(np.int8)
        marks[name] = column_like(code, part)
    return part.assign(**marks)


def _path(expr: Expr) -> list[Expr] | None:
    """The steps from a frame to its only scan; None if its rows come from several."""
    steps = [expr]
    while below := inputs(steps[-1]):
        if len(below) > 1:
            return None
        steps += below
    return steps


def _trunk(one: Expr, other: Expr) -> Callable[[Expr], bool] | None:
    """A test for the step that two paths share: the last common frame, or else the same scan."""
    path, other_path = _path(one), _path(other)
    if path is None or other_path is None:
        return None
    names = {step._name for step in other_path}
    shared = next((step._name for step in path if step._name in names), None)
    if shared is not None:
        return lambda step: step._name == shared
    end, other_end = path[-1], other_path[-1]
    if is_scan(end) and is_scan(other_end):
        scan, other_scan = (replace(scan.func, where=None) for scan in (end, other_end))
        if scan == other_scan and partitions_of(end) == partitions_of(other_end):
            return lambda step: False
    return None


def _above(expr: Expr, trunk: Callable[[Expr], bool]) -> list[Expr]:
    """The steps above the trunk, top first, including a scan with a filter."""
    path, steps = _path(expr), []
    assert path is not None  # as `_trunk` has checked
    for step in path:
        if trunk(step):
            break
        steps.append(step)
    return steps


def _filters_above(expr: Expr, trunk: Callable[[Expr], bool]) -> list[dd.Series] | None:
    """Two masks per filter above the trunk, over all rows: true, and true or unknown.

    None if a step is not a filter and may drop, reorder or repeat rows.
    """
    masks: list[dd.Series] = []
    for step in _above(expr, trunk):
        is_from_verb = isinstance(step, MapPartitions) and is_verb(step)
        if is_filter(step):
            masks += _two_masks(step, trunk)
        elif explosion_of(step) or not (is_from_verb or isinstance(step, (Elemwise, FromMap))):
            return None
    return masks


def _two_masks(step: Expr, trunk: Callable[[Expr], bool]) -> list[dd.Series]:
    if isinstance(step, FromMap):
        predicate, frame = step.func.where, new_collection(_unfiltered(step, trunk))
        meta, reads = column_like(np.empty(0, bool), frame._meta), predicate.columns
        return [
            graph.map_columns(frame, kernel, predicate, reads=reads, meta=meta)
            for kernel in (passes, possibly_passes)
        ]
    frame = new_collection(step.frame)
    certain, possible = (
        new_collection(Fillna(mask, False)) for mask in (mask_of(step), possible_mask(step))
    )
    both = frame.assign(**{IN_ONE: certain, IN_OTHER: possible})
    both = new_collection(_unfiltered(both.expr, trunk))
    return [both[IN_ONE], both[IN_OTHER]]


def _unfiltered(expr: Expr, trunk: Callable[[Expr], bool]) -> Expr:
    """The frame without the filters above the trunk."""
    while (step := next(filter(is_filter, _above(expr, trunk)), None)) is not None:
        if isinstance(step, FromMap):
            expr = replace_step(expr, step, unfiltered_scan(step))
        else:
            expr = replace_step(expr, step, step.frame)
    return expr
