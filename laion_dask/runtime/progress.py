"""The progress bar of every verb, which appears after two seconds."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable
from typing import Any

from tqdm.auto import tqdm

from laion_dask.formatting import printable

#: Seconds between updates of the clock.
_TICK = 0.5


class ProgressBar(tqdm):
    """A tqdm bar that appears after ``delay`` seconds, and whose clock runs between tasks.

    tqdm itself shows a bar only when the count changes: a search of one large shard would show
    nothing until it is done. A bar that an interrupt left open is closed when it is
    garbage-collected.
    """

    def __init__(
        self,
        iterable: Iterable | None = None,
        *,
        desc: str | None = None,
        delay: float = 2,
        **options: Any,
    ) -> None:
        self._closing = threading.Event()
        self._clock: threading.Thread | None = None
        desc = None if desc is None else printable(desc)
        super().__init__(iterable, desc=desc, delay=delay, **options)
        if not self.disable:
            of_bar = weakref.ref(self), self._closing, delay
            self._clock = threading.Thread(target=_run_clock, args=of_bar, daemon=True)
            self._clock.start()

    def close(self) -> None:
        self._closing.set()
        if self._clock is not None and self._clock is not threading.current_thread():
            self._clock.join(timeout=1)
        if not self.leave:
            self.total = None  # a notebook would keep an incomplete bar, in red
        super().close()


def _run_clock(bar: weakref.ref[ProgressBar], closing: threading.Event, delay: float) -> None:
    while not closing.wait(delay):
        shown = bar()
        if shown is None:
            return
        shown.refresh()
        del shown  # otherwise this thread would keep the bar alive
        delay = _TICK
