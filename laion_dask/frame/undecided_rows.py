"""Frames of the rows for which a filter is unknown.

A later filter may still decide such a row. With two filters, a row is unscored if one is unknown
and neither is false, regardless of the steps between them. The rows for which a filter is unknown
are therefore sent through the steps above it, and the later filters drop those for which they are
false.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import reduce
from typing import Any, overload

import dask.dataframe as dd
import numpy as np
from pandas.api.types import is_bool_dtype

from laion_dask.backend import Frame, column_like
from laion_dask.frame.filters import is_filter, mask_of, predicate_of, unfiltered_scan
from laion_dask.frame.row_path import Steps, inputs, walk
from laion_dask.frame.scans import is_scan
from laion_dask.frame.where_kernel import possibly_passes, undecided
from laion_dask.runtime import graph
from laion_dask.runtime.dask_expressions import (
    And,
    Blockwise,
    Concat,
    DropDuplicates,
    Eval,
    Expr,
    Fillna,
    Filter,
    FromMap,
    Head,
    Invert,
    IsNa,
    MapPartitions,
    NLargest,
    NotNull,
    Or,
    Partitions,
    Projection,
    Repartition,
    Sample,
    SetIndex,
    SortValues,
    Tail,
    _DelayedExpr,
    new_collection,
)

#: Steps that undecided rows bypass, because they only select or order rows.
_BYPASSED = (Sample, DropDuplicates, Head, Tail, NLargest, Repartition, SortValues)


def _certain_and_possible(mask: Expr) -> tuple[Expr, Expr]:
    """Masks of where a mask is true regardless of its missing values, and where it may be true."""
    if isinstance(mask, (And, Or)):
        certain, possible = _certain_and_possible(mask.left)
        also_certain, also_possible = _certain_and_possible(mask.right)
        combine = type(mask)
        return combine(certain, also_certain), combine(possible, also_possible)
    if isinstance(mask, Invert):
        certain, possible = _certain_and_possible(mask.frame)
        return Invert(possible), Invert(certain)
    if isinstance(mask, (IsNa, NotNull)):
        return mask, mask
    columns = list(_columns_of(mask))
    if isinstance(mask, Eval):  # DataFrame.query stores its condition as text
        words = set(re.findall(r"\w+", mask.operand("_expr")))
        columns = [Projection(mask.frame, name) for name in mask.frame.columns if name in words]
    if not columns:
        return mask, mask
    tests: list[Expr] = [NotNull(column) for column in columns]
    known = reduce(And, tests)
    return And(known, mask), Or(Invert(known), mask)


def _columns_of(mask: object) -> Iterator[Expr]:
    """The series that a mask compares."""
    if not isinstance(mask, Expr) or isinstance(mask, _DelayedExpr) or mask.ndim != 1:
        return
    is_filled = isinstance(mask, Fillna) and not is_bool_dtype(mask._meta.dtype)
    if is_filled or isinstance(mask, Projection):
        yield mask  # a value filled in by fillna is compared like any other
    else:
        for part in mask.dependencies():
            yield from _columns_of(part)


def undecided_rows(expr: Expr, steps: Steps) -> list[dd.DataFrame]:
    """For each filter, the rows for which it is unknown and no later filter is false. Lazy.

    The filter of a scan is included only if another filter follows. Otherwise the scan counts
    these rows without creating a frame of them.

    Parameters
    ----------
    expr : Expr
    steps : Steps
        The path of ``expr``.
    """
    top = expr
    while not is_filter(top) and not isinstance(top, (Concat, Partitions)):
        below = inputs(top)
        if len(below) != 1:
            break
        (top,) = below
    filters = {step._name: step for step, _ in steps if is_filter(step)}
    only_the_scan = isinstance(top, FromMap)
    if only_the_scan:
        return []
    return [new_collection(_Rerouted(step).through(top)) for step in filters.values()]


def undropped_rows(frame: dd.DataFrame, steps: Steps) -> dd.DataFrame | None:
    """The rows for which no filter of a frame is false, with its columns. Lazy.

    They may include rows that other steps drop, such as a sample. None if the rows come from
    several scans.

    Parameters
    ----------
    frame : dask DataFrame
    steps : Steps
        The path of the frame.
    """
    scans = {step._name: step for step, _ in steps if is_scan(step)}
    if len(scans) != 1:
        return None
    rows: dd.DataFrame = new_collection(_Undropped(*scans.values()).through(frame.expr))
    return rows


class _Rerouted:
    """Sends the rows for which one filter is unknown through the steps above it."""

    def __init__(self, target: Expr) -> None:
        self.target = target
        self._above: dict[str, bool] = {}
        self._rerouted: dict[str, Expr] = {}

    @overload
    def through(self, expr: Expr) -> Expr: ...

    @overload
    def through(self, expr: object) -> object: ...

    def through(self, expr: object) -> object:
        """The step applied to only those rows; expressions not above the filter are unchanged."""
        if not isinstance(expr, Expr) or not self.is_above(expr) or expr.ndim == 0:
            return expr
        if expr._name not in self._rerouted:
            self._rerouted[expr._name] = self._step(expr)
        return self._rerouted[expr._name]

    def is_above(self, expr: Expr) -> bool:
        """Whether an expression is the filter or depends on it."""
        if expr._name not in self._above:
            below = expr.dependencies()
            self._above[expr._name] = expr._name == self.target._name or any(
                map(self.is_above, below)
            )
        return self._above[expr._name]

    def _step(self, expr: Expr) -> Expr:
        if expr._name == self.target._name:
            return _undecided(expr)
        if isinstance(expr, _BYPASSED) or (isinstance(expr, Partitions) and not self._runs(expr)):
            below: Expr = expr.frame
            return self.through(below)
        if isinstance(expr, SetIndex):
            return self._indexed(expr)
        if isinstance(expr, Concat):
            above = [part for part in expr.dependencies() if self.is_above(part)]
            parts = [self.through(part) for part in above]
            options = expr.operands[: len(expr._parameters)]
            return parts[0] if len(parts) == 1 else Concat(*options, *parts)
        if is_filter(expr):
            return Filter(self.through(expr.frame), self.through(possible_mask(expr)))
        return type(expr)(*map(self.through, expr.operands))

    def _runs(self, expr: Partitions) -> bool:
        """Whether the selected partitions are partitions of the filter's output."""
        path = [step for step, _ in walk(expr.frame) if self.is_above(step)]
        return all(isinstance(step, (Blockwise, Concat, Partitions)) for step in path)

    def _indexed(self, expr: SetIndex) -> Expr:
        """The step with the new index, without sorting."""
        frame: Expr = expr.frame
        inner, by = self.through(frame), expr.operand("_other")
        if isinstance(by, Expr):
            return inner
        indexed: dd.DataFrame = graph.map_numbered(
            new_collection(inner), _set_index, by, expr.drop, meta=expr._meta
        )
        new_step: Expr = indexed.expr
        return new_step


