"""The scans that a frame's rows come from, and checks for colliding shard numbers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import TypeGuard

from laion_dask.errors import ProvenanceError
from laion_dask.frame.row_path import Steps, walk
from laion_dask.io.parquet.scan import Scan
from laion_dask.io.parquet.shard import Piece, ScanPartition, Shard, shards_of
from laion_dask.io.storage.local_file import real_path
from laion_dask.runtime.dask_expressions import BaseExpr, Concat, FromMap, Partitions

#: Scans, each with the partitions that are read.
Sources = list[tuple[Scan, list[ScanPartition]]]


def is_scan(step: BaseExpr) -> TypeGuard[FromMap]:
    """Whether a step is a scan of ``read_shards``."""
    return isinstance(step, FromMap) and isinstance(step.func, Scan)


def partitions_of(scan: FromMap) -> list[ScanPartition]:
    """The partitions that a scan in the graph reads."""
    partitions = scan.iterables[0]
    chosen = scan.operand("_partitions")
    return list(partitions) if chosen is None else [partitions[i] for i in chosen]


def sources_of(steps: Steps) -> Sources:
    """Every scan on a path, with the partitions that are read."""
    by_scan: dict[Scan, dict[ScanPartition, None]] = defaultdict(dict)
    for step, chosen in steps:
        if is_scan(step):
            partitions = partitions_of(step)
            partitions = partitions if chosen is None else [partitions[i] for i in chosen]
            by_scan[step.func].update(dict.fromkeys(partitions))
    return [(scan, list(partitions)) for scan, partitions in by_scan.items()]


def all_shards(steps: Steps) -> list[Shard]:
    """All shards of the only scan on a path, in order, including those that are not read.

    Raises
    ------
    ProvenanceError
        When there is no scan, or several, whose shard numbers would collide.
    """
    scans = {}
    for step, _ in steps:
        if is_scan(step):
            every = shards_of(step.operand("iterables")[0])
            shards = {shard.path: shard for shard in every}
            scans[tuple(shards)] = list(shards.values())
    if not scans:
        raise ProvenanceError(
            "This frame does not lead back to read_shards (it was persisted, or created in another "
            "way), so its rows cannot be matched with embeddings. Keep the lazy frame: score and "
            "export that one, and use the result of persist() only to look at rows."
        )
    if len(scans) > 1:
        raise ProvenanceError(
            f"This frame comes from {len(scans)} calls of read_shards; embeddings pair with the "
            "shards of one. Score each frame before you combine them."
        )
    return next(iter(scans.values()))


def check_branches(steps: Steps) -> None:
    """Raise if a concat repeats rows: two branches of the same rows, end to end.

    Also raises if a partition is selected twice.

    Raises
    ------
    ProvenanceError
    """
    for step, _ in steps:
        if isinstance(step, Partitions):
            _check_choice(list(step.partitions))
        if isinstance(step, Concat) and step.axis == 0:
            _check_concat(step)


def _pieces(sources: Sources) -> Iterator[Piece]:
    for _, partitions in sources:
        for partition in partitions:
            yield from partition.pieces


def _check_concat(concat: Concat) -> None:
    by_file: dict[str, tuple[str, list[Piece]]] = {}
    for branch in concat.dependencies():
        of_branch: dict[str, tuple[str, list[Piece]]] = {}
        for piece in _pieces(sources_of(walk(branch))):
            file = real_path(piece.shard.path)
            other, before = by_file.get(file, ("", []))
            if any(piece.start < b.stop and b.start < piece.stop for b in before):
                raise _overlap_error(other, piece.shard.path)
            of_branch.setdefault(file, (piece.shard.path, []))[1].append(piece)
        for file, (path, pieces) in of_branch.items():
            by_file.setdefault(file, (path, []))[1].extend(pieces)


def _check_choice(partitions: list[int]) -> None:
    repeated = [number for number in dict.fromkeys(partitions) if partitions.count(number) > 1]
    if repeated:
        raise ProvenanceError(
            f"This frame selects partition {repeated[0]} {partitions.count(repeated[0])} times "
            "(partitions[[...]]), so its rows cannot be accounted for. Select each partition once."
        )


def _overlap_error(one: str, other: str) -> ProvenanceError:
    if one != other:
        return ProvenanceError(
            f"This frame concatenates {one} and {other} end to end, which are two names of one "
            "file, so its rows would count twice. Read the file under one name."
        )
    return ProvenanceError(
        f"This frame concatenates two parts of the same shards end to end ({one} is in both), "
        "so their rows cannot be accounted for. Use a single filter instead: where('... or ...')."
    )


def shard_number_clash(sources: Sources) -> tuple[str, str] | None:
    """Two shards with the same number, as from two calls of ``read_shards``, or None."""
    paths: dict[int, str] = {}
    for shard in shards_of(partition for _, partitions in sources for partition in partitions):
        if paths.setdefault(shard.index, shard.path) != shard.path:
            return paths[shard.index], shard.path
    return None


def check_shard_numbers(sources: Sources) -> None:
    """Raise if two shards have the same number, so that rows cannot be identified.

    Raises
    ------
    ProvenanceError
    """
    clash = shard_number_clash(sources)
    if clash is not None:
        raise ProvenanceError(
            "This frame has rows from several calls of read_shards, which use the same shard "
            f"numbers: {clash[0]} and {clash[1]} have the same one, so rows cannot be identified. "
            "Open both in one call, read_shards([a, b])."
        )
