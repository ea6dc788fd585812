"""Decode HTML character references in captions: ``&shy;``, ``&#39;``, ``&amp;amp;``."""

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
    """Decode the captions of a chunk that contain character references.

    References are those of HTML 5, as in `html.unescape`: some need no semicolon (``&shy``,
    ``&amp``, ``&nbsp``), so "wo&shyman" is "woman"; names are case-sensitive, so ``&SHY;`` is not a
    reference; "R&D" is unchanged. Text that was encoded twice (``&amp;shy;``) is decoded twice, and
    never more often. Nulls are skipped.

    Parameters
    ----------
    chunk : array of text
    data : uint8 array
        The bytes of the texts; they need not be valid UTF-8.
    offsets : (n + 1,) int64 array
        Start of each caption in ``data``.

    Returns
    -------
    rows : (m,) int64 array
        Positions of the decoded captions, ascending.
    texts : (m,) large_string array
        The decoded captions.
    """
    maybe = np.empty(len(chunk), np.int64)
    rows, texts = [], []
    for row in maybe[: find_references(data, offsets, maybe)].tolist():
        text = data[offsets[row] : offsets[row + 1]].tobytes()
        plain = _REFERENCE.sub(_character_of, text)
        if plain != text and chunk[row].is_valid:
            rows.append(row)
            texts.append(_REFERENCE.sub(_character_of, plain))
    as_bytes = pa.array(texts, pa.large_binary())  # may be invalid UTF-8
    unchecked = pa.Array.from_buffers(pa.large_string(), len(texts), as_bytes.buffers())
    return np.array(rows, np.int64), unchecked


def _character_of(reference: re.Match[bytes]) -> bytes:
    return _character(reference[0])


@lru_cache(maxsize=4096)
def _character(reference: bytes) -> bytes:
    """The character of a reference; the reference itself if HTML does not define it."""
    return html.unescape(reference.decode("ascii")).encode()
