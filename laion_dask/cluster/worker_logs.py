"""What a worker logs: no error that its caller raises, and no task that it drops as it closes."""

from __future__ import annotations

import logging

#: The traceback of a task that failed: its caller raises it.
_FAILED = "Compute Failed"
#: A task that a closing worker drops, as it does after an error in another.
_LEFT_AT_CLOSE = "ended with CancelledError"


def dask_setup(worker) -> None:
    """Run by Dask when a worker starts, as a preload."""
    for name in ("distributed.worker", "distributed.worker.state_machine"):
        logging.getLogger(name).addFilter(_is_news)


def _is_news(record: logging.LogRecord) -> bool:
    said = str(record.msg)
    return not (said.startswith(_FAILED) or said.endswith(_LEFT_AT_CLOSE))
