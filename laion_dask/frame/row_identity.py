"""Check that a frame's steps preserve ``shard`` and ``row``, which identify a row.

A row with another row's identity would get the wrong embedding, the wrong image and the wrong
place in an export. The graph shows what a step does to the two columns. It does not show what a
user's function does (``map_partitions``, ``apply``); that is checked when rows are counted.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from math import isnan
from typing import Any

import numpy as np
import pandas as pd

from laion_dask.errors import ProvenanceError
from laion_dask.frame.row_path import KEEPING_VALUES, Steps, has_identity, inputs, walk
from laion_dask.runtime.dask_expressions import (
    Abs,
    AddPrefix,
    Apply,
    Assign,
    AssignAlign,
    AssignIndex,
    AsType,
    CombineFirst,
    CombineFirstAlign,
    Concat,
    CumulativeAggregations,
    Diff,
    Drop,
    DropnaFrame,
    Elemwise,
    Eval,
    Expr,
    Fillna,
    Filter,
    GroupByApplyConcatApply,
    GroupByCumulative,
    GroupByReduction,
    GroupByShift,
    Merge,
    MethodOperatorAlign,
    OpAlignPartitions,
    Projection,
    RenameAxis,
    RenameFrame,
    Replace,
    ResetIndex,
    Round,
    Sample,
    SetIndex,
    Shift,
    Split,
    ToBackend,
    UFuncAlign,
    UFuncElemwise,
    Where,
    WhereAlign,
    _DeepCopy,
    no_default,
)
from laion_dask.runtime.dask_expressions import (
    Mask as MaskStep,
)
from laion_dask.runtime.dask_expressions import (
    MaskAlign as MaskAlignStep,
)
from laion_dask.schema import PROVENANCE

#: Steps that change the values of every column.
_COMPUTING = (
    *(Shift, Diff, CumulativeAggregations, GroupByCumulative, GroupByShift, UFuncElemwise),
    *(UFuncAlign, OpAlignPartitions, MethodOperatorAlign, CombineFirst, CombineFirstAlign),
)
#: Steps that replace values where a mask is set.
_REPLACES_MASKED: tuple[type[Expr], ...] = (Where, WhereAlign, MaskStep, MaskAlignStep)
#: Steps that return non-negative integers unchanged.
_SAME = (Fillna, Round, Abs, ToBackend, _DeepCopy)


def check_identity_columns(columns: Collection[str]) -> None:
    """Raise if ``shard`` or ``row`` is missing.

    Raises
    ------
    ProvenanceError
    """
    missing = [name for name in PROVENANCE if name not in columns]
    if missing:
        raise ProvenanceError(
            f"The frame has no column {' and '.join(missing)}, which is needed to find embeddings. "
            "Keep 'shard' and 'row' when you select columns."
        )


def check_identity(steps: Steps) -> None:
    """Raise if a step overwrites ``shard`` or ``row``.

    Raises
    ------
    ProvenanceError
    """
    for step, _ in steps:
        if step.ndim == 2 and inputs(step):
            for name in _written_over(step):
                raise ProvenanceError(
                    f"A step of this frame ({type(step).__name__}) gives the column {name!r} other "
                    "values. shard and row identify a row in its file, its embedding and its "
                    "image, so they must keep the values from read_shards. Give the new values "
                    f"another name, such as frame.assign(my_{name}=...), or rename only other "
                    "columns."
                )


def _written_over(step: Expr) -> Iterator[str]:
    """The names among ``shard`` and ``row`` whose values a step changes."""
    names = [name for name in PROVENANCE if name in step.columns]
    if isinstance(step, RenameFrame):
        pairs = dict(zip(step.columns, step.frame.columns, strict=True))
        yield from (name for name in names if pairs[name] != name)
    elif isinstance(step, AddPrefix):
        yield from names
    elif isinstance(step, (Assign, AssignAlign)):
        assignments = zip(step.operands[1::2], step.operands[2::2], strict=True)
        yield from (
            n for n, value in assignments if n in names and not _is_unchanged(value, n, step.frame)
        )
    elif isinstance(step, AsType):
        yield from (name for name in names if not _holds_numbers(step._meta[name].dtype))
    elif isinstance(step, ResetIndex):
        new = [name for name in names if name not in step.frame.columns]
        yield from (name for name in new if not _is_index(step.frame, name))
    elif isinstance(step, Merge):
        yield from (name for name in names if not _is_of_side(step, name))
    elif isinstance(step, Eval):
        text = step.operand("_expr")
        yield from (name for name in names if re.search(rf"(?<!\w){name}\s*=(?!=)", text))
    elif isinstance(step, Replace):
        yield from (name for name in names if _replaces(step.operand("to_replace"), name))
    elif isinstance(step, _REPLACES_MASKED):
        yield from names if not _is_blank(step.operand("other")) else ()
    elif isinstance(step, (GroupByApplyConcatApply, GroupByReduction)):
        yield from (name for name in names if not _takes_one(step, name))
    elif isinstance(step, Concat) and step.axis == 1:
        yield from (name for name in names if not _keeps_column(step, name))
    elif isinstance(step, Fillna):
        yield from (name for name in names if _fills(step, name))
    elif isinstance(step, Round):
        yield from (name for name in names if _coarsens(step.operand("decimals"), name))
    elif isinstance(step, _COMPUTING):
        yield from names
    elif isinstance(step, Elemwise) and has_identity(step):
        preserving = (*KEEPING_VALUES, *_SAME, Apply, Split)
        yield from names if not isinstance(step, preserving) else ()


def _is_unchanged(value: object, name: str, frame: Expr) -> bool:
    """Whether a series is that column of the frame, or of a frame that it derives from."""
    while isinstance(value, (*_SAME, AsType)) and _holds_numbers(value._meta.dtype):
        value = value.frame
    if not isinstance(value, Projection) or value.operand("columns") != name:
        return False
    return value.frame._name in {step._name for step, _ in walk(frame)}


def _holds_numbers(dtype: Any) -> bool:
    """Whether a dtype can represent every row number exactly."""
    dtype = getattr(dtype, "numpy_dtype", dtype)
    kind = getattr(dtype, "kind", "O")
    return (kind in "iu" and dtype.itemsize >= 4) or (kind == "f" and dtype.itemsize >= 8)


def _is_index(frame: Expr, name: str) -> bool:
    """Whether the frame's index was set from its column of that name."""
    while not isinstance(frame, (RenameAxis, AssignIndex)) and inputs(frame):
        if isinstance(frame, SetIndex):
            by = frame.operand("_other")
            return by == name if not isinstance(by, Expr) else _is_unchanged(by, name, frame.frame)
        frame = inputs(frame)[0]
    return False


