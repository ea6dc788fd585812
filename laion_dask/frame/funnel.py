"""The rows that each clause of a frame's filters excluded, and their number."""

from __future__ import annotations

from dataclasses import dataclass

import dask.dataframe as dd
import numpy as np
import pandas as pd

from laion_dask.backend import column_like
from laion_dask.cost import Cost, PlannedFrame
from laion_dask.dtypes import ColumnTypes, column_type
from laion_dask.frame.accounting import Rows
from laion_dask.frame.exploded import identified
from laion_dask.frame.filters import replace_step, stages
from laion_dask.frame.funnel_kernel import (
    BY,
    COUNTED,
    WHY,
    clause_codes,
    counts_of_codes,
    counts_of_records,
    excluded_rows,
    with_reasons,
)
from laion_dask.frame.provenance import Provenance
from laion_dask.frame.rows import rows_of
from laion_dask.frame.scans import is_scan
from laion_dask.frame.where_kernel import possibly_passes
from laion_dask.predicate import Predicate
from laion_dask.predicate.clauses import clauses
from laion_dask.runtime import graph
from laion_dask.runtime.dask_expressions import new_collection
from laion_dask.schema import PROVENANCE

#: Label for rows that no clause excluded.
OTHER = "(a step that is not a filter)"


@dataclass(frozen=True)
class _Filters:
    """A frame before its filters, and the clauses of the filters.

    Attributes
    ----------
    before : dask DataFrame
    stages : list of (dask DataFrame, tuple of Predicate)
        The rows and the clauses of each filter.
    codes : list of dask Series
        One per filter: the codes of the clauses that are false or unknown for each row of
        ``before``.
    texts : tuple of str
        The clauses, in order.
    by_record : bool
        Whether rows have several records, see `laion_dask.frame.exploded`. The codes of filters
        before that step are those of rows, and those of later ones of records.
    """

    before: dd.DataFrame
    stages: list[tuple[dd.DataFrame, tuple[Predicate, ...]]]
    codes: list[dd.Series]
    texts: tuple[str, ...]
    by_record: bool = False

    @classmethod
    def of(cls, provenance: Provenance) -> _Filters:
        pairs = []
        for stage, predicate in stages(provenance.steps):
            by_name = {name: column_type(dtype) for name, dtype in stage.dtypes.items()}
            column_types = ColumnTypes.of(by_name, provenance.half)
            pairs.append((stage, tuple(clauses(predicate, column_types))))
        texts = tuple(part.text for _, parts in pairs for part in parts)
        if provenance.number_column is None:
            return cls(provenance.unfiltered, pairs, _codes(pairs), texts)
        before = identified(provenance.unfiltered)
        return cls(before, pairs, _codes(pairs), texts, by_record=True)

    def without_first_dropped(self, provenance: Provenance) -> list[dd.Series] | None:
        """The codes of the rows for which the scan's filter is not false. Lazy.

        None if it makes no difference: the first filter is not that of the only scan, or the last.
        """
        if len(self.stages) < 2 or len(provenance.scan_steps) > 1 or self.by_record:
            return None
        (scan, parts), first = self.stages[0], provenance.scan_steps[0].func.where
        if first is None or not is_scan(scan.expr):
            return None
        meta = column_like(np.empty(0, bool), scan._meta)
        mask = graph.map_columns(scan, possibly_passes, first, reads=first.columns, meta=meta)
        left: dd.DataFrame = scan[mask]
        others = []
        for stage, of_stage in self.stages[1:]:
            replaced = new_collection(replace_step(stage.expr, scan.expr, left.expr))
            if replaced.expr._name == stage.expr._name or replaced.npartitions != left.npartitions:
                return None
            others.append((replaced, of_stage))
        return _codes([(left, parts), *others])


def _codes(pairs: list[tuple[dd.DataFrame, tuple[Predicate, ...]]]) -> list[dd.Series]:
    """For each filter, the codes of its clauses on its rows. Lazy."""
    codes: list[dd.Series] = []
    start = 0
    for rows, parts in pairs:
        reads = list(dict.fromkeys(name for part in parts for name in part.columns))
        meta = column_like(np.empty(0, np.int64), rows._meta)
        codes.append(graph.map_columns(rows, clause_codes, parts, start, reads=reads, meta=meta))
        start += len(parts)
    return codes


def excluded(frame: dd.DataFrame) -> dd.DataFrame:
    """The rows that a frame's filters excluded, each with the clause that excluded it. Lazy.

    A filter consists of clauses joined by ``and``. A row is dropped by the first clause that is
    false for it. If no clause is false but one is unknown, the row is unscored and counts under
    the first unknown clause.

    Parameters
    ----------
    frame : dask DataFrame
        From `read_shards`, filtered with `where`; columns may have been added in between.

    Returns
    -------
    dask DataFrame
        The frame's columns, plus ``excluded_by`` (str, the clause) and ``excluded_why``
        (``"dropped"`` or ``"unscored"``). These rows and the rows of the frame together are all
        rows that were read, each once, except rejected ones. After `explode_captions`, they are
        records: those of one row may be in both.

    Raises
    ------
    ProvenanceError
        Immediately, when a step other than `where` drops rows, such as a pandas mask or a sample,
        or when a step reorders them.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> excluded = frame.laion.where("punsafe < 0.5").laion.excluded()
    >>> sorted(excluded["excluded_why"].unique().compute())
    ['dropped', 'unscored']
    """
    filters = _Filters.of(Provenance.of(frame))
    meta = with_reasons(filters.before._meta, np.empty(0, np.int64), (), np.empty(0, bool))
    rows: dd.DataFrame = graph.map_aligned(
        filters.before, excluded_rows, filters.codes, filters.texts, filters.by_record, meta=meta
    )
    return rows if not filters.by_record else rows[[*frame.columns, BY, WHY]]


