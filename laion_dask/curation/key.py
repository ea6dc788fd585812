"""Keys by which rows are compared: columns of a frame, and their hashes of 128 bits."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import dask.dataframe as dd
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from laion_dask.backend import Frame, frame_to_arrow
from laion_dask.errors import OptionError, no_column
from laion_dask.frame import laion_hash
from laion_dask.numerics.murmur3 import hashes_of, hashes_of_rows
from laion_dask.schema import PROVENANCE
from laion_dask.text.normalized_urls import normalized_urls

#: The key that is computed from the column ``url``, if there is no such column.
NORMALIZED_URL = "normalized_url"


@dataclass(frozen=True)
class Key:
    """The columns of a key, and the types in which their values are compared.

    Attributes
    ----------
    names : tuple of str
        As the user named them.
    types : tuple of str
        ``"text"``, ``"bytes"``, ``"integer"`` or ``"float"`` for each.
    """

    names: tuple[str, ...]
    types: tuple[str, ...]

    @classmethod
    def of(cls, frame: dd.DataFrame, by: str | Sequence[str]) -> Key:
        """The key of a frame.

        Raises
        ------
        OptionError, ColumnError
            Immediately, when a column does not exist or cannot be compared.
        """
        names = (by,) if isinstance(by, str) else by
        if not isinstance(names, (list, tuple)) or not all(isinstance(n, str) for n in names):
            raise OptionError(
                f"by is {by!r}. Expected a column such as 'url', or several, such "
                "as ['url', 'text']."
            )
        if not names or len(set(names)) < len(names):
            raise OptionError(f"by is {by!r}. Expected a column, or several different ones.")
        for name in names:
            if name in PROVENANCE:
                raise OptionError(
                    f"by has {name!r}, a position, which no two rows share "
                    "together. Compare rows by what identifies a sample, such as 'url' or 'hash'."
                )
            if name not in frame.columns:
                lacking = [one for one in _SOURCES.get(name, (name,)) if one not in frame.columns]
                if lacking:
                    raise no_column(lacking[0], frame.columns, _HINTS.get(name, ""))
        empty = frame_to_arrow(frame._meta.reset_index(drop=True))
        types = (_type_of(name, _values(empty, name).type) for name in names)
        return cls(tuple(names), tuple(types))

    def reads(self, columns: Sequence[str]) -> list[str]:
        """The columns of a frame that the key is computed from."""
        return list(dict.fromkeys(one for name in self.names for one in _sources(name, columns)))

    def values(self, table: pa.Table) -> pa.ChunkedArray:
        """The values of a key of one column, computed if the table has no such column."""
        (name,) = self.names
        return _values(table, name)

    def hashes(self, part: Frame) -> tuple[np.ndarray, np.ndarray]:
        """The hash of each row's key, (n, 2) uint64, and a mask of the rows that have a whole key.

        A key is missing if one of its columns is null or NaN.
        """
        reads = self.reads(list(part.columns))
        table = frame_to_arrow(part[reads].reset_index(drop=True))
        valid, hashed = np.ones(len(table), bool), []
        for name, type_ in zip(self.names, self.types, strict=True):
            one, present = _hashes(_values(table, name), type_, name)
            hashed.append(one)
            valid &= present
        return (hashed[0] if len(hashed) == 1 else hashes_of_rows(np.hstack(hashed))), valid


#: Keys that are computed if the frame has no such column, and the columns that they need.
_SOURCES = {NORMALIZED_URL: ("url",), "hash": laion_hash.SOURCE}
_HINTS = {"hash": "LAION's hash is computed from 'url' and 'text' where the frame has both."}


def _sources(name: str, columns: Collection[str]) -> tuple[str, ...]:
    return (name,) if name in columns else _SOURCES[name]


def _values(table: pa.Table, name: str) -> pa.ChunkedArray:
    """The values of one column of a key, computed if the table has no such column."""
    if name in table.column_names:
        return table[name]
    if name == NORMALIZED_URL:
        return normalized_urls(table["url"])
    url, text = (table[one] for one in laion_hash.SOURCE)
    hashes = laion_hash.laion_hashes(url, text)
    return pa.chunked_array([pa.array(hashes, mask=url.is_null().to_numpy())])


def _type_of(name: str, type_: pa.DataType) -> str:
    """How values of a type are compared."""
    if pa.types.is_dictionary(type_):
        return _type_of(name, type_.value_type)
    types = pa.types
    if types.is_null(type_) or types.is_string(type_) or types.is_large_string(type_):
        return "text"
    if types.is_string_view(type_):
        return "text"
    if types.is_binary(type_) or types.is_large_binary(type_) or types.is_fixed_size_binary(type_):
        return "bytes"
    if types.is_integer(type_) or types.is_boolean(type_):
        return "integer"
    if types.is_floating(type_):
        return "float"
    if types.is_temporal(type_) or types.is_decimal(type_):
        return "text"
    raise OptionError(
        f"by has {name!r}, a column of {type_}. Expected text, bytes, numbers or "
        "times. Give what identifies a sample a column of its own, or compare by another one."
    )


def _hashes(column: pa.ChunkedArray, type_: str, name: str) -> tuple[np.ndarray, np.ndarray]:
    """The hashes of a column, (n, 2) uint64, and a mask of the values that are not missing."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if type_ in ("text", "bytes"):
        plain = pa.large_string() if type_ == "text" else pa.large_binary()
        if pa.types.is_fixed_size_binary(column.type):
            column = column.cast(pa.binary())
        column = column if column.type == plain else column.cast(plain)
        return hashes_of(column), column.is_valid().to_numpy()
    if type_ == "float" or pa.types.is_floating(column.type):
        values = column.cast(pa.float64()).to_numpy()  # null becomes NaN
        present = ~np.isnan(values)
        if type_ == "float":
            return _of_numbers((np.where(present, values, 0) + 0.0).view(np.uint64)), present
        values = np.where(present, values, 0)
        if (values != np.trunc(values)).any() or (np.abs(values) > 2**53).any():
            raise OptionError(
                f"by has {name!r}, which should hold integers according to the "
                "frame's meta, but has other values in one partition. Pass its true dtype as meta= "
                "where the column is created."
            )
        return _of_numbers(values.astype(np.int64).view(np.uint64)), present
    present = column.is_valid().to_numpy()
    if column.null_count:
        column = pc.fill_null(column, False if pa.types.is_boolean(column.type) else 0)
    wide = np.uint64 if pa.types.is_unsigned_integer(column.type) else np.int64
    return _of_numbers(column.to_numpy().astype(wide).view(np.uint64)), present


def _of_numbers(values: np.ndarray) -> np.ndarray:
    """The hashes of numbers: different ones for different bits, and evenly spread."""
    mixed = values.copy()
    for shift, factor in ((33, 0xFF51AFD7ED558CCD), (33, 0xC4CEB9FE1A85EC53)):  # of MurmurHash3
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    mixed ^= mixed >> np.uint64(33)
    return np.column_stack([mixed, values])
