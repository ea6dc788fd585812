"""Read many small shards of one layout in a single query.

A query per file costs milliseconds, whatever the file contains. Consecutive whole shards whose
columns are stored alike are therefore read together. If that fails, for example because one of them
is damaged, they are read one by one, so that the error names the file and the row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import duckdb

from laion_dask.errors import SchemaError
from laion_dask.io.parquet import scan_duckdb
from laion_dask.io.parquet.column_chunks import schema_end
from laion_dask.io.parquet.footer import check_unchanged
from laion_dask.io.parquet.scan_batches import Each
from laion_dask.io.parquet.scan_piece import (
    columns_to_read,
    must_be_careful,
    must_verify,
    query_typed,
    read_on_cpu,
)
from laion_dask.io.parquet.scan_spec import ScanSpec
from laion_dask.io.parquet.shard import Piece, Read, Shard, joined
from laion_dask.io.parquet.thrift import NotThrift
from laion_dask.runtime import cancellation

#: Shards per query, so that a long one can be canceled.
_MAX_SHARDS = 512

Query = Callable[[ScanSpec, Sequence[Piece], list[str]], Read]


def read_pieces(
    scan: ScanSpec,
    pieces: Sequence[Piece],
    names: list[str],
    query: Query,
    each: Each | None = None,
) -> Read:
    """Read pieces with DuckDB, or carefully where necessary.

    Parameters
    ----------
    scan : ScanSpec
    pieces : sequence of Piece
        At least one.
    names : list of str
        The columns to read; not empty.
    query : callable
        One of the queries in `scan_duckdb`.
    each : callable, optional
        What to keep of each batch of rows, which then are read with `scan_duckdb.kept_in_batches`.

    Returns
    -------
    Read
        The rows in the order of the pieces.

    Raises
    ------
    NotInBatches
        When a row cannot be read and ``each`` is given.
    """
    results = []
    for group in _alike(scan, pieces):
        cancellation.check()
        footers = [check_unchanged(p.shard.path, p.shard.footer_sha256) for p in group]
        for start, stop in _stored_alike(scan, group, footers, names):
            run = group[start:stop]
            result = _read_together(scan, run, names, query, each) if len(run) > 1 else None
            if result is None:
                result = _one_by_one(scan, run, footers[start:stop], names, query, each)
            results.append(result)
    return joined(results)


def _alike(scan: ScanSpec, pieces: Sequence[Piece]) -> Iterator[Sequence[Piece]]:
    """Runs of whole shards with consecutive numbers and the same columns; or single pieces."""
    start = 0
    for stop in range(1, len(pieces) + 1):
        is_long = stop - start >= _MAX_SHARDS
        if stop == len(pieces) or is_long or not _may_follow(pieces[stop - 1], pieces[stop]):
            run = pieces[start:stop]
            if len(run) > 1 and _must_be_alone(scan, run[0].shard):
                yield from ([piece] for piece in run)
            else:
                yield run
            start = stop


def _may_follow(one: Piece, other: Piece) -> bool:
    """Whether a query that reads one piece may read the other too, by what is known of them."""
    a, b = one.shard, other.shard
    return (
        one.is_whole
        and other.is_whole
        and b.index == a.index + 1
        and (b.columns is a.columns or b.columns == a.columns)
        and (b.partition, b.twins, b.int96) == (a.partition, a.twins, a.int96)
        and _store(b.path) == _store(a.path)
    )


def _store(path: str) -> str:
    return path.partition("://")[0] if "://" in path else ""


def _must_be_alone(scan: ScanSpec, shard: Shard) -> bool:
    """Whether shards with these columns need the careful reader, or hide DuckDB's file number."""
    return must_be_careful(scan, shard) or any(
        old.lower() == scan_duckdb.FILE for old, _, _ in shard.columns
    )


def _stored_alike(
    scan: ScanSpec, group: Sequence[Piece], footers: Sequence[bytes], names: Sequence[str]
) -> Iterator[tuple[int, int]]:
    """Runs of a group with the same Parquet schema and verified checksums; (start, stop).

    DuckDB converts other files to the schema of the first one, and bytes to text by escaping them,
    so equal Arrow types do not suffice.
    """
    if len(group) == 1:
        yield 0, 1
        return
    columns = columns_to_read(scan, group[0].shard, names)
    alone = must_verify(group, footers, columns)
    start, schema = 0, b""
    for at, footer in enumerate(footers):
        if at > start and (alone[at] or alone[start] or not footer.startswith(schema)):
            yield start, at
            start = at
        if at == start:
            schema = b"" if alone[at] else _schema(footer)
    yield start, len(group)


def _schema(footer: bytes) -> bytes:
    """The start of a footer, with the Parquet schema; all of it if that cannot be found."""
    try:
        return footer[: schema_end(footer)]
    except NotThrift:
        return footer


def _read_together(
    scan: ScanSpec, run: Sequence[Piece], names: list[str], query: Query, each: Each | None
) -> Read | None:
    """All shards of a run in a single query; None if one of them cannot be read that way."""
    try:
        return query_typed(scan, run, names, query, each)
    except (duckdb.Error, SchemaError):
        return None


def _one_by_one(
    scan: ScanSpec,
    run: Sequence[Piece],
    footers: Sequence[bytes],
    names: list[str],
    query: Query,
    each: Each | None,
) -> Read:
    return joined(
        [
            read_on_cpu(scan, piece, names, query, footer, each)
            for piece, footer in zip(run, footers, strict=True)
        ]
    )
