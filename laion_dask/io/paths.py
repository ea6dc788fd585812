"""Expansion of paths, patterns and folders to a sorted list of files."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import fsspec
from fsspec.implementations.local import LocalFileSystem

from laion_dask.errors import (
    LaionDaskError,
    MissingExtraError,
    OptionError,
    ShardError,
    ShardNotFoundError,
    did_you_mean,
)
from laion_dask.io.conversion import conversion
from laion_dask.io.discovery import (
    LeftOut,
    alternatives,
    each_once,
    files_below,
    has_magic,
    is_hidden,
    match,
    note_hidden,
    real_names,
    taken,
)
from laion_dask.io.recipe import (
    FLAT_RECIPE,
    PARTS,
    RECIPES,
    UNFINISHED,
    Recipe,
    in_place,
    read_recipe,
)

#: Folders that say what a file holds, not which collection it belongs to.
_ROLES = {"metadata", "metadatas", "img_emb", "text_emb", "images", "shards", "parquet", "npz"}

#: A CLIP model in a file's name, before its number: ``b32`` in ``img_emb_b32_0012``.
_MODEL = re.compile(
    r"(?<![a-z0-9])(vit[-_]?[blhg][-_]?|[blhg])(14|16|32)(?=[-_].*\d)", re.IGNORECASE
)

#: The endings of a file's name that say how it is stored.
_STORED = re.compile(r"(\.(parquet|parq|pq|npy|npz|snappy|zstd|gz|lz4))+$", re.IGNORECASE)


def natural(text: str) -> list:
    """A sort key under which ``part_2`` comes before ``part_10``."""
    parts = re.split(r"([0-9]+)", text)
    return [(0, int(p), p) if i % 2 else (1, 0, p) for i, p in enumerate(parts)]


def expand(
    paths: str | os.PathLike | Iterable,
    suffixes: tuple[str, ...],
    searched: list[str] | None = None,
) -> list[str]:
    """The files that paths, patterns, folders and fsspec addresses name, in natural order.

    `laion_dask.io.discovery` says which files a folder or a pattern stands for.

    Parameters
    ----------
    paths : str, path or iterable of them
    suffixes : tuple of str
        What a file in a folder must end in to be taken. A file named outright is always taken.
    searched : list of str, optional
        To be extended by the folders that files were looked for in, at any depth.

    Raises
    ------
    ShardNotFoundError
        When one of them names nothing.
    ShardError
        When a store or a folder cannot be reached.
    OptionError
        When a file is named twice, or a folder holds shards and, below it, an export too.

    Warns
    -----
    DiscoveryWarning
        When something that may be a shard was left out.
    """
    one = isinstance(paths, (str, os.PathLike))
    given = [paths] if one or not isinstance(paths, Iterable) else list(paths)
    for path in given:
        if not isinstance(path, (str, os.PathLike)) or not os.fspath(path):
            raise OptionError(
                f"A path is {path!r}. Expected a file, a folder, a pattern or an address."
            )
    if not given:
        raise ShardNotFoundError("No path was given. Name a file, a folder or a pattern.")
    left_out = LeftOut()
    found = [file for path in given for file in _expand_one(os.fsdecode(path), suffixes, left_out)]
    check_named_once(found)
    left_out.warn(found)
    if searched is not None:
        searched += left_out.searched
    return sorted(found, key=natural)


def check_named_once(found: Sequence[str]) -> None:
    """Raise when a file is named twice, directly or through links.

    Raises
    ------
    OptionError
    """
    real = real_names(file for file in found if "://" not in file)
    named: dict[object, str] = {}
    for file in found:
        other = named.setdefault(real.get(file, file), file)
        if other is not file:
            where = "" if other == file else f" (as {other} too)"
            raise OptionError(
                f"{file} is named twice{where}, and its rows would count twice. Name each file "
                "once."
            )


def filesystem(path: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """The file system of a path or address, and the path in it.

    Raises
    ------
    OptionError, MissingExtraError
        When fsspec knows no such address, or lacks the package that it needs for it.
    """
    try:
        if "://" not in path or os.path.exists(path):
            here = path if os.path.exists(path) else os.path.expanduser(path)
            return LocalFileSystem(), os.path.abspath(here)
        if "::" in path:
            raise OptionError(
                f"{path} is a chain of file systems. Expected a path or one address; unpack or "
                "fetch it first."
            )
        return fsspec.core.url_to_fs(path)
    except ImportError as error:
        raise MissingExtraError(f"{path} cannot be reached: {error}") from error
    except ValueError as error:
        if isinstance(error, OptionError):
            raise
        raise OptionError(
            f"{path} is not an address that fsspec knows: {error}. Write file paths as they are, "
            "addresses as s3://bucket/folder."
        ) from error


@contextmanager
def reached(path: str) -> Iterator[None]:
    """Turn any error of a store into a ShardError.

    Raises
    ------
    ShardError
    """
    try:
        yield
    except LaionDaskError:
        raise
    except Exception as error:  # every store has errors of its own
        raise unreachable(path, error) from error


def unreachable(path: str, error: Exception) -> ShardError:
    """The error for an address whose store fails."""
    first = str(error).strip().splitlines()[:1]
    why = first[0].rstrip(". ") if first else type(error).__name__
    return ShardError(
        f"{path} cannot be reached: {why}. Check the address, the network and the credentials."
    )


def _expand_one(path: str, suffixes: tuple[str, ...], left_out: LeftOut) -> list[str]:
    with reached(path):
        fs, inner = filesystem(path)
        if isinstance(fs, LocalFileSystem):
            return _found(fs, path, inner, suffixes, left_out)
        return [fs.unstrip_protocol(f) for f in _found(fs, path, inner, suffixes, left_out)]


def _found(fs, path: str, inner: str, suffixes: tuple[str, ...], left_out: LeftOut) -> list[str]:
    """The files that one path names, as its file system calls them."""
    if fs.isfile(inner):
        return [inner]
    if fs.isdir(inner):
        files = _in_folder(fs, inner.rstrip("/"), suffixes, left_out)
        if files:
            return each_once(files, left_out) if isinstance(fs, LocalFileSystem) else files
        raise ShardNotFoundError(
            f"Folder {path} holds no {' or '.join(suffixes)} file. {_instead(fs, inner)}"
        )
    patterns = alternatives(fs, inner)
    plain = [name for name in patterns if not has_magic(name)]
    missing = [name for name in plain if not fs.exists(name)]
    if missing:
        of = f" ({len(missing):,} of its {len(plain):,} names)" if len(plain) > 1 else ""
        raise ShardNotFoundError(
            f"Nothing matches {missing[0] if of else path}{of}. Check the path.{_near(fs, inner)}"
        )
    files = _matching(fs, patterns, suffixes, left_out)
    if not files:
        raise ShardNotFoundError(f"Nothing matches {path}. Check the path.")
    return each_once(files, left_out) if isinstance(fs, LocalFileSystem) else files


def _matching(fs, patterns: Sequence[str], suffixes: tuple[str, ...], left_out: LeftOut) -> list:
    """The shards that patterns match, or lie in folders that they match."""
    named, matched, inside = [], [], []
    for pattern in patterns:
        if not has_magic(pattern) and fs.isfile(pattern):
            named.append(pattern)
            continue
        entries, folders = match(fs, pattern, left_out)
        matched += entries
        for folder in folders:
            if folder.hidden:
                note_hidden(fs.find(folder.path), suffixes, left_out)
            else:
                inside += _in_folder(fs, folder.path, suffixes, left_out)
    files = [*taken(matched, suffixes, left_out), *inside]
    if not files and not named:
        files = [entry.path for entry in matched if not entry.hidden]
    return list(dict.fromkeys([*_of_exports(fs, files, suffixes, left_out), *named]))


def _in_folder(fs, folder: str, suffixes: tuple[str, ...], left_out: LeftOut) -> list[str]:
    recipe = in_place(fs, folder) or _recipe_above(fs, folder)
    if recipe is not None:
        return [part.path for part in recipe.parts]
    if fs.isfile(f"{folder}/{UNFINISHED}"):
        raise ShardError(
            f"{folder} holds an export that was cut off before its recipe was written. Export "
            "there again."
        )
    below = files_below(fs, folder, left_out)
    left_out.searched.append(fs.unstrip_protocol(folder))
    files = taken(below, suffixes, left_out)
    marks = (e.folder for e in below if _marks_export(fs, e.path))
    exports = [e for e in dict.fromkeys(marks) if not is_hidden(e[len(folder) + 1 :])]
    exported = {f for f in files if any(f.startswith(f"{e}/") for e in exports)}
    if not exported:
        return files
    if len(exported) < len(files):
        raise _mixed(folder, exports[0], suffixes)
    return [file for export in exports for file in _in_folder(fs, export, suffixes, left_out)]


def _of_exports(fs, files: list[str], suffixes: tuple[str, ...], left_out: LeftOut) -> list[str]:
    """Of files that a pattern matches, those in an export's folder only if its recipe lists them.

    Raises
    ------
    OptionError
        When some lie in an export and some do not.
    """
    folders = dict.fromkeys(file.rpartition("/")[0] for file in files)
    exports = {f: recipe for f in folders if (recipe := _recipe_of(fs, f)) is not None}
    if not exports:
        return files
    if len(exports) < len(folders):
        other = next(folder for folder in folders if folder not in exports)
        raise _mixed(other, next(iter(exports)), suffixes)
    listed = {part.path for recipe in exports.values() for part in recipe.parts}
    left_out.add("not in the recipe of its export", (f for f in files if f not in listed))
    return [file for file in files if file in listed]


def _recipe_of(fs, folder: str) -> Recipe | None:
    """The recipe of the export that a folder of files belongs to, or None."""
    if _marks_export(fs, f"{folder}/{FLAT_RECIPE}"):
        return in_place(fs, folder)
    return _recipe_above(fs, folder)


def _recipe_above(fs, folder: str) -> Recipe | None:
    """The recipe of an export whose folder of parts a folder is, or None."""
    above, _, name = folder.rpartition("/")
    return in_place(fs, above) if name == PARTS and _has_own_recipe(fs, above) else None


def _has_own_recipe(fs, folder: str) -> bool:
    return any(fs.isfile(f"{folder}/{name}") for name in RECIPES if name != FLAT_RECIPE)


def _mixed(folder: str, export: str, suffixes: tuple[str, ...]) -> OptionError:
    return OptionError(
        f"{folder} holds shards, and in {export} an export too, whose rows would count again. "
        f"Name which of them is meant, such as {folder}/*{suffixes[0]}."
    )


def _marks_export(fs, path: str) -> bool:
    """Whether a file says that its folder is an export of ours, whole or cut off."""
    name = path.rpartition("/")[2]
    if name != FLAT_RECIPE:
        return name == UNFINISHED or name in RECIPES
    if not fs.isfile(path):
        return False
    try:
        read_recipe(fs, path)
    except ShardError:
        return False
    return True


def _instead(fs, folder: str) -> str:
    """The hint for a folder without shards, by what it holds instead."""
    names = [name.rstrip("/") for name in fs.ls(folder, detail=False)]
    table = next((name for name in names if conversion(name)), None)
    return conversion(table) if table else "Check the path."


def _near(fs, inner: str) -> str:
    parent, _, name = inner.rstrip("/").rpartition("/")
    if has_magic(inner) or fs.exists(inner) or not fs.isdir(parent or "/"):
        return ""
    return did_you_mean(name, [Path(f).name for f in fs.ls(parent or "/", detail=False)][:1000])


def stem(path: str) -> str:
    """A file's name without the endings that say how it is stored."""
    return _STORED.sub("", path.rpartition("/")[2])


