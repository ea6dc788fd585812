"""The page: where each view stands, the tabs, and the colors of the light and dark theme."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import param
from bokeh.document import Document
from panel.custom import Child, Children
from panel.io import state
from panel.layout import Panel
from panel.viewable import Viewable

from laion_dask.explorer.jobs import VIEWS
from laion_dask.explorer.views.component import MessageComponent, as_json, module, styles


class _Tab(Protocol):
    @property
    def panel(self) -> Viewable: ...


class PageComponent(MessageComponent):
    """The places of all views, on one page or in the output of one cell.

    A page is empty until the browser says that it shows it: in a notebook, whatever is sent before
    gets lost, and models that were sent so are unknown to the browser for ever.

    Parameters
    ----------
    is_page : bool
        Whether the explorer is the whole page, as in `laion-dask explore`, or a cell's output.

    Attributes
    ----------
    titles : str
        JSON of the titles of the tabs, whose views are ``panels``.
    active : int
        The tab that is shown.
    dark : bool
        Whether the browser shows dark colors; JupyterLab's theme, or the browser's preference.
    is_over : bool
        Whether no views will come: there is no sample, or the explorer was closed.
    """

    head = Child()
    ask = Child()
    chips = Child()
    map = Child()
    histograms = Child()
    bars = Child()
    panels = Children()
    titles = param.String("[]")
    active = param.Integer(0)
    dark = param.Boolean(False)
    is_page = param.Boolean(False)
    is_over = param.Boolean(False)

    _set_by_browser = frozenset({"active", "dark"})
    _esm = module("page")
    _render_policy = "manual"  # the module puts new children in their places itself
    _stylesheets = styles("page")

    def __init__(self, is_page: bool = False, **params: Any) -> None:
        super().__init__(self._receive, is_page=is_page, **params)
        self._ready: Callable[[], object] = lambda: None

    def _on_msg(self, ref: str, manager: Any, msg: Any) -> None:
        """Act on any message of a notebook's page, which may come in any thread."""
        with VIEWS:
            super()._on_msg(ref, manager, msg)

    def _receive(self, message: dict[str, Any]) -> None:
        if message.get("kind") == "ready" and self.head is None:
            self._ready()

    def on_ready(self, callback: Callable[[], object]) -> None:
        """Call a function when a browser shows the page, which is empty."""
        self._ready = callback

    def on_dark(self, callback: Callable[[bool], object]) -> None:
        """Call a function when the colors of the page have changed, with whether they are dark."""
        self.param.watch(lambda event: callback(event.new), "dark")

    def on_active(self, callback: Callable[[int], object]) -> None:
        """Call a function when another tab is shown, with its number."""
        self.param.watch(lambda event: callback(event.new), "active")

    def put(
        self, places: Mapping[str, Viewable], tabs: Sequence[_Tab], titles: Sequence[str]
    ) -> None:
        """Put views in their places, and in tabs with titles."""
        self.titles = as_json(list(titles))
        with _preprocessed():
            self.param.update(panels=[tab.panel for tab in tabs], **places)

    def clear(self) -> None:
        """Remove the views, and release what they hold."""
        empty = dict.fromkeys(("ask", "chips", "map", "histograms", "bars"))
        self.param.update(panels=[], titles="[]", **empty)

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
