"""The interface of a statistic (chunk, combine, finalize) and the partition its chunks share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, ClassVar, Self, TypeVar, cast

import numpy as np
import pandas as pd
import pyarrow as pa

from laion_dask.aggregations.engine.reduction import Accumulator, Factory, Reduction
from laion_dask.backend import frame_from_arrow
from laion_dask.cost import Cost
from laion_dask.display.overview import Displayed
from laion_dask.dtypes import decoded
from laion_dask.predicate import Predicate, certain_and_possible

T = TypeVar("T")
A = TypeVar("A", bound=Accumulator)


class Partition:
    """One partition of a frame, shared by the chunks of all statistics in a pass.

    Parameters
    ----------
    table : pyarrow.Table
        The columns that the statistics of the pass read. Dictionary columns are decoded.
    statistics : tuple of Statistic
        All statistics of the pass, so that one can prepare what the others need too.
    reduced : Reduction, optional
        What replaces the columns that no statistic needs as a whole.

    Attributes
    ----------
    table : pyarrow.Table
        Without the columns that were reduced; those have `type_of`, `null_count` and `accumulated`.
    statistics : tuple of Statistic
    """

    def __init__(
        self,
        table: pa.Table,
        statistics: tuple[Statistic, ...] = (),
        reduced: Reduction | None = None,
    ):
        self.statistics = statistics
        self._reduced = reduced or Reduction({})
        self._n_rows = len(table)
        self.table = decoded(table.drop_columns(list(self._reduced.types)))
        self._memo: dict[Any, Any] = {}

    def __len__(self) -> int:
        return self._n_rows

    def memo(self, function: Callable[..., T], *args) -> T:
        """``function(self, *args)``, computed on the first call and reused by later ones.

        Parameters
        ----------
        function : callable
            A module-level function.
        *args
            Hashable.
        """
        key = (function, *args)
        if key not in self._memo:
            self._memo[key] = function(self, *args)
        return self._memo[key]

    def accumulated(self, name: str, factory: Callable[[], A]) -> A:
        """What an accumulator found in a column; see `Statistic.reduces`."""
        if name in self._reduced.types:
            return cast(A, self._reduced.accumulators[name, factory])
        return self.memo(_accumulated, name, factory)

    def type_of(self, name: str) -> pa.DataType:
        """The type of a column, which may be reduced."""
        return self._reduced.types.get(name) or self.table.schema.field(name).type

    def null_count(self, name: str) -> int:
        """Number of nulls in a column, which may be reduced."""
        missing = self._reduced.missing.get(name)
        return self.table[name].null_count if missing is None else missing

    def evaluate(self, predicate: Predicate) -> tuple[np.ndarray, np.ndarray]:
        """Evaluate an expression on every row, in three-valued logic.

        Returns
        -------
        true, known : (n,) bool array
            Masks of where the expression is true, and of where it is either true or false.
            Comparing a null or NaN leaves a row undecided.
        """
        return self.memo(_evaluate, predicate)


def _accumulated(partition: Partition, name: str, factory: Callable[[], A]) -> A:
    accumulator = factory()
    accumulator.add(partition.table[name])
    return accumulator


def _evaluate(partition: Partition, predicate: Predicate) -> tuple[np.ndarray, np.ndarray]:
    frame = frame_from_arrow(partition.table.select(list(predicate.columns)), "pandas")
    masks = certain_and_possible(predicate, frame)
    certain, possible = (np.asarray(mask.to_numpy(dtype=bool)) for mask in masks)
    return certain, certain | ~possible


@dataclass(frozen=True)
class ReportOptions:
    """Options of how results are reported.

    Attributes
    ----------
    level : float
        Coverage of every interval.
    min_n : int
        Results based on fewer rows are suppressed and counted.
    """

    level: float = 0.95
    min_n: int = 30


class Statistic(Displayed, ABC):
    """A statistic of a frame that shares one pass with others. Frozen, hashable, picklable.

    A state holds integer counts, or sums that are kept exactly, so that `combine` gives the same
    result to the last bit regardless of the order in which partitions arrive.
    """

    #: Value of the column ``statistic`` in its results.
    name: str
    #: The formulas and sources of its numbers, one text per paragraph of a page.
    method: ClassVar[tuple[str, ...]] = ()
    #: Position of its section in a datasheet, starting at 0; statistics without a place come last.
    section_position: ClassVar[float] = inf
    #: Caveats that apply to its results; see `laion_dask.caveats`.
    caveats: ClassVar[tuple[str, ...]] = ()
    #: Whether it is large, so that it is sent to each worker once instead of with every task.
    is_shared: ClassVar[bool] = False
    #: The verb that computes it.
    verb: ClassVar[str] = "statistics"

    @property
    def cost(self) -> Cost:
        """Cost of one row, without the pass and the groupings; see `laion_dask.cost`."""
        return Cost((f"statistic {self.name}",))

    @abstractmethod
    def bind(self, column_types: Mapping[str, str]) -> Self:
        """The statistic bound to a frame: columns looked up, expressions parsed.

        Parameters
        ----------
        column_types : mapping of str to str
            Each column's type, as `laion_dask.dtypes` defines it.

        Raises
        ------
        ColumnError, PredicateError, OptionError
            If the frame lacks what the statistic needs.
        """

    @property
    @abstractmethod
    def reads(self) -> tuple[str, ...]:
        """The columns it reads, once bound."""

    @property
    def reduces(self) -> Mapping[str, tuple[Factory, ...]]:
        """Columns of `reads` of which it needs the nulls and these accumulators only, once bound.

        It gets them with `Partition.null_count` and `Partition.accumulated`.
        """
        return {}

    @abstractmethod
    def chunk(self, partition: Partition) -> Any:
        """The state of one partition, which may have no rows; picklable."""

    @abstractmethod
    def combine(self, states: Sequence[Any]) -> Any:
        """Combine one or more states."""

    @abstractmethod
    def finalize(self, state: Any, options: ReportOptions) -> pd.DataFrame:
        """The rows of its results, as in `stats.Table`, including those with small ``n``."""