def _is_of_side(step: Merge, name: str) -> bool:
    """Whether a column of a merge comes from the side that the rows come from."""
    side = inputs(step)[0]
    other = step.right if side is step.left else step.left
    if name not in side.columns:
        return False
    if name not in other.columns or _is_key(step, name):
        return True
    return not step.suffixes[0 if side is step.left else 1]


def _is_key(step: Merge, name: str) -> bool:
    keys = [on if isinstance(on, list) else [on] for on in (step.left_on, step.right_on)]
    return all(name in on for on in keys)


def _replaces(to_replace: object, name: str) -> bool:
    """Whether the values to replace may occur in a numeric column."""
    if isinstance(to_replace, dict):
        if any(isinstance(value, dict) for value in to_replace.values()) or name in to_replace:
            return name in to_replace
        to_replace = list(to_replace)
    values = to_replace if isinstance(to_replace, (list, tuple)) else [to_replace]
    return not all(isinstance(value, str) or _is_blank(value) for value in values)


def _is_blank(value: object) -> bool:
    """Whether a value is missing."""
    return value is None or value is pd.NA or (isinstance(value, float) and isnan(value))


def _keeps_column(step: Concat, name: str) -> bool:
    """Whether a column of a horizontal concat is the original column of that name."""
    side = next(expr for expr in step.dependencies() if name in expr.columns)
    return side.ndim == 2 or _is_unchanged(side, name, side)


def _fills(step: Fillna, name: str) -> bool:
    """Whether fillna may fill in an identity that an earlier step set to null."""
    value = step.operand("value")
    if isinstance(value, dict):
        value = value.get(name)
    if isinstance(value, str) or _is_blank(value):
        return False
    return _may_have_blanks(step.frame, name)


def _may_have_blanks(step: Expr, name: str) -> bool:
    """Whether a column may contain missing values."""
    if isinstance(step, DropnaFrame) and step.operand("how") in (None, no_default, "any"):
        subset = step.operand("subset")
        if subset is None or subset is no_default or name in subset:
            return False
    return _leaves_blanks(step) or any(_may_have_blanks(one, name) for one in inputs(step))


def _leaves_blanks(step: Expr) -> bool:
    """Whether a step may produce rows without shard and row."""
    blanking = isinstance(step, (Where, WhereAlign, MaskStep, MaskAlignStep))
    if isinstance(step, Merge):
        rows, side = step.how, inputs(step)[0]
        blanking = rows == "outer" or rows == ("right" if side is step.left else "left")
    elif isinstance(step, Concat):
        blanking = step.axis == 1 or not all(map(has_identity, step.dependencies()))
    return blanking and step.ndim == 2


def _coarsens(decimals: object, name: str) -> bool:
    """Whether rounding may change integers."""
    if isinstance(decimals, dict):
        decimals = decimals.get(name, 0)
    return not isinstance(decimals, (int, np.integer)) or bool(decimals < 0)


def _takes_one(step: Expr, name: str) -> bool:
    """Whether an aggregation takes shard and row from the same row of each group."""
    how = step.operand("arg") if "arg" in step._parameters else type(step).__name__.lower()
    if isinstance(how, dict):
        methods = [how.get(one) for one in PROVENANCE if one in how]
        how = methods[0] if len(set(map(str, methods))) == 1 else None
    return how in ("first", "last")


def with_identity(expr: Expr) -> Expr | None:
    """The expression with the columns shard and row; None if a step has lost them.

    Columns that were only deselected or dropped are selected again.
    """
    if has_identity(expr):
        return expr
    if isinstance(expr, (Filter, DropnaFrame, Sample, Assign)) and expr.ndim == 2:
        inner = with_identity(expr.frame)
        return None if inner is None else type(expr)(inner, *expr.operands[1:])
    if isinstance(expr, (Projection, Drop)) and expr.ndim == 2:
        inner = with_identity(expr.frame)
        lost = [name for name in PROVENANCE if name not in expr.columns]
        return None if inner is None else Projection(inner, [*expr.columns, *lost])
    if isinstance(expr, Merge):
        (side, *_), operands = inputs(expr), list(expr.operands)
        inner = with_identity(side)
        if inner is None or any(set(PROVENANCE) & set(e.columns) for e in (expr.left, expr.right)):
            return None
        operands[0 if side is expr.left else 1] = inner
        return Merge(*operands)
    return None
