"""A column ``repeats``, which says how often each row of an export is drawn.

`soft_cap` adds it. Formats of samples for training (webdataset, datacomp) have a row as often as it
is drawn; formats of tables and of addresses have each row once, with the column.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from laion_dask.errors import SchemaError

REPEATS = "repeats"


def check_repeats(schema: pa.Schema) -> None:
    """Raise if a frame has a column ``repeats`` that does not count.

    Raises
    ------
    SchemaError
    """
    if REPEATS in schema.names and not _is_count(schema.field(REPEATS).type):
        raise SchemaError(
            f"The column 'repeats' is {schema.field(REPEATS).type}. Expected integers: how often "
            "each row is drawn. Rename it if it is something else."
        )


def repeats_of(table: pa.Table) -> np.ndarray | None:
    """How often each row of a table is drawn, (n,) int64; None if the table does not say.

    Raises
    ------
    SchemaError
        When the column has nulls or negative numbers.
    """
    if REPEATS not in table.column_names:
        return None
    repeats = table[REPEATS]
    least = pc.min(repeats).as_py()
    if repeats.null_count or (least is not None and least < 0):
        raise SchemaError(
            "The column 'repeats' has nulls or negative numbers. Expected how often each row is "
            "drawn, 0 or more. Rename it if it is something else."
        )
    numbers: np.ndarray = repeats.cast(pa.int64()).to_numpy()
    return numbers


def draws_of(table: pa.Table) -> int | None:
    """The sum of a table's repeats; None if it has no such column, or none that counts."""
    if REPEATS not in table.column_names or not _is_count(table[REPEATS].type):
        return None
    try:
        repeats = repeats_of(table)
    except SchemaError:
        return None
    return None if repeats is None else int(repeats.sum())


def _is_count(type_: pa.DataType) -> bool:
    return bool(pa.types.is_integer(type_) or pa.types.is_null(type_))
