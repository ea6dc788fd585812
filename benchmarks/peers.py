"""Report missing peers of a benchmark before its first run."""

from __future__ import annotations

import importlib.util
import sys

INSTALL = "pip install --constraint constraints.txt --editable '.[bench]'"


def missing(*modules: str) -> list[str]:
    """The modules that cannot be imported."""
    return [name for name in modules if importlib.util.find_spec(name) is None]


def require(*modules: str) -> None:
    """Exit if a required peer is not installed."""
    if not_installed := missing(*modules):
        names = " and ".join(not_installed)
        raise SystemExit(f"Required but not installed: {names}. Install with: {INSTALL}")


def report_skipped(*modules: str) -> None:
    """Print which optional peers are skipped because they are not installed."""
    for name in missing(*modules):
        print(f"Skipping {name}: not installed. Install with: {INSTALL}", file=sys.stderr)
