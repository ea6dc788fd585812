"""Build an export's manifest: inputs, filters, models, versions, schema, counts and files."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from hashlib import sha256
from importlib.metadata import version
from typing import Any

import dask
import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa

from laion_dask.errors import ExportError, ProvenanceError
from laion_dask.exports.formats.base import WrittenPart
from laion_dask.exports.formats.staged_files import StagedFile
from laion_dask.frame.accounting import Rows
from laion_dask.frame.computed_columns import computed_texts
from laion_dask.frame.funnel import funnel_of
from laion_dask.frame.provenance import Provenance
from laion_dask.io.parquet.shard import Shard, shards_of
from laion_dask.joins.join import duplicates_left_out

#: Packages whose version affects every export, and packages that matter if a model was used.
_ENGINES = (dask, duckdb, np, pd, pa)
_MODELS = ("torch", "open_clip_torch")


def build_manifest(
    provenance: Provenance, schema: pa.Schema, rows: Rows, rows_per_part: int, seed: int | None
) -> dict[str, Any]:
    """The manifest without its list of files."""
    shards = {shard.index: shard for shard in shards_of(provenance.partitions)}
    columns = (column for s in shards.values() for column in (*s.columns, *s.partition))
    renamed = {(old, new) for old, new, _ in columns if old != new}
    models = [one for one in provenance.recipes if "join" not in one]
    manifest = {
        "inputs": [input_entry(shard) for shard in shards.values()],
        "renamed": dict(sorted(renamed)),
        "where": provenance.filters,
        "joins": duplicates_left_out(provenance),
        "models": models,
        "versions": current_versions(with_models=bool(models)),
        "schema": [{"name": field.name, "type": str(field.type)} for field in schema],
        "counts": rows.counts,
        "rows_per_part": rows_per_part,
        "seed": seed,
    }
    computed = computed_texts(provenance)
    if computed:
        manifest["computed"] = computed
    if provenance.lists:
        manifest["lists"] = provenance.lists
    return manifest


def input_entry(shard: Shard) -> dict[str, Any]:
    """A shard as the manifest lists it."""
    return {
        "shard": shard.index,
        "path": shard.path,
        "rows": shard.n_rows,
        "bytes": shard.size,
        "footer_sha256": shard.footer_sha256,
    }


def current_versions(with_models: bool = True) -> dict[str, str]:
    """The versions of the packages that an export may depend on."""
    versions = {"python": platform.python_version(), "laion_dask": version("laion_dask")}
    versions |= {package.__name__: package.__version__ for package in _ENGINES}
    return versions | {name: version(name) for name in _MODELS if with_models}


def funnel_if_empty(provenance: Provenance, rows: Rows) -> dict[str, Any]:
    """The number of rows that each clause excluded, if no row is kept, as an entry. Eager.

    Empty if other steps excluded rows too.
    """
    if not rows.read or rows.kept:
        return {}
    try:
        clauses = funnel_of(provenance, rows).to_dict("records")
    except ProvenanceError:
        clauses = []
    return {"funnel": [{str(name): n for name, n in clause.items()} for clause in clauses]}


def file_entries(
    parts: Sequence[WrittenPart],
    index: Sequence[StagedFile],
    documents: Mapping[str, bytes] | None = None,
) -> dict[str, Any]:
    """The files of an export as the manifest lists them."""
    counts = Counter[str]()
    for file in (file for part in parts for file in part.files):
        counts.update(file.counts)
    entries: dict[str, Any] = {"file_counts": dict(sorted(counts.items()))} if counts else {}
    entries["parts"] = [_part_entry(part) for part in parts]
    if index:
        entries["index"] = [_entry(_index_name(f), f) for f in index]
    if documents:
        staged = {n: StagedFile(n, len(c), sha256(c).hexdigest()) for n, c in documents.items()}
        entries["documents"] = [_entry(name, staged[name]) for name in sorted(staged)]
    return entries


def _part_entry(part: WrittenPart) -> dict[str, Any]:
    """A part as the manifest lists it; the row count is listed with its first file."""
    first, *companions = map(_entry, part.final_names, part.files)
    entry = {"file": first["file"], "rows": part.rows, **first}
    return {**entry, "companions": companions} if companions else entry


def _entry(name: str, file: StagedFile) -> dict[str, Any]:
    entry = {"file": name, "bytes": file.bytes, "sha256": file.sha256}
    return {**entry, "counts": dict(sorted(file.counts.items()))} if file.counts else entry


def _index_name(file: StagedFile) -> str:
    return file.final_name("index")


def staged_names(parts: Sequence[WrittenPart], index: Sequence[StagedFile]) -> dict[str, str]:
    """A mapping of the final name of each file to its staged name."""
    names = [name for part in parts for name in part.final_names]
    names += [_index_name(file) for file in index]
    files = [file for part in parts for file in part.files] + [*index]
    if len(set(names)) < len(names):
        name = next(name for name in names if names.count(name) > 1)
        raise ExportError(
            f"The export format wrote two files with the same name, {name}. Give the files of a "
            "part different suffixes."
        )
    return {name: file.staged for name, file in zip(names, files, strict=True)}
