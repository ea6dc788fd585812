"""The scripts and styles of the tabs' components, with what all components share."""

from __future__ import annotations

from pathlib import Path

from laion_dask.explorer.views.component import source

_FOLDER = Path(__file__).parent


def module(*names: str) -> str:
    """A component's module; nothing in it is imported from elsewhere."""
    return "\n".join([source("common.js"), *(_read(f"{name}.js") for name in names)])


def styles() -> list[str]:
    """The style sheets of every tab."""
    return [source("common.css"), _read("tabs.css")]


def _read(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")
