"""Read Parquet shards as a frame whose rows carry their provenance."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence

import dask.dataframe as dd
import pyarrow as pa

from laion_dask.dtypes import holds
from laion_dask.errors import (
    OptionError,
    SchemaError,
    argument,
    must_be,
    parameter,
)
from laion_dask.io.parquet.footer import read_footers
from laion_dask.io.parquet.manifest_check import check_footers
from laion_dask.io.parquet.partitions import partitions_of
from laion_dask.io.parquet.scan import Scan
from laion_dask.io.parquet.shard import Shard
from laion_dask.io.parquet.shard_schema import Naming, open_shards
from laion_dask.io.storage.discovery import PARQUET
from laion_dask.io.storage.paths import expand
from laion_dask.options import get_option
from laion_dask.predicate import parse
from laion_dask.predicate.clauses import named_columns
from laion_dask.runtime import garbage_collection, graph, worker_backends
from laion_dask.schema import PROVENANCE
from laion_dask.validation import whole_number

#: Maximum rows per partition; with ten columns, these take about 300 MB in memory.
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
    rename: Mapping[str, str] | None = None,
    hive_partitioning: bool = True,
) -> dd.DataFrame:
    """A frame of Parquet shards, with canonical columns plus ``shard`` and ``row``. Lazy.

    Reads only footers, with one small read per file, to check that all shards fit one schema.
    Values are kept as stored: an identifier is never converted to a float, and a float becomes an
    integer only if it is whole.

    Parameters
    ----------
    paths : str, path or iterable of them
        Files, folders, patterns or fsspec addresses; sorted naturally. A folder written by `export`
        is read according to its manifest. `laion_dask.io.storage.discovery` defines which files a
        folder or a pattern refers to.
    columns : sequence of str, optional
        The frame's columns, by canonical name; all by default. ``shard`` and ``row`` are always
        appended.
    where : str, optional
        Keep only rows for which this is true; evaluated in the scan. See `laion_dask.predicate`.
    dialect : str
        ``"auto"`` recognizes the published data sets by their columns; otherwise a name in
        `laion_dask.dialects.DIALECTS`.
    backend : {"auto", "pandas", "cudf"}
        The library that holds the partitions. ``"auto"`` uses the one set with
        `laion_dask.set_options`. If that is also ``"auto"``, cuDF is used if this process and, with
        a client, the scheduler and every worker can create cuDF frames; otherwise pandas. A
        `BackendWarning` is issued if a GPU remains unused.
    max_rows_per_partition : int
        The rows of a partition. A larger shard is split into partitions of consecutive whole row
        groups; consecutive smaller shards are read together as one partition, up to this number of
        rows and 256 MB of files. Fewer shards are combined if there would be less than 128
        partitions of 10,000 rows, so that all cores have work.
    swap_width_height : bool
        Whether to read the width column as height and vice versa, as LAION's own statistics script
        does for the raw LAION-5B release.
    rename : mapping of str to str, optional
        A mapping of names in the files to new names, such as ``{"nsfw_score": "punsafe"}``. It
        takes precedence over the dialect and is recorded in the manifest of an export.
    hive_partitioning : bool
        Whether folders named ``key=value`` directly above a file become columns, as written by Hive
        and Spark: every row of ``LANGUAGE=en/part-0.parquet`` has ``language`` "en". If the file
        also has such a column, the values must agree.

    Returns
    -------
    dask.dataframe.DataFrame
        A partition has the rows of one shard, of a range of its row groups, or of several small
        shards. ``shard`` (int32) is the position of the file in natural order, ``row`` (int64) the
        position in that file.

    Raises
    ------
    ShardNotFoundError, ShardError, SchemaError, ColumnError, PredicateError, OptionError
        Immediately, before any data is read.
    MissingExtraError
        When cuDF is requested by name but not available.

    Warns
    -----
    DiscoveryWarning
        When files that may be shards are skipped, when output of img2dataset or clip-retrieval is
        beside other shards whose rows it may repeat, or when a file may be a copy of another one.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata", where="width >= 256")
    >>> list(frame.columns[-2:])
    ['shard', 'row']
    """
    max_rows = whole_number(
        parameter("max_rows_per_partition"), max_rows_per_partition, "rows of a partition"
    )
    if columns is not None:
        columns = _names(columns)
    backend = worker_backends.choose_backend(
        get_option("backend") if backend == "auto" else backend
    )
    searched: list[str] = []
    naming = Naming(dialect, swap_width_height, _renames(rename), hive_partitioning)
    filtered = named_columns(where) if isinstance(where, str) else set()
    with garbage_collection.paused():
        footers = read_footers(expand(paths, PARQUET, searched))
        check_footers(footers)
        shards, types = open_shards(footers, naming, columns, filtered)
        partitions = partitions_of(shards, [footer.row_groups for footer in footers], max_rows)
    types = _check_backend_types(types, backend, columns)
    scan = Scan(
        types=tuple(types.items()),
        where=None,
        backend=backend,
        invalid_text=get_option("invalid_text"),
        searched=tuple(searched),
        half=_half_precision(shards),
    )
    if where is not None:
        scan = scan.and_where(parse(where, scan.column_types))
    frame = graph.read(scan, partitions)
    return frame if columns is None else frame[_with_provenance(columns)]


def _check_backend_types(
    types: dict[str, pa.DataType], backend: str, columns: Sequence[str] | None
) -> dict:
    """Drop columns that the backend does not support; raises if one of them was requested."""
    lost = [name for name, type_ in types.items() if not holds(backend, type_)]
    for name in lost:
        if columns is None or name in columns:
            raise SchemaError(
                f"Column {name!r} is {types[name]}, which cuDF cannot hold. Leave it out with "
                f"{argument('columns')}, or read with {argument('backend', 'pandas')}."
            )
    return {name: type_ for name, type_ in types.items() if name not in lost}


def _half_precision(shards: Sequence[Shard]) -> frozenset[str]:
    """The columns that any shard stores as float16; shards of one layout share their columns."""
    layouts = {id(shard.columns): shard.columns for shard in shards}.values()
    return frozenset(n for columns in layouts for _, n, t in columns if pa.types.is_float16(t))


def _names(columns) -> list[str]:
    if isinstance(columns, str):
        raise OptionError(
            f"{parameter('columns')} is {columns!r}. Expected a list of names: [{columns!r}]."
        )
    must_be("columns", columns, Iterable, "a list of names")
    columns = list(columns)
    for name in columns:
        must_be("A column", name, str, "its name")
    return columns


def _renames(rename) -> dict[str, str]:
    must_be("rename", rename, (Mapping, type(None)), "a mapping of column names to new ones")
    for old, new in (rename or {}).items():
        must_be("A column to rename", old, str, "its name in the files")
        must_be(f"rename[{old!r}]", new, str, "the column's new name")
        if not new or new in PROVENANCE:
            raise OptionError(
                f"rename[{old!r}] is {new!r}. Expected a name, other than "
                f"{' and '.join(PROVENANCE)}, which the reader adds."
            )
    return dict(rename or {})


def _with_provenance(columns: Sequence[str]) -> list[str]:
    return [*dict.fromkeys(n for n in columns if n not in PROVENANCE), *PROVENANCE]
