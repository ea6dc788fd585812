"""The filters among a frame's steps: what they ask, and which rows they cannot decide on.

A row that a filter cannot decide on may still be decided by a later one: of two filters a row is
unscored when one is unknown for it and none is false, whatever stands between them. So the rows
that a filter cannot decide on are sent through the steps above it, where the later filters keep
what they do not refuse.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import reduce

import dask.dataframe as dd
import numpy as np
from pandas.api.types import is_bool_dtype

from laion_dask.backend import column_like
from laion_dask.errors import ProvenanceError
from laion_dask.frame import data_path, provenance, row_choices
from laion_dask.frame.filtering import passes, possibly_passes, undecided
from laion_dask.io.parquet.scan import Scan
from laion_dask.predicate import Predicate
from laion_dask.runtime import graph
from laion_dask.runtime.dask_expressions import (
    And,
    Between,
    Binop,
    Blockwise,
    Concat,
    DropDuplicates,
    DropnaFrame,
    Elemwise,
    Eval,
    Expr,
    Fillna,
    Filter,
    FromMap,
    Head,
    Invert,
    Isin,
    IsNa,
    Loc,
    MapPartitions,
    NLargest,
    NotNull,
    Or,
    Partitions,
    Projection,
    Query,
    Repartition,
    Sample,
    SetIndex,
    SortValues,
    Tail,
    _DelayedExpr,
    new_collection,
)

#: Before what a mask of the user's own compares, in a recipe.
MASK = "pandas mask:"
#: What a row that is undecided does not go through: steps that choose among rows or order them.
_CHOICES = (Sample, DropDuplicates, Head, Tail, NLargest, Repartition, SortValues)


def is_filter(step: Expr) -> bool:
    """Whether a step keeps the rows for which something is true."""
    if isinstance(step, FromMap):
        return isinstance(step.func, Scan) and step.func.where is not None
    return isinstance(step, (Filter, Query)) or _is_loc(step)


def _is_loc(step: Expr) -> bool:
    return isinstance(step, Loc) and isinstance(step.iindexer, Expr)


def _mask(step: Expr) -> Expr:
    """The series of booleans that a filter keeps rows by."""
    if isinstance(step, Query):
        return Eval(step.frame, step.operand("_expr"), step.expr_kwargs)
    return step.iindexer if _is_loc(step) else step.predicate


def sides(step: Expr) -> tuple[Expr, Expr]:
    """Of a filter that is no scan: where it keeps a row, and where it keeps it or cannot decide."""
    return _mask(step), _possible(step)


def named(step: Expr) -> Predicate | None:
    """The expression of a filter that `where` made, or None for a mask of the user's own."""
    if isinstance(step, FromMap):
        return step.func.where
    mask = _mask(step)
    if isinstance(mask, MapPartitions) and mask.func is passes:
        return mask.args[1]
    return None


def filters(frame: dd.DataFrame) -> list[str]:
    """What a frame's rows were kept by, the first filter first.

    A mask of the user's own is described by the columns it compares, after ``pandas mask:``; a step
    that selects rows in another way, such as ``sample``, after ``pandas step:``.
    """
    found = []
    for step, _ in reversed(list(data_path.walk(frame.expr))):
        if is_filter(step) and (predicate := named(step)) is not None:
            found.append(predicate.text)
        elif (said := _spoken(step)) is not None:
            found.append(f"{MASK} {said}")
        elif (said := row_choices.spoken(step)) is not None:
            found.append(f"{row_choices.STEP} {said}")
    return list(dict.fromkeys(found))


#: Steps that leave every row in its place; filters leave it out at most.
_IN_PLACE = (Elemwise, Filter, FromMap, Partitions)


