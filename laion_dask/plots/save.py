"""Write plots to files: SVG, PNG, or an interactive page. No browser and no network is needed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from laion_dask.errors import OptionError, one_of
from laion_dask.io.storage.atomic_file import committed
from laion_dask.plots.described import description_of
from laion_dask.plots.document import svg_document
from laion_dask.plots.raster import png

_SUFFIXES = (".svg", ".png", ".html")


def save_plot(plot: Any, path: str | os.PathLike[str]) -> None:
    """Write a plot to a file. Eager.

    Parameters
    ----------
    plot : HoloViews object
        From a function of this package, such as `histogram`, `score_plot` or ``table.plot()``; also
        several of them, composed with ``+``. Options that were set in HoloViews apply to pages
        only.
    path : str or path
        Ends in ``.svg``; in ``.png``, an image on white at twice the size of the plot, whose fonts
        may lack characters outside of Latin, Greek and Cyrillic; or in ``.html``, an interactive
        page that loads nothing. It is replaced atomically.

    Raises
    ------
    OptionError
        When the path ends in something else, or the plot is not of this package.
    MissingExtraError
        When HoloViews is not installed.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> plot = ld.histogram(frame["similarity"].compute(), threshold=0.3, label="similarity")
    >>> ld.save_plot(plot, "similarity.svg")
    """
    suffix = Path(path).suffix.lower()
    if suffix not in _SUFFIXES:
        raise one_of("the end of path", suffix, _SUFFIXES)
    with committed(Path(path)) as file:
        file.write(_content(plot, suffix))


def _content(plot: Any, suffix: str) -> bytes:
    if suffix == ".html":
        from laion_dask.plots.offline_page import show

        return show(plot).html.encode()
    description = description_of(plot)
    if description is None:
        raise OptionError(
            f"plot is a {type(plot).__name__} that was not drawn by this package, or was changed "
            "since. Expected what ld.histogram, ld.score_plot or a table's plot() returns, or "
            "several of these joined with +. An .html page can have any plot of HoloViews."
        )
    document = svg_document(description)
    return png(document) if suffix == ".png" else document.encode()
