"""Map the files of a sample into memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from laion_dask.explorer.arrow_file import ArrowFile, take
from laion_dask.explorer.columns import CategoryColumn, Labels, NumberColumn
from laion_dask.explorer.published_thresholds import published_thresholds


def mapped(path: Path) -> np.ndarray:
    """The numbers of a file, memory-mapped and read-only, (n,)."""
    table = _table(path)
    column = table.column(0)
    if not len(column):
        return np.empty(0, column.type.to_pandas_dtype())
    (chunk,) = column.chunks
    found: np.ndarray = chunk.to_numpy(zero_copy_only=True)
    return found


def _table(path: Path) -> pa.Table:
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()


def number_column(folder: Path, described: dict[str, Any]) -> NumberColumn:
    """A column of numbers, as `content.json` describes it."""
    number = described["number"]
    return NumberColumn(
        name=described["name"],
        values=mapped(folder / f"numbers-{number}.arrow"),
        edges=np.array(described["edges"], np.float64),
        codes=mapped(folder / f"bins-{number}.arrow"),
        n_missing=described["n_missing"],
        thresholds=published_thresholds(described["name"]),
        is_logarithmic=described["is_logarithmic"],
    )


def category_column(folder: Path, described: dict[str, Any]) -> CategoryColumn:
    """A category, as `content.json` describes it."""
    number = described["number"]
    labels = _table(folder / f"labels-{number}.arrow").column(0).combine_chunks()
    if isinstance(labels, pa.ChunkedArray):
        labels = pa.array([], pa.large_string())
    return CategoryColumn(
        name=described["name"],
        codes=mapped(folder / f"codes-{number}.arrow"),
        labels=Labels(labels),
        source=described["source"],
        site=described["site"],
        is_boolean=described["is_boolean"],
    )


class Batches:
    """Columns of texts and other values in batches, memory-mapped; rows are taken by position."""

    def __init__(self, path: Path) -> None:
        self._file = ArrowFile(path)

    def slice(self, name: str, start: int, stop: int) -> pa.ChunkedArray:
        """The values of a column from ``start`` to ``stop``, without a copy."""
        columns = [batch.column(name) for batch in self._file.batches]
        column = pa.chunked_array(columns, self._file.schema.field(name).type)
        return column.slice(start, stop - start)

    def take(self, name: str, positions: np.ndarray) -> pa.Array:
        """The values of a column at positions, in any order."""
        type_ = self._file.schema.field(name).type
        if not len(positions):
            return pa.array([], type_)
        return take([self._file], positions, [name]).column(0).combine_chunks()

    def release(self) -> None:
        """Release the memory of what was read; see `ArrowFile`."""
        self._file.release()
