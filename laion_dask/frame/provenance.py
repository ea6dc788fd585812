"""What a frame is made of: the scans that its rows come from, and what was done to them since.

The only reader of Dask's expressions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import dask.dataframe as dd
from dask.delayed import Delayed, DelayedLeaf

from laion_dask.dtypes import Kinds
from laion_dask.errors import ProvenanceError, must_be
from laion_dask.frame import data_path
from laion_dask.frame.identity_steps import check_identity
from laion_dask.io.parquet.scan import Scan
from laion_dask.io.parquet.shard import Piece, Shard
from laion_dask.predicate import Predicate
from laion_dask.runtime.dask_expressions import (
    DropDuplicates,
    DropnaFrame,
    Expr,
    Filter,
    FromMap,
    MapPartitions,
    Projection,
    Sample,
    new_collection,
)

#: Steps that leave rows out and change nothing else.
_NARROWING = (Filter, DropnaFrame, Sample, DropDuplicates)


def _expr(frame: dd.DataFrame, *, optimized: bool = False) -> Expr:
    """What a frame is made of."""
    must_be("The frame", frame, dd.DataFrame, "a Dask DataFrame, as read_shards returns")
    return frame.optimize(fuse=False).expr if optimized else frame.expr


def as_read(frame: dd.DataFrame) -> tuple[Scan, list[Piece]] | None:
    """The scan and pieces of a frame that is as it was read, or None for any other.

    A choice of columns is still as it was read; a choice of partitions is not, since its pieces
    alone would not say how the shards are numbered.
    """
    expr = _expr(frame)
    if isinstance(expr, Projection) and expr.ndim == 2:
        expr = expr.frame
    if (
        isinstance(expr, FromMap)
        and isinstance(expr.func, Scan)
        and expr.operand("columns") is None
        and expr.operand("_partitions") is None
    ):
        return expr.func, data_path.pieces_of(expr)
    return None


def as_scan(frame: dd.DataFrame) -> tuple[Scan, list[Piece], list[str]] | None:
    """The scan, pieces and columns of a frame that is nothing but a scan, or None.

    A frame that reads a piece twice, by a choice of partitions, is none.
    """
    expr = _expr(frame, optimized=True)
    if isinstance(expr, FromMap) and isinstance(expr.func, Scan) and expr.ndim == 2:
        pieces = data_path.pieces_of(expr)
        if len(set(pieces)) == len(pieces):
            return expr.func, pieces, list(expr.columns)
    return None


def sources(frame: dd.DataFrame) -> list[tuple[Scan, list[Piece]]]:
    """Every scan that a frame's rows come from, with the pieces that it reads of it.

    A table that gives the frame columns and no rows, such as the right side of a left merge, is
    not among them.

    Raises
    ------
    ProvenanceError
        When there is none: the frame was not made by ``read_shards``, or was persisted; and where
        a step writes over ``shard`` or ``row``.
    """
    expr = _expr(frame)
    check_identity(expr)
    data_path.check_branches(expr)
    found = data_path.scans(expr)
    if not found:
        raise ProvenanceError(
            "This frame does not lead back to read_shards (it was made otherwise, or persisted), "
            "so what it was read from cannot be said. Start from ld.read_shards(...), and keep "
            "the lazy frame: export that one, and use what persist() returns to look at the rows."
        )
    return found


def refuse_repeats(frame: dd.DataFrame) -> None:
    """Refuse a frame that lays two branches of one scan end to end.

    Raises
    ------
    ProvenanceError
    """
    data_path.check_branches(_expr(frame))


def repeating_step(frame: dd.DataFrame) -> str | None:
    """The name of a step that may have passed a row on more than once, or None."""
    return data_path.repeating_step(_expr(frame))


def may_be_narrowed(frame: dd.DataFrame) -> bool:
    """Whether a choice of the frame's columns leaves its rows as they are."""
    return data_path.may_be_narrowed(_expr(frame))


def is_cut_by_size(frame: dd.DataFrame) -> bool:
    """Whether a choice of the frame's columns would change its partitions."""
    return data_path.is_cut_by_size(_expr(frame))


def identified(frame: dd.DataFrame) -> dd.DataFrame | None:
    """The frame with ``shard`` and ``row``, asked for again where they were left out. Lazy.

    None where a step has lost them.
    """
    expr = data_path.widened(_expr(frame))
    return None if expr is None else new_collection(expr)


def shards(frame: dd.DataFrame) -> list[Shard]:
    """All shards of the one scan that a frame comes from, in order, those unread included.

    Raises
    ------
    ProvenanceError
        When the frame comes from no scan, or from several, whose shard numbers would collide; and
        where a step writes over ``shard`` or ``row``.
    """
    check_identity(_expr(frame))
    scans = {}
    for node, _ in data_path.walk(_expr(frame)):
        if isinstance(node, FromMap) and isinstance(node.func, Scan):
            found = {piece.shard.path: piece.shard for piece in node.operand("iterables")[0]}
            scans[tuple(found)] = list(found.values())
    if not scans:
        raise ProvenanceError(
            "This frame does not lead back to read_shards (it was persisted, or made otherwise), "
            "so which embeddings are its rows' cannot be known. Keep the lazy frame: score and "
            "export that one, and use what persist() returns to look at the rows."
        )
    if len(scans) > 1:
        raise ProvenanceError(
            f"This frame comes from {len(scans)} calls of read_shards; embeddings pair with the "
            "shards of one. Score each frame before you bring them together."
        )
    return next(iter(scans.values()))


