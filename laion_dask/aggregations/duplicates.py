"""Which share of rows repeat a value that another row has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa

from laion_dask.aggregations.engine.base import Partition, ReportOptions, Statistic
from laion_dask.errors import ColumnError, OptionError, did_you_mean
from laion_dask.stats.checks import whole
from laion_dask.stats.intervals import wilson
from laion_dask.stats.sketches.bottom_k import CAPACITY, BottomK
from laion_dask.stats.sketches.heavy_hitters import text_hashes


@dataclass(frozen=True)
class DuplicateShare(Statistic):
    """See `duplicate_share`."""

    column: str
    capacity: int
    name = "duplicate_share"
    place = 2
    method = (
        "Repeats: rows less distinct values. Exact while there are at most 65,536 distinct values; "
        "beyond, estimated from the values of so many smallest hashes, to about 1 % (Bar-Yossef et "
        "al. 2002; Beyer et al. 2007).",
    )

    def bind(self, kinds: Mapping[str, str]) -> Statistic:
        if self.column not in kinds:
            raise ColumnError(
                f"The frame has no column {self.column!r}.{did_you_mean(self.column, kinds)}"
            )
        if kinds[self.column] not in ("string", "integer", "boolean"):
            raise OptionError(
                f"The column {self.column!r} holds {kinds[self.column]}. Name one of text or whole "
                "numbers, such as 'url' or 'text'."
            )
        return self

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.column,)

    def chunk(self, partition: Partition) -> tuple[BottomK, int]:
        values = partition.table[self.column].drop_null().cast(pa.large_string()).combine_chunks()
        return BottomK.of(text_hashes(values), self.capacity), len(partition)

    def combine(self, states: Sequence[tuple[BottomK, int]]) -> tuple[BottomK, int]:
        found, rows = zip(*states, strict=True)
        return BottomK.merged(found), sum(rows)

    def finalize(self, state: tuple[BottomK, int], options: ReportOptions) -> pd.DataFrame:
        found, rows = state
        missing, n = rows - found.n, found.n
        lo, hi = wilson(missing, rows, options.level)
        method = "exact" if found.is_exact else f"bottom-k, k = {len(found.hashes):,}"
        number, least, most = distinct = found.distinct(options.level)
        ends = {} if found.is_exact else {"lo": least, "hi": most}
        every = {"n": n, "method": method}
        results = [
            {
                "group": "missing", "n": rows, "k": missing, "rate": _over(missing, rows),
                "lo": lo, "hi": hi, "method": "Wilson",
            },
            {"group": "distinct", **every, "value": number, **ends},
            {"group": "repeats", **every, **_left(n, distinct, found.is_exact)},
            {
                "group": "rows whose value repeats", **every,
                **_left(n, found.singletons(options.level), found.is_exact),
            },
            {
                "group": "most frequent", **every, "value": float(found.counts.max(initial=0)),
                "method": "exact" if found.is_exact else f"among {len(found.hashes):,} values",
            },
        ]  # fmt: skip
        return pd.DataFrame(results).assign(term=self.column)


def duplicate_share(column: str = "url", *, capacity: int = CAPACITY) -> DuplicateShare:
    """The share of rows that repeat an address or a caption which another row has.

    Values are compared as they are given, byte by byte: another case, a space more or the same
    address with ``www.`` is another value. Missing ones are counted apart, and repeat nothing.

    All numbers are exact while there are at most ``capacity`` distinct values. Beyond, the
    ``capacity`` values of the smallest 64-bit hashes are counted exactly, and the rest is estimated
    from them: the numbers of distinct values and of those that occur once to within z / sqrt(k) of
    themselves, 0.8 % by default, at any number of rows. The answer does not depend on how rows are
    partitioned. Memory is 1 MB a state.

    Parameters
    ----------
    column : str
        Of text or whole numbers.
    capacity : int
        Values that are kept, from 3.

    Returns
    -------
    DuplicateShare
        For `laion_dask.statistics`. ``term`` is the column; its rows, by ``group``:

        ``missing``
            ``k`` of all ``n`` rows have no value.
        ``distinct``
            ``value``, the different ones among ``n`` rows.
        ``repeats``
            ``k`` and ``rate``: rows less distinct values, which go when one of each is kept.
        ``rows whose value repeats``
            ``k`` and ``rate``: rows whose value another row has too.
        ``most frequent``
            ``value``: how often the most frequent value occurs, among the values that are kept. For
            the values themselves see `concentration`.

        ``lo`` and ``hi`` where ``method`` says that it is estimated: of the error of the estimate.
        There is none for rows that were not read: duplicates grow with the rows.

    Raises
    ------
    OptionError
        When an argument is of the wrong type or out of range; and, with ColumnError, when
        `statistics` finds that the column is missing or of another kind.

    References
    ----------
    See `laion_dask.stats.sketches.bottom_k.BottomK`.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> table = ld.statistics(frame, ld.duplicate_share("url"))
    >>> table["group"].tolist()[:3]
    ['missing', 'distinct', 'repeats']
    """
    if not isinstance(column, str):
        raise OptionError(f"column is {column!r}. Expected the name of a column, such as 'url'.")
    whole("capacity", capacity, 3)
    return DuplicateShare(column, capacity)


def _left(n: int, less: tuple[float, float, float], exact: bool) -> dict:
    """What is left of n rows without some, as a share with its interval."""
    some, lo, hi = (min(max(n - end, 0), n) for end in (less[0], less[2], less[1]))
    found = {"k": round(some), "rate": _over(some, n)}
    return found if exact else {**found, "lo": lo / n, "hi": hi / n}


def _over(k: float, n: int) -> float:
    return float(np.float64(k) / n) if n else float("nan")
