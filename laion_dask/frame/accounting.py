"""Account for every row: read = kept + dropped + unscored + rejected."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa

from laion_dask.backend import frame_to_arrow
from laion_dask.frame import provenance
from laion_dask.frame.accounts import COUNTS, Pending, Rows
from laion_dask.io.parquet.scan import Scan
from laion_dask.io.parquet.shard import Piece
from laion_dask.runtime import graph

__all__ = ["Rows", "rows", "survey"]


def rows(frame: dd.DataFrame) -> Rows:
    """What became of every row that was read. Eager.

    Raises
    ------
    ProvenanceError
        When the frame does not lead back to `read_shards`, or a row stands in it more than once.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> rows = frame.laion.where("width >= 256").laion.rows()
    >>> rows.read == rows.kept + rows.dropped + rows.unscored + rows.rejected
    True
    """
    provenance.sources(frame)  # refuses what the choice of a column would hide
    if len(frame.columns) and provenance.may_be_narrowed(frame):
        frame = frame[[frame.columns[-1]]]
    return survey(frame, _nothing, meta={}, label="count rows", must_account=True)[1]


def _nothing(table: pa.Table, number: int) -> dict:
    return {}


def survey(
    frame: dd.DataFrame,
    kernel: Callable,
    *args,
    meta: Mapping[str, str],
    label: str,
    combine: Callable | None = None,
    must_account: bool = False,
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
    must_account : bool
        Refuse a frame whose rows cannot be accounted for.

    Returns
    -------
    result : pandas.DataFrame
    account : Rows or None
        None when the frame does not lead back to `read_shards`, or its rows cannot be told apart.

    Raises
    ------
    ProvenanceError
        When a row stands in the frame more than once.
    """
    types = {**meta, **dict.fromkeys(("rows", *COUNTS), "int64")}
    meta = pd.DataFrame({name: np.empty(0, dtype) for name, dtype in types.items()})
    scan = provenance.as_scan(frame)
    if scan is None:
        pending = Pending.of(frame) if must_account else Pending.where_known(frame)
        columns, frame = list(frame.columns), pending.frame
        per_part = graph.map_numbered(frame, _on_part, kernel, args, columns, meta=meta)
    else:
        reader, pieces, columns = scan
        pending = Pending(frame, sum(piece.n_rows for piece in pieces))
        on_piece = _OnPiece(reader, tuple(columns), kernel, args)
        per_part = graph.over_pieces(on_piece, pieces, meta)
    if combine is not None:
        per_part = graph.reduce(per_part, combine, meta=meta)
    result, *others = graph.compute(per_part, *pending.collections, label=label)
    return result, pending.settle(int(result["rows"].sum()), [result, *others])


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


def _on_part(part, kernel: Callable, args: tuple, columns: list, partition_info=None):
    number = (partition_info or {}).get("number", 0)
    table = frame_to_arrow(part[columns])
    return _one_row(kernel(table, number, *args), table, 0, 0)


def _one_row(row: dict, table: pa.Table, unscored: int, rejected: int) -> pd.DataFrame:
    row = {**row, "rows": len(table), "unscored": unscored, "rejected": rejected}
    return pd.DataFrame({name: _cell(value) for name, value in row.items()}, copy=False)


def _cell(value) -> np.ndarray:
    """A column of one value, which may be any object."""
    cell = np.empty(1, dtype="int64" if isinstance(value, int) else object)
    cell[0] = value
    return cell
