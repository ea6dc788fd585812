"""A Dask client that shows how its workers were set up, and what holds while it is open."""

from __future__ import annotations

import asyncio
import html
from collections.abc import Mapping
from contextlib import suppress

import dask
import distributed
from dask.utils import format_bytes

from laion_dask.cluster import dask_config as held
from laion_dask.cluster.worker_recovery import NAME, ReplaceSpoiled
from laion_dask.errors import MissingExtraError
from laion_dask.runtime.workers import is_import_error

#: How long a client that could not be made may take to close, in seconds.
_ABANDONED = 5


class Client(distributed.Client):
    """A client of `distributed`, whose repr prints the settings of the cluster. Eager.

    While it is open, three of Dask's settings hold in this process, where graphs are built; of
    several such clients the newest counts, and with the last one comes back what was there before,
    but for what somebody else has set since:

    - ``dataframe.convert-string`` is off: cuDF has no strings of pandas' Arrow kind, and a column
      keeps the type that it was read with;
    - ``dataframe.shuffle.method`` is set, unless it is already: ``"tasks"``, which keeps
      partitions on the card and computes again only what a replaced worker held, or where no
      worker has a card ``"p2p"``, Dask's own default, which sends them through Arrow and the disk
      and so moves more than the workers' memory holds. No verb of this package shuffles; a merge
      by the user may;
    - ``distributed.deploy.lost-worker-timeout``, 15 s by default, after which a cluster object
      ends the nanny of a worker that has gone, is longer: a worker that is being replaced needs
      some of that for its imports and its pool.

    A client that cannot be made leaves nothing behind: no default client and no setting.

    Its workers are replaced when their card can no longer be used: see `ReplaceSpoiled`.

    Parameters
    ----------
    *args, **kwargs
        Of `distributed.Client`.
    settings : mapping of str to str
        What the repr prints, line by line; the first is its headline.
    gpu : bool or None
        Whether its workers are on cards; None where that is not known.

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
            self._replace_spoiled()
        except BaseException:
            self._abandon()
            raise

    def _replace_spoiled(self) -> None:
        try:
            self.register_plugin(ReplaceSpoiled())
        except Exception as error:
            if not is_import_error(error):
                raise
            with suppress(KeyError):  # workers that cannot import it have not got it
                self.unregister_worker_plugin(NAME)
            raise MissingExtraError(
                f"A worker cannot import what this package needs ({error}). Install the same "
                "version of laion_dask on all workers."
            ) from error

    def _abandon(self) -> None:
        """Close what is half made, and wait for nobody: `distributed` has registered it already."""
        with suppress(Exception):
            self.close(timeout=_ABANDONED)
        self.status = "closed"  # so it is not the default client, however far it came
        held.let_go(self)
        held.leave_scheduler()
        runner = getattr(self, "_loop_runner", None)  # not there if it failed before
        if runner is not None:
            runner.stop()

    def _host_memory(self) -> str:
        for worker in self.scheduler_info(n_workers=1)["workers"].values():
            limit = worker["memory_limit"]
            return f"{format_bytes(limit)} a worker" if limit else "no limit"
        return "no worker has joined yet"

    async def _ensure_connected(self, timeout: float | None = None) -> None:
        """As there, where what takes the connection and never answers is waited for for ever."""
        patience = None if timeout is None else 2 * timeout  # to connect, and to be answered
        address = getattr(self.scheduler, "address", None)
        try:
            await asyncio.wait_for(super()._ensure_connected(timeout=timeout), patience)
        except TimeoutError as error:
            raise OSError(
                f"What listens at {address} did not answer as a scheduler does "
                f"within {patience} s. Is it the dashboard's port?"
            ) from error

    async def _close(self, *args, **kwargs) -> None:
        """Behind `close` and `shutdown`, and when the cluster ends by itself."""
        held.let_go(self)
        await super()._close(*args, **kwargs)
        held.leave_scheduler()

    def __repr__(self) -> str:
        (_, headline), *rest = self.settings.items()
        wide = max((len(name) for name, _ in rest), default=0)
        lines = [f"  {name.ljust(wide)}  {value}" for name, value in rest]
        return "\n".join([f"<Client: {headline} ({self.status})", *lines]) + ">"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th style='text-align:left'>{html.escape(name)}</th>"
            f"<td style='text-align:left'>{html.escape(value)}</td></tr>"
            for name, value in self.settings.items()
        )
        return f"<table>{rows}</table>{super()._repr_html_()}"
