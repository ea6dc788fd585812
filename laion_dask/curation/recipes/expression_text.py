"""What a recipe replaces in the text of a ``where``: parameters, and the paths of lists.

The text is not Python yet, because ``$name`` stands in it; it is split into string literals,
comments and the rest by the rules of Python's tokens. What a literal says is data: the label
``"file('x')"`` names no file.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Callable

_LITERAL = (
    r"[A-Za-z]{0,2}(?:'''(?:\\.|[^\\])*?'''|\"\"\"(?:\\.|[^\\])*?\"\"\""
    r"|'(?:\\.|[^'\\\n])*'|\"(?:\\.|[^\"\\\n])*\")"
)
_FILE = rf"(?<![\w.])file\s*\(\s*(?:(?P<path>{_LITERAL})|\$(?P<name>\w+))\s*,?\s*\)"
_PART = re.compile(rf"(?P<comment>#[^\n]*)|(?P<file>{_FILE})|(?P<literal>{_LITERAL})", re.DOTALL)


def with_files(expression: str, call: Callable[[str], str | None]) -> str:
    """An expression with each path of ``file(…)`` replaced.

    Parameters
    ----------
    expression : str
        With its parameters as ``$name``, and dollar signs doubled.
    call : callable
        The new path of a written one, such as ``'lists/$$one.txt'`` or ``$name``, with its dollar
        signs doubled too; None leaves the call as it is.
    """

    def replaced(match: re.Match[str]) -> str:
        if not match["file"]:
            return match[0]
        written = f"${match['name']}" if match["name"] else value_of(match["path"])
        path = None if written is None else call(written)
        return match[0] if path is None else f"file({path!r})"

    return _PART.sub(replaced, expression)


def with_parts(expression: str, outside: Callable[[str], str], inside: Callable[[str], str]) -> str:
    """An expression with its text replaced: within string literals, and elsewhere.

    Parameters
    ----------
    expression : str
    outside : callable
        The new text of what is in no literal.
    inside : callable
        The new value of a literal; a literal whose value it leaves alone stays as it is written.
    """
    parts, end = [], 0
    literals = re.finditer(rf"#[^\n]*|(?P<literal>{_LITERAL})", expression, re.DOTALL)
    for match in literals:
        value = value_of(match["literal"]) if match["literal"] else None
        if value is None:
            continue
        new = inside(value)
        parts.append(outside(expression[end : match.start()]))
        parts.append(match[0] if new == value else repr(new))
        end = match.end()
    return "".join([*parts, outside(expression[end:])])


def value_of(literal: str) -> str | None:
    """The text that a string literal stands for; None if it is another literal, or none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a backslash that escapes nothing stays
            value = ast.literal_eval(literal)
    except (SyntaxError, ValueError):
        return None
    return value if isinstance(value, str) else None
