"""Filter a worker's log: omit errors raised to the caller, and tasks dropped at closing."""

from __future__ import annotations

import logging

#: The traceback of a failed task, which is also raised to the caller.
_FAILED = "Compute Failed"
#: A task dropped by a closing worker, as after an error in another task.
_LEFT_AT_CLOSE = "ended with CancelledError"


def dask_setup(worker) -> None:
    """Called by Dask when a worker starts, as a preload."""
    for name in ("distributed.worker", "distributed.worker.state_machine"):
        logging.getLogger(name).addFilter(_should_log)


def _should_log(record: logging.LogRecord) -> bool:
    message = str(record.msg)
    return not (message.startswith(_FAILED) or message.endswith(_LEFT_AT_CLOSE))
