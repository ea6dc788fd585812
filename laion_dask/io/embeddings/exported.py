"""Embeddings of a part of an export, read from the embeddings of its rows' source shards.

The columns ``shard`` and ``row`` of a part give the origin of each row; the recipe of the export
maps the shard number to a file, and so to a file of embeddings.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from laion_dask.errors import PairingError
from laion_dask.io.embeddings.file import EmbeddingFile
from laion_dask.io.embeddings.row_origins import Origins, origins_of, shard_range
from laion_dask.io.embeddings.row_positions import positions
from laion_dask.numerics.dot_products import scales


@dataclass(frozen=True)
class SourceFiles:
    """The embedding files of an export's source, by shard number.

    Attributes
    ----------
    token : str
        A key that distinguishes them from others; comparisons use only this key.
    numbers : tuple of int
        Ascending.
    files : tuple of EmbeddingFile or ExportedEmbeddings
        The source may itself be an export.
    is_mapped, is_packed, is_alike : bool
        Whether all are memory-mapped, whether any is packed, and whether all have the same dtype.
    """

    token: str
    numbers: tuple[int, ...] = field(compare=False)
    files: tuple[EmbeddingFile | ExportedEmbeddings, ...] = field(compare=False)
    is_mapped: bool = field(compare=False)
    is_packed: bool = field(compare=False)
    is_alike: bool = field(compare=False)

    @classmethod
    def of(cls, by_number: dict[int, EmbeddingFile | ExportedEmbeddings]) -> SourceFiles:
        numbers = tuple(sorted(by_number))
        files = tuple(by_number[number] for number in numbers)
        description = repr([(n, f.token) for n, f in zip(numbers, files, strict=True)])
        digest = hashlib.sha256(description.encode("utf-8", "surrogateescape")).hexdigest()
        mapped, packed = all(f.is_mapped for f in files), any(f.is_packed for f in files)
        return cls(digest, numbers, files, mapped, packed, len({f.dtype for f in files}) < 2)

    def between(self, low: int, high: int) -> tuple[EmbeddingFile | ExportedEmbeddings, ...]:
        """The files of the shards from ``low`` to ``high``, both included."""
        return self.files[bisect_left(self.numbers, low) : bisect_right(self.numbers, high)]

    def __getitem__(self, number: int) -> EmbeddingFile | ExportedEmbeddings:
        at = bisect_left(self.numbers, number)
        if self.numbers[at : at + 1] != (number,):
            raise KeyError(number)
        return self.files[at]


@dataclass(frozen=True)
class ExportedEmbeddings:
    """Vectors of the rows of a part, with the interface of an `EmbeddingFile`. Picklable.

    Attributes
    ----------
    path : str
        Path of the part.
    footer_sha256 : str
    n_rows, dim : int
    dtype : str
    sources : SourceFiles
    size : int
        Bytes that are read for all of its rows.
    """

    path: str
    footer_sha256: str
    n_rows: int
    dim: int
    dtype: str
    sources: SourceFiles
    size: int
    #: There is no single backing file.
    field: None = None
    offset: None = None

    @property
    def token(self) -> tuple:
        """A key that distinguishes it from other files, for the names of Dask's tasks."""
        return self.path, self.footer_sha256, self.n_rows, self.sources.token

    @property
    def is_mapped(self) -> bool:
        """Whether rows are read from memory maps; see `EmbeddingFile.is_mapped`."""
        return self.sources.is_mapped

    @property
    def is_packed(self) -> bool:
        """Whether reading a row reads more of a file than the row's bytes."""
        return self.sources.is_packed

    def read(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """The rows at these positions of the part, (len(rows), dim). Raises `EmbeddingsError`."""
        by_file = self._by_file(rows)
        if len(by_file) == 1:
            file, its_rows, positions = by_file[0]
            if isinstance(positions, slice):
                return file.read(its_rows)
        out = np.empty((len(rows), self.dim), self.dtype)
        for file, its_rows, positions in by_file:
            out[positions] = file.read(its_rows)
        return out

    def read_scaled(self, rows: np.ndarray | range) -> tuple[np.ndarray, np.ndarray | None]:
        """The rows, with a factor that scales each to length one; see `EmbeddingFile`."""
        by_file = self._by_file(rows)
        if len(by_file) == 1:
            file, its_rows, positions = by_file[0]
            if isinstance(positions, slice):
                return file.read_scaled(its_rows)
        out = np.empty((len(rows), self.dim), self.dtype)
        scale = np.full(len(rows), np.nan)
        for file, its_rows, positions in by_file:
            x, file_scale = file.read_scaled(its_rows)
            out[positions], scale[positions] = x, scales(x) if file_scale is None else file_scale
        return out, scale

    def span(self, rows: np.ndarray | range) -> None:
        """Always None: the rows have no single backing file. Raises as `read`."""
        positions(rows, self.n_rows, self.path)

    def identity(self) -> tuple:
        """A key that distinguishes its vectors from those of other parts, or of rewritten files."""
        numbers = np.unique(self._origins().shards).tolist()
        return self, *(self._source(number).identity() for number in numbers)

    def _by_file(self, rows: Sequence[int] | np.ndarray) -> list[tuple]:
        """(file, its sorted rows, their positions among the requested rows), file by file.

        The positions are a slice of all rows if one file has them in the requested order.
        """
        at = positions(rows, self.n_rows, self.path)
        if isinstance(at, slice) and at.start == at.stop:
            return []
        origins = self._origins()
        shards, its_rows = origins.shards[at], origins.rows[at]
        if (shards == shards[0]).all() and (its_rows[1:] >= its_rows[:-1]).all():
            return [(self._source(int(shards[0])), its_rows, slice(None))]
        order = np.lexsort((its_rows, shards))
        starts = np.flatnonzero(np.diff(shards[order], prepend=-1))
        return [
            (self._source(int(shards[group[0]])), its_rows[group], group)
            for group in np.split(order, starts[1:])
        ]

    def _source(self, number: int) -> EmbeddingFile | ExportedEmbeddings:
        try:
            return self.sources[number]
        except KeyError:
            raise PairingError(
                f"{self.path} has rows of shard {number}, which the recipe of its export does not "
                "list. Copy the whole export again, or export again."
            ) from None

    def _origins(self) -> Origins:
        origins = origins_of(self.path, self.footer_sha256)
        if len(origins.rows) != self.n_rows:
            raise PairingError(
                f"{self.path} has {len(origins.rows):,} rows, not {self.n_rows:,}. Copy the whole "
                "export again."
            )
        return origins


def exported_embeddings(
    path: str,
    footer_sha256: str,
    n_rows: int,
    sources: SourceFiles,
    like: EmbeddingFile | ExportedEmbeddings,
) -> ExportedEmbeddings:
    """The embeddings of a part. Eager, but reads only its footer.

    Where its rows' embeddings have several dtypes, the part has the dtype that holds all of them.

    Parameters
    ----------
    path, footer_sha256, n_rows
        Facts about the part.
    sources : SourceFiles
    like : EmbeddingFile or ExportedEmbeddings
        Gives the dimension and dtype of a part without rows.
    """
    needed = sources.between(*shard_range(path, footer_sha256))
    first = needed[0] if needed else like
    dtype = first.dtype
    if not sources.is_alike and needed:
        dtype = str(np.result_type(*{file.dtype for file in needed}))
    size = n_rows * first.dim * np.dtype(dtype).itemsize
    if sources.is_packed:
        size = sum(file.size for file in needed)
    return ExportedEmbeddings(path, footer_sha256, n_rows, first.dim, dtype, sources, size)


def check_stored(files: Iterable[EmbeddingFile | ExportedEmbeddings]) -> list[EmbeddingFile]:
    """Return the files as a list, for operations that need whole files.

    Raises
    ------
    PairingError
        For embeddings of a part of an export.
    """
    stored = []
    for file in files:
        if isinstance(file, ExportedEmbeddings):
            raise PairingError(
                f"The embeddings of {file.path}, a part of an export, are read from the files of "
                "its source, but an index needs whole files. Build and search the index with the "
                "source's frame and embeddings, search the subset without an index, or embed the "
                "subset again with ld.embed."
            )
        stored.append(file)
    return stored


def stored_files(files: Iterable[EmbeddingFile | ExportedEmbeddings]) -> list[EmbeddingFile]:
    """The files that contain the vectors, each once, in order."""
    stored: dict[EmbeddingFile, None] = {}
    visited, pending = set(), list(files)[::-1]
    while pending:
        file = pending.pop()
        if isinstance(file, EmbeddingFile):
            stored[file] = None
        elif file.sources not in visited:
            visited.add(file.sources)
            pending += file.sources.files[::-1]
    return list(stored)
