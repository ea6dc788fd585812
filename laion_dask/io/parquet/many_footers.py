"""Read the footers of many files: in batches, on threads, and each schema parsed once."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import cast

import pyarrow as pa

from laion_dask.errors import ShardError
from laion_dask.io.parquet import footer_cache
from laion_dask.io.parquet.footer_file import ARROW_ERRORS, damaged, footer_bytes
from laion_dask.io.parquet.footer_layout import Walked, is_compiled, row_groups
from laion_dask.io.parquet.footer_tails import Tail, TailReader
from laion_dask.io.parquet.parsed_footer import Footer, parsed
from laion_dask.io.storage.local_file import open_bytes
from laion_dask.io.storage.paths import Listing
from laion_dask.io.storage.real_files import Mark
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
#: Files from which footers are walked in compiled code; loading it takes 0.03 s and 64 MB.
_MANY = 1000
#: The same, once the code has been loaded.
_MANY_COMPILED = 100
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

    The footers of files that have not changed since this process read them are remembered.

    Parameters
    ----------
    paths : sequence of str
        A `Listing` has the marks of its files, so that they need not be examined again.

    Raises
    ------
    ShardError
        As for `read_footer`, for the first file that fails.
    """
    marks: Mapping[str, Mark] = paths.marks if isinstance(paths, Listing) else {}
    found = [footer_cache.recall(path, marks) for path in paths]
    missing = [number for number, footer in enumerate(found) if footer is None]
    reader = _Reader(len(missing) >= (_MANY_COMPILED if is_compiled() else _MANY), found, marks)
    with verb_bar("footers", len(missing), None, "file") as bar:
        numbers = iter(missing)
        for batch in _batches(reader, [paths[number] for number in missing]):
            for footer in batch:
                found[next(numbers)] = footer
            bar.update(len(batch))
    return cast("list[Footer]", found)


def _batches(reader: _Reader, paths: Sequence[str]) -> Iterator[list[Footer]]:
    if paths:
        yield reader.read(paths[:_TRIAL])
    slow = reader.waited > _SLOW * _TRIAL
    rest = range(_TRIAL, len(paths), _TRIAL if slow else _BATCH)
    if slow and rest:
        n_threads = min(THREADS, len(rest))
        yield from in_order(lambda at: reader.read(paths[at : at + rest.step]), rest, n_threads)
        return
    for at in rest:
        cancellation.check()
        yield reader.read(paths[at : at + rest.step])


class _Reader:
    """Reads batches of footers; footers with the same schema share it.

    Parameters
    ----------
    walks : bool
        Whether row groups are walked in compiled code where the schema is known.
    known : iterable of Footer or None
        Footers whose schemas are shared as well.
    marks : mapping of str to Mark
        The marks of listed files.

    Attributes
    ----------
    waited : float
        Seconds spent on reading files, without parsing those that were read together.
    """

    def __init__(
        self, walks: bool, known: Iterable[Footer | None], marks: Mapping[str, Mark]
    ) -> None:
        self._walks = walks
        self._marks, self._tails = marks, TailReader(marks)
        self.waited = 0.0
        self._by_bytes: dict[tuple[bytes, bytes], Footer] = {}
        self._by_types: dict[tuple, pa.Schema] = {}
        self._groups: dict[tuple[int, ...], tuple[int, ...]] = {}
        for footer in {id(one.schema): one for one in known if one is not None}.values():
            self._by_types.setdefault(_layout(footer), footer.schema)

    def read(self, paths: Sequence[str]) -> list[Footer]:
        """The footers of a batch, in order.

        Raises
        ------
        ShardError
            For the first file that fails.
        """
        footers: list[Footer] = []
        found: list[Tail] = []
        n_bytes, began = 0, time.time_ns()
        started = time.perf_counter()
        tails = self._tails.read(paths)
        self.waited += time.perf_counter() - started
        for path, tail in zip(paths, tails, strict=True):
            if tail is None or n_bytes > _BYTES:
                footers += self._parsed(found, began)
                found, n_bytes = [], 0
            if tail is None:
                started = time.perf_counter()
                footers.append(self._shared(read_footer(path)))
                self.waited += time.perf_counter() - started
                if "://" in path:
                    footer_cache.remember(footers[-1], self._marks.get(path))
            else:
                found.append(tail)
                n_bytes += len(tail.footer)
        return footers + self._parsed(found, began)

    def _parsed(self, found: Sequence[Tail], began: int) -> list[Footer]:
        """The footers, which are remembered; ``began`` is a time before they were read."""
        rows: Sequence[Walked | None] = [None] * len(found)
        if self._walks and found:
            rows = row_groups([tail.footer for tail in found])
        footers = []
        for tail, walked in zip(found, rows, strict=True):
            footer = self._of_known_schema(tail, walked) if walked else self._whole(tail)
            footer_cache.remember(footer, tail.mark, began)
            footers.append(footer)
        return footers

    def _of_known_schema(self, tail: Tail, walked: Walked) -> Footer:
        """A footer whose row groups are known; its schema is parsed once for the same bytes."""
        footer, (groups, start, end) = tail.footer, walked
        key = footer[:start], footer[end:-8]
        like = self._by_bytes.get(key)
        if like is None or tail.path.endswith("/_metadata"):
            like = self._whole(tail)
            if len(self._by_bytes) < _SCHEMAS:
                self._by_bytes[key] = like
            return like
        digest = hashlib.sha256(footer).hexdigest()
        groups = self._groups.setdefault(groups, groups) if len(groups) < 4 else groups
        return Footer(tail.path, tail.size, digest, groups, like.schema, like.int96)

    def _whole(self, tail: Tail) -> Footer:
        return self._shared(parsed(tail.path, tail.size, tail.footer))

    def _shared(self, footer: Footer) -> Footer:
        """The footer with the schema of an earlier one if names and types are the same."""
        schema = self._by_types.setdefault(_layout(footer), footer.schema)
        return footer if schema is footer.schema else replace(footer, schema=schema)


def _layout(footer: Footer) -> tuple:
    return tuple(footer.schema.names), tuple(footer.schema.types), footer.int96
