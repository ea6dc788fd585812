"""Values as JSON and as text, for formats without types."""

from __future__ import annotations

import base64
import datetime
import decimal
import json
import math
from typing import Any


def plain(value: Any) -> Any:
    """A value of Arrow as JSON has it.

    NaN and infinite numbers become null, bytes become base64, decimals, durations, dates and times
    become strings, as ISO 8601 has them.
    """
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, dict):
        return {str(name): plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    return _moment(value)


def _moment(value: Any) -> str:
    if hasattr(value, "isoformat"):  # dates, times, and the durations of pandas, in nanoseconds
        return str(value.isoformat())
    if isinstance(value, datetime.timedelta):
        return f"PT{decimal.Decimal(value // datetime.timedelta(microseconds=1)) / 10**6:f}S"
    return str(value)


def as_json(value: Any, indent: int | None = None) -> str:
    """A value as JSON text, with the keys in the given order; the same for equal values."""
    return json.dumps(plain(value), ensure_ascii=False, indent=indent, allow_nan=False)


def as_text(value: Any) -> str:
    """A value, not null, as the text of a cell; lists and structs are JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return "NaN" if value != value else repr(value)
    shown = plain(value)
    return shown if isinstance(shown, str) else as_json(value)
