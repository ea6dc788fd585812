"""Account for every row: read = kept + dropped + unscored + rejected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import dask.dataframe as dd
import numpy as np
import pandas as pd

from laion_dask.errors import ProvenanceError
from laion_dask.frame.provenance import Provenance, with_identity
from laion_dask.frame.repeated_rows import repeated_rows
from laion_dask.frame.row_path import may_be_narrowed, walk
from laion_dask.frame.scans import Sources, check_shard_numbers
from laion_dask.frame.undecided_rows import undecided_rows
from laion_dask.io.parquet.scan import Scan
from laion_dask.io.parquet.shard import Piece
from laion_dask.runtime import graph
from laion_dask.schema import PROVENANCE

COUNTS = ("unscored", "rejected")
_META = pd.DataFrame({name: pd.Series([], dtype="int64") for name in COUNTS})


@dataclass(frozen=True)
class Rows:
    """What became of every row that was read; the other four always add up to ``read``.

    Attributes
    ----------
    read : int
        Rows of the shards, by their footers.
    kept : int
    dropped : int
        Rows for which a filter was false, or that a step of the user's left out.
    unscored : int
        Rows that a filter could not decide on, because what it compares is null or NaN, and that
        no other filter refused. So the same filters give the same counts in any order, whatever
        stands between them. A pandas mask counts as a filter if the graph shows which columns it
        compares; otherwise the rows that it leaves out are dropped.
    rejected : int
        Invalid rows: text that is not UTF-8, under ``invalid_text="reject"``.
    """

    read: int
    kept: int
    dropped: int
    unscored: int
    rejected: int

    def __str__(self) -> str:
        parts = (f"{getattr(self, n):,} {n}" for n in ("kept", "dropped", *COUNTS))
        return f"{self.read:,} read = {' + '.join(parts)}"


@dataclass(frozen=True)
class AccountingInputs:
    """What has to be computed beside a frame to account for its rows.

    Where a step may pass rows on more than once, such as a merge, every row that is kept or
    unscored is looked at, and a repeated row is an error. Elsewhere the counts are enough.

    Attributes
    ----------
    frame : dask DataFrame
        With ``shard`` and ``row`` where rows have to be told apart.
    read : int or None
        None where the rows cannot be accounted for.
    collections : list of dask DataFrame
        To be computed, in any company, and given to `balance`.
    sources : list of (Scan, list of Piece)
    """

    frame: dd.DataFrame
    read: int | None
    collections: list[dd.DataFrame] = field(default_factory=list)
    sources: Sources = field(default_factory=list)

    @classmethod
    def of(cls, provenance: Provenance) -> AccountingInputs:
        """What to compute for a frame. Lazy.

        Raises
        ------
        ProvenanceError
            When the frame does not lead back to `read_shards`, or lost the columns that are needed.
        """
        frame, sources = provenance.frame, provenance.sources
        read = sum(piece.n_rows for piece in provenance.pieces)
        undecided = undecided_rows(frame.expr, provenance.steps)
        counts = _counts_of_scans(sources, undecided)
        counts += [_number(rows, provenance) for rows in undecided]
        step = provenance.repeating_step
        if step is not None:
            frame, *undecided = (_with_identity(f, step, sources) for f in (frame, *undecided))
            counts += repeated_rows([frame, *undecided], sources)
        return cls(frame, read, counts, sources)

    @classmethod
    def where_known(cls, provenance: Provenance) -> AccountingInputs:
        """As `of`; where rows cannot be accounted for, the `balance` will be None. Lazy."""
        try:
            return cls.of(provenance)
        except ProvenanceError:
            return cls(provenance.frame, None)

    def balance(self, kept: int, computed: Sequence[Mapping]) -> Rows | None:
        """What became of the rows read.

        Parameters
        ----------
        kept : int
        computed : sequence of mapping
            The computed `collections`, and other results with ``unscored`` and ``rejected``:
            numbers or columns of them, to be summed.

        Raises
        ------
        ProvenanceError
            When a row occurs in the frame more than once, or belongs to no shard.
        """
        if self.read is None:
            return None
        for result in computed:
            if "repeats" in result:
                self._check(result.iloc[0])
        counts = [result for result in computed if "repeats" not in result]
        unscored, rejected = (int(sum(np.sum(c[name]) for c in counts)) for name in COUNTS)
        dropped = self.read - kept - unscored - rejected
        if dropped < 0:
            raise ProvenanceError(
                f"{kept:,} rows came of {self.read:,} that were read ({unscored:,} unscored, "
                f"{rejected:,} rejected): a step has multiplied rows, so they cannot be accounted "
                f"for. {_ADVICE}"
            )
        return Rows(self.read, kept, dropped, unscored, rejected)

    def _check(self, repeats: Mapping) -> None:
        if repeats["repeats"]:
            paths = {p.shard.index: p.shard.path for _, pieces in self.sources for p in pieces}
            shard, row = repeats["shard"], repeats["row"]
            raise ProvenanceError(
                f"Row {row:,} of {paths.get(shard, f'shard {shard}')} stands in the frame more "
                f"than once ({repeats['repeats']:,} too many in all, of {self.read:,} that were "
                f"read): a step has multiplied rows, so they cannot be accounted for. {_ADVICE}"
            )
        if repeats["strays"]:
            raise ProvenanceError(
                f"{repeats['strays']:,} rows of the frame have no shard or row, or one that no "
                "shard has, so they are rows of no data set (an outer or right merge adds such "
                "rows, frame.where and frame.mask blank them, a function of yours wrote over the "
                "two). "
                "Use merge(..., how='left') or 'inner', frame.laion.where(...) to leave rows out, "
                "or drop them with dropna(subset=['shard', 'row'])."
            )


_ADVICE = (
    "Bring in a table of scores with frame.laion.join(table, on=...), which takes each key once, "
    "sample without replacement, or keep one of each with drop_duplicates(['shard', 'row'])."
)


def _with_identity(frame: dd.DataFrame, step: str, sources: Sources) -> dd.DataFrame:
    """The frame with the columns by which its rows are told apart."""
    check_shard_numbers(sources)
    known = with_identity(frame)
    if known is None or any(known[name].dtype.kind not in "iuf" for name in PROVENANCE):
        raise ProvenanceError(
            f"A step of this frame ({step}) may have multiplied rows, and the columns shard and "
            "row, by which rows are told apart, are no longer there (or were renamed). Keep both "
            "to the end; of a table to merge with, drop columns of the same name first, or use "
            "frame.laion.join(table, on=...)."
        )
    return known


def _counts_of_scans(sources: Sources, undecided: Sequence) -> list[dd.DataFrame]:
    """The counts of the scans: rejected rows, and unscored ones if no filter follows. Lazy."""
    return [
        graph.over_pieces(partial(_piece_counts, scan=scan, alone=not undecided), pieces, _META)
        for scan, pieces in sources
        if (scan.where is not None and not undecided) or scan.invalid_text == "reject"
    ]


def _piece_counts(piece: Piece, number: int, scan: Scan, alone: bool) -> pd.DataFrame:
    unscored, rejected = scan.counts(piece)
    return pd.DataFrame({"unscored": [unscored if alone else 0], "rejected": [rejected]})


def _number(undecided: dd.DataFrame, provenance: Provenance) -> dd.DataFrame:
    """How many rows a frame of undecided rows has. Lazy."""
    reads = list(undecided.columns)
    # The rows bypass some steps, so theirs may be narrowed where the whole frame may not.
    if provenance.may_be_narrowed or may_be_narrowed(walk(undecided.expr)):
        reads = ["row"] if "row" in reads else reads[-1:]
    return graph.map_columns(undecided, _count, reads=reads, meta=_META)


def _count(part) -> pd.DataFrame:
    return pd.DataFrame({"unscored": [len(part)], "rejected": [0]})
