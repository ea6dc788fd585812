"""The map: all rows with an embedding in two dimensions, drawn by the server as one picture."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from laion_dask.explorer.embedding_filters import Region
from laion_dask.explorer.exploration import Exploration
from laion_dask.explorer.selection import FilterKey, Selection
from laion_dask.explorer.views import map_coloring as coloring
from laion_dask.explorer.views.map_extent import axis_labels, extent_of
from laion_dask.explorer.views.map_hover import card, row_at
from laion_dask.explorer.views.map_pane import MapPane, map_figure
from laion_dask.explorer.views.map_picture import Picture, View, draw
from laion_dask.explorer.views.map_region import polygon_of
from laion_dask.formatting import counted

#: The key of the map's filter in the selection.
KEY = FilterKey("map")
#: Maximum number of pixels of a picture; a larger map is scaled up.
_MOST_PIXELS = 360_000
_LARGEST_SIDE = 20_000
#: Up to this many selected rows are seen one by one.
_FEW = 50
_COMPUTING = "The map is being computed."

Labels = Callable[[float, float, float, float], Iterable[tuple[float, float, str]]]


class MapView:
    """A picture of the rows in two dimensions, with pan, zoom, box and lasso.

    A box or lasso replaces the one before; Escape removes it. Hovering shows a row; if the row is
    unsafe or has no score, its caption is hidden, and a click shows it for this row only.

    Parameters
    ----------
    exploration : Exploration
        With `points`, or without: then the view says that they are being computed.
    labels : callable, optional
        Takes x0, x1, y0, y1 of a view and returns its labels, each as (x, y, text).

    Attributes
    ----------
    panel : MapPane
    """

    def __init__(self, exploration: Exploration, labels: Labels | None = None) -> None:
        self._exploration = exploration
        self._labels = labels
        self._on_method: Callable[[str], object] | None = None
        self._on_rest: Callable[[], object] | None = None
        self._view: View | None = None
        self._color: coloring.MeanColor | coloring.ClassColor | None = None
        self._placed: np.ndarray | None = None
        self._order = self._sequence = self._version = self._n_nowhere = 0
        self._pane = MapPane(
            self._receive,
            figure=map_figure(),
            color_options=coloring.options(exploration.sample),
            message=_COMPUTING,
            sizing_mode="stretch_both",
            min_height=200,
        )
        self.panel = self._pane
        self.refresh()

    # -- what the app calls ------------------------------------------------------------------------
    def refresh(self) -> None:
        """Draw the selection as it is now."""
        if self._exploration.points is None:
            return
        if self._placed is not self._exploration.points:
            self._place(self._exploration.points)
        self._pane.outline = self._outline()
        self._draw()

    def set_dark(self, dark: bool) -> None:
        """Draw for a dark or a light page."""
        self._pane.dark = dark
        self._draw()

    def offer(self, methods: Sequence[tuple[str, str]], call: Callable[[str], object]) -> None:
        """Offer projections, as (name, label); `call` gets the name that the user chooses."""
        self._on_method = call
        self._pane.projection_options = [list(each) for each in methods]

    def fail(self, error: str) -> None:
        """Say in one line of text why there is no map."""
        self._pane.message = f"There is no map: {error}"

    @property
    def labels(self) -> Labels | None:
        """The labels of a view's regions; set them when they have been computed."""
        return self._labels

    @labels.setter
    def labels(self, labels: Labels | None) -> None:
        self._labels = labels
        if labels is None:
            self._pane.labels = {"x": [], "y": [], "text": []}
        self._draw_labels()

    def when_at_rest(self, call: Callable[[], object]) -> None:
        """Call a function once, when a browser shows the points and asks for no more pictures.

        Long work started then does not delay a picture.
        """
        self._on_rest = call

    def _place(self, points: np.ndarray) -> None:
        """Show points for the first time."""
        self._placed = points
        self._n_nowhere = int(np.isnan(points[:, 0]).sum())
        axes = axis_labels(self._exploration.projection)
        self._version += 1
        extent = {**extent_of(points), "axes": axes, "version": self._version}
        self._pane.param.update(message="", axes=axes, extent=extent)

    @property
    def _selection(self) -> Selection:
        return self._exploration.selection

    def _outline(self) -> list[list[float]]:
        for each in self._selection.filters:
            if isinstance(each, Region) and each.projection == self._exploration.projection:
                corners = np.array(each.polygon)
                return [corners[:, 0].tolist(), corners[:, 1].tolist()]
        return [[], []]

    # -- what the browser sends --------------------------------------------------------------------
    def _receive(self, message: Any) -> None:
        """Act on a message; malformed messages are ignored."""
        actions = {
            "view": self._on_view,
            "region": self._on_region,
            "hover": self._on_hover,
            "color": self._on_color,
            "clear": self._on_clear,
            "projection": self._on_projection,
            "labels": self._on_labels,
        }
        if isinstance(message, Mapping) and str(message.get("kind")) in actions:
            actions[str(message["kind"])](message)

    def _on_view(self, message: Mapping[str, Any]) -> None:
        at = _numbers(message.get("view"), 4)
        size = _numbers([message.get("width"), message.get("height")], 2)
        if at is None or size is None or not (at[0] < at[1] and at[2] < at[3]):
            return
        if not 1 <= min(size) <= max(size) <= _LARGEST_SIDE:
            return
        scale = min(1.0, math.sqrt(_MOST_PIXELS / max(1.0, size[0] * size[1])))
        width, height = (max(1, round(scale * each)) for each in size)
        self._view = View(at[0], at[1], at[2], at[3], width, height)
        self._sequence = _integer(message.get("sequence"))
        if self._placed is not None and message.get("version", self._version) != self._version:
            self._place(self._placed)  # a page that is being loaded may miss what it was sent
        self._draw()

    def _on_region(self, message: Mapping[str, Any]) -> None:
        pixel = _pixel(message)
        x, y = message.get("x"), message.get("y")
        n = len(x) if isinstance(x, Sequence) else 0
        xs, ys = _numbers(x, n), _numbers(y, n)
        if self._placed is None or pixel is None or xs is None or ys is None:
            return
        if (polygon := polygon_of(xs, ys, pixel)) is not None:
            corners = tuple((x, y) for x, y in polygon.tolist())
            region = Region(corners, self._exploration.projection, self._placed)
            self._selection.set(KEY, region)

    def _on_clear(self, _: Mapping[str, Any]) -> None:
        if any(isinstance(each, Region) for each in self._selection.filters):
            self._selection.set(KEY, None)

    def _on_color(self, message: Mapping[str, Any]) -> None:
        key = str(message.get("value"))
        if any(key == one for one, _ in self._pane.color_options):
            self._color = coloring.color_of(self._exploration.sample, key)
            self._pane.color = key
            self._draw()

    def _on_projection(self, message: Mapping[str, Any]) -> None:
        name = str(message.get("value"))
        if self._on_method and any(name == one for one, _ in self._pane.projection_options):
            self._on_method(name)

    def _on_labels(self, _: Mapping[str, Any]) -> None:
        call, self._on_rest = self._on_rest, None
        if call is not None:
            call()
        self._draw_labels()

    def _on_hover(self, message: Mapping[str, Any]) -> None:
        pixel, at = _pixel(message), _numbers([message.get("x"), message.get("y")], 2)
        if self._placed is None or pixel is None or at is None:
            return
        position = row_at(self._placed, self._selection.mask(), at[0], at[1], pixel)
        found = {}
        if position is not None:
            extra = self._color.name if self._color is not None else None
            reveal = message.get("reveal") is True
            found = card(self._exploration.sample, position, extra, reveal=reveal)
        self._pane.card = {"sequence": _integer(message.get("sequence")), **found}

    # -- drawing -----------------------------------------------------------------------------------
    def _draw(self) -> None:
        if self._view is None or self._placed is None:
            return
        view, mask = self._view, self._selection.mask()
        picture = draw(self._placed, mask, view, self._color, dark=self._pane.dark)
        self._order += 1
        sent = {
            "png": np.frombuffer(picture.png(), np.uint8),  # sent in binary
            "view": [view.x0, view.x1, view.y0, view.y1],
            "sequence": self._sequence,
            "order": self._order,
            "few": self._few(),
        }
        note = "gray: not selected" if self._selection.n < len(mask) else ""
        status, description = _words(self._selection, view, picture, self._n_nowhere)
        self._pane.param.update(
            picture=sent,
            key={**picture.key, "note": note},
            status=status,
            description=description,
        )

    def _few(self) -> list[list[float]]:
        """The x and y of the selected rows if they are few, so that no label hides them."""
        if self._selection.n > _FEW:
            return [[], []]
        assert self._placed is not None
        points = self._placed[self._selection.positions()]
        points = points[~np.isnan(points[:, 0])]
        return [points[:, 0].tolist(), points[:, 1].tolist()]

    def _draw_labels(self) -> None:
        """Show the labels of the view; the browser asks when it has rested for a moment."""
        if self._view is None or self._labels is None:
            return
        found = self._labels(self._view.x0, self._view.x1, self._view.y0, self._view.y1)
        texts = [(float(x), float(y), coloring.short_text(text)) for x, y, text in found]
        self._pane.labels = {
            "x": [x for x, _, _ in texts],
            "y": [y for _, y, _ in texts],
            "text": [text for _, _, text in texts],
        }


