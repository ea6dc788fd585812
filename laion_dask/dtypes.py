"""Arrow types: their pandas dtypes, cuDF support, and column types."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd
import pyarrow as pa


class ColumnTypes(dict):
    """The type of every column, and which columns a file stores as float16.

    Those columns are float32 in a frame, but filters compare them as float16.

    Attributes
    ----------
    half : frozenset of str
    """

    half: frozenset[str] = frozenset()

    @classmethod
    def of(cls, column_types: Mapping[str, str], half: Iterable[str]) -> ColumnTypes:
        """Create column types; ``half`` is restricted to float columns."""
        result = cls(column_types)
        result.half = frozenset(
            name for name in half if column_types.get(name, "").startswith("float")
        )
        return result


_PANDAS = {
    pa.int8(): pd.Int8Dtype(),
    pa.int16(): pd.Int16Dtype(),
    pa.int32(): pd.Int32Dtype(),
    pa.int64(): pd.Int64Dtype(),
    pa.uint8(): pd.UInt8Dtype(),
    pa.uint16(): pd.UInt16Dtype(),
    pa.uint32(): pd.UInt32Dtype(),
    pa.uint64(): pd.UInt64Dtype(),
    pa.bool_(): pd.BooleanDtype(),
    pa.large_string(): pd.StringDtype(na_value=np.nan),
    pa.string(): pd.StringDtype(na_value=np.nan),
}
_NUMPY = (pa.float32(), pa.float64())


def column_type(dtype) -> str:
    """The type of a column in a ``where`` expression, from its dtype in a frame.

    Returns
    -------
    str
        One of string, integer, float32, float64, boolean and other.
    """
    if isinstance(dtype, pd.ArrowDtype):
        return arrow_column_type(dtype.pyarrow_dtype)
    name = str(dtype).lower()
    if isinstance(dtype, pd.StringDtype) or name in ("str", "string", "object"):
        return "string"
    if name.startswith(("int", "uint")):
        return "integer"
    if name in ("float32", "float16"):
        return "float32"
    if name.startswith("float"):
        return "float64"
    return "boolean" if name.startswith("bool") else "other"


def measured_column_type(dtype) -> str:
    """The type of a column for a statistic, which treats a category as its value."""
    categories = getattr(dtype, "categories", None)
    return column_type(dtype if categories is None else categories.dtype)


def decoded(table: pa.Table) -> pa.Table:
    """Decode the dictionary columns of a table, such as categories, to their values."""
    for i, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            table = table.set_column(i, field.name, table[i].cast(field.type.value_type))
    return table


def arrow_column_type(type_: pa.DataType) -> str:
    """The type of a column in a ``where`` expression, from its Arrow type."""
    t = pa.types
    if t.is_string(type_) or t.is_large_string(type_):
        return "string"
    if t.is_integer(type_):
        return "integer"
    if t.is_float32(type_) or t.is_float16(type_):
        return "float32"
    if t.is_float64(type_):
        return "float64"
    return "boolean" if t.is_boolean(type_) else "other"


def pandas_type(type_: pa.DataType):
    """The pandas dtype for an Arrow type; None if it maps to a NumPy dtype."""
    if type_ in _NUMPY:
        return None
    return _PANDAS.get(type_) or pd.ArrowDtype(type_)


def holds(backend: str, type_: pa.DataType) -> bool:
    """Whether the backend supports an Arrow type, including types nested in lists."""
    t = pa.types
    if backend == "pandas" or type_ in _PANDAS or type_ in _NUMPY:
        return True
    if t.is_list(type_) or t.is_large_list(type_) or t.is_struct(type_):
        return all(holds(backend, type_.field(i).type) for i in range(type_.num_fields))
    return t.is_timestamp(type_) or t.is_duration(type_) or t.is_decimal128(type_)
