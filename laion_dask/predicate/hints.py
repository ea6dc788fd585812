"""Hints for users who write SQL, or an unquoted column name, where Python is expected."""

from __future__ import annotations

import io
import keyword
import re
import tokenize
from collections.abc import Iterable
from itertools import pairwise

from laion_dask.errors import parameter

#: Maximum number of characters of an expression that are examined.
_LONGEST = 2_000
#: Possibly two adjacent string literals, separated by spaces, line breaks and comments.
_SIDE_BY_SIDE = re.compile(r"""['"](?:\s|#[^\n]*\n)*[rRuU]?['"]""")
_BETWEEN = re.compile(r"(\S+)\s+(not\s+)?between\s+(\S+)\s+and\s+([^\s()]+)", re.IGNORECASE)
#: What other languages call functions of this one.
_OTHER_NAMES = {"least": "min", "minimum": "min", "greatest": "max", "maximum": "max"}
_OTHER_NAMES |= {"fabs": "abs", "absolute": "abs"}
#: Functions of other languages that search text, and the position of the text in their arguments.
_REGEX_FUNCTIONS = {"re.search": 1, "search": 1, "regexp_matches": 0, "regexp_like": 0, "rlike": 0}
_IN_QUOTES = re.compile(r"'[^']*'|\"[^\"]*\"")


def not_an_expression(value: object) -> str:
    """The message for a filter that is not text, such as a mask."""
    if isinstance(value, (str, int, float, type(None))):
        shown, use = repr(value), "Leave it out to keep every row"
    else:
        kind = type(value)
        shown = f"a {kind.__name__} of {kind.__module__.partition('.')[0]}"
        use = "To apply a mask, use brackets: frame[mask]"
    expected = "expected an expression such as 'similarity > 0.28'"
    return f"{parameter('where')} is {shown}; {expected}. {use}."


def needs_col(name: str) -> bool:
    """Whether a column can only be named as ``col('…')`` in an expression."""
    return not name.isidentifier() or keyword.iskeyword(name)


def how_to_write(text: str, columns: Iterable[str]) -> str | None:
    """A hint on how to write an SQL or pandas construct in this language, or None.

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
        if name.strip() and re.search(rf"(?<!\w){re.escape(name)}(?!\w)", bare):
            return f"the column {name} is written col({name!r})"
    if match := _BETWEEN.search(text):
        name, negated, low, high = match.groups()
        chain = f"{low} <= {name} <= {high}"
        if negated:
            return f"NOT BETWEEN is written not ({chain})"
        return f"BETWEEN is written {chain}"
    if word := re.search(r"\b(AND|OR|NOT|IN|IS|NULL|TRUE|FALSE)\b", bare):
        python_word = {"NULL": "None", "TRUE": "True", "FALSE": "False"}.get(
            word[0], word[0].lower()
        )
        return f"{word[0]} is written {python_word}"
    if re.search(r"\blike\b", bare, re.IGNORECASE):
        return "LIKE is written text.contains('…'), text.startswith('…') or text.endswith('…')"
    for symbol, meaning in (("&&", "and"), ("||", "or")):
        if symbol in bare:
            return f"{symbol} is written {meaning}"
    if re.search(r"(?<![=<>!])=(?!=)", bare):
        return "= is written =="
    return "<> is written !=" if "<>" in bare else None


def joined_texts(text: str) -> str | None:
    """Two adjacent string literals, as written, which Python would concatenate; or None.

    A missing comma, or SQL's quote in ``'it''s'``, would silently produce a different string.
    """
    if not _SIDE_BY_SIDE.search(text):
        return None
    every = tokenize.generate_tokens(io.StringIO(text).readline)
    tokens = [t for t in every if t.type not in (tokenize.NL, tokenize.COMMENT)]
    for one, two in pairwise(tokens):
        if one.type == two.type == tokenize.STRING:
            return " ".join(
                t.string if len(t.string) <= 40 else f"{t.string[:40]}…" for t in (one, two)
            )
    return None


def for_other_type(operand: object, column_type: str) -> str:
    """A sentence, after a space, on how to write a constant for a column of another type; or ''.

    Parameters
    ----------
    operand : object
        The value of the constant.
    column_type : str
        The type of the column: ``"string"``, ``"integer"``, …
    """
    if column_type == "string":
        return f" Write {str(operand)!r}, in quotes."
    if isinstance(operand, str) and re.fullmatch(r"\s*-?\d+(\.\d+)?\s*", operand):
        return f" Write {operand.strip()}, without quotes."
    return ""


def without_call(function: str, arguments: list[str]) -> str | None:
    """A call of a function that the language does not have, as it is written in this language.

    Parameters
    ----------
    function : str
    arguments : list of str
        As written.
    """
    if (name := _OTHER_NAMES.get(function)) is not None and arguments:
        return f"{name}({', '.join(arguments)})"
    if function in _REGEX_FUNCTIONS and len(arguments) == 2:
        return f"{arguments[_REGEX_FUNCTIONS[function]]}.matches('…')"
    if function in ("isnull", "isna", "isnan") and len(arguments) == 1:
        return f"{arguments[0]} is None"
    return None
