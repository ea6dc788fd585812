"""An Arrow file that is mapped into memory, and whose pages can be released."""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa


class ArrowFile:
    """An Arrow file of record batches, memory-mapped and read-only.

    The system maps 64 KB around every value that is read, so that in time the whole file counts as
    memory of the process; `release` ends that.

    Attributes
    ----------
    schema : Arrow schema
    batches : list of Arrow record batches
    """

    def __init__(self, path: Path) -> None:
        with open(path, "rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        reader = pa.ipc.open_file(pa.BufferReader(pa.py_buffer(self._map)))
        self.schema: pa.Schema = reader.schema
        self.batches = [reader.get_batch(n) for n in range(reader.num_record_batches)]

    def release(self) -> None:
        """Release the pages that were read; they are mapped again when they are needed."""
        if hasattr(self._map, "madvise"):
            self._map.madvise(mmap.MADV_DONTNEED)


def take(files: Sequence[ArrowFile], positions: np.ndarray, names: Sequence[str]) -> pa.Table:
    """Rows of some columns by their positions in all batches, one file after the other.

    Parameters
    ----------
    files : sequence of ArrowFile
        Each is released after its rows were read.
    positions : (n,) int64 array
        At least one, in any order.
    names : sequence of str
    """
    batches = [(file, batch) for file in files for batch in file.batches]
    starts = np.cumsum([0, *(len(batch) for _, batch in batches)])
    by_batch = np.argsort(positions, kind="stable")
    ordered = positions[by_batch]
    of_batch = np.searchsorted(starts, ordered, side="right") - 1
    found = []
    for number in np.unique(of_batch).tolist():
        file, batch = batches[number]
        own = pa.array(ordered[of_batch == number] - starts[number])
        found.append(batch.select(names).take(own))
        file.release()
    return pa.Table.from_batches(found).take(pa.array(np.argsort(by_batch, kind="stable")))
