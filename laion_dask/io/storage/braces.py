"""Brace patterns, as a shell expands them: ``{a,b}`` and ``{00000..00127}``."""

from __future__ import annotations

import re
from collections.abc import Iterator

from laion_dask.errors import OptionError

_RANGE = re.compile(r"(-?\d+)\.\.(-?\d+)(?:\.\.(-?\d+))?")
#: Names that one pattern may stand for.
_MOST = 1_000_000


def expand_braces(pattern: str) -> list[str]:
    """The patterns that a pattern with braces stands for; itself where it has none.

    Braces may nest. Those that hold neither a comma nor a range stand for themselves.

    Raises
    ------
    OptionError
        When it stands for more than a million names.

    Examples
    --------
    >>> expand_braces("{008..010}.parquet")
    ['008.parquet', '009.parquet', '010.parquet']
    >>> expand_braces("{en,de/{1,2}}.parquet")
    ['en.parquet', 'de/1.parquet', 'de/2.parquet']
    """
    for start, stop in _groups(pattern):
        options = _options(pattern[start + 1 : stop], pattern)
        if options:
            tails = expand_braces(pattern[stop + 1 :])
            inner = [one for option in options for one in expand_braces(option)]
            _check_count(len(inner) * len(tails), pattern)
            return [f"{pattern[:start]}{one}{tail}" for one in inner for tail in tails]
    return [pattern]


def _groups(pattern: str) -> Iterator[tuple[int, int]]:
    """Where each balanced pair of braces opens and closes, in order of opening."""
    opened, pairs = [], []
    for i, character in enumerate(pattern):
        if character == "{":
            opened.append(i)
        elif character == "}" and opened:
            pairs.append((opened.pop(), i))
    return iter(sorted(pairs))


def _options(inner: str, pattern: str) -> list[str]:
    """What stands between a pair of braces, one by one; empty where it is plain text."""
    if found := _RANGE.fullmatch(inner):
        return _numbers(*found.groups(), pattern)
    options, depth = [""], 0
    for character in inner:
        depth += {"{": 1, "}": -1}.get(character, 0)
        if character == "," and depth == 0:
            options.append("")
        else:
            options[-1] += character
    return options if len(options) > 1 else []


def _numbers(first: str, last: str, step: str | None, pattern: str) -> list[str]:
    padded = any(n.lstrip("-").startswith("0") and len(n.lstrip("-")) > 1 for n in (first, last))
    width = max(len(first), len(last)) if padded else 0
    start, stop, by = int(first), int(last), abs(int(step or 1)) or 1
    count = abs(stop - start) // by + 1
    _check_count(count, pattern)
    down = -1 if stop < start else 1
    return [f"{start + down * by * i:0{width}d}" for i in range(count)]


def _check_count(count: int, pattern: str) -> None:
    if count > _MOST:
        raise OptionError(
            f"{pattern} stands for {count:,} names. Expected at most {_MOST:,}; name the folder."
        )
