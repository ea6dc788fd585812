"""Columns in folder names, for many shards; what depends only on a folder is found once for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import pyarrow as pa

from laion_dask.dialects import Dialect
from laion_dask.io.parquet.hive import (
    check_agrees,
    folder_columns,
    folder_text,
    folder_type,
    folder_value,
)
from laion_dask.io.parquet.parsed_footer import Footer
from laion_dask.io.parquet.shard import Shard

#: ``names(columns, dialect, needed)``: the names in the frame, see `Naming.names`.
Names = Callable[[Iterable[str], Dialect, Sequence[str] | None], dict[str, str]]


def folders(footers: Sequence[Footer]) -> list[dict[str, str | None]]:
    """The columns in the folder names of each file; one object for each folder."""
    by_folder: dict[str, dict[str, str | None]] = {}
    folders = []
    for footer in footers:
        folder = footer.path.rpartition("/")[0]
        if folder not in by_folder:
            by_folder[folder] = folder_columns(footer.path)
        folders.append(by_folder[folder])
    return folders


def in_folders(
    shards: Sequence[Shard],
    folders: Sequence[dict[str, str | None]],
    dialects: Sequence[Dialect],
    names_of: Names,
) -> list[Shard]:
    """Add the columns from folder names that the shards' files do not have."""
    found: dict[tuple[int, int, int], tuple[tuple, list[tuple[str, str | None]]]] = {}
    partitioned = []
    for shard, folder, dialect in zip(shards, folders, dialects, strict=True):
        key = id(shard.columns), id(folder), id(dialect)
        if key not in found:
            found[key] = _of_folder(shard, folder, dialect, names_of)
        partition, in_both = found[key]
        for column, value in in_both:
            check_agrees(shard.path, column, value)
        partitioned.append(replace(shard, partition=partition) if partition else shard)
    return partitioned


def _of_folder(
    shard: Shard, folder: dict[str, str | None], dialect: Dialect, names_of: Names
) -> tuple[tuple[tuple[str, str, str | None], ...], list[tuple[str, str | None]]]:
    """The columns from folder names, and the file's columns that have to agree with a value."""
    stored = {new.lower(): old for old, new, _ in shard.columns}
    names = names_of(folder, dialect, None)
    added = [(key, new, folder[key]) for key, new in names.items() if new.lower() not in stored]
    in_both = [(stored[n.lower()], folder[key]) for key, n in names.items() if n.lower() in stored]
    return tuple(added), in_both


def with_folder_types(
    shards: Sequence[Shard], schemas: Mapping[str, dict[str, pa.DataType]]
) -> dict[str, dict[str, pa.DataType]]:
    """The schemas with the columns from folder names; equal ones are one object."""
    values: dict[str, list[str | None]] = {}
    for partition in {id(shard.partition): shard.partition for shard in shards}.values():
        for _, name, value in partition:
            values.setdefault(name, []).append(folder_text(value))
    types = {name: folder_type(name, texts) for name, texts in values.items()}
    extended: dict[tuple[int, tuple[str, ...]], dict[str, pa.DataType]] = {}
    for shard in shards:
        schema, names = schemas[shard.path], tuple(name for _, name, _ in shard.partition)
        key = id(schema), names
        if key not in extended:
            extended[key] = schema | {name: types[name] for name in names}
    return {
        shard.path: extended[id(schemas[shard.path]), tuple(name for _, name, _ in shard.partition)]
        for shard in shards
    }


def with_values(shards: Sequence[Shard], types: dict[str, pa.DataType]) -> list[Shard]:
    """Convert the values from folder names to the types of the frame."""
    converted: dict[int, tuple] = {}
    found = []
    for shard in shards:
        if id(shard.partition) not in converted:
            converted[id(shard.partition)] = tuple(
                (key, name, folder_value(folder_text(value), types[name], name, shard.path))
                for key, name, value in shard.partition
                if name in types
            )
        partition = converted[id(shard.partition)]
        found.append(replace(shard, partition=partition) if shard.partition else shard)
    return found
