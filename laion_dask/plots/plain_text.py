"""Text in plots: text from the data is never interpreted, and long text is cut or wrapped."""

from __future__ import annotations

import textwrap

from laion_dask.formatting import printable

#: Maximum number of characters in a label, or in one line of it.
_LABEL = 36


def plain_text(text: object, limit: int | None = _LABEL) -> str:
    """Text for a plot: control characters are escaped, formulas are disabled, long text is cut."""
    shown = printable(str(text))
    if limit is not None and len(shown) > limit:
        shown = shown[: limit - 1] + "…"
    for sign in ("$$", "\\[", "\\("):  # Bokeh renders text between these as a formula
        shown = shown.replace(sign, sign[0] + "\u200a" + sign[1])
    return shown


def in_lines(text: object, width: int = _LABEL, max_lines: int = 3) -> str:
    """Wrap text to ``width`` characters; text beyond ``max_lines`` lines is cut."""
    lines = textwrap.wrap(plain_text(text, width * max_lines - max_lines), width)
    return "\n".join(
        [*lines[: max_lines - 1], plain_text(" ".join(lines[max_lines - 1 :]), width)]
    ).strip()
