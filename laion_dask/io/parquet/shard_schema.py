"""Derive shards from footers: the names and types in the frame of each file's columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import pyarrow as pa

from laion_dask.dialects import Dialect, canonical_names, recognize
from laion_dask.errors import (
    ColumnError,
    DiscoveryWarning,
    SchemaError,
    ShardError,
    argument,
    did_you_mean,
    parameter,
    warn_caller,
)
from laion_dask.io.parquet.column_statistics import StoredValues
from laion_dask.io.parquet.common_types import family
from laion_dask.io.parquet.folder_partitions import (
    folders,
    in_folders,
    with_folder_types,
    with_values,
)
from laion_dask.io.parquet.parsed_footer import Footer
from laion_dask.io.parquet.schema_merge import merge_schemas
from laion_dask.io.parquet.shard import PROVENANCE_TYPES, Shard


@dataclass(frozen=True)
class Naming:
    """Rules for the names of files' columns in the frame; see `read_shards`."""

    dialect: str = "auto"
    swap_width_height: bool = False
    rename: Mapping[str, str] = field(default_factory=dict)
    hive_partitioning: bool = True

    def names(
        self, stored: Iterable[str], dialect: Dialect, needed: Sequence[str] | None
    ) -> dict[str, str]:
        """The frame's names for a file's columns; see `canonical_names`."""
        return canonical_names(
            stored,
            dialect,
            swap_width_height=self.swap_width_height,
            rename=self.rename,
            needed=needed,
        )


def open_shards(
    footers: Sequence[Footer],
    naming: Naming,
    columns: Sequence[str] | None = None,
    filtered: Iterable[str] = (),
) -> tuple[list[Shard], dict[str, pa.DataType]]:
    """The shards, and the common schema used to read them.

    If ``columns`` are given, the schema contains at least those and the ``filtered`` ones; other
    columns on which the shards disagree are omitted.
    """
    files = _Files(footers, naming)
    common = recognize(files.names, naming.dialect)
    dialects = files.dialects(common)
    _warn_of_two_stages(footers, dialects)
    _warn_of_copies(footers, files.folders)
    shards = _shards(footers, dialects, naming, columns)
    of_layout: dict[int, dict[str, pa.DataType]] = {}
    for shard in shards:
        if id(shard.columns) not in of_layout:
            of_layout[id(shard.columns)] = {new: type_ for _, new, type_ in shard.columns}
    schemas = {shard.path: of_layout[id(shard.columns)] for shard in shards}
    if any(files.folders):
        shards = in_folders(shards, files.folders, dialects, naming.names)
        schemas = with_folder_types(shards, schemas)
    needed = None if columns is None else {*columns, *filtered}
    types, without_values = merge_schemas(schemas, StoredValues(shards), needed)
    if without_values:
        shards = [_as_nulls(shard, types, without_values) for shard in shards]
    if any(files.folders):
        shards = with_values(shards, types)
    types = {**types, **PROVENANCE_TYPES}
    _check_named(columns or (), types, zip(footers, dialects, strict=True), naming)
    _check_no_other_name(columns or (), zip(shards, footers, strict=True))
    return shards, types


class _Files:
    """The columns of files and folders; what depends only on a schema is found once for each.

    Parameters
    ----------
    footers : sequence of Footer
        Footers with the same columns share the schema, see `read_footers`.
    naming : Naming

    Raises
    ------
    ColumnError
        When a renamed column does not exist.
    """

    def __init__(self, footers: Sequence[Footer], naming: Naming) -> None:
        self._footers, self._naming = footers, naming
        self.folders = folders(footers) if naming.hive_partitioning else [{}] * len(footers)
        self._schemas = {id(footer.schema): footer for footer in footers}
        self.names = {name for footer in self._schemas.values() for name in footer.schema.names}
        self.names = self.names.union(*{id(folder): folder for folder in self.folders}.values())
        unknown = [name for name in naming.rename if name not in self.names]
        if unknown:
            raise ColumnError(
                f"{parameter('rename')} has {unknown[0]!r}.{did_you_mean(unknown[0], self.names)}"
            )

    def dialects(self, common: Dialect) -> list[Dialect]:
        """The dialect of each file."""
        own = {
            key: _own_dialect(footer, common, self._naming.dialect)
            for key, footer in self._schemas.items()
        }
        return [own[id(footer.schema)] for footer in self._footers]


def _check_no_other_name(columns: Sequence[str], files: Iterable[tuple[Shard, Footer]]) -> None:
    """Raise if a requested column has another name in one of the files."""
    requested = set(columns).difference(PROVENANCE_TYPES)
    checked: set[tuple[int, int]] = set()
    for shard, footer in files if requested else ():
        layout = id(shard.columns), id(footer.schema)
        if layout in checked:
            continue
        checked.add(layout)
        read = {new for _, new, _ in shard.columns}
        for name in requested.intersection(footer.schema.names) - read:
            raise ColumnError(
                f"{parameter('columns')} has {name!r}, which is read under another name in "
                f"{shard.path}, but under its own name in other shards. Read them separately, or "
                f"give it one name with {argument('rename', {name: 'other'})}."
            )


