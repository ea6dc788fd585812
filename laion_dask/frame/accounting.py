"""Account for every row: read = kept + dropped + unscored + rejected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import dask.dataframe as dd
import numpy as np
import pandas as pd

from laion_dask.backend import Frame
from laion_dask.display.overview import Displayed, Overview
from laion_dask.errors import ProvenanceError
from laion_dask.frame.provenance import Provenance, with_identity
from laion_dask.frame.repeated_rows import counted_rows, repeated_rows
from laion_dask.frame.row_path import can_drop_columns, walk
from laion_dask.frame.scans import Sources, check_shard_numbers
from laion_dask.frame.undecided_rows import undecided_rows
from laion_dask.io.parquet.scan import Scan
from laion_dask.io.parquet.shard import ScanPartition, shards_of
from laion_dask.runtime import graph
from laion_dask.schema import PROVENANCE

COUNTS = ("unscored", "rejected")
_META = pd.DataFrame({name: pd.Series([], dtype="int64") for name in COUNTS})


@dataclass(frozen=True)
class Rows(Displayed):
    """The number of rows per outcome; ``read`` is always the sum of the other four.

    Attributes
    ----------
    read : int
        Rows in the shards, from their footers.
    kept : int
    dropped : int
        Rows for which a filter is false, or that another step of the user's code removed.
    unscored : int
        Rows for which some filter is unknown, because a value it compares is null or NaN, and no
        filter is false. The counts therefore do not depend on the order of the filters or on the
        steps between them. A pandas mask counts as a filter if the graph shows which columns it
        compares; otherwise the rows that it removes count as dropped.
    rejected : int
        Rows with text that is not valid UTF-8, under ``invalid_text="reject"``.
    records : int or None
        The records of the kept rows, after `explode_captions`, which makes one of each caption: a
        row is kept if one of its records is, and is otherwise unscored if a filter is unknown for
        one of them. None for frames with one record a row.

    Examples
    --------
    >>> import laion_dask as ld
    >>> print(ld.Rows(read=10, kept=7, dropped=2, unscored=1, rejected=0))
    10 read = 7 kept + 2 dropped + 1 unscored + 0 rejected
    >>> print(ld.Rows(read=10, kept=7, dropped=2, unscored=1, rejected=0, records=21))
    10 read = 7 kept (21 records) + 2 dropped + 1 unscored + 0 rejected
    """

    read: int
    kept: int
    dropped: int
    unscored: int
    rejected: int
    records: int | None = None

    def __post_init__(self) -> None:
        if self.records is None:
            del self.__dict__["records"]  # vars(rows) has numbers only

    def __str__(self) -> str:
        parts = [f"{getattr(self, n):,} {n}" for n in ("kept", "dropped", *COUNTS)]
        if self.records not in (None, self.kept):
            parts[0] += f" ({self.records:,} records)"
        return f"{self.read:,} read = {' + '.join(parts)}"

    def _overview(self) -> Overview:
        facts = {name: f"{n:,}" for name, n in self.counts.items()}
        return Overview("Rows: read is the sum of kept, dropped, unscored and rejected", facts)

    @property
    def written(self) -> int:
        """The number of records that the frame has: those of the kept rows, or these rows."""
        return self.kept if self.records is None else self.records

    @property
    def counts(self) -> dict[str, int]:
        """The numbers by name, without ``records`` if that is None."""
        return dict(vars(self))


@dataclass(frozen=True)
class AccountingInputs:
    """The collections to compute along with a frame to account for its rows.

    If a step may duplicate rows, as a merge may, every kept or unscored row is checked and a
    duplicate is an error. Otherwise counting is enough.

    Attributes
    ----------
    frame : dask DataFrame
        Includes ``shard`` and ``row`` if rows must be identified.
    read : int or None
        None if the rows cannot be accounted for.
    collections : list of dask DataFrame
        To compute, together with any others, and pass to `balance`.
    sources : list of (Scan, list of ScanPartition)
    """

    frame: dd.DataFrame
    read: int | None
    collections: list[dd.DataFrame] = field(default_factory=list)
    sources: Sources = field(default_factory=list)

    @classmethod
    def of(cls, provenance: Provenance) -> AccountingInputs:
        """The collections to compute for a frame. Lazy.

        Raises
        ------
        ProvenanceError
            When the frame does not come from `read_shards`, or no longer has the required columns.
        """
        frame, sources = provenance.frame, provenance.sources
        read = sum(partition.n_rows for partition in provenance.partitions)
        undecided = undecided_rows(frame.expr, provenance.steps)
        counts = _counts_of_scans(sources, undecided)
        step, number = provenance.repeating_step, provenance.number_column
        if number is not None:
            frame, *undecided = (
                _with_identity(f, step or "explode_captions", sources) for f in (frame, *undecided)
            )
            if step is not None and number not in frame.columns:
                raise _no_number(step, number)
            counts += counted_rows(frame, undecided, sources, number if step else None)
            return cls(frame, read, counts, sources)
        counts += [_number(rows, provenance) for rows in undecided]
        if step is not None:
            frame, *undecided = (_with_identity(f, step, sources) for f in (frame, *undecided))
            counts += repeated_rows([frame, *undecided], sources)
        return cls(frame, read, counts, sources)

    @classmethod
    def where_known(cls, provenance: Provenance) -> AccountingInputs:
        """Like `of`, but `balance` returns None if rows cannot be accounted for. Lazy."""
        try:
            return cls.of(provenance)
        except ProvenanceError:
            return cls(provenance.frame, None)

    def balance(
        self, kept: int, computed: Sequence[pd.DataFrame | Mapping[str, int]]
    ) -> Rows | None:
        """The number of rows per outcome.

        Parameters
        ----------
        kept : int
        computed : sequence of mapping
            The computed `collections`, and other results with ``unscored`` and ``rejected``
            (numbers or columns); these are summed.

        Raises
        ------
        ProvenanceError
            When the frame contains a row more than once, or a row that no shard has.
        """
        if self.read is None:
            return None
        for result in computed:
            if isinstance(result, pd.DataFrame) and "repeats" in result:
                self._check(result.iloc[0])
        by_rows, records = [result for result in computed if "kept" in result], None
        if by_rows:
            records, kept = kept, int(sum(np.sum(one["kept"]) for one in by_rows))
        counts = [result for result in computed if "unscored" in result]
        unscored, rejected = (int(sum(np.sum(c[name]) for c in counts)) for name in COUNTS)
        dropped = self.read - kept - unscored - rejected
        if dropped < 0:
            raise ProvenanceError(
                f"{self.read:,} rows were read, but the frame has {kept:,}, in addition to "
                f"{unscored:,} unscored and {rejected:,} rejected: a step duplicated rows, so they "
                f"cannot be accounted for. {_ADVICE}"
            )
        return Rows(self.read, kept, dropped, unscored, rejected, records)

    def _check(self, repeats: pd.Series) -> None:
        if repeats["repeats"]:
            paths = {
                s.index: s.path for _, partitions in self.sources for s in shards_of(partitions)
            }
            shard, row = repeats["shard"], repeats["row"]
            raise ProvenanceError(
                f"Row {row:,} of {paths.get(shard, f'shard {shard}')} is in the frame more than "
                f"once ({repeats['repeats']:,} duplicates among {self.read:,} rows read): a step "
                f"duplicated rows, so they cannot be accounted for. {_ADVICE}"
            )
        if repeats["strays"]:
            raise ProvenanceError(
                f"{repeats['strays']:,} rows of the frame have a null shard or row, or one that no "
                "shard has, so they do not come from the data set. An outer or right merge adds "
                "such rows, frame.where and frame.mask blank the two columns, and a function of "
                "your own may overwrite them. Use merge(..., how='left') or 'inner', filter with "
                "frame.laion.where(...), or drop these rows with dropna(subset=['shard', 'row'])."
            )


_ADVICE = (
    "To add a table of scores, use frame.laion.join(table, on=...), which matches each key once; "
    "for a record of each caption, use frame.laion.explode_captions(...); "
    "sample without replacement; or remove duplicates with drop_duplicates(['shard', 'row'])."
)


def _no_number(step: str, number: str) -> ProvenanceError:
    return ProvenanceError(
        f"A step of this frame ({step}) may have duplicated captions, and the column {number!r} "
        "of explode_captions, which tells those of a row apart, was dropped or renamed. Keep it to "
        "the end."
    )


def _with_identity(frame: dd.DataFrame, step: str, sources: Sources) -> dd.DataFrame:
    """The frame with ``shard`` and ``row``; raises if they are lost or not numeric. Lazy."""
    check_shard_numbers(sources)
    identified = with_identity(frame)
    if identified is None or any(identified[name].dtype.kind not in "iuf" for name in PROVENANCE):
        raise ProvenanceError(
            f"A step of this frame ({step}) may have duplicated rows, and the columns shard and "
            "row, which identify rows, were dropped or renamed. Keep both to the end. Before a "
            "merge, drop columns of these names from the other table, or use "
            "frame.laion.join(table, on=...)."
        )
    return identified


def _counts_of_scans(sources: Sources, undecided: Sequence[dd.DataFrame]) -> list[dd.DataFrame]:
    """Rejected rows per scan, and unscored rows if no other filter follows. Lazy."""
    return [
        graph.over_partitions(partial(_counts, scan=scan, alone=not undecided), partitions, _META)
        for scan, partitions in sources
        if (scan.where is not None and not undecided) or scan.invalid_text == "reject"
    ]


def _counts(partition: ScanPartition, number: int, scan: Scan, alone: bool) -> pd.DataFrame:
    unscored, rejected = scan.counts(partition)
    return pd.DataFrame({"unscored": [unscored if alone else 0], "rejected": [rejected]})


def _number(undecided: dd.DataFrame, provenance: Provenance) -> dd.DataFrame:
    """The number of rows in a frame of undecided rows. Lazy."""
    reads = list(undecided.columns)
    # Undecided rows bypass some steps, so columns can be dropped here even if not in the frame.
    if provenance.can_drop_columns or can_drop_columns(walk(undecided.expr)):
        reads = ["row"] if "row" in reads else reads[-1:]
    number: dd.DataFrame = graph.map_columns(undecided, _count, reads=reads, meta=_META)
    return number


def _count(part: Frame) -> pd.DataFrame:
    return pd.DataFrame({"unscored": [len(part)], "rejected": [0]})
