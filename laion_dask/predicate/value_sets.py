"""Sets of millions of texts or integers, in which whole columns are looked up exactly."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from laion_dask.runtime.native_code import native
from laion_dask.runtime.process_cache import ProcessCache

_MODULE = "laion_dask.predicate.text_set_kernel"
_compiled = ProcessCache()


class TextSet:
    """A set of texts. Threads may share it.

    Parameters
    ----------
    texts : pyarrow.Array of large_string
        Without nulls.
    """

    def __init__(self, texts: pa.Array) -> None:
        self._texts, self._at = _buffers(texts)
        self._slots = np.full(1 << max(3, (2 * len(texts)).bit_length()), -1, np.int64)
        self.n: int = _kernel("fill")(self._texts, self._at, self._slots)

    def contains(self, column: pa.Array | pa.ChunkedArray) -> np.ndarray:
        """Mask of the rows whose text is in the set; of no meaning for null."""
        texts, at = _buffers(_in_one(column, pa.large_string()))
        found = np.zeros(len(at) - 1, np.uint8)
        _kernel("find")(texts, at, self._texts, self._at, self._slots, found)
        return found.view(bool)


class IntegerSet:
    """A set of integers.

    Parameters
    ----------
    values : int64 array
    above : uint64 array
        Those of 2**63 and more.
    """

    def __init__(self, values: np.ndarray, above: np.ndarray) -> None:
        self.signed, self.above = np.unique(values), np.unique(above)
        self.n = len(self.signed) + len(self.above)

    def contains(self, column: pa.Array | pa.ChunkedArray) -> np.ndarray:
        """Mask of the rows whose integer is in the set; of no meaning for null."""
        array = _in_one(column, None)
        if array.type == pa.uint64():
            values = array.fill_null(0).to_numpy(zero_copy_only=False)
            below = _found(values.astype(np.int64), self.signed)
            result: np.ndarray = (below & (values < 2**63)) | _found(values, self.above)
            return result
        values = array.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
        return _found(values, self.signed)


ValueSet: TypeAlias = TextSet | IntegerSet


def _found(values: np.ndarray, ascending: np.ndarray) -> np.ndarray:
    if not len(ascending):
        return np.zeros(len(values), bool)
    at = np.minimum(np.searchsorted(ascending, values), len(ascending) - 1)
    equal: np.ndarray = ascending[at] == values
    return equal


def _in_one(column: pa.Array | pa.ChunkedArray, type_: pa.DataType | None) -> pa.Array:
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    if type_ is not None and column.type not in (type_, pa.string()):
        column = column.cast(type_)
    return column


def _buffers(texts: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """The bytes and the offsets of an array of texts."""
    _, offsets, data = texts.buffers()
    dtype = np.int64 if pa.types.is_large_string(texts.type) else np.int32
    if offsets is None or not len(offsets):
        return np.zeros(0, np.uint8), np.zeros(1, np.int64)
    at = np.frombuffer(offsets, dtype)[texts.offset : texts.offset + len(texts) + 1]
    bytes_ = np.zeros(0, np.uint8) if data is None else np.frombuffer(data, np.uint8)
    return bytes_, np.require(at, np.int64, ["C", "A"])


def _kernel(name: str) -> Callable[..., int]:
    kernel: Callable[..., int] = _compiled.get(name, lambda: _load(name))
    return kernel


def _load(name: str) -> Callable[..., int]:
    data, at, slots = np.zeros(0, np.uint8), np.zeros(1, np.int64), np.full(8, -1, np.int64)
    arrays = (data, at, slots) if name == "fill" else (data, at, data, at, slots, data)
    return native(name, lambda: getattr(_source(), name), [_MODULE], *arrays)


def _source() -> ModuleType:
    from laion_dask.predicate import text_set_kernel  # imports numba

    return text_set_kernel


def as_integers(texts: pa.Array) -> tuple[np.ndarray, np.ndarray] | int:
    """Integers from texts: those of int64 and those above; those outside uint64 are left out.

    Returns the position of the first text that is not an integer, if there is one.
    """
    is_integer = pc.match_substring_regex(texts, "^[+-]?[0-9]+$")
    if not pc.all(is_integer).as_py():
        position: int = pc.index(is_integer, False).as_py()
        return position
    texts = pc.utf8_ltrim(texts, "+")
    short = pc.less(pc.binary_length(texts), 19)
    values = texts.filter(short).cast(pa.int64()).to_numpy(zero_copy_only=False)
    longer = [int(text) for text in texts.filter(pc.invert(short)).to_pylist()]
    signed = [value for value in longer if -(2**63) <= value < 2**63]
    above = np.array([value for value in longer if 2**63 <= value < 2**64], np.uint64)
    return np.concatenate([values, np.array(signed, np.int64)]), above
