"""Keep the rows of a frame by decisions about them that are stored in a `RowTable`."""

from __future__ import annotations

import os

import dask.dataframe as dd
import pyarrow as pa

from laion_dask.curation.row_table import RowTable, look_up, look_up_meta
from laion_dask.frame.selection import select_rows
from laion_dask.io.embeddings.embeddings import Embeddings
from laion_dask.runtime import graph
from laion_dask.schema import PROVENANCE

#: The column of a table of decisions, and its schema.
KEEP = "keep"
SCHEMA = pa.schema({KEEP: pa.bool_()})


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
    decided = graph.map_columns(
        frame,
        look_up,
        graph.share(table, f"decisions-{os.path.basename(table.folder.path)}"),
        [KEEP],
        reads=list(PROVENANCE),
        meta=look_up_meta(frame._meta, table.schema, [KEEP]),
    )
    return select_rows(frame, decided[KEEP], rule)


def rule_text(verb: str, embeddings: Embeddings, options: dict[str, object]) -> str:
    """A rule over embeddings as a call: their model, and the options that are not None."""
    shown = [f"{name}={value!r}" for name, value in options.items() if value is not None]
    return f"{verb}({', '.join([embeddings.model.name, *shown])})"
