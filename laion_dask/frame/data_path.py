"""The steps that a frame's rows went through, from the frame back to the scans.

A frame may read tables that give it columns but no rows: the right side of a left merge, a further
argument of ``map_partitions``. They are not on the path.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from laion_dask.errors import ProvenanceError
from laion_dask.io.parquet.scan import Scan
from laion_dask.io.parquet.shard import Piece
from laion_dask.io.storage.local_file import real_path
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

#: Steps that pass each row on at most once; what any other step makes is checked row by row.
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
#: Steps from one row to one row that leave shard and row as they are; others, such as where(),
#: clip() or astype(), may write over them.
KEEPING_VALUES = (
    *(Projection, Drop, Fillna, ResetIndex, AssignIndex, RenameAxis, SetDivisions),
    *(ClearDivisions, ArrowStringConversion, AsUnknown, ToBackend, _DeepCopy, ReadAfter),
)


def tells(expr: Expr) -> bool:
    """Whether an expression is a frame with the columns that identify a row."""
    return expr.ndim == 2 and set(PROVENANCE) <= set(expr.columns)


def inputs(step: Expr) -> list[Expr]:
    """What a step's rows come from: nothing of a scan, both sides of a concat, else one."""
    frames = [expr for expr in step.dependencies() if not isinstance(expr, _DelayedExpr)]
    if isinstance(step, Concat) and step.axis == 0:
        return frames
    if isinstance(step, MapPartitions):
        return [step.frame] if isinstance(step.frame, Expr) else []
    if isinstance(step, Merge):
        frames = [step.left, step.right]
        if step.how == "outer" and all(map(tells, frames)):
            return frames
        if step.how == "right":
            frames.reverse()
    return ([expr for expr in frames if tells(expr)] or frames)[:1]


def walk(
    expr: Expr, chosen: tuple[int, ...] | None = None
) -> Iterator[tuple[Expr, tuple[int, ...] | None]]:
    """Every step of the path with the partitions that are wanted of it; None for all."""
    seen, waiting = set(), [(expr, chosen)]
    while waiting:
        step, chosen = waiting.pop()
        if (step._name, chosen) in seen:
            continue
        seen.add((step._name, chosen))
        yield step, chosen
        waiting += reversed(_wanted(step, chosen))


def _wanted(step: Expr, chosen: tuple[int, ...] | None) -> list:
    """The inputs of a step with the partitions that it wants of each."""
    frames = inputs(step)
    if isinstance(step, Partitions):
        own = tuple(step.partitions)
        return [(step.frame, own if chosen is None else tuple(own[i] for i in chosen))]
    if chosen is None:
        return [(expr, None) for expr in frames]
    if isinstance(step, Concat) and step.npartitions == sum(e.npartitions for e in frames):
        wanted, first = [], 0
        for expr in frames:
            last = first + expr.npartitions
            wanted.append((expr, tuple(i - first for i in chosen if first <= i < last)))
            first = last
        return wanted
    kept = isinstance(step, Blockwise)
    return [(e, chosen if kept and e.npartitions > 1 else None) for e in frames]


def scans(expr: Expr) -> list[tuple[Scan, list[Piece]]]:
    """Every scan that rows come from, with the pieces that are read of it."""
    found: dict[Scan, dict[Piece, None]] = defaultdict(dict)
    for step, chosen in walk(expr):
        if isinstance(step, FromMap) and isinstance(step.func, Scan):
            pieces = pieces_of(step)
            pieces = pieces if chosen is None else [pieces[i] for i in chosen]
            found[step.func].update(dict.fromkeys(pieces))
    return [(scan, list(pieces)) for scan, pieces in found.items()]


def pieces_of(scan: FromMap) -> list[Piece]:
    """The pieces that a node of the graph reads."""
    pieces = scan.iterables[0]
    chosen = scan.operand("_partitions")
    return list(pieces) if chosen is None else [pieces[i] for i in chosen]


def repeating_step(expr: Expr) -> str | None:
    """The name of a step that may have passed a row on more than once; None where none can have."""
    return next((type(step).__name__ for step, _ in walk(expr) if _may_repeat(step)), None)


