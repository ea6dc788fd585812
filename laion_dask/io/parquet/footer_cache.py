"""Remember the footers of files that have not changed since they were read, in this process.

A file is recognized by its path and its `Mark`: the size, device, inode and times of a local file,
or the size and ETag of a file in a store. Reading rows compares the footer's digest in any case.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping

from laion_dask.io.parquet.parsed_footer import Footer
from laion_dask.io.storage.real_files import Mark, mark_of

#: Memory of all remembered footers in bytes: about a million files of one row group.
_MAX_BYTES = 1 << 29
#: Estimated bytes of a footer without its path and row groups, and of one row group.
_ENTRY, _GROUP = 520, 40
#: A local file that changed so recently may change again without changing its mark, since file
#: systems round times, some to two seconds.
_SETTLED_NS = 2_500_000_000

_lock = threading.Lock()
_entries: dict[str, tuple[Mark, Footer]] = {}
_n_bytes = 0


def recall(path: str, marks: Mapping[str, Mark]) -> Footer | None:
    """The footer of a file if it has been read, and the file is unchanged.

    Parameters
    ----------
    path : str
    marks : mapping of str to Mark
        The marks of files just listed; a local file that is not among them is examined now.
    """
    entry = _entries.get(path)
    if entry is None:
        return None
    mark = marks.get(path) or mark_of(path)
    return entry[1] if entry[0] == mark else None


def remember(footer: Footer, mark: Mark | None, read_ns: int | None = None) -> None:
    """Remember a footer, unless the file has no mark or changed just before it was read.

    Parameters
    ----------
    footer : Footer
    mark : Mark or None
        As it was before the footer was read.
    read_ns : int, optional
        The time before the footer was read, in nanoseconds since 1970; now by default.
    """
    global _n_bytes
    now = time.time_ns() if read_ns is None else read_ns
    if mark is None or not mark.version or mark.size != footer.size:
        return
    if mark.changed_ns > now - _SETTLED_NS:
        return
    with _lock:
        _n_bytes += _size(footer) - _forget(footer.path)
        _entries[footer.path] = mark, footer
        while _n_bytes > _MAX_BYTES:  # the entries that were written first
            _n_bytes -= _forget(next(iter(_entries)))


def mark_read(path: str, footer_sha256: str) -> Mark | None:
    """The mark of the file whose footer is remembered; None if that is not the given footer."""
    entry = _entries.get(path)
    return entry[0] if entry is not None and entry[1].sha256 == footer_sha256 else None


def clear() -> None:
    """Forget all footers."""
    global _n_bytes
    with _lock:
        _entries.clear()
        _n_bytes = 0


def _forget(path: str) -> int:
    """Remove an entry; return its size."""
    entry = _entries.pop(path, None)
    return 0 if entry is None else _size(entry[1])


def _size(footer: Footer) -> int:
    n_groups = len(footer.row_groups)
    return _ENTRY + len(footer.path) + (_GROUP * n_groups if n_groups > 1 else 0)
