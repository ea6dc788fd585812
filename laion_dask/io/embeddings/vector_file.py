"""The interface of a file of vectors, as the readers of its formats need it."""

from __future__ import annotations

from typing import Protocol


class VectorFile(Protocol):
    """A file of vectors as described by its header; hashable.

    Attributes
    ----------
    path : str
    field : str or None
        The array, tensor or column in the file; None if the file has only one array.
    n_rows, dim : int
    dtype : str
    offset : int or None
        Byte offset of the uncompressed data; None if it must be unpacked.
    """

    @property
    def path(self) -> str: ...
    @property
    def field(self) -> str | None: ...
    @property
    def n_rows(self) -> int: ...
    @property
    def dim(self) -> int: ...
    @property
    def dtype(self) -> str: ...
    @property
    def offset(self) -> int | None: ...
