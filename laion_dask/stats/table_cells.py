"""Cells of a table as text, HTML and Markdown, with text from the data escaped."""

from __future__ import annotations

import html
import re
from typing import Any

import numpy as np
import pandas as pd

from laion_dask.formatting import printable

#: Maximum number of characters of a cell in HTML.
MAX_LENGTH = 120


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


def html_cell(text: str) -> str:
    """An HTML cell on one line; long text is truncated."""
    shown = text if len(text) <= MAX_LENGTH else text[:MAX_LENGTH] + "…"
    return f"<td><bdi style='white-space:nowrap'>{html.escape(shown)}</bdi></td>"


def in_scroll(table: str) -> str:
    """Wrap an HTML table so that it scrolls if it is wider than the page."""
    return f"<div style='overflow-x:auto;max-width:100%'>{table}</div>"


_MARKUP = str.maketrans(
    {c: f"\\{c}" for c in "\\`*_[]|#~!$"} | {"<": "&lt;", ">": "&gt;", "&": "&amp;"}
)
#: Positions at which to break text that GitHub would turn into a link.
_LINKED = re.compile(r"(?i)\bwww(?=\.)|:(?=//)|(?<=\w)(?=@)")


def markdown(text: str) -> str:
    """Escape text for a cell of a Markdown table."""
    return _LINKED.sub(r"\g<0>\\", text.translate(_MARKUP))
