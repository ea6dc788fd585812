"""Text in plots: text from the data is never interpreted, and long text is cut or wrapped."""

from __future__ import annotations

import textwrap

from laion_dask.formatting import printable

#: Maximum number of characters in a label, or in one line of it.
_LABEL = 36


def plain_text(text: object, most: int | None = _LABEL) -> str:
    """Text for a plot: control characters are escaped, formulas are disabled, long text is cut."""
    shown = printable(str(text))
    if most is not None and len(shown) > most:
        shown = shown[: most - 1] + "…"
    for sign in ("$$", "\\[", "\\("):  # Bokeh renders text between these as a formula
        shown = shown.replace(sign, sign[0] + "\u200a" + sign[1])
    return shown


def in_lines(text: object, width: int = _LABEL, most: int = 3) -> str:
    """Wrap text to ``width`` characters; text beyond ``most`` lines is cut."""
    lines = textwrap.wrap(plain_text(text, width * most - most), width)
    return "\n".join([*lines[: most - 1], plain_text(" ".join(lines[most - 1 :]), width)]).strip()
