"""A worker that can no longer use its card is ended, so that its nanny starts another."""

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
NAME = "laion-dask-replace-spoiled"
#: The exit status of such a worker: EX_SOFTWARE of BSD's sysexits.h.
EXIT_STATUS = 70
#: How long a worker that ends tries to tell the scheduler why, in seconds.
_LAST_WORDS = 5
#: How old a worker has to be before it ends, in seconds: a nanny loses sight of one that ends
#: before its greeting, which the nanny looks for 20 times a second (`distributed.nanny`,
#: ``WorkerProcess._wait_until_connected``), and does not start another.
_GREETED = 2

logger = logging.getLogger(__name__)


class ReplaceSpoiled(distributed.WorkerPlugin):
    """Ends a worker's process when a task fails with an error that spoils its CUDA context.

    All later calls of such a process to its card fail too (CUDA Runtime API, ``cudaError``), so
    every shard after the first would be lost. The worker tells its plugins of a failed task before
    it tells the scheduler (`distributed.worker_state_machine`, ``_transition``): where the process
    ends there, the scheduler sees a lost worker instead of a failed task, and gives the task to
    another. After ``distributed.scheduler.allowed-failures`` losses more it gives up with
    ``KilledWorker``, which `laion_dask.runtime.graph.compute` raises as a `DeviceLostError`.

    A worker without a nanny is left alone: nobody would start it again, and it may be a thread of
    the caller's process. The error itself comes out.
    """

    name = NAME
    idempotent = True

    def setup(self, worker) -> None:
        self._worker = worker
        self._since = time.monotonic()
        if worker.nanny is not None:  # a process of its own
            dask.config.set({"dataframe.convert-string": False})

    def transition(self, key, start, finish, **_) -> None:
        if finish != "error" or self._worker.nanny is None:
            return
        task = self._worker.state.tasks.get(key)
        error = spoiling(task) if task is not None and task.exception is not None else None
        if error is not None:
            logger.error(
                "The card can no longer be used by this process, which ends; its nanny starts "
                "another. Task %r: %s",
                key,
                error,
            )
            self._tell(str(key), error)
            time.sleep(max(0, self._since + _GREETED - time.monotonic()))
            logging.shutdown()
            os._exit(EXIT_STATUS)

    def _tell(self, task: str, error: str) -> None:
        """Leave the reason with the scheduler, where `lost_workers_named` finds it."""
        worker = self._worker
        event = {"worker": worker.address, "task": task, "error": error}

        async def tell() -> None:
            to = distributed.rpc(worker.scheduler.address, connection_args=worker.connection_args)
            async with to as scheduler:
                await scheduler.log_event(topic=LOST, msg=event)

        # The worker's own loop waits here, so that it cannot send the error as a failed task's.
        words = threading.Thread(target=asyncio.run, args=(tell(),), daemon=True)
        words.start()
        words.join(_LAST_WORDS)


def spoiling(task) -> str | None:
    """The error of a worker's failed task as text, if it spoils the context, or None.

    Where it came from another that does, that one is named too.
    """
    text = task.exception_text
    try:
        error = pickle.loads(task.exception.data)
    except Exception:
        return text if is_context_corrupted(text) else None
    if type(error) is Exception:  # what stands for an error that cannot be pickled
        return text if is_context_corrupted(text) else None
    cause = corrupting_error(error)
    if cause is None or cause is error:
        return text if cause is error else None
    return f"{text} (from {cause!r})"
