"""The text of plots: text from the data stays text, and long text is cut or set in lines."""

from __future__ import annotations

import textwrap

from laion_dask.formatting import printable

#: Characters of a label, or of a line of it.
_LABEL = 36


def plain_text(text: object, most: int | None = _LABEL) -> str:
    """Text for a plot: every character shows, none makes a formula, and long text is cut."""
    shown = printable(str(text))
    if most is not None and len(shown) > most:
        shown = shown[: most - 1] + "…"
    for sign in ("$$", "\\[", "\\("):  # Bokeh sets what is between these as a formula
        shown = shown.replace(sign, sign[0] + "\u200a" + sign[1])
    return shown


def in_lines(text: object, width: int = _LABEL, most: int = 3) -> str:
    """Text in lines of at most ``width`` characters; what ``most`` lines cannot hold is cut."""
    lines = textwrap.wrap(plain_text(text, width * most - most), width)
    return "\n".join([*lines[: most - 1], plain_text(" ".join(lines[most - 1 :]), width)]).strip()
