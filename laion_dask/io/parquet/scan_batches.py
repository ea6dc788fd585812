"""Read a scan in batches, each passed on before the next is read.

A batch is a small part of a partition, and its memory is used again for the next.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa

from laion_dask.memory_pool import POOL

#: Rows of a batch: a few MB of a column of text. Smaller ones take more time.
BATCH_ROWS = 1 << 16


@dataclass(frozen=True)
class Each:
    """What to keep of each batch of rows.

    Attributes
    ----------
    keep : callable
        ``keep(batch)`` turns a batch with the types of the frame into what is kept of it. In
        ``keep(batch, lengths)``, some columns have the number of code points of each text instead,
        as int32.
    lengths : frozenset of str
        Columns of text that may be passed in this way.
    """

    keep: Callable[..., pa.Table]
    lengths: frozenset[str] = frozenset()


class NotInBatches(Exception):
    """The rows could not be read in batches; read them as a whole, which reports the error."""


def copied(table: pa.Table) -> pa.Table:
    """A copy of what is kept of a batch: one column alone would keep the memory of all."""
    columns = []
    for column in table.columns:
        nothing = pa.nulls(0, column.type)
        columns.append(pa.concat_arrays([*column.chunks, nothing, nothing], memory_pool=POOL))
    return pa.Table.from_arrays(columns, schema=table.schema)