def _check_named(
    columns: Sequence[str],
    types: Mapping[str, pa.DataType],
    files: Iterable[tuple[Footer, Dialect]],
    naming: Naming,
) -> None:
    """Raise if a requested column does not have that name in the frame."""
    unknown = next((name for name in columns if name not in types), None)
    if unknown is None:
        return
    known = dict.fromkeys(types)
    distinct = {(id(footer.schema), id(dialect)): (footer, dialect) for footer, dialect in files}
    for footer, dialect in distinct.values():
        for stored in footer.schema.names:
            new = naming.names([stored], dialect, None).get(stored)
            if stored == unknown and new is not None:
                raise ColumnError(
                    f"{parameter('columns')} has {unknown!r}, which is read as {new!r}. Use "
                    f"{argument('columns', [new])}."
                )
            known |= {new: None} if new else {}
    raise ColumnError(f"{parameter('columns')} has {unknown!r}.{did_you_mean(unknown, known)}")


def _own_dialect(footer: Footer, common: Dialect, dialect: str) -> Dialect:
    """The dialect of one file: the common one if it fits or no other does, else its own."""
    if dialect != "auto" or common.requires <= set(footer.schema.names):
        return common
    recognized = recognize(footer.schema.names)
    return recognized if recognized.requires else common


def _warn_of_two_stages(footers: Sequence[Footer], dialects: Sequence[Dialect]) -> None:
    """Warn if output of a tool is beside other files whose rows it may repeat."""
    if not any(dialect.is_derived for dialect in dialects):
        return
    by_name: dict[str, list[str]] = {}
    for footer, dialect in zip(footers, dialects, strict=True):
        if dialect.requires <= set(footer.schema.names) and footer.n_rows:
            by_name.setdefault(dialect.name, []).append(footer.path)
    derived = {dialect.name for dialect in dialects if dialect.is_derived} & by_name.keys()
    if derived and len(by_name) > 1:
        shown = "; ".join(
            f"{len(paths):,} of dialect {name} ({paths[0]}{', …' if len(paths) > 1 else ''})"
            for name, paths in by_name.items()
        )
        warn_caller(
            f"Rows may count twice: {' and '.join(sorted(derived))} files repeat the rows of the "
            f"set that they were made from, and there are other files beside them: {shown}. Name "
            "the ones that you mean.",
            DiscoveryWarning,
        )


def _warn_of_copies(footers: Sequence[Footer], folders: Sequence[Mapping]) -> None:
    """Warn if two files have the same size and footer, which indicates copies.

    Files that are not copies hardly ever agree in both: a footer has the position, size and
    extremes of every column.
    """
    if len({footer.sha256 for footer in footers}) == len(footers):
        return
    by_footer: dict[tuple, list[str]] = {}
    for footer, folder in zip(footers, folders, strict=True):
        if footer.n_rows:
            rows = (
                footer.size,
                footer.sha256,
                *folder.items(),
            )  # different folders imply different columns
            by_footer.setdefault(rows, []).append(footer.path)
    copies = [paths for paths in by_footer.values() if len(paths) > 1]
    if copies:
        n = sum(len(paths) - 1 for paths in copies)
        shown = "; ".join(" and ".join(paths[:2]) for paths in copies[:3])
        warn_caller(
            f"Rows may count twice: {n:,} {'file has' if n == 1 else 'files have'} the size and "
            f"the footer of another and may be a copy ({shown}{'; …' if len(copies) > 3 else ''}). "
            "Name the ones that you mean, or move copies out of the folder.",
            DiscoveryWarning,
        )


def _shards(
    footers: Sequence[Footer],
    dialects: Sequence[Dialect],
    naming: Naming,
    needed: Sequence[str] | None,
) -> list[Shard]:
    """The shards; those with the same columns share one tuple of them."""
    layouts: dict[tuple[int, int], tuple[tuple, frozenset[str]]] = {}
    shards = []
    for index, (footer, dialect) in enumerate(zip(footers, dialects, strict=True)):
        key = id(footer.schema), id(dialect)
        if key not in layouts:
            layouts[key] = _columns(footer, dialect, naming, needed)
        columns, twins = layouts[key]
        n_rows, int96 = footer.n_rows, footer.int96
        shards.append(
            Shard(index, footer.path, n_rows, footer.size, footer.sha256, columns, (), twins, int96)
        )
    return shards


def _columns(
    footer: Footer, dialect: Dialect, naming: Naming, needed: Sequence[str] | None
) -> tuple[tuple[tuple[str, str, pa.DataType], ...], frozenset[str]]:
    """The columns of a shard, and those whose names differ only in case."""
    stored = footer.schema.names
    if not stored:
        raise ShardError(f"{footer.path} has no columns. Leave it out of the paths.")
    try:
        names = naming.names(stored, dialect, needed)
    except SchemaError as error:
        raise SchemaError(f"{footer.path}: {error.marked}") from None
    columns = tuple((old, new, footer.schema.field(old).type) for old, new in names.items())
    lowered = Counter(name.lower() for name in stored) if len(stored) > 1 else {}
    return columns, frozenset(name for name in names if lowered.get(name.lower(), 0) > 1)


def _as_nulls(shard: Shard, types: Mapping[str, pa.DataType], without: Container) -> Shard:
    """The shard; columns without values get type null if the common type is of a different kind."""
    columns = tuple(
        (old, new, pa.null())
        if (shard.path, new) in without and new in types and family(type_) != family(types[new])
        else (old, new, type_)
        for old, new, type_ in shard.columns
    )
    return shard if columns == shard.columns else replace(shard, columns=columns)
