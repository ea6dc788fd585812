"""A table as text in rows and columns, for an overview."""

from __future__ import annotations

import html
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from laion_dask.display.cells import text_of

#: Rows of the static table, and rows that can be paged and sorted where scripts run.
STATIC_ROWS, PAGED_ROWS = 100, 1000
#: Characters of a cell in HTML, of the static table, and of all rows that are only paged.
MAX_LENGTH, _STATIC_LENGTH, _PAGED_LENGTH = 120, 10_000, 150_000


@dataclass(frozen=True)
class Grid:
    """The first rows of a table as text without control characters.

    Attributes
    ----------
    head : tuple of str
        The names of the columns; empty for a list without a header.
    rows : tuple of tuple of str
        At most `PAGED_ROWS`.
    n_rows : int
        The rows of the whole table.
    ranks : mapping of int to tuple
        For each numeric column, by position: the rank of each row's exact value, by which the page
        sorts it; None for a missing value.
    heading : str
    is_folded : bool
        Whether the reader has to open it.
    is_sortable : bool
        Whether the reader can sort and page it, where scripts run.
    right : tuple of int
        The positions of the columns that are set flush right.
    """

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    n_rows: int
    ranks: Mapping[int, tuple[int | None, ...]] = field(default_factory=dict)
    heading: str = ""
    is_folded: bool = False
    is_sortable: bool = False
    right: tuple[int, ...] = ()

    @classmethod
    def of(
        cls,
        table: pd.DataFrame,
        *,
        shown: pd.DataFrame | None = None,
        heading: str = "",
        is_folded: bool = False,
    ) -> Grid:
        """The grid of a table, or of ``shown``, the same table with its numbers as text.

        An index other than a plain range comes first.
        """
        values, texts = with_index(table), with_index(table if shown is None else shown)
        first = texts.head(PAGED_ROWS)
        rows = [
            tuple(text_of(value) for value in row)
            for row in first.itertuples(index=False, name=None)
        ]
        ranks = {
            position: _ranks(values.iloc[: len(rows), position])
            for position, dtype in enumerate(values.dtypes)
            if pd.api.types.is_numeric_dtype(dtype)
        }
        head = tuple(map(text_of, texts.columns))
        return cls(head, tuple(rows), len(texts), ranks, heading, is_folded, True, tuple(ranks))

    @property
    def static(self) -> Sequence[Sequence[str]]:
        """The rows of the table as it is without scripts: fewer than usual if they are long."""
        rows = [tuple(map(cut, row)) for row in self.rows[:STATIC_ROWS]]
        lengths = (sum(len(html.escape(text)) for text in row) for row in rows)
        n = sum(total <= _STATIC_LENGTH for total in itertools.accumulate(lengths))
        return rows[: max(n, 1)]

    @property
    def paged(self) -> Sequence[Sequence[str]]:
        """The rows that are only there where scripts run, as many as have a reasonable size."""
        rows, length = [], 0
        for row in self.rows[len(self.static) :]:
            rows.append(tuple(map(cut, row)))
            length += sum(len(text) + 3 for text in rows[-1])
            if length > _PAGED_LENGTH:
                break
        return rows

    @property
    def more(self) -> str:
        """How many rows the static table leaves out; empty for none."""
        n = self.n_rows - len(self.static)
        return f"{n:,} rows more" if n > 0 else ""


def with_index(table: pd.DataFrame) -> pd.DataFrame:
    """A plain DataFrame whose index, unless it only counts rows, is its first column."""
    frame = pd.DataFrame(table)
    counted = pd.api.types.is_integer_dtype(frame.index) and frame.index.nlevels == 1
    if counted and frame.index.name is None:
        return frame
    return frame.reset_index(allow_duplicates=True)


def cut(text: str) -> str:
    """Cut the text of a cell to `MAX_LENGTH` characters."""
    return text if len(text) <= MAX_LENGTH else text[:MAX_LENGTH] + "…"


def _ranks(values: pd.Series) -> tuple[int | None, ...]:
    ranks = values.rank(method="dense")
    return tuple(None if missing else int(rank) for rank, missing in zip(
        ranks.fillna(0), ranks.isna(), strict=True
    ))  # fmt: skip
