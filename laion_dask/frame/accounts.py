"""What has to be computed beside a frame to account for its rows, and the account made of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import dask.dataframe as dd
import numpy as np
import pandas as pd

from laion_dask.errors import ProvenanceError
from laion_dask.frame import data_path, masks, provenance
from laion_dask.frame.identities import Identities
from laion_dask.io.parquet.scan import Scan
from laion_dask.io.parquet.shard import Piece
from laion_dask.runtime import graph
from laion_dask.schema import PROVENANCE

COUNTS = ("unscored", "rejected")
_META = pd.DataFrame({name: pd.Series([], dtype="int64") for name in COUNTS})
#: Rows of which one set of identities is made, which is 2 bits a row or less where rows are dense.
_ROWS_A_SET = 1 << 30


@dataclass(frozen=True)
class Rows:
    """What became of every row that was read: the four always add up to ``read``.

    Attributes
    ----------
    read : int
        Rows of the shards, by their footers.
    kept : int
    dropped : int
        Rows for which a filter was false, or that a step of the user's own left out.
    unscored : int
        Rows that a filter could not decide on, because what it compares is null or NaN, and that
        no other filter refused. So the same filters give the same account in any order, and
        whatever stands between them. A mask of pandas counts as a filter, as far as the columns
        that it compares can be told; else what it leaves out is dropped.
    rejected : int
        Rows that are no valid rows: text that is not UTF-8, under ``invalid_text="reject"``.
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
class Pending:
    """The account of a frame's rows before anything is computed.

    Where a step may have passed rows on more than once, such as a merge, every row that is kept or
    unscored is looked at, and one that stands there twice is an error. Where none can have, their
    numbers are enough.

    Attributes
    ----------
    frame : dask DataFrame
        With ``shard`` and ``row`` where identities are needed.
    read : int or None
        None where the rows cannot be accounted for.
    collections : list of dask DataFrame
        To be computed, in any company, and given to `settle`.
    sources : list of (Scan, list of Piece)
    """

    frame: dd.DataFrame
    read: int | None
    collections: list[dd.DataFrame] = field(default_factory=list)
    sources: list[tuple[Scan, list[Piece]]] = field(default_factory=list)

    @classmethod
    def of(cls, frame: dd.DataFrame) -> Pending:
        """The account of a frame. Lazy.

        Raises
        ------
        ProvenanceError
            When the frame does not lead back to `read_shards`, or lost the columns that are needed.
        """
        sources = provenance.sources(frame)
        read = sum(piece.n_rows for _, pieces in sources for piece in pieces)
        undecided = masks.undecided_rows(frame)
        counts = _counts_of_scans(sources, undecided) + list(map(_number, undecided))
        step = provenance.repeating_step(frame)
        if step is not None:
            frame, *undecided = (_identified(f, step, sources) for f in (frame, *undecided))
            counts += _repeats([frame, *undecided], 1 + read // _ROWS_A_SET, _rows_of(sources))
        return cls(frame, read, counts, sources)

    @classmethod
    def where_known(cls, frame: dd.DataFrame) -> Pending:
        """As `of`; one that settles to None where rows cannot be accounted for. Lazy."""
        try:
            return cls.of(frame)
        except ProvenanceError:
            return cls(frame, None)

    def settle(self, kept: int, computed: Sequence[Mapping]) -> Rows | None:
        """What became of the rows read.

        Parameters
        ----------
        kept : int
        computed : sequence of mapping
            What `collections` are, and others that have ``unscored`` and ``rejected``: numbers or
            columns of them, to be summed.

        Raises
        ------
        ProvenanceError
            When a row stands in the frame more than once, or is of no shard.
        """
        if self.read is None:
            return None
        for found in computed:
            if "repeats" in found:
                self._check(found.iloc[0])
        counted = [found for found in computed if "repeats" not in found]
        unscored, rejected = (int(sum(np.sum(c[name]) for c in counted)) for name in COUNTS)
        dropped = self.read - kept - unscored - rejected
        if dropped < 0:
            raise ProvenanceError(
                f"{kept:,} rows came of {self.read:,} that were read ({unscored:,} unscored, "
                f"{rejected:,} rejected): a step has multiplied rows, so they cannot be accounted "
                f"for. {_ADVICE}"
            )
        return Rows(self.read, kept, dropped, unscored, rejected)

    def _check(self, found: Mapping) -> None:
        if found["repeats"]:
            paths = {p.shard.index: p.shard.path for _, pieces in self.sources for p in pieces}
            shard, row = found["shard"], found["row"]
            raise ProvenanceError(
                f"Row {row:,} of {paths.get(shard, f'shard {shard}')} stands in the frame more "
                f"than once ({found['repeats']:,} too many in all, of {self.read:,} that were "
                f"read): a step has multiplied rows, so they cannot be accounted for. {_ADVICE}"
            )
        if found["strays"]:
            raise ProvenanceError(
                f"{found['strays']:,} rows of the frame have no shard or row, or one that no shard "
                "has, so they are rows of no data set (an outer or right merge adds such rows, "
                "frame.where and frame.mask blank them, a function of yours wrote over the two). "
                "Use merge(..., how='left') or 'inner', frame.laion.where(...) to leave rows out, "
                "or drop them with dropna(subset=['shard', 'row'])."
            )


_ADVICE = (
    "Bring in a table of scores with frame.laion.join(table, on=...), which takes each key once, "
    "sample without replacement, or keep one of each with drop_duplicates(['shard', 'row'])."
)


def _identified(frame: dd.DataFrame, step: str, sources) -> dd.DataFrame:
    """The frame with the columns that its rows are told apart by."""
    twice = data_path.numbered_twice(sources)
    if twice is not None:
        raise numbered_twice(*twice)
    known = provenance.identified(frame)
    if known is None or any(known[name].dtype.kind not in "iuf" for name in PROVENANCE):
        raise ProvenanceError(
            f"A step of this frame ({step}) may have multiplied rows, and the columns shard and "
            "row, by which rows are told apart, are no longer there (or were renamed). Keep both "
            "to the end; of a table to merge with, drop columns of the same name first, or use "
            "frame.laion.join(table, on=...)."
        )
    return known


def numbered_twice(one: str, other: str) -> ProvenanceError:
    """The error for rows of which shard and row do not tell the file."""
    return ProvenanceError(
        f"This frame has rows of several calls of read_shards, which number their shards alike: "
        f"{one} and {other} have one number, so its rows cannot be told apart. Open both in one "
        "call, read_shards([a, b])."
    )


def _rows_of(sources) -> dict[int, int]:
    """How many rows each shard has."""
    return {p.shard.index: p.shard.n_rows for _, pieces in sources for p in pieces}


def _repeats(
    frames: Sequence[dd.DataFrame], groups: int, rows_of: Mapping[int, int]
) -> list[dd.DataFrame]:
    """How many rows stand in frames more than once, one row a group of shards. Lazy."""
    meta = pd.DataFrame({"set": pd.Series([], dtype=object)})
    names = ("repeats", *PROVENANCE, "strays")
    told = pd.DataFrame({name: pd.Series([], dtype="int64") for name in names})
    found, shared = [], graph.share(dict(rows_of))
    for group in range(groups):
        sets = [graph.map_numbered(f, _one_set, group, groups, meta=meta) for f in frames]
        whole = graph.reduce(graph.end_to_end(sets), _union, meta=meta)
        found.append(graph.map_numbered(whole, _told, shared, meta=told))
    return found


def rows_in_both(one: dd.DataFrame, other: dd.DataFrame) -> int | None:
    """How many rows two frames have in common, by ``shard`` and ``row``. Eager.

    None where their rows cannot be told apart: numbers that are lost, or of several data sets. A
    row that stands in a frame twice counts as in both.
    """
    frames = [provenance.identified(frame) for frame in (one, other)]
    try:
        sources = [source for frame in (one, other) for source in provenance.sources(frame)]
    except ProvenanceError:
        return None
    if any(frame is None for frame in frames) or data_path.numbered_twice(sources) is not None:
        return None
    read = sum(piece.n_rows for _, pieces in sources for piece in pieces)
    sets = _repeats(frames, 1 + read // _ROWS_A_SET, _rows_of(sources))
    found = graph.compute(*sets, label="rows in both")
    return sum(int(some["repeats"].iloc[0]) for some in found)


def _one_set(part, group: int, groups: int) -> pd.DataFrame:
    return _cell(Identities.of(part, group, groups))


def _union(found: pd.DataFrame) -> pd.DataFrame:
    return _cell(Identities.union(list(found["set"])))


def _cell(identities: Identities) -> pd.DataFrame:
    cell = np.empty(1, dtype=object)
    cell[0] = identities
    return pd.DataFrame({"set": cell}, copy=False)


def _told(found: pd.DataFrame, rows_of: Mapping[int, int]) -> pd.DataFrame:
    """What there is to say of a set, without the set."""
    one = Identities.union(list(found["set"]))
    shard, row = one.example or (-1, -1)
    strays = one.strays + one.outside(rows_of)
    return pd.DataFrame(
        {"repeats": [one.repeats], "shard": [shard], "row": [row], "strays": [strays]}
    )


def _counts_of_scans(sources, undecided: Sequence) -> list[dd.DataFrame]:
    """What the scans count: rejected rows, and unscored ones where no filter follows. Lazy."""
    return [
        graph.over_pieces(partial(_piece_counts, scan=scan, alone=not undecided), pieces, _META)
        for scan, pieces in sources
        if (scan.where is not None and not undecided) or scan.invalid_text == "reject"
    ]


def _piece_counts(piece: Piece, number: int, scan: Scan, alone: bool) -> pd.DataFrame:
    unscored, rejected = scan.counts(piece)
    return pd.DataFrame({"unscored": [unscored if alone else 0], "rejected": [rejected]})


def _number(undecided: dd.DataFrame) -> dd.DataFrame:
    """How many rows a frame of undecided ones has. Lazy."""
    reads = list(undecided.columns)
    if provenance.may_be_narrowed(undecided):
        reads = ["row"] if "row" in reads else reads[-1:]
    return graph.map_columns(undecided, _count, reads=reads, meta=_META)


def _count(part) -> pd.DataFrame:
    return pd.DataFrame({"unscored": [len(part)], "rejected": [0]})
