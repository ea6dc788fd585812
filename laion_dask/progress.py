"""The progress bar of every verb: it appears after two seconds, whatever its tasks do."""

from __future__ import annotations

import threading

from tqdm.auto import tqdm

from laion_dask.printable import printable

#: Seconds between two looks at the clock.
_TICK = 0.5


class ProgressBar(tqdm):
    """A tqdm bar that appears when ``delay`` is over, and whose clock runs while no task ends.

    tqdm alone shows a bar only when something is counted: a search of one large shard would show
    nothing until it is done.
    """

    def __init__(self, *args, desc: str | None = None, delay: float = 2, **options):
        self._closing = threading.Event()
        self._clock: threading.Thread | None = None
        desc = None if desc is None else printable(desc)
        super().__init__(*args, desc=desc, delay=delay, **options)
        if not self.disable:
            self._clock = threading.Thread(target=self._tick, args=(delay,), daemon=True)
            self._clock.start()

    def _tick(self, delay: float) -> None:
        if self._closing.wait(delay):
            return
        while not self._closing.is_set():
            self.refresh()
            self._closing.wait(_TICK)

    def close(self) -> None:
        self._closing.set()
        if self._clock is not None and self._clock is not threading.current_thread():
            self._clock.join(timeout=1)
        super().close()
