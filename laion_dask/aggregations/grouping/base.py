"""Groupings of rows: by a column, or by terms in the caption. A row may be in several groups."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from laion_dask.aggregations.engine.base import Partition
from laion_dask.aggregations.engine.reduction import Factory
from laion_dask.cost import Cost
from laion_dask.display.overview import Displayed
from laion_dask.errors import ColumnError, OptionError, did_you_mean, parameter

if TYPE_CHECKING:
    from scipy import sparse

#: Maximum number of groups of a grouping; a column of URLs would not fit in memory.
MAX_GROUPS = 100_000


@dataclass(frozen=True, eq=False)
class Members:
    """Memberships of the rows of a partition in groups.

    Attributes
    ----------
    labels : tuple
        Labels of the groups: str, or pairs of str for rows in two groups at once.
    rows : (m,) int64 array
        Positions in the partition, ascending.
    codes : (m,) int32 array
        The group of each, as a position in ``labels``; each pair occurs once.
    n_rows : int
        Number of rows of the partition.
    """

    labels: tuple[Any, ...]
    rows: np.ndarray
    codes: np.ndarray
    n_rows: int

    def counts(self, where: np.ndarray | None = None) -> np.ndarray:
        """Rows of each group, (len(labels),) int64; only those in the mask ``where``, if given."""
        codes = self.codes if where is None else self.codes[where[self.rows]]
        return np.bincount(codes, minlength=len(self.labels)).astype(np.int64)

    def in_any(self) -> np.ndarray:
        """Mask of the rows in at least one group, (n_rows,) bool."""
        mask = np.zeros(self.n_rows, bool)
        mask[self.rows] = True
        return mask

    @cached_property
    def is_disjoint(self) -> bool:
        """Whether no row is in several groups."""
        return bool((self.rows[1:] > self.rows[:-1]).all())

    def matrix(self) -> sparse.csr_array:
        """Membership matrix, 1 if a row is in a group, (n_rows, len(labels)) int64."""
        from scipy import sparse

        ones = np.ones(len(self.rows), np.int64)
        shape = (self.n_rows, len(self.labels))
        return sparse.csr_array((ones, (self.rows, self.codes)), shape=shape)

    def intersections(self, other: Members) -> np.ndarray:
        """Rows in each pair of groups, (len(labels), len(other.labels)) int64."""
        return (self.matrix().T @ other.matrix()).toarray()


class Grouping(Displayed, ABC):
    """A way to group rows. Frozen, hashable, picklable."""

    if TYPE_CHECKING:  # properties here would be the defaults of a subclass's fields

        @property
        def axis(self) -> str:
            """Name of the attribute that the groups describe, such as ``language``."""

        @property
        def labels(self) -> tuple[str, ...]:
            """The groups that exist even if no row is in them; empty if they are values found."""

    else:
        labels = ()

    #: The label of rows in no group.
    no_group: str

    @property
    def cost(self) -> Cost:
        """Cost of one row, once per pass; see `laion_dask.cost`."""
        return Cost((f"grouping {type(self).__name__}",))

    @abstractmethod
    def bind(self, column_types: Mapping[str, str]) -> Grouping:
        """The grouping bound to a frame.

        Raises
        ------
        ColumnError, OptionError
            If the frame lacks what the grouping needs.
        """

    @property
    @abstractmethod
    def reads(self) -> tuple[str, ...]:
        """The columns it reads."""

    @property
    def reduces(self) -> Mapping[str, tuple[Factory, ...]]:
        """As `Statistic.reduces`."""
        return {}

    @abstractmethod
    def assign(self, partition: Partition) -> Members:
        """The groups of a partition's rows; call `members`, which caches the result."""


def members(partition: Partition, grouping: Grouping) -> Members:
    """Memberships of a partition's rows, computed once per partition."""
    return partition.memo(_assigned, grouping)


def _assigned(partition: Partition, grouping: Grouping) -> Members:
    return grouping.assign(partition)


def rows_of_groups(partition: Partition, by: Grouping) -> list[tuple[str, np.ndarray]]:
    """The groups of a partition with the positions of their rows, and the rows in no group.

    Groups without rows are omitted; positions are int64.
    """
    memberships = members(partition, by)
    order = np.argsort(memberships.codes, kind="stable")
    ends = np.cumsum(memberships.counts())
    rows_of_each = np.split(memberships.rows[order], ends[:-1]) if len(ends) else []
    groups = dict(zip(memberships.labels, rows_of_each, strict=True))
    outside = np.flatnonzero(~memberships.in_any())
    groups[by.no_group] = np.concatenate([groups.get(by.no_group, outside[:0]), outside])
    return [(label, rows) for label, rows in groups.items() if len(rows)]


