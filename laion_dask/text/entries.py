"""Entries of metadata, such as MetaCLIP's 500,000, and the captions that they stand in.

An entry stands in a caption where it is found with a space on both sides, after ``, . ; : ? !`` and
the backtick of the caption are set off by spaces, tabs and line ends have become spaces, and a
space is put at both ends. Case counts. In version 2, no space is demanded beside the first or last
character of an entry if it is a Chinese character (CJK), Thai, Lao, Burmese, Khmer or Tibetan.

References
----------
Xu, H. et al. (2024). Demystifying CLIP Data. ICLR (MetaCLIP): ``substr_matching.py``.
Chuang, Y.-S. et al. (2025). MetaCLIP 2: A Worldwide Scaling Recipe: ``substr_matching.py``, which
also frees punctuation at the ends of entries; this module does not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from laion_dask.runtime import cancellation
from laion_dask.runtime.native_code import native
from laion_dask.runtime.process_cache import ProcessCache

_MODULE = "laion_dask.text.entry_scan"
#: Captions that are scanned between two checks for an interrupt.
_BLOCK = 16_384
#: Code points beside which version 2 demands no space; the ranges of MetaCLIP 2's
#: ``is_cjk_or_similar``: Thai and Lao, Tibetan, Burmese, Khmer; CJK radicals, unified ideographs
#: with their extensions, and compatibility ideographs. Kana and hangul are not among them.
_FREE = (
    *(0x0E00, 0x0EFF, 0x0F00, 0x0FFF, 0x1000, 0x109F, 0x1780, 0x17FF),
    *(0x2E80, 0x2EFF, 0x2F00, 0x2FDF, 0x2FF0, 0x2FFF, 0x3400, 0x4DBF, 0x4E00, 0x9FFF),
    *(0xF900, 0xFAFF, 0x20000, 0x2A6DF, 0x2A700, 0x2B73F, 0x2B740, 0x2B81F, 0x2B820, 0x2CEAF),
    *(0x2CEB0, 0x2EBEF),
)
_tables = ProcessCache()
_compiled = ProcessCache()


@dataclass(frozen=True, eq=False)
class Entries:
    """Distinct, nonempty entries. Picklable; its table is built once per process.

    Attributes
    ----------
    texts : pyarrow.Array of large_string
    version : {1, 2}
        Of the rule.
    digest : str
        sha256 of the entries and the version.
    """

    texts: pa.Array
    version: int
    digest: str = field(default="")

    def __post_init__(self) -> None:
        state = hashlib.sha256(str(self.version).encode())
        data, at = _buffers(self.texts)
        state.update((at - at[0]).tobytes())
        state.update(data[at[0] : at[-1]].tobytes())
        object.__setattr__(self, "digest", state.hexdigest())

    def __len__(self) -> int:
        return len(self.texts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Entries) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __dask_tokenize__(self) -> tuple[str, str]:
        return ("laion_dask.Entries", self.digest)

    def find(
        self, captions: pa.Array, counts: np.ndarray, misses: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Find the entries of captions, and count captions by entry. Eager.

        Parameters
        ----------
        captions : pyarrow.Array of text
            A null has no entries.
        counts : (entries,) int64 array
            Increased by the number of captions that each entry stands in.
        misses : (entries,) float64 array, optional
            A factor of each entry.

        Returns
        -------
        n_found : (n,) int64 array
            The number of distinct entries in each caption.
        missed : (n,) float64 array
            The product of their factors; 1 without entries.
        """
        table = self._table()
        factors = np.ones(len(self)) if misses is None else np.ascontiguousarray(misses, float)
        data, at = _buffers(captions.fill_null("") if captions.null_count else captions)
        n_found, missed = np.zeros(len(captions), np.int64), np.ones(len(captions))
        longest = int(np.diff(at).max(initial=0))
        scratch = np.empty((2, 3 * longest + 8), np.uint8)
        last_row = np.empty(len(self), np.int64)
        for start in range(0, len(captions), _BLOCK):
            cancellation.check()
            last_row.fill(-1)
            ends = np.ascontiguousarray(at[start : start + _BLOCK + 1])
            rows = slice(start, start + _BLOCK)
            _kernel("scan")(
                data, ends, *table, factors, scratch[0], scratch[1], last_row, counts,
                n_found[rows], missed[rows],
            )  # fmt: skip
        return n_found, missed

    def _table(self) -> Table:
        table: Table = _tables.get(self.digest, self._built)
        return table

    def _built(self) -> Table:
        data, at = _buffers(self.texts)
        ranges = np.array(_FREE if self.version == 2 else (), np.int64)
        marks = np.empty(int(np.diff(at).max(initial=0)) + 1, np.uint8)
        n = _kernel("count_prefixes")(data, at, ranges, marks)
        start, size, entry = np.empty((3, n), np.int64)
        more = np.empty(n, np.uint8)
        slots = np.full(1 << max(3, (2 * n).bit_length()), -1, np.int64)
        n = _kernel("build")(data, at, ranges, marks, start, size, entry, more, slots)
        start, size, entry = start[:n].copy(), size[:n].copy(), entry[:n].copy()
        return Table(data, ranges, start, size, entry, more[:n].copy(), slots)


class Table(NamedTuple):
    """The arrays of `laion_dask.text.entry_scan.build`."""

    texts: np.ndarray
    ranges: np.ndarray
    node_start: np.ndarray
    node_size: np.ndarray
    node_entry: np.ndarray
    node_more: np.ndarray
    slots: np.ndarray


def _buffers(texts: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """The bytes and the offsets, int64, of an array of texts without nulls."""
    _, offsets, data = texts.buffers()
    dtype = np.int64 if pa.types.is_large_string(texts.type) else np.int32
    if offsets is None or not offsets.size:
        return np.zeros(1, np.uint8), np.zeros(1, np.int64)
    at = np.frombuffer(offsets, dtype)[texts.offset : texts.offset + len(texts) + 1]
    bytes_ = np.zeros(1, np.uint8) if data is None else np.frombuffer(data, np.uint8)
    return bytes_, np.require(at, np.int64, ["C", "A"])


def _kernel(name: str) -> Callable[..., int]:
    kernel: Callable[..., int] = _compiled.get(name, lambda: _load(name))
    return kernel


def _load(name: str) -> Callable[..., int]:
    bytes_, numbers, none = np.zeros(1, np.uint8), np.zeros(1, np.int64), np.zeros(0, np.int64)
    slots, floats, nothing = np.full(8, -1, np.int64), np.ones(0), np.zeros(0, np.uint8)
    table = (bytes_, none, none, none, none, nothing, slots)
    outputs = (bytes_, bytes_, none, none, none, floats)
    arrays: dict[str, tuple[np.ndarray, ...]] = {
        "count_prefixes": (bytes_, numbers, none, bytes_),
        "build": (bytes_, numbers, none, bytes_, none, none, none, nothing, slots),
        "scan": (bytes_, numbers, *table, floats, *outputs),
    }
    return native(name, lambda: getattr(_source(), name), [_MODULE], *arrays[name])


def _source() -> ModuleType:
    from laion_dask.text import entry_scan  # imports numba

    return entry_scan
