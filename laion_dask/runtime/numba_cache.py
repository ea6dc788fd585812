"""Functions compiled by numba, kept on disk where that can be done."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any


def compiled(function: Callable, *given) -> tuple[Callable, Any]:
    """A function compiled for some arguments, and its answer to them. Imports numba: 0.5 s.

    Python's lock is not held while it runs. Where what was compiled cannot be kept or read (no
    folder to write to, a full disk, a damaged file, which numba unpickles and may fail in any way),
    it is compiled in memory, and a warning says why. An error of the function itself comes out.
    """
    from numba import njit

    try:
        made = njit(nogil=True, cache=True)(function)
        return made, made(*given)
    except Exception as error:
        made = njit(nogil=True)(function)
        answer = made(*given)
        warnings.warn(
            f"numba's cache of {function.__module__} cannot be used ({error}), so every process "
            "compiles it anew, which takes some seconds. Set NUMBA_CACHE_DIR to a folder that can "
            "be written to.",
            RuntimeWarning,
            stacklevel=2,
        )
        return made, answer
