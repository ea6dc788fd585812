"""Hints for those who write SQL, or a column's name as it stands, where Python is expected."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterable

from laion_dask.errors import parameter

#: Characters of an expression that are looked at.
_LONGEST = 2_000
_IN_QUOTES = re.compile(r"'[^']*'|\"[^\"]*\"")


def not_an_expression(given: object) -> str:
    """What to say where something other than text was given, such as a mask."""
    if isinstance(given, (str, int, float, type(None))):
        shown, use = repr(given), "Leave it out to keep every row"
    else:
        kind = type(given)
        shown = f"a {kind.__name__} of {kind.__module__.partition('.')[0]}"
        use = "A mask goes into brackets: frame[mask]"
    expected = "expected an expression such as 'similarity > 0.28'"
    return f"{parameter('where')} is {shown}; {expected}. {use}."


def needs_col(name: str) -> bool:
    """Whether a column can be named in an expression only as ``col('…')``."""
    return not name.isidentifier() or keyword.iskeyword(name)


def how_to_write(text: str, columns: Iterable[str]) -> str | None:
    """A hint on how to write a construct of SQL or pandas in this language, or None.

    Parameters
    ----------
    text : str
        The expression.
    columns : iterable of str
        The columns of the frame.
    """
    text = text[:_LONGEST]
    if quoted := re.search(r"`([^`]*)`", text):
        name = quoted[1]
        return f"`{name}` is written {f'col({name!r})' if needs_col(name) else name}"
    bare = _IN_QUOTES.sub("''", text)
    for name in sorted(filter(needs_col, columns), key=len, reverse=True):
        if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", bare):
            return f"the column {name} is written col({name!r})"
    if found := re.search(r"(\S+)\s+between\s+(\S+)\s+and\s+(\S+)", text, re.IGNORECASE):
        return f"BETWEEN is written {found[2]} <= {found[1]} <= {found[3]}"
    if word := re.search(r"\b(AND|OR|NOT|IN|IS|NULL|TRUE|FALSE)\b", bare):
        here = {"NULL": "None", "TRUE": "True", "FALSE": "False"}.get(word[0], word[0].lower())
        return f"{word[0]} is written {here}"
    if re.search(r"\blike\b", bare, re.IGNORECASE):
        return "LIKE is written text.contains('…'), text.startswith('…') or text.endswith('…')"
    if re.search(r"(?<![=<>!])=(?!=)", bare):
        return "= is written =="
    return "<> is written !=" if "<>" in bare else None


def without_call(function: str, arguments: list[str]) -> str | None:
    """How a comparison is written without a function that people expect.

    Parameters
    ----------
    function : str
    arguments : list of str
        As they were written.
    """
    if function in ("min", "max") and len(arguments) == 2:
        one, two = arguments
        word = "and" if function == "min" else "or"
        return f"{function}({one}, {two}) > x as {one} > x {word} {two} > x"
    if function == "abs" and len(arguments) == 1:
        return f"abs({arguments[0]}) < x as -x < {arguments[0]} < x"
    if function in ("isnull", "isna", "isnan") and len(arguments) == 1:
        return f"{arguments[0]} is None"
    return None
