"""Files of an IVF-PQ index: inverted lists, and the trained centroids and codebooks."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from typing import Any

from laion_dask.retrieval.index.ivf_pq import require_faiss


def write_lists(group, path: str | PathLike) -> None:
    """Write the inverted lists of a group."""
    faiss = require_faiss()
    with _write_errors():
        writer = faiss.FileIOWriter(str(path))
        faiss.write_InvertedLists(group.invlists, writer)
    del writer  # closes the file


def read_lists(path: str | PathLike, trained) -> Any:
    """The inverted lists of a file, memory-mapped: read as they are searched.

    Raises
    ------
    ValueError, RuntimeError
        When the lists do not belong to ``trained``.
    """
    faiss = require_faiss()
    reader = faiss.FileIOReader(str(path))
    lists = faiss.read_InvertedLists(reader, faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY)
    if (lists.nlist, lists.code_size) != (trained.nlist, trained.code_size):
        raise ValueError(f"it has {lists.nlist} lists of {lists.code_size} bytes a row")
    return lists


def write_trained(trained, path: str | PathLike) -> None:
    """Write the empty index.

    Raises
    ------
    OSError
        When the file cannot be written.
    """
    with _write_errors():
        require_faiss().write_index(trained, str(path))


@contextmanager
def _write_errors() -> Iterator[None]:
    """Turn the RuntimeError of a failed write in faiss into an ``OSError``."""
    try:
        yield
    except RuntimeError as error:
        failed = re.search(
            r"(?:write error in .* \((.*)\)|could not open .* for writing: (.*))$", str(error)
        )
        if failed is None:
            raise
        raise OSError(errno.EIO, failed[1] or failed[2]) from error


def read_trained(path: str | PathLike) -> Any:
    """Read an empty index.

    Raises
    ------
    ValueError, RuntimeError
        When the file is not an index of this kind.
    """
    faiss = require_faiss()
    index = faiss.read_index(str(path))
    if not isinstance(index, faiss.IndexIVFPQ) or index.quantizer.ntotal != index.nlist:
        raise ValueError(f"it holds {type(index).__name__}, not IndexIVFPQ")
    return index
