"""Estimate the bytes, time and memory of a job before anything runs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace

import dask.dataframe as dd
import pandas as pd

from laion_dask.cost import Spec
from laion_dask.display.grid import Grid
from laion_dask.display.overview import Displayed, Overview
from laion_dask.errors import OptionError, parameter
from laion_dask.formatting import counted, in_bytes, in_time
from laion_dask.io.embeddings.embeddings import Embeddings
from laion_dask.planning.assumptions import assumptions
from laion_dask.planning.estimate import Line, line_of
from laion_dask.planning.inputs import Data
from laion_dask.planning.measured_rates import Rates, open_rates
from laion_dask.planning.passes import steps
from laion_dask.planning.resources import Workers, find_workers, with_limit
from laion_dask.planning.step import Step
from laion_dask.validation import number, whole_number

#: Notes that are printed below a plan.
SHOWN_NOTES = 5


@dataclass(frozen=True)
class Plan(Displayed):
    """An estimate of a job before it runs. Prints as a table, with its assumptions.

    Attributes
    ----------
    data : Data
        The facts from the frame's footers.
    steps : tuple of Step
    workers : Workers
    rates : Rates
    storage : float or None
        Bytes per second that the storage delivers to all workers together.
    rows : int
        The number of rows that the job is estimated for; see `scaled`.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> plan = ld.plan(frame, ["summary"])
    >>> plan.rows == len(frame)
    True
    """

    data: Data
    steps: tuple[Step, ...]
    workers: Workers
    rates: Rates
    storage: float | None
    rows: int

    @property
    def lines(self) -> list[Line]:
        """The steps with their times and memory, in order."""
        factor = self.rows / self.data.rows if self.data.rows else 0.0
        return [
            line_of(step.times(factor), self.workers, self.rates, self.storage, self.data)
            for step in self.steps
        ]

    @property
    def table(self) -> pd.DataFrame:
        """One row per step, tidy.

        ``step``; ``rows``; ``bytes_read``; ``seconds``, ``seconds_low`` and ``seconds_high``, by
        measured rates, NaN without them; ``at_best``, a lower bound in seconds by a GPU's peaks,
        NaN for other devices; ``memory_bytes`` per worker; ``limit``, what determines the time;
        ``source`` of the rate or the peaks.
        """
        return pd.DataFrame([line.row() for line in self.lines])

    @property
    def bytes_read(self) -> int:
        """Bytes read by all steps, as stored in files; writing is not included."""
        return sum(line.step.bytes_read for line in self.lines)

    @property
    def seconds(self) -> float:
        """Seconds of all steps in sequence; NaN if one has no measured rate."""
        return sum(line.seconds for line in self.lines)

    @property
    def at_best(self) -> float:
        """A lower bound of the seconds by a GPU's peaks; NaN if these are unknown."""
        return sum(line.at_best for line in self.lines)

    @property
    def memory_bytes(self) -> int:
        """Bytes per worker, for the step that needs most."""
        return max(line.memory_bytes for line in self.lines)

    def scaled(
        self,
        *,
        rows: int | None = None,
        workers: int | None = None,
        device: str | None = None,
        memory_limit: str | int | None = None,
        storage: float | None = None,
    ) -> Plan:
        """The same job for a different number of rows, or on other workers.

        Rows are assumed to be like those of the frame, in partitions of the same size. Omitted
        arguments keep their values: other workers have the same GPU and memory. Given workers have
        one thread each; ``device="cpu"`` replaces GPUs by CPU cores.

        Raises
        ------
        OptionError
            As `plan`.
        """
        rows = self.rows if rows is None else whole_number("rows", rows, "a number of rows")
        if not self.data.rows and rows:
            raise OptionError(
                f"{parameter('rows')} is {rows:,}, and the frame has none. Plan a frame with rows, "
                "since a frame without rows does not show the size of a row."
            )
        chosen = self.workers
        if workers is not None or device is not None:
            name = chosen.device if device is None else self.rates.device(device)
            n = chosen.n if workers is None else workers
            other = find_workers(n, name, self.data.backend)
            chosen = replace(other, memory_limit=chosen.memory_limit)
        if memory_limit is not None:
            chosen = with_limit(chosen, memory_limit)
        return replace(
            self,
            rows=rows,
            workers=chosen,
            storage=self.storage if storage is None else _storage(storage),
        )

    def notes(self) -> list[str]:
        """The assumptions of the numbers, and what they do not include."""
        return assumptions(self.data, self.rows, self.lines, self.workers, self.storage)

    def _shown(self) -> tuple[str, pd.DataFrame, list[str]]:
        data, workers = self.data, self.workers
        tasks = round(len(data.partitions) * self.rows / max(1, data.rows))
        head = (
            f"{counted(self.rows, 'row')} in {counted(tasks, 'partition')} of up to "
            f"{counted(data.partition_rows, 'row')}; {workers}"
        )
        if not self.rows:
            head = f"No rows, so there is nothing to read or to compute; {workers}"
        rows = [line.shown() for line in self.lines]
        if len(rows) > 1:
            total = {"step": "total", "bytes read": in_bytes(self.bytes_read)}
            timed = [line for line in self.lines if line.seconds == line.seconds]
            suffix = "" if len(timed) == len(self.lines) else " + ?"
            if timed:
                total["time"] = in_time(sum(line.seconds for line in timed)) + suffix
            if self.at_best == self.at_best:
                total["at best"] = in_time(self.at_best)
            total["memory a worker"] = in_bytes(self.memory_bytes)
            rows.append(total)
        return head, pd.DataFrame(rows).fillna(""), self.notes()

    def __str__(self) -> str:
        head, table, notes = self._shown()
        with pd.option_context("display.width", 160, "display.max_columns", 12):
            text = table.to_string(index=False)
        shown, others = notes[:SHOWN_NOTES], notes[SHOWN_NOTES:]
        if others:
            shown.append(f"{counted(len(others), 'more note')}: the plan's .notes() has all.")
        return "\n".join([head, "", text, "", *(f"- {note}" for note in shown)])

    __repr__ = __str__

    def _overview(self) -> Overview:
        head, table, notes = self._shown()
        rows = tuple(table.astype(str).itertuples(index=False, name=None))
        right = tuple(range(1, table.shape[1]))
        grid = Grid(tuple(table.columns), rows, len(rows), right=right)
        shown, others = notes[:SHOWN_NOTES], notes[SHOWN_NOTES:]
        return Overview(head, grids=[grid], notes=shown, more=others)


