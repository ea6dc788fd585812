"""Values of the data as short text."""

from __future__ import annotations

import math
from typing import Any

from laion_dask.formatting import printable

#: Shown for a missing value.
MISSING = "—"


def cell_text(value: Any, limit: int = 300) -> str:
    """A value as text of at most ``limit`` characters, control characters made visible."""
    if isinstance(value, float):
        return f"{value:.5g}" if not math.isnan(value) else MISSING
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(value)
    if len(text) > limit:
        text = text[: limit - 1] + "…"
    return text if text.isprintable() else printable(text)[: 2 * limit]
