"""The backend of frames, pandas or cuDF, chosen by what the workers of a cluster support."""

from __future__ import annotations

import re
import time

import dask
from dask.utils import parse_timedelta

from laion_dask.backend import GPU_WITHOUT_CUDF, resolve_backend, warn_of_pandas, why_no_cudf
from laion_dask.errors import MissingExtraError, OptionError, argument
from laion_dask.runtime.workers import current_client

#: The form of an error in distributed whose type cannot be unpickled in this process.
_NO_IMPORT = re.compile(r"(ModuleNotFoundError|ImportError)\(")


def is_import_error(error: object) -> bool:
    """Whether an error of a worker or the scheduler reports a failed import."""
    return isinstance(error, ImportError) or (
        type(error) is Exception and _NO_IMPORT.match(str(error)) is not None
    )


def choose_backend(backend: str) -> str:
    """``"pandas"`` or ``"cudf"``; ``"auto"`` depends on the current workers.

    Raises
    ------
    OptionError
        For an unknown name, and for ``"auto"`` if the workers cannot be asked.
    MissingExtraError
        When cuDF is explicitly requested but not available, or the workers lack this package.

    Warns
    -----
    BackendWarning
        When ``"auto"`` chooses pandas although a GPU is visible somewhere.
    """
    client = current_client() if backend in ("auto", "cudf") else None
    if client is None:
        return resolve_backend(backend)
    if backend == "cudf":
        return _with_scheduler(client, resolve_backend(backend))
    lacking = list(ask_workers(client).values())
    if not lacking:
        raise OptionError(
            f"{argument('backend', 'auto')} follows the workers, and none has joined the "
            "scheduler. Wait for one with client.wait_for_workers(1), keep one with "
            f"cluster.adapt(minimum=1), or use {argument('backend', 'pandas')}."
        )
    n_able, reasons = lacking.count(""), " and ".join(sorted(set(lacking) - {""}))
    if n_able == len(lacking):
        local_reason, scheduler_reason = why_no_cudf(), ask_scheduler(client)
        if not (local_reason or scheduler_reason):
            return "cudf"
        process = "this process, which creates" if local_reason else "the scheduler, which receives"
        warn_of_pandas(
            f"All {n_able} workers can make cuDF frames, but {process} an empty one to describe "
            f"them, cannot: {local_reason or scheduler_reason}. Run it on a machine with a GPU, "
            "such as a job"
        )
    elif n_able:
        warn_of_pandas(
            f"{n_able} of {len(lacking)} workers can make cuDF frames; of the others, {reasons}. "
            "Connect to a cluster with identical workers"
        )
    elif GPU_WITHOUT_CUDF in lacking:
        warn_of_pandas(f"Of the workers, {reasons}. Install the extra 'laion_dask[gpu]' there")
    return "pandas"


def _with_scheduler(client, backend: str) -> str:
    """The requested backend, if the scheduler supports it.

    Raises
    ------
    MissingExtraError
        When the scheduler does not support the backend.
    """
    lacks = ask_scheduler(client)
    if lacks:
        raise MissingExtraError(
            f"{argument('backend', 'cudf')} was requested, but the scheduler receives an empty "
            "frame to describe "
            f"the others, and on the scheduler {lacks}. Start it on a machine with a GPU, with the "
            f"extra 'laion_dask[gpu]', or use {argument('backend', 'pandas')}."
        )
    return backend


def ask_scheduler(client) -> str:
    """The reason why the scheduler cannot hold an empty cuDF frame, as from `why_no_cudf`.

    A frame's meta is sent with its graph and unpickled on the scheduler.
    """
    if client.asynchronous:
        return ""  # the scheduler cannot be asked from here
    try:
        return client.run_on_scheduler(why_no_cudf)
    except Exception as error:
        if not is_import_error(error):
            raise
        return f"this package is not installed ({error})"


def ask_workers(client) -> dict[str, str]:
    """The reason why each worker, by address, cannot make cuDF frames: see `why_no_cudf`.

    Waits for the first worker up to the connection timeout, ``distributed.comm.timeouts``, since
    one may be starting or being replaced. If no worker has joined, a task also waits for one, so
    that an adaptive cluster starts it.

    Raises
    ------
    OptionError
        For an asynchronous client.
    MissingExtraError
        When a worker cannot import this package.
    """
    if client.asynchronous:
        raise OptionError(
            f"{argument('backend', 'auto')} cannot ask the workers of an asynchronous client. Use "
            f"{argument('backend', 'pandas')} or {argument('backend', 'cudf')}."
        )
    timeout = parse_timedelta(dask.config.get("distributed.comm.timeouts.connect"))
    deadline = time.monotonic() + timeout
    probe = None
    try:
        while True:
            answers = client.run(why_no_cudf, on_error="return")
            for address, answer in answers.items():
                if is_import_error(answer):
                    raise MissingExtraError(
                        f"The worker at {address} cannot import a requirement of this package "
                        f"({answer}). Install the same version of laion_dask on all workers."
                    ) from answer
            reasons = {a: answer for a, answer in answers.items() if isinstance(answer, str)}
            if reasons or time.monotonic() > deadline:
                return reasons
            if not answers and probe is None:
                probe = client.submit(time.sleep, 0, pure=False)
            time.sleep(0.1)
    finally:
        if probe is not None:
            probe.cancel()
