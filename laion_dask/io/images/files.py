"""Find the archives, Parquet files and images of a source, and their common root."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from fsspec.implementations.local import LocalFileSystem

from laion_dask.errors import ImageError, OptionError, ShardNotFoundError
from laion_dask.io.storage.discovery import (
    PARQUET,
    SkippedFiles,
    distinct_files,
    files_below,
    has_magic,
    is_hidden,
    taken,
)
from laion_dask.io.storage.folder_files import shards_only
from laion_dask.io.storage.member_names import IMAGE_KINDS, Member
from laion_dask.io.storage.paths import check_named_once, expand, filesystem

_TAR = (".tar",)
_IMAGES = tuple(f".{kind}" for kind in IMAGE_KINDS)


@dataclass
class SourceFiles:
    """The files of a source.

    Attributes
    ----------
    root : str
        The folder that contains all files.
    tars, parquet : dict of str to None
        Paths or addresses in order of discovery.
    images : dict of str to None
        Paths of image files, and of the captions and JSON beside them.
    """

    root: str = ""
    tars: dict[str, None] = field(default_factory=dict)
    parquet: dict[str, None] = field(default_factory=dict)
    images: dict[str, None] = field(default_factory=dict)

    def labels(self) -> dict[str, str]:
        """The path below the root of each archive and Parquet file.

        A path starts with ``./`` if another file with the same name is in a subfolder, so a bare
        name is always unique.
        """
        paths = [*self.tars, *self.parquet]
        below = {path: path.removeprefix(self.root).lstrip("/") for path in paths}
        times = Counter(name.rpartition("/")[2] for name in below.values())
        return {
            path: f"./{name}" if "/" not in name and times[name] > 1 else name
            for path, name in below.items()
        }


def find_files(source: str | os.PathLike | Iterable) -> SourceFiles:
    """Find the files of a source, by the rules of `laion_dask.io.storage.discovery`.

    Raises the same errors and warnings as `laion_dask.io.images.images.find_shards` and
    `laion_dask.io.storage.paths.expand`.
    """
    if isinstance(source, (str, os.PathLike)) or not isinstance(source, Iterable):
        paths = [source]
    else:
        paths = list(source)
    if not paths:
        raise ShardNotFoundError("No path was given. Name a file, a folder or a pattern.")
    files, roots, left_out = SourceFiles(), [], SkippedFiles()
    for path in _sources(paths, left_out):
        _add(files, path)
        roots.append(_root(os.fsdecode(path)))
    left_out.warn(files.images)
    images = (path for path in files.images if path.lower().endswith(_IMAGES))
    check_named_once([*files.tars, *files.parquet, *filter(os.path.exists, images)])
    files.root = _common(roots)
    return files


def _sources(paths: list, left_out: SkippedFiles) -> list:
    """The given paths without companion files, which a shell lists when it expands a pattern:
    captions and JSON beside images, and the table beside an archive with the same name.
    """
    named = [path for path in paths if isinstance(path, (str, bytes, os.PathLike))]
    files = {path: os.path.abspath(os.fsdecode(path)) for path in named if os.path.isfile(path)}
    kept = shards_only(list(files.values()), (*_TAR, *PARQUET, *_IMAGES), left_out)
    stems = {file.rpartition(".")[0] for file in kept if file.lower().endswith(_TAR)}
    tables = [file for file in kept if file.lower().endswith(PARQUET)]
    tables = [file for file in tables if file.rpartition(".")[0] in stems]
    left_out.add("beside an archive of the same name", tables)
    selected = set(kept).difference(tables)
    return [path for path in paths if path not in files or files[path] in selected]


def _add(source_files: SourceFiles, path: str | os.PathLike) -> None:
    is_text = isinstance(path, (str, bytes, os.PathLike)) and os.fspath(path)
    if is_text and os.path.isdir(path):
        before = len(source_files.images), len(source_files.tars), len(source_files.parquet)
        _add_folder(source_files, os.path.abspath(os.fsdecode(path)))
        if before == (len(source_files.images), len(source_files.tars), len(source_files.parquet)):
            raise ShardNotFoundError(
                f"{os.fsdecode(path)} contains no .tar, no .parquet and no image "
                f"({', '.join(IMAGE_KINDS)}). Check the path."
            )
        return
    files = expand(path, (*_TAR, *PARQUET, *_IMAGES))
    tars = [file for file in files if file.lower().endswith(_TAR)]
    images = [file for file in files if file.lower().endswith(_IMAGES)]
    parquet = [file for file in files if file.lower().endswith(PARQUET)]
    _check_one_kind(os.fsdecode(path), tars, images)
    other = next((file for file in files if file not in {*tars, *images, *parquet}), None)
    if other is not None:
        raise ImageError(
            f"{other} is not a .tar, .parquet or image ({', '.join(IMAGE_KINDS)}). Expected "
            "uncompressed webdataset archives, Parquet files with image bytes, or images; unpack "
            ".tar.gz first."
        )
    source_files.tars.update(dict.fromkeys(tars))
    source_files.parquet.update(dict.fromkeys(() if tars or images else parquet))
    source_files.images.update(dict.fromkeys(_with_sidecars(images)))


def _add_folder(source_files: SourceFiles, root: str) -> None:
    left_out = SkippedFiles()
    fs = LocalFileSystem()
    below = files_below(fs, root, SkippedFiles())  # broken links become rejects
    names = {entry.path: entry.name.lower() for entry in below if not entry.hidden}
    tars = [path for path, name in names.items() if name.endswith(_TAR)]
    images = [path for path, name in names.items() if name.endswith(_IMAGES)]
    _check_one_kind(root, tars, images)
    if tars or (not images and any(name.endswith(PARQUET) for name in names.values())):
        files = expand(root, _TAR if tars else PARQUET)
        (source_files.tars if tars else source_files.parquet).update(dict.fromkeys(files))
        return
    images = distinct_files(taken(below, _IMAGES, left_out), left_out)
    folders = dict.fromkeys([root, *(path.rpartition("/")[0] for path in images)])
    duplicates = set(names) - set(images)
    for folder in folders:
        for name in sorted(os.listdir(folder)):
            path = f"{folder.rstrip('/')}/{name}"
            is_other = not os.path.isdir(path) and not is_hidden(name)
            if is_other and not (path in duplicates and name.lower().endswith(_IMAGES)):
                source_files.images[path] = None
    left_out.warn(source_files.images)


def _check_one_kind(path: str, tars: list, images: list) -> None:
    if tars and images:
        raise OptionError(
            f"{path} contains {len(tars)} archives and {len(images)} images. Name the ones to "
            f"read: '{path}/*.tar' for the archives, or a folder with only images."
        )


def _with_sidecars(images: list[str]) -> list[str]:
    """The given image files with the captions and JSON beside them."""
    if remote := next((path for path in images if "://" in path), None):
        raise ImageError(
            f"{remote} is an image in a remote store. Expected local images, or archives and "
            "Parquet files anywhere; copy the images, or pack them into .tar files."
        )
    keys = {Member(path, in_folder=True).group for path in images}
    paths = dict.fromkeys(images)
    for folder in dict.fromkeys(path.rpartition("/")[0] for path in images):
        for name in sorted(os.listdir(folder or "/")):
            member = Member(f"{folder}/{name}", in_folder=True)
            if not member.is_image and member.group in keys and os.path.isfile(member.name):
                paths[member.name] = None
    return list(paths)


def _root(path: str) -> str:
    """The folder that a path names, or the one that contains everything the path matches."""
    if not os.path.isdir(path):
        path, slash, name = path.rpartition("/")
        parts = path.split("/")
        magic_positions = (at for at, part in enumerate(parts) if has_magic(part) or "{" in part)
        if not os.path.exists(f"{path}{slash}{name}"):
            path = "/".join(parts[: next(magic_positions, len(parts))])
        path = path or slash or "."
    fs, inner = filesystem(path)
    return inner if isinstance(fs, LocalFileSystem) else fs.unstrip_protocol(inner)


def _common(roots: list[str]) -> str:
    parts = [root.rstrip("/").split("/") for root in roots]
    shared = []
    for level in zip(*parts, strict=False):
        if len(set(level)) > 1:
            break
        shared.append(level[0])
    return "/".join(shared) or "/"