class _Undropped(_Rerouted):
    """Sends the rows for which the filter of a scan is not false through the steps above it."""

    def _step(self, expr: Expr) -> Expr:
        if expr._name != self.target._name or not isinstance(expr, FromMap):
            return super()._step(expr)
        if expr.func.where is None:
            return expr
        return _where_scanned(expr, possibly_passes)


def _set_index(part: Frame, by: object, drop: bool) -> Frame:
    return part.set_index(by, drop=drop)


def _with_kernel(mask: Expr, kernel: Callable[..., Any]) -> Expr:
    return MapPartitions(mask.frame, kernel, *mask.operands[2:])


def _undecided(step: Expr) -> Expr:
    """The rows for which a filter by itself is unknown."""
    if isinstance(step, FromMap):
        return _where_scanned(step, undecided)
    mask = mask_of(step)
    if predicate_of(step) is not None:
        return Filter(step.frame, _with_kernel(mask, undecided))
    _, possible = _certain_and_possible(mask)
    return Filter(step.frame, And(possible, Invert(Fillna(mask, False))))


def _where_scanned(scan: FromMap, kernel: Callable[..., Any]) -> Expr:
    """The rows of a scan that a kernel finds by its filter."""
    frame = new_collection(unfiltered_scan(scan))
    predicate, meta = scan.func.where, column_like(np.empty(0, bool), frame._meta)
    mask = graph.map_columns(frame, kernel, predicate, reads=predicate.columns, meta=meta)
    return Filter(frame.expr, mask.expr)


def possible_mask(step: Expr) -> Expr:
    """The mask of where a filter that is not a scan is true or unknown."""
    mask = mask_of(step)
    if predicate_of(step) is not None:
        return _with_kernel(mask, possibly_passes)
    return Or(Fillna(mask, False), _certain_and_possible(mask)[1])
