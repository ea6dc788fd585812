"""The page: where each view stands, the tabs, and the colors of the light and dark theme."""

from __future__ import annotations

from collections.abc import Callable

import param
from panel.custom import Child, Children, JSComponent

from laion_dask.explorer.views.component import as_json, module, styles


class PageComponent(JSComponent):
    """The places of all views. Views are set once, when the sample is there.

    Parameters
    ----------
    titles : str
        JSON of the titles of the tabs, whose views are ``panels``.
    active : int
        The tab that is shown.
    dark : bool
        Whether the browser shows dark colors; JupyterLab's theme, or the browser's preference.
    is_page : bool
        Whether the explorer is the whole page, as in `laion-dask explore`, or a cell's output.
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

    _esm = module("page")
    _stylesheets = styles("page")

    def set_titles(self, titles: list[str]) -> None:
        self.titles = as_json(titles)

    def on_dark(self, callback: Callable[[bool], object]) -> None:
        """Call a function when the colors of the page have changed, with whether they are dark."""
        self.param.watch(lambda event: callback(event.new), "dark")

    def on_active(self, callback: Callable[[int], object]) -> None:
        """Call a function when another tab is shown, with its number."""
        self.param.watch(lambda event: callback(event.new), "active")
