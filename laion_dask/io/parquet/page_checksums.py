"""Verify checksums of Parquet pages, which the fast readers do not do.

There are two kinds: the CRC-32 of a page's stored bytes in its header (field 4 of ``PageHeader`` in
``parquet.thrift``; Spark writes it), and the one at the end of every GZIP member. ZSTD frames may
also have one, which every reader checks. Damage to pages without a checksum is not detected.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from laion_dask.errors import ShardError
from laion_dask.io.parquet.column_chunks import Chunk
from laion_dask.io.parquet.footer import ARROW_ERRORS, REMEDY, damaged
from laion_dask.io.parquet.thrift import NotThrift, read_struct
from laion_dask.io.storage.local_file import open_bytes
from laion_dask.io.storage.remote_file import StoreFile

#: Bytes first read for a page header; few headers are longer.
_HEADER = 1 << 10
#: Maximum bytes of a page header, including long statistics.
_MAX_HEADER = 1 << 24

# Fields of PageHeader, DataPageHeader and DataPageHeaderV2 in parquet.thrift.
_UNCOMPRESSED, _COMPRESSED, _CRC, _DATA, _DATA_V2 = 2, 3, 4, 5, 8
_N_VALUES, _DEFINITION_BYTES, _REPETITION_BYTES, _IS_COMPRESSED = 1, 5, 6, 7


@dataclass(frozen=True)
class _Page:
    """The position of a page's stored bytes, and its header."""

    start: int
    header: dict

    @property
    def size(self) -> int:
        return self.header[_COMPRESSED]

    @property
    def n_values(self) -> int:
        """The number of values in a data page; 0 for a dictionary or an index."""
        data = self.header.get(_DATA) or self.header.get(_DATA_V2) or {}
        return data[_N_VALUES] if data else 0


def have_checksums(path: str, chunks: Sequence[Chunk]) -> bool:
    """Whether pages have a checksum that the fast readers do not verify. Eager.

    Reads one page header per column. Takes the same parameters and raises the same errors as
    `verify`.
    """
    with _opened(path) as file:
        return any(True for _ in _with_checksums(file, chunks))


def verify(path: str, chunks: Sequence[Chunk]) -> None:
    """Verify the checksums of pages that have one. Eager.

    Parameters
    ----------
    path : str
        The path of a shard.
    chunks : sequence of Chunk
        The chunks to check.

    Raises
    ------
    ShardError
        When a page does not match its checksum; the message names shard, row group and column.
    """
    with _opened(path) as file:
        for chunk in _with_checksums(file, chunks):
            for page in _pages(file, chunk):
                if not _is_intact(file, page, chunk):
                    raise ShardError(
                        f"{path} is damaged: a page of column {chunk.column!r} in row group "
                        f"{chunk.group}, at byte {page.start:,}, does not match its checksum. "
                        f"{REMEDY}"
                    )


class _opened:
    """Opens a shard; damage and store failures raise ``ShardError``.

    A damaged page header may lack a field, or have one of the wrong type.
    """

    def __init__(self, path: str) -> None:
        self._path, self._file = path, open_bytes(path)

    def __enter__(self) -> StoreFile:
        return StoreFile(self._file, self._path)

    def __exit__(self, kind, error, trace) -> None:
        self._file.__exit__(kind, error, trace)
        if isinstance(error, (LookupError, TypeError, *ARROW_ERRORS)) and not isinstance(
            error, ShardError
        ):
            raise damaged(self._path, error) from error


def _with_checksums(file: StoreFile, chunks: Sequence[Chunk]) -> Iterator[Chunk]:
    """The chunks whose pages have a checksum.

    Writers add a CRC to all pages of a column or to none, so checking the first page suffices.
    """
    has_crc: dict[tuple, bool] = {}
    for chunk in chunks:
        if chunk.n_values == 0:
            continue
        if chunk.path not in has_crc:
            has_crc[chunk.path] = _CRC in next(_pages(file, chunk)).header
        if has_crc[chunk.path] or chunk.is_gzip:
            yield chunk


def _pages(file: StoreFile, chunk: Chunk) -> Iterator[_Page]:
    """The pages of a column chunk, up to the page with its last value."""
    at, n_values = chunk.start, 0
    while n_values < chunk.n_values:
        header, length = _header(file, at)
        page = _Page(at + length, header)
        if page.size < 0 or page.n_values < 0 or page.start + page.size > file.size:
            raise NotThrift(f"a page header at byte {at:,} points outside the file")
        yield page
        at, n_values = page.start + page.size, n_values + page.n_values


def _header(file: StoreFile, at: int) -> tuple[dict, int]:
    """The page header at a position, and its length."""
    length = _HEADER
    while True:
        file.seek(at)
        content = file.read(length)
        try:
            header, stop = read_struct(content)
        except NotThrift:
            if len(content) < length or length > _MAX_HEADER:
                raise
            length *= 8
            continue
        sizes = [header.get(_UNCOMPRESSED), header.get(_COMPRESSED), header.get(_CRC, 0)]
        if {*map(type, sizes)} != {int}:
            raise NotThrift(f"no page header at byte {at:,}")
        return header, stop


def _is_intact(file: StoreFile, page: _Page, chunk: Chunk) -> bool:
    file.seek(page.start)
    stored = file.read(page.size)
    if len(stored) < page.size:
        return False
    if _CRC in page.header:
        return zlib.crc32(stored) == page.header[_CRC] & 0xFFFFFFFF
    if not chunk.is_gzip:
        return True
    levels, compressed = 0, True
    if second := page.header.get(_DATA_V2):
        levels = second.get(_DEFINITION_BYTES, 0) + second.get(_REPETITION_BYTES, 0)
        compressed = second.get(_IS_COMPRESSED, True)
    if not compressed or len(stored) == levels:
        return len(stored) == page.header[_UNCOMPRESSED]
    return _unzips_to(memoryview(stored)[levels:], page.header[_UNCOMPRESSED] - levels)


def _unzips_to(stored: memoryview, size: int) -> bool:
    """Whether GZIP members decompress to ``size`` bytes that match their checksums."""
    n = 0
    remaining: bytes | memoryview = stored
    while len(remaining):
        member = zlib.decompressobj(wbits=31)
        try:
            n += len(member.decompress(remaining, max(1, size - n + 1)))
        except zlib.error:
            return False
        if not member.eof or n > size:
            return False
        remaining = member.unused_data
    return n == size
