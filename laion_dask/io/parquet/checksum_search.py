"""Find the shards whose pages may have checksums, quickly, since most have none.

Only these need `page_checksums`, which reads page by page.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence

import numpy as np

from laion_dask.io.parquet.column_chunks import GZIP, column_chunks
from laion_dask.io.parquet.footer_layout import footer_layout, is_compiled
from laion_dask.io.parquet.shard import Piece
from laion_dask.io.parquet.thrift import NotThrift

#: Bytes of footers that are worth loading the compiled reader.
_WORTH_COMPILING = 1 << 17
#: Files up to this size are read as a whole.
_SMALL_FILE = 1 << 16
#: Bytes of a page header that are read: three numbers, and the start of the next field.
_HEADER = 40

_Starts = list[int] | None


def may_have_checksums(
    pieces: Sequence[Piece], footers: Sequence[bytes], columns: Collection[str]
) -> list[bool]:
    """Whether some page of some columns of each piece may have a checksum. Eager.

    True also if this is unclear, because a footer or a page header is damaged or unusual.

    Parameters
    ----------
    pieces : sequence of Piece
    footers : sequence of bytes
        The footer of each piece's shard.
    columns : collection of str
        Names in the files.
    """
    names = {name.encode("utf-8", "surrogateescape") for name in columns}
    is_large = sum(map(len, footers)) > _WORTH_COMPILING
    of_footers = _compiled_starts if is_large or is_compiled() else _starts
    return [
        starts is None or "://" in piece.shard.path or _any_checksum(piece, starts)
        for piece, starts in zip(pieces, of_footers(pieces, footers, names), strict=True)
    ]


def _starts(
    pieces: Sequence[Piece], footers: Sequence[bytes], names: Collection[bytes]
) -> Iterator[_Starts]:
    """The position of the first page of each column of each piece; None if it is unclear."""
    for piece, footer in zip(pieces, footers, strict=True):
        first: dict[tuple, int] = {}
        try:
            for chunk in column_chunks(footer):
                if chunk.path[0] in names and piece.start <= chunk.first_row < piece.stop:
                    if chunk.is_gzip:
                        raise NotThrift("GZIP members have checksums")
                    if chunk.n_values:
                        first.setdefault(chunk.path, chunk.start)
        except NotThrift:
            yield None
        else:
            yield list(first.values())


def _compiled_starts(
    pieces: Sequence[Piece], footers: Sequence[bytes], names: Collection[bytes]
) -> Iterator[_Starts]:
    """As `_starts`, for many or large footers."""
    layout = footer_layout(footers)
    counts = np.diff(layout.first_chunk)
    low, high = (np.repeat([getattr(p, end) for p in pieces], counts) for end in ("start", "stop"))
    has_name = np.array([path[0] in names for path in layout.paths], bool)
    wanted = (low <= layout.first_row) & (layout.first_row < high)
    wanted &= has_name[layout.path] if len(has_name) else False
    file = np.repeat(np.arange(len(pieces)), counts)
    is_unclear = ~layout.accepted
    is_unclear[file[wanted & (layout.codec == GZIP)]] = True
    kept = np.flatnonzero(wanted & (layout.n_values != 0))
    _, first = np.unique(file[kept] * len(has_name) + layout.path[kept], return_index=True)
    kept = kept[first]
    starts = np.split(layout.start[kept], np.searchsorted(file[kept], np.arange(1, len(pieces))))
    for unclear, of_file in zip(is_unclear, starts, strict=True):
        yield None if unclear else of_file.tolist()


def _any_checksum(piece: Piece, starts: Sequence[int]) -> bool:
    """Whether the page at some position in a local file has a CRC, or its header is unusual.

    Writers add a CRC to all pages of a column or to none, so checking the first page suffices.
    """
    try:
        file = os.open(piece.shard.path, os.O_RDONLY)
    except OSError:
        return True
    try:
        if piece.shard.size <= _SMALL_FILE:
            content = os.pread(file, _SMALL_FILE, 0)
            return any(_has_crc(content, at) for at in starts)
        return any(_has_crc(os.pread(file, _HEADER, at), 0) for at in starts)
    except (OSError, OverflowError, ValueError):
        return True
    finally:
        os.close(file)


def _has_crc(content: bytes, at: int) -> bool:
    """Whether a PageHeader has field 4, its CRC, after three numbers; or is not like that."""
    try:
        for _ in range(3):
            if content[at] != 0x15:  # the next field, a number
                return True
            at += 1
            while content[at] >= 0x80:
                at += 1
            at += 1
        return content[at] & 15 != 12 or content[at] < 0x20  # not a struct that skips field 4
    except IndexError:
        return True
