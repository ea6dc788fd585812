"""Exports whose parts have one row each, written and read back."""

import json
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from laion_dask.exports.formats.base import WrittenPart
from laion_dask.exports.transaction import ExportTransaction
from laion_dask.io.storage.export_manifest import FLAT_MANIFEST, KIND
from laion_dask.io.storage.paths import expand

OLD, NEW = [1, 2, 3], [4, 5]


def content(value: int) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"value": [value]}), sink)
    return sink.getvalue().to_pybytes()


def write(path: str, values, before_commit=lambda: None) -> None:
    """Commit an export whose parts have one row each."""
    with ExportTransaction(str(path)) as transaction:
        write = transaction.staging_folder.write
        files = [write(f"{i:08d}.parquet", content(v)) for i, v in enumerate(values)]
        before_commit()
        parts = [WrittenPart(i, 1, (file,)) for i, file in enumerate(files)]
        transaction.commit(parts, (), {"inputs": []})


def by_recipe(path) -> list[int]:
    return [read(p) for p in expand(str(path), (".parquet",))]


def by_glob(path) -> list[int]:
    """The values in all ``*.parquet`` files at any depth, hidden files excluded."""
    fs, inner = fsspec.core.url_to_fs(str(path))
    paths = sorted(n for n in fs.find(inner) if n.endswith(".parquet"))
    return [read(fs.unstrip_protocol(n)) for n in paths if "/." not in n[len(inner) :]]


def read(path: str) -> int:
    with fsspec.open(path, "rb") as file:
        return pq.read_table(pa.BufferReader(file.read()))["value"][0].as_py()


def write_flat(folder: Path, values) -> None:
    """Write an export in the layout of earlier releases."""
    folder.mkdir()
    listed = []
    for i, value in enumerate(values):
        name = f"part-{i:05d}-0123456{i}.parquet"
        (folder / name).write_bytes(content(value))
        listed.append({"file": name, "rows": 1, "bytes": len(content(value)), "sha256": "0"})
    (folder / FLAT_MANIFEST).write_text(json.dumps({"kind": KIND, "parts": listed}))
