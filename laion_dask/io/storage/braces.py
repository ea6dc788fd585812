"""Brace expansion as in a shell: ``{a,b}`` and ``{00000..00127}``."""

from __future__ import annotations

import re
from collections.abc import Iterator

from laion_dask.errors import OptionError

_RANGE = re.compile(r"(-?\d+)\.\.(-?\d+)(?:\.\.(-?\d+))?")
#: Maximum number of names that one pattern may expand to.
_MAX_NAMES = 1_000_000


def expand_braces(pattern: str) -> list[str]:
    """Expand a pattern with braces; a pattern without braces expands to itself.

    Braces may nest. Braces that hold neither a comma nor a range are literal.

    Raises
    ------
    OptionError
        When the pattern expands to more than a million names.

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
    """The positions of each balanced pair of braces, in order of opening."""
    opened, pairs = [], []
    for i, character in enumerate(pattern):
        if character == "{":
            opened.append(i)
        elif character == "}" and opened:
            pairs.append((opened.pop(), i))
    return iter(sorted(pairs))


def _options(inner: str, pattern: str) -> list[str]:
    """The alternatives between a pair of braces; empty if the braces are literal."""
    if match := _RANGE.fullmatch(inner):
        return _numbers(match[1], match[2], match[3], pattern)
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
    if count > _MAX_NAMES:
        raise OptionError(
            f"{pattern} expands to {count:,} names. Expected at most {_MAX_NAMES:,}; "
            "name the folder."
        )
