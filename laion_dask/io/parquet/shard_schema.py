"""From footers to shards: what each file's columns are in the frame, and of which type."""

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
from laion_dask.io.parquet.footer import Footer
from laion_dask.io.parquet.hive import check_agrees, folder_columns, folder_type, folder_value
from laion_dask.io.parquet.schema_merge import unify
from laion_dask.io.parquet.shard import PROVENANCE_TYPES, Shard


@dataclass(frozen=True)
class Naming:
    """How the columns of files become those of a frame; see `read_shards`."""

    dialect: str = "auto"
    swap_width_height: bool = False
    rename: Mapping[str, str] = field(default_factory=dict)
    hive_partitioning: bool = True

    def names(
        self, stored: Iterable[str], dialect: Dialect, needed: Sequence[str] | None
    ) -> dict[str, str]:
        """The frame's names of a file's columns; see `canonical_names`."""
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
    """The shards and the one schema that they are read as.

    Where some ``columns`` are named, the schema has at least those, and those that are
    ``filtered``, and leaves out others on which the shards disagree.
    """
    names = {name for footer in footers for name in footer.schema.names}
    folders = [folder_columns(f.path) if naming.hive_partitioning else {} for f in footers]
    names = names.union(*folders)
    unknown = [name for name in naming.rename if name not in names]
    if unknown:
        raise ColumnError(
            f"{parameter('rename')} has {unknown[0]!r}.{did_you_mean(unknown[0], names)}"
        )
    common = recognize(names, naming.dialect)
    dialects = [_own_dialect(f, common, naming.dialect) for f in footers]
    _warn_of_two_stages(footers, dialects)
    _warn_of_copies(footers, folders)
    shards = [
        _shard(i, footer, dialect, naming, columns)
        for i, (footer, dialect) in enumerate(zip(footers, dialects, strict=True))
    ]
    schemas = {s.path: {new: t for _, new, t in s.columns} for s in shards}
    if any(folders):
        shards = [
            _in_folders(shard, folder, dialect, naming)
            for shard, folder, dialect in zip(shards, folders, dialects, strict=True)
        ]
        _add_folder_types(shards, schemas)
    needed = None if columns is None else {*columns, *filtered}
    types, without_values = unify(schemas, StoredValues(shards), needed)
    shards = [_as_nulls(shard, types, without_values) for shard in shards]
    shards = [_with_values(shard, types) if shard.partition else shard for shard in shards]
    types = {**types, **PROVENANCE_TYPES}
    _check_named(columns or (), types, zip(footers, dialects, strict=True), naming)
    _check_no_other_name(columns or (), zip(shards, footers, strict=True))
    return shards, types


def _check_no_other_name(columns: Sequence[str], files: Iterable[tuple[Shard, Footer]]) -> None:
    """Refuse a column that is asked for and that one of the files has under another name."""
    asked = set(columns).difference(PROVENANCE_TYPES)
    for shard, footer in files if asked else ():
        read = {new for _, new, _ in shard.columns}
        for name in asked.intersection(footer.schema.names) - read:
            raise ColumnError(
                f"{parameter('columns')} has {name!r}, which is read under another name in "
                f"{shard.path}, and under its own name in other shards. Read them apart, or give "
                f"it one name with {argument('rename', {name: 'other'})}."
            )


def _check_named(
    columns: Sequence[str],
    types: Mapping[str, pa.DataType],
    files: Iterable[tuple[Footer, Dialect]],
    naming: Naming,
) -> None:
    """Refuse a column that is asked for and is not there, by its name in the frame."""
    wrong = next((name for name in columns if name not in types), None)
    if wrong is None:
        return
    known = dict.fromkeys(types)
    for footer, dialect in files:
        for stored in footer.schema.names:
            new = naming.names([stored], dialect, None).get(stored)
            if stored == wrong and new is not None:
                raise ColumnError(
                    f"{parameter('columns')} has {wrong!r}, which is read as {new!r}. Name it so: "
                    f"{argument('columns', [new])}."
                )
            known |= {new: None} if new else {}
    raise ColumnError(f"{parameter('columns')} has {wrong!r}.{did_you_mean(wrong, known)}")


