"""The chips: one for each filter, which removes it."""

from __future__ import annotations

from typing import Any

from laion_dask.errors import LaionDaskError
from laion_dask.explorer.embedding_filters import Score
from laion_dask.explorer.exploration import Exploration
from laion_dask.explorer.filters import Condition, Filter
from laion_dask.explorer.selection import FilterKey
from laion_dask.explorer.views.component import Component, module, styles
from laion_dask.explorer.views.row_words import RowWords
from laion_dask.formatting import printable


class ChipsComponent(Component):
    _esm = module("chips")
    _stylesheets = styles("chips")


class ChipsView:
    """The active filters, in the order in which they were set, and a field for conditions.

    Parameters
    ----------
    exploration : Exploration
    """

    def __init__(self, exploration: Exploration) -> None:
        self._selection = exploration.selection
        self._words = RowWords(exploration.sample)
        self._error = self._refused = ""
        self.panel = ChipsComponent(self._receive, sizing_mode="stretch_width")
        self.refresh()

    def refresh(self) -> None:
        """Draw the current filters, without the error of an earlier condition."""
        self._error = self._refused = ""
        self._draw()

    def _draw(self) -> None:
        chips = []
        for key, filter in self._selection.by_key.items():
            more = " (its list had changed)" if self._selection.was_read_again(key) else ""
            chips.append({"key": repr(key), "label": self._label(filter) + more})
        self.panel.draw({"chips": chips, "error": self._error, "refused": self._refused})

    def _label(self, filter: Filter) -> str:
        if isinstance(filter, Score) and filter.row is not None:
            return f"like {self._words.of(filter.row)}, at least {filter.at_least:.3f}"
        return printable(filter.label)

    def _receive(self, message: dict[str, Any]) -> None:
        if message.get("kind") == "clear":
            self._selection.clear()
        elif message.get("kind") == "remove":
            for key in self._selection.by_key:
                if repr(key) == message.get("key"):
                    self._selection.set(key, None)
        elif message.get("kind") == "condition" and isinstance(message.get("text"), str):
            self._add(message["text"])

    def _add(self, typed: str) -> None:
        """Add a condition that the user typed, or show below the field why it is invalid."""
        self._error, expression = "", typed.strip()
        try:
            if expression:
                self._selection.set(key_of(expression), Condition(expression))
        except LaionDaskError as error:
            self._error = printable(str(error))
        self._refused = typed if self._error else ""
        self._draw()


def key_of(expression: str) -> FilterKey:
    """The key of the filter by a condition."""
    return FilterKey("where", expression)
