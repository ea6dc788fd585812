"""The progress bar of every verb, which appears after two seconds."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable
from typing import Any

from tqdm.auto import tqdm

from laion_dask.formatting import printable
from laion_dask.runtime.observation import current_observer

#: Seconds between updates of the clock.
_TICK = 0.5


class ProgressBar(tqdm):
    """A tqdm bar that appears after ``delay`` seconds, and whose clock runs between tasks.

    tqdm itself shows a bar only when the count changes: a search of one large shard would show
    nothing until it is done. A bar that an interrupt left open is closed when it is
    garbage-collected. In a notebook, a bar that is not left removes its output when it closes:
    otherwise the saved notebook would keep the text that the bar had when it appeared. In an
    observed thread it shows nothing, and reports to the observer.
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
        self._output: Any = None  # an IPython display handle, in notebooks
        self._observer, self._counted = current_observer(), 0
        self._observed = desc or "", options.get("total")
        if self._observer is not None:
            options["disable"] = True
        self._report()
        desc = None if desc is None else printable(desc)
        super().__init__(iterable, desc=desc, delay=delay, **options)
        if not self.disable:
            of_bar = weakref.ref(self), self._closing, delay
            self._clock = threading.Thread(target=_run_clock, args=of_bar, daemon=True)
            self._clock.start()

    def update(self, n: float | None = 1) -> bool | None:
        """Count n items; in an observed thread, report them."""
        self._counted += int(n or 0)
        self._report()
        return super().update(n)

    def _report(self) -> None:
        label, total = self._observed
        if self._observer is not None:
            self._observer.report(label, self._counted, int(total or 0))

    def display(self, *args: Any, **options: Any) -> Any:
        """Show the bar as tqdm does; in a notebook, as an output that `close` can remove."""
        bar: Any = self  # the attributes of a notebook's bar
        is_due = self.delay and options.get("check_delay", True)
        if is_due and not self.leave and getattr(bar, "displayed", None) is False:
            from IPython.display import display

            self._output = display(bar.container, display_id=True)
            bar.displayed = True
        return super().display(*args, **options)

    def close(self) -> None:
        self._closing.set()
        if self._clock is not None and self._clock is not threading.current_thread():
            self._clock.join(timeout=1)
        if not self.leave:
            self.total = None  # a notebook would keep an incomplete bar, in red
        super().close()
        if self._output is not None:
            self._output.update({}, raw=True)
            self._output = None


def _run_clock(bar: weakref.ref[ProgressBar], closing: threading.Event, delay: float) -> None:
    while not closing.wait(delay):
        shown = bar()
        if shown is None:
            return
        shown.refresh()
        del shown  # otherwise this thread would keep the bar alive
        delay = _TICK
