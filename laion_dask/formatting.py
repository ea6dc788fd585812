"""Untrusted text made safe to display in a terminal, on a page or in a spreadsheet."""

from __future__ import annotations

from unicodedata import category

#: Controls, formats (those of direction among them), surrogates, ends of lines and paragraphs.
_STEERS = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))
#: Formats that only join letters or pictures: Persian and Indic words and many emoji need them.
_JOINERS = "\u200c\u200d"
#: What a spreadsheet takes for the beginning of a formula (OWASP, "CSV Injection").
_FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
_SPACES = str.maketrans("\t\r\n", "   ")


def printable(text: str) -> str:
    """Text with control, formatting and direction characters escaped, safe to display."""
    return "".join(f"\\u{ord(c):04x}" if _steers(c) else c for c in text)


def _steers(character: str) -> bool:
    return category(character) in _STEERS and character not in _JOINERS


def printable_lines(text: str) -> str:
    """As `printable`, with line breaks kept."""
    return "\n".join(map(printable, text.split("\n")))


def spreadsheet_text(text: str) -> str:
    """Text as a cell of a CSV file: without control characters, and no formula.

    What would begin a formula gets an apostrophe before it (OWASP, "CSV Injection"). Tabs and line
    breaks become spaces.
    """
    shown = "".join(c for c in text.translate(_SPACES) if category(c) not in ("Cc", "Cs"))
    return f"'{shown}" if text.startswith(_FORMULA) or shown.startswith(_FORMULA) else shown
