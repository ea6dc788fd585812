"""A Dask client that shows how its workers were set up, and what holds while it is open."""

from __future__ import annotations

import html
from collections.abc import Mapping

import dask
import distributed
from dask.utils import format_bytes

from laion_dask.cluster.replace import NAME, ReplaceSpoiled
from laion_dask.errors import MissingExtraError


class Client(distributed.Client):
    """A client of `distributed`, whose repr prints the settings of the cluster. Eager.

    While it is open, three of Dask's settings hold in this process, where graphs are built;
    closing it puts back what was there:

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
        self._replaced: dict[str, tuple] = {}  # of a setting, what it is here and what it was
        self.settings, self.gpu = dict(settings), gpu
        super().__init__(*args, **kwargs)
        self._set("dataframe.convert-string", False)
        if dask.config.get("dataframe.shuffle.method", None) is None:
            self._set("dataframe.shuffle.method", "p2p" if gpu is False else "tasks")
        # A nanny on this machine is there as long as the cluster; a job of a queue may be gone.
        self._set("distributed.deploy.lost-worker-timeout", "2m" if gpu is None else "1h")
        self.settings |= {
            "host memory": self._host_memory(),
            "shuffle": dask.config.get("dataframe.shuffle.method"),
            "dashboard": str(self.dashboard_link),
        }
        try:
            self.register_plugin(ReplaceSpoiled())
        except ImportError as error:
            self.unregister_worker_plugin(NAME)
            self.close()
            raise MissingExtraError(
                f"A worker cannot import what this package needs ({error}). Install the same "
                "version of laion_dask on all workers."
            ) from error

    def _host_memory(self) -> str:
        for worker in self.scheduler_info(n_workers=1)["workers"].values():
            limit = worker["memory_limit"]
            return f"{format_bytes(limit)} a worker" if limit else "no limit"
        return "no worker has joined yet"

    def _set(self, name: str, value) -> None:
        self._replaced[name] = (value, dask.config.get(name, None))
        dask.config.set({name: value})

    def _put_back(self) -> None:
        """What was set before, where nobody else has set it since."""
        while self._replaced:
            name, (ours, before) = self._replaced.popitem()
            if dask.config.get(name, None) == ours:
                dask.config.set({name: before})

    def close(self, *args, **kwargs):
        """Close the client; the cluster stays."""
        self._put_back()
        return super().close(*args, **kwargs)

    def shutdown(self):
        """End the workers and the scheduler, and close the client."""
        self._put_back()
        return super().shutdown()

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
