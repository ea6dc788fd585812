"""Term lists found in a column of captions: the scan over Arrow's own buffers."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from laion_dask.errors import OptionError
from laion_dask.runtime import cancellation
from laion_dask.text.entities import decoded
from laion_dask.text.matcher_compiled import BEYOND, scan
from laion_dask.text.matcher_tables import tables
from laion_dask.text.term_list import TermList

_NOTHING = (np.zeros(0, np.int64), np.zeros(0, np.int32))


def found(captions: pa.ChunkedArray, lists: tuple[TermList, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The groups of several lists that captions mention, in one pass over their bytes.

    No buffer is copied, and no caption becomes a Python object, except those with an HTML character
    reference, such as ``&shy;``: they are decoded first.

    Parameters
    ----------
    captions : pyarrow.ChunkedArray of text
        Nulls mention nothing.
    lists : tuple of TermList

    Returns
    -------
    rows : (m,) int64 array
        Ascending.
    groups : (m,) int32 array
        Numbered list by list, inside in the order of ``labels``; no pair occurs twice.

    Raises
    ------
    OptionError
        When the column is not of text.
    """
    walk = tables(lists)
    seen = np.full(sum(len(one.labels) for one in lists), -1, np.int64)
    parts, base = [], 0
    for chunk in _text(captions).chunks:
        rows, groups = _found_in(chunk, base, walk, seen)
        which, texts = decoded(chunk, *_buffers(chunk)[:2])
        if len(which):
            as_written = ~np.isin(rows - base, which, kind="table")
            # Rows of their own, so that what was seen in the caption as written does not count.
            more, others = _found_in(texts, len(captions) + base, walk, seen)
            rows = np.append(rows[as_written], base + which[more - len(captions) - base])
            groups = np.append(groups[as_written], others)
            order = np.argsort(rows, kind="stable")
            rows, groups = rows[order], groups[order]
        parts.append((rows, groups))
        base += len(chunk)
    if not parts:
        return _NOTHING
    rows, groups = zip(*parts, strict=True)
    return np.concatenate(rows), np.concatenate(groups)


def _text(captions: pa.ChunkedArray) -> pa.ChunkedArray:
    kind = captions.type
    if pa.types.is_dictionary(kind):
        captions = captions.cast(kind.value_type)
        kind = captions.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return captions
    if pa.types.is_string_view(kind) or pa.types.is_null(kind):
        return captions.cast(pa.large_string())
    raise OptionError(f"The column holds {kind}. Expected one of text, in which terms are found.")


def _found_in(chunk: pa.Array, base: int, walk, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    n = len(chunk)
    if n == 0 or chunk.null_count == n:
        return _NOTHING
    data, offsets, valid = _buffers(chunk)
    # The scan reads a little beyond each caption: those at the very end of the buffer are copied.
    inner = max(int(np.searchsorted(offsets, len(data) - BEYOND, "right")) - 1, 0)
    first = offsets[inner]
    tail = np.concatenate([data[first : offsets[-1]], np.zeros(BEYOND, np.uint8)])
    ends = offsets[inner:] - first
    parts = []
    for raw, at, skipped in ((data, offsets[: inner + 1], 0), (_kept(tail), _kept(ends), inner)):
        start, rows = 0, len(at) - 1
        room = rows // 2 + 4096 + len(seen)
        while start < rows:
            cancellation.check()
            into, groups = np.empty(room, np.int64), np.empty(room, np.int32)
            k, stopped = scan(
                raw, at, valid, chunk.offset + skipped, base + skipped, start, walk, seen, into,
                groups,
            )  # fmt: skip
            parts.append((into[:k], groups[:k]))
            seen[seen == base + skipped + stopped] = -1  # there was no more room for this caption
            start, room = stopped, 2 * room
    rows, groups = zip(*parts, strict=True)
    return np.concatenate(rows), np.concatenate(groups)


def _buffers(chunk: pa.Array) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The bytes, the offsets and the validity bits; of the same types for all text."""
    bits, offsets, data = chunk.buffers()
    kind = np.int64 if pa.types.is_large_string(chunk.type) else np.int32
    at = np.frombuffer(offsets, kind)[chunk.offset : chunk.offset + len(chunk) + 1]
    none = chunk.null_count == 0 or bits is None
    valid = np.zeros(0, np.uint8) if none else np.frombuffer(bits, np.uint8)
    raw = np.zeros(0, np.uint8) if data is None else np.frombuffer(data, np.uint8)
    return _kept(raw), _kept(np.require(at, np.int64, ["C", "A"])), _kept(valid)


def _kept(array: np.ndarray) -> np.ndarray:
    """Not to be written to, which is a type of its own for numba."""
    array = array.view()
    array.flags.writeable = False
    return array
