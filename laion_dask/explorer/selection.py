"""The selection that all views share: filters by key, with undo and redo."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from laion_dask.errors import OptionError, no_column
from laion_dask.explorer import crossfilter
from laion_dask.explorer.filters import Filter
from laion_dask.explorer.sample import Sample

#: Maximum number of states that can be undone.
MAX_UNDO = 200
#: Number of filters whose masks are cached for undo and redo, at one bit per row.
_MAX_KNOWN = 32


@dataclass(frozen=True)
class FilterKey:
    """The key of a filter that belongs to no column, whose name could be any text.

    Attributes
    ----------
    kind : str
        Such as ``map`` or ``tags``.
    name : str
        Which of several filters of a kind.
    """

    kind: str
    name: str = ""


#: The key of a filter in the selection; that of a column's own filter is the name of the column.
Key: TypeAlias = str | FilterKey


class Selection:
    """The rows of a sample that pass every filter. Mutable; all views of an explorer share it.

    Thread-safe: in a notebook, a cell and messages from the page may change it at the same time.

    Parameters
    ----------
    sample : Sample
    """

    def __init__(self, sample: Sample) -> None:
        self.sample = sample
        self._filters: dict[Key, Filter] = {}
        self._bit_of: dict[Key, int] = {}
        self._reads: dict[Key, Hashable] = {}
        self._read_again: frozenset[Key] = frozenset()
        self._bits = crossfilter.empty_bits(sample.n)
        self._undo: list[dict[Key, Filter]] = []
        self._redo: list[dict[Key, Filter]] = []
        self._callbacks: list[Callable[[Selection], None]] = []
        self._known: OrderedDict[tuple[Filter, Hashable], np.ndarray] = OrderedDict()
        self._state: dict[Any, Any] = {}  # what has been computed of the current filters
        self._lock = threading.RLock()  # not held while subscribers are called

    # -- filters ---------------------------------------------------------------------------------

    @property
    def filters(self) -> tuple[Filter, ...]:
        """The filters, in the order in which they were first set."""
        return tuple(self._filters.values())

    @property
    def by_key(self) -> Mapping[Key, Filter]:
        """The filters by key, in that order."""
        return dict(self._filters)

    @property
    def decided_by(self) -> tuple[tuple[Filter, Hashable], ...]:
        """The filters, each with what it `reads`, such as a list: if equal, the same rows pass."""
        with self._lock:
            return tuple((one, self._reads[key]) for key, one in self._filters.items())

    def get(self, key: Key) -> Filter | None:
        """The filter of a key, or None."""
        return self._filters.get(key)

    def set(self, key: Key, filter: Filter | None) -> None:
        """Set the filter of a key, or remove it with None; then call the subscribers.

        Raises
        ------
        ColumnError, OptionError
            When the filter does not fit the sample; nothing has changed then.
        """
        with self._lock:
            filters = dict(self._filters)
            if filter is None:
                filters.pop(key, None)
            else:
                filters[key] = filter
            has_changed = self._change(filters)
        if has_changed:
            self._notify()

    def read_again(self) -> None:
        """Apply filters again whose lists have changed since; then call the subscribers.

        Raises
        ------
        PredicateError
            When a list is missing, or has no values for the filter any more.
        """
        with self._lock:
            now = {key: one.reads(self.sample) for key, one in self._filters.items()}
            changed = {key for key in now if now[key] != self._reads[key]}
            if changed:
                self._apply(self._filters, changed)
        if changed:
            self._notify()

    def was_read_again(self, key: Key) -> bool:
        """Whether the last change was that the list of this filter had changed."""
        return key in self._read_again

    def clear(self) -> None:
        """Remove all filters."""
        if self._change({}):
            self._notify()

    @property
    def can_undo(self) -> bool:
        return bool(self._undo)

    @property
    def can_redo(self) -> bool:
        return bool(self._redo)

    def undo(self) -> None:
        """Return to the filters before the last change; nothing if there was none."""
        self._return_to(self._undo, self._redo)

    def redo(self) -> None:
        """Redo the change that was undone last, if any."""
        self._return_to(self._redo, self._undo)

    def _return_to(self, states: list[dict[Key, Filter]], others: list[dict[Key, Filter]]) -> None:
        """Return to the last of some states, and keep the current one among the others."""
        with self._lock:
            if not states:
                return
            before = self._filters
            self._apply(states[-1])
            states.pop()
            others.append(before)
        self._notify()

    def subscribe(self, callback: Callable[[Selection], None]) -> None:
        """Call a function with the selection after each change."""
        self._callbacks.append(callback)

    def _change(self, filters: dict[Key, Filter]) -> bool:
        """Make other filters current, as a change that can be undone; whether they differ."""
        with self._lock:
            before = self._filters
            if filters == before:
                return False
            self._apply(filters)
            self._undo.append(before)
            del self._undo[:-MAX_UNDO]
            self._redo.clear()
            return True

    def _notify(self) -> None:
        for callback in list(self._callbacks):
            callback(self)

    def _apply(self, filters: dict[Key, Filter], again: Collection[Key] = ()) -> None:
        """Make other filters current, or some again; if one raises, the current ones stay."""
        if len(filters) > crossfilter.MAX_FILTERS:
            raise OptionError(
                f"There are {len(filters)} filters. Expected at most {crossfilter.MAX_FILTERS}; "
                "remove one first."
            )
        changed = {k: f for k, f in filters.items() if k in again or self._filters.get(k) != f}
        reads = {k: one.reads(self.sample) for k, one in changed.items()}
        passing = {k: self._passes(one, reads[k]) for k, one in changed.items()}
        for key in [key for key in self._bit_of if key not in filters]:
            crossfilter.clear_bit(self._bits, self._bit_of.pop(key))
        if len(filters) > np.iinfo(self._bits.dtype).bits:
            wider = crossfilter.empty_bits(self.sample.n, len(filters)).dtype
            self._bits = self._bits.astype(wider)
        for key, passes in passing.items():
            if key not in self._bit_of:
                used = set(self._bit_of.values())
                self._bit_of[key] = next(bit for bit in range(64) if bit not in used)
            crossfilter.set_bit(self._bits, self._bit_of[key], passes)
        self._filters, self._state = dict(filters), {}
        self._reads = {k: reads[k] if k in reads else self._reads[k] for k in filters}
        self._read_again = frozenset(again)

    def _passes(self, filter: Filter, reads: Hashable) -> np.ndarray:
        """Mask of the rows that pass a filter; remembered, so that undo does not compute it."""
        known = filter, reads
        if known in self._known:
            self._known.move_to_end(known)
            return np.unpackbits(self._known[known], count=self.sample.n).view(bool)
        passes = filter.passes(self.sample)
        self._known[known] = np.packbits(passes)
        if len(self._known) > _MAX_KNOWN:
            self._known.popitem(last=False)
        return passes

    # -- rows ------------------------------------------------------------------------------------

    @property
    def n(self) -> int:
        """The number of rows selected."""
        return int(self._cached("n", lambda: crossfilter.count_selected(self._bits)))

    def mask(self, without: Key | None = None) -> np.ndarray:
        """Mask of the selected rows, (n,) bool; without the filter of a key, if one is named."""
        with self._lock:
            own = None if without is None else self._bit_of.get(without)
            found: np.ndarray = self._cached(
                ("mask", own), lambda: crossfilter.selected(self._bits, own)
            )
            return found

    def counts(self, column: str) -> np.ndarray:
        """The number of selected rows of each bin or label of a column, without its own filter.

        Parameters
        ----------
        column : str
            A name among ``sample.columns``; the key of its own filter is the same.

        Returns
        -------
        (column.size,) int64 array
            The rows without a value last.

        Raises
        ------
        ColumnError
        """
        if column not in self.sample.columns:
            raise no_column(column, self.sample.columns)
        found: dict[str, np.ndarray] = self._cached("counts", self._counts)
        return found[column]

    def _counts(self) -> dict[str, np.ndarray]:
        columns = self.sample.columns
        own = [self._bit_of.get(name) for name in columns]
        found = crossfilter.counts(self._bits, list(columns.values()), own)
        return dict(zip(columns, found, strict=True))

    def positions(self) -> np.ndarray:
        """Positions in the sample of the selected rows, ascending, (n,) int64."""
        found: np.ndarray = self._cached("positions", lambda: np.flatnonzero(self._bits == 0))
        return found

    def _cached(self, key: Any, make: Callable[[], Any]) -> Any:
        """What a function returns for the current filters, computed once."""
        with self._lock:
            if key not in self._state:
                self._state[key] = make()
            return self._state[key]
