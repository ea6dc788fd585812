"""Apply a kernel to a frame's partitions and account for its rows in the same pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import dask.dataframe as dd
import pandas as pd

from laion_dask.backend import Frame, frame_to_arrow
from laion_dask.frame.accounting import COUNTS, AccountingInputs, Rows
from laion_dask.frame.provenance import Provenance
from laion_dask.io.parquet.scan import Scan
from laion_dask.io.parquet.scan_batches import Each, NotInBatches
from laion_dask.io.parquet.shard import Read, ScanPartition
from laion_dask.runtime import graph

V = TypeVar("V")


def map_with_accounting(
    provenance: Provenance,
    kernel: Callable[..., V],
    *args: Any,
    combine: Callable[[list[V]], V],
    label: str,
    must_account: bool = False,
    share: bool = False,
    fan_in: int = 8,
    reduction_of: Callable[..., Any] | None = None,
    record: Callable[[int, Counted[V]], Counted[V]] | None = None,
    done: Mapping[int, Counted[V]] | None = None,
) -> tuple[V, Rows | None]:
    """The combined values of a kernel over every partition, and the row counts. Eager.

    If the frame is a plain scan, each partition is read once, directly to Arrow, and undecided rows
    are counted in the same read. Otherwise they are computed alongside, from the same partitions.

    Parameters
    ----------
    provenance : Provenance
        The provenance of the frame.
    kernel : callable
        ``kernel(table, number, *args)`` returns a value of any kind; ``table`` is the partition as
        an Arrow table and ``number`` its position.
    combine : callable
        Turns several values, in the order of their partitions, into one of the same kind; applied
        as a tree.
    label : str
        Label of the progress bar.
    must_account : bool
        Whether to raise if the rows cannot be accounted for.
    share : bool
        Whether to send the arguments once, as a task of their own, instead of with every task;
        for large arguments. The partitions are then read like those of any frame.
    fan_in : int
        The number of values that one task combines; more for small values.
    reduction_of : callable, optional
        ``reduction_of(*args)`` returns None, or an object with the attributes ``add`` and
        ``lengths``, which are those of `laion_dask.io.parquet.scan_batches.Each`; it is passed to
        the kernel as ``reduced``. Used if the frame is a plain scan.
    record : callable, optional
        ``record(number, counted)`` runs in the task, after the kernel; its result is used instead.
    done : mapping of int to Counted, optional
        What is known of some partitions, which are then not read. Their values are combined after
        those of the others.

    Returns
    -------
    value : object
    rows : Rows or None
        None if the frame does not come from `read_shards`, or its rows cannot be identified.

    Raises
    ------
    ProvenanceError
        When the frame contains a row more than once.
    """
    done = done or {}
    if share or provenance.optimized_scan is None:
        inputs_of = AccountingInputs.of if must_account else AccountingInputs.where_known
        inputs, columns = inputs_of(provenance), list(provenance.frame.columns)
        arguments = graph.share(args) if share else args
        joined = [c for c in inputs.collections if _can_join(c, inputs.frame)]
        separate = [c for c in inputs.collections if not _can_join(c, inputs.frame)]
        todo = [n for n in range(inputs.frame.npartitions) if n not in done]
        frames = [
            graph.partitions(f, todo) if done and todo else f for f in (inputs.frame, *joined)
        ]
        numbers = graph.share(tuple(todo)) if done else None
        operands = (arguments, columns, numbers, *frames[1:])
        on_part = _OnPart(kernel, record)
        values = graph.map_to_values(frames[0], on_part, *operands) if todo else None
    else:
        scan, partitions, columns = provenance.optimized_scan
        inputs = AccountingInputs(provenance.frame, sum(p.n_rows for p in partitions))
        on_scan = _OnScan(scan, tuple(columns), kernel, args, reduction_of, record)
        todo, separate = [n for n in range(len(partitions)) if n not in done], []
        values = (
            graph.scan_to_values(on_scan, [partitions[n] for n in todo], todo) if todo else None
        )
    total = [graph.reduce_values(values, _Combine(combine), fan_in=fan_in)] if todo else []
    computed = graph.compute(*total, *separate, label=label) if total or separate else ()
    known = [*computed[: len(total)], *(done[n] for n in sorted(done))]
    result = known[0] if len(known) == 1 else _Combine(combine)(known)
    return result.value, inputs.balance(result.rows, [result.counts, *computed[len(total) :]])


@dataclass(frozen=True, slots=True)
class Counted(Generic[V]):
    """A value of one or more partitions, and the numbers of their rows.

    Attributes
    ----------
    value : object
    rows, unscored, rejected : int
        Only rows that the partition's own task counts; see `AccountingInputs.collections`.
    """

    value: V
    rows: int
    unscored: int
    rejected: int

    @property
    def counts(self) -> dict[str, int]:
        return {name: getattr(self, name) for name in COUNTS}


@dataclass(frozen=True)
class _Combine(Generic[V]):
    """Combines counted values: the values by a function, the numbers of rows by addition."""

    function: Callable[[list[V]], V]

    def __call__(self, counted: Iterable[Counted[V]]) -> Counted[V]:
        results = list(counted)
        value = self.function([result.value for result in results])
        sums = (sum(getattr(result, name) for result in results) for name in ("rows", *COUNTS))
        return Counted(value, *sums)


@dataclass(frozen=True)
class _OnScan(Generic[V]):
    """Applies a kernel to one partition of a scan, read directly to Arrow."""

    scan: Scan
    columns: tuple[str, ...]
    kernel: Callable[..., V]
    args: tuple[Any, ...]
    reduction_of: Callable[..., Any] | None = None
    record: Callable[[int, Counted[V]], Counted[V]] | None = None

    def __dask_tokenize__(self) -> tuple[object, ...]:
        scan = self.scan.__dask_tokenize__()
        kernel = f"{self.kernel.__module__}.{self.kernel.__qualname__}"
        return ("laion_dask.on_scan", scan, self.columns, kernel, repr(self.args))

    def __call__(self, partition: ScanPartition, number: int) -> Counted[V]:
        read, reduced = self._read(partition)
        extra = {} if reduced is None else {"reduced": reduced}
        value = self.kernel(read.table, number, *self.args, **extra)
        counted = Counted(value, len(read.table), read.unscored, read.rejected)
        return counted if self.record is None else self.record(number, counted)

    def _read(self, partition: ScanPartition) -> tuple[Read, Any]:
        """The partition and its reduction; if it cannot be read in batches, None."""
        reduced = self.reduction_of(*self.args) if self.reduction_of is not None else None
        if reduced is not None:
            with suppress(NotInBatches):
                each = Each(reduced.add, reduced.lengths)
                return self.scan.read(partition, list(self.columns), each), reduced
        return self.scan.read(partition, list(self.columns)), None


@dataclass(frozen=True)
class _OnPart(Generic[V]):
    """Applies a kernel to one partition of a frame."""

    kernel: Callable[..., V]
    record: Callable[[int, Counted[V]], Counted[V]] | None = None

    def __call__(
        self,
        part: Frame,
        args: tuple[Any, ...],
        columns: list[str],
        numbers: tuple[int, ...] | None,
        *counts: pd.DataFrame,
        partition_info: Mapping[str, int] | None = None,
    ) -> Counted[V]:
        number = (partition_info or {}).get("number", 0)
        number = number if numbers is None else numbers[number]
        table = frame_to_arrow(part if list(part.columns) == columns else part[columns])
        unscored, rejected = (sum(int(c[name].sum()) for c in counts) for name in COUNTS)
        counted = Counted(self.kernel(table, number, *args), len(table), unscored, rejected)
        return counted if self.record is None else self.record(number, counted)


def _can_join(counts: dd.DataFrame, frame: dd.DataFrame) -> bool:
    """Whether a partition's task can also compute some of the counts, so that Dask fuses them."""
    return counts.npartitions == frame.npartitions and list(counts.columns) == list(COUNTS)
