"""The Arrow memory pool of filters, statistics and exports, and memory that nothing uses."""

from __future__ import annotations

import ctypes
from contextlib import suppress

import pyarrow as pa

#: The C library's allocator. Arrow's own takes pages of 2 MB for each thread and each size of
#: buffer: to hold 10 MB, the tables of an export took 45. Passed to single calls, since another
#: default pool would apply to the whole process.
POOL = pa.system_memory_pool()


def release_unused() -> None:
    """Return the memory that nothing uses to the system, after a pass over many rows.

    The allocators keep what was freed: 400 MB after a pass over 2 million rows of text.
    """
    pa.default_memory_pool().release_unused()
    with suppress(OSError, AttributeError):  # another C library than glibc
        ctypes.CDLL(None).malloc_trim(0)
