"""Replacing one folder by another, atomically where the system supports it."""

from __future__ import annotations

import ctypes
import os
import sys
from contextlib import suppress

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2  # linux/fs.h
_RENAME_SWAP = 2  # sys/stdio.h of macOS


def replace_folder(new: str, place: str, aside: str) -> None:
    """Move a folder to ``place``; what was there is then at ``new`` or ``aside``.

    In one step on Linux and macOS. Where a file system cannot exchange two names, the place is
    empty for a moment; `restore_folder` mends what a kill in that moment leaves.

    Parameters
    ----------
    new, place, aside : str
        In one file system; nothing is at ``aside``.
    """
    if not os.path.lexists(place):
        os.rename(new, place)
    elif not _exchange(new, place):
        os.rename(place, aside)
        try:
            os.rename(new, place)
        except BaseException:
            restore_folder(place, aside)
            raise


def restore_folder(place: str, aside: str) -> None:
    """Move a folder back from ``aside`` unless something else is at ``place``."""
    if os.path.lexists(aside) and not os.path.lexists(place):
        with suppress(FileNotFoundError, NotADirectoryError):
            os.rename(aside, place)


def _exchange(one: str, other: str) -> bool:
    """Exchange two names; False where the system cannot."""
    libc = ctypes.CDLL(None, use_errno=True)
    one, other = os.fsencode(one), os.fsencode(other)
    if sys.platform == "darwin":
        return hasattr(libc, "renamex_np") and libc.renamex_np(one, other, _RENAME_SWAP) == 0
    if not hasattr(libc, "renameat2"):
        return False
    return libc.renameat2(_AT_FDCWD, one, _AT_FDCWD, other, _RENAME_EXCHANGE) == 0


def sync_folder(path: str) -> None:
    """Make the names in a folder durable, where the system can."""
    with suppress(OSError):  # some file systems know no fsync of a folder
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
