"""Cells of a table as text and Markdown, with text from the data escaped."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd

from laion_dask.formatting import printable


def text_of(value: Any) -> str:
    """A value as the text of a cell: numbers to four digits, ``-`` if it is missing."""
    if value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
        return "-"
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if isinstance(value, (int, np.integer)):
        return f"{value:,}"
    if isinstance(value, (float, np.floating)):
        number = float(value)
        return f"{number:,.4g}" if abs(number) < 1e4 else f"{number:,.0f}"
    return printable(str(value))


_MARKUP = str.maketrans(
    {c: f"\\{c}" for c in "\\`*_[]|#~!$"} | {"<": "&lt;", ">": "&gt;", "&": "&amp;"}
)
#: Positions at which to break text that GitHub would turn into a link.
_LINKED = re.compile(r"(?i)\bwww(?=\.)|:(?=//)|(?<=\w)(?=@)")


def markdown(text: str) -> str:
    """Escape text for a cell of a Markdown table."""
    return without_links(text.translate(_MARKUP))


def without_links(text: str) -> str:
    """Markdown whose addresses are not turned into links; it looks the same."""
    return _LINKED.sub(r"\g<0>\\", text)
