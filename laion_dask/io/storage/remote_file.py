"""A file in a store that distinguishes failed reads from a damaged file."""

from __future__ import annotations

import io

from laion_dask.errors import ShardError

#: Reads of up to this many bytes never fail because of their length, even if the file is smaller.
_SMALL = 2**20


class StoreFile:
    """A file opened for reading; failed reads raise a ``ShardError`` that names the file.

    Damage is the same on every read; the affected rows are rejected and counted. A failed read,
    such as a timeout, may succeed the next time, so it must end the task; otherwise two runs could
    differ. Archive readers raise ``OSError`` for both, and stores raise exceptions of their own.

    Parameters
    ----------
    file : file object
        The caller closes it.
    path : str
        The name used in errors.
    """

    closed = False
    mode = "rb"

    def __init__(self, file, path: str) -> None:
        self._file, self._path = file, path
        self.tell = file.tell
        try:
            self.size = file.seek(0, io.SEEK_END)
            file.seek(0)
        except Exception as error:
            raise unreadable(path, error) from error

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def read(self, n: int = -1) -> bytes:
        """Read up to ``n`` bytes.

        Raises
        ------
        ShardError
            When the store fails. A read caused by a damaged file, such as one beyond its end,
            raises the store's own error.
        """
        try:
            return self._file.read(n)
        except Exception as error:
            if -1 <= n <= max(self.size, _SMALL):
                raise unreadable(self._path, error) from error
            raise

    def close(self) -> None:
        """Do nothing; the caller closes the file."""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def writable(self) -> bool:
        return False


def unreadable(path: str, error: Exception) -> ShardError:
    """The error for a file whose store fails, or that no longer exists."""
    why = str(error).rstrip(". ") or type(error).__name__
    return ShardError(
        f"{path} cannot be read: {why}. No row of its shard was counted; check the file and its "
        "store, then run again."
    )
