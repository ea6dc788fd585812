"""End a worker that can no longer use its GPU, so that its nanny starts another."""

from __future__ import annotations

import asyncio
import logging
import os
import pickle
import threading
import time

import dask
import distributed

from laion_dask.cuda_errors import corrupting_error, is_context_corrupted
from laion_dask.runtime.workers import LOST

#: The plugin's name on the scheduler.
NAME = "laion-dask-replace-lost-gpu-worker"
#: The exit status of such a worker: EX_SOFTWARE in BSD's sysexits.h.
EXIT_STATUS = 70
#: Timeout for reporting the reason to the scheduler before the worker ends, in seconds.
_REPORT_TIMEOUT = 5
#: The minimum age of a worker before it ends, in seconds: a nanny does not replace a worker that
#: ends before the nanny has received its first message, for which it polls 20 times a second
#: (`distributed.nanny`, ``WorkerProcess._wait_until_connected``).
_MIN_AGE = 2

logger = logging.getLogger(__name__)


class ReplaceLostGpuWorker(distributed.WorkerPlugin):
    """End a worker's process when a task fails with an error that corrupts its CUDA context.

    In such a process, all later calls to its GPU also fail (CUDA Runtime API, ``cudaError``), so
    every shard after the first would be lost. The worker notifies its plugins of a failed task
    before it notifies the scheduler (`distributed.worker_state_machine`, ``_transition``). If the
    process ends at that point, the scheduler sees a lost worker instead of a failed task, and
    assigns the task to another worker. After ``distributed.scheduler.allowed-failures`` further
    losses it gives up with ``KilledWorker``, which `laion_dask.runtime.graph.compute` raises as a
    `DeviceLostError`.

    A worker without a nanny is not ended: it would not be restarted, and it may be a thread of the
    caller's process. The error itself is raised.
    """

    name = NAME
    idempotent = True

    def setup(self, worker) -> None:
        self._worker = worker
        self._since = time.monotonic()
        if worker.nanny is not None:  # it runs in a separate process
            dask.config.set({"dataframe.convert-string": False})

    def transition(self, key, start, finish, **_) -> None:
        if finish != "error" or self._worker.nanny is None:
            return
        task = self._worker.state.tasks.get(key)
        error = (
            corrupting_error_text(task) if task is not None and task.exception is not None else None
        )
        if error is not None:
            logger.error(
                "This process can no longer use its GPU and ends; its nanny starts another. "
                "Task %r: %s",
                key,
                error,
            )
            self._tell(str(key), error)
            time.sleep(max(0, self._since + _MIN_AGE - time.monotonic()))
            logging.shutdown()
            os._exit(EXIT_STATUS)

    def _tell(self, task: str, error: str) -> None:
        """Report the reason to the scheduler, where `lost_workers_named` finds it."""
        worker = self._worker
        event = {"worker": worker.address, "task": task, "error": error}

        async def tell() -> None:
            to = distributed.rpc(worker.scheduler.address, connection_args=worker.connection_args)
            async with to as scheduler:
                await scheduler.log_event(topic=LOST, msg=event)

        # Block the worker's own loop, so that it cannot report the error as a failed task.
        words = threading.Thread(target=asyncio.run, args=(tell(),), daemon=True)
        words.start()
        words.join(_REPORT_TIMEOUT)


def corrupting_error_text(task) -> str | None:
    """The error of a worker's failed task as text, if it corrupts the context, or None.

    If the error was caused by a corrupting error, the text names both.
    """
    text = task.exception_text
    try:
        error = pickle.loads(task.exception.data)
    except Exception:
        return text if is_context_corrupted(text) else None
    if type(error) is Exception:  # a placeholder for an error that cannot be pickled
        return text if is_context_corrupted(text) else None
    cause = corrupting_error(error)
    if cause is None or cause is error:
        return text if cause is error else None
    return f"{text} (from {cause!r})"
