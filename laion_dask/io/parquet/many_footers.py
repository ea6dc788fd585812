"""Read the footers of many files: in batches, on threads, and each schema parsed once."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator, Sequence

import pyarrow as pa

from laion_dask.errors import ShardError
from laion_dask.io.parquet.footer_file import ARROW_ERRORS, MAGIC, damaged, footer_bytes
from laion_dask.io.parquet.footer_layout import row_groups
from laion_dask.io.parquet.parsed_footer import Footer, parsed
from laion_dask.io.storage.local_file import open_bytes
from laion_dask.io.storage.remote_file import StoreFile
from laion_dask.runtime import cancellation
from laion_dask.runtime.ordered_map import in_order
from laion_dask.runtime.tasks import verb_bar

#: Threads that read footers from a slow store; they mostly wait for it.
THREADS = 16
#: Files in a batch, and bytes of their footers that are parsed together.
_BATCH, _BYTES = 512, 1 << 23
#: Files read first, on one thread, to see whether the store is slow.
_TRIAL = 64
#: Seconds per file from which threads are faster than one.
_SLOW = 2e-4
#: Files from which footers are walked in compiled code; its import takes half a second.
_MANY = 8000
#: Bytes read first from the end of a file; adapted to the footers found.
_FIRST_READ = 1 << 13
#: Maximum size of a footer that is walked; pyarrow limits the lists in larger ones.
_WALKED = 1 << 20
#: Schemas that are remembered while footers are read.
_SCHEMAS = 1 << 12


def read_footer(path: str) -> Footer:
    """The footer of one file.

    Raises
    ------
    ShardError
        When the file is empty, not Parquet, truncated or damaged, or its store fails.
    """
    try:
        with open_bytes(path) as file:
            store = StoreFile(file, path)
            footer = footer_bytes(store, store.size, path)
    except ShardError:
        raise
    except ARROW_ERRORS as error:
        raise damaged(path, error) from error
    return parsed(path, store.size, footer)


def read_footers(paths: Sequence[str]) -> list[Footer]:
    """The footers of many files, in the given order. Shows progress; Ctrl-C stops it.

    Raises
    ------
    ShardError
        As for `read_footer`, for the first file that fails.
    """
    reader = _Reader(walks=len(paths) >= _MANY)
    footers: list[Footer] = []
    with verb_bar("footers", len(paths), None, "file") as bar:
        for batch in _batches(reader, paths):
            footers += batch
            bar.update(len(batch))
    return footers


def _batches(reader: _Reader, paths: Sequence[str]) -> Iterator[list[Footer]]:
    began = time.perf_counter()
    yield reader.read(paths[:_TRIAL])
    slow = time.perf_counter() - began > _SLOW * _TRIAL
    rest = range(_TRIAL, len(paths), _TRIAL if slow else _BATCH)
    size = rest.step
    if slow and rest:
        n_threads = min(THREADS, len(rest))
        yield from in_order(lambda at: reader.read(paths[at : at + size]), rest, n_threads)
        return
    for at in rest:
        cancellation.check()
        yield reader.read(paths[at : at + size])


class _Reader:
    """Reads batches of footers; footers with the same schema share it.

    Parameters
    ----------
    walks : bool
        Whether row groups are walked in compiled code where the schema is known.
    """

    def __init__(self, walks: bool) -> None:
        self._walks = walks
        self._first_read = _FIRST_READ
        self._by_bytes: dict[tuple[bytes, bytes], Footer] = {}
        self._by_types: dict[tuple, pa.Schema] = {}
        self._groups: dict[tuple[int, ...], tuple[int, ...]] = {}

    def read(self, paths: Sequence[str]) -> list[Footer]:
        """The footers of a batch, in order.

        Raises
        ------
        ShardError
            For the first file that fails.
        """
        footers: list[Footer] = []
        found: list[tuple[str, int, bytes]] = []
        n_bytes = 0
        for path in paths:
            tail = self._tail(path)
            if tail is None or n_bytes > _BYTES:
                footers += self._parsed(found)
                found, n_bytes = [], 0
            if tail is None:
                footers.append(self._shared(read_footer(path)))
            else:
                found.append(tail)
                n_bytes += len(tail[2])
        return footers + self._parsed(found)

    def _tail(self, path: str) -> tuple[str, int, bytes] | None:
        """Path, size and footer of a local file; None if there is any difficulty."""
        if "://" in path:
            return None
        try:
            file = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        except (OSError, ValueError):
            return None
        try:
            size = os.fstat(file).st_size
            first = min(size, self._first_read)
            tail = os.pread(file, first, size - first)
            length = int.from_bytes(tail[-8:-4], "little") + 8
            if size < 12 or tail[-4:] != MAGIC or length > size - 4:
                return None
            if length > len(tail):
                self._first_read = min(length + (length >> 2), _WALKED)
                tail = os.pread(file, length, size - length)
            return (path, size, tail[-length:]) if len(tail) >= length else None
        except OSError:
            return None
        finally:
            os.close(file)

    def _parsed(self, found: Sequence[tuple[str, int, bytes]]) -> list[Footer]:
        if not (self._walks and found):
            return [self._shared(parsed(*one)) for one in found]
        walk = row_groups([footer for *_, footer in found])
        return [
            self._of_known_schema(*one, *rows) if rows is not None else self._shared(parsed(*one))
            for one, rows in zip(found, walk, strict=True)
        ]

    def _of_known_schema(
        self, path: str, size: int, footer: bytes, groups: tuple[int, ...], start: int, end: int
    ) -> Footer:
        """A footer whose row groups are known; its schema is parsed once for the same bytes."""
        key = footer[:start], footer[end:-8]
        like = self._by_bytes.get(key)
        if like is None or path.endswith("/_metadata") or len(footer) > _WALKED:
            like = self._shared(parsed(path, size, footer))
            if len(self._by_bytes) < _SCHEMAS:
                self._by_bytes[key] = like
            return like
        digest = hashlib.sha256(footer).hexdigest()
        groups = self._groups.setdefault(groups, groups) if len(groups) < 4 else groups
        return Footer(path, size, digest, groups, like.schema, like.int96)

    def _shared(self, footer: Footer) -> Footer:
        """The footer with the schema of an earlier one if names and types are the same."""
        schema = footer.schema
        key = (tuple(schema.names), tuple(schema.types), footer.int96)
        schema = self._by_types.setdefault(key, schema)
        if schema is footer.schema:
            return footer
        return Footer(
            footer.path, footer.size, footer.sha256, footer.row_groups, schema, footer.int96
        )
