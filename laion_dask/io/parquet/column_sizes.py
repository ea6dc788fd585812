"""Read the sizes in bytes of the columns of Parquet files from their footers."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow.parquet as pq

from laion_dask.io.parquet.footer import ARROW_ERRORS, damaged
from laion_dask.io.storage.local_file import open_bytes

_THREADS = 16


@dataclass(frozen=True)
class ColumnSize:
    """The size of one column of a file, in bytes.

    Attributes
    ----------
    stored, plain : int
        As stored, and uncompressed.
    group_rows : int
        The number of rows in the largest row group of the file.
    """

    stored: int
    plain: int
    group_rows: int


def column_sizes(paths: Sequence[str]) -> list[dict[str, ColumnSize]]:
    """The sizes of each file's columns, by name in the file. Eager; reads only footers.

    Raises
    ------
    ShardError
        When a footer cannot be read.
    """
    if not paths:
        return []
    with ThreadPoolExecutor(min(_THREADS, len(paths))) as pool:
        return list(pool.map(_of_file, paths))


def _of_file(path: str) -> dict[str, ColumnSize]:
    try:
        with open_bytes(path) as file:
            metadata = pq.read_metadata(file)
        names = metadata.schema.to_arrow_schema().names
        stored: dict[str, int] = {}
        plain: dict[str, int] = {}
        largest = 0
        for group in map(metadata.row_group, range(metadata.num_row_groups)):
            largest = max(largest, group.num_rows)
            for chunk in map(group.column, range(group.num_columns)):
                name = _top(chunk.path_in_schema, names)
                stored[name] = stored.get(name, 0) + chunk.total_compressed_size
                plain[name] = plain.get(name, 0) + chunk.total_uncompressed_size
    except ARROW_ERRORS as error:
        raise damaged(path, error) from error
    return {name: ColumnSize(stored[name], plain[name], largest) for name in stored}


def _top(path: str, names: Sequence[str]) -> str:
    """The column that a leaf belongs to; column names may contain dots."""
    matching = [name for name in names if path == name or path.startswith(f"{name}.")]
    return max(matching, key=len, default=path)
