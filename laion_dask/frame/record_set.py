"""A compact set of (shard, row, number) triples, for rows that have several records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from laion_dask.backend import Frame, to_numpy
from laion_dask.frame.row_set import RowSet
from laion_dask.schema import PROVENANCE

#: The number of a record that has none, such as a row without captions.
_NONE = -1


@dataclass(frozen=True)
class RecordSet:
    """A set of records that also counts repeated additions.

    Attributes
    ----------
    by_number : mapping of int to RowSet
        The rows that have a record of each number.
    """

    by_number: Mapping[int, RowSet]

    @classmethod
    def of(cls, part: Frame, number: str | None, group: int = 0, groups: int = 1) -> RecordSet:
        """The records of a partition that belong to one group of shards.

        Parameters
        ----------
        part : DataFrame
        number : str or None
            The column of numbers; None if each row has one record.
        group, groups : int
        """
        if number is None or number not in part.columns:
            return cls({_NONE: RowSet.of(part, group, groups)})
        numbered = _by_number(part, number)
        return cls({n: RowSet.of(rows, group, groups) for n, rows in numbered})

    @classmethod
    def union(cls, sets: Sequence[RecordSet]) -> RecordSet:
        """The union of several sets."""
        by_number: dict[int, list[RowSet]] = {}
        for one in sets:
            for number, rows in one.by_number.items():
                by_number.setdefault(number, []).append(rows)
        return cls({number: RowSet.union(by_number[number]) for number in sorted(by_number)})

    @property
    def rows(self) -> RowSet:
        """The rows of the records."""
        return RowSet.union(list(self.by_number.values()))

    @property
    def repeats(self) -> int:
        """Number of times that a record was added again."""
        return sum(rows.repeats for rows in self.by_number.values())

    @property
    def example(self) -> tuple[int, int] | None:
        """The smallest (shard, row) of a record that was added again, if any."""
        examples = (rows.example for rows in self.by_number.values())
        return min((one for one in examples if one is not None), default=None)

    def strays(self, rows_of: Mapping[int, int]) -> int:
        """Number of records whose shard or row is null, or that no shard has."""
        return sum(rows.strays + rows.outside(rows_of) for rows in self.by_number.values())


def _by_number(part: Frame, number: str) -> Iterator[tuple[int, Frame]]:
    """The rows of each number, in ascending order of the numbers."""
    numbers = to_numpy(part[number].fillna(_NONE)).astype(np.int64)
    order = np.argsort(numbers, kind="stable")
    values, starts = np.unique(numbers[order], return_index=True)
    rows = part[list(PROVENANCE)]
    for value, start, stop in zip(values, starts, [*starts, len(order)][1:], strict=True):
        yield int(value), rows.iloc[order[start:stop]]
