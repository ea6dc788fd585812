"""Expand paths, patterns and folders to a sorted list of files."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
from laion_dask.extras import installation
from laion_dask.io.storage.conversion import conversion
from laion_dask.io.storage.discovery import (
    PICTURED,
    SkippedFiles,
    alternatives,
    distinct_files,
    has_magic,
    match,
    note_hidden,
    taken,
)
from laion_dask.io.storage.folder_files import files_of_folder, listed_in_manifests, shards_only
from laion_dask.io.storage.real_files import Mark, RealFiles

_ONE_DIGIT = str.maketrans(dict.fromkeys("0123456789", "0"))


def natural(text: str) -> list:
    """A sort key that puts ``part_2`` before ``part_10``."""
    parts = re.split(r"([0-9]+)", text)
    return [(0, int(p), p) if i % 2 else (1, 0, p) for i, p in enumerate(parts)]


def expand(
    paths: str | os.PathLike | Iterable,
    suffixes: tuple[str, ...],
    searched: list[str] | None = None,
) -> list[str]:
    """The files that paths, patterns, folders and fsspec addresses refer to, in natural order.

    `laion_dask.io.storage.discovery` defines which files a folder or a pattern refers to.

    Parameters
    ----------
    paths : str, path or iterable of them
    suffixes : tuple of str
        Suffixes of the files to include from folders. Explicitly named files are always included.
    searched : list of str, optional
        Extended in place with the folders that were searched recursively.

    Raises
    ------
    ShardNotFoundError
        When a path matches nothing.
    ShardError
        When a store or a folder cannot be reached.
    OptionError
        When a file is named twice, or a folder contains both shards and, in a subfolder, an export.

    Warns
    -----
    DiscoveryWarning
        When files that may be shards are skipped.
    """
    if isinstance(paths, Mapping) or hasattr(paths, "columns"):  # whose items are not paths
        kind = f"{type(paths).__module__.partition('.')[0]} {type(paths).__name__}"
        raise OptionError(
            f"The paths are a {kind}. Expected files, folders or patterns. Write a table "
            "with to_parquet, and pass the file."
        )
    if isinstance(paths, (str, os.PathLike)) or not isinstance(paths, Iterable):
        requested = [paths]
    else:
        requested = list(paths)
    for path in requested:
        if not isinstance(path, (str, os.PathLike)) or not os.fspath(path):
            raise OptionError(
                f"A path is {path!r}. Expected a file, a folder, a pattern or an address."
            )
    if not requested:
        raise ShardNotFoundError("No path was given. Name a file, a folder or a pattern.")
    left_out = SkippedFiles()
    files = [
        file for path in requested for file in _expand_one(os.fsdecode(path), suffixes, left_out)
    ]
    files = shards_only(files, suffixes, left_out)
    check_named_once(files, left_out.found)
    left_out.warn(files)
    if searched is not None:
        searched += left_out.searched
    return Listing(naturally_sorted(files), left_out.found.marks)


def naturally_sorted(paths: Sequence[str]) -> list[str]:
    """Paths in natural order; those with padded numbers are compared as text, which is faster."""
    shapes = {path.translate(_ONE_DIGIT) for path in paths}
    return sorted(paths, key=None if len(shapes) < 2 else natural)


class Listing(list[str]):
    """Paths, with the marks of those that have one; see `Mark`."""

    def __init__(self, paths: Iterable[str], marks: Mapping[str, Mark]) -> None:
        super().__init__(paths)
        self.marks = marks


def check_named_once(files: Sequence[str], found: RealFiles | None = None) -> None:
    """Raise if a file is named twice, directly or through links.

    Raises
    ------
    OptionError
    """
    local = [file for file in files if "://" not in file]
    real = (found or RealFiles()).identities(local)
    if len({real.get(file, file) for file in files}) == len(files):
        return
    named: dict[object, str] = {}
    for file in files:
        other = named.setdefault(real.get(file, file), file)
        if other is not file:
            where = "" if other == file else f" (also as {other})"
            raise OptionError(
                f"{file} is named twice{where}, so its rows would count twice. Name each file once."
            )


def filesystem(path: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """The file system of a path or address, and the path in it.

    Raises
    ------
    OptionError, MissingExtraError
        When fsspec does not support the address, or a required package is not installed.
    """
    try:
        if "://" not in path or os.path.exists(path):
            local = path if os.path.exists(path) else os.path.expanduser(path)
            return LocalFileSystem(), os.path.abspath(local)
        if "::" in path:
            raise OptionError(
                f"{path} is a chain of file systems. Expected a path or a single address; unpack "
                "or download it first."
            )
        return fsspec.core.url_to_fs(path)
    except ImportError as error:
        hint = installation("s3") if path.startswith("s3") else "Install the package that it names."
        raise MissingExtraError(f"{path} cannot be reached: {error}. {hint}") from error
    except ValueError as error:
        if isinstance(error, OptionError):
            raise
        raise OptionError(
            f"{path} is not an address that fsspec knows: {error}. Write local paths plainly, and "
            "addresses like s3://bucket/folder."
        ) from error


@contextmanager
def reached(path: str) -> Iterator[None]:
    """Turn any error from a store into a ShardError.

    Raises
    ------
    ShardError
    """
    try:
        yield
    except LaionDaskError:
        raise
    except Exception as error:  # stores raise types of their own
        raise unreachable(path, error) from error


def unreachable(path: str, error: Exception) -> ShardError:
    """The error for an unreachable address."""
    first = str(error).strip().splitlines()[:1]
    why = first[0].rstrip(". ") if first else type(error).__name__
    return ShardError(
        f"{path} cannot be reached: {why}. Check the address, the network and the credentials."
    )


def _expand_one(path: str, suffixes: tuple[str, ...], left_out: SkippedFiles) -> list[str]:
    with reached(path):
        fs, inner = filesystem(path)
        if isinstance(fs, LocalFileSystem):
            return _files_of(fs, path, inner, suffixes, left_out)
        files = _files_of(fs, path, inner, suffixes, left_out)
        return [left_out.found.name(file, fs.unstrip_protocol(file)) for file in files]


def _files_of(
    fs, path: str, inner: str, suffixes: tuple[str, ...], left_out: SkippedFiles
) -> list[str]:
    """The files that one path refers to, as paths within its file system."""
    if fs.isfile(inner):
        return [inner]
    if fs.isdir(inner):
        files = files_of_folder(fs, inner.rstrip("/"), suffixes, left_out)
        if files:
            return distinct_files(files, left_out) if isinstance(fs, LocalFileSystem) else files
        raise ShardNotFoundError(
            f"Folder {path} contains no {' or '.join(suffixes)} file. {_hint_for_folder(fs, inner)}"
        )
    patterns = alternatives(fs, inner)
    plain = [name for name in patterns if not has_magic(name)]
    missing = [name for name in plain if not fs.exists(name)]
    if missing:
        of = f" ({len(missing):,} of its {len(plain):,} names)" if len(plain) > 1 else ""
        raise ShardNotFoundError(
            f"Nothing matches {missing[0] if of else path}{of}. Check the path."
            f"{_similar_name(fs, inner)}"
        )
    files = _matching(fs, patterns, suffixes, left_out)
    if not files:
        raise ShardNotFoundError(f"Nothing matches {path}. Check the path.")
    return distinct_files(files, left_out) if isinstance(fs, LocalFileSystem) else files


def _matching(
    fs, patterns: Sequence[str], suffixes: tuple[str, ...], left_out: SkippedFiles
) -> list:
    """The shards that patterns match, including those in matching folders."""
    explicit, matched, in_folders = [], [], []
    for pattern in patterns:
        if not has_magic(pattern) and fs.isfile(pattern):
            explicit.append(pattern)
            continue
        entries, folders = match(fs, pattern, left_out)
        matched += entries
        for folder in folders:
            if folder.hidden:
                note_hidden(fs.find(folder.path), suffixes, left_out)
            else:
                in_folders += files_of_folder(fs, folder.path, suffixes, left_out)
    files = [*taken(matched, suffixes, left_out), *in_folders]
    if not files and not explicit:
        files = [entry.path for entry in matched if not entry.hidden]
    return list(dict.fromkeys([*listed_in_manifests(fs, files, suffixes, left_out), *explicit]))


def _hint_for_folder(fs, folder: str) -> str:
    """The hint for a folder without shards, based on its contents."""
    names = [name.rstrip("/") for name in fs.ls(folder, detail=False)]
    table = next((name for name in names if conversion(name)), None)
    if table:
        return conversion(table)
    below = fs.walk(folder, maxdepth=3)
    paths = (f"{where}/{name}" for where, _, files in below for name in sorted(files))
    pictured = next((path for path in paths if path.lower().endswith(PICTURED)), None)
    if pictured is None:
        return "Check the path."
    return f"It contains {pictured}: embed makes metadata and embeddings from archives and images."


def _similar_name(fs, inner: str) -> str:
    parent, _, name = inner.rstrip("/").rpartition("/")
    if has_magic(inner) or fs.exists(inner) or not fs.isdir(parent or "/"):
        return ""
    return did_you_mean(name, [Path(f).name for f in fs.ls(parent or "/", detail=False)][:1000])
