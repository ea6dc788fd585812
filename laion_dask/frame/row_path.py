"""The steps that a frame's rows went through, from the frame back to its scans.

A frame may read tables that contribute columns but no rows, such as the right side of a left merge
or a further argument of ``map_partitions``. These are not part of the path.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from laion_dask.runtime.dask_expressions import (
    ArrowStringConversion,
    Assign,
    AssignIndex,
    AsUnknown,
    Blockwise,
    Categorize,
    ClearDivisions,
    Concat,
    Drop,
    DropDuplicates,
    DropnaFrame,
    Elemwise,
    Expr,
    Fillna,
    Filter,
    FromMap,
    Head,
    Loc,
    MapPartitions,
    Merge,
    NLargest,
    Partitions,
    Projection,
    Query,
    RenameAxis,
    RenameFrame,
    Repartition,
    ResetIndex,
    Sample,
    SetDivisions,
    SetIndex,
    ShuffleBase,
    SortValues,
    SplitTake,
    Tail,
    ToBackend,
    _DeepCopy,
    _DelayedExpr,
)
from laion_dask.runtime.disk_shuffle import ReadAfter
from laion_dask.schema import PROVENANCE

#: The steps of a path, each with the selected partitions; None for all of them.
Step = tuple[Expr, tuple[int, ...] | None]
Steps = Iterable[Step]

#: Steps that never duplicate a row; the output of any other step is checked row by row.
_UNREPEATING = (
    *(Elemwise, Filter, Query, DropnaFrame, SplitTake, Head, Tail, Partitions),
    *(
        Categorize,
        DropDuplicates,
        NLargest,
        Repartition,
        ShuffleBase,
        SetIndex,
        SortValues,
        FromMap,
    ),
)
#: Row-wise steps that leave shard and row unchanged; others, such as where(), clip() or astype(),
#: may overwrite them.
KEEPING_VALUES = (
    *(Projection, Drop, Fillna, ResetIndex, AssignIndex, RenameAxis, SetDivisions),
    *(ClearDivisions, ArrowStringConversion, AsUnknown, ToBackend, _DeepCopy, ReadAfter),
)


def has_identity(expr: Expr) -> bool:
    """Whether an expression is a frame with the columns shard and row."""
    return expr.ndim == 2 and set(PROVENANCE) <= set(expr.columns)


def inputs(step: Expr) -> list[Expr]:
    """The inputs that a step's rows come from: none for a scan, all for a concat, else one."""
    frames = [expr for expr in step.dependencies() if not isinstance(expr, _DelayedExpr)]
    if isinstance(step, Concat) and step.axis == 0:
        return frames
    if isinstance(step, MapPartitions):
        return [step.frame] if isinstance(step.frame, Expr) else []
    if isinstance(step, Merge):
        frames = [step.left, step.right]
        if step.how == "outer" and all(map(has_identity, frames)):
            return frames
        if step.how == "right":
            frames.reverse()
    return ([expr for expr in frames if has_identity(expr)] or frames)[:1]


def walk(expr: Expr) -> Iterator[Step]:
    """Every step of the path with its selected partitions; None for all of them."""
    visited: set[tuple[str, tuple[int, ...] | None]] = set()
    pending: list[Step] = [(expr, None)]
    while pending:
        step, chosen = pending.pop()
        if (step._name, chosen) in visited:
            continue
        visited.add((step._name, chosen))
        yield step, chosen
        pending += reversed(_selected_inputs(step, chosen))


def _selected_inputs(step: Expr, chosen: tuple[int, ...] | None) -> list[Step]:
    """The inputs of a step, each with its selected partitions."""
    frames = inputs(step)
    if isinstance(step, Partitions):
        numbers = tuple(step.partitions)
        return [(step.frame, numbers if chosen is None else tuple(numbers[i] for i in chosen))]
    if chosen is None:
        return [(expr, None) for expr in frames]
    if isinstance(step, Concat) and step.npartitions == sum(e.npartitions for e in frames):
        selected: list[Step] = []
        first = 0
        for expr in frames:
            last = first + expr.npartitions
            selected.append((expr, tuple(i - first for i in chosen if first <= i < last)))
            first = last
        return selected
    kept = isinstance(step, Blockwise)
    return [(e, chosen if kept and e.npartitions > 1 else None) for e in frames]


def repeating_step(steps: Steps) -> str | None:
    """The name of a step that may duplicate rows, or None."""
    return next((type(step).__name__ for step, _ in steps if _may_repeat(step)), None)


def _may_repeat(step: Expr) -> bool:
    if isinstance(step, MapPartitions):
        return not is_verb(step)
    if isinstance(step, Sample):
        return bool(step.operand("replace"))  # the attribute is a method
    if isinstance(step, Loc):
        return not isinstance(step.iindexer, Expr)
    if isinstance(step, Concat):
        return bool(step.axis != 0)
    if isinstance(step, Assign):
        return bool(set(step.keys) & set(PROVENANCE))
    if isinstance(step, RenameFrame):
        return bool(set(step.columns) - set(step.frame.columns) & set(PROVENANCE))
    if isinstance(step, Elemwise) and has_identity(step):
        return not isinstance(step, KEEPING_VALUES)
    return not isinstance(step, _UNREPEATING)


def is_verb(step: MapPartitions) -> bool:
    """Whether the mapped function belongs to this package, and so returns one row per input row."""
    made_by: str = getattr(step.func, "__module__", None) or type(step.func).__module__
    return made_by.startswith("laion_dask.")


def can_drop_columns(steps: Steps) -> bool:
    """Whether columns may be dropped; Dask loses the columns that some steps sort or encode by."""
    return not any(isinstance(step, (NLargest, Categorize)) for step, _ in steps)


def is_cut_by_size(steps: Steps) -> bool:
    """Whether the partitions depend on the selected columns, as with ``partition_size=``."""
    repartitions = (step for step, _ in steps if isinstance(step, Repartition))
    return any(step.operand("partition_size") for step in repartitions)
