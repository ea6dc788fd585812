"""Functions compiled by numba and cached on disk if possible."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any


def compiled(function: Callable, *arguments) -> tuple[Callable, Any]:
    """Compile a function for the given arguments and call it. Imports numba, which takes 0.5 s.

    The compiled function releases the GIL. If the cache cannot be written or read (no writable
    folder, a full disk, a damaged file, which numba unpickles and may fail in any way), the
    function is compiled in memory, with a warning. Errors of the function itself are raised.
    """
    from numba import njit

    try:
        dispatcher = njit(nogil=True, cache=True)(function)
        return dispatcher, dispatcher(*arguments)
    except Exception as error:
        dispatcher = njit(nogil=True)(function)
        result = dispatcher(*arguments)
        warnings.warn(
            f"numba's cache of {function.__module__} cannot be used ({error}), so every process "
            "compiles it again, which takes some seconds. Set NUMBA_CACHE_DIR to a writable "
            "folder.",
            RuntimeWarning,
            stacklevel=2,
        )
        return dispatcher, result
