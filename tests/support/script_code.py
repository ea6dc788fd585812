"""Measures the scripts and style sheets of the package."""

from __future__ import annotations

import re
from pathlib import Path

from support.paths import PACKAGE

SCRIPTS = sorted(PACKAGE.rglob("*.js"))
STYLES = sorted(PACKAGE.rglob("*.css"))
#: A line that starts a statement at the top level, rather than continuing or closing one.
_STARTS = re.compile(r"[^\s)}\]]")
_FUNCTION = re.compile(r"(?:export )?(?:async )?function\*? (\w+)|(?:export )?const (\w+) = .*=>")


def lines_of(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def function_lengths(lines: list[str]) -> dict[str, int]:
    """Lines of each function at the top level of a script whose blocks are indented."""
    starts = [at for at, line in enumerate(lines) if _STARTS.match(line)]
    lengths = {}
    for start, stop in zip(starts, [*starts[1:], len(lines)], strict=True):
        if named := _FUNCTION.match(lines[start]):
            body = "\n".join(lines[start:stop]).rstrip()
            lengths[named[1] or named[2]] = body.count("\n") + 1
    return lengths
