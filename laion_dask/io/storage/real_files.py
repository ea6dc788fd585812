"""The identities of local files, and marks that change when a file does."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple


class Mark(NamedTuple):
    """A version of a file: its size, and something that changes whenever its bytes do.

    Attributes
    ----------
    size : int
    changed_ns : int
        When the file last changed, in nanoseconds since 1970; 0 for a file in a store.
    version : tuple or str
        Device, inode and time of modification of a local file; the ETag (or the like) of another,
        empty if its store gives none.
    """

    size: int
    changed_ns: int
    version: tuple[int, int, int] | str


def local_mark(status: os.stat_result) -> Mark:
    """The mark of a local file.

    It contains the time of the last change of the inode, which no program can set back.
    """
    version = status.st_dev, status.st_ino, status.st_mtime_ns
    return Mark(status.st_size, status.st_ctime_ns, version)


def store_mark(info: Mapping) -> Mark | None:
    """The mark of a file in a store, as fsspec describes it; None if even the size is unknown."""
    size = info.get("size")
    if not isinstance(size, int) or info.get("type") != "file":
        return None
    # Of a file on the Hugging Face Hub, the identifier of its content in git.
    tag = info.get("ETag") or info.get("etag") or info.get("blob_id")
    return Mark(size, 0, tag if isinstance(tag, str) else "")


def mark_of(path: str) -> Mark | None:
    """The mark of a local file; None for an address, or if the file cannot be examined."""
    if "://" in path:
        return None
    try:
        return local_mark(os.stat(path))
    except (OSError, ValueError):
        return None


@dataclass
class RealFiles:
    """The identities and marks of local files; each file is examined once."""

    marks: dict[str, Mark] = field(default_factory=dict)
    _identities: dict[str, object] = field(default_factory=dict)
    _folders: dict[str, str] = field(default_factory=dict)
    _in_store: dict[str, Mark] = field(default_factory=dict)

    def note(self, infos: Mapping[str, Mapping]) -> None:
        """Note the marks of files in a store that has been listed, by path within the store."""
        for path, info in infos.items():
            if mark := store_mark(info):
                self._in_store[path] = mark

    def name(self, inner: str, address: str) -> str:
        """Note the address of a file in a store; return it."""
        if mark := self._in_store.get(inner):
            self.marks[address] = mark
        return address

    def identities(self, files: Iterable[str]) -> Mapping[str, object]:
        """An identity for each local file, shared by all links to it."""
        known = self._identities
        for path in files:
            if path not in known:
                known[path] = self._identity(path)
        return known

    def _identity(self, path: str) -> object:
        folder, _, name = path.rpartition("/")
        real_folder = self._folders.get(folder)
        if real_folder is None:
            real_folder = self._folders[folder] = os.path.realpath(folder or "/")
        status = os.lstat(path)
        real = path if real_folder == folder else f"{real_folder}/{name}"
        if stat.S_ISLNK(status.st_mode):
            real = os.path.realpath(path)
            status = os.stat(real)
        self.marks[path] = local_mark(status)
        # None of the names of a file with several hard links is canonical.
        return (status.st_dev, status.st_ino) if status.st_nlink > 1 else real