def stages(frame: dd.DataFrame) -> list[tuple[dd.DataFrame, Predicate]]:
    """Each filter by an expression, the first first, with the rows that it would meet unfiltered.

    Raises
    ------
    ProvenanceError
        When a step of another kind leaves rows out, or moves them.
    """
    found = []
    for step, _ in reversed(list(data_path.walk(frame.expr))):
        by_user = isinstance(step, MapPartitions) and not data_path.is_ours(step)
        in_place = isinstance(step, (*_IN_PLACE, MapPartitions)) and not by_user
        predicate = named(step) if is_filter(step) else None
        if not in_place or (is_filter(step) and predicate is None):
            said = _spoken(step) or type(step).__name__
            raise ProvenanceError(
                f"Which rows the filters left out cannot be told beyond {said!r}, a step that "
                "leaves rows out by itself, or moves them. Ask the frame before that step, and "
                "filter by expressions: frame.laion.where('...')."
            )
        if predicate is not None:
            met = step if isinstance(step, FromMap) else step.frame
            found.append((provenance.unfiltered(new_collection(met)), predicate))
    return found


def _spoken(step: Expr) -> str | None:
    """What a step of the user's own that leaves rows out by their values says; None for others."""
    if isinstance(step, Query):
        return step.operand("_expr")
    if isinstance(step, DropnaFrame):
        columns = step.operand("subset")
        return f"dropna({'' if columns is None else f'subset={columns!r}'})"
    return _text(_mask(step)) if is_filter(step) and not isinstance(step, FromMap) else None


def _text(mask) -> str:
    """A mask as one would write it, as far as it is of comparisons."""
    if not isinstance(mask, Expr):
        return repr(mask)
    if isinstance(mask, Projection):
        return str(mask.operand("columns"))
    if isinstance(mask, Binop) and hasattr(mask, "_operator_repr"):
        return f"({_text(mask.left)} {mask._operator_repr} {_text(mask.right)})"
    if isinstance(mask, Invert):
        return f"not {_text(mask.frame)}"
    if isinstance(mask, (IsNa, NotNull)):
        return f"({_text(mask.frame)} is {'' if isinstance(mask, IsNa) else 'not '}None)"
    if isinstance(mask, Between):
        return f"({mask.left!r} to {mask.right!r} has {_text(mask.frame)})"
    if isinstance(mask, Isin):
        return f"({_text(mask.frame)} in a list)"
    return f"{type(mask).__name__} of {', '.join(sorted(_reads(mask))) or 'what cannot be named'}"


def _reads(mask) -> set[str]:
    """The columns that a mask is made of, as far as they can be told."""
    if not isinstance(mask, Expr) or isinstance(mask, _DelayedExpr) or mask.ndim == 0:
        return set()
    if isinstance(mask, Projection):
        return set(mask.columns)
    if mask.ndim == 2:
        return set()
    return set().union(*(map(_reads, mask.dependencies())))


def _certain_and_possible(mask: Expr) -> tuple[Expr, Expr]:
    """Where a mask is true whatever its missing values are, and where it may be."""
    if isinstance(mask, (And, Or)):
        sides = [_certain_and_possible(side) for side in (mask.left, mask.right)]
        return tuple(type(mask)(one, other) for one, other in zip(*sides, strict=True))
    if isinstance(mask, Invert):
        certain, possible = _certain_and_possible(mask.frame)
        return Invert(possible), Invert(certain)
    if isinstance(mask, (IsNa, NotNull)):
        return mask, mask
    columns = list(_columns_of(mask))
    if isinstance(mask, Eval):  # a query's text
        words = set(re.findall(r"\w+", mask.operand("_expr")))
        columns = [Projection(mask.frame, name) for name in mask.frame.columns if name in words]
    if not columns:
        return mask, mask
    known = reduce(And, map(NotNull, columns))
    return And(known, mask), Or(Invert(known), mask)


def _columns_of(mask) -> Iterator[Expr]:
    """The series that a mask compares."""
    is_filled = isinstance(mask, Fillna) and mask.ndim == 1 and not is_bool_dtype(mask._meta.dtype)
    if is_filled or (isinstance(mask, Projection) and mask.ndim == 1):
        yield mask  # what fillna has put in place of a missing value is compared like any other
    elif isinstance(mask, Expr) and not isinstance(mask, _DelayedExpr) and mask.ndim == 1:
        for part in mask.dependencies():
            yield from _columns_of(part)