def plan(
    frame: dd.DataFrame,
    verbs: str | Spec | tuple | list,
    *,
    embeddings: Embeddings | None = None,
    workers: int | None = None,
    device: str | None = None,
    memory_limit: str | int | None = None,
    storage: float | None = None,
    rates: Mapping | str | os.PathLike | None = None,
) -> Plan:
    """Rows, bytes, time and memory of a job before anything runs. Eager, but reads only footers.

    Times follow from measured rates, whose source is shown. For a GPU without measured rates, there
    are only lower bounds, from the manufacturer's peaks.

    Parameters
    ----------
    frame : dask DataFrame
        A frame from `read_shards`, with or without computed columns.
    verbs : str, head, statistic, (name, argument), or a list of these
        The name of any verb, such as ``"where"``, ``"language"``, ``"statistics"``, ``"audit"`` or
        ``"export"``; a head of `laion_dask.heads`, or a statistic such as ``ld.describe()``; or a
        name with arguments: ``("where", "similarity > 0.3")``, ``("search", 1000)`` for 1,000
        queries, ``("distributions", ["similarity"])``, ``("similarity", embeddings)`` for the CLIP
        score, ``("join", "scores/", "url")``, ``("audit", "language")``, ``("train", "label")``,
        ``("embed", "ViT-L-14")``; a mapping at the end has arguments by name:
        ``("dedup", embeddings, {"n_clusters": 1000})``. Consecutive heads read the embeddings once,
        and consecutive statistics share a pass. Filters of the frame, and columns that it still has
        to compute (scores, languages, joins), are separate lines, once for each verb that computes
        them; your own masks, and functions mapped over the frame, are not counted.
    embeddings : Embeddings, optional
        Embeddings of the frame's rows; by default those that the frame was scored with.
    workers : int, optional
        The number of CPU cores, or GPUs. By default the workers of the current client, else the
        cores of this process.
    device : str, optional
        The device of the workers: ``"NVIDIA H200"``, or ``"cpu"``. By default CPU cores, or for a
        cuDF frame the GPU reported by the client's workers.
    memory_limit : str or int, optional
        Host memory per worker, such as ``"4GB"``; by default that of the client's workers.
    storage : float, optional
        Bytes per second that the storage delivers to all workers together; by default fast enough.
    rates : mapping, or path of a JSON file, optional
        Your own measured rates, which take precedence over the package's: ``{"rates": [...]}`` with
        the fields of `laion_dask.planning.measured_rates.Rate`.

    Returns
    -------
    Plan
        ``.table`` is a tidy pandas DataFrame; ``.scaled(rows=…, workers=…)`` varies the plan.

    Raises
    ------
    OptionError
        When a verb or a GPU is unknown, a number is invalid, or a step needs embeddings and there
        are none.
    ProvenanceError, PairingError, ModelMismatchError, ColumnError, PredicateError, ShardError
        When the frame does not originate from shards, and as raised by the verbs themselves.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> found = ld.plan(frame, ["summary", ("where", "width >= 256")])
    >>> list(found.table["step"])
    ['summary', 'where']
    """
    all_rates = open_rates(rates)
    name = None if device is None else all_rates.device(device)
    data, plan_steps = steps(frame, verbs, embeddings)
    available = find_workers(workers, name, data.backend)
    available = available if memory_limit is None else with_limit(available, memory_limit)
    bandwidth = None if storage is None else _storage(storage)
    return Plan(data, plan_steps, available, all_rates, bandwidth, data.rows)


def _storage(bytes_per_s: float) -> float:
    return number("storage", bytes_per_s, "bytes per second, such as 2e9")
