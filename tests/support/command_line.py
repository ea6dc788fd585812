"""Run the command ``laion-dask`` in this process."""

from __future__ import annotations

import sys

import pytest

from laion_dask import cli


def run(monkeypatch, capsys, *words: object) -> tuple[int, str, str]:
    """Run ``laion-dask words``; return the exit code, stdout and stderr."""
    monkeypatch.setattr(sys, "argv", ["laion-dask", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    printed = capsys.readouterr()
    return ended.value.code or 0, printed.out, printed.err
