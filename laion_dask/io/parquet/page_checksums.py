"""Checksums of Parquet pages, which the fast readers do not look at: a damaged page is no data.

Two can be there: the CRC-32 of a page's stored bytes in its header (field 4 of ``PageHeader`` in
``parquet.thrift``; Spark writes it), and the one at the end of every GZIP member. ZSTD frames may
hold one too, which every reader checks. Pages without either cannot be told from damaged ones.
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

#: Bytes read for a page header at first; few are longer.
_HEADER = 1 << 10
#: A page header that is longer, for instance by its statistics, is no header.
_LONGEST_HEADER = 1 << 24

# Fields of PageHeader, DataPageHeader and DataPageHeaderV2 in parquet.thrift.
_UNCOMPRESSED, _COMPRESSED, _CRC, _DATA, _DATA_V2 = 2, 3, 4, 5, 8
_N_VALUES, _DEFINITION_BYTES, _REPETITION_BYTES, _IS_COMPRESSED = 1, 5, 6, 7


@dataclass(frozen=True)
class _Page:
    """Where a page's stored bytes lie, and what its header says of them."""

    start: int
    header: dict

    @property
    def size(self) -> int:
        return self.header[_COMPRESSED]

    @property
    def n_values(self) -> int:
        """Values of a data page; 0 for a dictionary or an index."""
        data = self.header.get(_DATA) or self.header.get(_DATA_V2) or {}
        return data[_N_VALUES] if data else 0


def have_checksums(path: str, chunks: Sequence[Chunk]) -> bool:
    """Whether pages have a checksum that the fast readers leave unread. Eager.

    Reads one page header of each column. Takes what `verify` takes, and raises what it raises.
    """
    with _opened(path) as file:
        return any(True for _ in _with_checksums(file, chunks))


def verify(path: str, chunks: Sequence[Chunk]) -> None:
    """Compare the checksums of pages, where they have any. Eager.

    Parameters
    ----------
    path : str
        Of a shard.
    chunks : sequence of Chunk
        Those to look at.

    Raises
    ------
    ShardError
        When a page is not what was written; names the shard, row group and column.
    """
    with _opened(path) as file:
        for chunk in _with_checksums(file, chunks):
            for page in _pages(file, chunk):
                if not _is_intact(file, page, chunk):
                    raise ShardError(
                        f"{path} is damaged: a page of column {chunk.column!r} in row group "
                        f"{chunk.group}, at byte {page.start:,}, does not have its checksum. "
                        f"{REMEDY}"
                    )


class _opened:
    """A shard, whose damage and whose store's failures are a ``ShardError``.

    Damage may leave a page header with a field too few, or one of another type.
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

    A writer gives all pages of a column a CRC or none: the first page tells.
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
    """The pages of a column chunk, until they hold all of its values."""
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
            if len(content) < length or length > _LONGEST_HEADER:
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
    """Whether GZIP members hold so many bytes, and those that they say."""
    n, rest = 0, stored
    while len(rest):
        member = zlib.decompressobj(wbits=31)
        try:
            n += len(member.decompress(rest, max(1, size - n + 1)))
        except zlib.error:
            return False
        if not member.eof or n > size:
            return False
        rest = member.unused_data
    return n == size
