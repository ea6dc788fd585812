"""A digest of what a file contains, from its bytes: the same in a copy, another once rewritten."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import lru_cache

from laion_dask.io.parquet.footer_file import ARROW_ERRORS, damaged
from laion_dask.io.parquet.shard import Shard
from laion_dask.io.parquet.shard_version import shard_version
from laion_dask.io.storage.local_file import open_bytes

#: Bytes of a block, and the most blocks that are read of a file.
BLOCK, MAX_BLOCKS = 1 << 16, 256


def content_digest(shard: Shard, n_blocks: int) -> str:
    """The sha256 of a shard's bytes, 64 hexadecimal digits. Eager.

    Of a file larger than ``n_blocks`` blocks of 64 KiB, that many evenly spaced ones are read: rows
    in another order change nearly all blocks.

    Raises
    ------
    ShardError
        When the file cannot be read.
    """
    version = shard_version(shard)
    if version is None:
        return _read(shard.path, n_blocks)
    return _of_version(shard.path, version, n_blocks)


@lru_cache(maxsize=1 << 14)
def _of_version(path: str, version: str, n_blocks: int) -> str:
    return _read(path, n_blocks)


def _read(path: str, n_blocks: int) -> str:
    try:
        with open_bytes(path) as file:
            size = file.seek(0, 2)
            state = hashlib.sha256(f"{size} {n_blocks}\n".encode())
            for start, length in _blocks(size, n_blocks):
                file.seek(start)
                state.update(file.read(length))
    except ARROW_ERRORS as error:
        raise damaged(path, error) from error
    return state.hexdigest()


def _blocks(size: int, n_blocks: int) -> Iterator[tuple[int, int]]:
    """The start and the length of each block that is read."""
    if size <= n_blocks * BLOCK:
        yield from ((start, min(BLOCK, size - start)) for start in range(0, size, BLOCK))
        return
    for number in range(n_blocks):
        yield (size - BLOCK) * number // max(n_blocks - 1, 1), BLOCK