def _may_repeat(step: Expr) -> bool:
    if isinstance(step, MapPartitions):
        return not is_ours(step)
    if isinstance(step, Sample):
        return bool(step.replace)
    if isinstance(step, Loc):
        return not isinstance(step.iindexer, Expr)
    if isinstance(step, Concat):
        return step.axis != 0
    if isinstance(step, Assign):
        return bool(set(step.keys) & set(PROVENANCE))
    if isinstance(step, RenameFrame):
        return bool(set(step.columns) - set(step.frame.columns) & set(PROVENANCE))
    if isinstance(step, Elemwise) and tells(step):
        return not isinstance(step, KEEPING_VALUES)
    return not isinstance(step, _UNREPEATING)


def is_ours(step: MapPartitions) -> bool:
    """Whether a verb of this package maps the function: it gives one row for each that it gets."""
    made_by = getattr(step.func, "__module__", None) or type(step.func).__module__
    return made_by.startswith("laion_dask.")


def may_be_narrowed(expr: Expr) -> bool:
    """Whether columns can be left out of the frame; Dask loses those that some steps are by."""
    return not any(isinstance(step, (NLargest, Categorize)) for step, _ in walk(expr))


def is_cut_by_size(expr: Expr) -> bool:
    """Whether the partitions depend on the columns that are read, as by ``partition_size=``."""
    steps = (step for step, _ in walk(expr))
    return any(isinstance(s, Repartition) and s.operand("partition_size") for s in steps)


def check_branches(expr: Expr) -> None:
    """Refuse an expression that lays two branches of the same rows end to end.

    A choice that names one partition twice does so too.

    Raises
    ------
    ProvenanceError
    """
    for step, _ in walk(expr):
        if isinstance(step, Partitions):
            _check_choice(list(step.partitions))
        if isinstance(step, Concat) and step.axis == 0:
            seen: dict[str, tuple[str, list[Piece]]] = {}
            for branch in step.dependencies():
                own: dict[str, tuple[str, list[Piece]]] = {}
                for piece in (piece for _, some in scans(branch) for piece in some):
                    file = real_path(piece.shard.path)
                    other, before = seen.get(file, ("", []))
                    if any(piece.start < b.stop and b.start < piece.stop for b in before):
                        raise _overlap(other, piece.shard.path)
                    own.setdefault(file, (piece.shard.path, []))[1].append(piece)
                for file, (path, pieces) in own.items():
                    seen.setdefault(file, (path, []))[1].extend(pieces)


def _check_choice(partitions: list[int]) -> None:
    twice = [number for number in dict.fromkeys(partitions) if partitions.count(number) > 1]
    if twice:
        raise ProvenanceError(
            f"This frame takes partition {twice[0]} {partitions.count(twice[0])} times "
            "(partitions[[...]]), so its rows cannot be accounted for. Name each partition once."
        )


def _overlap(one: str, other: str) -> ProvenanceError:
    if one != other:
        return ProvenanceError(
            f"This frame lays {one} and {other} end to end (a concat), which are one file by two "
            "names, so its rows would count twice. Read it by one of them."
        )
    return ProvenanceError(
        f"This frame lays two parts of the same shards end to end (a concat; {one} is in both), so "
        "their rows cannot be accounted for. Say in one filter what is kept: "
        "where('... or ...')."
    )


def numbered_twice(sources: list[tuple[Scan, list[Piece]]]) -> tuple[str, str] | None:
    """Two shards of one number, as of two calls of ``read_shards``; None where there are none."""
    paths: dict[int, str] = {}
    for shard in (piece.shard for _, pieces in sources for piece in pieces):
        if paths.setdefault(shard.index, shard.path) != shard.path:
            return paths[shard.index], shard.path
    return None


def widened(expr: Expr) -> Expr | None:
    """The expression with the columns that identify its rows; None where they are lost.

    They are lost where a step has made a frame without them; one that only chose or dropped
    columns is asked for them again.
    """
    if tells(expr):
        return expr
    if isinstance(expr, (Filter, DropnaFrame, Sample, Assign)) and expr.ndim == 2:
        inner = widened(expr.frame)
        return None if inner is None else type(expr)(inner, *expr.operands[1:])
    if isinstance(expr, (Projection, Drop)) and expr.ndim == 2:
        inner = widened(expr.frame)
        lost = [name for name in PROVENANCE if name not in expr.columns]
        return None if inner is None else Projection(inner, [*expr.columns, *lost])
    if isinstance(expr, Merge):
        (side, *_), operands = inputs(expr), list(expr.operands)
        inner = widened(side)
        if inner is None or any(set(PROVENANCE) & set(e.columns) for e in (expr.left, expr.right)):
            return None
        operands[0 if side is expr.left else 1] = inner
        return Merge(*operands)
    return None
