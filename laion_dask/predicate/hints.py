"""Hints for who writes SQL where Python is expected."""

from __future__ import annotations

import re


def said_otherwise(text: str) -> str | None:
    """What is written as in SQL, and how it is written here."""
    bare = re.sub(r"'[^']*'|\"[^\"]*\"", "''", text)
    if word := re.search(r"\b(AND|OR|NOT|IN|IS|NULL|TRUE|FALSE)\b", bare):
        here = {"NULL": "None", "TRUE": "True", "FALSE": "False"}.get(word[0], word[0].lower())
        return f"{word[0]} is written {here}"
    if re.search(r"\blike\b", bare, re.IGNORECASE):
        return "LIKE is written text.contains('…'), text.startswith('…') or text.endswith('…')"
    if re.search(r"(?<![=<>!])=(?!=)", bare):
        return "= is written =="
    return "<> is written !=" if "<>" in bare else None
