"""The bars of categories: the most frequent languages and domains among the selected rows."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

import numpy as np
import param
import pyarrow as pa
import pyarrow.compute as pc

from laion_dask.explorer.columns import CategoryColumn, Labels
from laion_dask.explorer.exploration import Exploration
from laion_dask.explorer.filters import Categories
from laion_dask.explorer.views.component import Component, as_json, module, styles
from laion_dask.formatting import printable

#: Number of values shown; selected values are shown as well.
TOP = 12
#: The largest number of categories.
MAX_CATEGORIES = 12
#: Maximum number of selected values of a category.
MAX_SELECTED = 50
#: Longer values, and longer texts that were typed, are cut to this many characters.
_LONGEST, _LONGEST_TYPED = 120, 200
#: Number of values of each category that its field completes, and their longest.
_COMPLETED, _LONGEST_COMPLETED = 40, 60
#: Number of similar values that a message names, and the least ratio of difflib.
_NAMED, _LIKE = 3, 0.8


class BarsComponent(Component):
    columns = param.String("[]")

    _esm = module("bars")
    _stylesheets = styles("bars")


class BarsView:
    """The most frequent values of each category among the selected rows; the rest as a number.

    Like a histogram, bars ignore the filter of their own column.

    Parameters
    ----------
    exploration : Exploration
    """

    def __init__(self, exploration: Exploration) -> None:
        self._selection = exploration.selection
        categories = exploration.sample.columns.values()
        self._columns = [one for one in categories if isinstance(one, CategoryColumn)]
        self._columns = self._columns[:MAX_CATEGORIES]
        self._forget_notes()
        self.panel = BarsComponent(
            self._receive,
            columns=as_json(
                [{"label": printable(one.name), "values": _completed(one)} for one in self._columns]
            ),
            sizing_mode="stretch_both",
        )
        self.refresh()

    def refresh(self) -> None:
        """Draw the current selection, without the notes on an earlier one."""
        self._forget_notes()
        self._draw()

    def _forget_notes(self) -> None:
        self._notes = [""] * len(self._columns)
        self._refused = ""  # the label that a note is about

    def _draw(self) -> None:
        states = [self._state(*one) for one in zip(self._columns, self._notes, strict=True)]
        self.panel.draw({"columns": states})

    def _state(self, column: CategoryColumn, note: str) -> dict[str, Any]:
        counts = self._selection.counts(column.name)
        chosen = self._chosen(column)
        of_labels, missing = counts[:-1], int(counts[-1])
        shown = top_codes(of_labels, TOP)
        shown += [code for code in chosen if code not in shown and code >= 0]
        items = [
            {
                "code": code,
                "label": _shown(column.labels[code]),
                "n": int(of_labels[code]),
                "selected": code in chosen,
            }
            for code in shown
        ]
        if missing or -1 in chosen:
            items.append(
                {"code": -1, "label": "(no value)", "n": missing, "selected": -1 in chosen}
            )
        others = int(np.count_nonzero(of_labels)) - int(np.count_nonzero(of_labels[shown]))
        return {
            "items": items,
            "others": others,
            "other_rows": int(of_labels.sum() - of_labels[shown].sum()),
            "is_active": bool(chosen),
            "note": note,
            "refused": self._refused if note else "",
        }

    def _chosen(self, column: CategoryColumn) -> list[int]:
        """The codes of the selected values; -1 for rows without a value."""
        own = self._selection.get(column.name)
        if not isinstance(own, Categories):
            return []
        codes = [-1 if value is None else column.code_of(value) for value in own.values]
        return [code for code in codes if code is not None]

    def _receive(self, message: dict[str, Any]) -> None:
        at = message.get("column")
        if not isinstance(at, int) or not 0 <= at < len(self._columns):
            return
        column = self._columns[at]
        self._forget_notes()
        match message:
            case {"kind": "clear"}:
                self._selection.set(column.name, None)
            case {"kind": "toggle", "code": int(code)} if -1 <= code < len(column.labels):
                self._toggle(at, code)
            case {"kind": "add", "label": str(label)}:
                found = column.code_of(label.strip())
                if found is None:
                    self._notes[at] = _why_none(column, label.strip())
                    self._refused = label[:_LONGEST_TYPED]
                elif found not in self._chosen(column):
                    self._toggle(at, found)
        self._draw()

    def _toggle(self, at: int, code: int) -> None:
        column = self._columns[at]
        chosen = self._chosen(column)
        codes = [one for one in chosen if one != code] if code in chosen else [*chosen, code]
        if len(codes) > MAX_SELECTED:
            self._notes[at] = f"At most {MAX_SELECTED} values can be selected."
            return
        values = [None if one == -1 else column.labels[one] for one in codes]
        self._selection.set(column.name, Categories.of(column, values) if values else None)


def top_codes(counts: np.ndarray, k: int) -> list[int]:
    """The codes of the k largest counts that are not 0; equal counts in the order of the codes."""
    if len(counts) > 4 * k:
        least = np.partition(counts, len(counts) - k)[len(counts) - k]
        candidates = np.flatnonzero(counts >= max(int(least), 1))
    else:
        candidates = np.flatnonzero(counts)
    ordered = candidates[np.argsort(-counts[candidates], kind="stable")]
    return ordered[:k].tolist()


def _completed(column: CategoryColumn) -> list[str]:
    """The most frequent values that are displayed unchanged, which a field completes.

    A value that is displayed in another way could not be found by its displayed text.
    """
    return [one for one in column.labels[:_COMPLETED] if _shown(one)[:_LONGEST_COMPLETED] == one]


def _why_none(column: CategoryColumn, label: str) -> str:
    """The note that no sampled row has a value, with the most frequent of similar values."""
    close = _close(column, label)
    hint = f" Close: {', '.join(map(_shown, close))}." if close else ""
    return f"No sampled row has {_shown(label)!r}.{hint}"


def _close(column: CategoryColumn, label: str) -> list[str]:
    """Values that contain a text in any case, or else those that resemble it."""
    if not label:
        return []
    of = column.labels
    labels = of.array if isinstance(of, Labels) else pa.array(of, pa.string())
    found = pc.indices_nonzero(pc.match_substring(labels, label, ignore_case=True))
    if len(found):
        return [of[at.as_py()] for at in found[:_NAMED]]
    return get_close_matches(label[:_LONGEST], of[:1000], _NAMED, _LIKE)


def _shown(label: str) -> str:
    text = printable(label[: _LONGEST + 1])
    if not text.strip():
        return "(empty)"
    return text if len(label) <= _LONGEST else f"{text[:_LONGEST]}…"