def embedding_key(path: str) -> tuple[str, str]:
    """As `shard_key`, without the CLIP model in the file's name, whose digits are no number."""
    folder, slash, name = path.rpartition("/")
    return shard_key(f"{folder}{slash}{_MODEL.sub('', name)}")


def shard_key(path: str) -> tuple[str, str]:
    """What pairs a metadata file with its embedding file: (collection, number or name).

    ``metadata_0012.parquet``, ``img_emb_12.npy`` and ``part-00012-<uuid>-c000.snappy.parquet``
    all have the number 12; a name without a number (DataComp's 32 hexadecimal digits) stands for
    itself. The collection is the nearest folder whose name says no role, so that
    ``laion2B-en/metadata/…_3`` and ``laion1B-nolang/metadata/…_3`` stay apart.

    Examples
    --------
    >>> shard_key("laion2B-en/metadata/metadata_0012.parquet")
    ('laion2B-en', '12')
    >>> shard_key("laion2B-en/img_emb/img_emb_12.npy")
    ('laion2B-en', '12')
    """
    folders = [p for p in path.split("/")[:-1] if p not in ("", ".") and p.lower() not in _ROLES]
    name = stem(path)
    if re.fullmatch(r"[0-9a-f]{32,64}", name):
        number = name
    elif part := re.match(r"part-(\d+)-", name):
        number = str(int(part.group(1)))
    else:
        name = re.sub(r"(\d+)-of-\d+$", r"\1", name)
        number = "/".join(str(int(n)) for n in re.findall("[0-9]+", name)) or name
    return (folders[-1] if folders else "", number)
