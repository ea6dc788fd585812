"""Pause Python's search for reference cycles while many objects are created that all live on."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def paused() -> Iterator[None]:
    """A context without automatic collections, which would go through all objects several times.

    Memory is still freed by reference counts. If another thread is in such a context, the first to
    leave it resumes collections.
    """
    if not gc.isenabled():  # by the user, or by a context around this one
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
