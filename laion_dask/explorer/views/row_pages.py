"""Pages of the selected rows, with the rows that are not known to be safe hidden and counted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from laion_dask.explorer.embedding_filters import Score
from laion_dask.explorer.safe_rows import hidden_as, safe_rows
from laion_dask.explorer.sample import Sample
from laion_dask.explorer.selection import Selection

#: Up to this many rows are sorted at once, without a background job.
_QUICK = 200_000
#: Rows scanned per step in the search for a page.
_BLOCK = 1 << 16


class RowPages:
    """The selected rows in an order, page by page.

    Parameters
    ----------
    selection : Selection
    size : int
        Rows of a page.
    safety : str
        The column with the probability that an image is unsafe.

    Attributes
    ----------
    page : int
        The number of the page, from 1.
    order_by : str or None
        A column; None: the most similar first if there is a question, else as stored.
    descending : bool
    shows_hidden : bool
        Whether rows are shown that are unsafe or unscored.
    """

    def __init__(self, selection: Selection, size: int, safety: str = "punsafe") -> None:
        self._selection, self.size, self.safety = selection, size, safety
        self.page = 1
        self.order_by: str | None = None
        self.descending = self.shows_hidden = False
        self._is_safe = safe_rows(selection.sample, safety)
        self._hidden_as = hidden_as(selection.sample, safety)
        self._ranked: np.ndarray | None = None  # the rows of the question, the best first
        self._question: Score | None = None
        self._shown: np.ndarray | None = None
        self._in_order: np.ndarray | None = None
        self.n = self.n_hidden = 0
        self.refresh()

    @property
    def sample(self) -> Sample:
        return self._selection.sample

    @property
    def n_pages(self) -> int:
        return max(1, -(-self.n // self.size))

    def refresh(self) -> None:
        """Update to the current selection, and go to its first page.

        Rows selected by a question are sorted by similarity, highest first.
        """
        self._follow_question()
        selected = self._selection.mask()
        if self._ranked is not None:
            within = np.zeros(len(selected), bool)
            within[self._ranked] = True
            selected = selected & within
        n = int(np.count_nonzero(selected))
        safe = selected & self._is_safe
        self.n_hidden = n - int(np.count_nonzero(safe))
        self._shown = selected if self.shows_hidden else safe
        self.n = n if self.shows_hidden else n - self.n_hidden
        self._in_order = None
        self.page = 1

    def _follow_question(self) -> None:
        filters = self._selection.filters
        question = next((one for one in filters if isinstance(one, Score)), None)
        if question is not self._question:
            self._question, self._ranked = question, None
            if question is not None:
                self._ranked = question.best_first(self.sample)
                self.order_by, self.descending = None, False

    def turn(self, page: int) -> None:
        """Go to a page; a number out of range is clipped."""
        self.page = min(max(int(page), 1), self.n_pages)

    def positions(self) -> np.ndarray:
        """Positions in the sample of the rows on the page, int64."""
        start = (self.page - 1) * self.size
        stop = min(start + self.size, self.n)
        order = self._order()
        if order is None:
            assert self._shown is not None
            return nth_true(self._shown, start, stop)
        if self._in_order is None:
            assert self._shown is not None
            self._in_order = self._shown[order]
        return np.asarray(order[nth_true(self._in_order, start, stop)], np.int64)

    @property
    def ranking(self) -> Score | None:
        """The question by which the rows are sorted; None if they are not."""
        return self._question if self.order_by is None else None

    def _order(self) -> np.ndarray | None:
        if self.order_by is not None:
            return self.sample.order(self.order_by, self.descending)
        return self._ranked

    def order_to_compute(self) -> tuple[str, bool] | None:
        """The arguments of `Sample.order`, if the page needs one that takes long to compute."""
        if self.order_by is None or self.sample.n <= _QUICK:
            return None
        order = self.order_by, self.descending
        return None if self.sample.has_order(*order) else order

    def receive(self, message: Mapping[str, Any]) -> bool:
        """Act on a message of the page bar; return whether the page has changed."""
        kind = message.get("kind")
        if kind == "page" and _is_integer(message.get("page")):
            self.turn(message["page"])
        elif kind == "hidden":
            self.shows_hidden = message.get("shown") is True
            self.refresh()
        elif kind == "sort" and message.get("by") in (None, *self.sample.names):
            self.order_by = message.get("by")
            self.descending = self.descending and self.order_by is not None
            self._in_order, self.page = None, 1
        elif kind == "direction":
            self.descending = message.get("descending") is True and self.order_by is not None
            self._in_order, self.page = None, 1
        else:
            return False
        return True

    def bar(self, shown_as: str) -> dict[str, Any]:
        """The state that the page bar shows.

        Parameters
        ----------
        shown_as : {"blurred", "shown"}
            How unsafe or unscored rows are shown.
        """
        default = "as stored" if self._ranked is None else "by the question"
        return {
            "page": self.page,
            "pages": self.n_pages,
            "n": self.n,
            "hidden": self.n_hidden,
            "hidden_as": self._hidden_as,
            "shows_hidden": self.shows_hidden,
            "shown_as": shown_as,
            "orders": list(self.sample.names),
            "order_by": self.order_by,
            "default_order": default,
            "is_ordering": self.order_to_compute() is not None,
            "descending": self.descending,
            "sizes": [],
            "size": self.size,
            "columns": [],
            "chosen": [],
        }


def nth_true(mask: np.ndarray, start: int, stop: int) -> np.ndarray:
    """The places of the True values of a mask, from the ``start``-th to the ``stop``-th, int64."""
    found, before = [], 0
    for at in range(0, len(mask), _BLOCK):
        if before >= stop:
            break
        n = int(np.count_nonzero(mask[at : at + _BLOCK]))
        if n and before + n > start:
            places = np.flatnonzero(mask[at : at + _BLOCK]) + at
            found.append(places[max(0, start - before) : stop - before])
        before += n
    return np.concatenate(found).astype(np.int64) if found else np.empty(0, np.int64)


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
