"""Check the files that a manifest lists, one by one: their folder is never listed.

Other files in the folder therefore do not matter, and a store need not list new files immediately.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import fsspec
from fsspec.implementations.local import LocalFileSystem

#: Concurrent requests to a store, and files per batch; a problem is reported after its batch.
_THREADS = 16
_BATCH = 4096
_MISSING = "does not exist"
_NO_FILE = "is not a regular file in its folder"


def first_problem(
    fs: fsspec.AbstractFileSystem, folder: str, files: Sequence[tuple[str, int | None]]
) -> tuple[int, str] | None:
    """The first file that is missing, no regular file in the folder, or of another size.

    Parameters
    ----------
    fs : file system
    folder : str
    files : sequence of (str, int or None)
        The path of each file, and its size in bytes if it is known.

    Returns
    -------
    (int, str) or None
        The position of the file, and what is wrong with it.
    """
    if isinstance(fs, LocalFileSystem):
        root = _Root(folder)
        problems = (_local_problem(root, *file) for file in files)
        return next(((n, one) for n, one in enumerate(problems) if one is not None), None)
    ask = partial(_problem, fs)
    with ThreadPoolExecutor(min(_THREADS, max(1, len(files)))) as pool:
        for start in range(0, len(files), _BATCH):
            found = pool.map(lambda file: ask(*file), files[start : start + _BATCH])
            for n, one in enumerate(found, start):
                if one is not None:
                    return n, one
    return None


def _problem(fs: fsspec.AbstractFileSystem, path: str, size: int | None) -> str | None:
    try:
        info = fs.info(path)
    except FileNotFoundError:
        return _MISSING
    return _NO_FILE if info["type"] != "file" else _wrong_size(info["size"], size)


class _Root:
    """Which paths are below a folder once links are resolved; each folder is resolved once."""

    def __init__(self, folder: str) -> None:
        self._root = os.path.realpath(folder)
        self._known = {folder: True}

    def has_folder(self, folder: str) -> bool:
        if folder not in self._known:
            self._known[folder] = os.path.realpath(folder).startswith(self._root + os.sep)
        return self._known[folder]

    def has_target(self, path: str) -> bool:
        """Whether the target of a link is below the folder."""
        return os.path.realpath(path).startswith(self._root + os.sep)


def _local_problem(root: _Root, path: str, size: int | None) -> str | None:
    try:
        status = os.lstat(path)
        is_link = stat.S_ISLNK(status.st_mode)
        if is_link:
            status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return _MISSING
    inside = root.has_folder(path.rpartition("/")[0]) and (not is_link or root.has_target(path))
    if not inside or not stat.S_ISREG(status.st_mode):
        return _NO_FILE
    return _wrong_size(status.st_size, size)


def _wrong_size(actual: int, expected: int | None) -> str | None:
    if expected is None or actual == expected:
        return None
    return f"has {actual:,} bytes, not {expected:,}"
