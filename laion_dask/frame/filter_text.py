"""Describe the user's pandas masks and row selections, such as ``sample``, as text."""

from __future__ import annotations

from pandas.api.types import is_list_like

from laion_dask.frame.row_path import inputs, is_verb
from laion_dask.runtime.dask_expressions import (
    Between,
    Binop,
    DropDuplicates,
    Expr,
    GroupByApplyConcatApply,
    GroupByReduction,
    Head,
    Invert,
    Isin,
    IsNa,
    Loc,
    LocBase,
    LocUnknown,
    MapPartitions,
    Merge,
    NLargest,
    NotNull,
    NSmallest,
    Projection,
    Sample,
    SplitTake,
    Tail,
    _DelayedExpr,
)

#: Prefixes of these texts in a recipe: for masks, and for all other steps.
MASK, STEP = "pandas mask:", "pandas step:"


def of_mask(mask: object) -> str:
    """A mask as a Python-like expression; other operations are shown by their name and columns."""
    if not isinstance(mask, Expr):
        return repr(mask)
    if isinstance(mask, Projection):
        return str(mask.operand("columns"))
    if isinstance(mask, Binop) and hasattr(mask, "_operator_repr"):
        return f"({of_mask(mask.left)} {mask._operator_repr} {of_mask(mask.right)})"
    if isinstance(mask, Invert):
        return f"not {of_mask(mask.frame)}"
    if isinstance(mask, (IsNa, NotNull)):
        return f"({of_mask(mask.frame)} is {'' if isinstance(mask, IsNa) else 'not '}None)"
    if isinstance(mask, Between):
        return f"({mask.left!r} to {mask.right!r} has {of_mask(mask.frame)})"
    if isinstance(mask, Isin):
        return f"({of_mask(mask.frame)} in a list)"
    return f"{type(mask).__name__} of {', '.join(sorted(_reads(mask))) or 'unknown columns'}"


def _reads(mask: object) -> set[str]:
    """The columns that a mask is computed from, if the graph shows them."""
    if not isinstance(mask, Expr) or isinstance(mask, _DelayedExpr) or mask.ndim == 0:
        return set()
    if isinstance(mask, Projection):
        return set(mask.columns)
    if mask.ndim == 2:
        return set()
    return set().union(*(map(_reads, mask.dependencies())))


def of_selection(step: Expr) -> str | None:
    """The text of a step that selects rows; None for a step that does not drop rows."""
    if step.ndim != 2:
        return None
    if isinstance(step, Sample):
        return f"sample(frac={step.frac!r})"
    if isinstance(step, SplitTake):
        return f"random_split({step.frame.operand('frac')!r})[{step.operand('i')}]"
    if isinstance(step, (Head, Tail)):
        return f"{type(step).__name__.lower()}({step.n!r})"
    if isinstance(step, NLargest):
        name = "nsmallest" if isinstance(step, NSmallest) else "nlargest"
        return f"{name}({step.n!r}, {step.operand('_columns')!r})"
    if isinstance(step, DropDuplicates):
        return f"drop_duplicates({_argument('subset', step.operand('subset'))})"
    if isinstance(step, (GroupByApplyConcatApply, GroupByReduction)):
        return "groupby, one row per group"
    if isinstance(step, (Loc, LocBase, LocUnknown)):
        return _loc(getattr(step, "iindexer", []))
    if isinstance(step, Merge):
        return _merge(step)
    if isinstance(step, MapPartitions) and not is_verb(step):
        name = getattr(step.func, "__name__", type(step.func).__name__)
        return f"map_partitions({name}), which may drop rows"
    return None


def _merge(step: Merge) -> str | None:
    side = inputs(step)[0]
    if step.how == "outer" or step.how == ("left" if side is step.left else "right"):
        return None
    on = step.left_on if side is step.left else step.right_on
    by = _argument("on", on if isinstance(on, (str, list)) else None)
    return f"merge({', '.join(filter(None, (f'how={step.how!r}', by)))})"


def _argument(name: str, value: object) -> str:
    return "" if value is None else f"{name}={value!r}"


def _loc(rows: object) -> str | None:
    if isinstance(rows, Expr) or (isinstance(rows, slice) and rows == slice(None)):
        return None  # a mask, or a selection of columns only
    if isinstance(rows, slice):
        ends = ("" if end is None else str(end) for end in (rows.start, rows.stop))
        return f"loc[{':'.join(ends)}]"
    return f"loc[{'a list' if is_list_like(rows) else repr(rows)}]"
