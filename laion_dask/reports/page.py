"""Writes a page: one self-contained file, created atomically."""

from __future__ import annotations

import os
from importlib.metadata import version
from pathlib import Path

from laion_dask.errors import ExportError, must_be
from laion_dask.io.storage.atomic_file import committed
from laion_dask.reports.environment import render


def check_place(path: str | os.PathLike) -> None:
    """Raise, before any data is read, if a page cannot be written to this path.

    Raises
    ------
    ExportError
    """
    must_be("path", path, (str, os.PathLike), "the path of the page, such as 'datasheet.html'")
    path = Path(path)
    if path.is_dir():
        raise ExportError(f"{path} is a folder. Name a file, such as {path / 'report.html'}.")
    if not path.parent.is_dir():
        raise ExportError(f"There is no folder {path.parent} for {path.name}. Create it first.")
    if not os.access(path.parent, os.W_OK):
        raise ExportError(f"The folder {path.parent} is not writable. Choose another.")


def write_page(path: str | os.PathLike, template: str, *, title: str, **context) -> Path:
    """Write a page atomically. Eager.

    Parameters
    ----------
    path : str or path
        Path of the page, such as ``"report.html"``.
    template : str
        A template that extends ``page.html.j2``.
    title : str
    **context
        Variables of the template.

    Raises
    ------
    ExportError
        When the page cannot be written.
    """
    path = Path(path)
    markup = render(template, title=title, version=version("laion_dask"), **context)
    with committed(path) as file:
        # Escape lone surrogates, which occur in file names that are not UTF-8.
        file.write(markup.encode("utf-8", errors="backslashreplace"))
    return path
