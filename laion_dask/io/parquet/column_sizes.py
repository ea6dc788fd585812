"""How many bytes the columns of Parquet files take, by their footers alone."""

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
    """Bytes of one column of a file: as they are stored, and before compression.

    ``group_rows`` is how many rows the file's largest row group has.
    """

    stored: int
    plain: int
    group_rows: int


def column_sizes(paths: Sequence[str]) -> list[dict[str, ColumnSize]]:
    """The columns' bytes, by their names in each file. Eager, but reads footers only.

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
        most = 0
        for group in map(metadata.row_group, range(metadata.num_row_groups)):
            most = max(most, group.num_rows)
            for chunk in map(group.column, range(group.num_columns)):
                name = _top(chunk.path_in_schema, names)
                stored[name] = stored.get(name, 0) + chunk.total_compressed_size
                plain[name] = plain.get(name, 0) + chunk.total_uncompressed_size
    except ARROW_ERRORS as error:
        raise damaged(path, error) from error
    return {name: ColumnSize(stored[name], plain[name], most) for name in stored}


def _top(path: str, names: Sequence[str]) -> str:
    """The column that a leaf belongs to; a name may itself have dots."""
    fitting = [name for name in names if path == name or path.startswith(f"{name}.")]
    return max(fitting, key=len, default=path)
