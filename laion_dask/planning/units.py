"""Bytes and seconds in words."""

from __future__ import annotations

_UNITS = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))
_SPANS = ((172800, 86400, "days"), (5400, 3600, "h"), (90, 60, "min"), (1, 1, "s"), (0, 1e-3, "ms"))


def in_bytes(n: float) -> str:
    """Such as 1.5 GB."""
    size, unit = next((u for u in _UNITS if n >= u[0]), (1, "bytes"))
    return f"{n / size:,.1f} {unit}" if size > 1 else f"{n:,.0f} bytes"


def in_time(seconds: float) -> str:
    """Such as 1.5 h; minutes from 90 seconds on, hours from 90 minutes, days from two."""
    _, size, unit = next(span for span in _SPANS if seconds >= span[0])
    n = seconds / size
    return f"{n:,.1f} {unit}" if n < 10 else f"{n:,.0f} {unit}"
