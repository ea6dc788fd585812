"""``url in file('list.txt')``: the values of a file, read when a filter is parsed.

A text file has one value a line, exactly as it stands, in UTF-8. A byte order mark, line ends (LF
or CR LF) and blank lines are not values. A line of text that starts or ends with white space is an
error, because it would match nothing that it seems to; Parquet and JSON store such values. A
``.parquet`` file has one column, or one named like the column that is filtered; a ``.csv`` has a
header with that name; a ``.json`` is one list. Nulls and repeated values of a list do not matter. A
filter records the sha256 of its list; every process that evaluates it reads the list once and
verifies it.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pc_csv
import pyarrow.parquet as pq

from laion_dask.errors import PredicateError, did_you_mean
from laion_dask.io.storage.local_file import failures, file_system
from laion_dask.predicate.nodes import ValueList
from laion_dask.predicate.value_sets import IntegerSet, TextSet, ValueSet, as_integers
from laion_dask.runtime.process_cache import ProcessCache

#: Maximum size of a list, which is held in the memory of every process.
MAX_BYTES = 1 << 31
_TABLE = "Read a table of that size with read_shards, and join it"
_loaded = ProcessCache()
#: The state of each list's file when it was last verified in this process.
_states: dict[ValueList, object] = {}


@dataclass(frozen=True)
class ListError(Exception):
    """What is wrong with a list, to be continued with the expression that names it."""

    why: str


def open_list(written: str, kind: str, column: str) -> ValueList:
    """Read a list and keep its values for this process.

    Parameters
    ----------
    written : str
        The path or address in the expression. A relative path is resolved here.
    kind : {"string", "integer"}
        The kind of the column that is filtered.
    column : str
        Its name.

    Raises
    ------
    ListError
    """
    path = written if "://" in written else os.path.abspath(os.path.expanduser(written))
    state = _state(path)
    data = read_bytes(path)
    digest = hashlib.sha256(data).hexdigest()
    draft = ValueList(written, path, digest, kind, column, 0)
    values = _loaded.get(_key(draft), lambda: _values(data, draft))
    opened = ValueList(written, path, digest, kind, column, values.n)
    _states[opened] = state
    return opened


def values_of(values: ValueList) -> ValueSet:
    """The values of a list; read once per process, and again if its file was written since.

    Raises
    ------
    PredicateError
        When the file is missing, or has changed since the filter was created.
    """
    try:
        state = _state(values.path)
        if _states.get(values) != state or _key(values) not in _loaded:
            data = read_bytes(values.path)
            if hashlib.sha256(data).hexdigest() != values.sha256:
                raise ListError(
                    f"has changed since the filter was created: its sha256 was {values.sha256}. "
                    "Create the filter again, or restore the file"
                )
            _loaded.get(_key(values), lambda: _values(data, values))
            _states[values] = state
    except ListError as error:
        raise PredicateError(f"The list {values.path} {error.why}.") from None
    result: ValueSet = _loaded.get(_key(values), lambda: None)
    return result


def _key(values: ValueList) -> tuple[str, ...]:
    extension = os.path.splitext(values.path)[1].lower()
    return values.sha256, values.kind, values.column, extension


def _state(path: str) -> object:
    """What changes when a local file is written; None for an address, read once per process."""
    if "://" in path:
        return None
    try:
        status = os.stat(path)
    except OSError as error:
        raise ListError(f"cannot be read: {error.strerror}. Give the path of a file") from None
    return status.st_size, status.st_mtime_ns, status.st_ino


def read_bytes(path: str) -> bytes:
    """The content of a list's file or address.

    Raises
    ------
    ListError
    """
    try:
        fs, inside = file_system(path)
    except (ValueError, ImportError) as error:  # an unknown protocol, or one without its package
        raise ListError(f"cannot be read: {error}. Give the path of a file") from None
    try:
        if (size := fs.size(inside) or 0) > MAX_BYTES:
            raise ListError(
                f"has {size:,} bytes; every process would hold its values. Expected up to "
                f"{MAX_BYTES:,}. {_TABLE}"
            )
        content: bytes = fs.cat_file(inside)
        return content
    except ListError:
        raise
    except failures(fs) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ListError(f"cannot be read: {reason}. Give the path of a file") from None


def read_texts(path: str, column: str) -> tuple[pa.Array, str]:
    """The texts of a list, with repetitions, and the sha256 of the file. Eager.

    Parameters
    ----------
    path : str
    column : str
        The column of a table of several columns.

    Raises
    ------
    ListError
    """
    data = read_bytes(path)
    digest = hashlib.sha256(data).hexdigest()
    return _column(data, ValueList(path, path, digest, "string", column, 0)), digest


def _column(data: bytes, of: ValueList) -> pa.Array:
    """The values of a list, as they are in the file; at least one."""
    extension = os.path.splitext(of.path)[1].lower()
    if extension == ".parquet":
        column = _from_parquet(data, of)
    elif extension == ".csv":
        column = _without_blanks(_from_csv(data, of), of, first=2)
    elif extension == ".json":
        column = _from_json(data, of)
    elif extension in (".jsonl", ".ndjson", ".npy", ".arrow"):
        raise ListError(
            f"is {extension}. Write one value a line, as .txt, or one column, as .parquet"
        )
    else:
        column = _without_blanks(_lines(data), of, first=1)
    if not len(column):
        raise ListError("has no values. Expected at least one")
    return column


def _values(data: bytes, of: ValueList) -> ValueSet:
    column = _column(data, of)
    if of.kind == "string":
        return TextSet(column)
    if not pa.types.is_integer(column.type):
        integers = as_integers(column)
        if isinstance(integers, int):
            raise ListError(
                f"has the value {column[integers].as_py()[:80]!r}, which is not an integer like "
                f"those of {of.column}"
            )
        return IntegerSet(*integers)
    if column.type != pa.uint64():
        return IntegerSet(column.cast(pa.int64()).to_numpy(zero_copy_only=False), _NONE)
    numbers = column.to_numpy(zero_copy_only=False)
    low = numbers < 2**63
    return IntegerSet(numbers[low].astype(np.int64), numbers[~low])


_NONE = np.zeros(0, np.uint64)


def _lines(data: bytes) -> pa.Array:
    """The lines of a file of text."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise ListError("is in UTF-16. Save it in UTF-8")
    if data[:2] == b"\x1f\x8b":
        raise ListError("is compressed. Decompress it with gunzip")
    data = data.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n")
    if b"\0" in data:
        line = data[: data.index(b"\0")].count(b"\n") + 1
        raise ListError(f"is not text: line {line:,} has a NUL byte. Expected one value a line")
    if b"\r" in data.removesuffix(b"\r"):
        line = data[: data.index(b"\r")].count(b"\n") + 1
        raise ListError(f"has a carriage return within line {line:,}. End lines with \\n or \\r\\n")
    lines = pc.split_pattern(pa.array([data], pa.large_binary()), b"\n").values
    try:
        return lines.cast(pa.large_string())
    except pa.ArrowInvalid:
        for number, each in enumerate(data.split(b"\n"), 1):
            try:
                each.decode()
            except UnicodeDecodeError:
                raise ListError(f"has bytes in line {number:,} that are not UTF-8") from None
        raise


