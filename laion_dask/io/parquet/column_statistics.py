"""Column statistics from footers: whether a column has values, and its extremes.

These are needed only if shards disagree on a type. The footers are read again in that case, because
the statistics of every column and row group of all shards would take too much memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa

from laion_dask.io.parquet.column_chunks import Chunk, column_chunks
from laion_dask.io.parquet.common_types import leaf_types
from laion_dask.io.parquet.footer import check_unchanged
from laion_dask.io.parquet.many_footers import THREADS
from laion_dask.io.parquet.shard import Shard
from laion_dask.io.parquet.thrift import NotThrift


class StoredValues:
    """The column statistics in the footers of shards.

    Parameters
    ----------
    shards : sequence of Shard
    """

    def __init__(self, shards: Sequence[Shard]):
        self._shards: Mapping[str, Shard] = {shard.path: shard for shard in shards}
        self._chunks: dict[str, dict[str, list[Chunk]]] = {}

    def has_rows(self, path: str) -> bool:
        return self._shards[path].n_rows > 0

    def without_values(self, name: str, paths: Iterable[str]) -> set[str]:
        """The shards in which a column is null in every row; empty if the column is nested."""
        by_path = self._of_column(name, paths)
        return {
            path
            for path, (type_, chunks) in by_path.items()
            if type_.num_fields == 0
            and chunks
            and all(chunk.n_nulls == chunk.n_values for chunk in chunks)
        }

    def extremes(self, name: str, paths: Iterable[str]) -> Iterator[tuple[str, list[pa.Array]]]:
        """The smallest and largest values of a column in each shard, as one array per leaf.

        Includes only 64-bit integers, times and durations; the array is empty for any other leaf
        and for a leaf without statistics.
        """
        for path, (type_, chunks) in self._of_column(name, paths).items():
            leaves = [leaf for _, leaf in leaf_types(type_)]
            yield path, [_values(leaf, chunks[i :: len(leaves)]) for i, leaf in enumerate(leaves)]

    def _of_column(
        self, name: str, paths: Iterable[str]
    ) -> dict[str, tuple[pa.DataType, list[Chunk]]]:
        """The stored type and the chunks of a column, for the shards that store it."""
        stored = {}
        for path in paths:
            for old, new, type_ in self._shards[path].columns:
                if new == name:
                    stored[path] = (old, type_)
        self._read([path for path in stored if path not in self._chunks])
        return {
            path: (type_, self._chunks[path].get(old, [])) for path, (old, type_) in stored.items()
        }

    def _read(self, paths: Sequence[str]) -> None:
        if paths:
            with ThreadPoolExecutor(min(THREADS, len(paths))) as pool:
                self._chunks |= zip(paths, pool.map(self._by_column, paths), strict=True)

    def _by_column(self, path: str) -> dict[str, list[Chunk]]:
        footer = check_unchanged(path, self._shards[path].footer_sha256)
        by_column: dict[str, list[Chunk]] = {}
        try:
            for chunk in column_chunks(footer):
                by_column.setdefault(chunk.column, []).append(chunk)
        except NotThrift:  # reading the rows will raise the error
            return {}
        return by_column


def holds_wide_integers(type_: pa.DataType) -> bool:
    """Whether values are 64-bit integers, or times or durations stored as such."""
    return (pa.types.is_integer(type_) or pa.types.is_temporal(type_)) and type_.bit_width == 64


def _values(type_: pa.DataType, chunks: Sequence[Chunk]) -> pa.Array:
    if not holds_wide_integers(type_):
        return pa.nulls(0, type_)
    ends = [end for chunk in chunks for end in chunk.extremes if len(end) == 8]
    return pa.Array.from_buffers(type_, len(ends), [None, pa.py_buffer(b"".join(ends))])
