"""Python's parser, for expressions of the ``where=`` language."""

from __future__ import annotations

import ast
import warnings


def syntax_tree(source: str) -> ast.Expression:
    """The syntax tree of an expression; a backslash that escapes nothing stays, as in ``'\\d'``.

    Raises
    ------
    SyntaxError, ValueError, RecursionError, MemoryError
    """
    if "matches" not in source:
        return ast.parse(source, mode="eval")
    with warnings.catch_warnings():
        for category in (DeprecationWarning, SyntaxWarning):
            warnings.filterwarnings("ignore", "invalid escape sequence", category)
            warnings.filterwarnings("ignore", '"\\\\?.*" is an invalid escape', category)
        return ast.parse(source, mode="eval")
