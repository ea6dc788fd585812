"""Where the package meets Dask: the only caller of ``from_map``, ``map_partitions`` and compute.

Everything below this floor is a function of one partition; everything above says what it wants.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from uuid import uuid4

import dask
import dask.dataframe as dd
from dask import delayed
from dask._task_spec import Task
from dask.dataframe.dask_expr import new_collection
from dask.dataframe.dask_expr._concat import Concat
from dask.dataframe.dask_expr._expr import (
    Blockwise,
    Expr,
    MapPartitions,
    Partitions,
    Projection,
)
from dask.dataframe.dask_expr.io.io import FromMap
from dask.delayed import Delayed, DelayedLeaf, unpack_collections
from dask.highlevelgraph import HighLevelGraph
from tqdm.auto import tqdm
from tqdm.dask import TqdmCallback

from laion_dask.errors import ProvenanceError, must_be
from laion_dask.io.pieces import Piece, Shard
from laion_dask.io.scan import Scan
from laion_dask.options import is_watched


def read(scan: Scan, pieces: Sequence[Piece]) -> dd.DataFrame:
    """A frame with one partition a piece. Lazy."""
    with dask.config.set({"dataframe.convert-string": False}):
        return dd.from_map(scan, list(pieces), meta=scan.meta(), label="read-shards")


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
        return expr.func, _pieces(expr)
    return None


def as_scan(frame: dd.DataFrame) -> tuple[Scan, list[Piece], list[str]] | None:
    """The scan, pieces and columns of a frame that is nothing but a scan, or None."""
    expr = _expr(frame, optimized=True)
    if isinstance(expr, FromMap) and isinstance(expr.func, Scan) and expr.ndim == 2:
        return expr.func, _pieces(expr), list(expr.columns)
    return None


def sources(frame: dd.DataFrame) -> list[tuple[Scan, list[Piece]]]:
    """Every scan that a frame's rows come from, with the pieces that it reads of it.

    Raises
    ------
    ProvenanceError
        When there is none: the frame was not made by ``read_shards``, or was persisted.
    """
    expr = _expr(frame, optimized=True)
    _check_branches(expr)
    found = {}
    for node in expr.walk():
        if isinstance(node, FromMap) and isinstance(node.func, Scan):
            pieces = _pieces(node)
            # Two projections of one scan are two nodes, and yet the same rows.
            found[node.func, tuple(pieces)] = (node.func, pieces)
    if not found:
        raise ProvenanceError(
            "This frame does not lead back to read_shards (it was made otherwise, or persisted), "
            "so what it was read from cannot be said. Start from ld.read_shards(...), and persist "
            "no earlier than the last step."
        )
    return list(found.values())


def _scanned(expr: Expr) -> set[Piece]:
    """The pieces that an expression reads."""
    nodes = (n for n in expr.walk() if isinstance(n, FromMap) and isinstance(n.func, Scan))
    return {piece for node in nodes for piece in _pieces(node)}


def _check_branches(expr: Expr) -> None:
    """Refuse an expression that lays two branches of one scan end to end."""
    for node in expr.walk():
        if isinstance(node, Concat):
            branches = [_scanned(branch) for branch in node.dependencies()]
            if len(set().union(*branches)) < sum(map(len, branches)):
                raise ProvenanceError(
                    "This frame lays two parts of the same shards end to end (a concat), so their "
                    "rows cannot be accounted for. Say in one filter what is kept: "
                    "where('... or ...')."
                )


def shards(frame: dd.DataFrame) -> list[Shard]:
    """All shards of the one scan that a frame comes from, in order, those unread included.

    Raises
    ------
    ProvenanceError
        When the frame comes from no scan, or from several, whose shard numbers would collide.
    """
    scans = {}
    for node in _expr(frame).walk():
        if isinstance(node, FromMap) and isinstance(node.func, Scan):
            found = {piece.shard.path: piece.shard for piece in node.operand("iterables")[0]}
            scans[tuple(found)] = list(found.values())
    if not scans:
        raise ProvenanceError(
            "This frame does not lead back to read_shards (it was persisted, or made otherwise), "
            "so which embeddings are its rows' cannot be known. Score first, and persist the "
            "scored frame."
        )
    if len(scans) > 1:
        raise ProvenanceError(
            f"This frame comes from {len(scans)} calls of read_shards; embeddings pair with the "
            "shards of one. Score each frame before you bring them together."
        )
    return next(iter(scans.values()))


def _pieces(expr: FromMap) -> list[Piece]:
    pieces = expr.iterables[0]
    chosen = expr.operand("_partitions")
    return list(pieces) if chosen is None else [pieces[i] for i in chosen]


def mapped(frame: dd.DataFrame, kernel: Callable) -> list[tuple[dd.DataFrame, tuple]]:
    """Every use of a kernel in a frame: the frame that it was mapped over, and its arguments.

    As the frame was written, not as Dask optimizes it, which may join one filter with the next.
    """
    found = {}
    for node, chosen in _steps(_expr(frame), None):
        if isinstance(node, MapPartitions) and node.func is kernel:
            over = new_collection(node.frame)
            over = over if chosen is None else over.partitions[list(chosen)]
            found[node._name, chosen] = (over, tuple(node.args[1:]))
    return list(found.values())


def _steps(expr: Expr, chosen: tuple[int, ...] | None) -> Iterator:
    """Every step of an expression with the partitions that are wanted of it; None for all."""
    yield expr, chosen
    if isinstance(expr, Partitions):
        wanted = tuple(expr.partitions)
        chosen = wanted if chosen is None else tuple(wanted[i] for i in chosen)
    elif not isinstance(expr, Blockwise):
        chosen = None
    for step in expr.dependencies():
        yield from _steps(step, chosen if step.npartitions > 1 else None)


def recipes(frame: dd.DataFrame) -> list[dict]:
    """What the models, heads and embeddings that a frame was computed with say of themselves."""
    found = {}
    for node in _expr(frame).walk():
        for operand in _leaves(node.operands):
            if hasattr(operand, "recipe") and callable(operand.recipe):
                recipe = operand.recipe()
                found[repr(recipe)] = recipe
    return [found[key] for key in sorted(found)]


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


def map_columns(frame: dd.DataFrame, kernel: Callable, *args, reads: Sequence[str], meta):
    """A kernel over some columns of every partition. Lazy.

    Parameters
    ----------
    frame : dask DataFrame
    kernel : callable
        ``kernel(part, *args)``; a module-level function that takes zero rows without complaint.
    *args
        Picklable; a large one goes through `share`.
    reads : sequence of str
        The columns that the kernel reads; no others are read for it.
    meta : pandas or cuDF object of zero rows
        What comes back.
    """
    return frame[list(reads)].map_partitions(kernel, *args, meta=meta)


def share(value):
    """A large argument of a kernel: it travels once, as a task of its own, not in every task."""
    return delayed(value, traverse=False, pure=True)


def map_numbered(frame: dd.DataFrame, kernel: Callable, *args, meta):
    """``kernel(part, *args, partition_info=…)`` over whole partitions. Lazy."""
    return frame.map_partitions(kernel, *args, meta=meta)


def reduce(results: dd.DataFrame, combine: Callable, *, meta):
    """A tree reduction: ``combine`` of some results laid end to end is one result. Lazy.

    The tree is fixed by the partitions, not by the workers.
    """
    return results.reduction(combine, combine, combine=combine, meta=meta, split_every=8)


def parts(frame: dd.DataFrame) -> list:
    """A frame's partitions, one by one, for `tasks`. Lazy."""
    return frame.to_delayed()


