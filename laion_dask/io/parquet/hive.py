"""Hive partitioning: columns in folder names, such as ``LANGUAGE=en/``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from laion_dask.errors import SchemaError, argument
from laion_dask.io.parquet.footer import ARROW_ERRORS, damaged
from laion_dask.io.storage.local_file import open_bytes
from laion_dask.schema import CANONICAL

_NULL = "__HIVE_DEFAULT_PARTITION__"
#: An integer in canonical form; a value such as 007 is not only a number.
_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,17}")
_FLOAT = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?")


def folder_columns(path: str) -> dict[str, str | None]:
    """The columns in the names of the folders directly above a file, written as key=value.

    Keys and values are percent-decoded; Hive's name for null becomes None.

    Examples
    --------
    >>> folder_columns("runs=5/data/LANGUAGE=zh%2Dtw/punsafe=0/part-0.parquet")
    {'LANGUAGE': 'zh-tw', 'punsafe': '0'}
    """
    columns: dict[str, str | None] = {}
    for folder in reversed(path.split("/")[:-1]):
        key, equals, value = folder.partition("=")
        if not (key and equals):
            break
        columns.setdefault(unquote(key), None if value == _NULL else unquote(value))
    return dict(reversed(columns.items()))


def folder_type(column: str, values: Sequence[str | None]) -> pa.DataType:
    """The type of a frame's column whose values come from folder names.

    An integer if every value is a canonical integer, a float if the canonical column is numeric,
    else text; null if there are no values.
    """
    present = [value for value in values if value is not None]
    kind = CANONICAL[column].kind if column in CANONICAL else None
    if not present:
        return pa.null()
    if kind not in ("string", "key") and all(map(_INTEGER.fullmatch, present)):
        return pa.int64()
    if kind in ("float", "int32") and all(map(_FLOAT.fullmatch, present)):
        return pa.float64()
    return pa.large_string()


def folder_value(value: str | None, type_: pa.DataType, column: str, path: str):
    """Convert one value to the type of the frame's column.

    Raises
    ------
    SchemaError
        When the type cannot represent the value.
    """
    if value is None or pa.types.is_large_string(type_):
        return value
    try:
        number = pa.scalar(int(value) if _INTEGER.fullmatch(value) else float(value))
        return number.cast(type_).as_py()
    except (ValueError, pa.ArrowInvalid) as error:
        raise SchemaError(
            f"{path} is in a folder whose name gives {column!r} the value {value!r}, which {type_} "
            "cannot represent. Rename the folder, or read with "
            f"{argument('hive_partitioning', False)}."
        ) from error


def check_agrees(path: str, column: str, value: str | None) -> None:
    """Check that a column of a file agrees with the value in its folder name. Eager.

    Uses the statistics of the row groups, and reads values only if the statistics do not suffice.

    Raises
    ------
    SchemaError
        When the two values differ.
    """
    try:
        with open_bytes(path) as source:
            other = next((v for v in _values(pq.ParquetFile(source), column) if v != value), value)
    except ARROW_ERRORS as error:
        raise damaged(path, error) from error
    if other != value:
        shown = "null" if value is None else repr(value)
        raise SchemaError(
            f"{path} has the column {column!r} with the value {other!r}, but is in a folder whose "
            f"name says {shown}. Correct one of them, or use the values in the file with "
            f"{argument('hive_partitioning', False)}."
        )


def _values(file: pq.ParquetFile, column: str) -> Iterator[str | None]:
    """The distinct values of a column as they would appear in a folder name."""
    names = [file.schema.column(i).path for i in range(len(file.schema))]
    leaf = (
        names.index(column) if column in names else None
    )  # the leaves of a struct have different names
    for number in range(file.num_row_groups):
        group = file.metadata.row_group(number)
        statistics = None if leaf is None else group.column(leaf).statistics
        if statistics is None or not _has_one_value(statistics):
            table = file.read_row_group(number, columns=[column], use_threads=False)
            values = table.column(0)
            if values.type.num_fields == 0 and not isinstance(values.type, pa.BaseExtensionType):
                values = pc.unique(values)
            yield from map(folder_text, values.to_pylist())
        else:
            yield folder_text(statistics.min)


def _has_one_value(statistics: pq.Statistics) -> bool:
    no_nulls = statistics.has_null_count and statistics.null_count == 0
    return no_nulls and statistics.has_min_max and statistics.min == statistics.max


def folder_text(value) -> str | None:
    """A value as written in a folder name; None for null."""
    return None if value is None else str(value)