def undecided_rows(frame: dd.DataFrame) -> list[dd.DataFrame]:
    """For each filter, the rows that it cannot decide on and no later filter refuses. Lazy.

    A filter in the scan is among them where there is another after it; one alone is left to the
    scan, which counts such rows without making a frame of them.
    """
    top = frame.expr
    while not is_filter(top) and not isinstance(top, (Concat, Partitions)):
        below = data_path.inputs(top)
        if len(below) != 1:
            break
        (top,) = below
    found = {step._name: step for step, _ in data_path.walk(top) if is_filter(step)}
    alone = isinstance(top, FromMap)
    return [] if alone else [new_collection(_Sent(step).through(top)) for step in found.values()]


class _Sent:
    """The rows that one filter cannot decide on, sent through the steps above it."""

    def __init__(self, target: Expr):
        self.target = target
        self._holds: dict[str, bool] = {}
        self._sent: dict[str, Expr] = {}

    def through(self, expr):
        """A step with those rows, and with no others; what is not above the filter stays."""
        if not isinstance(expr, Expr) or not self.holds(expr) or expr.ndim == 0:
            return expr
        if expr._name not in self._sent:
            self._sent[expr._name] = self._step(expr)
        return self._sent[expr._name]

    def holds(self, expr: Expr) -> bool:
        """Whether an expression is above the filter."""
        if expr._name not in self._holds:
            below = expr.dependencies()
            self._holds[expr._name] = expr._name == self.target._name or any(map(self.holds, below))
        return self._holds[expr._name]

    def _step(self, expr: Expr) -> Expr:
        if expr._name == self.target._name:
            return _undecided(expr)
        if isinstance(expr, _CHOICES) or (isinstance(expr, Partitions) and not self._runs(expr)):
            return self.through(expr.frame)
        if isinstance(expr, SetIndex):
            return self._indexed(expr)
        if isinstance(expr, Concat):
            above = [part for part in expr.dependencies() if self.holds(part)]
            parts = [self.through(part) for part in above]
            given = expr.operands[: len(expr._parameters)]
            return parts[0] if len(parts) == 1 else Concat(*given, *parts)
        if is_filter(expr):
            return Filter(self.through(expr.frame), self.through(_possible(expr)))
        return type(expr)(*map(self.through, expr.operands))

    def _runs(self, expr: Partitions) -> bool:
        """Whether the partitions that are chosen are those of the filter."""
        path = [step for step, _ in data_path.walk(expr.frame) if self.holds(step)]
        return all(isinstance(step, (Blockwise, Concat, Partitions)) for step in path)

    def _indexed(self, expr: SetIndex) -> Expr:
        """The index, without the order that goes with it."""
        inner, by = self.through(expr.frame), expr.operand("_other")
        if isinstance(by, Expr):
            return inner
        made = new_collection(inner)
        return graph.map_numbered(made, _set_index, by, expr.drop, meta=expr._meta).expr


def _set_index(part, by, drop: bool):
    return part.set_index(by, drop=drop)


def _with_kernel(mask: MapPartitions, kernel: Callable) -> Expr:
    return MapPartitions(mask.frame, kernel, *mask.operands[2:])


def _undecided(step: Expr) -> Expr:
    """The rows that a filter, by itself, can neither keep nor refuse."""
    if isinstance(step, FromMap):
        whole = {"func": replace(step.func, where=None)}
        frame = new_collection(step.substitute_parameters(whole))
        predicate, meta = step.func.where, column_like(np.empty(0, bool), frame._meta)
        reads = predicate.columns
        mask = graph.map_columns(frame, undecided, predicate, reads=reads, meta=meta)
        return Filter(frame.expr, mask.expr)
    mask = _mask(step)
    if named(step) is not None:
        return Filter(step.frame, _with_kernel(mask, undecided))
    _, possible = _certain_and_possible(mask)
    return Filter(step.frame, And(possible, Invert(Fillna(mask, False))))


def _possible(step: Expr) -> Expr:
    """Where a filter keeps a row or cannot decide on it."""
    mask = _mask(step)
    if named(step) is not None:
        return _with_kernel(mask, possibly_passes)
    return Or(Fillna(mask, False), _certain_and_possible(mask)[1])
