"""Write a frame as a committed subset with a recipe that says where every row came from."""

from __future__ import annotations

import dataclasses
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version

import dask
import dask.dataframe as dd
import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from laion_dask.aggregations.audit import audit, default_axes
from laion_dask.aggregations.grouping.base import Grouping
from laion_dask.backend import frame_to_arrow
from laion_dask.errors import ProvenanceError, SchemaError, must_be, one_of
from laion_dask.exports.staging import stage
from laion_dask.exports.transaction import Target
from laion_dask.formatting import counted, megabytes
from laion_dask.frame import data_path, masks, provenance, row_choices
from laion_dask.frame.accounting import Rows, survey
from laion_dask.frame.accounts import numbered_twice
from laion_dask.frame.funnel import funnel_of
from laion_dask.frame.own_inputs import refuse_folder_of_inputs
from laion_dask.joins.join import duplicates_left_out
from laion_dask.schema import PROVENANCE
from laion_dask.stats.table import Table

#: Packages whose version decides what an export holds, always and where a model was used.
_ENGINES = (dask, duckdb, np, pd, pa)
_MODELS = ("torch", "open_clip_torch")
#: What `write_part` says of a part.
_PART = {"number": "int64", "types": object, "staged": object, "bytes": "int64", "sha256": object}


@dataclass(frozen=True)
class Export:
    """What an export wrote.

    Attributes
    ----------
    path : str
    rows : Rows
        What became of every row that was read.
    recipe : dict
        What ``_recipe.json`` says.
    frame : dask DataFrame
        What was written, lazy as before.
    """

    path: str
    rows: Rows
    recipe: dict
    frame: dd.DataFrame = dataclasses.field(repr=False, compare=False)

    def __str__(self) -> str:
        parts = len(self.recipe["parts"])
        size = sum(part["bytes"] for part in self.recipe["parts"])
        written = f"{counted(parts, 'part')}, {megabytes(size)}"
        own = (masks.MASK, row_choices.STEP)
        unnamed = [text for text in self.recipe["where"] if text.startswith(own)]
        if unnamed:
            written = f"By steps of pandas too: {'; '.join(unnamed)}\n{written}"
        if "funnel" in self.recipe:
            written = f"{_nothing_kept(self.recipe['funnel'])}\n{written}"
        joins = "".join(f"{_joined(one)}\n" for one in self.recipe["joins"])
        return f"{self.rows}\n{joins}{written}, and _recipe.json in {self.path}"

    __repr__ = __str__

    def funnel(self) -> pd.DataFrame:
        """How many rows each clause of the filters left out: see `laion_dask.funnel`. Eager.

        Raises
        ------
        ProvenanceError
            When a step that is no filter by an expression leaves rows out, or moves them.
        """
        return funnel_of(self.frame, self.rows)

    def audit(
        self,
        by: str | Grouping | Sequence[str | Grouping] | None = None,
        *,
        reference: Mapping | None = None,
        level: float = 0.95,
        min_n: int = 30,
    ) -> Table:
        """Whom the filters of the export left out: see `laion_dask.audit`. Eager.

        Before is the frame before every filter, sample and removal of nulls or duplicates. What
        another step leaves out, such as an inner merge, is not in it; ``attrs["rows_before"]`` of
        the result says how many rows that are.

        Reads the shards again, the columns that it needs; `export` itself does not wait for it.

        Parameters
        ----------
        by : str, Grouping, or several, optional
            By default the languages and the people that captions mention, see `default_axes`.
        reference, level, min_n
            As `audit` takes them.

        Raises
        ------
        OptionError, ColumnError
            When the frame lacks a column that a grouping needs.
        ShardError, SchemaError
            When a shard has changed since, or turns out damaged.
        """
        before = provenance.unfiltered(self.frame)
        by = default_axes(before) if by is None else by
        return audit(before, self.frame, by, reference=reference, level=level, min_n=min_n)


def _nothing_kept(lines: list[dict]) -> str:
    """Which clause left out how many rows, one line each."""
    told = [
        f"  {one['clause']}: {one['dropped']:,} dropped, {one['unscored']:,} unscored, "
        f"{one['after']:,} left"
        for one in lines
    ]
    return "\n".join(["Nothing was kept. In order:", *told] if told else ["Nothing was kept."])


def _joined(join: dict) -> str:
    """One line about a join: with what, on what, and which rows of the table did not count."""
    rows = sum(one["rows"] for one in join["inputs"])
    left_out = join["duplicates_left_out"]
    first = f", {counted(left_out, 'duplicate')} of a key left out" if left_out else ""
    inputs = counted(len(join["inputs"]), "shard")
    return f"joined on {', '.join(join['join'])} with {rows:,} rows of {inputs}{first}"