def _without_blanks(lines: pa.Array, of: ValueList, first: int) -> pa.Array:
    trimmed = pc.utf8_trim_whitespace(lines)
    if of.kind == "string":
        blank = pc.equal(pc.binary_length(trimmed), 0)
        odd = pc.and_not(pc.not_equal(trimmed, lines), blank)
        if pc.any(odd).as_py():
            at = pc.index(odd, True).as_py()
            raise ListError(
                f"has white space at an end of line {at + first:,}: {lines[at].as_py()[:80]!r}. "
                "Remove it; or, if the column has it too, write the list as Parquet"
            )
    return trimmed.filter(pc.greater(pc.binary_length(trimmed), 0))


def _from_csv(data: bytes, of: ValueList) -> pa.Array:
    try:
        header = pc_csv.open_csv(pa.py_buffer(data)).schema.names
        if of.column not in header:
            raise ListError(
                f"is CSV and its first line, {', '.join(header)[:80]!r}, does not name the column "
                f"{of.column!r}. Add a header, or name the file .txt if it has one value a line"
            )
        options = pc_csv.ConvertOptions(
            include_columns=[of.column], column_types={of.column: pa.large_string()}
        )
        table = pc_csv.read_csv(pa.py_buffer(data), convert_options=options)
    except pa.ArrowException as error:
        raise ListError(f"is not CSV: {error}") from None
    return table[of.column].combine_chunks()


def _from_json(data: bytes, of: ValueList) -> pa.Array:
    python = str if of.kind == "string" else int
    try:
        values = json.loads(data)
    except ValueError as error:
        raise ListError(f"is not JSON: {error}") from None
    if not isinstance(values, list) or any(type(value) is not python for value in values):
        raise ListError(f"is JSON, but not a list of values of kind {of.kind}, as {of.column} is")
    try:
        return pa.array(map(str, values), pa.large_string())  # integers may be beyond int64
    except UnicodeEncodeError as error:
        raise ListError(f"has a value that is not text: {error.object[:80]!r}") from None


def _from_parquet(data: bytes, of: ValueList) -> pa.Array:
    try:
        file = pq.ParquetFile(pa.py_buffer(data))
        names = file.schema_arrow.names
        name = names[0] if len(names) == 1 else of.column
        if name not in names:
            raise ListError(
                f"has several columns, and none named {of.column!r}.{did_you_mean(name, names)} "
                "Rename it, or write a file with that column alone"
            )
        column: Any = file.read([name])[name].combine_chunks()
    except (pa.ArrowException, OSError) as error:
        raise ListError(f"is not Parquet: {error}") from None
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    column = column.drop_null()
    if of.kind == "integer" and pa.types.is_integer(column.type):
        return column
    t = pa.types
    is_text = t.is_string(column.type) or t.is_large_string(column.type)
    if of.kind == "string" and (is_text or t.is_string_view(column.type)):
        return column.cast(pa.large_string())
    raise ListError(
        f"holds {column.type} in its column {name!r}; {of.column} is of kind {of.kind}. Convert it"
    )
