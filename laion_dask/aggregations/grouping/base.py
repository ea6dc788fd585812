"""Groups of rows: by a column, by words of the caption. A row may be in several, or in none."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy import sparse

from laion_dask.aggregations.engine.base import Partition
from laion_dask.cost import Cost
from laion_dask.errors import ColumnError, OptionError, did_you_mean, parameter

#: The most groups of a grouping: a column of addresses would fill the memory.
MOST_GROUPS = 100_000


@dataclass(frozen=True, eq=False)
class Members:
    """Which rows of a partition are in which group.

    Attributes
    ----------
    labels : tuple of str
        Of the groups.
    rows : (m,) int64 array
        Positions in the partition, ascending.
    codes : (m,) int32 array
        The group of each, as a position in ``labels``; no pair occurs twice.
    n_rows : int
        Of the partition.
    """

    labels: tuple[str, ...]
    rows: np.ndarray
    codes: np.ndarray
    n_rows: int

    def counts(self, where: np.ndarray | None = None) -> np.ndarray:
        """Rows of each group, (len(labels),) int64; of those for which ``where`` is true."""
        codes = self.codes if where is None else self.codes[where[self.rows]]
        return np.bincount(codes, minlength=len(self.labels)).astype(np.int64)

    def in_any(self) -> np.ndarray:
        """The rows that are in at least one group, (n_rows,) bool."""
        mask = np.zeros(self.n_rows, bool)
        mask[self.rows] = True
        return mask

    def matrix(self) -> sparse.csr_array:
        """1 where a row is in a group, (n_rows, len(labels)) int64."""
        ones = np.ones(len(self.rows), np.int64)
        shape = (self.n_rows, len(self.labels))
        return sparse.csr_array((ones, (self.rows, self.codes)), shape=shape)

    def intersections(self, other: Members) -> np.ndarray:
        """Rows in each pair of groups, (len(labels), len(other.labels)) int64."""
        return (self.matrix().T @ other.matrix()).toarray()


class Grouping(ABC):
    """A way to put rows into groups. Frozen, hashable, picklable."""

    #: What the groups are of, such as ``language`` or ``gender``.
    axis: str
    #: The label of rows in no group.
    no_group: str

    @property
    def cost(self) -> Cost:
        """The cost of one row, once a pass; see `laion_dask.cost`."""
        return Cost((f"grouping {type(self).__name__}",))

    @abstractmethod
    def bind(self, kinds: Mapping[str, str]) -> Grouping:
        """The grouping made ready for a frame.

        Raises
        ------
        ColumnError, OptionError
            When the frame has not what it takes.
        """

    @property
    @abstractmethod
    def reads(self) -> tuple[str, ...]:
        """The columns it reads."""

    @abstractmethod
    def assign(self, part: Partition) -> Members:
        """The groups of the rows of one partition; ask `members`, which works it out once."""


def members(part: Partition, grouping: Grouping) -> Members:
    """Which rows of a partition are in which group; worked out once a partition."""
    return part.memo(_assigned, grouping)


def _assigned(part: Partition, grouping: Grouping) -> Members:
    return grouping.assign(part)


#: Names that people use as if they were columns, and what to give instead.
_OF_ADDRESSES = {
    name: f"For the {what} of the addresses give ld.{call}()."
    for name, what, call in (
        ("domain", "registered domains", "domains"),
        ("domains", "registered domains", "domains"),
        ("tld", "top-level domains", "tlds"),
        ("tlds", "top-level domains", "tlds"),
    )
}


def _instead_of_a_column(name: str) -> str:
    """The grouping that people mean by a name that is no column, as a sentence after a space."""
    from laion_dask.text import packaged_lists  # which imports this file

    if name in _OF_ADDRESSES:
        return f" {_OF_ADDRESSES[name]}"
    if name in packaged_lists.names():
        return f" For what captions mention give ld.terms({name!r})."
    return ""


@dataclass(frozen=True)
class ByColumn(Grouping):
    """The groups that a column of text, whole numbers or truth values names."""

    axis: str
    no_group = "(null)"
    cost = Cost(("grouping column",))

    def bind(self, kinds: Mapping[str, str]) -> Grouping:
        if self.axis not in kinds:
            raise ColumnError(
                f"The frame has no column {self.axis!r}.{did_you_mean(self.axis, kinds)}"
                + _instead_of_a_column(self.axis)
            )
        if kinds[self.axis] not in ("string", "integer", "boolean"):
            raise OptionError(
                f"The column {self.axis!r} holds {kinds[self.axis]}, which makes no groups. Name "
                "one of text, whole numbers or truth values, or count by thresholds with "
                "ld.curve(...)."
            )
        return self

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.axis,)

    def assign(self, part: Partition) -> Members:
        labels, rows, codes = coded(part.table[self.axis])
        if len(labels) > MOST_GROUPS:
            raise too_many_groups(self.axis, len(labels))
        return Members(tuple(map(str, labels)), rows, codes, len(part))


def coded(column: pa.ChunkedArray) -> tuple[list, np.ndarray, np.ndarray]:
    """The distinct values of a column, the rows that have one, and the value of each by its number.

    Returns
    -------
    labels : list
        In order of first occurrence.
    rows : (m,) int64 array
    codes : (m,) int32 array
    """
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    found = column.combine_chunks().dictionary_encode()
    if isinstance(found, pa.ChunkedArray):
        found = found.combine_chunks()
    known = pc.is_valid(found).to_numpy(zero_copy_only=False)
    codes = pc.fill_null(found.indices, 0).to_numpy(zero_copy_only=False)
    rows = np.flatnonzero(known)
    return found.dictionary.to_pylist(), rows, codes[rows].astype(np.int32)


def too_many_groups(axis: str, n: int) -> OptionError:
    """The error for a grouping that would not fit in memory."""
    return OptionError(
        f"{axis!r} makes {n:,} groups or more, and {MOST_GROUPS:,} are the most. Group by "
        "something coarser; for the most frequent domains see ld.concentration()."
    )


def grouping(by: str | Grouping) -> Grouping:
    """What ``by=`` means: a column's name, or a grouping such as ``terms("gender")``.

    Raises
    ------
    OptionError
        If it is neither.
    """
    if isinstance(by, Grouping):
        return by
    if isinstance(by, str):
        return ByColumn(by)
    raise OptionError(
        f"{parameter('by')} is {by!r}. Expected the name of a column, or a grouping such as "
        "ld.terms('gender')."
    )


def axes(by: str | Grouping | Sequence[str | Grouping]) -> tuple[Grouping, ...]:
    """The groupings that ``by=`` names, one or several, without duplicates.

    Raises
    ------
    OptionError
        If there is none, or something that makes no groups.
    """
    several = by if isinstance(by, (list, tuple)) else [by]
    if not several:
        raise OptionError("by is empty. Name a column or give a grouping, or several.")
    return tuple(dict.fromkeys(map(grouping, several)))