def tasks(kernel: Callable, parts: Iterable, *args) -> list[Delayed]:
    """``kernel(part, number, *args)`` for each part, a result of any kind; see `compute`. Lazy."""
    return _layer(kernel, [(part, number, *args) for number, part in enumerate(parts)])


def tree(results: list[Delayed], combine: Callable, *args) -> Delayed:
    """One of several: ``combine(up to eight, *args)``, until one is left. Lazy."""
    while len(results) > 1:
        some = [results[at : at + 8] for at in range(0, len(results), 8)]
        results = _layer(_combined, [(combine, args, *few) for few in some])
    return results[0]


def _combined(combine: Callable, args: tuple, *several):
    return combine(several, *args)


def _layer(function: Callable, calls: Sequence[tuple]) -> list[Delayed]:
    """``function(*call)`` of every call, as tasks of one layer, much cheaper than of one each."""
    name = f"{function.__name__}-{uuid4().hex}"
    layer, needed, known = {}, [], {}
    for number, call in enumerate(calls):
        given = []
        for value in call:
            if id(value) not in known:  # arguments that the calls share are looked at once
                known[id(value)] = unpack_collections(value)
                needed += known[id(value)][1]
            given.append(known[id(value)][0])
        layer[f"{name}-{number}"] = Task(f"{name}-{number}", function, *given)
    graph = HighLevelGraph.from_collections(name, layer, dependencies=needed)
    return [Delayed(key, graph, layer=name) for key in layer]


def over_pieces(kernel: Callable, pieces: Sequence[Piece], meta) -> dd.DataFrame:
    """``kernel(piece, number)`` over pieces, without reading them as a frame first. Lazy."""
    with dask.config.set({"dataframe.convert-string": False}):
        numbers = range(len(pieces))
        return dd.from_map(kernel, list(pieces), numbers, meta=meta, label="over-pieces")


def compute(*collections, label: str):
    """Compute together what shares its reading. Shows progress; Ctrl-C cancels. Eager.

    Runs on the distributed client that is there, else on Dask's threads.
    """
    if not is_watched():
        return dask.compute(*collections)
    client = _client()
    if client is None:
        with TqdmCallback(desc=label, delay=2, leave=False):
            return dask.compute(*collections)
    return _compute_on(client, collections, label)


def _client():
    """The distributed client of this process, or None."""
    import distributed

    try:
        return distributed.get_client()
    except ValueError:
        return None


def _compute_on(client, collections, label: str):
    from distributed import as_completed, futures_of

    persisted = client.persist(list(collections))
    futures = futures_of(persisted)
    try:
        for _ in tqdm(as_completed(futures), desc=label, total=len(futures), delay=2, leave=False):
            pass
        return tuple(client.gather(client.compute(persisted)))
    finally:
        client.cancel(futures)
