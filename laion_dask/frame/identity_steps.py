"""Steps that write over ``shard`` and ``row``, by which a row is found in its file.

A row with another's identity would get another's embedding, picture and place in an export. What a
step does to the two columns is read off the graph; what a function of the user's does to them
(``map_partitions``, ``apply``) cannot be, and is checked row by row in the account.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import pandas as pd

from laion_dask.errors import ProvenanceError
from laion_dask.frame.data_path import KEEPING_VALUES, inputs, tells, walk
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
    DropnaFrame,
    Elemwise,
    Eval,
    Expr,
    Fillna,
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

#: Steps that make other values of every column.
_COMPUTING = (
    *(Shift, Diff, CumulativeAggregations, GroupByCumulative, GroupByShift, UFuncElemwise),
    *(UFuncAlign, OpAlignPartitions, MethodOperatorAlign, CombineFirst, CombineFirstAlign),
)
#: Steps whose values are the ones they are given, where these are whole numbers from 0 on.
_SAME = (Fillna, Round, Abs, ToBackend, _DeepCopy)


def check_identity(expr: Expr) -> None:
    """Refuse an expression in whose steps ``shard`` or ``row`` is written over.

    Raises
    ------
    ProvenanceError
    """
    for step, _ in walk(expr):
        if step.ndim == 2 and inputs(step):
            for name in _written_over(step):
                raise ProvenanceError(
                    f"A step of this frame ({type(step).__name__}) gives the column {name!r} other "
                    "values. Rows are found in their files, embeddings and pictures by shard and "
                    "row, as read_shards made them. Give the new values another name, such as "
                    f"frame.assign(my_{name}=...), or rename only other columns."
                )


def _written_over(step: Expr) -> Iterator[str]:
    """The columns that identify a row and that a step makes other values of."""
    names = [name for name in PROVENANCE if name in step.columns]
    if isinstance(step, RenameFrame):
        pairs = dict(zip(step.columns, step.frame.columns, strict=True))
        yield from (name for name in names if pairs[name] != name)
    elif isinstance(step, AddPrefix):
        yield from names
    elif isinstance(step, (Assign, AssignAlign)):
        given = zip(step.operands[1::2], step.operands[2::2], strict=True)
        yield from (n for n, value in given if n in names and not _is_own(value, n, step.frame))
    elif isinstance(step, AsType):
        yield from (name for name in names if not _holds_numbers(step._meta[name].dtype))
    elif isinstance(step, ResetIndex):
        made = [name for name in names if name not in step.frame.columns]
        yield from (name for name in made if not _is_index(step.frame, name))
    elif isinstance(step, Merge):
        yield from (name for name in names if not _is_of_side(step, name))
    elif isinstance(step, Eval):
        text = step.operand("_expr")
        yield from (name for name in names if re.search(rf"(?<!\w){name}\s*=(?!=)", text))
    elif isinstance(step, Replace):
        yield from (name for name in names if _replaces(step.operand("to_replace"), name))
    elif isinstance(step, (Where, WhereAlign, MaskStep, MaskAlignStep)):
        yield from names if not _is_blank(step.operand("other")) else ()
    elif isinstance(step, (GroupByApplyConcatApply, GroupByReduction)):
        yield from (name for name in names if not _takes_one(step, name))
    elif isinstance(step, Concat) and step.axis == 1:
        yield from (name for name in names if not _is_beside(step, name))
    elif isinstance(step, Fillna):
        yield from (name for name in names if _fills(step, name))
    elif isinstance(step, Round):
        yield from (name for name in names if _coarsens(step.operand("decimals"), name))
    elif isinstance(step, _COMPUTING):
        yield from names
    elif isinstance(step, Elemwise) and tells(step):
        known = (*KEEPING_VALUES, *_SAME, Apply, Split)
        yield from names if not isinstance(step, known) else ()


def _is_own(value, name: str, frame: Expr) -> bool:
    """Whether a series is that column of the frame, or of what the frame was made of."""
    while isinstance(value, (*_SAME, AsType)) and _holds_numbers(value._meta.dtype):
        value = value.frame
    if not isinstance(value, Projection) or value.operand("columns") != name:
        return False
    return value.frame._name in {step._name for step, _ in walk(frame)}


def _holds_numbers(dtype) -> bool:
    """Whether a type holds the number of every row exactly."""
    dtype = getattr(dtype, "numpy_dtype", dtype)
    kind = getattr(dtype, "kind", "O")
    return (kind in "iu" and dtype.itemsize >= 4) or (kind == "f" and dtype.itemsize >= 8)


def _is_index(frame: Expr, name: str) -> bool:
    """Whether a frame's index is a column of that name, which was made its index."""
    while not isinstance(frame, (RenameAxis, AssignIndex)) and inputs(frame):
        if isinstance(frame, SetIndex):
            by = frame.operand("_other")
            return by == name if not isinstance(by, Expr) else _is_own(by, name, frame.frame)
        frame = inputs(frame)[0]
    return False


