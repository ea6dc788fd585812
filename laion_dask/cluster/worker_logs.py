"""What a worker prints: not the traceback of a task that failed, which its caller raises anyway."""

from __future__ import annotations

import logging


def dask_setup(worker) -> None:
    """Run by Dask when a worker starts, as a preload."""
    logging.getLogger("distributed.worker").addFilter(_is_news)


def _is_news(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith("Compute Failed")
