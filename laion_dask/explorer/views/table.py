"""The table: the selected rows as text, a page at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from bokeh.models import ColumnDataSource
from panel.layout import Column
from panel.widgets import Tabulator

from laion_dask.explorer.captions import caption_column
from laion_dask.explorer.exploration import Exploration
from laion_dask.explorer.hidden_rows import HiddenRows
from laion_dask.explorer.jobs import Jobs
from laion_dask.explorer.sample import Sample
from laion_dask.explorer.views.cell_text import MISSING, cell_text
from laion_dask.explorer.views.component import MessageComponent, source
from laion_dask.explorer.views.row_pages import RowPages

SIZES = (50, 100, 250, 500, 1000)
#: Columns shown by default after the caption, if the frame has them.
_FIRST = (
    *("similarity", "punsafe", "language", "width", "height", "pwatermark", "aesthetic"),
    "url",
)
#: Widths in pixels of the caption and of text columns (default 140); the types of number columns.
_CAPTION, _WIDTHS = 270, {"url": 260, "language": 84}
_NUMBERS = ("integer", "float32", "float64")
#: Maximum characters of text per page, which keeps messages below 0.3 MB, and per cell.
_PAGE_TEXT, _CELL = 200_000, 300


class TableBar(MessageComponent):
    _esm = source("common.js", "empty_page.js", "page_bar.js", "table.js")
    _stylesheets = [source("common.css", "page_bar.css")]  # noqa: RUF012


class TableRows(Tabulator):
    """A Tabulator whose rows are sent after it is shown, and are never part of a notebook."""

    def _get_properties(self, doc):
        properties = super()._get_properties(doc)
        empty = {name: values[:0] for name, values in properties["source"].data.items()}
        properties["source"] = ColumnDataSource(data=empty)
        return properties


class TableView:
    """The selected rows in a table: read-only, ordered and paged over the whole selection.

    Rows that are not known to be safe are hidden, with their number in sight, until a person asks
    for them. Values and names of columns are text, never HTML.

    Parameters
    ----------
    exploration : Exploration
    safety : str
        The column with the probability that an image is unsafe.

    Attributes
    ----------
    panel : panel.layout.Column
    """

    def __init__(
        self,
        exploration: Exploration,
        *,
        safety: str = "punsafe",
    ) -> None:
        self._exploration = exploration
        self._sample = exploration.sample
        self._ticked = exploration.ticked
        self._pages = RowPages(exploration.selection, SIZES[0], safety)
        self._hidden_rows = HiddenRows(exploration, safety)
        self._jobs = Jobs()
        names = exploration.sample.names
        self._chosen = frozenset(_first_columns(exploration.sample) or names[:8])
        self._is_ready = self._is_filling = False
        self._positions = np.empty(0, np.int64)
        self._bar = TableBar(self._receive, sizing_mode="stretch_width")
        self._rows = _table(exploration.sample, self._hidden())
        self._rows.param.watch(self._on_ticks, "selection")
        self._ticked.subscribe(self._show_ticks)
        self.panel = Column(self._bar, self._rows, sizing_mode="stretch_both")

    # -- what the app calls ------------------------------------------------------------------------
    def refresh(self) -> None:
        """Show the first page of the selection as it is now."""
        self._pages.refresh()
        self._show()

    def close(self) -> None:
        """End the work in the background."""
        self._jobs.close()

    # -- what the browser sends --------------------------------------------------------------------
    def _receive(self, message: Mapping[str, Any]) -> None:
        """Act on a message; malformed messages are ignored."""
        kind = message.get("kind")
        if kind == "ready":
            self._is_ready = True
            self._positions = np.empty(0, np.int64)
            self._show()
        elif kind == "size" and message.get("size") in SIZES:
            self._pages.size = int(message["size"])
            self._pages.turn(1)
            self._show()
        elif kind == "columns":
            self._choose(message.get("columns"))
        elif self._pages.receive(message):
            self._show()

    def _choose(self, numbers: Any) -> None:
        names = self._sample.names
        if isinstance(numbers, list) and all(
            type(number) is int and 0 <= number < len(names) for number in numbers
        ):
            self._chosen = frozenset(names[number] for number in numbers)
            self._show()
            self._rows.hidden_columns = self._hidden()

    def _hidden(self) -> list[str]:
        return [field for field, name in _fields(self._sample) if name not in self._chosen]

    # -- rows --------------------------------------------------------------------------------------
    def _show(self) -> None:
        """Send the page; nothing before a browser shows the view."""
        self._jobs.cancel()
        if not self._is_ready:
            return
        sample = self._sample
        if (order := self._pages.order_to_compute()) is not None:
            self._bar.tell(self._bar_state())
            self._jobs.start("order", lambda job: sample.order(*order), then=lambda _: self._show())
            return
        self._positions = self._pages.positions()
        chosen = [name for name in self._sample.names if name in self._chosen]
        page = self._sample.page(self._positions, chosen)
        self._is_filling = True
        try:
            self._rows.selection = []
            self._rows.value = _as_text(page, _fields(self._sample))
        finally:
            self._is_filling = False
        self._show_ticks()
        self._rows.visible = self._empty() is None
        self._bar.tell(self._bar_state())

    def _bar_state(self) -> dict[str, Any]:
        names = self._sample.names
        return self._pages.bar("shown") | {
            "empty": self._empty(),
            "sizes": list(SIZES),
            "columns": [cell_text(name, 60) for name in names],
            "chosen": [n for n, name in enumerate(names) if name in self._chosen],
        }

    def _empty(self) -> dict[str, Any] | None:
        return self._hidden_rows.state(self._pages.n, self._pages.n_hidden)

    def _show_ticks(self) -> None:
        if not self._is_ready or self._is_filling:
            return
        wanted = [n for n, at in enumerate(self._positions.tolist()) if at in self._ticked]
        if sorted(self._rows.selection) != wanted:
            self._is_filling = True
            try:
                self._rows.selection = wanted
            finally:
                self._is_filling = False

    def _on_ticks(self, event: Any) -> None:
        """Store the ticks of this page; ticks on other pages stay."""
        if self._is_filling:
            return
        positions = self._positions.tolist()
        ticked = {positions[n] for n in event.new if 0 <= n < len(positions)}
        self._is_filling = True
        try:
            self._ticked.change(add=ticked, remove=set(positions) - ticked)
        finally:
            self._is_filling = False


def _first_columns(sample: Sample) -> list[str]:
    """The columns shown by default, in the order of the table."""
    return [name for name in (caption_column(sample), *_FIRST) if name in sample.names]


def _fields(sample: Sample) -> list[tuple[str, str]]:
    """Tabulator's field and the name of each column, in the order of the table.

    The fields differ from the names because Tabulator treats some names specially, such as those
    with a dot.
    """
    first = _first_columns(sample)
    names = [*first, *(name for name in sample.names if name not in first)]
    return [(f"c{sample.names.index(name)}", name) for name in names]


def _as_text(page: pd.DataFrame, fields: list[tuple[str, str]]) -> pd.DataFrame:
    """The values as text; columns that are not chosen are empty."""
    n_texts = sum(not pd.api.types.is_numeric_dtype(dtype) for dtype in page.dtypes)
    limit = min(_CELL, max(20, _PAGE_TEXT // max(1, n_texts * len(page))))
    cells = {}
    for field, name in fields:
        if name not in page.columns:
            cells[field] = [""] * len(page)
            continue
        values, missing = page[name].tolist(), page[name].isna().tolist()
        cells[field] = [
            MISSING if none else cell_text(value, limit)
            for value, none in zip(values, missing, strict=True)
        ]
    return pd.DataFrame(cells, index=page.index, dtype=object)


def _table(sample: Sample, hidden: list[str]) -> TableRows:
    """An empty table with all columns, as plain text; numbers are right-aligned."""
    fields = _fields(sample)
    wide = _WIDTHS | {caption_column(sample): _CAPTION}
    is_number = {f: sample.types.get(name) in _NUMBERS for f, name in fields}
    return TableRows(
        pd.DataFrame({field: pd.Series(dtype=object) for field, _ in fields}),
        hidden_columns=hidden,
        titles={field: cell_text(name, 60) for field, name in fields},
        formatters={field: {"type": "plaintext"} for field, _ in fields},
        title_formatters={field: {"type": "plaintext"} for field, _ in fields},
        text_align={f: "right" if number else "left" for f, number in is_number.items()},
        widths={f: 96 if is_number[f] else wide.get(name, 140) for f, name in fields},
        show_index=False,
        disabled=True,
        pagination=None,
        sortable=False,
        selectable="checkbox",
        theme="simple",
        sizing_mode="stretch_both",
        margin=0,
        min_height=100,
        stylesheets=[source("table.css")],
    )
