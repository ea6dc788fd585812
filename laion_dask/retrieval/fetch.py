"""Rows that were found, and the columns that the frame has of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import dask.dataframe as dd
import numpy as np
from dask.dataframe import methods

from laion_dask.backend import frame_like, to_numpy
from laion_dask.errors import ProvenanceError
from laion_dask.frame.provenance import Provenance
from laion_dask.predicate import Predicate
from laion_dask.predicate.nodes import Among, Constant, Name
from laion_dask.retrieval.exact.pairs import Pairs
from laion_dask.runtime import graph
from laion_dask.schema import PROVENANCE

#: Up to so many different rows, a scan is told which ones are wanted.
_NAMED = 10_000


def parts(provenance: Provenance) -> list:
    """What to search, one a partition: (shard, start, stop), or lazy frames of shard and row.

    Of a frame that is as it was read, and reads every row, the rows are known without reading.
    """
    as_read = provenance.as_read
    if as_read is not None and as_read[0].where is None and as_read[0].invalid_text != "reject":
        return [(piece.shard.index, piece.start, piece.stop) for piece in as_read[1]]
    return graph.parts(_columns(provenance, PROVENANCE))


def _columns(provenance: Provenance, names: Iterable[str]) -> dd.DataFrame:
    """Some columns of a frame, in the partitions that the whole frame has. Lazy."""
    frame, names = provenance.frame, list(names)
    if not provenance.is_cut_by_size:
        return frame[names]
    return graph.map_numbered(frame, _take, names, meta=frame._meta[names])


def _take(part, names: list):
    return part[names]


def are_runs(parts: list) -> bool:
    """Whether parts are (shard, start, stop), which is every row that was read."""
    return all(isinstance(part, tuple) for part in parts)


def within(provenance: Provenance, pairs: Pairs, among: Callable) -> Pairs:
    """Those of some pairs whose rows the frame has, told the partition they are in. Eager."""
    wanted = _only(provenance, pairs)
    found = graph.tasks(among, wanted, graph.share(pairs))
    return Pairs.join(graph.compute(*found, label="look up"))


def _only(provenance: Provenance, pairs: Pairs) -> list:
    """As `parts`; a scan with a filter reads no other rows than those of the pairs."""
    as_read = provenance.as_read
    rows = np.unique(pairs.row)
    if as_read is None or as_read[0].where is None or len(rows) > _NAMED:
        return parts(provenance)
    scan, pieces = as_read
    narrowed = graph.read(scan.and_where(_rows(rows)), pieces)
    return graph.parts(narrowed[list(PROVENANCE)])


def fetch(
    provenance: Provenance, pairs: Pairs, made: Mapping[str, np.ndarray], names: Sequence[str]
):
    """A frame of what was found: the columns made of it, shard, row, and the named ones. Eager.

    Only partitions with a hit are computed; of a frame that is as it was read, only the rows hit
    are read.

    Parameters
    ----------
    provenance : Provenance
        Of the frame.
    pairs : Pairs
    made : mapping of str to array
        New columns, of the length of ``pairs``.
    names : sequence of str
        Columns of the frame.
    """
    frame = provenance.frame
    head = frame_like({**made, "shard": pairs.shard, "row": pairs.row}, frame._meta)
    if not names:
        return head
    if not len(pairs):
        return methods.concat([head, frame._meta[list(names)].reset_index(drop=True)], axis=1)
    found = _found(provenance, dict.fromkeys([*names, *PROVENANCE]), pairs)
    places = _places(pairs, to_numpy(found["shard"]), to_numpy(found["row"]))
    known = found[list(names)].iloc[places].reset_index(drop=True)
    return methods.concat([head, known], axis=1)


def _found(provenance: Provenance, names: Iterable[str], pairs: Pairs):
    """The frame's rows of some pairs, each once, in any order."""
    numbers = np.unique(pairs.part)
    hit = [pairs.take(pairs.part == number) for number in numbers]
    frame, as_read = _columns(provenance, names), provenance.as_read
    if as_read is not None and len(np.unique(pairs.row)) <= _NAMED:
        scan, pieces = as_read
        wanted = [
            (scan.and_where(_rows(np.unique(own.row))), pieces[n], list(frame.columns), own)
            for n, own in zip(numbers, hit, strict=True)
        ]
        tasks = graph.tasks(_scanned, wanted)
    else:
        every = graph.parts(frame)
        wanted = [(every[n], own.shard, own.row) for n, own in zip(numbers, hit, strict=True)]
        tasks = graph.tasks(_pick, wanted)
    return methods.concat(list(graph.compute(*tasks, label="fetch")))


def _scanned(wanted: tuple, number: int):
    """`_pick` of a piece, of which no other rows are read."""
    scan, piece, columns, own = wanted
    return _pick((scan(piece, columns=columns), own.shard, own.row), number)


def _pick(wanted: tuple, number: int):
    """The rows of a partition that are wanted, each once."""
    part, shard, row = wanted
    shards, rows = to_numpy(part["shard"]), to_numpy(part["row"])
    keys = np.unique(_keys(shard, row))
    _, first = np.unique(_keys(shards, rows), return_index=True)
    first = np.sort(first)
    kept = first[np.isin(_keys(shards, rows)[first], keys)]
    return part.iloc[kept]


def _keys(shard: np.ndarray, row: np.ndarray) -> np.ndarray:
    """One integer a row; shards have fewer rows than 2**40."""
    return (shard.astype(np.int64) << 40) | row.astype(np.int64)


def _places(pairs: Pairs, shards: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Where each pair's row stands among the fetched."""
    keys = _keys(shards, rows)
    by_key = np.argsort(keys)
    wanted = _keys(pairs.shard, pairs.row)
    at = np.searchsorted(keys[by_key], wanted)
    if len(keys) == 0 or (keys[by_key][np.minimum(at, len(keys) - 1)] != wanted).any():
        raise ProvenanceError(
            "A row that was found is no longer in the frame: computed a second time, it gave other "
            "rows. Make what is random in it repeatable, with random_state=."
        )
    return by_key[at]


def _rows(rows: np.ndarray) -> Predicate:
    """The condition that a row is one of these."""
    values = tuple(Constant(row, "integer") for row in rows.tolist())
    return Predicate(f"row in {len(rows):,} rows", Among(Name("row", "integer"), values), ("row",))
