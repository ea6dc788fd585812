"""Memory of the card: what running out of it looks like, and how to go on in smaller blocks."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable

from laion_dask.cuda_errors import is_out_of_memory, is_spoiled
from laion_dask.errors import DeviceLostError, DeviceMemoryError
from laion_dask.runtime import cancellation

_REMEDY = (
    "End what else uses the card, leave more of it to torch with "
    "ld.start_cluster(torch_share=...), or use a smaller model."
)

_droppers: list[Callable[[], None]] = []


def when_released(drop: Callable[[], None]) -> None:
    """Have a function called when memory is short: it drops what can be made again."""
    _droppers.append(drop)


def release() -> None:
    """Give back what this process holds on the card and does not need: caches, dead tensors."""
    for drop in _droppers:
        drop()
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def in_blocks(
    work: Callable[[int, int], object],
    n: int,
    size: int,
    *,
    least: int,
    what: str = "rows",
    remedy: str = _REMEDY,
) -> None:
    """``work(start, stop)`` over the numbers from 0 to n, block by block.

    A block for which memory does not suffice is begun anew with half as many, down to a floor.

    Parameters
    ----------
    work : callable
        What it does with a block replaces what it did with it before.
    n : int
    size : int
        Of a block, at most.
    least : int
        The floor: no block is made smaller than this.
    what, remedy : str
        What is counted, and what to do, for the error.

    Raises
    ------
    DeviceMemoryError
        When a block at the floor does not fit.
    DeviceLostError
        When the card can no longer be used by this process.
    """
    at, last_try = 0, False
    while at < n:
        cancellation.check()
        stop = min(n, at + size)
        try:
            work(at, stop)
        except Exception as error:
            _raise_if_lost(error)
            if not is_out_of_memory(error):
                raise
            if last_try:
                block = f"a block of {stop - at:,} {what}, the smallest that is tried"
                raise _full(block, error, remedy) from error
        else:
            at, last_try = stop, False
            continue
        release()  # here the error is gone, and with it what its frames held
        last_try = min(size, n) <= least  # once more now that caches are dropped
        size = max(least, min(size, n) // 2)


def made(make: Callable[[], object], what: str):
    """What a function makes, which is tried once more when caches are dropped.

    Raises
    ------
    DeviceMemoryError
        When memory does not hold it; ``what`` names it.
    DeviceLostError
        As `in_blocks`.
    """
    try:
        return make()
    except Exception as error:
        _raise_if_lost(error)
        if not is_out_of_memory(error):
            raise
    release()  # here the error is gone, and with it what its frames held
    try:
        return make()
    except Exception as error:
        if is_out_of_memory(error):
            raise _full(what, error, _REMEDY) from error
        raise


def _raise_if_lost(error: Exception) -> None:
    if is_spoiled(error) and not isinstance(error, DeviceLostError):
        raise DeviceLostError(
            f"The card can no longer be used by this process ({_first_line(error)}). Restart it; "
            "workers of ld.start_cluster() are replaced by themselves."
        ) from error


def _full(what: str, error: Exception, remedy: str) -> DeviceMemoryError:
    return DeviceMemoryError(f"Memory does not hold {what} ({_first_line(error)}). {remedy}")


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
