"""Captures what a view prints in a notebook, on its thread only; other prints are not affected.

Before each message of a page, `pyviz_comms` replaces ``sys.stdout`` by a `StringIO` and puts back
what it found. Kernels deliver messages in several threads: of two that overlap, the one that ends
last puts back the buffer of the other, and the kernel prints nothing any more. Whatever a running
cell printed meanwhile was lost, too.
"""

from __future__ import annotations

import io
import sys
import threading
from typing import Any

_LOCK = threading.Lock()


class _Router:
    """A standard output that gives prints of capturing threads to their buffers.

    All else is that of the output it stands for.
    """

    def __init__(self) -> None:
        self.real: Any = None
        self.buffers: dict[int, io.StringIO] = {}

    @property
    def _target(self) -> Any:
        return self.buffers.get(threading.get_ident(), self.real)

    def write(self, text: str) -> int:
        return self._target.write(text)

    def flush(self) -> None:
        self._target.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._target, name)


_ROUTER = _Router()


class ThreadOutput(list):
    """The lines that this thread prints within the context; prints of other threads are real."""

    def __enter__(self) -> ThreadOutput:
        self._thread, self._buffer = threading.get_ident(), io.StringIO()
        with _LOCK:
            self._outer = _ROUTER.buffers.get(self._thread)
            _ROUTER.buffers[self._thread] = self._buffer
            if sys.stdout is not _ROUTER:
                _ROUTER.real, sys.stdout = sys.stdout, _ROUTER
        return self

    def __exit__(self, *error: object) -> None:
        with _LOCK:
            if self._outer is None:
                _ROUTER.buffers.pop(self._thread, None)
            else:
                _ROUTER.buffers[self._thread] = self._outer
            if not _ROUTER.buffers and sys.stdout is _ROUTER:
                sys.stdout = _ROUTER.real
        self.extend(self._buffer.getvalue().splitlines())


def capture_by_thread() -> None:
    """Have all pages of this process capture by thread, also those that a user lays out."""
    import pyviz_comms

    pyviz_comms.StandardOutput = ThreadOutput
