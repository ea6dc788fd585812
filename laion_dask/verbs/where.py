"""Filter rows by an expression, and account for every row."""

from __future__ import annotations

from dataclasses import dataclass

import dask.dataframe as dd
import numpy as np
import pandas as pd

from laion_dask import partition
from laion_dask.backend import column_like, kind_of
from laion_dask.errors import ProvenanceError
from laion_dask.io.scan import Piece, Scan
from laion_dask.kernels.filter import count_unscored, passes
from laion_dask.predicate import parse


def where(frame: dd.DataFrame, expression: str) -> dd.DataFrame:
    """The rows for which an expression is true. Lazy.

    On a frame as `read_shards` returned it, the expression becomes part of the scan; on any other
    it is evaluated on the partitions. A row for which it is unknown (a null or NaN was compared)
    is not kept, and `rows` counts it as unscored.

    Parameters
    ----------
    frame : dask DataFrame
    expression : str
        See `laion_dask.predicate`, for instance ``"similarity > 0.28 and width >= 256"``.

    Raises
    ------
    PredicateError, ColumnError
        At once.
    """
    kinds = {name: kind_of(dtype) for name, dtype in frame.dtypes.items()}
    as_read = partition.as_read(frame)
    if as_read is not None:
        scan, pieces = as_read
        return partition.read(scan.and_where(parse(expression, scan.kinds)), pieces)
    predicate = parse(expression, kinds)
    reads = predicate.columns
    meta = column_like(np.empty(0, bool), frame._meta)
    return frame[partition.map_columns(frame, passes, predicate, reads=reads, meta=meta)]


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
        Rows that a filter could not decide on, because what it compares is null or NaN.
    rejected : int
        Rows that are no valid rows: text that is not UTF-8, under ``invalid_text="reject"``.
    """

    read: int
    kept: int
    dropped: int
    unscored: int
    rejected: int

    def __str__(self) -> str:
        parts = (f"{getattr(self, n):,} {n}" for n in ("kept", "dropped", "unscored", "rejected"))
        return f"{self.read:,} read = {' + '.join(parts)}"


def undecided(frame: dd.DataFrame) -> tuple[int, list[dd.DataFrame]]:
    """The rows read, and lazy frames whose ``unscored`` and ``rejected`` columns are to be summed.

    Computed together with whatever else is computed from the frame, they share its reading.

    Raises
    ------
    ProvenanceError
        When the frame does not lead back to `read_shards`.
    """
    read, counts = 0, []
    meta = pd.DataFrame({"unscored": [0], "rejected": [0]}).iloc[:0]
    for scan, pieces in partition.sources(frame):
        read += sum(piece.n_rows for piece in pieces)
        if scan.where is not None or scan.invalid_text == "reject":
            counts.append(partition.over_pieces(PieceCounts(scan), pieces, meta))
    for before, (predicate,) in partition.mapped(frame, passes):
        reads = predicate.columns
        counts.append(
            partition.map_columns(before, count_unscored, predicate, reads=reads, meta=meta)
        )
    return read, counts


@dataclass(frozen=True)
class PieceCounts:
    """The counts of one piece under a scan, as a frame of one row."""

    scan: Scan

    def __dask_tokenize__(self):
        return ("laion_dask.PieceCounts", self.scan.__dask_tokenize__())

    def __call__(self, piece: Piece) -> pd.DataFrame:
        counts = self.scan.counts(piece)
        return pd.DataFrame({"unscored": [counts.unscored], "rejected": [counts.rejected]})


def account(read: int, kept: int, counts: list[pd.DataFrame]) -> Rows:
    """The four counts, from the rows read and kept and the computed frames of `undecided`.

    Raises
    ------
    ProvenanceError
        When more rows came out than went in, so that they cannot be accounted for.
    """
    unscored = int(sum(c["unscored"].sum() for c in counts))
    rejected = int(sum(c["rejected"].sum() for c in counts))
    dropped = read - kept - unscored - rejected
    if dropped < 0:
        raise ProvenanceError(
            f"{kept:,} rows came of {read:,} that were read ({unscored:,} unscored, {rejected:,} "
            "rejected): a merge or a concat has multiplied rows, so they cannot be accounted for. "
            "Make the right-hand side of the merge unique first."
        )
    return Rows(read, kept, dropped, unscored, rejected)


def rows(frame: dd.DataFrame) -> Rows:
    """What became of every row that was read. Eager.

    Raises
    ------
    ProvenanceError
        When the frame does not lead back to `read_shards`, or rows were multiplied.
    """
    read, counts = undecided(frame)
    kept, *counts = partition.compute(frame.shape[0], *counts, label="count rows")
    return account(read, int(kept), counts)
