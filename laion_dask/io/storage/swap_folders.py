"""Replace one folder with another, atomically if the system supports it."""

from __future__ import annotations

import ctypes
import os
import sys
from contextlib import suppress

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2  # linux/fs.h
_RENAME_SWAP = 2  # sys/stdio.h of macOS


def replace_folder(new: str, target: str, aside: str) -> None:
    """Move a folder to ``target``; a folder already there ends up at ``new`` or ``aside``.

    Atomic on Linux and macOS. If a file system cannot swap two names, ``target`` is briefly
    missing; `restore_folder` repairs the state after a kill at that moment.

    Parameters
    ----------
    new, target, aside : str
        Paths in one file system; ``aside`` does not exist.
    """
    if not os.path.lexists(target):
        os.rename(new, target)
    elif not _swap(new, target):
        os.rename(target, aside)
        try:
            os.rename(new, target)
        except BaseException:
            restore_folder(target, aside)
            raise


def restore_folder(target: str, aside: str) -> None:
    """Move a folder back from ``aside`` unless ``target`` exists."""
    if os.path.lexists(aside) and not os.path.lexists(target):
        with suppress(FileNotFoundError, NotADirectoryError):
            os.rename(aside, target)


def _swap(one: str, other: str) -> bool:
    """Swap two names atomically; False if the system cannot."""
    libc = ctypes.CDLL(None, use_errno=True)
    first, second = os.fsencode(one), os.fsencode(other)
    if sys.platform == "darwin":
        return hasattr(libc, "renamex_np") and libc.renamex_np(first, second, _RENAME_SWAP) == 0
    if not hasattr(libc, "renameat2"):
        return False
    return libc.renameat2(_AT_FDCWD, first, _AT_FDCWD, second, _RENAME_EXCHANGE) == 0


def sync_folder(path: str) -> None:
    """Make the names in a folder durable, if the system supports it."""
    with suppress(OSError):  # some file systems cannot fsync a folder
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
