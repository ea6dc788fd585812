"""The arguments of `join`: the table of scores, the key, and the columns to add."""

from __future__ import annotations

import os

import dask.dataframe as dd
import pyarrow as pa

from laion_dask.errors import (
    ColumnError,
    OptionError,
    ProvenanceError,
    argument,
    did_you_mean,
    must_be,
    parameter,
)
from laion_dask.frame.laion_hash import HASH, SOURCE, can_be_hashed, with_hash
from laion_dask.frame.provenance import Provenance
from laion_dask.io.parquet.read_shards import read_shards
from laion_dask.schema import PROVENANCE

#: Columns of an exported table that describe the table's rows, not those of the frame.
_SOURCE = tuple(f"source_{name}" for name in PROVENANCE)

_TABLE = "Parquet shards, or a Dask frame over them, as read_shards returns"
_WRITE_IT = "Write other tables with to_parquet and pass the path: a manifest lists the files"


def scores_table(scores) -> tuple[dd.DataFrame, Provenance]:
    """The table of scores as a frame with its provenance."""
    if not isinstance(scores, dd.DataFrame):
        must_be("scores", scores, (str, os.PathLike, list, tuple), f"{_TABLE}. {_WRITE_IT}")
        table = read_shards(scores, backend="pandas")
        return table, Provenance.of(table)
    provenance = Provenance.of(scores)
    try:
        provenance.check_identity_columns()
    except ProvenanceError as error:
        raise ProvenanceError(
            f"The scores are not a frame over known shards: {error} Expected {_TABLE}. {_WRITE_IT}."
        ) from None
    if provenance.number_column is not None:
        raise ProvenanceError(
            "The scores have one record for each caption (explode_captions), so a key has several. "
            "Use the frame before explode_captions, or export it and pass the path of the export."
        )
    return scores, provenance


def with_hashes(frame: dd.DataFrame, scores, on, columns):
    """The frame, the scores and the columns to add, with LAION's hash where it is a key.

    A table whose hash is computed adds, by default, all but the columns that it is computed from.
    """
    if on != HASH and (isinstance(on, str) or HASH not in list(on)):
        return frame, scores, columns
    table = scores_table(scores)[0]
    if columns is None and can_be_hashed(table.columns):
        left_out = (*SOURCE, *PROVENANCE, *_SOURCE, *([] if isinstance(on, str) else on))
        columns = [name for name in table.columns if name not in left_out]
    return with_hash(frame), with_hash(table), columns


def key_columns(frame: dd.DataFrame, table: dd.DataFrame, on) -> list[str]:
    """The columns of the key, which both sides have."""
    keys = [on] if isinstance(on, str) else list(on)
    if not keys or len(set(keys)) < len(keys):
        raise OptionError(
            f"{parameter('on')} is {on!r}. Expected a column, or several different ones."
        )
    for key in keys:
        if key in PROVENANCE:
            raise OptionError(
                f"on names {key!r}, a position that means a different row in every other set of "
                "shards. Join on a column that identifies a sample, such as 'hash' or 'url'."
            )
        for where, columns in (
            ("The frame", frame.columns),
            ("The table of scores", table.columns),
        ):
            if key not in columns:
                known = [name for name in columns if name not in PROVENANCE]
                raise ColumnError(f"{where} has no column {key!r}.{did_you_mean(key, known)}")
    return keys


def value_columns(frame, table, keys, columns, suffix) -> dict[str, str]:
    """The columns to add from the table, with their new names."""
    if isinstance(columns, str):
        raise OptionError(
            f"{parameter('columns')} is {columns!r}. Expected a list of names: [{columns!r}]."
        )
    if columns is None:
        columns = [n for n in table.columns if n not in (*keys, *PROVENANCE, *_SOURCE)]
    for name in columns:
        if name not in table.columns or name in PROVENANCE or name in keys:
            known = [n for n in table.columns if n not in (*keys, *PROVENANCE)]
            raise ColumnError(
                f"{parameter('columns')} has {name!r}, which is not a score in the "
                f"table.{did_you_mean(name, known)}"
            )
    names = {n: f"{n}{suffix or ''}" if n in frame.columns else n for n in columns}
    clashes = [old for old, new in names.items() if new in frame.columns]
    if clashes:
        raise OptionError(
            f"The frame and the scores both have {', '.join(map(repr, clashes))}. Use "
            f"{argument('suffix', '_scores')} to add {names[clashes[0]] + '_scores'!r} instead, "
            f"choose others with {argument('columns')}, or drop the frame's column first."
        )
    if len(set(names.values())) < len(names):
        raise OptionError(
            f"With suffix {suffix!r} two columns would get the same name. Use another suffix."
        )
    return names


def plain_type(type_: pa.DataType) -> pa.DataType:
    """The type of a value in a joined column: a dictionary's values, text for all-null columns."""
    if pa.types.is_dictionary(type_):
        return type_.value_type
    return pa.large_string() if pa.types.is_null(type_) else type_
