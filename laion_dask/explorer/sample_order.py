"""The order of a sample's rows by a column, computed once and kept with the sample."""

from __future__ import annotations

import secrets
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def order_of(column: pa.ChunkedArray, descending: bool) -> np.ndarray:
    """Positions by value, (n,) uint32; null and NaN last, equal values in their order.

    Texts are ordered by their code points.
    """
    how = "descending" if descending else "ascending"
    table = pa.table({"value": column})
    found = pc.sort_indices(table, [("value", how)])  # a stable sort, nulls last
    return np.asarray(found.to_numpy().astype(np.uint32))


def stored(path: Path, make: Callable[[], np.ndarray]) -> np.ndarray:
    """A memory-mapped array; computed and written if its file is missing or damaged. Eager.

    In memory, if the file cannot be written.
    """
    with suppress(OSError, ValueError, EOFError):
        if _is_undamaged(path):
            return np.load(path, mmap_mode="r")
    found = make()
    partial = path.with_name(f".{path.stem}.{secrets.token_hex(4)}.npy")
    try:
        np.save(partial, found)
        with open(partial, "r+b") as file:
            checksum = zlib.crc32(file.read())
            file.write(checksum.to_bytes(4, "little"))
        partial.replace(path)
        return np.load(path, mmap_mode="r")
    except OSError:
        partial.unlink(missing_ok=True)
        return found


def _is_undamaged(path: Path) -> bool:
    """Whether the last four bytes of a file are the CRC-32 of all others."""
    content = np.memmap(path, np.uint8, "r")
    return zlib.crc32(content[:-4].data) == int.from_bytes(content[-4:].tobytes(), "little")
