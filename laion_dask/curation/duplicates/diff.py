"""Compare two data sets row by row, by a key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import dask.dataframe as dd
import numpy as np
import pandas as pd

from laion_dask.aggregations.engine.base import Statistic
from laion_dask.aggregations.engine.statistics import report_options
from laion_dask.backend import Frame
from laion_dask.curation.bucket_pass import HASH, Spilled, bucket_count, spilled
from laion_dask.curation.duplicates.exact import LOW
from laion_dask.curation.duplicates.side_by_side import measures_of, side_by_side
from laion_dask.curation.exclude import Listed
from laion_dask.curation.key import Key
from laion_dask.curation.row_table import KEY, row_keys
from laion_dask.display.grid import Grid
from laion_dask.display.overview import Displayed, Overview
from laion_dask.errors import OptionError, must_be
from laion_dask.formatting import counted
from laion_dask.frame.exploded import refuse_exploded
from laion_dask.frame.provenance import Provenance
from laion_dask.runtime import graph
from laion_dask.schema import PROVENANCE

#: The hash of a missing value: two missing values are equal.
_MISSING = np.uint64(0x9E3779B97F4A7C15)
_COUNTS = ("rows", "without_key", "only_here", "in_both", "keys")


@dataclass(frozen=True, eq=False)
class Diff(Displayed):
    """The result of `diff`.

    Attributes
    ----------
    rows : pandas.DataFrame
        One row a side, ``a`` and ``b``, in int64: ``rows``; ``without_key``; ``only_here``, rows
        whose key the other side does not have; ``in_both``; ``keys``, the distinct keys in both.
        The first is the sum of the next three.
    changed : pandas.DataFrame
        One row for each column of both sides that was compared: ``column``, ``changed``, the number
        of keys in both under which its value differs, and ``share`` of these keys, in [0, 1].
    only_in_a, only_in_b : tuple of str
        Columns of one side.
    not_compared : tuple of str
        Columns of different types on both sides, or of types that are not compared, as lists.
    statistics : pandas.DataFrame
        One row for each result that either side has: the columns that say what it is of
        (``statistic``, ``term``, ``axis``, ``group``, …; see `laion_dask.stats.Table`), then
        ``n_a``, ``k_a``, ``rate_a``, ``value_a``, ``lo_a``, ``hi_a``, and the same of ``b``, in
        float64; NaN on a side that lacks the result, or where it is suppressed. Each interval is of
        its side. Sides that share rows are not independent: intervals that overlap do not say that
        the sides are equal.
    """

    rows: pd.DataFrame
    changed: pd.DataFrame
    only_in_a: tuple[str, ...]
    only_in_b: tuple[str, ...]
    not_compared: tuple[str, ...]
    statistics: pd.DataFrame

    def _overview(self) -> Overview:
        facts = {
            "columns only in a": ", ".join(self.only_in_a) or None,
            "columns only in b": ", ".join(self.only_in_b) or None,
            "not compared": ", ".join(self.not_compared) or None,
        }
        tables = {"Rows": self.rows, "Changed": self.changed, "Statistics": self.statistics}
        grids = [Grid.of(table, heading=name) for name, table in tables.items() if len(table)]
        return Overview("Comparison of two frames", facts, grids=grids)

    def __str__(self) -> str:
        sides = self.rows.to_dict("index")
        a, b = sides["a"], sides["b"]
        parts = [f"{counted(a['only_here'], 'row')} only in a, {b['only_here']:,} only in b"]
        parts.append(f"{counted(a['keys'], 'key')} in both")
        if a["in_both"] > a["keys"] or b["in_both"] > b["keys"]:
            parts[-1] += (
                f", of {counted(a['in_both'], 'row')} of a and {b['in_both']:,} of b: the key "
                "repeats, and the first row of each is compared"
            )
        changed = self.changed[self.changed["changed"] > 0]
        parts += [f"{one.column}: {one.changed:,} changed" for one in changed.itertuples()]
        if self.not_compared:
            parts.append(f"not compared: {', '.join(self.not_compared)}")
        return "; ".join(parts)

    __repr__ = __str__


def diff(
    a: dd.DataFrame,
    b: dd.DataFrame,
    by: str | Sequence[str] = "url",
    *,
    statistics: bool | Statistic | Sequence[Statistic] = True,
    level: float = 0.95,
    min_n: int = 30,
) -> Diff:
    """The rows of two data sets that only one has, those that both have, and what changed. Eager.

    Each side is read once, and once more for the statistics. Its rows go to Dask's
    ``temporary_directory``, 24 bytes and 8 bytes a column each, and meet bucket by bucket. The
    result does not depend on partitions.

    Parameters
    ----------
    a, b : dask DataFrame
        From `read_shards`, such as two releases, or the results of two recipes.
    by : str or sequence of str
        What identifies a sample: ``"uid"``, ``"url"``, ``"hash"`` (LAION's, computed from ``url``
        and ``text`` where it is absent), or several columns; see `dedup`. If a key occurs several
        times on a side, its first row is compared.
    statistics : bool, statistic or sequence of statistics
        What to compute of all rows of both sides: by default, for each side, the
        `standard_statistics` that its columns allow. False: nothing.
    level, min_n
        As for `statistics`: of the intervals, and the rows below which results are suppressed.

    Returns
    -------
    Diff
        Columns of both sides are compared by value, exactly; null and NaN equal each other.

    Raises
    ------
    OptionError, ColumnError, ProvenanceError
        Immediately, when the key does not exist on both sides, in one type.
    SpillError
        When the disk is full.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> found = ld.diff(frame, frame.laion.where("width >= 128"), by="hash")
    >>> int(found.rows.loc["b", "only_here"])
    0
    """
    for name, side in (("a", a), ("b", b)):
        must_be(name, side, dd.DataFrame, "a Dask DataFrame, such as ld.read_shards(path)")
        refuse_exploded(side, "diff")
    report_options(level, min_n)
    origins = [Provenance.of(side) for side in (a, b)]
    for provenance in origins:
        provenance.check_identity_columns()
    measures = [measures_of(side, statistics) for side in (a, b)]
    keys = [Key.of(side, by) for side in (a, b)]
    if keys[0].types != keys[1].types:
        raise OptionError(
            f"The key {by!r} holds {', '.join(keys[0].types)} in a and {', '.join(keys[1].types)} "
            "in b. Convert one of them, or compare by another key."
        )
    names = [[n for n in side.columns if n not in (*PROVENANCE, *keys[0].names)] for side in (a, b)]
    shared = [name for name in names[0] if name in names[1]]
    columns = [[_column(side, name) for name in shared] for side in (a, b)]
    compared = [
        n for n, one, two in zip(shared, *columns, strict=True) if one is not None and one == two
    ]
    dtype = np.dtype(
        [
            (HASH, "<u8"),
            (LOW, "<u8"),
            (KEY, "<i8"),
            *((_field(i), "<u8") for i in range(len(compared))),
        ]
    )
    n = max(map(bucket_count, origins))
    values = tuple(Key.of(a, name) for name in compared)
    sides = []
    for side, key in zip((a, b), keys, strict=True):
        reads = [*dict.fromkeys([*key.reads(side.columns), *compared, *PROVENANCE])]
        sides.append(spilled(side[reads], _records, dtype, n, key, values, dtype))
    found = graph.tree(graph.tasks(_compare, list(range(n)), *sides, len(compared)), _sum)
    (total,) = graph.compute(found, label="diff")
    rows = pd.DataFrame(total.sides, index=["a", "b"], columns=list(_COUNTS))
    n_keys = int(total.sides[0][-1])
    changed = pd.DataFrame({"column": compared, "changed": total.changed})
    changed["share"] = total.changed / n_keys if n_keys else np.nan
    return Diff(
        rows,
        changed,
        tuple(n for n in names[0] if n not in shared),
        tuple(n for n in names[1] if n not in shared),
        tuple(n for n in shared if n not in compared),
        side_by_side(a, b, measures, level, min_n),
    )


@dataclass(frozen=True, eq=False)
class _Counts:
    """Counts of some buckets: of each side as in `_COUNTS`, and the changes of each column."""

    sides: np.ndarray
    changed: np.ndarray


def _field(number: int) -> str:
    return f"value_{number}"


def _column(frame: dd.DataFrame, name: str) -> tuple[str, ...] | None:
    """How a column is compared; None if it is not."""
    try:
        return Key.of(frame, name).types
    except OptionError:
        return None


def _records(part: Frame, key: Key, values: tuple[Key, ...], dtype: np.dtype) -> np.ndarray:
    hashes, valid = key.hashes(part)
    keys, identified = row_keys(part)
    valid &= identified
    records = np.empty(np.count_nonzero(valid), dtype)
    records[HASH], records[LOW], records[KEY] = hashes[valid, 0], hashes[valid, 1], keys[valid]
    for number, value in enumerate(values):
        hashed, present = value.hashes(part)
        records[_field(number)] = np.where(present, hashed[:, 0], _MISSING)[valid]
    return records


def _compare(bucket: int, _number: int, a: Spilled, b: Spilled, n_columns: int) -> _Counts:
    sides = np.zeros((2, len(_COUNTS)), np.int64)
    own = [side.bucket(bucket) for side in (a, b)]
    halves = [np.column_stack([records[HASH], records[LOW]]) for records in own]
    firsts = []
    for number, spilled_side in enumerate((a, b)):
        in_both = Listed.of(halves[1 - number]).has(halves[number])
        common = own[number][in_both]
        common = common[np.lexsort((common[KEY], common[LOW], common[HASH]))]
        new = np.ones(len(common), bool)
        same = (common[HASH][1:] == common[HASH][:-1]) & (common[LOW][1:] == common[LOW][:-1])
        new[1:] = ~same
        firsts.append(common[new])
        rows = spilled_side.n_rows if bucket == 0 else 0
        n, n_both = len(in_both), int(np.count_nonzero(in_both))
        sides[number] = rows, rows - n, n - n_both, n_both, len(firsts[-1])
    changed = [
        np.count_nonzero(firsts[0][_field(i)] != firsts[1][_field(i)]) for i in range(n_columns)
    ]
    return _Counts(sides, np.array(changed, np.int64))


def _sum(counts: Sequence[_Counts]) -> _Counts:
    sides = np.sum([one.sides for one in counts], axis=0)
    return _Counts(sides, np.sum([one.changed for one in counts], axis=0))
