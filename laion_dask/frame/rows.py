"""The verb that counts what became of every row."""

from __future__ import annotations

import dask.dataframe as dd
import pyarrow as pa

from laion_dask.cost import Cost, PlannedFrame
from laion_dask.frame.accounting import Rows
from laion_dask.frame.map_with_accounting import map_with_accounting
from laion_dask.frame.provenance import Provenance


def rows(frame: dd.DataFrame) -> Rows:
    """What became of every row that was read. Eager.

    Raises
    ------
    ProvenanceError
        When the frame does not lead back to `read_shards`, or a row occurs in it more than once.

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
    """The cost of `rows`, which reads the columns of the filters alone."""
    return Cost(("rows",))


def rows_of(provenance: Provenance) -> Rows:
    """What became of every row that was read, for a frame whose provenance is known. Eager.

    Raises as `rows`.
    """
    _ = provenance.sources  # raises what a selection of columns would hide
    columns = provenance.frame.columns
    if len(columns) and provenance.may_be_narrowed:
        provenance = provenance.select(columns[-1:])
    label = "count rows"
    return map_with_accounting(provenance, _nothing, meta={}, label=label, must_account=True)[1]


def _nothing(table: pa.Table, number: int) -> dict:
    return {}
