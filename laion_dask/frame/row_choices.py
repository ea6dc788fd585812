"""Steps of the user's own that choose among rows otherwise than by a mask, in words."""

from __future__ import annotations

from pandas.api.types import is_list_like

from laion_dask.frame import data_path
from laion_dask.runtime.dask_expressions import (
    DropDuplicates,
    Expr,
    GroupByApplyConcatApply,
    GroupByReduction,
    Head,
    Loc,
    LocBase,
    LocUnknown,
    MapPartitions,
    Merge,
    NLargest,
    NSmallest,
    Sample,
    SplitTake,
    Tail,
)

#: Before what such a step is, in a recipe.
STEP = "pandas step:"


def spoken(step: Expr) -> str | None:
    """What a step is, as one would write it; None where it leaves no row out by itself."""
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
        return f"drop_duplicates({_named('subset', step.operand('subset'))})"
    if isinstance(step, (GroupByApplyConcatApply, GroupByReduction)):
        return "groupby, one row a group"
    if isinstance(step, (Loc, LocBase, LocUnknown)):
        return _loc(getattr(step, "iindexer", []))
    if isinstance(step, Merge):
        return _merge(step)
    if isinstance(step, MapPartitions) and not data_path.is_ours(step):
        name = getattr(step.func, "__name__", type(step.func).__name__)
        return f"map_partitions({name}), whatever rows it leaves out"
    return None


def _merge(step: Merge) -> str | None:
    side = data_path.inputs(step)[0]
    if step.how == "outer" or step.how == ("left" if side is step.left else "right"):
        return None
    on = step.left_on if side is step.left else step.right_on
    by = _named("on", on if isinstance(on, (str, list)) else None)
    return f"merge({', '.join(filter(None, (f'how={step.how!r}', by)))})"


def _named(name: str, value) -> str:
    return "" if value is None else f"{name}={value!r}"


def _loc(rows) -> str | None:
    if isinstance(rows, Expr) or (isinstance(rows, slice) and rows == slice(None)):
        return None  # a mask, or columns alone
    if isinstance(rows, slice):
        ends = ("" if end is None else str(end) for end in (rows.start, rows.stop))
        return f"loc[{':'.join(ends)}]"
    return f"loc[{'a list' if is_list_like(rows) else repr(rows)}]"
