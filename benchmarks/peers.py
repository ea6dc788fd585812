"""Which peers of a benchmark are installed; said before the first run, not after an hour of it."""

from __future__ import annotations

import importlib.util
import sys

INSTALL = "pip install --constraint constraints.txt --editable '.[bench]'"


def missing(*modules: str) -> list[str]:
    """Those of the modules that cannot be imported here."""
    return [name for name in modules if importlib.util.find_spec(name) is None]


def require(*modules: str) -> None:
    """End the benchmark where a peer that it cannot do without is not installed."""
    if lacking := missing(*modules):
        names = " and ".join(lacking)
        raise SystemExit(f"{names}: not installed, and measured here. Install with: {INSTALL}")


def say_left_out(*modules: str) -> None:
    """Say which peers are left out because they are not installed."""
    for name in missing(*modules):
        print(f"{name}: not installed, so it is left out. Install with: {INSTALL}", file=sys.stderr)
