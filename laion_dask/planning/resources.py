"""Who does a planned job: cores of this process, a client's workers, or so many GPUs."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from numbers import Integral

from dask.utils import parse_bytes
from distributed.system import MEMORY_LIMIT

from laion_dask.errors import OptionError, argument
from laion_dask.formatting import in_bytes
from laion_dask.planning.rates import CPU
from laion_dask.runtime.workers import current_client
from laion_dask.validation import whole


@dataclass(frozen=True)
class Workers:
    """Processes that share a job.

    Attributes
    ----------
    n : int
    threads : int
        Of each; 1 where a worker is a GPU.
    device : str
        ``"cpu"``, or the name of a GPU.
    memory_limit : int or None
        Bytes of host memory of each, where that is known.
    """

    n: int
    threads: int = 1
    device: str = CPU
    memory_limit: int | None = None

    @property
    def lanes(self) -> int:
        """How many partitions are worked on at once."""
        return self.n * self.threads

    def __str__(self) -> str:
        of = "" if self.n == 1 else "s"
        if self.device != CPU:
            return f"{self.n:,} GPU{of}, {self.device}"
        threads = f" of {self.threads} threads" if self.threads > 1 else ", one core each"
        limit = f", {in_bytes(self.memory_limit)} each" if self.memory_limit else ""
        return f"{self.n:,} worker{of}{threads}{limit}"


def with_limit(workers: Workers, given: str | int) -> Workers:
    """The same workers with so much memory each.

    Raises
    ------
    OptionError
        When it is no number of bytes.
    """
    try:
        given = int(given) if isinstance(given, Integral) and not isinstance(given, bool) else given
        limit = 0 if isinstance(given, bool) else int(parse_bytes(given))
    except (ValueError, AttributeError, TypeError, OverflowError):
        limit = 0
    if limit < 1:
        raise OptionError(f"memory_limit is {given!r}. Expected bytes, or such as '4GB'.")
    return replace(workers, memory_limit=limit)


def find_workers(given: int | None, device: str | None, backend: str) -> Workers:
    """So many as were given, else those of the client that is there, else this process. Eager.

    Raises
    ------
    OptionError
        When the number is no whole number from 1.
    """
    if given is not None:
        expected = "a number of workers, or None for those there are"
        return Workers(whole("workers", given, expected), device=device or CPU)
    client = current_client()
    if client is None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        threads = 1 if device not in (None, CPU) else cores or 1
        return Workers(1, threads, device or CPU, MEMORY_LIMIT)
    there = list(client.scheduler_info(n_workers=-1)["workers"].values())
    if not there:
        raise OptionError(
            f"The client has no workers yet. Wait for them, or say how many: {argument('workers')}."
        )
    if device is None and (backend == "cudf" or getattr(client, "gpu", False)):
        device = next((w["gpu"]["name"] for w in there if w.get("gpu")), "of unknown name")
    limits = [w["memory_limit"] for w in there if w["memory_limit"]]
    threads = 1
    if device in (None, CPU):
        threads = max(1, sum(w["nthreads"] for w in there) // len(there))
    return Workers(len(there), threads, device or CPU, min(limits, default=None))
