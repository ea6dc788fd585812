"""Values that are loaded once per process and shared by its threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Any


class ProcessCache:
    """A mapping from specs to loaded values, filled at the first request.

    If two threads request the same key, it is loaded once, and the second thread waits for the
    first. Different keys do not block each other. A load that raises is not cached, so the next
    request tries again.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._locks: dict[Hashable, threading.Lock] = {}
        self._values: dict[Hashable, Any] = {}

    def get(self, key: Hashable, load: Callable[[], Any]) -> Any:
        """The value of ``key``, computed by ``load()`` at its first request in this process."""
        with self._guard:
            if key in self._values:
                return self._values[key]
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            if key not in self._values:
                self._values[key] = load()
            return self._values[key]

    def __contains__(self, key: Hashable) -> bool:
        """Whether a value has been loaded."""
        return key in self._values

    def clear(self) -> None:
        """Drop all values; values in use stay alive with their users."""
        with self._guard:
            self._values.clear()
            self._locks.clear()