def _own_dialect(footer: Footer, common: Dialect, dialect: str) -> Dialect:
    """The dialect of one file: the common one where it fits or nothing else does, else its own."""
    if dialect != "auto" or common.requires <= set(footer.schema.names):
        return common
    own = recognize(footer.schema.names)
    return own if own.requires else common


def _warn_of_two_stages(footers: Sequence[Footer], dialects: Sequence[Dialect]) -> None:
    """Warn where files that a tool made lie beside others, whose rows they may hold again."""
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
            f"Rows may count twice: {' and '.join(sorted(derived))} files hold rows of the set "
            f"that they were made from, and others lie beside them: {shown}. Name the ones that "
            "are meant.",
            DiscoveryWarning,
        )


def _warn_of_copies(footers: Sequence[Footer], folders: Sequence[Mapping]) -> None:
    """Warn where two files have one size and one footer, which copies have, and hardly others.

    A footer has the place and the size of every column, and its smallest and largest value.
    """
    alike: dict[tuple, list[str]] = {}
    for footer, folder in zip(footers, folders, strict=True):
        if footer.n_rows:
            rows = (footer.size, footer.sha256, *folder.items())  # another folder, other columns
            alike.setdefault(rows, []).append(footer.path)
    copies = [paths for paths in alike.values() if len(paths) > 1]
    if copies:
        n = sum(len(paths) - 1 for paths in copies)
        shown = "; ".join(" and ".join(paths[:2]) for paths in copies[:3])
        warn_caller(
            f"Rows may count twice: {n:,} {'file has' if n == 1 else 'files have'} the size and "
            f"the footer of another and may be a copy ({shown}{'; …' if len(copies) > 3 else ''}). "
            "Name the ones that are meant, or move copies out of the folder.",
            DiscoveryWarning,
        )


def _shard(
    index: int, footer: Footer, dialect: Dialect, naming: Naming, needed: Sequence[str] | None
) -> Shard:
    stored = footer.schema.names
    if not stored:
        raise ShardError(f"{footer.path} has no column. Leave it out of the paths.")
    try:
        names = naming.names(stored, dialect, needed)
    except SchemaError as error:
        raise SchemaError(f"{footer.path}: {error.marked}") from None
    columns = tuple((old, new, footer.schema.field(old).type) for old, new in names.items())
    lowered = Counter(name.lower() for name in stored) if len(stored) > 1 else {}
    twins = frozenset(name for name in names if lowered.get(name.lower(), 0) > 1)
    return Shard(
        index,
        footer.path,
        footer.n_rows,
        footer.size,
        footer.sha256,
        columns,
        twins=twins,
        int96=footer.int96,
    )


def _as_nulls(shard: Shard, types: Mapping[str, pa.DataType], without: Container) -> Shard:
    """The shard, its columns without values as nulls where others have another kind of type."""
    columns = tuple(
        (old, new, pa.null())
        if (shard.path, new) in without and new in types and family(type_) != family(types[new])
        else (old, new, type_)
        for old, new, type_ in shard.columns
    )
    return shard if columns == shard.columns else replace(shard, columns=columns)


def _in_folders(
    shard: Shard, folder: dict[str, str | None], dialect: Dialect, naming: Naming
) -> Shard:
    """The shard with the columns that its folders' names say and its file does not have."""
    stored = {new.lower(): old for old, new, _ in shard.columns}
    partition = []
    for key, new in naming.names(folder, dialect, None).items():
        if new.lower() in stored:
            check_agrees(shard.path, stored[new.lower()], folder[key])
        else:
            partition.append((key, new, folder[key]))
    return replace(shard, partition=tuple(partition))


def _add_folder_types(shards: Sequence[Shard], schemas: dict[str, dict[str, pa.DataType]]) -> None:
    values: dict[str, list[str | None]] = {}
    for shard in shards:
        for _, name, value in shard.partition:
            values.setdefault(name, []).append(value)
    types = {name: folder_type(name, some) for name, some in values.items()}
    for shard in shards:
        schemas[shard.path] |= {name: types[name] for _, name, _ in shard.partition}


def _with_values(shard: Shard, types: dict[str, pa.DataType]) -> Shard:
    """The shard with its folders' values in the types of the frame."""
    partition = tuple(
        (key, name, folder_value(value, types[name], name, shard.path))
        for key, name, value in shard.partition
        if name in types
    )
    return replace(shard, partition=partition)