def _is_of_side(step: Merge, name: str) -> bool:
    """Whether a column of a merge is that of the side which the rows come from."""
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


def _replaces(given, name: str) -> bool:
    """Whether what is to be replaced may be a number in a column."""
    if isinstance(given, dict):
        if any(isinstance(value, dict) for value in given.values()) or name in given:
            return name in given
        given = list(given)
    values = given if isinstance(given, (list, tuple)) else [given]
    return not all(isinstance(value, str) or _is_blank(value) for value in values)


def _is_blank(value) -> bool:
    """Whether a value is a missing one."""
    return value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value))


def _is_beside(step: Concat, name: str) -> bool:
    """Whether a column of frames and series that stand side by side is the one of that name."""
    side = next(expr for expr in step.dependencies() if name in expr.columns)
    return side.ndim == 2 or _is_own(side, name, side)


def _fills(step: Fillna, name: str) -> bool:
    """Whether a number may be put where a step has left a row without one."""
    value = step.operand("value")
    if isinstance(value, dict):
        value = value.get(name)
    if isinstance(value, str) or _is_blank(value):
        return False
    return _may_have_blanks(step.frame, name)


def _may_have_blanks(step: Expr, name: str) -> bool:
    """Whether there may be rows without a number in a column."""
    if isinstance(step, DropnaFrame) and step.operand("how") in (None, no_default, "any"):
        subset = step.operand("subset")
        if subset is None or subset is no_default or name in subset:
            return False
    return _leaves_blanks(step) or any(_may_have_blanks(one, name) for one in inputs(step))


def _leaves_blanks(step: Expr) -> bool:
    """Whether a step may make rows without shard and row."""
    blanking = isinstance(step, (Where, WhereAlign, MaskStep, MaskAlignStep))
    if isinstance(step, Merge):
        rows, side = step.how, inputs(step)[0]
        blanking = rows == "outer" or rows == ("right" if side is step.left else "left")
    elif isinstance(step, Concat):
        blanking = step.axis == 1 or not all(map(tells, step.dependencies()))
    return blanking and step.ndim == 2


def _coarsens(decimals, name: str) -> bool:
    """Whether rounding may change whole numbers."""
    if isinstance(decimals, dict):
        decimals = decimals.get(name, 0)
    return not isinstance(decimals, (int, np.integer)) or decimals < 0


def _takes_one(step: Expr, name: str) -> bool:
    """Whether a group's value of a column is that of one of its rows, the same for each column."""
    how = step.operand("arg") if "arg" in step._parameters else type(step).__name__.lower()
    if isinstance(how, dict):
        told = [how.get(one) for one in PROVENANCE if one in how]
        how = told[0] if len(set(map(str, told))) == 1 else None
    return how in ("first", "last")
