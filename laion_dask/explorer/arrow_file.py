"""An Arrow file that is mapped into memory, and whose pages can be released."""

from __future__ import annotations

import mmap
from pathlib import Path

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
        for batch in self.batches:
            batch.validate()

    def release(self) -> None:
        """Release the pages that were read; they are mapped again when they are needed."""
        if hasattr(self._map, "madvise"):
            self._map.madvise(mmap.MADV_DONTNEED)
