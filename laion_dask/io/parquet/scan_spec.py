"""Specify what to read of every shard: columns with types, filter, backend."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Self

import pyarrow as pa

from laion_dask.backend import frame_from_arrow
from laion_dask.dtypes import ColumnTypes, arrow_column_type
from laion_dask.predicate import Predicate


@dataclass(frozen=True)
class ScanSpec:
    """The parts of every piece that are read. Picklable, with a deterministic token.

    Attributes
    ----------
    types : tuple of (name, Arrow type)
        The frame's schema; provenance columns come last.
    where : Predicate or None
    backend : str
    invalid_text : str
        ``"raise"`` or ``"reject"``; see `laion_dask.set_options`.
    searched : tuple of str
        The folders that were searched for shards.
    half : frozenset of str
        Columns that at least one shard stores as float16.
    """

    types: tuple[tuple[str, pa.DataType], ...]
    where: Predicate | None
    backend: str
    invalid_text: str
    searched: tuple[str, ...] = field(default=(), compare=False)
    half: frozenset[str] = field(default=frozenset(), compare=False)

    def __dask_tokenize__(self) -> tuple[object, ...]:
        where = self.where.__dask_tokenize__() if self.where else None
        types = [(name, str(type_)) for name, type_ in self.types]
        return ("laion_dask.Scan", types, where, self.backend, self.invalid_text, self.searched)

    @property
    def column_types(self) -> ColumnTypes:
        """The type of each column, for a ``where`` expression."""
        column_types = {name: arrow_column_type(type_) for name, type_ in self.types}
        return ColumnTypes.of(column_types, self.half)

    def and_where(self, predicate: Predicate) -> Self:
        """The same scan with an additional condition."""
        return replace(self, where=self.where & predicate if self.where else predicate)

    def meta(self):
        """An empty frame with the scan's columns and dtypes."""
        return _empty(self.types, self.backend)


@lru_cache(maxsize=64)
def _empty(types: tuple[tuple[str, pa.DataType], ...], backend: str):
    """An empty frame with the given columns."""
    return frame_from_arrow(pa.schema(types).empty_table(), backend)
