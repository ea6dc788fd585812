"""Write a frame as a committed subset with a recipe that says where every row came from."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version

import dask.dataframe as dd
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from laion_dask import partition
from laion_dask.backend import frame_to_arrow
from laion_dask.errors import ExportError, one_of
from laion_dask.io.commit import Target, stage
from laion_dask.kernels.filter import passes
from laion_dask.verbs.where import Rows, account, undecided

#: Packages whose version decides what an export holds.
_VERSIONS = (
    "laion_dask",
    "dask",
    "duckdb",
    "numpy",
    "open_clip_torch",
    "pandas",
    "pyarrow",
    "torch",
)


@dataclass(frozen=True)
class Export:
    """What an export wrote.

    Attributes
    ----------
    path : str
    rows : Rows
        What became of every row that was read.
    recipe : dict
        What ``recipe.json`` says.
    """

    path: str
    rows: Rows
    recipe: dict

    def __str__(self) -> str:
        parts = len(self.recipe["parts"])
        size = sum(part["bytes"] for part in self.recipe["parts"])
        return f"{self.rows}\n{parts} parts, {size / 1e6:,.1f} MB, and recipe.json in {self.path}"

    __repr__ = __str__


def export(
    frame: dd.DataFrame,
    path: str | os.PathLike,
    format: str = "parquet",
    *,
    seed: int | None = None,
) -> Export:
    """Write the frame's rows and a recipe; the folder changes in one step. Eager.

    Rows are in the order of the shards and of the rows in them, whatever the workers did. Each
    partition that has rows is one part. ``recipe.json`` is written last and lists the inputs with
    size and digest, the filters, models and weights, versions, schema, the counts of rows read,
    kept, dropped, unscored and rejected, and the sha256 of each part.

    Parameters
    ----------
    frame : dask DataFrame
        That leads back to `read_shards`.
    path : str or path
        A folder or an address that fsspec knows: new, empty, or an earlier export, which is
        replaced.
    format : {"parquet"}
    seed : int, optional
        Recorded in the recipe, for a frame that was sampled with it.

    Raises
    ------
    OptionError
        When there is no such format.
    ExportError
        When the folder holds something else, or the shards that are read.
    ProvenanceError
        When the frame does not lead back to `read_shards`. All three at once.
    ShardError, SchemaError
        When a shard turns out damaged while it is read; nothing is visible then.
    """
    if format not in _FORMATS:
        raise one_of("format", format, _FORMATS)
    target = Target(os.fspath(path))
    sources = partition.sources(frame)
    _refuse_own_inputs(target, sources)
    read, counts = undecided(frame)
    schema = frame_to_arrow(frame._meta).schema
    with target:
        written = partition.map_numbered(
            frame, write_part, target.staging_url, format, schema, meta=_part([])
        )
        written, *counts = partition.compute(written, *counts, label="export")
        rows = account(read, int(written["rows"].sum()), counts)
        parts = written.sort_values("number").to_dict("records")
        parts = [part for part in parts if part["rows"]] or parts[:1]
        recipe = {**_recipe(frame, sources, schema, rows), "seed": seed}
        return Export(target.path, rows, target.commit(parts, recipe))


def _refuse_own_inputs(target: Target, sources) -> None:
    folder = target.fs.unstrip_protocol(target.folder) + "/"
    for _, pieces in sources:
        for piece in pieces:
            if target.fs.unstrip_protocol(piece.shard.path).startswith(folder):
                raise ExportError(
                    f"{target.path} holds {piece.shard.path}, which this frame reads; writing "
                    "there would replace its own input. Name another folder."
                )


def write_part(part, staging: str, format: str, schema: pa.Schema, partition_info=None):
    """Write one partition as a staged part; one row that says what was written."""
    number = (partition_info or {}).get("number", 0)
    table = _conformed(frame_to_arrow(part), schema)
    staged = stage(f"{staging}/{number:08d}.{format}", _FORMATS[format](table))
    return _part([{"number": number, "rows": len(table), **staged}])


def _part(rows: list[dict]) -> pd.DataFrame:
    types = {"number": "int64", "rows": "int64", "staged": "object", "bytes": "int64"}
    return pd.DataFrame(rows, columns=[*types, "sha256"]).astype({**types, "sha256": "object"})


def _conformed(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table in the schema that every part has; a type that only values tell stays."""
    fields = [
        table.schema.field(f.name) if pa.types.is_null(f.type) else f.with_metadata(None)
        for f in schema
    ]
    return table.select(schema.names).cast(pa.schema(fields)).replace_schema_metadata(None)


def _parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue().to_pybytes()


_FORMATS: dict[str, Callable[[pa.Table], bytes]] = {"parquet": _parquet}


def _recipe(frame: dd.DataFrame, sources, schema: pa.Schema, rows: Rows) -> dict:
    shards = {p.shard.path: p.shard for _, pieces in sources for p in pieces}
    where = [scan.where.text for scan, _ in sources if scan.where is not None]
    where += [predicate.text for _, (predicate,) in partition.mapped(frame, passes)]
    return {
        "inputs": [
            {"path": s.path, "rows": s.n_rows, "bytes": s.size, "footer_sha256": s.footer_sha256}
            for s in shards.values()
        ],
        "where": where,
        "models": partition.recipes(frame),
        "versions": {"python": platform.python_version(), **{n: version(n) for n in _VERSIONS}},
        "schema": [{"name": f.name, "type": str(f.type)} for f in schema],
        "counts": {name: getattr(rows, name) for name in Rows.__dataclass_fields__},
    }
