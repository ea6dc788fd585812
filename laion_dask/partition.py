"""Where the package meets Dask: the only caller of ``from_map``, ``map_partitions`` and compute.

Everything below this floor is a function of one partition; everything above says what it wants.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from uuid import uuid4

import dask
import dask.dataframe as dd
from dask import delayed
from dask._task_spec import Task
from dask.delayed import Delayed, unpack_collections
from dask.highlevelgraph import HighLevelGraph
from dask.utils import parse_timedelta
from tqdm.auto import tqdm
from tqdm.dask import TqdmCallback

from laion_dask.backend import (
    CARD_WITHOUT_CUDF,
    lacks_for_cudf,
    resolve_backend,
    warn_of_pandas,
)
from laion_dask.errors import DeviceLostError, MissingExtraError, OptionError
from laion_dask.io.pieces import Piece
from laion_dask.io.scan import Scan
from laion_dask.memory import is_spoiled
from laion_dask.options import is_watched

#: The topic under which a worker whose card is lost says why, for ``client.get_events``.
LOST = "laion-dask-lost-cards"


def read(scan: Scan, pieces: Sequence[Piece]) -> dd.DataFrame:
    """A frame with one partition a piece. Lazy."""
    with dask.config.set({"dataframe.convert-string": False}):
        return dd.from_map(scan, list(pieces), meta=scan.meta(), label="read-shards")


def map_columns(frame: dd.DataFrame, kernel: Callable, *args, reads: Sequence[str], meta):
    """A kernel over some columns of every partition. Lazy.

    Parameters
    ----------
    frame : dask DataFrame
    kernel : callable
        ``kernel(part, *args)``; a module-level function that takes zero rows without complaint.
    *args
        Picklable; a large one goes through `share`.
    reads : sequence of str
        The columns that the kernel reads; no others are read for it.
    meta : pandas or cuDF object of zero rows
        What comes back.
    """
    return frame[list(reads)].map_partitions(kernel, *args, meta=meta)


def share(value):
    """A large argument of a kernel: it travels once, as a task of its own, not in every task."""
    return delayed(value, traverse=False, pure=True)


def map_numbered(frame: dd.DataFrame, kernel: Callable, *args, meta):
    """``kernel(part, *args, partition_info=…)`` over whole partitions. Lazy."""
    return frame.map_partitions(kernel, *args, meta=meta)


def reduce(results: dd.DataFrame, combine: Callable, *, meta):
    """A tree reduction: ``combine`` of some results laid end to end is one result. Lazy.

    The tree is fixed by the partitions, not by the workers.
    """
    return results.reduction(combine, combine, combine=combine, meta=meta, split_every=8)


def parts(frame: dd.DataFrame) -> list:
    """A frame's partitions, one by one, for `tasks`. Lazy."""
    return frame.to_delayed()


def tasks(kernel: Callable, parts: Iterable, *args) -> list[Delayed]:
    """``kernel(part, number, *args)`` for each part, a result of any kind; see `compute`. Lazy."""
    return _layer(kernel, [(part, number, *args) for number, part in enumerate(parts)])


def tree(results: list[Delayed], combine: Callable, *args) -> Delayed:
    """One of several: ``combine(up to eight, *args)``, until one is left. Lazy."""
    while len(results) > 1:
        some = [results[at : at + 8] for at in range(0, len(results), 8)]
        results = _layer(_combined, [(combine, len(few), *few, *args) for few in some], combine)
    return results[0]


def _combined(combine: Callable, several: int, *values):
    return combine(values[:several], *values[several:])


def _layer(
    function: Callable, calls: Sequence[tuple], named: Callable | None = None
) -> list[Delayed]:
    """``function(*call)`` of every call, as tasks of one layer, much cheaper than of one each."""
    name = f"{(named or function).__name__}-{uuid4().hex}"
    layer, needed, known = {}, [], {}
    for number, call in enumerate(calls):
        given = []
        for value in call:
            if id(value) not in known:  # arguments that the calls share are looked at once
                known[id(value)] = (value, ()) if _is_plain(value) else unpack_collections(value)
                needed += known[id(value)][1]
            given.append(known[id(value)][0])
        layer[f"{name}-{number}"] = Task(f"{name}-{number}", function, *given)
    graph = HighLevelGraph.from_collections(name, layer, dependencies=needed)
    return [Delayed(key, graph, layer=name) for key in layer]


def _is_plain(value) -> bool:
    """Whether a value is sure to hold nothing lazy, which Dask takes long to find out."""
    return all(map(_is_plain, value)) if type(value) is tuple else type(value) in (int, str)


def over_pieces(kernel: Callable, pieces: Sequence[Piece], meta) -> dd.DataFrame:
    """``kernel(piece, number)`` over pieces, without reading them as a frame first. Lazy."""
    with dask.config.set({"dataframe.convert-string": False}):
        numbers = range(len(pieces))
        return dd.from_map(kernel, list(pieces), numbers, meta=meta, label="over-pieces")


