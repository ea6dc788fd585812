"""What a job reads, how long it takes and what memory it needs, before anything runs."""

from __future__ import annotations

import html
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace

import dask.dataframe as dd
import pandas as pd

from laion_dask.cost import Spec
from laion_dask.errors import OptionError, parameter
from laion_dask.formatting import counted, in_bytes, in_time
from laion_dask.io.embeddings.embeddings import Embeddings
from laion_dask.planning.estimate import Line, line_of, measured
from laion_dask.planning.inputs import Data
from laion_dask.planning.passes import steps
from laion_dask.planning.rates import CPU, Rates, open_rates
from laion_dask.planning.resources import Workers, find_workers, with_limit
from laion_dask.planning.step import Step
from laion_dask.stats.table import in_scroll
from laion_dask.validation import number, whole


@dataclass(frozen=True)
class Plan:
    """A job, counted before it runs. Prints as a table, and what it rests on.

    Attributes
    ----------
    data : Data
        What footers tell of the frame.
    steps : tuple of Step
    workers : Workers
    rates : Rates
    storage : float or None
        Bytes a second that the storage gives to all workers together.
    rows : int
        That the job is counted for; see `scaled`.
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
        """One row a step, tidy.

        ``step``; ``rows``; ``bytes_read``; ``seconds``, ``seconds_low`` and ``seconds_high``, by
        measured rates, NaN where there is none; ``at_best``, seconds below which a GPU's peaks
        do not let it, NaN for others; ``memory_bytes`` of a worker; ``limit``, what the time goes
        by; ``source`` of the rate or the peaks.
        """
        return pd.DataFrame([line.row() for line in self.lines])

    @property
    def bytes_read(self) -> int:
        """Of all steps, as files hold them; what is written is not in it."""
        return sum(line.step.bytes_read for line in self.lines)

    @property
    def seconds(self) -> float:
        """Of all steps one behind the other; NaN where one has no measured rate."""
        return sum(line.seconds for line in self.lines)

    @property
    def at_best(self) -> float:
        """Seconds that a GPU's peaks leave at least; NaN where they are not known."""
        return sum(line.at_best for line in self.lines)

    @property
    def memory_bytes(self) -> int:
        """Of a worker, for the step that needs most."""
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
        """The same job over so many rows, by other workers.

        Rows are taken to be like those of the frame, in partitions as large. What is not given
        stays: of other workers the GPU and the memory of each. Workers that are given have one
        thread each; ``device="cpu"`` makes cores of GPUs.

        Raises
        ------
        OptionError
            As `plan`.
        """
        rows = self.rows if rows is None else whole("rows", rows, "a number of rows")
        if not self.data.rows and rows:
            raise OptionError(
                f"{parameter('rows')} is {rows:,}, and the frame has none. Plan one that has: a "
                "frame without rows does not tell what a row takes."
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
        """What the numbers rest on, and what they leave out."""
        lines = self.lines
        said = [warning for line in lines if (warning := line.too_large(self.data))]
        if self.rows != self.data.rows:
            said.append(f"Scaled from {self.data.rows:,} rows, as if all were like these.")
        if len(self.data.shards) > len(self.data.sizes):
            said.append(
                f"Columns' bytes by the footers of {len(self.data.sizes)} of "
                f"{len(self.data.shards):,} shards; the others by the size of their files."
            )
        if self.data.filtered:
            names = ", ".join(sorted(self.data.filtered))
            said.append(
                f"As if every row passed the filter (on {names}): how many do is not known."
            )
        said += dict.fromkeys(note for line in lines for note in line.step.notes)
        said += dict.fromkeys(note for line in lines for note in line.notes)
        unknown = dict.fromkeys(repr(name) for line in lines for name in line.unmeasured)
        if unknown:
            who = "a core" if self.workers.device == CPU else f"a GPU, {self.workers.device}"
            said.append(
                f"Nothing has been measured on {who} of {', '.join(unknown)}: give rates= of your "
                "own for a time."
            )
        return [*said, *measured(lines), *self._about_gpus(lines), self._about_storage()]

    def _about_gpus(self, lines: list[Line]) -> list[str]:
        if self.workers.device == CPU:
            return []
        held = max(line.step.row_memory for line in lines) * self.data.partition_rows
        said = [
            f"Memory is the host's; on the GPU a partition takes about {in_bytes(held)}, "
            "beside blocks of embeddings, which are halved where they do not fit."
        ]
        gpus = dict.fromkeys(line.gpu for line in lines if line.gpu)
        peaks = [f"Peaks of {gpu.name}: {gpu.source}." for gpu in gpus]
        others = [gpu.name for gpu in gpus if gpu.name != self.workers.device]
        peaks += [f"They stand for those of {self.workers.device}." for _ in others]
        if peaks:
            said.append(
                "At best is what the peaks do not let it fall below, with perfect overlap: a "
                "bound, no projection. No step marked so has been measured on such a GPU."
            )
        return [*said, *peaks]

    def _about_storage(self) -> str:
        if self.storage is not None:
            return f"Storage: {in_bytes(self.storage)}/s for all workers together, as given."
        if not self.bytes_read:
            return "Storage counts as fast enough; nothing is read that a plan knows of."
        need = max((line.needs for line in self.lines), default=0.0)
        if not need:
            return (
                "Storage counts as fast enough. How fast that is cannot be said: no step that "
                "reads has been measured. Say with storage what it gives."
            )
        return (
            "Storage counts as fast enough: it would have to give "
            f"{in_bytes(need)}/s for all workers together. Say with storage what it gives."
        )

    def _shown(self) -> tuple[str, pd.DataFrame, list[str]]:
        data, workers = self.data, self.workers
        tasks = round(len(data.pieces) * self.rows / max(1, data.rows))
        head = (
            f"{counted(self.rows, 'row')} in {counted(tasks, 'partition')} of up to "
            f"{counted(data.partition_rows, 'row')}; {workers}"
        )
        if not self.rows:
            head = f"No rows, so there is nothing to read or to compute; {workers}"
        rows = [line.shown() for line in self.lines]
        if len(rows) > 1:
            total = {"step": "total", "bytes read": in_bytes(self.bytes_read)}
            known = [line for line in self.lines if line.seconds == line.seconds]
            more = "" if len(known) == len(self.lines) else " + ?"
            if known:
                total["time"] = in_time(sum(line.seconds for line in known)) + more
            if self.at_best == self.at_best:
                total["at best"] = in_time(self.at_best)
            total["memory a worker"] = in_bytes(self.memory_bytes)
            rows.append(total)
        return head, pd.DataFrame(rows).fillna(""), self.notes()

    def __str__(self) -> str:
        head, table, notes = self._shown()
        with pd.option_context("display.width", 160, "display.max_columns", 12):
            text = table.to_string(index=False)
        return "\n".join([head, "", text, "", *(f"- {note}" for note in notes)])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        head, table, notes = self._shown()
        said = "".join(f"<li>{html.escape(note)}</li>" for note in notes)
        return f"<p>{html.escape(head)}</p>{in_scroll(table.to_html(index=False))}<ul>{said}</ul>"


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
    """Rows, bytes, time and memory of a job before anything runs. Eager, but reads footers only.

    Times are those of measured rates, and say of which. For a GPU for which nothing has been
    measured there are only bounds, by its maker's peaks.

    Parameters
    ----------
    frame : dask DataFrame
        Of `read_shards`, computed columns or none.
    verbs : str, head, statistic, (name, argument), or a list of these
        The name of any verb, such as ``"where"``, ``"language"``, ``"statistics"``, ``"audit"`` or
        ``"export"``; a head of `laion_dask.heads`, or a statistic such as ``ld.describe()``; or a
        name with arguments: ``("where", "similarity > 0.3")``, ``("search", 1000)`` for so many
        queries, ``("distributions", ["similarity"])``, ``("similarity", embeddings)`` for the CLIP
        score, ``("join", "scores/", "url")``, ``("audit", "language")``, ``("train", "label")``,
        ``("embed", "ViT-L-14")``. Heads that follow one another read the embeddings once, and
        statistics that follow one another share a pass. Columns that the frame itself has still to
        compute (scores, languages, joins) are lines of their own, once for each verb that computes
        them; functions of your own that are mapped over it are not counted.
    embeddings : Embeddings, optional
        Of the frame's rows; by default those that the frame was scored with.
    workers : int, optional
        So many cores, or GPUs. By default the workers of the client that is there, else the
        cores of this process.
    device : str, optional
        What the workers are: ``"NVIDIA H200"``, or ``"cpu"``. By default cores, or, if the frame is
        cuDF's, what the client's workers say.
    memory_limit : str or int, optional
        Host memory of each worker, such as ``"4GB"``; by default what a client's workers have.
    storage : float, optional
        Bytes a second that the storage gives to all workers together; by default fast enough.
    rates : mapping, or path of a JSON file, optional
        Rates measured by yourself, before those of the package: ``{"rates": [...]}`` with the
        fields of `laion_dask.planning.rates.Rate`.

    Returns
    -------
    Plan
        ``.table`` is a tidy pandas DataFrame; ``.scaled(rows=…, workers=…)`` asks for more.

    Raises
    ------
    OptionError
        When a verb or a GPU is not known, a number is none, or a step needs embeddings and there
        are none.
    ProvenanceError, PairingError, ModelMismatchError, ColumnError, PredicateError, ShardError
        When the frame does not lead back to shards, and as the verbs themselves do.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> found = ld.plan(frame, ["summary", ("where", "width >= 256")])
    >>> list(found.table["step"])
    ['summary', 'where']
    """
    known = open_rates(rates)
    name = None if device is None else known.device(device)
    data, made = steps(frame, verbs, embeddings)
    there = find_workers(workers, name, data.backend)
    there = there if memory_limit is None else with_limit(there, memory_limit)
    given = None if storage is None else _storage(storage)
    return Plan(data, made, there, known, given, data.rows)


def _storage(given: float) -> float:
    return number("storage", given, "bytes a second, such as 2e9")
