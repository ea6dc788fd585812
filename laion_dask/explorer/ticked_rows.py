"""The rows that a person has ticked, in the table or the gallery, to tag them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from laion_dask.explorer.jobs import VIEWS
from laion_dask.explorer.sample import Sample


class TickedRows:
    """The ticked rows of a sample. Mutable; shared by the table and the gallery.

    Parameters
    ----------
    sample : Sample
    """

    def __init__(self, sample: Sample) -> None:
        self._sample = sample
        self._positions: set[int] = set()
        self._callbacks: list[Callable[[], None]] = []

    def __len__(self) -> int:
        return len(self._positions)

    def __contains__(self, position: int) -> bool:
        return position in self._positions

    @property
    def positions(self) -> frozenset[int]:
        """Positions of the ticked rows in the sample."""
        return frozenset(self._positions)

    @property
    def rows(self) -> frozenset[tuple[int, int]]:
        """The ticked rows as pairs of ``shard`` and ``row``."""
        sample = self._sample
        return frozenset((int(sample.shard[at]), int(sample.row[at])) for at in self._positions)

    def change(self, add: Iterable[int] = (), remove: Iterable[int] = ()) -> None:
        """Tick rows and untick others; then call the subscribers, if anything changed."""
        n = self._sample.n
        with VIEWS:
            new = (self._positions - set(remove)) | {int(at) for at in add if 0 <= at < n}
            if new != self._positions:
                self._positions = new
                for callback in list(self._callbacks):
                    callback()

    def clear(self) -> None:
        """Untick all rows."""
        self.change(remove=self.positions)

    def subscribe(self, callback: Callable[[], None]) -> None:
        """Call a function after each change."""
        self._callbacks.append(callback)
