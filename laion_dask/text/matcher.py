"""Find mentions of term lists in a column of captions, reading Arrow's buffers directly."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from laion_dask.errors import OptionError
from laion_dask.runtime import cancellation
from laion_dask.text.entities import decode_references
from laion_dask.text.matcher_compiled import PADDING, scan
from laion_dask.text.matcher_tables import Tables, tables
from laion_dask.text.term_list import TermList

_NO_MENTIONS = (np.zeros(0, np.int64), np.zeros(0, np.int32))
Mentions = tuple[np.ndarray, np.ndarray]


def mentions(captions: pa.ChunkedArray, lists: tuple[TermList, ...]) -> Mentions:
    """The groups of several term lists that captions mention, found in one pass. Eager.

    No buffer is copied, and no caption becomes a Python object, except captions with HTML character
    references such as ``&shy;``, which are decoded first.

    Parameters
    ----------
    captions : pyarrow.ChunkedArray of text
        Nulls mention nothing.
    lists : tuple of TermList

    Returns
    -------
    rows : (m,) int64 array
        Positions of captions, ascending.
    groups : (m,) int32 array
        Numbered list by list, in the order of ``labels`` within a list; each pair occurs once.

    Raises
    ------
    OptionError
        If the column does not hold text.
    """
    t = tables(lists)
    last_row = np.full(sum(len(one.labels) for one in lists), -1, np.int64)
    parts, base = [], 0
    for chunk in _as_text(captions).chunks:
        rows, groups = _mentions_in(chunk, base, t, last_row)
        encoded, texts = decode_references(chunk, *_buffers(chunk)[:2])
        if len(encoded):
            as_written = ~np.isin(rows - base, encoded, kind="table")
            # Row numbers beyond all rows, so that ``last_row`` ignores the captions as written.
            first = len(captions) + base
            later_rows, later_groups = _mentions_in(texts, first, t, last_row)
            rows = np.append(rows[as_written], base + encoded[later_rows - first])
            groups = np.append(groups[as_written], later_groups)
            order = np.argsort(rows, kind="stable")
            rows, groups = rows[order], groups[order]
        parts.append((rows, groups))
        base += len(chunk)
    return _concatenated(parts)


def _as_text(captions: pa.ChunkedArray) -> pa.ChunkedArray:
    dtype = captions.type
    if pa.types.is_dictionary(dtype):
        captions = captions.cast(dtype.value_type)
        dtype = captions.type
    if pa.types.is_string(dtype) or pa.types.is_large_string(dtype):
        return captions
    if pa.types.is_string_view(dtype) or pa.types.is_null(dtype):
        return captions.cast(pa.large_string())
    raise OptionError(
        f"The column holds {dtype}. Expected text: terms are found in a column of captions."
    )


def _mentions_in(chunk: pa.Array, base: int, t: Tables, last_row: np.ndarray) -> Mentions:
    n = len(chunk)
    if n == 0 or chunk.null_count == n:
        return _NO_MENTIONS
    data, offsets, valid = _buffers(chunk)
    # The scan reads beyond each caption; captions near the end of the buffer are copied and padded.
    inner = max(int(np.searchsorted(offsets, len(data) - PADDING, "right")) - 1, 0)
    first = offsets[inner]
    tail = np.concatenate([data[first : offsets[-1]], np.zeros(PADDING, np.uint8)])
    ends = offsets[inner:] - first
    parts = []
    for bytes_, at, skipped in (
        (data, offsets[: inner + 1], 0),
        (_read_only(tail), _read_only(ends), inner),
    ):
        start, n_rows = 0, len(at) - 1
        room = n_rows // 2 + 4096 + len(last_row)
        while start < n_rows:
            cancellation.check()
            rows, groups = np.empty(room, np.int64), np.empty(room, np.int32)
            filled, stopped = scan(
                bytes_, at, valid, chunk.offset + skipped, base + skipped, start, t, last_row, rows,
                groups,
            )  # fmt: skip
            parts.append((rows[:filled], groups[:filled]))
            last_row[last_row == base + skipped + stopped] = -1  # this caption is scanned again
            start, room = stopped, 2 * room
    return _concatenated(parts)


def _concatenated(parts: list[Mentions]) -> Mentions:
    if not parts:
        return _NO_MENTIONS
    rows, groups = zip(*parts, strict=True)
    return np.concatenate(rows), np.concatenate(groups)


def _buffers(chunk: pa.Array) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bytes, offsets and validity bits, with the same dtypes for every text type."""
    bits, offsets, data = chunk.buffers()
    dtype = np.int64 if pa.types.is_large_string(chunk.type) else np.int32
    at = np.frombuffer(offsets, dtype)[chunk.offset : chunk.offset + len(chunk) + 1]
    all_valid = chunk.null_count == 0 or bits is None
    valid = np.zeros(0, np.uint8) if all_valid else np.frombuffer(bits, np.uint8)
    bytes_ = np.zeros(0, np.uint8) if data is None else np.frombuffer(data, np.uint8)
    at = np.require(at, np.int64, ["C", "A"])
    return _read_only(bytes_), _read_only(at), _read_only(valid)


def _read_only(array: np.ndarray) -> np.ndarray:
    """A read-only view; numba compiles separately for read-only arrays."""
    array = array.view()
    array.flags.writeable = False
    return array
