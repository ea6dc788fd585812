"""The verb that accounts for every row."""

from __future__ import annotations

import dask.dataframe as dd
import pyarrow as pa

from laion_dask.cost import Cost, PlannedFrame
from laion_dask.frame.accounting import Rows
from laion_dask.frame.map_with_accounting import map_with_accounting
from laion_dask.frame.provenance import Provenance


def rows(frame: dd.DataFrame) -> Rows:
    """The number of rows read, by outcome. Eager.

    Raises
    ------
    ProvenanceError
        When the frame does not come from `read_shards`, or contains a row more than once.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> rows = frame.laion.where("width >= 256").laion.rows()
    >>> rows.read == rows.kept + rows.dropped + rows.unscored + rows.rejected
    True
    """
    return rows_of(Provenance.of(frame))


def rows_cost(frame: PlannedFrame) -> Cost:
    """The cost of `rows`, which reads only the columns that the filters use."""
    return Cost(("rows",))


def rows_of(provenance: Provenance) -> Rows:
    """The `rows` of a frame with known provenance. Eager.

    Raises the same errors as `rows`.
    """
    _ = provenance.sources  # raises errors that selecting columns would hide
    columns = provenance.frame.columns
    if len(columns) and provenance.can_drop_columns:
        needed = (columns[-1], provenance.number_column)
        provenance = provenance.select([name for name in columns if name in needed])
    _, account = map_with_accounting(
        provenance, _nothing, combine=_none, label="count rows", must_account=True, fan_in=100
    )
    assert account is not None  # must_account
    return account


def _nothing(table: pa.Table, number: int) -> None:
    """Nothing but the number of rows is of interest."""


def _none(values: list[None]) -> None:
    """Nothing to combine."""