def funnel(frame: dd.DataFrame) -> pd.DataFrame:
    """The number of rows that each clause of a frame's filters excluded, in order. Eager.

    Reads the columns that the filters compare, for all rows. The last row counts the rows that
    other steps dropped, such as a sample. The totals agree with `rows`. After `explode_captions`, a
    row counts where the last of its records is excluded.

    Parameters
    ----------
    frame : dask DataFrame
        As for `excluded`.

    Returns
    -------
    pandas.DataFrame
        One row per clause: ``clause`` (str), and ``before``, ``dropped``, ``unscored``, ``after``
        and ``undecided`` (int64), in rows. ``undecided`` rows are among those ``after`` the clause:
        it, or an earlier one, is unknown for them, and a later clause drops them. So ``unscored``
        depends on the clauses that follow; ``dropped``, ``after - undecided`` and, for the first
        clause, ``unscored + undecided`` do not. (After `explode_captions`, all of them may.)

    Raises
    ------
    ProvenanceError
        As for `excluded`.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> frame.laion.where("punsafe < 0.5 and width >= 128").laion.funnel()[["clause", "after"]]
              clause  after
    0  punsafe < 0.5  ...
    1   width >= 128  ...
    """
    provenance = Provenance.of(frame)
    return funnel_of(provenance, rows_of(provenance))


def excluded_cost(frame: PlannedFrame) -> Cost:
    """The cost of `excluded`, which evaluates the clauses on complete rows."""
    return Cost(("funnel",), columns=frame.columns)


def funnel_cost(frame: PlannedFrame) -> Cost:
    """The cost of `funnel`, which reads the columns of the filters."""
    return Cost(("funnel",), columns=tuple(sorted(frame.filtered)))


def funnel_of(provenance: Provenance, account: Rows) -> pd.DataFrame:
    """The funnel of a frame with known provenance and row counts. Eager.

    Raises the same errors as `funnel`.
    """
    filters = _Filters.of(provenance)
    counts = _clause_counts(filters, provenance)
    lines, remaining, undecided = [], account.read - account.rejected, 0
    for clause, (dropped, unscored, change) in zip(filters.texts, counts.tolist(), strict=True):
        after, undecided = remaining - dropped - unscored, undecided + change
        lines.append((clause, remaining, dropped, unscored, after, undecided))
        remaining = after
    if remaining != account.kept:
        dropped = account.dropped - sum(line[2] for line in lines)
        unscored = remaining - account.kept - dropped
        lines.append((OTHER, remaining, dropped, unscored, account.kept, 0))
    columns = ["clause", "before", "dropped", "unscored", "after", "undecided"]
    return pd.DataFrame(lines, columns=columns)


def _clause_counts(filters: _Filters, provenance: Provenance) -> np.ndarray:
    """The numbers of rows that each clause dropped and left unscored, (n, 3) int64. Eager.

    The third column is the change in the number of undecided rows.

    Rows for which the filter of the scan is false are counted apart, so that columns which later
    filters compare, such as scores from embeddings, are computed for the other rows only.
    """
    n, later = len(filters.texts), filters.without_first_dropped(provenance)
    if not n:
        return np.zeros((0, len(COUNTED)), np.int64)
    meta = pd.DataFrame({name: np.empty(0, np.int64) for name in COUNTED})
    if filters.by_record:
        rows = filters.before[list(PROVENANCE)]
        counted = [graph.map_aligned(rows, counts_of_records, filters.codes, n, meta=meta)]
    else:
        counted = [
            graph.map_aligned(codes[0].to_frame("code"), counts_of_codes, codes[1:], n, meta=meta)
            for codes in ([filters.codes] if later is None else [filters.codes[:1], later])
        ]
    computed = graph.compute(*counted, label="funnel")
    totals = [one.to_numpy().reshape(-1, n, len(COUNTED)).sum(axis=0) for one in computed]
    if later is not None:
        totals[0][:, 1] = 0  # the second pass decides whether these rows are unscored
    counts: np.ndarray = sum(totals[1:], totals[0])
    return counts


def clause_texts(frame: dd.DataFrame) -> tuple[str, ...]:
    """The clauses of a frame's filters, in order; the rows of its funnel. Lazy.

    Raises
    ------
    ProvenanceError
        As for `funnel`.
    """
    return _Filters.of(Provenance.of(frame)).texts
