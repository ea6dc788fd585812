"""A sample of a frame's rows, drawn by hash and memory-mapped."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa

from laion_dask.backend import frame_from_arrow
from laion_dask.dtypes import ColumnTypes
from laion_dask.errors import OptionError, ShardError, no_column
from laion_dask.explorer import sample_cache
from laion_dask.explorer.columns import CategoryColumn, NumberColumn
from laion_dask.explorer.frame_digest import frame_digest
from laion_dask.explorer.kept_columns import kept_types, sites_of
from laion_dask.explorer.sample_order import order_of, stored
from laion_dask.explorer.sample_pass import write_parts
from laion_dask.explorer.sample_reader import Batches, category_column, mapped, number_column
from laion_dask.explorer.sample_writer import TEXTS, read_content, write_sample
from laion_dask.frame.exploded import refuse_exploded
from laion_dask.frame.provenance import Provenance
from laion_dask.io.storage.spill import removed_on_error
from laion_dask.memory_pool import release_unused
from laion_dask.schema import PROVENANCE
from laion_dask.stats.checks import check_integer

#: Version of the file layout; samples with another version are ignored.
_VERSION = 6
_REWRITTEN = "A shard was written again while its rows were read. Call read_shards again."
#: The largest number of rows of a page.
MAX_PAGE = 1_000


@dataclass(frozen=True, eq=False)
class Sample:
    """Rows of a frame, in the order of ``shard`` and ``row``. Immutable; shared by all views.

    Attributes
    ----------
    frame : dask DataFrame
        The frame that is explored.
    seed : int
    folder : Path
        Has the memory-mapped files.
    digest : str
        Identifies the rows and their values, among all samples of this machine.
    n_rows : int
        Rows of the frame.
    shard : (n,) int32 array
    row : (n,) int64 array
    columns : mapping of str to NumberColumn or CategoryColumn
        The columns to filter by, in the order of interest.
    names : tuple of str
        The columns that a table can show, ``shard`` and ``row`` last.
    types : ColumnTypes
        The types of the columns in a ``where`` expression.
    """

    frame: dd.DataFrame
    seed: int
    folder: Path
    digest: str
    n_rows: int
    shard: np.ndarray
    row: np.ndarray
    columns: Mapping[str, NumberColumn | CategoryColumn]
    names: tuple[str, ...]
    types: ColumnTypes
    _batches: Batches = field(repr=False)
    _orders: dict[tuple[str, bool], np.ndarray] = field(default_factory=dict, repr=False)

    @property
    def n(self) -> int:
        """The number of rows of the sample."""
        return len(self.row)

    def __len__(self) -> int:
        return len(self.row)

    @property
    def is_whole(self) -> bool:
        """Whether the sample has every row of the frame."""
        return self.n == self.n_rows

    @cached_property
    def text_columns(self) -> tuple[str, ...]:
        """The columns of text."""
        return tuple(name for name in self.names if self.types[name] == "string")

    def page(self, positions: np.ndarray, names: Sequence[str] | None = None) -> pd.DataFrame:
        """Rows as a frame, in the given order. Eager.

        Parameters
        ----------
        positions : sequence of int
            At most 1,000 positions in the sample.
        names : sequence of str, optional
            Columns among `names`; by default all.

        Returns
        -------
        pandas.DataFrame
            With the values of the data and the positions as index. ``hash``, and other integers
            that a browser could not hold exactly (above 2**53), are text.

        Raises
        ------
        ColumnError, OptionError
        """
        positions = np.asarray(positions, np.int64)
        if len(positions) > MAX_PAGE:
            raise OptionError(
                f"{len(positions):,} rows were requested. Expected at most {MAX_PAGE:,} a page."
            )
        chosen = self.names if names is None else tuple(names)
        columns = {name: self._values(name, positions) for name in chosen}
        page = frame_from_arrow(pa.table(columns), "pandas")
        page.index = pd.Index(positions)
        return page

    def texts(self, name: str, positions: np.ndarray) -> list[str | None]:
        """The values of a column as text, in the given order. Eager."""
        found = self._values(name, np.asarray(positions, np.int64))
        return [None if value is None else str(value) for value in found.to_pylist()]

    def values(self, name: str, rows: slice) -> pd.Series:
        """Consecutive rows of a column, in the dtype that a frame of this package has. Eager."""
        if name in PROVENANCE:
            return pd.Series((self.shard if name == "shard" else self.row)[rows], copy=False)
        if (column := self._numbers.get(name)) is not None:
            values = column.values[rows]
            if not column.is_integer:
                return pd.Series(values, copy=False)
            missing = column.codes[rows] == column.n_bins
            return pd.Series(pd.arrays.IntegerArray(values, missing), copy=False)
        if name not in self.names:
            raise no_column(name, self.names)
        start, stop, _ = rows.indices(self.n)
        taken = self._batches.slice(name, start, stop)
        return frame_from_arrow(pa.table({name: taken}), "pandas")[name]

    def has_order(self, name: str, descending: bool = False) -> bool:
        """Whether `order` has already been computed for these arguments."""
        return (name, descending) in self._orders

    def order(self, name: str, descending: bool = False) -> np.ndarray:
        """The positions of all rows by a column, (n,) integers. Eager; kept with the sample.

        Rows without a value come last, rows of equal values in the order of the sample; texts are
        ordered by their code points. The first call takes a second for 2 million texts.

        Raises
        ------
        ColumnError
        """
        if name not in self.names:
            raise no_column(name, self.names)

        def ordered() -> np.ndarray:
            order = order_of(self._column(name), descending)
            self._batches.release()
            return order

        number = self.names.index(name)
        direction = "down" if descending else "up"
        key = (name, descending)
        if key not in self._orders:
            path = self.folder / f"order-{number}-{direction}.npy"
            self._orders[key] = stored(path, ordered)
        return self._orders[key]

    def _column(self, name: str) -> pa.ChunkedArray:
        """A whole column; numbers without a copy."""
        if name in PROVENANCE:
            return pa.chunked_array([self.shard if name == "shard" else self.row])
        if (column := self._numbers.get(name)) is not None:
            mask = column.missing() if column.is_integer and column.n_missing else None
            return pa.chunked_array([pa.array(column.values, mask=mask)])
        return self._batches.slice(name, 0, self.n)

    def _values(self, name: str, positions: np.ndarray) -> pa.Array:
        if name in PROVENANCE:
            return pa.array((self.shard if name == "shard" else self.row)[positions])
        if name not in self.names:
            raise no_column(name, self.names)
        if (column := self._numbers.get(name)) is not None:
            missing = column.codes[positions] == column.n_bins
            values = pa.array(column.values[positions], mask=missing)
        else:
            values = self._batches.take(name, positions)
        is_wide = values.type in (pa.int64(), pa.uint64()) and name == "hash"
        if is_wide or (values.type in (pa.int64(), pa.uint64()) and _exceeds_double(values)):
            values = values.cast(pa.large_string())
        return values

    @cached_property
    def _numbers(self) -> dict[str, NumberColumn]:
        return {k: one for k, one in self.columns.items() if isinstance(one, NumberColumn)}


def _exceeds_double(values: pa.Array) -> bool:
    numbers = values.drop_null().to_numpy()
    return bool(len(numbers)) and bool(numbers.max() > 2**53 or numbers.min() < -(2**53))


def draw_sample(frame: dd.DataFrame, sample: int = 1_000_000, seed: int = 0) -> Sample:
    """Rows of a frame, drawn as ``frame.laion.sample(n=sample, seed=seed)`` draws them. Eager.

    All rows, if there are no more. The columns are read in one pass and kept in the user's cache
    folder (``XDG_CACHE_HOME``), up to 8 GB, so that the same frame opens immediately the next time.
    What the graph does not identify, such as a function of your own, is kept in a temporary folder
    until the process ends.

    Parameters
    ----------
    frame : dask DataFrame
        With ``shard`` and ``row``.
    sample : int
        The number of rows.
    seed : int

    Raises
    ------
    OptionError, ProvenanceError
        Immediately, before any data is read.
    ShardError, SpillError
        When a shard is damaged or changes meanwhile; when the disk is full.
    """
    provenance = Provenance.of(frame)
    provenance.check_row_identity()
    refuse_exploded(frame, "explore")
    check_integer("sample", sample, 1)
    check_integer("seed", seed, 0)
    types = kept_types(provenance)
    sites = sites_of(types)
    digest, is_identified = _digest(frame, sample, seed)
    kept = sample_cache.kept(digest) if is_identified else None
    if kept is not None:
        return open_sample(frame, kept, digest, seed, types)
    with removed_on_error():
        parts = write_parts(provenance, types, sites, sample, seed)

        def write(path: Path) -> None:
            write_sample(parts, path, types, sites)
            if is_identified and _digest(frame, sample, seed)[0] != digest:
                raise ShardError(_REWRITTEN)

        folder = sample_cache.store(digest, write) if is_identified else sample_cache.private(write)
    release_unused()
    return open_sample(frame, folder, digest, seed, types)


def open_sample(
    frame: dd.DataFrame, folder: Path, digest: str, seed: int, types: ColumnTypes
) -> Sample:
    """A sample whose files exist. Eager; maps the files into memory without reading them."""
    content = read_content(folder)
    columns: dict[str, NumberColumn | CategoryColumn] = {}
    for one in content["numbers"]:
        columns[one["name"]] = number_column(folder, one)
    for one in content["categories"]:
        columns[one["name"]] = category_column(folder, one)
    shard, row = (mapped(folder / f"{name}.arrow") for name in PROVENANCE)
    return Sample(
        frame=frame,
        seed=seed,
        folder=folder,
        digest=digest,
        n_rows=content["n_rows"],
        shard=shard,
        row=row,
        columns=columns,
        names=(*content["names"], *PROVENANCE),
        types=types,
        _batches=Batches(folder / TEXTS),
    )


def _digest(frame: dd.DataFrame, sample: int, seed: int) -> tuple[str, bool]:
    """The digest of a sample, and whether it identifies the same rows in another process."""
    of_frame = frame_digest(frame)
    text = f"{_VERSION} {of_frame or frame._name} {sample} {seed}"
    return hashlib.sha256(text.encode()).hexdigest()[:32], of_frame is not None
