"""The order of a sample's rows by a column, computed once and kept with the sample."""

from __future__ import annotations

import secrets
from collections.abc import Callable
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


def stored(path: Path, n: int, make: Callable[[], np.ndarray]) -> np.ndarray:
    """An order of n rows, memory-mapped; computed and written if its file is missing. Eager.

    Also if it is damaged. In memory, if the file cannot be written.
    """
    try:
        found = np.load(path, mmap_mode="r")
        if _is_order(found, n):
            return found
    except (OSError, ValueError, EOFError):
        pass
    found = make()
    partial = path.with_name(f".{path.stem}.{secrets.token_hex(4)}.npy")
    try:
        np.save(partial, found)
        partial.replace(path)
        return np.load(path, mmap_mode="r")
    except OSError:
        partial.unlink(missing_ok=True)
        return found


def _is_order(found: np.ndarray, n: int) -> bool:
    """Whether an array has each of n positions once."""
    if found.shape != (n,) or found.dtype != np.uint32 or found.max(initial=0) >= max(n, 1):
        return False
    seen = np.zeros(n, bool)
    seen[found] = True
    return bool(seen.all())
