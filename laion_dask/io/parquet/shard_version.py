"""A text that changes whenever a shard's file is written again, also if its footer stays equal.

Footers have sizes and statistics of columns, so that rows in another order may have an equal one.
"""

from __future__ import annotations

import time

from laion_dask.io.parquet import footer_cache
from laion_dask.io.parquet.shard import Shard
from laion_dask.io.storage.local_file import failures, file_system
from laion_dask.io.storage.real_files import Mark, mark_of, store_mark

#: File systems that round times to a second or two may give two versions one time.
_ROUNDED_NS, _SETTLED_NS = 1_000_000_000, 2_500_000_000


def shard_version(shard: Shard) -> str | None:
    """The version of a shard's file: footer and `Mark`. Eager.

    None if the version is unknown: in a store without ETags, or of a file that was written just
    now, on a file system with coarse times.
    """
    mark = _mark(shard)
    if mark is None or not mark.version:
        return None
    is_rounded = bool(mark.changed_ns) and mark.changed_ns % _ROUNDED_NS == 0
    if is_rounded and mark.changed_ns > time.time_ns() - _SETTLED_NS:
        return None
    return f"{shard.footer_sha256} {tuple(mark)!r}"


def _mark(shard: Shard) -> Mark | None:
    """The mark of a local file now, or of another as it was listed."""
    if "://" not in shard.path:
        return mark_of(shard.path)
    if listed := footer_cache.mark_read(shard.path, shard.footer_sha256):
        return listed
    try:
        fs, inner = file_system(shard.path)
    except (ValueError, ImportError):
        return None
    try:
        return store_mark(fs.info(inner))
    except failures(fs):
        return None
