"""Decode the captions and JSON fields of a sample."""

from __future__ import annotations

import codecs
import json

from laion_dask.io.storage.member_names import clean_text

#: Byte order marks; UTF-32 comes first, because its mark starts with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def decode_text(data: bytes) -> str:
    """Decode text as UTF-8, or as UTF-16 or UTF-32 if a mark or zero bytes indicate it.

    Raises
    ------
    UnicodeDecodeError
        For other encodings, such as cp1252. They cannot be detected, and UTF-8 truncated within a
        character is also valid cp1252.
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return data.decode(encoding)
    return data.decode(_unmarked(data))


def _unmarked(data: bytes) -> str:
    odd, even = data[1::2].count(0), data[::2].count(0)
    if len(data) % 2 == 0 and max(odd, even) * 4 >= len(data) and min(odd, even) == 0:
        return "utf-16-le" if odd else "utf-16-be"
    return "utf-8"


def read_json(data: bytes, max_fields: int) -> dict:
    """The fields of a JSON object, NaN as None.

    Raises
    ------
    UnicodeDecodeError
        When the bytes are not text.
    ValueError
        When the text is not a JSON object of at most ``max_fields`` fields.
    """
    try:
        fields = json.loads(data, parse_constant=constant)
    except UnicodeDecodeError:
        raise
    except (ValueError, RecursionError) as error:
        raise ValueError(f"its .json cannot be read: {type(error).__name__}") from None
    if not isinstance(fields, dict) or len(fields) > max_fields:
        raise ValueError(f"its .json is not an object of at most {max_fields} fields")
    return {clean_text(name): value for name, value in fields.items()}


def constant(name: str) -> float | None:
    """The value of JSON's ``NaN``, ``Infinity`` and ``-Infinity``; NaN becomes None."""
    return None if name == "NaN" else float(name)
