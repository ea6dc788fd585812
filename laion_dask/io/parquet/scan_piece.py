"""Read one piece of a shard, with cuDF, DuckDB or the careful pyarrow reader."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import duckdb
import pyarrow as pa

from laion_dask.backend import Frame
from laion_dask.cuda_errors import is_out_of_memory
from laion_dask.errors import (
    BackendWarning,
    DeviceMemoryError,
    LaionDaskError,
    SchemaError,
    parameter,
)
from laion_dask.io.parquet import page_checksums, scan_cudf, scan_duckdb, scan_pyarrow
from laion_dask.io.parquet.checksum_search import may_have_checksums
from laion_dask.io.parquet.common_types import family, holds_durations
from laion_dask.io.parquet.cudf_decoder import CudfDecoder
from laion_dask.io.parquet.exact_cast import cast_exactly
from laion_dask.io.parquet.footer import ARROW_ERRORS, chunks_of, damaged
from laion_dask.io.parquet.scan_batches import Each, NotInBatches
from laion_dask.io.parquet.scan_sites import SiteScan
from laion_dask.io.parquet.scan_spec import ScanSpec
from laion_dask.io.parquet.shard import Piece, Read, Shard
from laion_dask.io.storage.remote_file import unreadable
from laion_dask.memory_pool import POOL

#: Bytes of a footer with so many row groups or columns that pyarrow, which verifies checksums while
#: it reads, is faster than DuckDB, whose time grows with the square of their number.
_LARGE_FOOTER = 1 << 20


def read_on_gpu(
    scan: ScanSpec, piece: Piece, names: list[str], *, counted: bool
) -> tuple[Frame, int] | None:
    """Read with cuDF: a frame and the number of undecided rows, or None to use the CPU.

    If libcudf cannot read a file, the CPU either reads it or raises the appropriate error.
    """
    if scan.backend != "cudf" or must_be_careful(scan, piece.shard):
        return None
    if not scan_cudf.can_read(piece, names, scan):
        return None
    try:
        return scan_cudf.read(piece, names, scan, CudfDecoder(), counted=counted)
    except scan_cudf.NotText:
        return None  # the careful reader will report the row
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise DeviceMemoryError(
            f"GPU memory does not hold this partition of {piece.shard.path} ({error}). Read "
            f"fewer columns, or set a smaller {parameter('max_rows_per_partition')}."
        ) from error
    except scan_cudf.NotDecoded as error:
        warnings.warn(
            f"libcudf cannot read {piece.shard.path} ({error}); it is decoded on the CPU "
            "instead. Rewrite the file to have it decoded on the GPU.",
            BackendWarning,
            stacklevel=2,
        )
        return None


def query_typed(
    scan: ScanSpec,
    pieces: Sequence[Piece],
    names: list[str],
    query: Callable[..., Read],
    each: Each | None,
) -> Read:
    """The result of a query with the types of the frame, or what ``each`` keeps of it."""
    sites = SiteScan.of(scan)
    if sites is not None:
        return _query_by_site(sites, scan, pieces, names, each)
    if each is None:
        result = query(scan, pieces, names)
        return replace(result, table=typed(scan, result.table, pieces[0], names))
    lengths = each.lengths & set(names) & scan_duckdb.texts_as_stored(scan, pieces)
    return scan_duckdb.kept_in_batches(
        scan,
        pieces,
        names,
        lambda batch: each.keep(typed(scan, batch, pieces[0], names, lengths), lengths),
        lengths,
    )


def _query_by_site(
    sites: SiteScan, scan: ScanSpec, pieces: Sequence[Piece], names: list[str], each: Each | None
) -> Read:
    """The same for a filter that DuckDB cannot evaluate completely."""

    def as_typed(
        batch: pa.Table, columns: list[str], as_read: frozenset[str] = frozenset()
    ) -> pa.Table:
        return typed(scan, batch, pieces[0], columns, as_read)

    if each is None:
        return sites.read(pieces, names, lambda rows: as_typed(rows, names), as_typed, frozenset())
    lengths = each.lengths & set(names) & scan_duckdb.texts_as_stored(scan, pieces)
    lengths -= set(sites.where.columns)
    try:
        return sites.read(
            pieces,
            names,
            lambda rows: each.keep(as_typed(rows, names, lengths), lengths),
            as_typed,
            lengths,
        )
    except (duckdb.Error, pa.ArrowException, OSError, SchemaError) as error:
        raise NotInBatches(*error.args) from error


def read_on_cpu(
    scan: ScanSpec,
    piece: Piece,
    names: list[str],
    query: Callable[..., Read],
    footer: bytes,
    each: Each | None = None,
) -> Read:
    """Read a piece with DuckDB, or carefully if necessary.

    Parameters
    ----------
    scan : ScanSpec
    piece : Piece
    names : list of str
        The columns to read; not empty.
    query : callable
        One of the queries in `scan_duckdb`.
    footer : bytes
        The footer of the shard.
    each : callable, optional
        See `laion_dask.io.parquet.scan_group.read_pieces`.
    """
    try:
        careful = must_be_careful(scan, piece.shard)
        if not careful:
            columns = columns_to_read(scan, piece.shard, names)
            (careful,) = must_verify([piece], [footer], columns)
        if not careful:
            return query_typed(scan, [piece], names, query, each)
    except OSError as error:
        if isinstance(error, LaionDaskError):
            raise
        raise unreadable(piece.shard.path, error) from error
    except duckdb.Error as error:
        if not scan_pyarrow.is_about_text(error) and scan_duckdb.NOT_WHOLE not in str(error):
            raise damaged(piece.shard.path, error) from error
    result = _read_carefully(scan, piece, names)
    table = typed(scan, result.table, piece, names)
    return replace(result, table=table if each is None else each.keep(table))


def must_be_careful(scan: ScanSpec, shard: Shard) -> bool:
    """Whether the careful reader must be used instead of the fast one.

    The set of rejected rows must not depend on the columns that are read. The fast reader
    reserves column names that a file may use, does not support wider decimals, reads durations
    as integers, does not distinguish columns that differ only in case, and truncates the
    nanoseconds of INT96. A filter over integers that become floats must also check that no
    digit is lost.
    """
    if scan.invalid_text == "reject":
        return True
    types = dict(scan.types)
    used = scan.where.columns if scan.where else ()
    for old, new, stored in shard.columns:
        if new not in types:
            continue
        is_reserved = (
            old.lower() in (scan_duckdb.POSITION, scan_duckdb.CERTAIN) or not old or "\0" in old
        )
        is_wide = pa.types.is_decimal(stored) and stored.precision > 38
        is_inexact = new in used and family(stored) == "integer" and family(types[new]) == "float"
        is_reinterpreted = scan_pyarrow.is_text_in_bytes(stored, types[new]) or holds_durations(
            stored
        )
        if (
            is_reserved
            or is_wide
            or is_inexact
            or is_reinterpreted
            or old in shard.twins | shard.int96
        ):
            return True
    return False


def must_verify(
    pieces: Sequence[Piece], footers: Sequence[bytes], columns: list[str]
) -> list[bool]:
    """Whether the careful reader must verify checksums of some columns while it reads each piece.

    The checksums of a local shard are verified here, which leaves its pages in the page cache
    for DuckDB; from a store they would have to be read twice.
    """
    unclear = may_have_checksums(pieces, footers, columns)
    return [
        len(footer) > _LARGE_FOOTER or (maybe and _is_unverified(piece, footer, columns))
        for piece, footer, maybe in zip(pieces, footers, unclear, strict=True)
    ]


def _is_unverified(piece: Piece, footer: bytes, columns: list[str]) -> bool:
    chunks = chunks_of(piece, footer, columns)
    if "://" in piece.shard.path:
        return page_checksums.have_checksums(piece.shard.path, chunks)
    page_checksums.verify(piece.shard.path, chunks)
    return False


def columns_to_read(scan: ScanSpec, shard: Shard, names: Iterable[str]) -> list[str]:
    """The columns of a shard, by their names in the file, that a scan of ``names`` reads."""
    needed = {*names, *(scan.where.columns if scan.where else ())}
    return [old for old, new, _ in shard.columns if new in needed]


def _read_carefully(scan: ScanSpec, piece: Piece, names: list[str]) -> Read:
    try:
        return scan_pyarrow.read(piece, names, scan)
    except ARROW_ERRORS as error:
        if isinstance(error, LaionDaskError):
            raise
        raise damaged(piece.shard.path, error) from error


def typed(
    scan: ScanSpec,
    raw: pa.Table,
    piece: Piece,
    names: list[str],
    as_read: frozenset[str] = frozenset(),
) -> pa.Table:
    """The table with the types of the frame; a value that does not fit is an error.

    The columns in ``as_read`` are left as they are.
    """
    types, read = dict(scan.types), dict(zip(raw.column_names, raw.columns, strict=True))
    arrays = []
    for name in names:
        if name == "shard" and name not in read:
            number = pa.scalar(piece.shard.index, pa.int32())
            arrays.append(pa.repeat(number, len(raw), memory_pool=POOL))
            continue
        if name in as_read:
            arrays.append(read[name])
            continue
        rows = read.get("row", read[name])
        arrays.append(
            cast_exactly(read[name], types[name], name=name, path=piece.shard.path, rows=rows)
        )
    return pa.Table.from_arrays(arrays, names=names)
