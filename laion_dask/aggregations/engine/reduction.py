"""Reduce columns of text to what statistics need of them, batch by batch while they are read.

The text of a partition then never is in memory as a whole: a batch fits into the processor's cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from laion_dask.memory_pool import POOL


class Accumulator(Protocol):
    """What a statistic needs of a column, found batch by batch."""

    def add(self, column: pa.ChunkedArray) -> None:
        """Add the next rows of the column."""


#: What creates an accumulator: its class.
Factory = Callable[[], Accumulator]


class Reducing(Protocol):
    """The part of a statistic or a grouping that determines which columns are reduced."""

    @property
    def reads(self) -> tuple[str, ...]: ...

    @property
    def reduces(self) -> Mapping[str, tuple[Factory, ...]]: ...


class Reduction:
    """Columns of one partition, each replaced by accumulators and the number of missing values.

    Parameters
    ----------
    factories : mapping of str to iterable of class
        The accumulators of each column; an empty iterable if only missing values are counted. A
        column of floats is left as it is.

    Attributes
    ----------
    missing : dict of str to int
        Number of nulls in each reduced column.
    types : dict of str to DataType
        Type of each reduced column.
    accumulators : dict of (str, class) to Accumulator
    """

    def __init__(self, factories: Mapping[str, Iterable[Factory]]) -> None:
        self._factories = {name: tuple(each) for name, each in factories.items()}
        self.missing: dict[str, int] = {}
        self.types: dict[str, pa.DataType] = {}
        self.accumulators = {
            (name, factory): factory() for name, each in self._factories.items() for factory in each
        }

    @property
    def lengths(self) -> frozenset[str]:
        """Columns of which it needs no more than the lengths of their texts."""
        return frozenset(n for n, each in self._factories.items() if {*each} <= {Lengths})

    def add(self, batch: pa.Table, lengths: frozenset[str] = frozenset()) -> pa.Table:
        """The next rows, with nulls without any memory in place of the reduced columns.

        The columns in ``lengths``, which are among those of the attribute, have the length of each
        text instead of large strings.
        """
        for at, name in enumerate(batch.column_names):
            column = batch[name]
            if name not in self._factories or pa.types.is_floating(column.type):
                continue
            self.types[name] = pa.large_string() if name in lengths else column.type
            self.missing[name] = self.missing.get(name, 0) + column.null_count
            for factory in self._factories[name]:
                accumulator = self.accumulators[name, factory]
                if isinstance(accumulator, Lengths) and name in lengths:
                    accumulator.add_lengths(column)
                else:
                    accumulator.add(column)
            batch = batch.set_column(at, name, pa.chunked_array([pa.nulls(len(batch))]))
        return batch


def reduction_of(statistics: Iterable[Reducing]) -> Reduction | None:
    """The reduction of the columns that no statistic needs as a whole; None without such columns.

    Parameters
    ----------
    statistics : iterable of Statistic
        All statistics of the pass, bound.
    """
    factories: dict[str, dict[Factory, None]] = {}
    whole: set[str] = set()
    for statistic in statistics:
        reduced = statistic.reduces
        whole.update(name for name in statistic.reads if name not in reduced)
        for name, each in reduced.items():
            factories.setdefault(name, {}).update(dict.fromkeys(each))
    factories = {name: each for name, each in factories.items() if name not in whole}
    return Reduction(factories) if factories else None


class Lengths:
    """The lengths of texts in code points, without those of nulls."""

    def __init__(self) -> None:
        self._parts: list[np.ndarray] = []

    def add(self, column: pa.ChunkedArray) -> None:
        self.add_lengths(pc.utf8_length(column, memory_pool=POOL))

    def add_lengths(self, column: pa.ChunkedArray) -> None:
        """Add the lengths of the next rows of the column, which are integers."""
        for chunk in column.chunks:
            lengths = chunk.drop_null() if chunk.null_count else chunk
            self._parts.append(lengths.to_numpy().copy())  # which keeps no memory of the batch

    def values(self) -> np.ndarray:
        """All lengths, in order."""
        return np.concatenate(self._parts) if self._parts else np.empty(0, np.int64)
