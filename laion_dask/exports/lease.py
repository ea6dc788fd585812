"""The right to write to a staging folder: a numbered sequence of records, each created exclusively.

A running export adds a record every minute. An export on another machine that finds no new file for
`ABANDONED_S` takes the folder over by creating the next record; of two that try, one succeeds. An
export whose next record is another's has lost the folder: it neither commits nor removes anything.
Clocks decide only when a folder is taken over, never whose parts become visible.
"""

from __future__ import annotations

import re
import threading
import uuid
from contextlib import suppress

import fsspec

from laion_dask.errors import ExportConflictError
from laion_dask.exports.state import names_in
from laion_dask.io.storage.create_once import create_once
from laion_dask.io.storage.folder_lock import Owner, age_s, owner
from laion_dask.io.storage.local_file import failures

#: Seconds between two records of a running export.
BEAT_S = 60.0
#: Seconds without a new file after which the export of another machine is considered killed.
ABANDONED_S = 900.0
#: Prefix of the records.
CLAIM = "claim-"
_RELEASED = "released"


class Lease:
    """The lease of one export on its staging folder.

    Attributes
    ----------
    is_lost : bool
        Whether another export has taken the folder over, as far as is known.
    """

    def __init__(self, fs: fsspec.AbstractFileSystem, staging: str) -> None:
        self.fs, self.staging = fs, staging
        self.is_lost = False
        self._token = f"{owner()}-{uuid.uuid4().hex[:8]}".encode()
        self._next = 0
        self._ended = threading.Event()
        self._lock = threading.RLock()

    def take_over(self) -> bool:
        """Create the record after the last one; False if another process has."""
        numbers = _numbers(self.fs, self.staging)
        self._next = max(numbers, default=-1) + 1
        try:
            return self.renew()
        except failures(self.fs):
            return False

    def renew(self) -> bool:
        """Create the next record; False if it is another's.

        Raises
        ------
        OSError, or an exception of the store
            When it is not known whose the record is; the next call finds out.
        """
        with self._lock:
            if not self.is_lost:
                path = f"{self.staging}/{CLAIM}{self._next:06d}"
                self.is_lost = create_once(self.fs, path, self._token) != self._token
            if self.is_lost:
                return False
            self._next += 1
        with suppress(failures(self.fs)):
            if self._next > 2:
                self.fs.rm_file(f"{self.staging}/{CLAIM}{self._next - 3:06d}")
        return True

    def start(self) -> None:
        """Renew the lease until it ends, in a thread."""
        threading.Thread(target=self._beat, name="laion-dask-lease", daemon=True).start()

    def _beat(self) -> None:
        while not self._ended.wait(BEAT_S) and not self.is_lost:
            with self._lock, suppress(failures(self.fs)):  # the next one may succeed
                if not self._ended.is_set():
                    self.renew()

    def end(self) -> None:
        """Stop renewing the lease; no record is created once this returns."""
        with self._lock:
            self._ended.set()

    def look(self) -> bool:
        """Whether the lease is still held, as far as can be read; creates nothing."""
        with suppress(failures(self.fs)):
            numbers = _numbers(self.fs, self.staging)
            if max(numbers, default=-1) >= self._next:
                self.is_lost |= _last(self.fs, self.staging).encode() != self._token
        return not self.is_lost

    def check(self, path: str) -> None:
        """Raise if another export has taken the folder over; ``path`` is the export's.

        Raises
        ------
        ExportConflictError
        """
        if not self.renew():
            raise ExportConflictError(
                f"{path}: another export has taken over what this one had written, after it had "
                "written nothing for a while or was released. Nothing from this export was made "
                "visible. Wait for the other export."
            )


def _numbers(fs: fsspec.AbstractFileSystem, staging: str) -> list[int]:
    found = (re.fullmatch(CLAIM + r"(\d{6})", name) for name in names_in(fs, staging))
    return sorted(int(match[1]) for match in found if match)


def is_abandoned(fs: fsspec.AbstractFileSystem, staging: str, first: Owner | None) -> bool:
    """Whether the process that writes to a staging folder has ended, or has released it.

    Parameters
    ----------
    fs : file system
    staging : str
    first : Owner or None
        The process that made the folder, if its name tells.
    """
    fs.invalidate_cache()
    last = _last(fs, staging)
    if last.startswith(_RELEASED):
        return True
    writer = Owner.parse(last) or first
    if writer is not None and writer.is_local():
        return writer.has_ended() or writer == owner()
    files = fs.find(staging) or [staging]
    return min(age_s(fs, file) for file in files) > ABANDONED_S


def _last(fs: fsspec.AbstractFileSystem, staging: str) -> str:
    """The content of the last record, or an empty string if there is no record."""
    for number in reversed(_numbers(fs, staging)):
        with suppress(failures(fs)):
            return str(fs.cat_file(f"{staging}/{CLAIM}{number:06d}").decode(errors="replace"))
    return ""


def release(fs: fsspec.AbstractFileSystem, staging: str) -> bool:
    """Let the next export take a staging folder over now; the one that has it stops.

    Returns
    -------
    bool
        False if another process was faster to create a record.
    """
    content = f"{_RELEASED} by {owner()}-{uuid.uuid4().hex[:8]}".encode()
    number = max(_numbers(fs, staging), default=-1) + 1
    return create_once(fs, f"{staging}/{CLAIM}{number:06d}", content) == content
