"""From what a user names to a sorted list of files, and the key that pairs a file with another."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import fsspec
from fsspec.implementations.local import LocalFileSystem

from laion_dask.errors import (
    MissingExtraError,
    OptionError,
    ShardError,
    ShardNotFoundError,
    did_you_mean,
)

#: The file that documents an export; its presence makes a folder one of ours.
RECIPE = "recipe.json"

#: In a folder that an export is moving its first parts into, and in one where that was cut off.
UNFINISHED = ".laion_dask-unfinished"

#: Folders that say what a file holds, not which collection it belongs to.
_ROLES = {"metadata", "metadatas", "img_emb", "text_emb", "images", "shards", "parquet", "npz"}

#: A CLIP model in a file's name, before its number: ``b32`` in ``img_emb_b32_0012``.
_MODEL = re.compile(
    r"(?<![a-z0-9])(vit[-_]?[blhg][-_]?|[blhg])(14|16|32)(?=[-_].*\d)", re.IGNORECASE
)


def natural(text: str) -> list:
    """A sort key under which ``part_2`` comes before ``part_10``."""
    parts = re.split(r"([0-9]+)", text)
    return [(0, int(p), p) if i % 2 else (1, 0, p) for i, p in enumerate(parts)]


def expand(paths: str | os.PathLike | Iterable, suffixes: tuple[str, ...]) -> list[str]:
    """The files that paths, patterns, folders and fsspec addresses name, in natural order.

    Parameters
    ----------
    paths : str, path or iterable of them
    suffixes : tuple of str
        What a file in a folder must end in to be taken. A file named outright is always taken.

    Raises
    ------
    ShardNotFoundError
        When one of them names nothing.
    OptionError
        When a file is named twice, or a folder holds shards and, below it, an export too.
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
    found = [file for path in given for file in _expand_one(os.fspath(path), suffixes)]
    files = Counter(f if "://" in f else os.path.realpath(f) for f in found)
    file, times = files.most_common(1)[0]
    if times > 1:
        raise OptionError(
            f"{file} is named twice, and its rows would count twice. Name each file once."
        )
    return sorted(found, key=natural)


def filesystem(path: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """The file system of a path or address, and the path in it.

    Raises
    ------
    OptionError, MissingExtraError
        When fsspec knows no such address, or lacks the package that it needs for it.
    """
    try:
        if os.path.exists(path):
            return LocalFileSystem(), os.path.abspath(path)
        return fsspec.core.url_to_fs(path)
    except ImportError as error:
        raise MissingExtraError(f"{path} cannot be reached: {error}") from error
    except ValueError as error:
        raise OptionError(
            f"{path} is no address that fsspec knows: {error}. Write file paths as they are, "
            "addresses as s3://bucket/folder."
        ) from error


def _expand_one(path: str, suffixes: tuple[str, ...]) -> list[str]:
    fs, inner = filesystem(path)
    local = isinstance(fs, LocalFileSystem)
    name = str if local else fs.unstrip_protocol
    if fs.isfile(inner):
        return [name(inner)]
    if fs.isdir(inner):
        files = _in_folder(fs, inner.rstrip("/"), suffixes)
        what = f"Folder {path} holds no {' or '.join(suffixes)} file"
    else:
        files = _matching(fs, inner, suffixes) if has_magic(inner) else []
        what = f"Nothing matches {path}"
    if files:
        return [name(f) for f in files]
    raise ShardNotFoundError(f"{what}. Check the path.{_near(fs, inner)}")


def _matching(fs, pattern: str, suffixes: tuple[str, ...]) -> list[str]:
    """Files that match, and files in folders that match and are named as a file would be."""
    files = []
    for path in fs.glob(pattern):
        if fs.isfile(path):
            files.append(path)
        elif path.rstrip("/").endswith(suffixes):
            files += _in_folder(fs, path.rstrip("/"), suffixes)
    return files


def has_magic(path: str) -> bool:
    """Whether a path is a glob pattern."""
    return any(c in path for c in "*?[")


def _in_folder(fs, folder: str, suffixes: tuple[str, ...]) -> list[str]:
    recipe = f"{folder}/{RECIPE}"
    if fs.isfile(recipe):
        try:
            return [f"{folder}/{part['file']}" for part in json.loads(fs.cat_file(recipe))["parts"]]
        except (ValueError, KeyError, TypeError) as error:
            raise ShardError(
                f"{recipe} is not the recipe of an export ({error!r}). Name the shards themselves, "
                f"as {folder}/*.parquet."
            ) from error
    if fs.isfile(f"{folder}/{UNFINISHED}"):
        raise ShardError(
            f"{folder} holds an export that was cut off before its recipe was written. Export "
            "there again."
        )
    below = fs.find(folder)
    files = [f for f in below if f.endswith(suffixes) and not _hidden(f[len(folder) :])]
    exports = [f.rpartition("/")[0] for f in below if _marks_export(fs, f)]
    exported = {f for f in files if any(f.startswith(f"{e}/") for e in exports)}
    if not exported:
        return files
    if len(exported) < len(files):
        raise OptionError(
            f"{folder} holds shards, and in {exports[0]} an export too, whose rows would count "
            f"again. Name which of them is meant, such as {folder}/*{suffixes[0]}."
        )
    return [file for export in exports for file in _in_folder(fs, export, suffixes)]


def _marks_export(fs, path: str) -> bool:
    """Whether a file says that its folder is an export of ours, whole or cut off."""
    name = path.rpartition("/")[2]
    if name != RECIPE:
        return name == UNFINISHED
    try:
        return "parts" in json.loads(fs.cat_file(path))
    except (ValueError, TypeError):
        return False


def _hidden(relative: str) -> bool:
    return any(p.startswith((".", "_")) for p in PurePosixPath(relative.lstrip("/")).parts)


def _near(fs, inner: str) -> str:
    parent, _, name = inner.rstrip("/").rpartition("/")
    if has_magic(inner) or fs.exists(inner) or not fs.isdir(parent or "/"):
        return ""
    return did_you_mean(name, [Path(f).name for f in fs.ls(parent or "/", detail=False)][:1000])


def stem(path: str) -> str:
    """A file's name without the endings that say how it is stored."""
    return re.sub(r"(\.(parquet|npy|npz|snappy|zstd|gz|lz4))+$", "", path.rpartition("/")[2])


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
