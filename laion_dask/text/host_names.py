"""Growing tables of the distinct authorities of URLs, of what follows from them, and of labels.

A thread keeps its table for the next partition, which has most of its hosts in common with the
last: their names are entered, parsed and looked up in the list of public suffixes only once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from laion_dask.runtime.native_code import native
from laion_dask.runtime.process_cache import ProcessCache

#: The codes of `laion_dask.text.host_scan`.
NULL, OTHER = -1, -2
#: The next partition starts another table if one has more names or bytes than this.
MAX_NAMES, MAX_BYTES = 1 << 17, 1 << 22
#: An authority that does not determine the host: more slashes follow it in the URL, or it ends in
#: spaces that a browser strips.
_UNSETTLED = r"^[\\\x00-\x20]*$|[\x00-\x20]$"
TEXT = pa.large_string()
_MODULE = "laion_dask.text.host_scan"
_SOURCES = [_MODULE, "laion_dask.numerics.byte_words"]
#: Rows whose names are looked up together.
_BLOCK = 256
_compiled = ProcessCache()
_of_thread = threading.local()
_labels: dict[Hashable, Names] = {}
_guard = threading.Lock()


class Names:
    """The distinct authorities of web URLs, or the distinct texts, in order of first occurrence.

    Parameters
    ----------
    whole : bool
        Whether the names are whole texts.

    Attributes
    ----------
    lock : RLock
        To be held while names are entered, or their consequences extended.
    """

    def __init__(self, *, whole: bool = False) -> None:
        self.lock = threading.RLock()
        self._known: dict[Hashable, tuple[Any, int]] = {}
        self._slots, self._ends = np.zeros(1 << 12, np.uint64), np.zeros(1, np.int64)
        self._bytes, self._n, self._is_whole = np.empty(0, np.uint8), 0, whole
        self._unsettled = np.empty(0, np.int64)
        self._found = np.empty(4 * _BLOCK, np.uint64)

    def __len__(self) -> int:
        return self._n

    @property
    def n_bytes(self) -> int:
        """Bytes of all names."""
        return int(self._ends[self._n])

    def encode(self, urls: pa.Array) -> np.ndarray:
        """The code of each URL or text, a large string: a position, `NULL` or `OTHER`.

        Releases the GIL.

        Returns
        -------
        (n,) int32 array
        """
        with self.lock:
            before, codes = self._n, self._scanned(urls)
            if self._is_whole or before == self._n:
                return self._settled_codes(codes)
            added = self.written(before)
            if _may_be_unsettled(added):
                is_unsettled = pc.match_substring_regex(added, _UNSETTLED)
                found = before + np.flatnonzero(is_unsettled.to_numpy(zero_copy_only=False))
                self._unsettled = np.append(self._unsettled, found)
            return self._settled_codes(codes)

    def _settled_codes(self, codes: np.ndarray) -> np.ndarray:
        if len(self._unsettled):
            codes[np.isin(codes, self._unsettled)] = OTHER
        return codes

    def _scanned(self, urls: pa.Array) -> np.ndarray:
        data, offsets, nulls = _buffers(urls)
        codes, before = np.empty(len(urls), np.int32), self._n
        self._bytes = _with_room(self._bytes, self._ends[before], offsets[-1] - offsets[0])
        self._ends = _with_room(self._ends, before + 1, len(urls))
        state, n_scanned = np.array([0, before, self._is_whole], np.int64), 0
        scan, rehash = _functions()
        while n_scanned < len(urls):
            table = (self._slots, self._bytes, self._ends)
            n_scanned = scan(data, offsets, nulls, codes, *table, self._found, state)
            if 2 * state[1] > len(self._slots):
                self._slots = np.zeros(4 * len(self._slots), np.uint64)
                rehash(self._bytes, self._ends, self._slots, state)
        self._n = int(state[1])
        return codes

    def written(self, start: int = 0) -> pa.Array:
        """The names from a position on as written; large_string."""
        with self.lock:  # what has been written does not change, but may be copied
            ends = self._ends[start : self._n + 1]
            names = self._bytes[ends[0] : ends[-1]]
        buffers = [None, pa.py_buffer(ends - ends[0] if start else ends), pa.py_buffer(names)]
        return pa.Array.from_buffers(TEXT, len(ends) - 1, buffers)

    def settled(self, start: int) -> pa.Array:
        """As `written`, with null for a name that does not determine the host; no row has it."""
        names = self.written(start)
        if not len(self._unsettled):
            return names
        is_unsettled = np.zeros(self._n, bool)
        is_unsettled[self._unsettled] = True
        return pc.if_else(pa.array(is_unsettled[start:]), pa.scalar(None, TEXT), names)

    def known_of(self, key: Hashable, extended: Callable[[Any, int], Any]) -> Any:
        """What follows from all names so far.

        Parameters
        ----------
        key : hashable
        extended : callable
            ``extended(known, n)`` returns what follows from all names, given what follows from the
            first ``n``; None and 0 at first.
        """
        with self.lock:
            known, n = self._known.get(key, (None, 0))
            if known is None or n < self._n:
                known, n = extended(known, n), self._n
                self._known[key] = known, n
            return known

    def take(self, codes: np.ndarray) -> pa.Array:
        """The names with these codes; large_string."""
        return self.written().take(pa.array(codes))


def labels_table(key: Hashable) -> Names:
    """The table of this process for labels of one kind; a new one if the last has become large."""
    with _guard:
        table = _labels.get(key)
        if table is None or _is_large(table):
            table = _labels[key] = Names(whole=True)
        return table


def names_of_thread() -> Names:
    """The table of this thread; a new one if the last has become large."""
    names = getattr(_of_thread, "names", None)
    if names is None or _is_large(names):
        names = _of_thread.names = Names()
    return names


def _is_large(names: Names) -> bool:
    return len(names) > MAX_NAMES or names.n_bytes > MAX_BYTES


def _with_room(array: np.ndarray, used: int, more: int) -> np.ndarray:
    """The array, or a longer copy of its first ``used`` elements if ``more`` do not fit."""
    if used + more <= len(array):
        return array
    longer = np.empty(max(int(used + more), 2 * len(array)), array.dtype)
    longer[:used] = array[:used]
    return longer


def _may_be_unsettled(names: pa.Array) -> bool:
    """Whether some authority may match `_UNSETTLED`: one is empty, or has a character of it."""
    if not len(names):
        return False
    characters = np.frombuffer(names.buffers()[2], np.uint8)
    if not len(characters) or not pc.min(pc.binary_length(names)).as_py():
        return True
    return bool(characters.min() <= 0x20) or bool((characters == ord("\\")).any())


def _buffers(chunk: pa.Array) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The bytes, offsets and null mask of a chunk."""
    _, offsets, data = chunk.buffers()
    offsets = np.frombuffer(offsets, np.int64)[chunk.offset : chunk.offset + len(chunk) + 1]
    data = np.frombuffer(data, np.uint8) if data is not None else np.empty(0, np.uint8)
    nulls = np.empty(0, np.bool_)
    if chunk.null_count:
        nulls = chunk.is_null().to_numpy(zero_copy_only=False)
    return _readable(data), _readable(offsets), np.require(nulls, requirements="W")


def _readable(array: np.ndarray) -> np.ndarray:
    """A read-only view; the scan is compiled for read-only arrays."""
    array = array.view()
    array.flags.writeable = False
    return array


def _functions() -> tuple[Callable, Callable]:
    """The compiled functions. One thread compiles or loads them; the others wait."""
    functions: tuple[Callable, Callable] = _compiled.get(_MODULE, _loaded)
    return functions


def _loaded() -> tuple[Callable, Callable]:
    """Load ``scan`` and ``rehash`` of `laion_dask.text.host_scan`, or compile them."""
    nothing, numbers, slots = np.empty(0, np.uint8), np.zeros(3, np.int64), np.zeros(1, np.uint64)
    rows = (_readable(nothing), _readable(numbers[:1]), np.empty(0, np.bool_))
    codes, ends = np.empty(0, np.int32), numbers[:1]
    outputs = (codes, slots, nothing, ends, np.zeros(4, np.uint64), numbers)
    return (
        native("scan", lambda: _source().scan, _SOURCES, *rows, *outputs),
        native("rehash", lambda: _source().rehash, _SOURCES, nothing, ends, slots, numbers),
    )


def _source() -> ModuleType:
    from laion_dask.text import host_scan  # imports numba

    return host_scan
