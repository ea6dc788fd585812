"""The identity of a file of embeddings: its shape, size, and a digest that scales to 9 TB.

The digest is a sha256 over the facts in the header (field, rows, dimensions, dtype, bytes) and

- over every byte of the file, if it has at most 256 MiB and all files up to that size have at most
  4 GiB together (`full_hash_limit`);
- otherwise over 16 blocks of 96 KiB, spread evenly over its bytes and including the first and the
  last, together as large as 1,024 rows of 768 float16 numbers; and, for Parquet, over the whole
  footer, which has the place, size and statistics of every page. The last block includes the
  directory of an ``.npz``, with a checksum of every member, if it has at most 96 KiB.

So the digest can miss a change within a file that is not hashed whole, if the change keeps the size
and the Parquet footer, and touches none of the blocks. A digest is computed once per process while
the file's state (size and modification time, or the store's equivalent) is unchanged: a change that
also keeps the state is only seen by the next process.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby, repeat
from pathlib import PurePosixPath

import numpy as np

from laion_dask.errors import EmbeddingsError, PairingError
from laion_dask.io.embeddings.file import EmbeddingFile
from laion_dask.io.embeddings.file_state import DAMAGED, state_of, storage_format
from laion_dask.io.parquet.footer import read_footer
from laion_dask.io.storage.local_file import open_bytes
from laion_dask.runtime.process_cache import ProcessCache

#: Maximum bytes of a file that is hashed as a whole, and of all such files together.
WHOLE_BYTES, ALL_BYTES = 2**28, 2**32

#: The number and size of the blocks that are hashed in other files.
N_BLOCKS, BLOCK_BYTES = 16, 96 * 1024

#: The fields of an identity, and their names in a message about a difference.
FACTS = {"rows": "rows", "dim": "dimensions", "dtype": "dtype", "bytes": "bytes", "sha256": "rows"}
_THREADS = 16

_known = ProcessCache()


def full_hash_limit(sizes: Iterable[int]) -> int:
    """The size in bytes up to which files of an index are hashed whole.

    It depends only on the sizes, so it is the same when the index is built and when it is compared.
    """
    limit = total = 0
    for size, same in groupby(sorted(size for size in sizes if size <= WHOLE_BYTES)):
        total += sum(same)
        if total > ALL_BYTES:
            break
        limit = size
    return limit


def identity(file: EmbeddingFile, limit: int) -> dict:
    """The identity of a file, as numbers and strings. Eager; computed once per process.

    Parameters
    ----------
    file : EmbeddingFile
    limit : int
        The size in bytes up to which it is hashed whole.

    Returns
    -------
    dict
        ``name`` (without its folder, which may move), ``field``, ``rows``, ``dim``, ``dtype``,
        ``bytes``, ``sha256``.

    Raises
    ------
    EmbeddingsError
        When the file has changed since it was opened.
    """
    is_hashed_whole = file.size <= limit
    try:
        return _known.get(
            (file, state_of(file.path), is_hashed_whole), lambda: _identity(file, is_hashed_whole)
        )
    except DAMAGED as error:
        if isinstance(error, EmbeddingsError):
            raise
        raise EmbeddingsError(
            f"{file.path} has changed or can no longer be read: {error}. Open it again."
        ) from error


def identities(files: Sequence[EmbeddingFile], limit: int) -> list[dict]:
    """The identities of several files, in order."""
    with ThreadPoolExecutor(min(_THREADS, len(files))) as pool:
        return list(pool.map(identity, files, repeat(limit)))


def _identity(file: EmbeddingFile, is_hashed_whole: bool) -> dict:
    facts = {
        "name": PurePosixPath(file.path).name,
        "field": file.field,
        "rows": file.n_rows,
        "dim": file.dim,
        "dtype": file.dtype,
        "bytes": file.size,
    }
    digest = hashlib.sha256(json.dumps([*facts.values(), is_hashed_whole][1:]).encode())
    with open_bytes(file.path) as source:
        if is_hashed_whole:
            # Every file that is opened has readinto, which IO does not declare.
            hashlib.file_digest(source, lambda: digest)  # type: ignore[arg-type]
        else:
            _add_blocks(digest, source, file.size)
        size = source.seek(0, 2)
    if size != file.size:
        raise ValueError(f"it has {size:,} bytes, but had {file.size:,} when it was opened")
    if storage_format(file.path) == "parquet" and not is_hashed_whole:
        digest.update(read_footer(file.path).sha256.encode())
    return {**facts, "sha256": digest.hexdigest()}


def _add_blocks(digest, source, size: int) -> None:
    last = max(0, size - BLOCK_BYTES)
    for start in np.unique(np.linspace(0, last, N_BLOCKS, dtype=np.int64)).tolist():
        source.seek(start)
        digest.update(source.read(BLOCK_BYTES))


def order(expected: Sequence[dict], files: Sequence[EmbeddingFile]) -> np.ndarray:
    """The position of each file of an index among these files, (len(expected),) int32. Eager.

    Files with the same name and digest are matched in order.

    Raises
    ------
    PairingError
        Names the first file that is missing, differs, or is not in the index.
    """
    actual = identities(files, full_hash_limit(entry["bytes"] for entry in expected))
    by_identity = defaultdict(list)
    for number in reversed(range(len(actual))):
        by_identity[_key(actual[number])].append(number)
    positions = []
    for entry in expected:
        same = by_identity[_key(entry)]
        if not same:
            raise _missing(entry, actual)
        positions.append(same.pop())
    if len(actual) > len(expected):
        extra = files[min(set(range(len(actual))) - set(positions))]
        raise PairingError(
            f"{extra.path} ({extra.n_rows:,} rows) is not among the {len(expected)} files that the "
            "index was built from. Open the embeddings of the index, or build a new index."
        )
    return np.array(positions, dtype=np.int32)


def _key(entry: dict) -> tuple:
    return entry["name"], entry["field"], entry["sha256"]


def _missing(entry: dict, actual: Sequence[dict]) -> PairingError:
    name = entry["name"]
    candidates = [f for f in actual if f["name"] == name]
    remedy = "Open the embeddings that the index was built from, or build a new index."
    if not candidates:
        return PairingError(
            f"The index was built from {name} ({entry['rows']:,} rows), which is not among these "
            f"{len(actual)} files. {remedy}"
        )
    fact = next((fact for fact in FACTS if candidates[0][fact] != entry[fact]), "sha256")
    expected, current = entry[fact], candidates[0][fact]
    difference = f"had {expected} {FACTS[fact]}, but has {current} now"
    if fact == "sha256":
        difference = (
            f"holds different {FACTS[fact]} now (digest {current[:12]}…, was {expected[:12]}…)"
        )
    return PairingError(
        f"{name} is not the file that the index was built from: it {difference}. {remedy}"
    )
