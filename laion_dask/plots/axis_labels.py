"""The text of plots: labels in lines, and what hovering tells; text from the data stays text."""

from __future__ import annotations

import textwrap

import numpy as np
import pandas as pd

from laion_dask.formatting import printable
from laion_dask.plots.panels import Panel

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


def in_lines(text: object, wide: int = _LABEL, most: int = 3) -> str:
    """Text in lines of a width; what three lines do not hold is cut."""
    lines = textwrap.wrap(plain_text(text, wide * most - most), wide)
    return "\n".join([*lines[: most - 1], plain_text(" ".join(lines[most - 1 :]), wide)]).strip()


def hover_columns(panel: Panel, rows: pd.DataFrame) -> dict[str, np.ndarray]:
    """What hovering tells, as text."""
    tell = percent if panel.is_share else "{:,.4g}".format
    shown = {"what": [_named(*pair) for pair in zip(rows["term"], rows["group"], strict=True)]}
    shown[panel.measure] = [tell(value) for value in rows["value"]]
    if (rows["lo"].notna() & rows["hi"].notna()).any():
        ends = zip(rows["lo"], rows["hi"], strict=True)
        shown["interval"] = [f"{tell(lo)} to {tell(hi)}" if lo == lo else "-" for lo, hi in ends]
    if rows["by_chance"].notna().any():
        shown["by chance"] = [tell(value) for value in rows["by_chance"]]
    if rows["threshold"].notna().any():
        shown["threshold"] = [f"{value:g}" for value in rows["threshold"]]
    if rows["n"].notna().any():
        shown["n"] = ["-" if n != n else f"{n:,.0f}" for n in rows["n"]]
    shown = {f"told {key}": values for key, values in shown.items()}
    return {key: np.array(values, dtype=object) for key, values in shown.items()}


def tooltips(told: dict) -> list[tuple[str, str]]:
    return [(key.removeprefix("told "), f"@{{{key}}}") for key in told]


def _named(term: str, group: str) -> str:
    return " · ".join(plain_text(part, 60) for part in (term, group) if part)


def percent(share: float) -> str:
    return f"{100 * share:.4g} %"
