"""The page: where each view stands, the tabs, and the colors of the light and dark theme."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import param
from bokeh.document import Document
from panel.custom import Children
from panel.io import state
from panel.layout import Panel
from panel.viewable import Viewable

from laion_dask.explorer.views.component import as_json, source, styles
from laion_dask.explorer.views.drawn_page import DrawnPage


class _Tab(Protocol):
    @property
    def panel(self) -> Viewable: ...


class PageComponent(DrawnPage):
    """The places of all views, on one page or in the output of one cell.

    Parameters
    ----------
    is_page : bool
        Whether the explorer is the whole page, as in `laion-dask explore`, or a cell's output.

    Attributes
    ----------
    views : list of Viewable
        Everything on the page. One list, because the browser repeats the layout of the whole page
        after a change of any property with views.
    layout : str
        JSON of the place of each view, by its number in the list: ``{"places": {"map": 0},
        "tabs": [{"title": "Gallery", "view": 1}]}``. The view of a tab that was never shown is
        null: it comes when the tab is shown.
    active : int
        The tab that is shown.
    dark : bool
        Whether the browser shows dark colors; JupyterLab's theme, or the browser's preference.
    is_over : bool
        Whether no views will come: there is no sample, or the explorer was closed.
    """

    views = Children()
    layout = param.String("null")
    active = param.Integer(0)
    dark = param.Boolean(False)
    is_page = param.Boolean(False)
    is_over = param.Boolean(False)

    _set_by_browser = frozenset({"active", "dark"})
    _esm = source("common.js", "page_connection.js", "page.js")
    _render_policy = "manual"  # the module puts new children in their places itself
    _stylesheets = styles("page")

    def __init__(self, is_page: bool = False, **params: Any) -> None:
        super().__init__(is_page=is_page, **params)
        self._places: Mapping[str, Viewable] = {}
        self._tabs: Mapping[str, _Tab] = {}
        self._opened: set[int] = set()  # tabs that were shown

    def _forget(self) -> None:
        self.param.update(views=[], layout="null", active=0, is_over=False)

    def on_dark(self, callback: Callable[[bool], object]) -> None:
        """Call a function when the colors of the page have changed, with whether they are dark."""
        self.param.watch(lambda event: callback(event.new), "dark")

    def on_active(self, callback: Callable[[int], object]) -> None:
        """Call a function when another tab is shown, with its number."""
        self.param.watch(lambda event: callback(event.new), "active")

    def put(self, places: Mapping[str, Viewable], tabs: Mapping[str, _Tab]) -> None:
        """Show views in places by their names, and in tabs by their titles."""
        self._places, self._tabs, self._opened = places, tabs, set()
        self.show_tab()

    def show_tab(self) -> None:
        """Show the view of the active tab, which it has from then on."""
        self._opened.add(self.active)
        views = list(self._places.values())
        tabs = []
        for at, (title, tab) in enumerate(self._tabs.items()):
            tabs.append({"title": title, "view": len(views) if at in self._opened else None})
            views += [tab.panel] if at in self._opened else []
        layout = {"places": {name: at for at, name in enumerate(self._places)}, "tabs": tabs}
        if views != self.views or as_json(layout) != self.layout:
            with _preprocessed():
                self.param.update(views=views, layout=as_json(layout))

    def clear(self) -> None:
        """Remove the views but the head, and release what they hold."""
        self.put({name: view for name, view in self._places.items() if name == "head"}, {})

    def documents(self) -> Iterator[tuple[Document, Any]]:
        """The documents that show the page, and how a notebook is reached."""
        for ref in list(self._models):
            _, _, document, comm = state._views.get(ref, (None, None, None, None))
            if document is not None:
                yield document, comm

    @property
    def is_shown(self) -> bool:
        """Whether a browser shows the page still."""
        return bool(self._models)


@contextmanager
def _preprocessed() -> Iterator[None]:
    """Have new children preprocessed before they are sent: a notebook gets their styles embedded.

    Panel 1.9 preprocesses the children of such a component only within an update of a layout, and
    styles would have the address of a CDN otherwise.
    """
    before = Panel._batch_update
    Panel._batch_update = True
    try:
        yield
    finally:
        Panel._batch_update = before
