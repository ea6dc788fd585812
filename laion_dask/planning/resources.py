"""The workers of a planned job: cores of this process, a client's workers, or GPUs."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from numbers import Integral

from dask.utils import parse_bytes
from distributed.system import MEMORY_LIMIT

from laion_dask.errors import OptionError, argument
from laion_dask.formatting import in_bytes
from laion_dask.planning.measured_rates import CPU
from laion_dask.runtime.workers import current_client
from laion_dask.validation import whole_number


@dataclass(frozen=True)
class Workers:
    """Processes that share a job.

    Attributes
    ----------
    n : int
    threads : int
        Threads per worker; 1 if a worker is a GPU.
    device : str
        ``"cpu"``, or the name of a GPU.
    memory_limit : int or None
        Bytes of host memory per worker, if known.
    """

    n: int
    threads: int = 1
    device: str = CPU
    memory_limit: int | None = None

    @property
    def n_concurrent(self) -> int:
        """The number of partitions processed concurrently."""
        return self.n * self.threads

    def __str__(self) -> str:
        of = "" if self.n == 1 else "s"
        if self.device != CPU:
            return f"{self.n:,} GPU{of}, {self.device}"
        threads = f" of {self.threads} threads" if self.threads > 1 else ", one core each"
        limit = f", {in_bytes(self.memory_limit)} each" if self.memory_limit else ""
        return f"{self.n:,} worker{of}{threads}{limit}"


def with_limit(workers: Workers, memory_limit: str | int) -> Workers:
    """The same workers with a different memory limit each.

    Raises
    ------
    OptionError
        When ``memory_limit`` is not a number of bytes.
    """
    try:
        memory_limit = (
            int(memory_limit)
            if isinstance(memory_limit, Integral) and not isinstance(memory_limit, bool)
            else memory_limit
        )
        limit = 0 if isinstance(memory_limit, bool) else int(parse_bytes(memory_limit))
    except (ValueError, AttributeError, TypeError, OverflowError):
        limit = 0
    if limit < 1:
        raise OptionError(
            f"memory_limit is {memory_limit!r}. Expected a number of bytes, or a text such as "
            "'4GB'."
        )
    return replace(workers, memory_limit=limit)


def find_workers(n_workers: int | None, device: str | None, backend: str) -> Workers:
    """The given number of workers, else those of the current client, else this process. Eager.

    Raises
    ------
    OptionError
        When the number is not an integer of at least 1.
    """
    if n_workers is not None:
        expected = "a number of workers, or None for the current ones"
        return Workers(whole_number("workers", n_workers, expected), device=device or CPU)
    client = current_client()
    if client is None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        threads = 1 if device not in (None, CPU) else cores or 1
        return Workers(1, threads, device or CPU, MEMORY_LIMIT)
    infos = list(client.scheduler_info(n_workers=-1)["workers"].values())
    if not infos:
        raise OptionError(
            f"The client has no workers yet. Wait for them, or give {argument('workers')}."
        )
    if device is None and (backend == "cudf" or getattr(client, "gpu", False)):
        device = next((w["gpu"]["name"] for w in infos if w.get("gpu")), "of unknown name")
    limits = [w["memory_limit"] for w in infos if w["memory_limit"]]
    threads = 1
    if device in (None, CPU):
        threads = max(1, sum(w["nthreads"] for w in infos) // len(infos))
    return Workers(len(infos), threads, device or CPU, min(limits, default=None))
