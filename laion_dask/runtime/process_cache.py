"""Values that are loaded once per process and shared by its threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Any


class ProcessCache:
    """A mapping from a spec to what it loads, filled at the first request.

    Two threads that request the same key cause one load: the second waits for the first. Different
    keys do not wait for each other. A load that raises is not cached, so that a file added later is
    found.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._locks: dict[Hashable, threading.Lock] = {}
        self._values: dict[Hashable, Any] = {}

    def get(self, key: Hashable, load: Callable[[], Any]) -> Any:
        """The value of ``key``, from ``load()`` at the first request of this process."""
        with self._guard:
            if key in self._values:
                return self._values[key]
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            if key not in self._values:
                self._values[key] = load()
            return self._values[key]

    def clear(self) -> None:
        """Drop everything; values in use stay alive with their users."""
        with self._guard:
            self._values.clear()
            self._locks.clear()
