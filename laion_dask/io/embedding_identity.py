"""By what a file of embeddings is known again: its shape, its size, and a digest that 9 TB can pay.

The digest is a sha256 over what the header says and over up to 64 rows, drawn evenly with the
first and the last among them. It misses a change that keeps the file's size and touches none of
those rows. Two kinds of file are told by more: an ``.npz`` by the checksum that its directory has
of the whole member, a Parquet file by its footer, which has the place and size of every page; of
its rows, those of the first row group count, since a row group is unpacked as a whole.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePosixPath

import fsspec
import numpy as np

from laion_dask.errors import EmbeddingsError, PairingError
from laion_dask.io.embedding_files import DAMAGED, EmbeddingFile, state_of
from laion_dask.io.footer import read_footer
from laion_dask.models.process_cache import ProcessCache

#: Rows of a file that its digest covers.
N_ROWS = 64

#: What an identity says, with the words for a difference.
FACTS = {"rows": "rows", "dim": "dimensions", "dtype": "dtype", "bytes": "bytes", "sha256": "rows"}
_THREADS = 16

_known = ProcessCache()


def identity(file: EmbeddingFile) -> dict:
    """What tells a file from others, in numbers and strings. Eager; once a process.

    Returns
    -------
    dict
        ``name`` (without its folder, which may move), ``field``, ``rows``, ``dim``, ``dtype``,
        ``bytes``, ``sha256``.

    Raises
    ------
    EmbeddingsError
        When the file is not as it was when it was opened.
    """
    try:
        return _known.get((file, state_of(file.path)), lambda: _identity(file))
    except DAMAGED as error:
        if isinstance(error, EmbeddingsError):
            raise
        raise EmbeddingsError(
            f"{file.path} can no longer be read as when it was opened: {error}. Open it again."
        ) from error


def identities(files: Sequence[EmbeddingFile]) -> list[dict]:
    """The identities of many files, in order."""
    with ThreadPoolExecutor(min(_THREADS, len(files))) as pool:
        return list(pool.map(identity, files))


def _identity(file: EmbeddingFile) -> dict:
    facts = {
        "name": PurePosixPath(file.path).name,
        "field": file.field,
        "rows": file.n_rows,
        "dim": file.dim,
        "dtype": file.dtype,
        "bytes": file.size,
    }
    digest = hashlib.sha256(json.dumps([*facts.values()][1:]).encode())
    last = file.n_rows - 1
    if file.path.endswith(".parquet"):
        footer = read_footer(file.path)
        digest.update(footer.sha256.encode())
        last = footer.row_groups[0] - 1 if footer.row_groups else -1
    elif file.path.endswith(".npz"):
        digest.update(_checksum(file).to_bytes(4, "little"))
    if last >= 0:
        digest.update(file.read(np.unique(np.linspace(0, last, N_ROWS, dtype=np.int64))).tobytes())
    return {**facts, "sha256": digest.hexdigest()}


def _checksum(file: EmbeddingFile) -> int:
    """The CRC-32 of a whole member, as the archive's directory has it."""
    with fsspec.open(file.path, "rb") as source, zipfile.ZipFile(source) as archive:
        name = f"{file.field}.npy"
        return archive.getinfo(name if name in archive.namelist() else file.field).CRC


def order(expected: Sequence[dict], files: Sequence[EmbeddingFile]) -> np.ndarray:
    """Where each file of an index is among these files, (len(expected),) int32. Eager.

    Files that are alike in name and digest are taken in the order in which they come.

    Raises
    ------
    PairingError
        Naming the first file that is missing, differs, or is one too many.
    """
    found = identities(files)
    by_identity = defaultdict(list)
    for number in reversed(range(len(found))):
        by_identity[_key(found[number])].append(number)
    places = []
    for entry in expected:
        same = by_identity[_key(entry)]
        if not same:
            raise _missing(entry, found)
        places.append(same.pop())
    if len(found) > len(expected):
        extra = files[min(set(range(len(found))) - set(places))]
        raise PairingError(
            f"{extra.path} ({extra.n_rows:,} rows) is not among the {len(expected)} files that the "
            "index was built of. Open the embeddings of the index, or build an index of these."
        )
    return np.array(places, dtype=np.int32)


def _key(entry: dict) -> tuple:
    return entry["name"], entry["field"], entry["sha256"]


def _missing(entry: dict, found: Sequence[dict]) -> PairingError:
    name = entry["name"]
    named = [f for f in found if f["name"] == name]
    remedy = "Open the embeddings that the index was built of, or build an index of these."
    if not named:
        return PairingError(
            f"The index was built of {name} ({entry['rows']:,} rows), which is not among these "
            f"{len(found)} files. {remedy}"
        )
    fact = next((fact for fact in FACTS if named[0][fact] != entry[fact]), "sha256")
    was, now = entry[fact], named[0][fact]
    what = f"had {was} {FACTS[fact]} then, and has {now} now"
    if fact == "sha256":
        what = f"holds other {FACTS[fact]} now (digest {now[:12]}…, then {was[:12]}…)"
    return PairingError(f"{name} is not the file that the index was built of: it {what}. {remedy}")
