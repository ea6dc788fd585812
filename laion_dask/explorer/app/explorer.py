"""The explorer as an object: it draws the sample, then shows the views and keeps them in step."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Protocol, cast

import dask.dataframe as dd
from panel.io import hold
from panel.viewable import Viewable, Viewer

from laion_dask.display.overview import Overview
from laion_dask.errors import OptionError
from laion_dask.explorer.app.map_job import make_map
from laion_dask.explorer.as_code import as_python, as_recipe, selected_frame
from laion_dask.explorer.exploration import Exploration
from laion_dask.explorer.extension import load_in_page
from laion_dask.explorer.filters import Condition
from laion_dask.explorer.jobs import VIEWS, Jobs
from laion_dask.explorer.sample import Sample
from laion_dask.explorer.selection import Selection
from laion_dask.explorer.tabs.bias import BiasView
from laion_dask.explorer.tabs.compare import CompareView
from laion_dask.explorer.tabs.export_tab import ExportView
from laion_dask.explorer.tabs.tags import TagsView
from laion_dask.explorer.views.ask import AskView, make_ask
from laion_dask.explorer.views.bars import BarsView
from laion_dask.explorer.views.chips import ChipsView, key_of
from laion_dask.explorer.views.component import MessageComponent
from laion_dask.explorer.views.gallery import GalleryView
from laion_dask.explorer.views.head import HeadView
from laion_dask.explorer.views.histograms import HistogramsView
from laion_dask.explorer.views.page import PageComponent
from laion_dask.explorer.views.table import TableView
from laion_dask.io.embeddings.embeddings import Embeddings
from laion_dask.io.images.images import Images


class View(Protocol):
    """A view: one part of the page. It may also have ``set_dark(bool)`` and ``close()``."""

    @property
    def panel(self) -> Viewable: ...

    def refresh(self) -> None:
        """Draw the selection as it is now."""


#: Functions that write the selection as code, by kind.
CODE: dict[str, Callable[[Exploration], str]] = {"python": as_python, "recipe": as_recipe}
#: Makes a view of an exploration, which runs long work as jobs; None if there is nothing to show.
MakeView = Callable[[Exploration, Jobs], View | None]

#: The tabs on the right, in order.
TABS: dict[str, MakeView] = {
    "Gallery": lambda exploration, jobs: GalleryView(exploration),
    "Table": lambda exploration, jobs: TableView(exploration),
    "Tags": lambda exploration, jobs: TagsView(exploration),
    "Bias": BiasView,
    "Compare": CompareView,
    "Export": ExportView,
}
#: The other views, by their place on the page.
PLACES: dict[str, MakeView] = {
    "chips": lambda exploration, jobs: ChipsView(exploration),
    "map": make_map,
    "histograms": lambda exploration, jobs: HistogramsView(exploration),
    "bars": lambda exploration, jobs: BarsView(exploration),
    "ask": make_ask,
}


class Explorer(Viewer):
    """Linked views over a sample of a frame's rows, whose selection is a filter of all rows.

    `explore` returns it; a notebook displays it. Its sample is drawn in the background: `wait`
    waits for it, as do the properties that need it.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> explorer = frame.laion.explore(sample=500).wait()
    >>> explorer.selection.n
    500
    >>> explorer.close()
    """

    def __init__(
        self,
        draw: Callable[[], Sample],
        embeddings: Embeddings | None = None,
        images: Images | None = None,
        *,
        is_page: bool = False,
    ) -> None:
        super().__init__()
        self._jobs = Jobs()
        self._exploration: Exploration | None = None
        self._views: list[View] = []
        self._tabs: dict[str, View] = {}
        self._stale: set[int] = set()
        self._places: dict[str, Viewable] = {}
        self._pages: list[PageComponent] = []
        self._is_page, self._is_dark = is_page, False
        self._head = HeadView(self._jobs, CODE)
        self._inputs = embeddings, images
        with VIEWS:  # the job may report before `_drawing` is assigned
            self._drawing = self._jobs.start(
                "drawing the sample", lambda job: draw(), then=self._show, failed=self._head.fail
            )
            self._jobs.subscribe(self._mark_over)

    # -- from code -------------------------------------------------------------------------------

    def wait(self, timeout: float | None = None) -> Explorer:
        """Wait until the sample is drawn and the views are there; return the explorer.

        Parameters
        ----------
        timeout : float, optional
            Seconds; by default as long as it takes.

        Raises
        ------
        LaionDaskError
            When the sample could not be drawn, was canceled, or takes longer.
        """
        self._drawing.wait(timeout)
        if self._exploration is None:
            raise OptionError(
                f"The explorer has no sample: {self._drawing.label} is {self._drawing.state}. "
                "Call wait() again, or explore() if it was canceled or closed."
            )
        return self

    @property
    def exploration(self) -> Exploration:
        """What the views share: sample, selection, embeddings, points. Waits for the sample."""
        exploration = self.wait()._exploration
        assert exploration is not None
        return exploration

    @property
    def selection(self) -> Selection:
        """The selected rows, and the filters that select them. Waits for the sample."""
        return self.exploration.selection

    def select(self, where: str) -> Explorer:
        """Add a condition to the filters, as typed into the page; return the explorer.

        Raises
        ------
        PredicateError, ColumnError
            When the expression does not fit the frame.
        """
        self.selection.set(key_of(where), Condition(where))
        return self

    @property
    def selected(self) -> dd.DataFrame:
        """The selected rows of the whole frame, not only of the sample. Lazy."""
        return selected_frame(self.exploration)

    @property
    def python(self) -> str:
        """Python code that returns the selected rows of the whole frame."""
        return CODE["python"](self.exploration)

    @property
    def recipe(self) -> str:
        """A recipe, as YAML, that keeps the selected rows of the whole frame."""
        return CODE["recipe"](self.exploration)

    def close(self) -> None:
        """Cancel all jobs, release the memory and empty the views."""
        with VIEWS:
            self._close()

    def abandon(self) -> None:
        """Close after the browser's session has ended; draws nothing, since the models are gone."""
        with VIEWS:
            self._pages = []
            self._release()

    def _close(self) -> None:
        self._release()
        self._head.refresh()
        for page in self._pages:
            page.clear()
        self._mark_over()

    def _release(self) -> None:
        self._jobs.close()
        for view in (*self._views, *self._tabs.values()):
            getattr(view, "close", lambda: None)()
        self._views, self._tabs, self._places, self._exploration = [], {}, {}, None
        self._head.close()

    def __panel__(self) -> PageComponent:
        page = PageComponent(self._is_page, sizing_mode="stretch_width")
        page.on_ready(lambda: self.show_on(page))
        page.on_active(lambda at: self._held(lambda: self._open_tab(page)))
        page.on_dark(lambda dark: self._held(lambda: self._set_dark(dark)))
        return page

    def __repr__(self) -> str:
        exploration = self._exploration
        if exploration is None:
            return f"Explorer({self._drawing.label}: {self._drawing.state})"
        sample = exploration.sample
        return f"Explorer({exploration.selection.n:,} selected of {sample.n:,} sampled rows)"

    __str__ = __repr__

    def _repr_mimebundle_(self, include=None, exclude=None):
        """The page; its scripts come with it, since the notebook may have been reloaded."""
        load_in_page()
        return super()._repr_mimebundle_(include, exclude)

    def _repr_html_(self) -> str:
        """What is shown where the page cannot be, such as in a saved notebook."""
        return Overview(str(self), notes=["Run the cell to see the page."]).html()

    # -- the page --------------------------------------------------------------------------------

    def _show(self, sample: Sample) -> None:
        """Make the views, once: a change of the selection makes no new ones."""
        exploration = Exploration(sample, *self._inputs, is_command=self._is_page)
        places = {name: make(exploration, self._jobs) for name, make in PLACES.items()}
        tabs = {title: make(exploration, self._jobs) for title, make in TABS.items()}
        views = {name: view for name, view in places.items() if view is not None}
        self._views = list(views.values())
        self._tabs = {title: view for title, view in tabs.items() if view is not None}
        ask = views.get("ask")
        for view in (*self._views, *self._tabs.values()):
            if isinstance(ask, AskView):  # a row of the gallery may be asked for
                getattr(view, "set_on_more", lambda call: None)(ask.ask_row)
            for component in view.panel.select(MessageComponent):
                cast(MessageComponent, component).on_error = self._head.fail
        self._exploration = exploration
        self._places = {name: view.panel for name, view in views.items()}
        self._set_dark(self._is_dark)
        exploration.selection.subscribe(lambda _: self._held(self._refresh))
        self._head.show(exploration)
        for page in self._pages:
            self.show_on(page)

    def _mark_over(self) -> None:
        """Have pages that no views will come to take no more room than the head."""
        is_over = self._exploration is None and self._drawing.has_ended
        for page in self._pages:
            page.is_over = is_over

    def show_on(self, page: PageComponent) -> None:
        """Put the views on a page, once a browser shows it; anything sent earlier would be lost."""
        self._pages = [one for one in self._pages if one.is_shown and one is not page] + [page]
        with self._hold():
            page.put({"head": self._head.panel} | self._places, self._tabs)
            self._stale = set(range(len(self._tabs)))
            self._refresh_tabs()
        self._mark_over()

    def _open_tab(self, page: PageComponent) -> None:
        page.show_tab()
        self._refresh_tabs()

    def _refresh(self) -> None:
        self._stale = set(range(len(self._tabs)))
        self._head.refresh()
        for view in self._views:
            view.refresh()
        self._refresh_tabs()

    def _refresh_tabs(self) -> None:
        """Refresh the visible tabs whose selection is out of date."""
        for at in self._stale & {page.active for page in self._pages}:
            self._stale.discard(at)
            [*self._tabs.values()][at].refresh()

    def _held(self, draw: Callable[[], None]) -> None:
        """Draw, and send all changes to the browser together; show an error in the head."""
        with VIEWS, self._hold():
            try:
                draw()
            except Exception as error:
                self._head.fail(error)

    def _hold(self) -> ExitStack:
        stack = ExitStack()
        for page in self._pages:
            for document, comm in page.documents():
                stack.enter_context(hold(document, "combine", comm))
        return stack

    def _set_dark(self, dark: bool) -> None:
        self._is_dark = dark
        for view in (*self._views, *self._tabs.values()):
            getattr(view, "set_dark", lambda dark: None)(dark)
