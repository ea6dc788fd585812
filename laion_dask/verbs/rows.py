"""Account for every row: read = kept + dropped + unscored + rejected."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa

from laion_dask import lineage, partition
from laion_dask.backend import frame_to_arrow
from laion_dask.errors import ProvenanceError
from laion_dask.io.pieces import Piece
from laion_dask.io.scan import Scan
from laion_dask.kernels.filter import count_unscored, passes

_COUNTS = ("unscored", "rejected")


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
        parts = (f"{getattr(self, n):,} {n}" for n in ("kept", "dropped", *_COUNTS))
        return f"{self.read:,} read = {' + '.join(parts)}"


def rows(frame: dd.DataFrame) -> Rows:
    """What became of every row that was read. Eager.

    Raises
    ------
    ProvenanceError
        When the frame does not lead back to `read_shards`, or rows were multiplied.
    """
    lineage.sources(frame)
    narrow = frame[[frame.columns[-1]]] if len(frame.columns) else frame
    return survey(narrow, _nothing, meta={}, label="count rows")[1]


def _nothing(table: pa.Table, number: int) -> dict:
    return {}


def survey(
    frame: dd.DataFrame,
    kernel: Callable,
    *args,
    meta: Mapping[str, str],
    label: str,
    combine: Callable | None = None,
) -> tuple[pd.DataFrame, Rows | None]:
    """A kernel over every partition as an Arrow table, and the account of the frame's rows. Eager.

    A frame that is only a scan is read once, straight to Arrow, and its undecided rows are counted
    on the way; in any other they are counted beside it, from the same partitions.

    Parameters
    ----------
    frame : dask DataFrame
    kernel : callable
        ``kernel(table, number, *args)`` → a dict that is one row of the result; ``number`` is the
        partition's. It gains ``rows``, the number of rows in the table.
    meta : mapping of str to dtype
        The names and types of what the kernel returns.
    label : str
        Of the progress bar.
    combine : callable, optional
        Some results laid end to end → one result; applied as a tree. Columns are summed by it,
        ``unscored`` and ``rejected`` among them.

    Returns
    -------
    result : pandas.DataFrame
    account : Rows or None
        None when the frame does not lead back to `read_shards`.

    Raises
    ------
    ProvenanceError
        When more rows came out than went in.
    """
    types = {**meta, **dict.fromkeys(("rows", *_COUNTS), "int64")}
    meta = pd.DataFrame({name: np.empty(0, dtype) for name, dtype in types.items()})
    scan = lineage.as_scan(frame)
    if scan is None:
        per_part = partition.map_numbered(frame, _on_part, kernel, args, meta=meta)
        read, others = beside(frame)
    else:
        reader, pieces, columns = scan
        on_piece = _OnPiece(reader, tuple(columns), kernel, args)
        per_part = partition.over_pieces(on_piece, pieces, meta)
        read, others = sum(piece.n_rows for piece in pieces), []
    if combine is not None:
        per_part = partition.reduce(per_part, combine, meta=meta)
    result, *others = partition.compute(per_part, *others, label=label)
    kept = int(result["rows"].sum())
    return result, None if read is None else account(read, kept, [result, *others])


@dataclass(frozen=True)
class _OnPiece:
    """A kernel over one piece of a scan, read straight to Arrow."""

    scan: Scan
    columns: tuple[str, ...]
    kernel: Callable
    args: tuple

    def __dask_tokenize__(self):
        scan = self.scan.__dask_tokenize__()
        kernel = f"{self.kernel.__module__}.{self.kernel.__qualname__}"
        return ("laion_dask.on_piece", scan, self.columns, kernel, repr(self.args))

    def __call__(self, piece: Piece, number: int) -> pd.DataFrame:
        found = self.scan.read(piece, list(self.columns))
        row = self.kernel(found.table, number, *self.args)
        return _one_row(row, found.table, found.unscored, found.rejected)


def _on_part(part, kernel: Callable, args: tuple, partition_info=None) -> pd.DataFrame:
    number = (partition_info or {}).get("number", 0)
    table = frame_to_arrow(part)
    return _one_row(kernel(table, number, *args), table, 0, 0)


def _one_row(row: dict, table: pa.Table, unscored: int, rejected: int) -> pd.DataFrame:
    row = {**row, "rows": len(table), "unscored": unscored, "rejected": rejected}
    return pd.DataFrame({name: _cell(value) for name, value in row.items()}, copy=False)


def _cell(value) -> np.ndarray:
    """A column of one value, which may be any object."""
    cell = np.empty(1, dtype="int64" if isinstance(value, int) else object)
    cell[0] = value
    return cell


def beside(frame: dd.DataFrame) -> tuple[int | None, list[dd.DataFrame]]:
    """The rows read, and lazy frames of what else `account` needs; None without provenance."""
    meta = pd.DataFrame({name: pd.Series([], dtype="int64") for name in _COUNTS})
    try:
        sources = lineage.sources(frame)
    except ProvenanceError:
        return None, []
    counts = [
        partition.over_pieces(partial(_piece_counts, scan=scan), pieces, meta)
        for scan, pieces in sources
        if scan.where is not None or scan.invalid_text == "reject"
    ]
    for before, (predicate,) in lineage.mapped(frame, passes):
        reads = predicate.columns
        counts.append(
            partition.map_columns(before, count_unscored, predicate, reads=reads, meta=meta)
        )
    return sum(piece.n_rows for _, pieces in sources for piece in pieces), counts


def _piece_counts(piece: Piece, number: int, scan: Scan) -> pd.DataFrame:
    unscored, rejected = scan.counts(piece)
    return pd.DataFrame({"unscored": [unscored], "rejected": [rejected]})


def account(read: int, kept: int, counted: Sequence[Mapping]) -> Rows:
    """What became of the rows read.

    Parameters
    ----------
    read, kept : int
    counted : sequence of mapping
        Each has ``unscored`` and ``rejected``, numbers or columns of them, to be summed.

    Raises
    ------
    ProvenanceError
        When more rows came out than went in.
    """
    unscored, rejected = (int(sum(np.sum(c[name]) for c in counted)) for name in _COUNTS)
    dropped = read - kept - unscored - rejected
    if dropped < 0:
        raise ProvenanceError(
            f"{kept:,} rows came of {read:,} that were read ({unscored:,} unscored, {rejected:,} "
            "rejected): a merge or a concat has multiplied rows, so they cannot be accounted for. "
            "Make the right-hand side of the merge unique first."
        )
    return Rows(read, kept, dropped, unscored, rejected)