def compute(*collections, label: str):
    """Compute together what shares its reading. Shows progress; Ctrl-C cancels. Eager.

    Runs on the distributed client that is there, else on Dask's threads.

    Raises
    ------
    DeviceLostError
        When the workers that ran a task were lost, or can no longer use their card.
    """
    with lost_workers_named():
        if not is_watched():
            return dask.compute(*collections)
        client = _client()
        if client is None:
            with TqdmCallback(desc=label, delay=2, leave=False):
                return dask.compute(*collections)
        return _compute_on(client, collections, label)


def _client():
    """The distributed client of this process, or None."""
    import distributed

    try:
        return distributed.get_client()
    except ValueError:
        return None


def _compute_on(client, collections, label: str):
    from distributed import as_completed, futures_of

    persisted = client.persist(list(collections))
    futures = futures_of(persisted)
    try:
        for _ in tqdm(as_completed(futures), desc=label, total=len(futures), delay=2, leave=False):
            pass
        return tuple(client.gather(client.compute(persisted)))
    finally:
        client.cancel(futures)


@contextmanager
def lost_workers_named() -> Iterator[None]:
    """Inside it, an error that says that a worker or a card is lost is a `DeviceLostError`."""
    try:
        yield
    except Exception as error:
        distributed = sys.modules.get("distributed")
        if distributed is not None and isinstance(error, distributed.KilledWorker):
            raise DeviceLostError(_how_lost(error)) from error
        if is_spoiled(error) and not isinstance(error, DeviceLostError):
            raise DeviceLostError(
                f"The card can no longer be used by the process that ran this ({error}). Restart "
                "it: this Python, or with client.restart() workers that have no nanny."
            ) from error
        raise


def _how_lost(error) -> str:
    """The words for a ``KilledWorker``, with what the last worker said, where it said something."""
    last = error.last_worker.address
    client = _client()
    events = client.get_events(LOST) if client is not None and not client.asynchronous else ()
    said = [event for _, event in events if event["worker"] == last]
    start = f"{error.allowed_failures + 1} workers ended while they had the task {error.task!r}"
    if said:
        return (
            f"{start}, so it is not tried again. The last one ended because its card could no "
            f"longer be used, after {said[-1]['error']} in the task {said[-1]['task']!r}. Run that "
            "one by itself to see where it comes from; other jobs can go on."
        )
    return (
        f"{start}, the last one at {last}, so it is not tried again. It said nothing of its card, "
        "so most likely the memory of its machine was full; its log tells. Use fewer workers or a "
        "larger memory_limit, or read_shards with a smaller max_rows_per_partition."
    )


def choose_backend(backend: str) -> str:
    """``"pandas"`` or ``"cudf"``; ``"auto"`` asks the workers that are there now.

    Raises
    ------
    OptionError
        For a name that is none, and for ``"auto"`` when no worker can be asked.
    MissingExtraError
        When cuDF is asked for by name and cannot be had here, or the workers lack this package.

    Warns
    -----
    BackendWarning
        When ``"auto"`` is pandas although a card is visible somewhere.
    """
    client = _client() if backend == "auto" else None
    if client is None:
        return resolve_backend(backend)
    lacking = list(ask_workers(client).values())
    if not lacking:
        raise OptionError(
            "backend='auto' follows the workers, and none has joined the scheduler. Wait for one "
            "with client.wait_for_workers(1), or say backend='pandas' or backend='cudf'."
        )
    able, reasons = lacking.count(""), " and ".join(sorted(set(lacking) - {""}))
    if able == len(lacking):
        here = lacks_for_cudf()
        if not here:
            return "cudf"
        warn_of_pandas(
            f"All {able} workers can make cuDF frames, but this process, which makes an empty one "
            f"to describe them, cannot: {here}. Run it on a machine with a card, such as a job"
        )
    elif able:
        warn_of_pandas(
            f"{able} of {len(lacking)} workers can make cuDF frames; of the others, {reasons}. "
            "Connect to a cluster whose workers are all alike"
        )
    elif CARD_WITHOUT_CUDF in lacking:
        warn_of_pandas(f"Of the workers, {reasons}. Install the extra 'laion_dask[gpu]' there")
    return "pandas"


def ask_workers(client) -> dict[str, str]:
    """Of each worker, by its address, why it cannot make cuDF frames: see `lacks_for_cudf`.

    Waits for the first worker as long as a connection may take, ``distributed.comm.timeouts``:
    one may be on its way, or being replaced.

    Raises
    ------
    OptionError
        For an asynchronous client.
    MissingExtraError
        When a worker cannot import this package.
    """
    if client.asynchronous:
        raise OptionError(
            "backend='auto' cannot ask the workers of an asynchronous client. Say "
            "backend='pandas' or backend='cudf'."
        )
    patience = parse_timedelta(dask.config.get("distributed.comm.timeouts.connect"))
    until = time.monotonic() + patience
    while True:
        answers = client.run(lacks_for_cudf, on_error="return")
        for address, answer in answers.items():
            if isinstance(answer, ImportError):
                raise MissingExtraError(
                    f"The worker at {address} cannot import what this package needs ({answer}). "
                    "Install the same version of laion_dask on all workers."
                ) from answer
        said = {a: answer for a, answer in answers.items() if isinstance(answer, str)}
        if said or time.monotonic() > until:
            return said
        time.sleep(0.1)
