"""What a statistic of a frame is: chunk, combine, finalize; and the partition that chunks share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa

from laion_dask.backend import frame_from_arrow
from laion_dask.dtypes import decoded
from laion_dask.predicate import Predicate, certain_and_possible

T = TypeVar("T")


class Part:
    """One partition, as the chunks of all statistics of a pass see it.

    Parameters
    ----------
    table : pyarrow.Table
        The columns that some statistic of the pass reads; categories become their values.
    asked : tuple of Statistic
        All statistics of the pass, so that one can see what others will ask for.

    Attributes
    ----------
    table, asked
    """

    def __init__(self, table: pa.Table, asked: tuple[Statistic, ...] = ()):
        self.table = decoded(table)
        self.asked = asked
        self._found: dict[Any, Any] = {}

    def __len__(self) -> int:
        return len(self.table)

    def once(self, make: Callable[..., T], *args) -> T:
        """``make(self, *args)``, worked out by the first statistic that asks for it.

        Parameters
        ----------
        make : callable
            Of the module level.
        *args
            Hashable.
        """
        key = (make, *args)
        if key not in self._found:
            self._found[key] = make(self, *args)
        return self._found[key]

    def decided(self, predicate: Predicate) -> tuple[np.ndarray, np.ndarray]:
        """Where an expression is true, and where it is true or false; the rest is undecided.

        Returns
        -------
        true, known : (n,) bool array
        """
        return self.once(_decided, predicate)


def _decided(part: Part, predicate: Predicate) -> tuple[np.ndarray, np.ndarray]:
    frame = frame_from_arrow(part.table.select(list(predicate.columns)), "pandas")
    certain, possible = certain_and_possible(predicate, frame)
    certain, possible = certain.to_numpy(dtype=bool), possible.to_numpy(dtype=bool)
    return certain, certain | ~possible


@dataclass(frozen=True)
class Reporting:
    """How results are told.

    Attributes
    ----------
    level : float
        Coverage of every interval.
    min_n : int
        What rests on fewer rows is not told, and counted as suppressed.
    """

    level: float = 0.95
    min_n: int = 30


class Statistic(ABC):
    """A statistic of a frame that shares its one pass with others. Frozen, hashable, picklable.

    A state is counts of whole numbers, or sums kept exactly, so that `combine` gives the same to
    the last bit in whatever order partitions come.
    """

    #: What its rows are called in the column ``statistic``.
    name: str

    @abstractmethod
    def bind(self, kinds: Mapping[str, str]) -> Statistic:
        """The statistic made ready for a frame: names looked up, expressions parsed.

        Parameters
        ----------
        kinds : mapping of str to str
            Each column's kind, as `laion_dask.dtypes` has it.

        Raises
        ------
        ColumnError, PredicateError, OptionError
            When the frame has not what it takes.
        """

    @property
    @abstractmethod
    def reads(self) -> tuple[str, ...]:
        """The columns it reads, once bound."""

    @abstractmethod
    def chunk(self, part: Part) -> Any:
        """The state of one partition, which may have no rows; picklable."""

    @abstractmethod
    def combine(self, states: Sequence[Any]) -> Any:
        """One state of several; at least one is given."""

    @abstractmethod
    def finalize(self, state: Any, how: Reporting) -> pd.DataFrame:
        """The rows that it tells, as `stats.Table` has them; also those with few ``n``."""
