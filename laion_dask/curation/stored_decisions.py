"""Columns, and decisions about rows, that are stored in a `RowTable` and read back."""

from __future__ import annotations

import os
from dataclasses import replace

import dask.dataframe as dd
import numpy as np
import pyarrow as pa

from laion_dask.backend import Frame, frame_to_arrow
from laion_dask.curation.row_table import (
    RowTable,
    look_up,
    look_up_meta,
    row_keys,
    shards_per_block,
)
from laion_dask.curation.row_writer import RowWriter, Written
from laion_dask.frame.provenance import Provenance
from laion_dask.frame.selection import select_rows
from laion_dask.io.embeddings.embeddings import Embeddings
from laion_dask.runtime import graph
from laion_dask.runtime.disk_shuffle import spill_folder
from laion_dask.schema import PROVENANCE

#: The column of a table of decisions, and its schema.
KEEP = "keep"
SCHEMA = pa.schema({KEEP: pa.bool_()})
#: The largest number of tasks that merge a table.
_MOST_TASKS = 64


def rows_decided(frame: dd.DataFrame, table: RowTable, rule: str) -> dd.DataFrame:
    """The rows of a frame that a table of decisions keeps. Lazy.

    Rows that the table does not have are unscored.

    Parameters
    ----------
    frame : dask DataFrame
    table : RowTable
        With the schema `SCHEMA`.
    rule : str
        See `laion_dask.frame.selection.select_rows`.
    """
    return select_rows(frame, looked_up(frame, table)[KEEP], rule)


def looked_up(frame: dd.DataFrame, table: RowTable) -> dd.DataFrame:
    """The values that a table has of a frame's rows, one column each. Lazy."""
    names = table.schema.names
    values: dd.DataFrame = graph.map_columns(
        frame,
        look_up,
        graph.share(table, f"stored-{os.path.basename(table.folder.path)}"),
        names,
        reads=list(PROVENANCE),
        meta=look_up_meta(frame._meta, table.schema, names),
    )
    return values


def _schema(rows: dd.DataFrame, columns: dict[str, str]) -> pa.Schema:
    found = frame_to_arrow(rows._meta[list(columns)].reset_index(drop=True)).schema
    return pa.schema([pa.field(columns[field.name], field.type) for field in found])


def not_stored(rows: dd.DataFrame, columns: dict[str, str]) -> RowTable:
    """A table of no rows in place of that of `stored`, for a plan. Lazy."""
    return RowTable(spill_folder(), _schema(rows, columns), 1, np.empty(0, np.int64), 0)


def stored(rows: dd.DataFrame, columns: dict[str, str], *, label: str) -> RowTable:
    """Some columns of rows, computed and written to a table. Eager.

    Parameters
    ----------
    rows : dask DataFrame
        With ``shard`` and ``row``; each row once.
    columns : dict of str to str
        The columns, with their names in the table.
    label : str
        Label of the progress bar.

    Raises
    ------
    ProvenanceError
        When the frame contains a row more than once.
    SpillError
        When the disk is full or not writable.
    """
    names, schema = list(columns), _schema(rows, columns)
    provenance = Provenance.of(rows)
    writer = RowWriter.create(schema, shards_per_block(provenance))
    needed = rows[[*PROVENANCE, *names]]
    written = graph.parts(graph.map_to_values(needed, _write, names, writer))
    n_tasks = max(1, min(len(written), _MOST_TASKS))
    (table,) = graph.compute(writer.lazily(written, n_tasks), label=label)
    found: RowTable = replace(table, folder=writer.merged)  # a worker's copy would not keep it
    return found


def _write(
    part: Frame, names: list[str], writer: RowWriter, partition_info: dict | None = None
) -> Written:
    number: int = (partition_info or {}).get("number", 0)
    keys, valid = row_keys(part)
    values = frame_to_arrow(part[names].reset_index(drop=True))
    values = values.rename_columns(writer.schema.names)
    if not valid.all():  # rows that no shard has: the accounting of the frame names them
        keys, values = keys[valid], values.filter(pa.array(valid))
    return writer.write(number, keys, values)


def rule_text(verb: str, embeddings: Embeddings, options: dict[str, object]) -> str:
    """A rule over embeddings as a call: their model, and the options that are not None."""
    shown = [f"{name}={value!r}" for name, value in options.items() if value is not None]
    return f"{verb}({', '.join([embeddings.model.name, *shown])})"
