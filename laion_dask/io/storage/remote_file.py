"""A file in a store that may fail; a failed read is distinguished from a damaged file."""

from __future__ import annotations

import io

from laion_dask.errors import ShardError

#: A read of so many bytes cannot fail by its length, even in a file that has fewer.
_SMALL = 2**20


class StoreFile:
    """A file opened for reading, whose failed reads are a ``ShardError`` that names it.

    Damage is the same at every read and costs rows, which are counted. A failed read, such as a
    timeout, may succeed the next time and must end the task, or two runs would differ. Readers of
    archives raise ``OSError`` for both, and stores raise what they like.

    Parameters
    ----------
    file : file object
        Closed by whoever opened it.
    path : str
        As the error names it.
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
        """Bytes from here on.

        Raises
        ------
        ShardError
            When the store fails. What a damaged file asks for, such as more bytes than there are,
            fails as the store says.
        """
        try:
            return self._file.read(n)
        except Exception as error:
            if -1 <= n <= max(self.size, _SMALL):
                raise unreadable(self._path, error) from error
            raise

    def close(self) -> None:
        """Nothing: whoever opened the file closes it."""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def writable(self) -> bool:
        return False


def unreadable(path: str, error: Exception) -> ShardError:
    """The error for a file whose store fails, or that is gone."""
    why = str(error).rstrip(". ") or type(error).__name__
    return ShardError(
        f"{path} cannot be read: {why}. Nothing of its shard was counted; check the file and its "
        "store, then run again."
    )
