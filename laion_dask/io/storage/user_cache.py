"""The user's cache folder."""

from __future__ import annotations

import os
import stat
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path

from laion_dask.errors import ExportError


def user_cache(name: str = "") -> Path:
    """``laion_dask/NAME`` in ``XDG_CACHE_HOME``, or in ``~/.cache``; it may not exist yet.

    Without a home folder, as in some containers, it is in the folder of temporary files.
    """
    base = os.environ.get("XDG_CACHE_HOME")
    if base:
        return Path(os.path.expanduser(base)) / "laion_dask" / name
    try:
        return Path.home() / ".cache" / "laion_dask" / name
    except RuntimeError:
        return _temporary() / name


def not_kept(what: str, error: OSError, *, hint: str = "") -> ExportError:
    """The error that something cannot be written to the user's cache folder.

    Parameters
    ----------
    what : str
        Such as ``"The projection"``.
    error : OSError
    hint : str
        What else can be done, as a part of the last sentence.
    """
    return ExportError(
        f"{what} cannot be kept: {error.strerror or error}. Expected a cache folder that can be "
        f"written. Name one with the environment variable XDG_CACHE_HOME{hint}."
    )


def _temporary() -> Path:
    """A temporary folder that nobody else can read or write, the same in later processes."""
    user = os.getuid() if hasattr(os, "getuid") else "user"
    folder = Path(tempfile.gettempdir()) / f"laion_dask-{user}"
    with suppress(OSError):  # it exists
        folder.mkdir(mode=0o700)
    with suppress(OSError):
        state = folder.lstat()
        if stat.S_ISDIR(state.st_mode) and state.st_uid == user and not state.st_mode & 0o077:
            return folder
    return _of_this_process()  # another user has taken the name


@cache
def _of_this_process() -> Path:
    return Path(tempfile.mkdtemp(prefix="laion_dask-"))
