"""Fetch the rows to search, and the columns of the results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import dask.dataframe as dd
import numpy as np
from dask.dataframe import methods

from laion_dask.backend import frame_like, to_numpy
from laion_dask.errors import ProvenanceError
from laion_dask.frame.provenance import Provenance
from laion_dask.predicate import Predicate
from laion_dask.predicate.nodes import Constant, In, Name
from laion_dask.retrieval.exact.pairs import Pairs
from laion_dask.runtime import graph
from laion_dask.schema import PROVENANCE

#: Up to this many distinct rows, a scan filters by row number.
_MAX_ROWS_BY_NUMBER = 10_000


def parts(provenance: Provenance) -> list:
    """The rows of each partition: several (shard, start, stop), or a lazy frame of shard and row.

    For a frame as it was read, without a filter, they are known without reading data.
    """
    as_read = provenance.as_read
    if as_read is not None and as_read[0].where is None and as_read[0].invalid_text != "reject":
        return [
            tuple((piece.shard.index, piece.start, piece.stop) for piece in partition.pieces)
            for partition in as_read[1]
        ]
    return graph.parts(_columns(provenance, PROVENANCE))


def _columns(provenance: Provenance, names: Iterable[str]) -> dd.DataFrame:
    """Some columns of a frame, with the partitions of the frame. Lazy."""
    frame, names = provenance.frame, list(names)
    if not provenance.is_cut_by_size:
        return frame[names]
    return graph.map_numbered(frame, _take, names, meta=frame._meta[names])


def _take(partition, names: list):
    return partition[names]


def are_runs(parts: list) -> bool:
    """Whether all parts are tuples of (shard, start, stop), so that every row is searched."""
    return all(isinstance(part, tuple) for part in parts)


def within(provenance: Provenance, pairs: Pairs, select: Callable) -> Pairs:
    """The pairs whose rows are in the frame, with ``part`` set. Eager."""
    partitions = _parts_to_search(provenance, pairs)
    tasks = graph.tasks(select, partitions, graph.share(pairs))
    return Pairs.join(graph.compute(*tasks, label="look up"))


def _parts_to_search(provenance: Provenance, pairs: Pairs) -> list:
    """As `parts`, but a scan with a filter reads only the rows of the pairs."""
    as_read = provenance.as_read
    rows = np.unique(pairs.row)
    if as_read is None or as_read[0].where is None or len(rows) > _MAX_ROWS_BY_NUMBER:
        return parts(provenance)
    scan, partitions = as_read
    narrowed = graph.read(scan.and_where(_rows(rows)), partitions)
    return graph.parts(narrowed[list(PROVENANCE)])


def fetch(
    provenance: Provenance,
    pairs: Pairs,
    new_columns: Mapping[str, np.ndarray],
    names: Sequence[str],
):
    """The results as a frame: new columns, shard, row, and columns of the frame. Eager.

    Only partitions with hits are computed; for a frame as it was read, only the rows of the hits
    are read.

    Parameters
    ----------
    provenance : Provenance
        Provenance of the frame.
    pairs : Pairs
    new_columns : mapping of str to array
        New columns, as long as ``pairs``.
    names : sequence of str
        Columns of the frame.
    """
    frame = provenance.frame
    head = frame_like({**new_columns, "shard": pairs.shard, "row": pairs.row}, frame._meta)
    if not names:
        return head
    if not len(pairs):
        return methods.concat([head, frame._meta[list(names)].reset_index(drop=True)], axis=1)
    rows = _fetched_rows(provenance, dict.fromkeys([*names, *PROVENANCE]), pairs)
    positions = _positions(pairs, to_numpy(rows["shard"]), to_numpy(rows["row"]))
    columns = rows[list(names)].iloc[positions].reset_index(drop=True)
    return methods.concat([head, columns], axis=1)


def _fetched_rows(provenance: Provenance, names: Iterable[str], pairs: Pairs):
    """The frame's rows of the given pairs, each once, in any order."""
    numbers = np.unique(pairs.part)
    hit = [pairs.take(pairs.part == number) for number in numbers]
    frame, as_read = _columns(provenance, names), provenance.as_read
    if as_read is not None and len(np.unique(pairs.row)) <= _MAX_ROWS_BY_NUMBER:
        scan, partitions = as_read
        inputs: list[tuple] = [
            (
                scan.and_where(_rows(np.unique(partition_pairs.row))),
                partitions[n].of_shards(set(partition_pairs.shard.tolist())),
                list(frame.columns),
                partition_pairs,
            )
            for n, partition_pairs in zip(numbers, hit, strict=True)
        ]
        tasks = graph.tasks(_scanned, inputs)
    else:
        every = graph.parts(frame)
        inputs = [
            (every[n], partition_pairs.shard, partition_pairs.row)
            for n, partition_pairs in zip(numbers, hit, strict=True)
        ]
        tasks = graph.tasks(_pick, inputs)
    return methods.concat(list(graph.compute(*tasks, label="fetch")))


def _scanned(inputs: tuple, number: int):
    """`_pick` for a partition, reading only the wanted rows."""
    scan, partition, columns, pairs = inputs
    return _pick((scan(partition, columns=columns), pairs.shard, pairs.row), number)


def _pick(inputs: tuple, number: int):
    """The wanted rows of a partition, each once."""
    partition, shard, row = inputs
    shards, rows = to_numpy(partition["shard"]), to_numpy(partition["row"])
    keys = np.unique(_keys(shard, row))
    _, first = np.unique(_keys(shards, rows), return_index=True)
    first = np.sort(first)
    kept = first[np.isin(_keys(shards, rows)[first], keys)]
    return partition.iloc[kept]


def _keys(shard: np.ndarray, row: np.ndarray) -> np.ndarray:
    """One integer per row; shards have fewer than 2**40 rows."""
    return (shard.astype(np.int64) << 40) | row.astype(np.int64)


def _positions(pairs: Pairs, shards: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The position of each pair's row among the fetched rows."""
    keys = _keys(shards, rows)
    by_key = np.argsort(keys)
    pair_keys = _keys(pairs.shard, pairs.row)
    at = np.searchsorted(keys[by_key], pair_keys)
    if len(keys) == 0 or (keys[by_key][np.minimum(at, len(keys) - 1)] != pair_keys).any():
        raise ProvenanceError(
            "A result row is no longer in the frame: computing the frame again gave other "
            "rows. Make its random steps repeatable, with random_state=."
        )
    return by_key[at]


def _rows(rows: np.ndarray) -> Predicate:
    """The predicate that a row number is one of ``rows``."""
    values = tuple(Constant(row, "integer") for row in rows.tolist())
    return Predicate(f"row in {len(rows):,} rows", In(Name("row", "integer"), values), ("row",))
