"""Read Parquet footers: rows, row groups, schema, digest. One small read per file."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable

import pyarrow as pa
import pyarrow.parquet as pq

from laion_dask.errors import ShardError
from laion_dask.io.parquet.column_chunks import Chunk, column_chunks
from laion_dask.io.parquet.footer_file import (
    ARROW_ERRORS,
    MAGIC,
    REMEDY,
    damaged,
    footer_bytes,
)
from laion_dask.io.parquet.many_footers import read_footer, read_footers
from laion_dask.io.parquet.parsed_footer import Footer
from laion_dask.io.parquet.shard import Piece
from laion_dask.io.parquet.thrift import NotThrift
from laion_dask.io.storage.local_file import open_bytes

__all__ = [
    "ARROW_ERRORS",
    "REMEDY",
    "Footer",
    "check_unchanged",
    "chunks_of",
    "damaged",
    "groups_between",
    "groups_of",
    "read_footer",
    "read_footers",
]


def check_unchanged(path: str, footer_sha256: str) -> bytes:
    """Read a file's footer again and check that it is unchanged since the file was opened.

    Raises
    ------
    ShardError
        When the file has changed, since its rows may differ.
    """
    try:
        with open_bytes(path) as file:
            footer = footer_bytes(file, file.seek(0, 2), path)
    except OSError as error:
        if isinstance(error, ShardError):
            raise
        raise damaged(path, error) from error
    if hashlib.sha256(footer).hexdigest() != footer_sha256:
        raise ShardError(
            f"{path} was rewritten after it was opened. Call read_shards again to read its "
            "current content."
        )
    return footer


def groups_of(path: str, footer: bytes) -> list[pq.RowGroupMetaData]:
    """The row groups of a footer; checks that their columns are inside the file.

    libcudf trusts footers that point outside the file (rapidsai/cudf issue 14104), and an invalid
    read on a GPU destroys the CUDA context of the whole process.

    Raises
    ------
    ShardError
        When a column is outside the file.
    """
    try:
        column_chunks(footer)  # raises if a column is encrypted, which would abort pyarrow
        metadata = pq.read_metadata(pa.BufferReader(MAGIC + footer))
        groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
        with open_bytes(path) as file:
            end = file.seek(0, 2) - len(footer)
        for number, group in enumerate(groups):
            for i in range(group.num_columns):
                _check_chunk(path, number, group.column(i), end)
    except ARROW_ERRORS as error:
        raise error if isinstance(error, ShardError) else damaged(path, error) from error
    return groups


def groups_between(
    groups: Iterable[pq.RowGroupMetaData], start: int, stop: int
) -> list[tuple[int, int, pq.RowGroupMetaData]]:
    """The nonempty row groups that start within a range of rows of the file.

    Returns
    -------
    list of (number in the file, first row, row group)
    """
    between, first = [], 0
    for number, group in enumerate(groups):
        if group.num_rows and start <= first < stop:
            between.append((number, first, group))
        first += group.num_rows
    return between


def chunks_of(piece: Piece, footer: bytes, columns: Collection[str]) -> list[Chunk]:
    """The column chunks of a piece for the given columns, named as in the file.

    Raises
    ------
    ShardError
        When the footer is damaged, or a column is encrypted.
    """
    names = {name.encode("utf-8", "surrogateescape") for name in columns}
    try:
        chunks = column_chunks(footer)
    except NotThrift as error:
        raise damaged(piece.shard.path, error) from error
    within = range(piece.start, piece.stop)
    return [chunk for chunk in chunks if chunk.first_row in within and chunk.path[0] in names]


def _check_chunk(path: str, number: int, chunk: pq.ColumnChunkMetaData, end: int) -> None:
    first, size = chunk.data_page_offset, chunk.total_compressed_size
    if chunk.num_values == 0:
        return  # there may be no pages
    if chunk.has_dictionary_page and chunk.dictionary_page_offset:
        first = min(first, chunk.dictionary_page_offset)
    if first < len(MAGIC) or size < 0 or first + size > end:
        raise ShardError(
            f"{path} is damaged: column {chunk.path_in_schema!r} of row group {number} spans "
            f"bytes {first:,} to {first + size:,}, outside its {end:,} bytes of data. {REMEDY}"
        )
