"""Text for display: escaping of untrusted text; formatting of counts, bytes and durations."""

from __future__ import annotations

from math import isinf
from typing import TYPE_CHECKING, Any
from unicodedata import category

if TYPE_CHECKING:
    import pandas as pd

#: Control, format (including bidirectional), surrogate, line and paragraph separator characters.
_STEERS = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))
#: Format characters that only join: Persian and Indic words and many emoji need them.
_JOINERS = "\u200c\u200d"
#: Characters that start a formula in a spreadsheet (OWASP, "CSV Injection").
FORMULA_STARTS = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
_SPACES = str.maketrans("\t\r\n", "   ")
_UNITS = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))
_SPANS = ((172800, 86400, "days"), (5400, 3600, "h"), (90, 60, "min"), (1, 1, "s"), (0, 1e-3, "ms"))


def printable(text: str) -> str:
    """Escape control, format and bidirectional characters and noncharacters, for display."""
    return "".join(f"\\u{ord(c):04x}" if _is_unsafe(c) else c for c in text)


def _is_unsafe(character: str) -> bool:
    code = ord(character)
    if code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF:
        return True  # noncharacters, which XML does not allow
    return category(character) in _STEERS and character not in _JOINERS


def printable_lines(text: str) -> str:
    """Like `printable`, but keeps line breaks."""
    return "\n".join(map(printable, text.split("\n")))


def spreadsheet_text(text: str) -> str:
    """Text for a cell of a CSV file, without control characters or formulas.

    Text that a spreadsheet would read as a formula is prefixed with an apostrophe (OWASP, "CSV
    Injection"). Tabs and line breaks become spaces.
    """
    shown = "".join(c for c in text.translate(_SPACES) if category(c) not in ("Cc", "Cs"))
    return (
        f"'{shown}"
        if text.startswith(FORMULA_STARTS) or shown.startswith(FORMULA_STARTS)
        else shown
    )


def csv_text(table: pd.DataFrame) -> str:
    """A table as CSV that is safe to open in a spreadsheet, with LF after each line.

    Text is as in `spreadsheet_text`; numbers are unchanged.
    """
    from pandas.api.types import is_numeric_dtype

    shown = table.rename(columns=lambda name: spreadsheet_text(str(name)))
    for at, dtype in enumerate(table.dtypes):
        if not is_numeric_dtype(dtype):
            cells = table.iloc[:, at].map(_cell_text, na_action="ignore").astype(object)
            shown.isetitem(at, cells)  # type: ignore[arg-type]  # the stubs lack a Series
    text: str = shown.to_csv(index=False, lineterminator="\n")
    return text


def _cell_text(value: Any) -> Any:
    return value if isinstance(value, (bool, int, float)) else spreadsheet_text(str(value))


def share_text(share: float) -> str:
    """Format a share in percent, such as ``2.93 %``, with more digits close to 100 %."""
    if isinf(share):
        return "∞" if share > 0 else "-∞"
    return f"{100 * share:.3g} %" if share < 0.9995 else f"{100 * share:.5g} %"


def counted(n: int, noun: str) -> str:
    """Format a count with its noun, such as ``1 part`` or ``1,024 parts``."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def in_bytes(n: float) -> str:
    """Format bytes with a unit, such as 1.5 GB."""
    size, unit = next((u for u in _UNITS if n >= u[0]), (1, "bytes"))
    return f"{n / size:,.1f} {unit}" if size > 1 else f"{n:,.0f} bytes"


def in_time(seconds: float) -> str:
    """Format a duration, such as 1.5 h: minutes from 90 s, hours from 90 min, days from 2 days."""
    _, size, unit = next(span for span in _SPANS if seconds >= span[0])
    n = seconds / size
    return f"{n:,.1f} {unit}" if n < 10 else f"{n:,.0f} {unit}"
