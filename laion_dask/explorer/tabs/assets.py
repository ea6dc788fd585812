"""The scripts and styles of the tabs' components, with what all components share."""

from __future__ import annotations

import os
from pathlib import Path

from laion_dask.explorer.views.component import source
from laion_dask.formatting import printable

_FOLDER = Path(__file__).parent


def module(*names: str) -> str:
    """A component's module; nothing in it is imported from elsewhere."""
    return "\n".join([source("common.js"), *(_read(f"{name}.js") for name in names)])


def styles() -> list[str]:
    """The style sheets of every tab."""
    return [source("common.css"), _read("tabs.css")]


def current_folder() -> str:
    """The folder that relative paths refer to, as text for the page; empty if it was removed."""
    try:
        return printable(os.getcwd())
    except OSError:
        return ""


def _read(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")
