"""The distinct authorities of URLs: the text between ``//`` and the next slash."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from laion_dask.runtime.native_code import native
from laion_dask.runtime.process_cache import ProcessCache

#: The codes of `laion_dask.text.host_scan`.
NULL, OTHER = -1, -2
#: An authority that does not determine the host: more slashes follow it in the URL, or it ends in
#: spaces that a browser strips.
_UNSETTLED = r"^[\\\x00-\x20]*$|[\x00-\x20]$"
_TEXT = pa.large_string()
_MODULE = "laion_dask.text.host_scan"
_compiled = ProcessCache()


class Authorities:
    """The distinct authorities of web URLs, and each row's position among them.

    URLs may be added in batches; what is found does not depend on how they are divided.
    """

    def __init__(self) -> None:
        self._slots, self._ends = np.zeros(1 << 12, np.uint64), np.zeros(1, np.int64)
        self._names, self._n = np.empty(0, np.uint8), 0
        self._unsettled = np.empty(0, np.int64)
        self._codes: list[np.ndarray] = []
        self._others: list[pa.Array] = []

    def add(self, column: pa.ChunkedArray) -> None:
        """Add the next URLs. Releases the GIL."""
        for chunk in column.chunks:
            if len(chunk):
                urls = chunk if pa.types.is_large_string(chunk.type) else chunk.cast(_TEXT)
                codes = self._scanned(urls)
                self._codes.append(codes)
                others = np.flatnonzero(codes == OTHER)
                if len(others):
                    self._others.append(urls.take(pa.array(others)))

    def _scanned(self, urls: pa.Array) -> np.ndarray:
        data, offsets, nulls = _buffers(urls)
        codes, before = np.empty(len(urls), np.int32), self._n
        self._names = _with_room(self._names, self._ends[before], offsets[-1] - offsets[0])
        self._ends = _with_room(self._ends, before + 1, len(urls))
        state, n_scanned = np.array([0, before], np.int64), 0
        scan, rehash = _functions()
        while n_scanned < len(urls):
            n_scanned = scan(
                data, offsets, nulls, codes, self._slots, self._names, self._ends, state
            )
            if 2 * state[1] > len(self._slots):
                self._slots = np.zeros(4 * len(self._slots), np.uint64)
                rehash(self._names, self._ends, self._slots, state)
        self._n = int(state[1])
        added = self._names_from(before)
        if _may_be_unsettled(added):
            is_unsettled = pc.match_substring_regex(added, _UNSETTLED)
            found = before + np.flatnonzero(is_unsettled.to_numpy(zero_copy_only=False))
            self._unsettled = np.append(self._unsettled, found)
        if len(self._unsettled):
            codes[np.isin(codes, self._unsettled)] = OTHER
        return codes

    def _names_from(self, start: int) -> pa.Array:
        ends = self._ends[start : self._n + 1]
        names = self._names[ends[0] : ends[-1]]
        buffers = [None, pa.py_buffer(ends - ends[0]), pa.py_buffer(names.copy())]
        return pa.Array.from_buffers(_TEXT, len(ends) - 1, buffers)

    def names(self) -> pa.Array:
        """Distinct authorities as written, in order of first occurrence; large_string.

        Null for one that does not determine the host, which no row has.
        """
        names = self._names_from(0)
        if not len(self._unsettled):
            return names
        is_unsettled = np.zeros(self._n, bool)
        is_unsettled[self._unsettled] = True
        return pc.if_else(pa.array(is_unsettled), pa.scalar(None, _TEXT), names)

    def codes(self) -> np.ndarray:
        """Position in `names` of each row, (n,) int32; `NULL`, or `OTHER`.

        `OTHER` is for a URL that does not start with ``http://`` or ``https://``, or whose
        authority does not determine its host.
        """
        return np.concatenate([np.empty(0, np.int32), *self._codes])

    def others(self) -> pa.Array:
        """The URLs of the rows with the code `OTHER`, in order; large_string."""
        return pa.concat_arrays([pa.array([], _TEXT), *self._others])


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
    nothing, numbers, slots = np.empty(0, np.uint8), np.zeros(2, np.int64), np.zeros(1, np.uint64)
    table = (nothing, numbers[:1])
    rows = (_readable(nothing), _readable(numbers[:1]), np.empty(0, np.bool_))
    outputs = (np.empty(0, np.int32), slots, *table, numbers)
    return (
        native("scan", lambda: _source().scan, [_MODULE], *rows, *outputs),
        native("rehash", lambda: _source().rehash, [_MODULE], *table, slots, numbers),
    )


def _source() -> ModuleType:
    from laion_dask.text import host_scan  # imports numba

    return host_scan
