"""GPU memory: release it, and retry in smaller blocks when it runs out."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable

from laion_dask.cuda_errors import is_context_corrupted, is_out_of_memory
from laion_dask.errors import DeviceLostError, DeviceMemoryError
from laion_dask.runtime import cancellation

_REMEDY = (
    "End other programs that use the GPU, leave more of it to torch with "
    "ld.start_cluster(torch_share=...), or use a smaller model."
)

_releasers: list[Callable[[], None]] = []


def on_release(release_cache: Callable[[], None]) -> None:
    """Register a function that drops caches, to be called when GPU memory is short."""
    _releasers.append(release_cache)


def release() -> None:
    """Free GPU memory that this process does not need: caches, dead tensors."""
    for release_cache in _releasers:
        release_cache()
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def run_with_oom_backoff(
    work: Callable[[int, int], object],
    n: int,
    size: int,
    *,
    min_size: int,
    noun: str = "rows",
    remedy: str = _REMEDY,
) -> None:
    """Call ``work(start, stop)`` over the range from 0 to n, block by block.

    A block that does not fit in memory is retried with half as many items, down to a minimum.

    Parameters
    ----------
    work : callable
        Idempotent: redoing a block replaces its earlier result.
    n : int
    size : int
        The largest block.
    min_size : int
        The smallest block to try.
    noun, remedy : str
        The items and the remedy, for the error message.

    Raises
    ------
    DeviceMemoryError
        When the smallest block does not fit.
    DeviceLostError
        When this process can no longer use the GPU.
    """
    start, last_try = 0, False
    while start < n:
        cancellation.check()
        stop = min(n, start + size)
        try:
            work(start, stop)
        except Exception as error:
            _raise_if_corrupted(error)
            if not is_out_of_memory(error):
                raise
            if last_try:
                block = f"a block of {stop - start:,} {noun}, the smallest that is tried"
                raise _full_error(block, error, remedy) from error
        else:
            start, last_try = stop, False
            continue
        release()  # the error no longer exists here, so its frames hold no memory
        last_try = min(size, n) <= min_size  # one last retry, now that caches are dropped
        size = max(min_size, min(size, n) // 2)


def retry_after_release(make: Callable[[], object], contents: str):
    """The result of ``make()``, retried once after caches are released.

    Raises
    ------
    DeviceMemoryError
        When the result does not fit in memory; ``contents`` names it.
    DeviceLostError
        As `run_with_oom_backoff`.
    """
    try:
        return make()
    except Exception as error:
        _raise_if_corrupted(error)
        if not is_out_of_memory(error):
            raise
    release()  # the error no longer exists here, so its frames hold no memory
    try:
        return make()
    except Exception as error:
        if is_out_of_memory(error):
            raise _full_error(contents, error, _REMEDY) from error
        raise


def _raise_if_corrupted(error: Exception) -> None:
    if is_context_corrupted(error) and not isinstance(error, DeviceLostError):
        raise DeviceLostError(
            f"This process can no longer use its GPU ({_first_line(error)}). Restart it; "
            "workers of ld.start_cluster() are replaced automatically."
        ) from error


def _full_error(contents: str, error: Exception, remedy: str) -> DeviceMemoryError:
    return DeviceMemoryError(f"Memory does not hold {contents} ({_first_line(error)}). {remedy}")


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
