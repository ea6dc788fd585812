"""HTML character references in captions, decoded: ``&shy;``, ``&#39;``, ``&amp;amp;``."""

from __future__ import annotations

import html
import re
from functools import lru_cache

import numpy as np
import pyarrow as pa

from laion_dask.text.matcher_compiled import find_references

_REFERENCE = re.compile(
    rb"&(?:#[0-9]{1,32};?|#[xX][0-9A-Fa-f]{1,32};?|[A-Za-z][A-Za-z0-9]{1,31};?)"
)


def decode_references(
    chunk: pa.Array, data: np.ndarray, offsets: np.ndarray
) -> tuple[np.ndarray, pa.Array]:
    """The captions of a chunk that hold character references, with those replaced.

    What is a reference, HTML 5 decides, as `html.unescape` has it: some need no semicolon
    (``&shy``, ``&amp``, ``&nbsp``), so that "wo&shyman" is "woman"; names mind their case, so that
    ``&SHY;`` is none; "R&D" stays as it is. What was encoded twice (``&amp;shy;``) is decoded
    twice, not more often. Nulls are left out.

    Parameters
    ----------
    chunk : array of text
    data : uint8 array
        Its bytes, which need not be valid UTF-8.
    offsets : (n + 1,) int64 array
        Where each caption begins in them.

    Returns
    -------
    rows : (m,) int64 array
        Ascending.
    texts : (m,) large_string array
    """
    maybe = np.empty(len(chunk), np.int64)
    rows, texts = [], []
    for row in maybe[: find_references(data, offsets, maybe)].tolist():
        text = data[offsets[row] : offsets[row + 1]].tobytes()
        plain = _REFERENCE.sub(_character_of, text)
        if plain != text and chunk[row].is_valid:
            rows.append(row)
            texts.append(_REFERENCE.sub(_character_of, plain))
    as_bytes = pa.array(texts, pa.large_binary())  # which may be no valid UTF-8
    unchecked = pa.Array.from_buffers(pa.large_string(), len(texts), as_bytes.buffers())
    return np.array(rows, np.int64), unchecked


def _character_of(reference: re.Match[bytes]) -> bytes:
    return _character(reference[0])


@lru_cache(maxsize=4096)
def _character(reference: bytes) -> bytes:
    """What a reference stands for; itself where HTML has none of the name."""
    return html.unescape(reference.decode("ascii")).encode()
