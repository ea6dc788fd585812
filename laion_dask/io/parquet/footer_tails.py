"""Read the ends of many files: one request for each, or two if its footer is long.

Only plain successes are returned. A file with any difficulty is None; `read_footer` then reads it
alone, and finds out what is wrong.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import fsspec
from fsspec.asyn import AsyncFileSystem, sync

from laion_dask.io.parquet.footer_file import MAGIC
from laion_dask.io.storage.real_files import Mark, local_mark

#: Bytes read first from the end of a local file, and of one in a store, where requests are slow.
_FIRST_READ, _FIRST_REQUEST = 1 << 13, 1 << 16
#: Maximum size of a longer footer that is read here.
_LONGEST = 1 << 20
#: The smallest Parquet file has more bytes.
_SMALLEST = 12


@dataclass(frozen=True, slots=True)
class Tail:
    """The footer of a file as bytes, the size of the file, and its mark before it was read."""

    path: str
    size: int
    footer: bytes
    mark: Mark | None


class TailReader:
    """Reads the ends of files; adapts the first read to the footers that it finds.

    Parameters
    ----------
    marks : mapping of str to Mark
        The marks of files in stores that have been listed, whose sizes are therefore known.
    """

    def __init__(self, marks: Mapping[str, Mark]) -> None:
        self._marks = marks
        self._first_read, self._first_request = _FIRST_READ, _FIRST_REQUEST
        self._stores: dict[str, AsyncFileSystem | None] = {}

    def read(self, paths: Sequence[str]) -> list[Tail | None]:
        """The end of each file, or None."""
        tails = [None if "://" in path else self._local(path) for path in paths]
        in_stores: dict[str, list[int]] = {}
        for number, path in enumerate(paths):
            if "://" in path:
                store = "/".join(path.split("/", 3)[:3])  # the protocol and the host or bucket
                in_stores.setdefault(store, []).append(number)
        for store, numbers in in_stores.items():
            found = self._remote(store, [paths[number] for number in numbers])
            for number, tail in zip(numbers, found, strict=True):
                tails[number] = tail
        return tails

    def _local(self, path: str) -> Tail | None:
        try:
            file = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        except (OSError, ValueError):
            return None
        try:
            mark = local_mark(os.fstat(file))
            first = min(mark.size, self._first_read)
            tail = os.pread(file, first, mark.size - first)
            length = _length(tail, mark.size)
            if length > len(tail):
                self._first_read = max(self._first_read, min(length + (length >> 2), _LONGEST))
                tail = os.pread(file, length, mark.size - length)
            return _tail(path, mark.size, tail, length, mark)
        except OSError:
            return None
        finally:
            os.close(file)

    def _remote(self, store: str, paths: Sequence[str]) -> Sequence[Tail | None]:
        nothing: list[Tail | None] = [None] * len(paths)
        try:
            if store not in self._stores:
                self._stores[store] = _async_store(paths[0])
            fs = self._stores[store]
            return nothing if fs is None else self._of_store(fs, paths)
        except Exception:  # stores raise types of their own; `read_footer` will report the error
            return nothing

    def _of_store(self, fs: AsyncFileSystem, paths: Sequence[str]) -> Sequence[Tail | None]:
        inner = [fs._strip_protocol(path) for path in paths]
        marks = [self._marks.get(path) for path in paths]
        sizes = [None if mark is None else mark.size for mark in marks]
        unknown = [i for i, size in enumerate(sizes) if size is None]
        infos = sync(fs.loop, _infos, fs, [inner[i] for i in unknown]) if unknown else ()
        for i, info in zip(unknown, infos, strict=True):
            sizes[i] = _size(info)
        firsts = [min(size or 0, self._first_request) for size in sizes]
        tails = _ends(fs, inner, sizes, firsts)
        lengths = [_length(t, size or 0) for t, size in zip(tails, sizes, strict=True)]
        longer = [n if n > len(t) else 0 for n, t in zip(lengths, tails, strict=True)]
        if any(longer):
            self._first_request = max(self._first_request, min(max(longer), _LONGEST))
            again = _ends(fs, inner, sizes, longer)
            tails = [b if n else a for a, b, n in zip(tails, again, longer, strict=True)]
        return [
            None if size is None else _tail(path, size, tail, length, mark)
            for path, size, tail, length, mark in zip(
                paths, sizes, tails, lengths, marks, strict=True
            )
        ]


def _async_store(path: str) -> AsyncFileSystem | None:
    """The store of a file, if it answers many requests for parts of files at once."""
    fs, inner = fsspec.core.url_to_fs(path)
    if not isinstance(fs, AsyncFileSystem) or fs.asynchronous:
        return None
    if "http" in fs.protocol and not sync(fs.loop, _answers_ranges, fs, inner):
        return None
    return fs


async def _answers_ranges(fs: Any, url: str) -> bool:
    """Whether a server sends the part of a file that was requested; others send all of it."""
    session, options = await fs.set_session(), dict(fs.kwargs)
    headers = {**options.pop("headers", {}), "Range": "bytes=0-0"}
    async with session.get(fs.encode_url(url), headers=headers, **options) as response:
        return response.status == 206


async def _infos(fs: AsyncFileSystem, paths: Sequence[str]) -> list:
    return await asyncio.gather(*(fs._info(path) for path in paths), return_exceptions=True)


def _size(info) -> int | None:
    """The size of a file; None unless the store can read a part of it."""
    if not isinstance(info, Mapping) or info.get("partial") is False:
        return None
    size = info.get("size")
    return size if isinstance(size, int) else None


def _ends(
    fs: AsyncFileSystem, paths: Sequence[str], sizes: Sequence[int | None], lengths: Sequence[int]
) -> list[bytes]:
    """The last bytes of each file, requested together; empty if none are wanted, or on failure."""
    wanted = [i for i, length in enumerate(lengths) if length]
    ends = [sizes[i] or 0 for i in wanted]
    starts = [end - lengths[i] for i, end in zip(wanted, ends, strict=True)]
    results = fs.cat_ranges([paths[i] for i in wanted], starts, ends, on_error="return")
    found = [b""] * len(paths)
    for i, result in zip(wanted, results, strict=True):
        if isinstance(result, bytes) and len(result) == lengths[i]:
            found[i] = result
    return found


def _length(tail: bytes, size: int) -> int:
    """The length of a footer, with its length and the magic bytes; 0 if it is not one."""
    if size < _SMALLEST or tail[-4:] != MAGIC:
        return 0
    length = int.from_bytes(tail[-8:-4], "little") + 8
    return length if length <= min(size - 4, _LONGEST) else 0


def _tail(path: str, size: int, tail: bytes, length: int, mark: Mark | None) -> Tail | None:
    if length == 0 or len(tail) < length or tail[-4:] != MAGIC:
        return None
    return Tail(path, size, tail[-length:], mark)
