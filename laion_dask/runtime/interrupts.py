"""Ctrl-C and Jupyter's Interrupt stop a verb, also one that an ``async`` cell or function calls.

While a coroutine runs, IPython's kernel and `asyncio.run` answer SIGINT by canceling its task. That
takes effect when the coroutine next awaits, but a verb does not await: it would run to its end.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from laion_dask.notebook_traceback import brief_interrupts, shown_briefly

#: Handlers that raise, or that the user has chosen in order not to be interrupted.
_PLAIN = (signal.default_int_handler, signal.SIG_DFL, signal.SIG_IGN, None)


@contextmanager
def interruptible() -> Iterator[None]:
    """A context in which an interrupt ends what runs in this thread.

    Raises
    ------
    KeyboardInterrupt
        At an interrupt.
    asyncio.CancelledError
        At an interrupt in a coroutine, whose task is canceled, too: a KeyboardInterrupt would end
        the event loop, and with it a notebook's kernel.
    """
    handler = signal.getsignal(signal.SIGINT) if _is_in_loop() else None
    with brief_interrupts():
        if handler in _PLAIN or not callable(handler):
            yield
            return

        def stop(number: int, frame: FrameType | None) -> None:
            handler(number, frame)
            raise KeyboardInterrupt

        signal.signal(signal.SIGINT, stop)
        try:
            yield
        except KeyboardInterrupt as error:
            canceled = asyncio.CancelledError("The verb was interrupted.")
            shown_briefly(canceled)
            raise canceled from error
        finally:
            signal.signal(signal.SIGINT, handler)


def _is_in_loop() -> bool:
    """Whether this is the main thread, the only one that gets signals, and runs an event loop."""
    if threading.current_thread() is not threading.main_thread():
        return False
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