#: Names that are often mistaken for columns, with the grouping to use instead.
_OF_ADDRESSES = {
    name: f"For the {what} of the URLs use ld.{call}()."
    for name, what, call in (
        ("domain", "registered domains", "domains"),
        ("domains", "registered domains", "domains"),
        ("tld", "top-level domains", "tlds"),
        ("tlds", "top-level domains", "tlds"),
    )
}


def _grouping_hint(name: str) -> str:
    """A sentence, after a space, on the grouping to use instead of an unknown column; or ''."""
    from laion_dask.text import packaged_lists  # imported late, because it imports this file

    if name in _OF_ADDRESSES:
        return f" {_OF_ADDRESSES[name]}"
    if name in packaged_lists.names():
        return f" For mentions in captions use ld.terms({name!r})."
    return ""


@dataclass(frozen=True)
class ByColumn(Grouping):
    """The groups named by a column of text, integers or booleans."""

    axis: str
    no_group = "(null)"
    cost = Cost(("grouping column",))

    def bind(self, column_types: Mapping[str, str]) -> Grouping:
        if self.axis not in column_types:
            raise ColumnError(
                f"The frame has no column {self.axis!r}.{did_you_mean(self.axis, column_types)}"
                + _grouping_hint(self.axis)
            )
        if column_types[self.axis] not in ("string", "integer", "boolean"):
            raise OptionError(
                f"The column {self.axis!r} holds {column_types[self.axis]}, which cannot be "
                "grouped. Name a column of text, integers or booleans, or count by thresholds "
                "with ld.curve(...)."
            )
        return self

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.axis,)

    def assign(self, partition: Partition) -> Members:
        labels, rows, codes = coded_column(partition, self.axis)
        if len(labels) > MAX_GROUPS:
            raise too_many_groups(self.axis, len(labels))
        return Members(tuple(map(str, labels.to_pylist())), rows, codes, len(partition))


def coded_column(partition: Partition, name: str) -> tuple[pa.Array, np.ndarray, np.ndarray]:
    """The values of a partition's column by `coded`, computed once per partition."""
    return partition.memo(_coded_column, name)


def _coded_column(partition: Partition, name: str) -> tuple[pa.Array, np.ndarray, np.ndarray]:
    return coded(partition.table[name])


def coded(column: pa.ChunkedArray) -> tuple[pa.Array, np.ndarray, np.ndarray]:
    """The distinct values of a column, the rows with a value, and the code of each row's value.

    Returns
    -------
    labels : array
        In order of first occurrence, without nulls.
    rows : (m,) int64 array
    codes : (m,) int32 array
    """
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    encoded = column.dictionary_encode().combine_chunks()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    if not encoded.null_count:
        codes = encoded.indices.to_numpy(zero_copy_only=False)
        return encoded.dictionary, np.arange(len(encoded)), codes.astype(np.int32, copy=False)
    rows = np.flatnonzero(pc.is_valid(encoded).to_numpy(zero_copy_only=False))
    codes = pc.fill_null(encoded.indices, 0).to_numpy(zero_copy_only=False)
    return encoded.dictionary, rows, codes[rows].astype(np.int32)


def too_many_groups(axis: str, n: int) -> OptionError:
    """The error for a grouping that would not fit in memory."""
    return OptionError(
        f"{axis!r} makes {n:,} groups or more; at most {MAX_GROUPS:,} are allowed. Use a "
        "coarser grouping; for the most frequent domains see ld.concentration()."
    )


def grouping(by: str | Grouping) -> Grouping:
    """The grouping that ``by=`` names: a column, or a grouping such as ``terms("gender")``.

    Raises
    ------
    OptionError
        If ``by`` is neither a name nor a grouping.
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
        If ``by`` is empty, or an item is not a grouping.
    """
    several = by if isinstance(by, (list, tuple)) else [by]
    if not several:
        raise OptionError("by is empty. Name at least one column or grouping.")
    return tuple(dict.fromkeys(map(grouping, several)))
