"""Apply a kernel to a frame's partitions and account for its rows in the same pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import dask.dataframe as dd
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from laion_dask.backend import Frame, frame_to_arrow
from laion_dask.frame.accounting import COUNTS, AccountingInputs, Rows
from laion_dask.frame.provenance import Provenance
from laion_dask.io.parquet.scan import Scan
from laion_dask.io.parquet.shard import ScanPartition
from laion_dask.runtime import graph


def map_with_accounting(
    provenance: Provenance,
    kernel: Callable[..., dict[str, Any]],
    *args: Any,
    meta: Mapping[str, npt.DTypeLike],
    label: str,
    combine: Callable[[pd.DataFrame], pd.DataFrame] | None = None,
    must_account: bool = False,
    share: bool = False,
) -> tuple[pd.DataFrame, Rows | None]:
    """The combined results of a kernel over every partition, and the row counts. Eager.

    If the frame is a plain scan, each partition is read once, directly to Arrow, and undecided rows
    are counted in the same read. Otherwise they are computed alongside, from the same partitions.

    Parameters
    ----------
    provenance : Provenance
        The provenance of the frame.
    kernel : callable
        ``kernel(table, number, *args)`` returns a dict, one row of the result; ``table`` is the
        partition as an Arrow table and ``number`` its position. ``rows``, the number of rows in
        the table, is added.
    meta : mapping of str to dtype
        The names and dtypes of the values that the kernel returns.
    label : str
        Label of the progress bar.
    combine : callable, optional
        Combines several concatenated results into one; applied as a tree. It must sum the columns
        ``rows``, ``unscored`` and ``rejected``.
    must_account : bool
        Whether to raise if the rows cannot be accounted for.
    share : bool
        Whether to send the arguments once, as a task of their own, instead of with every task;
        for large arguments. The partitions are then read like those of any frame.

    Returns
    -------
    result : pandas.DataFrame
    rows : Rows or None
        None if the frame does not come from `read_shards`, or its rows cannot be identified.

    Raises
    ------
    ProvenanceError
        When the frame contains a row more than once.
    """
    types = {**meta, **dict.fromkeys(("rows", *COUNTS), "int64")}
    empty = pd.DataFrame({name: np.empty(0, dtype) for name, dtype in types.items()})
    if share or provenance.optimized_scan is None:
        inputs_of = AccountingInputs.of if must_account else AccountingInputs.where_known
        inputs, columns = inputs_of(provenance), list(provenance.frame.columns)
        arguments = graph.share(args) if share else args
        counts = [c for c in inputs.collections if _can_join(c, inputs.frame)]
        separate = [c for c in inputs.collections if not _can_join(c, inputs.frame)]
        per_part = graph.map_numbered(
            inputs.frame, _on_part, kernel, arguments, columns, *counts, meta=empty
        )
    else:
        scan, partitions, columns = provenance.optimized_scan
        inputs = AccountingInputs(provenance.frame, sum(p.n_rows for p in partitions))
        on_scan = _OnScan(scan, tuple(columns), kernel, args)
        per_part, separate = graph.over_partitions(on_scan, partitions, empty), []
    if combine is not None:
        per_part = graph.reduce(per_part, combine, meta=empty)
    result, *others = graph.compute(per_part, *separate, label=label)
    return result, inputs.balance(int(result["rows"].sum()), [result, *others])


@dataclass(frozen=True)
class _OnScan:
    """Applies a kernel to one partition of a scan, read directly to Arrow."""

    scan: Scan
    columns: tuple[str, ...]
    kernel: Callable[..., dict[str, Any]]
    args: tuple[Any, ...]

    def __dask_tokenize__(self) -> tuple[object, ...]:
        scan = self.scan.__dask_tokenize__()
        kernel = f"{self.kernel.__module__}.{self.kernel.__qualname__}"
        return ("laion_dask.on_scan", scan, self.columns, kernel, repr(self.args))

    def __call__(self, partition: ScanPartition, number: int) -> pd.DataFrame:
        read = self.scan.read(partition, list(self.columns))
        row = self.kernel(read.table, number, *self.args)
        return _one_row(row, read.table, read.unscored, read.rejected)


def _on_part(
    part: Frame,
    kernel: Callable[..., dict[str, Any]],
    args: tuple[Any, ...],
    columns: list[str],
    *counts: pd.DataFrame,
    partition_info: Mapping[str, int] | None = None,
) -> pd.DataFrame:
    number = (partition_info or {}).get("number", 0)
    table = frame_to_arrow(part[columns])
    unscored, rejected = (sum(int(c[name].sum()) for c in counts) for name in COUNTS)
    return _one_row(kernel(table, number, *args), table, unscored, rejected)


def _can_join(counts: dd.DataFrame, frame: dd.DataFrame) -> bool:
    """Whether a partition's task can also compute some of the counts, so that Dask fuses them."""
    return counts.npartitions == frame.npartitions and list(counts.columns) == list(COUNTS)


def _one_row(row: Mapping[str, Any], table: pa.Table, unscored: int, rejected: int) -> pd.DataFrame:
    row = {**row, "rows": len(table), "unscored": unscored, "rejected": rejected}
    return pd.DataFrame({name: _cell(value) for name, value in row.items()}, copy=False)


def _cell(value: object) -> np.ndarray:
    """A column with a single value of any type."""
    cell = np.empty(1, dtype="int64" if isinstance(value, int) else object)
    cell[0] = value
    return cell
