"""The size of rows in memory, as a sum over rows that depends on their values alone.

Arrow's own ``nbytes`` counts validity bitmaps and what a slice shares with others, so it depends on
how rows were grouped into batches. Here, a value of fixed width counts as its bytes, a string or a
list as four bytes and its content.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from laion_dask.memory_pool import POOL

_OFFSET = 4


def fixed_bytes(type_: pa.DataType) -> int:
    """The bytes of each value of a type, without the content of strings and lists."""
    if pa.types.is_null(type_):
        return 0
    if isinstance(type_, pa.BaseExtensionType):
        return fixed_bytes(type_.storage_type)
    if pa.types.is_fixed_size_list(type_):
        return int(type_.list_size) * fixed_bytes(type_.value_type)
    if pa.types.is_struct(type_):
        return sum(fixed_bytes(field.type) for field in type_)
    try:
        return max(1, int(type_.bit_width) // 8)
    except ValueError:  # its width varies
        return _OFFSET


def content_bytes(column: pa.ChunkedArray) -> int:
    """The bytes of the content of all strings and lists in a column."""
    type_ = column.type
    if isinstance(type_, pa.BaseExtensionType):
        storage = [chunk.storage for chunk in column.chunks]
        return content_bytes(pa.chunked_array(storage, type_.storage_type))
    if pa.types.is_string_view(type_) or pa.types.is_binary_view(type_):
        column = column.cast(pa.large_binary())
    if _is_text(column.type):
        return int(pc.sum(pc.binary_length(column, memory_pool=POOL)).as_py() or 0)
    if pa.types.is_map(type_):
        entries = pa.struct([type_.key_field, type_.item_field])
        column = column.cast(pa.list_(pa.field("entries", entries, nullable=False)))
        type_ = column.type
    if pa.types.is_struct(type_):
        varying = [i for i, field in enumerate(type_) if not _is_fixed(field.type)]
        return sum(content_bytes(pc.struct_field(column, [i])) for i in varying)
    if pa.types.is_fixed_size_list(type_) and _is_fixed(type_.value_type):
        return 0
    if pa.types.is_nested(type_):
        values = pc.list_flatten(column)
        inside = content_bytes(values)
        if pa.types.is_fixed_size_list(type_):
            return inside
        return inside + len(values) * fixed_bytes(values.type)
    return 0


def _is_text(type_: pa.DataType) -> bool:
    kinds = (pa.string(), pa.large_string(), pa.binary(), pa.large_binary())
    return any(type_ == kind for kind in kinds)


def _is_fixed(type_: pa.DataType) -> bool:
    return bool(pa.types.is_primitive(type_) or pa.types.is_fixed_size_binary(type_))
