"""The content of an export's manifest: inputs, filters, models, versions, schema and counts."""

from __future__ import annotations

import platform
from importlib.metadata import version

import dask
import dask.dataframe as dd
import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa

from laion_dask.errors import ProvenanceError
from laion_dask.frame import masks, provenance
from laion_dask.frame.accounting import Rows
from laion_dask.frame.funnel import funnel_of
from laion_dask.joins.join import duplicates_left_out

#: Packages whose version affects every export, and those that do so where a model was used.
_ENGINES = (dask, duckdb, np, pd, pa)
_MODELS = ("torch", "open_clip_torch")


def build_manifest(
    frame: dd.DataFrame, sources, schema: list[dict], rows: Rows, seed: int | None
) -> dict:
    """The manifest without its list of files."""
    shards = {p.shard.index: p.shard for _, pieces in sources for p in pieces}
    columns = (column for s in shards.values() for column in (*s.columns, *s.partition))
    renamed = {(old, new) for old, new, _ in columns if old != new}
    models = [one for one in provenance.recipes(frame) if "join" not in one]
    manifest = {
        "inputs": [_input(shard) for shard in shards.values()],
        "renamed": dict(sorted(renamed)),
        "where": masks.filters(frame),
        "joins": duplicates_left_out(frame),
        "models": models,
        "versions": _versions(with_models=bool(models)),
        "schema": schema,
        "counts": {name: getattr(rows, name) for name in Rows.__dataclass_fields__},
        "seed": seed,
    }
    if rows.read and not rows.kept:
        manifest["funnel"] = _funnel(frame, rows)
    return manifest


def schema_entries(schema: pa.Schema, types_of_parts: list[list[str]]) -> list[dict]:
    """Name and type of every column as it was written."""
    entries = []
    for i, name in enumerate(schema.names):
        types = (types[i] for types in types_of_parts)
        entries.append({"name": name, "type": next((t for t in types if t != "null"), "null")})
    return entries


def _input(shard) -> dict:
    return {
        "shard": shard.index,
        "path": shard.path,
        "rows": shard.n_rows,
        "bytes": shard.size,
        "footer_sha256": shard.footer_sha256,
    }


def _versions(with_models: bool) -> dict[str, str]:
    versions = {"python": platform.python_version(), "laion_dask": version("laion_dask")}
    versions |= {package.__name__: package.__version__ for package in _ENGINES}
    return versions | {name: version(name) for name in _MODELS if with_models}


def _funnel(frame: dd.DataFrame, rows: Rows) -> list[dict]:
    """How many rows each clause left out; empty if steps other than filters did too."""
    try:
        return funnel_of(frame, rows).to_dict("records")
    except ProvenanceError:
        return []