def mapped(frame: dd.DataFrame, kernel: Callable) -> list[tuple[dd.DataFrame, tuple]]:
    """Every use of a kernel in a frame: the frame that it was mapped over, and its arguments.

    As the frame was written, not as Dask optimizes it, which may join one filter with the next.
    """
    found = {}
    for node in _expr(frame).walk():
        if isinstance(node, MapPartitions) and node.func is kernel:
            found[node._name] = (new_collection(node.frame), tuple(node.args[1:]))
    return list(found.values())


def unfiltered(frame: dd.DataFrame) -> dd.DataFrame:
    """The frame before every filter, sample and removal of nulls or duplicates. Lazy."""
    expr = _expr(frame)
    while (step := next(_narrowing(expr), None)) is not None:
        expr = expr.substitute(step, step.frame)
    for node in [step for step, _ in data_path.walk(expr)]:
        if isinstance(node, FromMap) and isinstance(node.func, Scan) and node.func.where:
            whole = {"func": replace(node.func, where=None)}
            expr = expr.substitute(node, node.substitute_parameters(whole))
    return new_collection(expr)


def _narrowing(expr: Expr) -> Iterator[Expr]:
    return (step for step, _ in data_path.walk(expr) if isinstance(step, _NARROWING))


def arguments(frame: dd.DataFrame, kernel: Callable) -> list[tuple]:
    """What a kernel was given beside its frame in each of its uses, wherever in the graph."""
    uses = {n._name: n for n in _expr(frame).walk() if isinstance(n, MapPartitions)}
    return [tuple(node.args[1:]) for node in uses.values() if node.func is kernel]


def narrowed(before: dd.DataFrame, after: dd.DataFrame, kernel: Callable) -> Predicate | None:
    """The filter that alone makes one frame of another, or None where there is no such.

    Parameters
    ----------
    before, after : dask DataFrame
    kernel : callable
        That filters a partition by a predicate.

    Returns
    -------
    Predicate or None
        It reads columns of ``before``.
    """
    found = _more_in_scan(before, after) or _filters_between(before, after, kernel)
    return found if found and set(found.columns) <= set(before.columns) else None


def _more_in_scan(before: dd.DataFrame, after: dd.DataFrame) -> Predicate | None:
    """What one scan demands beyond another that is the same in all else."""
    one, other = as_read(before), as_read(after)
    if one is None or other is None or other[0].where is None:
        return None
    (scan, pieces), (narrow, narrow_pieces) = one, other
    if replace(narrow, where=scan.where) != scan or pieces != narrow_pieces:
        return None
    return narrow.where if scan.where is None else narrow.where.beyond(scan.where)


def _filters_between(before: dd.DataFrame, after: dd.DataFrame, kernel) -> Predicate | None:
    found = None
    start, expr = _whole(_expr(before)), _whole(_expr(after))
    while expr._name != start._name:
        mask = expr.predicate if isinstance(expr, Filter) else None
        if not isinstance(mask, MapPartitions) or mask.func is not kernel:
            return None
        if _whole(mask.frame)._name != _whole(expr.frame)._name:
            return None
        (predicate,) = mask.args[1:]
        found = predicate if found is None else predicate & found
        expr = _whole(expr.frame)
    return found


def _whole(expr: Expr) -> Expr:
    """A frame of which columns were chosen, before that."""
    while isinstance(expr, Projection) and expr.ndim == 2:
        expr = expr.frame
    return expr


def given(args: Iterable, kind: type) -> list:
    """Of a kernel's arguments, as `mapped` returns them, those of a kind; shared ones included."""
    operands = (arg.operands if isinstance(arg, Expr) else [arg] for arg in args)
    return [leaf for some in operands for leaf in _leaves(some) if isinstance(leaf, kind)]


def recipes(frame: dd.DataFrame) -> list[dict]:
    """What the models, heads and embeddings that a frame was computed with say of themselves."""
    found = {}
    for node in _expr(frame).walk():
        for operand in _leaves(node.operands):
            if hasattr(operand, "recipe") and callable(operand.recipe):
                recipe = operand.recipe()
                found[repr(recipe)] = recipe
    return [found[key] for key in sorted(found)]


def joined_files(frame: dd.DataFrame) -> list[str]:
    """The shards of the tables that a frame was joined with."""
    return [file["path"] for one in recipes(frame) if "join" in one for file in one["inputs"]]


def _leaves(operands: Iterable) -> Iterator:
    for operand in operands:
        if isinstance(operand, (list, tuple)):
            yield from _leaves(operand)
        elif isinstance(operand, dict):
            yield from _leaves(operand.values())
        elif isinstance(operand, Delayed):
            yield from _leaves([operand._obj] if isinstance(operand, DelayedLeaf) else [])
        elif not isinstance(operand, Expr):
            yield operand


def kinds(frame: dd.DataFrame, kind_of: Callable) -> Kinds:
    """The kind of every column of a frame, by its dtype, and which of them were float16."""
    nodes = (node for node, _ in data_path.walk(_expr(frame)))
    scanned = [n.func for n in nodes if isinstance(n, FromMap) and isinstance(n.func, Scan)]
    found = {name: kind_of(dtype) for name, dtype in frame.dtypes.items()}
    return Kinds.of(found, {name for scan in scanned for name in scan.half})


def used(frame: dd.DataFrame, kind: type) -> list:
    """What of a kind a frame was computed with, such as its embeddings; each once."""
    nodes = _expr(frame).walk()
    found = (leaf for node in nodes for leaf in _leaves(node.operands) if isinstance(leaf, kind))
    return list(dict.fromkeys(found))