def _words(selection: Selection, view: View, picture: Picture, n_nowhere: int) -> tuple[str, str]:
    """A line below the map, and sentences for a screen reader."""
    n, selected = selection.sample.n, selection.n
    without = f" · {n_nowhere:,} without an embedding" if n_nowhere else ""
    if selected == n:
        status = f"{picture.n:,} of {n:,} rows in view{without}"
    else:
        status = f"{picture.n_selected:,} of {selected:,} selected in view{without}"
    x0, x1, y0, y1 = (coloring.short_number(each) for each in (view.x0, view.x1, view.y0, view.y1))
    description = (
        f"Map of {counted(n, 'row')}; {selected:,} {'is' if selected == 1 else 'are'} selected, "
        f"{picture.n_selected:,} of them in view, "
        f"x from {x0} to {x1}, y from {y0} to {y1}. Colors: {picture.key['title']}."
    )
    return status, description


def _numbers(value: Any, n: int) -> list[float] | None:
    """n finite numbers, or None."""
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != n:
        return None
    if not all(isinstance(one, int | float) and math.isfinite(one) for one in value):
        return None
    return [float(one) for one in value]


def _integer(value: Any) -> int:
    return value if isinstance(value, int) else 0


def _pixel(message: Mapping[str, Any]) -> tuple[float, float] | None:
    size = _numbers(message.get("pixel"), 2)
    return (size[0], size[1]) if size is not None and min(size) > 0 else None
