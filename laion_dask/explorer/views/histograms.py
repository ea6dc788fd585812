"""The histograms of the columns of numbers: all rows and the selected ones; ranges select rows."""

from __future__ import annotations

import math
from typing import Any

import param

from laion_dask.explorer.columns import NumberColumn
from laion_dask.explorer.exploration import Exploration
from laion_dask.explorer.filters import NumberRange
from laion_dask.explorer.views.component import Component, as_json, module, styles
from laion_dask.formatting import printable

#: Maximum number of histograms; more would not fit on any screen.
MAX_HISTOGRAMS = 24


class HistogramsComponent(Component):
    columns = param.String("[]")  # what does not change: edges, counts of all rows, thresholds

    _esm = module("histograms")
    _stylesheets = styles("histograms")


class HistogramsView:
    """A histogram of each column of numbers, in the order of interest.

    A histogram ignores the range of its own column, so that it shows what another range would have.

    Parameters
    ----------
    exploration : Exploration
    """

    def __init__(self, exploration: Exploration) -> None:
        self._selection = exploration.selection
        numbers = exploration.sample.columns.values()
        self._columns = [one for one in numbers if isinstance(one, NumberColumn)][:MAX_HISTOGRAMS]
        self.panel = HistogramsComponent(
            self._receive,
            columns=as_json([_layout(column) for column in self._columns]),
            sizing_mode="stretch_both",
        )
        self.refresh()

    def refresh(self) -> None:
        self.panel.draw({"columns": [self._state(column) for column in self._columns]})

    def _state(self, column: NumberColumn) -> dict[str, Any]:
        counts = self._selection.counts(column.name).tolist()
        own = self._selection.get(column.name)
        bounds = [_finite(own.low), _finite(own.high)] if isinstance(own, NumberRange) else None
        return {"counts": counts[:-1], "missing": counts[-1], "range": bounds}

    def _receive(self, message: dict[str, Any]) -> None:
        at = message.get("column")
        if not isinstance(at, int) or not 0 <= at < len(self._columns):
            return
        column = self._columns[at]
        match message:
            case {"kind": "clear"}:
                self._selection.set(column.name, None)
            case {"kind": "bins", "first": int(first), "last": int(last)}:
                self._set(column, *column.range_of(first, last))
            case {"kind": "range", "low": low, "high": high}:
                self._set(column, _bound(low), _bound(high))

    def _set(self, column: NumberColumn, low: float | None, high: float | None) -> None:
        is_open = low is None and high is None
        if column.is_integer:
            low, high = (_whole(bound) for bound in (low, high))
        self._selection.set(column.name, None if is_open else NumberRange(column.name, low, high))


def _layout(column: NumberColumn) -> dict[str, Any]:
    """What a histogram shows regardless of the selection."""
    counts = _all_counts(column)
    marks = [
        {"name": name, "at": float(at)}
        for name, at in sorted(column.thresholds.items(), key=lambda mark: mark[1])
    ]
    return {
        "label": printable(column.name),
        "edges": column.edges.tolist(),
        "counts": counts,
        "missing": column.n_missing,
        "thresholds": marks,
    }


def _all_counts(column: NumberColumn) -> list[int]:
    import numpy as np

    return np.bincount(column.codes, minlength=column.size)[: column.n_bins].tolist()


def _bound(value: Any) -> float | None:
    """A bound sent by the page: a finite number, or None."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return value if is_number and math.isfinite(value) else None


def _whole(bound: float | None) -> float | None:
    return int(bound) if isinstance(bound, float) and bound.is_integer() else bound


def _finite(bound: float | None) -> float | None:
    return None if bound is None or math.isinf(bound) else bound
