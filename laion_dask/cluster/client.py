"""A Dask client that shows its cluster's settings and configures Dask while it is open."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress

import dask
import distributed
from dask.utils import format_bytes

from laion_dask.cluster import dask_config as held
from laion_dask.cluster.worker_recovery import NAME, ReplaceLostGpuWorker
from laion_dask.display.overview import Overview
from laion_dask.errors import MissingExtraError
from laion_dask.runtime.worker_backends import is_import_error

#: Timeout for closing a client that could not be created, in seconds.
_ABANDONED = 5


class Client(distributed.Client):
    """A `distributed` client whose repr shows the settings of its cluster. Eager.

    While it is open, it sets three Dask options in this process, where graphs are built. Of several
    such clients, the newest takes precedence. When the last one closes, the previous values are
    restored, except those that were changed in the meantime:

    - ``dataframe.convert-string`` is off: cuDF does not have pandas' Arrow strings, and a column
      keeps the dtype that it was read with;
    - ``dataframe.shuffle.method`` is set unless it already is. ``"tasks"`` keeps partitions on the
      GPU and recomputes only the partitions of a replaced worker. If no worker has a GPU it is
      ``"p2p"``, Dask's default, which moves partitions through Arrow and the disk, and so handles
      more data than fits in the workers' memory. No verb of this package shuffles, but a merge by
      the user may;
    - ``distributed.deploy.lost-worker-timeout`` is longer than its default of 15 s. After this
      time a cluster object ends the nanny of a lost worker, but the replacement of a worker
      spends part of that time on its imports and its memory pool.

    If a client cannot be created, no default client and no setting remains.

    Workers are replaced when they can no longer use their GPU: see `ReplaceLostGpuWorker`.

    Parameters
    ----------
    *args, **kwargs
        Passed to `distributed.Client`.
    settings : mapping of str to str
        The lines of the repr; the first is its headline.
    gpu : bool or None
        Whether its workers use GPUs; None if unknown.

    Raises
    ------
    MissingExtraError
        When a worker cannot import this package.
    """

    def __init__(self, *args, settings: Mapping[str, str], gpu: bool | None, **kwargs) -> None:
        self.status = "newly-created"
        self.settings, self.gpu = dict(settings), gpu
        held.hold(self, held.of_cluster(gpu))
        try:
            super().__init__(*args, **kwargs)
            self.settings |= {
                "host memory": self._host_memory(),
                "shuffle": dask.config.get("dataframe.shuffle.method"),
                "dashboard": str(self.dashboard_link),
            }
            self._register_recovery()
        except BaseException:
            self._abandon()
            raise

    def _register_recovery(self) -> None:
        try:
            self.register_plugin(ReplaceLostGpuWorker())
        except Exception as error:
            if not is_import_error(error):
                raise
            with suppress(KeyError):  # workers without this package have no such plugin
                self.unregister_worker_plugin(NAME)
            raise MissingExtraError(
                f"A worker cannot import a requirement of this package ({error}). Install the same "
                "version of laion_dask on all workers."
            ) from error

    def _abandon(self) -> None:
        """Close a half-created client, which is already registered, without waiting."""
        with suppress(Exception):
            self.close(timeout=_ABANDONED)
        self.status = "closed"  # so that it is not the default client
        held.release(self)
        held.leave_scheduler()
        runner = getattr(self, "_loop_runner", None)  # missing if the constructor failed earlier
        if runner is not None:
            runner.stop()

    def _host_memory(self) -> str:
        for worker in self.scheduler_info(n_workers=1)["workers"].values():
            limit = worker["memory_limit"]
            return f"{format_bytes(limit)} per worker" if limit else "no limit"
        return "no worker has joined yet"

    async def _ensure_connected(self, timeout: float | None = None) -> None:
        """As in `distributed`, but with a timeout for a listener that never answers."""
        patience = None if timeout is None else 2 * timeout  # to connect, and to get an answer
        address = getattr(self.scheduler, "address", None)
        try:
            await asyncio.wait_for(super()._ensure_connected(timeout=timeout), patience)
        except TimeoutError as error:
            raise OSError(
                f"The program listening at {address} did not respond like a scheduler "
                f"within {patience} s. Is it the dashboard's port?"
            ) from error

    async def _close(self, *args, **kwargs) -> None:
        """Called by `close` and `shutdown`, and when the cluster ends by itself."""
        held.release(self)
        await super()._close(*args, **kwargs)
        held.leave_scheduler()

    def __repr__(self) -> str:
        (_, headline), *settings = self.settings.items()
        width = max((len(name) for name, _ in settings), default=0)
        lines = [f"  {name.ljust(width)}  {value}" for name, value in settings]
        return "\n".join([f"<Client: {headline} ({self.status})", *lines]) + ">"

    def _repr_html_(self) -> str:
        (_, headline), *settings = self.settings.items()
        facts = {"status": self.status, **dict(settings)}
        links = {"dashboard": self.settings.get("dashboard", "")}
        return Overview(f"Client: {headline}", facts, links=links).html()
