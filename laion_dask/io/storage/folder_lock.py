"""A lock on a folder, held by one writing process at a time.

On a local file system this is an advisory lock on the folder, released when its holder exits. In
other file systems it is a file created exclusively. Another process takes the file over if its
owner has exited on the same machine, or has not renewed it for longer than any single step takes.
"""

from __future__ import annotations

import hashlib
import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache

import fsspec
import psutil
from fsspec.implementations.local import LocalFileSystem

from laion_dask.errors import ExportConflictError
from laion_dask.io.storage.local_file import failures

try:
    import fcntl
except ImportError:  # not on Windows, where the lock is a file
    fcntl = None  # type: ignore[assignment]  # mypy has no type for an optional module

#: The name of the lock file.
LOCK_FILE = ".laion_dask-lock"
#: Seconds to wait for a lock, which is held only for a few renames.
_TIMEOUT_S = 60.0
#: Seconds without renewal after which a lock may be taken over.
STALE_S = 900.0
_RENEW_S = 60.0


@dataclass(frozen=True)
class Owner:
    """The identity of a process, unique across machines.

    Attributes
    ----------
    machine : str
        Digest of the host name, the boot id and the process-id namespace.
    pid : int
    started : int
        Milliseconds since 1970.
    """

    machine: str
    pid: int
    started: int

    def __str__(self) -> str:
        return f"{self.machine}-{self.pid}-{self.started}"

    @staticmethod
    def parse(text: str) -> Owner | None:
        """The owner named at the start of a text, or None."""
        match = re.match(r"([0-9a-f]{12})-(\d{1,10})-(\d{1,16})", text)
        return match and Owner(match[1], int(match[2]), int(match[3]))

    def is_local(self) -> bool:
        """Whether the process is, or was, one of this machine since it was started."""
        return self.machine == _machine()

    def has_ended(self) -> bool:
        """Whether the process is known to have exited; False for processes on other machines."""
        if not self.is_local():
            return False
        try:
            return _started(psutil.Process(self.pid)) != self.started
        except (psutil.NoSuchProcess, OverflowError):
            return True
        except psutil.AccessDenied:
            return False


def owner() -> Owner:
    """This process."""
    process = psutil.Process()
    return Owner(_machine(), process.pid, _started(process))


def _started(process: psutil.Process) -> int:
    return round(process.create_time() * 1000)


@cache
def _machine() -> str:
    names = [socket.gethostname()]
    with suppress(OSError):
        with open("/proc/sys/kernel/random/boot_id") as file:
            names.append(file.read().strip())
        names.append(os.readlink("/proc/self/ns/pid"))
    return hashlib.sha256(" ".join(names).encode()).hexdigest()[:12]


def age_s(fs: fsspec.AbstractFileSystem, path: str) -> float:
    """Seconds since a file was written; 0 if its store does not record that."""
    try:
        written = fs.modified(path)
    except NotImplementedError:
        return 0.0
    written = written if written.tzinfo else written.replace(tzinfo=UTC)
    return (datetime.now(UTC) - written).total_seconds()


#: The contents of the lock files that this process holds; others of its own were not removed.
_held: set[bytes] = set()


class FolderLock:
    """Permission to change a folder, valid as long as `renew` does not raise."""

    def renew(self) -> None:
        """Check that the lock is still held, and renew it."""


class _LockFile(FolderLock):
    def __init__(self, fs: fsspec.AbstractFileSystem, folder: str):
        self.fs, self.folder = fs, folder
        self.path = f"{folder}/{LOCK_FILE}"
        self.content = f"{owner()}-{os.urandom(8).hex()} {socket.gethostname()}".encode()
        self.renewed = 0.0

    def acquire(self) -> None:
        _held.add(self.content)
        for _ in range(2):
            with suppress(FileExistsError):
                self._create()
                break
            self._remove_stale()
        self.renewed = time.monotonic()
        self.renew()

    def _create(self) -> None:
        if isinstance(self.fs, LocalFileSystem):
            with open(self.path, "xb") as file:
                file.write(self.content)
        else:
            self.fs.pipe_file(self.path, self.content, mode="create")

    def _remove_stale(self) -> None:
        try:
            content = self.fs.cat_file(self.path)
            other = _owner_of(content)
            ended = other is not None and (
                other.has_ended() or (other == owner() and content not in _held)
            )
            if not ended and age_s(self.fs, self.path) <= STALE_S:
                raise _conflict_error(self.folder, content)
            if self.fs.cat_file(self.path) == content:
                self.fs.rm_file(self.path)
        except FileNotFoundError:
            pass  # its owner has released it

    def renew(self) -> None:
        try:
            content = self.fs.cat_file(self.path)
        except FileNotFoundError:
            content = b""
        if content != self.content:
            raise _conflict_error(self.folder, content)
        if time.monotonic() - self.renewed > _RENEW_S:
            self.fs.pipe_file(self.path, self.content)
            self.renewed = time.monotonic()

    def release(self) -> None:
        _held.discard(self.content)
        with suppress(failures(self.fs)):  # a remaining lock file becomes stale
            if self.fs.cat_file(self.path) == self.content:
                self.fs.rm_file(self.path)


def _owner_of(content: bytes) -> Owner | None:
    return Owner.parse(content.decode(errors="replace"))


def _conflict_error(folder: str, content: bytes) -> ExportConflictError:
    other, host = _owner_of(content), content.decode(errors="replace").partition(" ")[2]
    by = f"process {other.pid} on {host[:80]!r}" if other else "another process"
    return ExportConflictError(
        f"{folder} is being written by {by}. Nothing from this export was made visible. Wait for "
        "the other export, or name another folder."
    )


@contextmanager
def locked(fs: fsspec.AbstractFileSystem, folder: str) -> Iterator[FolderLock]:
    """Hold the lock of a folder.

    Raises
    ------
    ExportConflictError
        When another process holds the lock.
    """
    if isinstance(fs, LocalFileSystem):
        descriptor = _flock(folder)
        if descriptor is not None:
            try:
                yield FolderLock()
            finally:
                os.close(descriptor)
            return
    lock = _LockFile(fs, folder)
    try:
        lock.acquire()
        yield lock
    finally:
        lock.release()


def _flock(folder: str) -> int | None:
    """A file descriptor that holds the folder's lock; None if the file system has no locks."""
    if fcntl is None:
        return None
    descriptor = os.open(folder, os.O_RDONLY)
    deadline = time.monotonic() + _TIMEOUT_S
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return descriptor
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise _conflict_error(folder, b"") from None
                time.sleep(0.02)
            except OSError:
                os.close(descriptor)
                return None
    except BaseException:
        os.close(descriptor)
        raise
