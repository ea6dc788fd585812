"""Find the manifest of an export that is in force, and check the files that it lists.

An export is a folder with the manifest, ``_recipe.json``, and a subfolder ``shards`` that contains
only the files of its parts, so that other tools can read `shards` as a plain folder of Parquet
files. Documents about the export, such as ``README.md``, are beside the manifest. Exports of
earlier releases have ``recipe.json`` beside their parts, and can still be read.

A manifest is untrusted input: it may be damaged or malicious. Its size is limited, and a manifest
that lists anything but regular files in its own folder is rejected.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

import fsspec
from fsspec.implementations.local import LocalFileSystem

from laion_dask.errors import ShardError
from laion_dask.io.storage.listed_files import first_problem
from laion_dask.io.storage.local_file import file_system

#: The file that describes an export; it marks a folder as an export.
MANIFEST = "_recipe.json"
#: The name of the manifest while the parts that it lists are being swapped in.
NEXT_MANIFEST = "_recipe.next.json"
#: What identifies the folder of parts that the next manifest lists, see `folder_mark`.
NEXT_PARTS = ".laion_dask-next-parts"
#: The name of the manifest in exports of earlier releases, beside the parts.
FLAT_MANIFEST = "recipe.json"
MANIFESTS = (MANIFEST, NEXT_MANIFEST, FLAT_MANIFEST)
#: The folder with an export's parts.
PARTS = "shards"
#: The documents that an export may write beside its manifest.
DOCUMENTS = ("README.md", "_audit.csv", "_croissant.json", "_datasheet.md", "img2dataset.sh")
#: Marks a folder whose first export is being copied or was interrupted.
UNFINISHED = ".laion_dask-unfinished"
#: The ``kind`` of every manifest; it identifies a folder as an export.
KIND = "laion_dask export, version 1"

#: Maximum bytes of a manifest; one of two million parts is smaller.
MAX_BYTES = 1 << 29
_NAME = re.compile(r"[^\x00-\x1f\x7f/\\]+")
_PART_NAME = re.compile(r"(part-\d{5,}|index)-([0-9a-f]{8})([0-9a-f]{8})?(\.\w+)+")


@dataclass(frozen=True)
class ListedFile:
    """A file as the manifest lists it; values that the manifest does not have are None.

    Attributes
    ----------
    path : str
        The path in the file system of the manifest.
    bytes : int or None
    sha256 : str or None
    """

    path: str
    bytes: int | None
    sha256: str | None

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]


@dataclass(frozen=True)
class Part(ListedFile):
    """A part: the file with its rows, and its other files.

    Attributes
    ----------
    rows : int or None
    companions : tuple of ListedFile
        Empty in formats that write one file per part.
    """

    rows: int | None = None
    companions: tuple[ListedFile, ...] = ()


@dataclass(frozen=True)
class Manifest:
    """A parsed manifest.

    Attributes
    ----------
    path : str
    content : dict
        The parsed JSON.
    parts : tuple of Part
    index : tuple of ListedFile
        Files that belong to the export as a whole; empty in formats that write none.
    documents : tuple of ListedFile
        Files beside the manifest that describe the export; no reader of rows needs them.
    """

    path: str
    content: dict
    parts: tuple[Part, ...]
    index: tuple[ListedFile, ...] = ()
    documents: tuple[ListedFile, ...] = ()

    @property
    def folder(self) -> str:
        """The path of the folder of parts."""
        root, _, name = self.path.rpartition("/")
        return root if name == FLAT_MANIFEST else f"{root}/{PARTS}"

    @property
    def files(self) -> list[ListedFile]:
        """Every file in the folder of parts that the manifest lists."""
        files = [file for part in self.parts for file in (part, *part.companions)]
        return [*files, *self.index]


def current_manifest(fs: fsspec.AbstractFileSystem, folder: str) -> Manifest | None:
    """The manifest in force in a folder, or None if the folder is not an export.

    All files that it lists exist, are regular files and have the listed size.

    Raises
    ------
    ShardError
        When the manifest is invalid, or a file does not match its entry.
    """
    present = _manifest_files(fs, folder)
    while True:
        try:
            return _valid_manifest(fs, {name: f"{folder}/{name}" for name in present})
        except (ShardError, FileNotFoundError):
            latest = _manifest_files(fs, folder)
            if latest == present:
                raise
            present = latest  # another export replaced the manifest in the meantime


def _manifest_files(fs: fsspec.AbstractFileSystem, folder: str) -> dict[str, dict]:
    fs.invalidate_cache()
    return {n: fs.info(f"{folder}/{n}") for n in MANIFESTS if fs.isfile(f"{folder}/{n}")}


def _valid_manifest(fs: fsspec.AbstractFileSystem, present: Mapping[str, str]) -> Manifest | None:
    following = present.get(NEXT_MANIFEST)
    if following is not None and is_switched(fs, following.rpartition("/")[0]):
        return _checked_manifest(fs, following)
    error: ShardError | None = None
    for name in (MANIFEST, FLAT_MANIFEST):
        if name in present:
            try:
                return _checked_manifest(fs, present[name])
            except ShardError as caught:
                error = caught
                break
    if following is not None:  # the folder has just been switched, or is a copy
        with suppress(ShardError):
            return _checked_manifest(fs, following)
    if error is not None:
        raise error
    return None


def is_switched(fs: fsspec.AbstractFileSystem, folder: str) -> bool:
    """Whether the parts are those of the next manifest, although it still has that name."""
    try:
        return isinstance(fs, LocalFileSystem) and (
            fs.cat_file(f"{folder}/{NEXT_PARTS}") == folder_mark(f"{folder}/{PARTS}")
        )
    except OSError:
        return False


def folder_mark(folder: str) -> bytes:
    """What identifies a local folder wherever it is renamed to: the number of its inode."""
    return f"{os.stat(folder).st_ino}\n".encode()


def _checked_manifest(fs: fsspec.AbstractFileSystem, path: str) -> Manifest:
    manifest = read_manifest(fs, path)
    files = manifest.files
    problem = first_problem(fs, manifest.folder, [(file.path, file.bytes) for file in files])
    if problem is not None:
        raise altered_error(files[problem[0]], manifest, problem[1])
    return manifest


def read_manifest(fs: fsspec.AbstractFileSystem, path: str) -> Manifest:
    """Read a manifest without opening the files that it lists.

    Raises
    ------
    ShardError
        When the file is not a manifest, or a listed path is outside its folder.
    """
    try:
        if fs.size(path) > MAX_BYTES:
            raise ValueError(f"it has more than {MAX_BYTES:,} bytes")
        content = json.loads(fs.cat_file(path))
        folder = Manifest(path, content, ()).folder
        parts = tuple(_part(folder, entry) for entry in content["parts"])
        index = tuple(_listed_file(folder, entry) for entry in content.get("index", ()))
        root = path.rpartition("/")[0]
        documents = tuple(_document(root, entry) for entry in content.get("documents", ()))
        manifest = Manifest(path, content, parts, index, documents)
        if len({file.path for file in manifest.files}) < len(manifest.files):
            raise ValueError("it lists a part twice")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        problem = "it is nested too deeply" if isinstance(error, RecursionError) else error
        problem = f"it has no {error}" if isinstance(error, KeyError) else problem
        raise ShardError(
            f"{path} is not the manifest of an export: {problem}. Name the shards themselves, "
            f"for example {path.rpartition('/')[0]}/*.parquet."
        ) from None
    _check_row_count(manifest)
    return manifest


def _document(root: str, entry: Mapping) -> ListedFile:
    file = _listed_file(root, entry)
    if file.path[len(root) + 1 :] not in DOCUMENTS:
        raise ValueError(f"the document {file.name!a} is none of {', '.join(DOCUMENTS)}")
    return file


def _part(folder: str, entry: Mapping) -> Part:
    file = _listed_file(folder, entry)
    companions = tuple(_listed_file(folder, other) for other in entry.get("companions", ()))
    rows = _whole_number(entry, "rows")
    return Part(file.path, file.bytes, file.sha256, rows, companions)


def _listed_file(folder: str, entry: Mapping) -> ListedFile:
    if not isinstance(entry, dict) or not isinstance(name := entry["file"], str):
        raise ValueError("a part is not listed by its file name")
    if not all(_NAME.fullmatch(one) and not one.startswith(".") for one in name.split("/")):
        raise ValueError(f"the part {name!a} is not the name of a file in its folder")
    digest = entry.get("sha256")
    if digest is not None and not isinstance(digest, str):
        raise ValueError(f"the sha256 of the part {name!r} is not a string")
    return ListedFile(f"{folder}/{name}", _whole_number(entry, "bytes"), digest)


def _whole_number(entry: Mapping, key: str) -> int | None:
    number = entry.get(key)
    if number is not None and (type(number) is not int or number < 0):
        raise ValueError(f"{key} of the part {entry['file']!r} is not a whole number")
    return number


def _check_row_count(manifest: Manifest) -> None:
    counts = manifest.content.get("counts")
    counts = counts if isinstance(counts, dict) else {}
    kept = counts.get("records", counts.get("kept"))
    rows = [part.rows for part in manifest.parts if part.rows is not None]
    if type(kept) is int and len(rows) == len(manifest.parts) and sum(rows) != kept:
        raise ShardError(
            f"{manifest.path} lists parts of {sum(rows):,} rows, but counts {kept:,} kept rows. It "
            "was altered: copy the whole folder again, or export there again."
        )


def altered_error(file: ListedFile, manifest: Manifest, problem: str) -> ShardError:
    """The error for a file that does not match its manifest."""
    return ShardError(
        f"{_printable(file.path)} {problem}, although {manifest.path} lists it. The export is "
        "incomplete or was altered: copy the whole folder again, or export there again."
    )


def _printable(path: str) -> str:
    """A path with characters that any terminal can print."""
    return path.encode("utf-8", "backslashreplace").decode()


def is_part_name(name: str) -> bool:
    """Whether a name is one that export gives to files in the folder of parts."""
    return _PART_NAME.fullmatch(name) is not None


def is_attempt_name(name: str) -> bool:
    """Whether a name is that of an attempt of one export, as object stores have them."""
    return export_of(name) is not None


def export_of(name: str) -> str | None:
    """The export that an attempt belongs to, as in its name; None for other names."""
    match = _PART_NAME.fullmatch(name)
    return match[2] if match and match[3] else None


def listed_parts(folder: str) -> dict[str, tuple[Part, Manifest]]:
    """The exported parts in a folder: a mapping of path to part and the manifest that lists it."""
    listed = {}
    for manifest in _manifests_for(folder):
        for part in manifest.parts:
            listed[f"{folder}/{part.name}"] = part, manifest
    return listed


def _manifests_for(folder: str) -> Iterator[Manifest]:
    """The manifests that may list files of a folder; other files are ignored."""
    fs, inner = file_system(folder)
    parent, _, name = inner.rpartition("/")
    paths = [f"{inner}/{FLAT_MANIFEST}"]
    paths += [f"{parent}/{n}" for n in (MANIFEST, NEXT_MANIFEST)] if name == PARTS else []
    for path in paths:
        if fs.isfile(path):
            try:
                manifest = read_manifest(fs, path)
            except ShardError:
                continue  # explicitly named files are read without a manifest
            if manifest.content.get("kind") == KIND:
                yield manifest
