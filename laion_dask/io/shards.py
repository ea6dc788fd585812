"""Shards in: from paths to a frame whose rows know where they came from."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

import dask.dataframe as dd
import pyarrow as pa

from laion_dask import partition, workers
from laion_dask.errors import (
    ColumnError,
    OptionError,
    SchemaError,
    ShardError,
    did_you_mean,
    must_be,
)
from laion_dask.io.discovery import PARQUET
from laion_dask.io.footer import Footer, read_footers
from laion_dask.io.paths import expand
from laion_dask.io.pieces import PROVENANCE_TYPES, Piece, Shard
from laion_dask.io.recipe import check_footers
from laion_dask.io.scan import Scan
from laion_dask.io.unify import unify
from laion_dask.kinds import holds, kind_of_arrow
from laion_dask.options import get_option
from laion_dask.predicate import parse
from laion_dask.schema import PROVENANCE, Dialect, canonical_names, recognise

#: Rows of a partition where a shard is larger: at ten columns about 300 MB in memory.
MAX_ROWS_PER_PARTITION = 1_000_000


def read_shards(
    paths: str | os.PathLike | Iterable,
    *,
    columns: Sequence[str] | None = None,
    where: str | None = None,
    dialect: str = "auto",
    backend: str = "auto",
    max_rows_per_partition: int = MAX_ROWS_PER_PARTITION,
    swap_width_height: bool = False,
) -> dd.DataFrame:
    """A frame over Parquet shards, in canonical columns plus ``shard`` and ``row``. Lazy.

    Only footers are read, one small read a file, to check that every shard can be read as one
    schema. Columns keep what was stored: an identifier never passes through a float, and a float
    becomes an integer only where it is one.

    Parameters
    ----------
    paths : str, path or iterable of them
        Files, folders, patterns, or addresses that fsspec knows. Sorted naturally. A folder that
        `export` wrote is read by its recipe.
    columns : sequence of str, optional
        The frame's columns, by their canonical names; all by default. ``shard`` and ``row`` are
        always there, at the end.
    where : str, optional
        Only the rows for which this is true; run inside the scan. See `laion_dask.predicate`.
    dialect : str
        ``"auto"`` recognises the published sets by their columns; or name one of
        `laion_dask.schema.DIALECTS`.
    backend : {"auto", "pandas", "cudf"}
        What the partitions are. ``"auto"`` is what `laion_dask.set_options` says, and if that is
        ``"auto"`` too, it follows the workers of the client that is there, or this process: cuDF
        where every worker can make its frames, and this process too, else pandas. Where a card
        stays unused by that, a `BackendWarning` says so.
    max_rows_per_partition : int
        A larger shard becomes several partitions, each a run of whole row groups.
    swap_width_height : bool
        Read the width column as height and the other way round. LAION's own statistics script
        does so for the raw LAION-5B release.

    Returns
    -------
    dask.dataframe.DataFrame
        One partition a shard, or a run of its row groups. ``shard`` (int32) is the position of
        the file in natural order, ``row`` (int64) the position in that file.

    Raises
    ------
    ShardNotFoundError, ShardError, SchemaError, ColumnError, PredicateError, OptionError
        At once, before any data is read.
    MissingExtraError
        When cuDF is asked for by name and cannot be had here.
    """
    if not isinstance(max_rows_per_partition, int) or max_rows_per_partition < 1:
        raise OptionError(
            f"max_rows_per_partition is {max_rows_per_partition!r}; expected a whole number from 1."
        )
    if columns is not None:
        columns = _names(columns)
    backend = workers.choose_backend(get_option("backend") if backend == "auto" else backend)
    footers = read_footers(expand(paths, PARQUET))
    check_footers(footers)
    shards, types = open_shards(footers, dialect, swap_width_height, columns)
    types = _held(types, backend, columns)
    scan = Scan(
        types=tuple(types.items()),
        where=None,
        backend=backend,
        invalid_text=get_option("invalid_text"),
    )
    if where is not None:
        kinds = {name: kind_of_arrow(type_) for name, type_ in types.items()}
        scan = scan.and_where(parse(where, kinds))
    groups = [footer.row_groups for footer in footers]
    pieces = [
        p for s, g in zip(shards, groups, strict=True) for p in _cut(s, g, max_rows_per_partition)
    ]
    frame = partition.read(scan, pieces)
    return frame if columns is None else frame[_chosen(columns, types)]


def _held(types: dict[str, pa.DataType], backend: str, columns: Sequence[str] | None) -> dict:
    """The columns that a frame of the backend can hold; none that is asked for is left out."""
    lost = [name for name, type_ in types.items() if not holds(backend, type_)]
    for name in lost:
        if columns is None or name in columns:
            raise SchemaError(
                f"Column {name!r} is {types[name]}, which cuDF does not hold. Leave it out with "
                "columns=[...], or read with backend='pandas'."
            )
    return {name: type_ for name, type_ in types.items() if name not in lost}


def open_shards(
    footers: Sequence[Footer],
    dialect: str,
    swap_width_height: bool,
    columns: Sequence[str] | None = None,
) -> tuple[list[Shard], dict[str, pa.DataType]]:
    """The shards and the one schema that they are read as, or that some columns are."""
    for footer in footers:
        _check_names(footer)
    common = recognise({n for f in footers for n in f.schema.names}, dialect)
    shards = [
        _shard(i, f, _own_dialect(f, common, dialect), swap_width_height)
        for i, f in enumerate(footers)
    ]
    types = unify({s.path: {new: t for _, new, t in s.columns} for s in shards}, columns)
    return shards, {**types, **PROVENANCE_TYPES}


def _own_dialect(footer: Footer, common: Dialect, dialect: str) -> Dialect:
    """The dialect of one file: the common one where it fits or nothing else does, else its own."""
    if dialect != "auto" or common.requires <= set(footer.schema.names):
        return common
    own = recognise(footer.schema.names)
    return own if own.requires else common


def _check_names(footer: Footer) -> None:
    names = footer.schema.names
    lowered = [n.lower() for n in names]
    twice = next((n for n in names if lowered.count(n.lower()) > 1), None)
    if twice is not None:
        raise SchemaError(
            f"{footer.path} has the column {twice!r} more than once (names that differ only in "
            "case count as one). Rename one of them in the file."
        )
    if not names:
        raise ShardError(f"{footer.path} has no column. Leave it out of the paths.")


def _shard(index: int, footer: Footer, dialect: Dialect, swap: bool) -> Shard:
    try:
        names = canonical_names(footer.schema.names, dialect, swap_width_height=swap)
    except SchemaError as error:
        raise SchemaError(f"{footer.path}: {error}") from None
    columns = tuple((old, new, footer.schema.field(old).type) for old, new in names.items())
    return Shard(index, footer.path, footer.n_rows, footer.size, footer.sha256, columns)


def _cut(shard: Shard, row_groups: Sequence[int], most: int) -> list[Piece]:
    """A shard as pieces of at most ``most`` rows, or of one row group where that is larger."""
    pieces, start, stop = [], 0, 0
    for n in row_groups:
        if stop > start and stop + n - start > most:
            pieces.append(Piece(shard, start, stop))
            start = stop
        stop += n
    return [*pieces, Piece(shard, start, stop)]


def _names(columns) -> list[str]:
    if isinstance(columns, str):
        raise OptionError(f"columns is {columns!r}. Expected a list of names: [{columns!r}].")
    must_be("columns", columns, Iterable, "a list of names")
    columns = list(columns)
    for name in columns:
        must_be("A column", name, str, "its name")
    return columns


def _chosen(columns: Sequence[str], types: dict[str, pa.DataType]) -> list[str]:
    for name in columns:
        if name not in types:
            raise ColumnError(f"columns has {name!r}.{did_you_mean(name, types)}")
    return [*dict.fromkeys(n for n in columns if n not in PROVENANCE), *PROVENANCE]