def export(
    frame: dd.DataFrame,
    path: str | os.PathLike,
    format: str = "parquet",
    *,
    seed: int | None = None,
) -> Export:
    """Write the frame's rows and a recipe; the folder changes in one step. Eager.

    Rows are in the order of the shards and of the rows in them, whatever the workers did; of a
    frame that was shuffled or sorted by another column, they are so within each part. Each
    partition that has rows is one part. ``_recipe.json`` is written last and lists the inputs with
    size and digest, the filters, models and weights, versions, schema, the counts of rows read,
    kept, dropped, unscored and rejected, and the sha256 of each part. ``audit()`` of the
    result says whom the filters left out; ``ld.write_report(exported, "report.html")`` writes it
    as a page. The folder opens by its name in pandas, pyarrow and DuckDB's ``**/*.parquet``, and in
    polars by ``scan_parquet(path, hidden_file_prefix="_")``.

    Parameters
    ----------
    frame : dask DataFrame
        A frame made from `read_shards`.
    path : str or path
        A folder or an address that fsspec knows: new, empty, or an earlier export, which is
        replaced: on a local file system in one step; in a store, or where an earlier release left
        its parts beside the recipe, a pattern such as ``**/*.parquet`` sees the parts of both for
        a moment, while the recipe, by which `read_shards` reads the folder, lists those of one.
    format : {"parquet"}
    seed : int, optional
        Recorded in the recipe, for a frame that was sampled with it.

    Raises
    ------
    OptionError
        When there is no such format.
    SchemaError
        When two columns differ in their case only.
    ExportError
        When the folder holds something else, or the shards that are read.
    ProvenanceError
        When the frame does not lead back to `read_shards`. All of these at once.
    ShardError, SchemaError
        When a shard turns out damaged while it is read; nothing is visible then.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> done = frame.laion.where("width >= 256").laion.export("wide")
    >>> done.rows.kept == len(ld.read_shards("wide"))
    True
    """
    if format not in _FORMATS:
        raise one_of("format", format, _FORMATS)
    must_be("path", path, (str, os.PathLike), "a folder or an address")
    target = Target(os.fspath(path))
    sources = provenance.sources(frame)
    if twice := data_path.numbered_twice(sources):
        raise numbered_twice(*twice)
    refuse_folder_of_inputs(target.path, target.address, frame)
    schema = frame_to_arrow(frame._meta).schema
    _check_names(schema.names)
    with target:
        args = (target.staging_url, format, schema)
        written, rows = survey(
            frame, write_part, *args, meta=_PART, label="export", must_account=True
        )
        parts = written.sort_values("number").to_dict("records")
        parts = [part for part in parts if part["rows"]] or parts[:1]
        recipe = {**_recipe(frame, sources, _schema(schema, parts), rows), "seed": seed}
        if rows.read and not rows.kept:
            recipe["funnel"] = _funnel(frame, rows)
        return Export(target.path, rows, target.commit(parts, recipe), frame)


def _funnel(frame: dd.DataFrame, rows: Rows) -> list[dict]:
    """What each clause left out, for a recipe; empty where steps that are no filters did."""
    try:
        return funnel_of(frame, rows).to_dict("records")
    except ProvenanceError:
        return []


def _check_names(names: Sequence[str]) -> None:
    """Refuse columns that a reader of the parts would take for one."""
    seen: dict[str, str] = {}
    for name in names:
        if name.lower() in seen:
            raise SchemaError(
                f"The columns {seen[name.lower()]!r} and {name!r} differ in their case only, which "
                "not every reader of Parquet tells apart. Rename or drop one of them."
            )
        seen[name.lower()] = name


def write_part(table: pa.Table, number: int, staging: str, format: str, schema: pa.Schema) -> dict:
    """Write one partition as a staged part; what was written."""
    table = _in_order(_conformed(table, schema))
    staged = stage(f"{staging}/{number:08d}.{format}", _FORMATS[format](table))
    types = [str(field.type) for field in table.schema]
    return {"number": number, "types": types, **staged}


def _conformed(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table in the schema that every part has; a type that only values tell stays.

    Categories become what they stand for, since parts would not agree on their numbers.
    """
    columns = []
    for field in schema:
        column, type_ = table[field.name], _plain(field.type)
        try:
            column = column.cast(_plain(column.type))
            columns.append(column if pa.types.is_null(type_) else column.cast(type_))
        except pa.ArrowException as error:
            raise SchemaError(
                f"Column {field.name!r} was to be {type_} by the frame's meta, but a partition of "
                f"it is {column.type}: {error}. Give meta= its true dtype where it is made."
            ) from error
    return pa.Table.from_arrays(columns, names=schema.names)


def _plain(type_: pa.DataType) -> pa.DataType:
    return type_.value_type if pa.types.is_dictionary(type_) else type_


def _in_order(table: pa.Table) -> pa.Table:
    """The rows by shard and row, which a shuffle may have handed over in any order."""
    if not set(PROVENANCE) <= set(table.column_names):
        return table
    shard, row = (table[name].to_numpy() for name in PROVENANCE)
    order = np.lexsort((row, shard))
    return table if np.array_equal(order, np.arange(len(order))) else table.take(order)


def _parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue().to_pybytes()


_FORMATS: dict[str, Callable[[pa.Table], bytes]] = {"parquet": _parquet}


def _schema(schema: pa.Schema, parts: list[dict]) -> list[dict]:
    """Name and type of every column as the parts have them."""
    found = []
    for i, name in enumerate(schema.names):
        types = [part["types"][i] for part in parts]
        found.append({"name": name, "type": next((t for t in types if t != "null"), "null")})
    return found


def _recipe(frame: dd.DataFrame, sources, schema: list[dict], rows: Rows) -> dict:
    shards = {p.shard.index: p.shard for _, pieces in sources for p in pieces}
    columns = (column for s in shards.values() for column in (*s.columns, *s.partition))
    renamed = {(old, new) for old, new, _ in columns if old != new}
    models = [one for one in provenance.recipes(frame) if "join" not in one]
    versions = {"python": platform.python_version(), "laion_dask": version("laion_dask")}
    versions |= {package.__name__: package.__version__ for package in _ENGINES}
    versions |= {name: version(name) for name in _MODELS if models}
    return {
        "inputs": [
            {
                "shard": s.index,
                "path": s.path,
                "rows": s.n_rows,
                "bytes": s.size,
                "footer_sha256": s.footer_sha256,
            }
            for s in shards.values()
        ],
        "renamed": dict(sorted(renamed)),
        "where": masks.filters(frame),
        "joins": duplicates_left_out(frame),
        "models": models,
        "versions": versions,
        "schema": schema,
        "counts": {name: getattr(rows, name) for name in Rows.__dataclass_fields__},
    }
