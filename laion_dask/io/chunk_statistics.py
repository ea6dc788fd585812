"""What the statistics of a footer say of whole columns; where there are none, nothing."""

from __future__ import annotations

from collections.abc import Callable, Collection

import pyarrow.parquet as pq


def without_values(metadata: pq.FileMetaData) -> frozenset[str]:
    """Columns whose type says nothing: without rows, or of floats without a value."""
    if not metadata.num_rows:
        return frozenset(metadata.schema.to_arrow_schema().names)
    return _columns(metadata, ("DOUBLE", "FLOAT"), all, _is_null)


def beyond_float64(metadata: pq.FileMetaData) -> frozenset[str]:
    """Columns of integers of which some are beyond 2**53."""
    return _columns(metadata, ("INT64",), any, _is_large)


def _columns(
    metadata: pq.FileMetaData, physical: Collection[str], of_groups: Callable, test: Callable
) -> frozenset[str]:
    """Columns of some physical types, no lists, of whose chunks all or any pass a test."""
    leaves = [metadata.schema.column(i) for i in range(metadata.num_columns)]
    return frozenset(
        leaf.path
        for i, leaf in enumerate(leaves)
        if leaf.physical_type in physical
        and not leaf.max_repetition_level
        and leaf.max_definition_level <= 1
        and of_groups(test(metadata.row_group(n).column(i)) for n in range(metadata.num_row_groups))
    )


def _is_null(chunk: pq.ColumnChunkMetaData) -> bool:
    found = chunk.statistics
    known = found is not None and found.has_null_count
    return chunk.num_values == 0 or (known and found.null_count == chunk.num_values)


def _is_large(chunk: pq.ColumnChunkMetaData) -> bool:
    found = chunk.statistics
    if found is None or not found.has_min_max or found.logical_type.type not in ("NONE", "INT"):
        return False  # a time is an INT64 too
    return found.min < -(2**53) or found.max > 2**53
