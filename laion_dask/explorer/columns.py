"""The columns that views filter by: numbers in bins, and categories as codes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import overload

import numpy as np
import pyarrow as pa

from laion_dask.dtypes import ColumnTypes

#: These come first, in this order, then the other columns in the order of the frame.
NUMBERS_FIRST = ("similarity", "punsafe", "pwatermark", "aesthetic", "width", "height")
#: Columns that identify rows, files or samples, and say nothing about an image.
IDENTIFIERS = frozenset(
    (
        *("shard", "row", "hash", "uid", "id", "key", "phash", "sample_id", "image_id", "index"),
        *("image_path", "image_sha256"),
    )
)
#: A text column with at most this many distinct values becomes a category.
MAX_CATEGORIES = 200
#: Columns whose values are different in each row.
FREE_TEXTS = ("url", "text")
#: Categories of the column ``url``: those of `laion_dask.domains` and `laion_dask.tlds`.
SITES = ("domain", "tld")


class Labels(Sequence[str]):
    """The labels of a category, in Arrow: each text is made when it is asked for."""

    def __init__(self, labels: pa.Array) -> None:
        self.array = labels

    def __len__(self) -> int:
        return len(self.array)

    @overload
    def __getitem__(self, at: int) -> str: ...

    @overload
    def __getitem__(self, at: slice) -> list[str]: ...

    def __getitem__(self, at: int | slice) -> str | list[str]:
        if isinstance(at, slice):
            start, stop, step = at.indices(len(self))
            return [self.array[i].as_py() for i in range(start, stop, step)]
        size = len(self)
        if not -size <= at < size:
            raise IndexError(f"There are {size:,} labels; number {at} was asked for.")
        return str(self.array[int(at) % size].as_py())

    def __iter__(self) -> Iterator[str]:
        return iter(self.array.to_pylist())

    def __repr__(self) -> str:
        return f"Labels({len(self):,})"


@dataclass(frozen=True, eq=False)
class NumberColumn:
    """A column of numbers, in bins.

    Attributes
    ----------
    name : str
    values : (n,) array
        In the column's own dtype, memory-mapped. Where there is no value, a float is NaN and an
        integer is 0: ``codes == n_bins`` tells.
    edges : (n_bins + 1,) float64 array
        The first and the last bin also have the values beyond the edges.
    codes : (n,) uint8 array
        The bin of each row; ``n_bins`` without a value.
    n_missing : int
        Rows without a value: null or NaN.
    thresholds : mapping of str to float
        Published thresholds, by the name of the subset.
    is_logarithmic : bool
        Whether an axis of the column should be logarithmic.
    """

    name: str
    values: np.ndarray
    edges: np.ndarray
    codes: np.ndarray
    n_missing: int
    thresholds: Mapping[str, float] = field(default_factory=dict)
    is_logarithmic: bool = False

    @property
    def n_bins(self) -> int:
        return len(self.edges) - 1

    @property
    def size(self) -> int:
        """The length of its counts."""
        return self.n_bins + 1

    @property
    def is_integer(self) -> bool:
        return self.values.dtype.kind in "iu"

    def missing(self) -> np.ndarray:
        """Mask of the rows without a value, (n,) bool."""
        found: np.ndarray = self.codes == self.n_bins
        return found

    def range_of(self, first: int, last: int) -> tuple[float | None, float | None]:
        """The bounds of the bins from ``first`` to ``last``, for `NumberRange`.

        None for an outermost bin, which also has the values beyond its edge.
        """
        low = None if first <= 0 else float(self.edges[first])
        return low, None if last >= self.n_bins - 1 else float(self.edges[last + 1])


@dataclass(frozen=True, eq=False)
class CategoryColumn:
    """A column of few texts, or what is derived from one, as codes.

    Attributes
    ----------
    name : str
        Such as ``language``, ``domain`` or ``tld``.
    codes : (n,) int32 array
        Memory-mapped; -1 without a value.
    labels : sequence of str
        The most frequent first, equally frequent ones in the order of their code points. They are
        data: never interpret them as HTML.
    source : str
        The column of the frame; for ``domain`` and ``tld``, ``url``.
    site : str
        ``domain`` or ``tld`` if the labels are derived from URLs, else empty.
    is_boolean : bool
        Whether the column holds booleans, with the labels ``true`` and ``false``.
    """

    name: str
    codes: np.ndarray
    labels: Sequence[str]
    source: str
    site: str = ""
    is_boolean: bool = False

    @property
    def size(self) -> int:
        """The length of its counts: the labels, then the rows without a value."""
        return len(self.labels) + 1

    def code_of(self, label: str) -> int | None:
        """The code of a label; None if no row has it."""
        labels = self.labels.array if isinstance(self.labels, Labels) else pa.array(self.labels)
        found = labels.index(pa.scalar(label, labels.type)).as_py()
        return None if found < 0 else int(found)


def number_names(column_types: ColumnTypes) -> list[str]:
    """The columns of numbers to filter by, in the order of interest."""
    numbers = [
        name
        for name, kind in column_types.items()
        if kind in ("integer", "float32", "float64") and not is_identifier(name, kind)
    ]
    first = [name for name in NUMBERS_FIRST if name in numbers]
    return first + [name for name in numbers if name not in first]


def is_identifier(name: str, kind: str) -> bool:
    """Whether a column identifies rows by its name; scores are floats, whatever their name."""
    lower = name.lower()
    ends = ("_id", "_key", "_hash", "_uid", " id", ".id")
    by_name = lower in IDENTIFIERS or lower.endswith(ends)
    return name in ("shard", "row") or (by_name and not kind.startswith("float"))


def is_category(name: str, kind: str) -> bool:
    """Whether a column of text or of booleans may be a category, by its name."""
    free = name in FREE_TEXTS or is_identifier(name, kind)
    return kind in ("string", "boolean") and not free


def are_categories(labels: int, rows: int) -> bool:
    """Whether so many distinct texts of so many rows are categories: most occur more than once."""
    return 0 < labels <= MAX_CATEGORIES and (labels <= 12 or 2 * labels <= rows)
