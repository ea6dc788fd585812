"""Replace a small file in an object store only if nobody else has changed it; never guess a result.

A request whose answer was lost may have taken effect, or may still do so. Here the file is then
read again: if it has the new content, the request succeeded; if it has the old one, the request is
repeated under the same condition, which cannot take effect twice.

Amazon S3, and most stores that speak its protocol, check the condition (``If-None-Match``
and ``If-Match``, see "Conditional writes" in the S3 user guide); `checks_conditions` finds out. In
other stores the caller holds the folder's lock.
"""

from __future__ import annotations

import errno
import time

import fsspec

from laion_dask.io.storage.local_file import failures

#: Number of attempts at a request whose result is unknown.
_ATTEMPTS = 3
_PAUSE_S = 0.05


class ChangedError(Exception):
    """Another process has changed the file."""


class UnknownResultError(Exception):
    """It is not known whether the new content is, or will be, visible."""


def speaks_s3(fs: fsspec.AbstractFileSystem) -> bool:
    """Whether a file system is s3fs, whose ``pipe_file`` passes conditions to the store."""
    protocols = (fs.protocol,) if isinstance(fs.protocol, str) else fs.protocol
    return "s3" in protocols and hasattr(fs, "_call_s3")


def checks_conditions(fs: fsspec.AbstractFileSystem, path: str) -> bool:
    """Whether the store refuses to replace an existing file under either condition.

    Parameters
    ----------
    fs : file system
    path : str
        A file of this process that exists.
    """
    if not speaks_s3(fs):
        return False
    for condition in ({"mode": "create"}, {"IfMatch": '"0"'}):
        try:
            fs.pipe_file(path, fs.cat_file(path), **condition)
            return False
        except Exception as error:
            if not _is_refused(error):
                return False
    return True


def _is_refused(error: BaseException) -> bool:
    """Whether a store answered that the condition does not hold."""
    response = getattr(error.__cause__, "response", None) or {}
    code = str(response.get("Error", {}).get("Code", ""))
    return isinstance(error, FileExistsError) or code in ("PreconditionFailed", "412")


def content_of(fs: fsspec.AbstractFileSystem, path: str) -> bytes | None:
    """The content of a file; None if it does not exist."""
    fs.invalidate_cache()
    try:
        content: bytes = fs.cat_file(path)
    except FileNotFoundError:
        return None
    return content


def replace_unchanged(
    fs: fsspec.AbstractFileSystem,
    path: str,
    content: bytes,
    before: bytes | None,
    *,
    conditional: bool,
) -> None:
    """Write a file if it still has the content ``before``.

    Parameters
    ----------
    fs : file system
    path : str
    content : bytes
        Differs from every other content that the file can have.
    before : bytes or None
        None if the file did not exist.
    conditional : bool
        Whether the store checks the condition, see `checks_conditions`.

    Raises
    ------
    ChangedError
        When the file has another content; nothing was written.
    UnknownResultError
        When the store's answers were lost repeatedly.
    Exception
        The store's own, when it refused; nothing was written.
    """
    for attempt in range(_ATTEMPTS):
        try:
            condition = _condition(fs, path, before) if conditional else {}
            if content_of(fs, path) not in (before, content):
                raise ChangedError
            fs.pipe_file(path, content, **condition)
            return
        except ChangedError:
            raise
        except Exception as error:
            if _has(fs, path, content, error):
                return
            if _is_refused(error):
                raise ChangedError from error
            if isinstance(error, OSError) and not _is_lost(error):
                raise
            if attempt == _ATTEMPTS - 1:
                raise UnknownResultError(str(error)) from error
            time.sleep(_PAUSE_S * (attempt + 1))


def _condition(fs: fsspec.AbstractFileSystem, path: str, before: bytes | None) -> dict[str, str]:
    """The condition under which the store may write; the content is read after its tag."""
    if before is None:
        return {"mode": "create"}
    fs.invalidate_cache()
    return {"IfMatch": fs.info(path)["ETag"]}


def _has(fs: fsspec.AbstractFileSystem, path: str, content: bytes, cause: Exception) -> bool:
    """Whether a file has the content; raises `UnknownResultError` if that cannot be found out."""
    for attempt in range(_ATTEMPTS):
        try:
            return content_of(fs, path) == content
        except failures(fs) as error:
            if attempt == _ATTEMPTS - 1:
                raise UnknownResultError(str(error)) from cause
    return False


def _is_lost(error: OSError) -> bool:
    """Whether the request may have taken effect, although it was answered by an error."""
    # s3fs: "500", and "409" and "503", which a store answers when requests meet
    repeatable = {errno.EBUSY, getattr(errno, "EREMOTEIO", errno.EBUSY)}
    return isinstance(error, (TimeoutError, ConnectionError)) or error.errno in repeatable
