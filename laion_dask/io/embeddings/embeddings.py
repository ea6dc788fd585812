"""Embeddings: vectors of one model over many files, read by shard and row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from laion_dask.display.overview import Displayed, Overview
from laion_dask.errors import EmbeddingsError, must_be
from laion_dask.formatting import counted
from laion_dask.io.embeddings.exported import ExportedEmbeddings, stored_files
from laion_dask.io.embeddings.file import EmbeddingFile
from laion_dask.io.embeddings.pairing import pair_files
from laion_dask.io.parquet.shard import Shard
from laion_dask.models import ClipModel, EmbeddingSpace


@dataclass(frozen=True)
class Embeddings(Displayed):
    """Vectors of one model in one or more files; opened, but not read. Picklable.

    Attributes
    ----------
    files : tuple of EmbeddingFile or ExportedEmbeddings
        One per shard; the position is the shard's number. The embeddings of a part of an export
        refer to the files of its source.
    model : ClipModel or EmbeddingSpace

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> images = ld.open_embeddings("demo-corpus/embedded/img_emb", model="demo", like=frame)
    >>> len(images) == len(frame), images.dtype
    (True, 'float16')
    """

    files: tuple[EmbeddingFile | ExportedEmbeddings, ...]
    model: ClipModel | EmbeddingSpace

    def __dask_tokenize__(self):
        return ("laion_dask.Embeddings", [f.token for f in self.files], self.model.name)

    def __len__(self) -> int:
        return sum(f.n_rows for f in self.files)

    def __repr__(self) -> str:
        return (
            f"Embeddings({len(self):,} x {self.dim} {self.dtype}, "
            f"{counted(len(self.files), 'shard')}, "
            f"{self.model.name})"
        )

    def _overview(self) -> Overview:
        facts = {
            "rows": f"{len(self):,}",
            "dimensions": f"{self.dim:,}",
            "dtype": self.dtype,
            "model": self.model.name,
            "shards": f"{len(self.files):,}",
            "first": getattr(self.files[0], "path", None) if self.files else None,
        }
        return Overview("Embeddings", facts)

    @property
    def dim(self) -> int:
        dim = self.model.dim
        assert dim is not None  # opening the files has filled it in
        return dim

    @cached_property
    def dtype(self) -> str:
        """The widest dtype of the files: ``"float16"`` or ``"float32"``."""
        return max(f.dtype for f in self.files)

    def dtype_of(self, shard: int) -> str:
        """The dtype of a shard's file. Raises as `read`."""
        return self._file(shard).dtype

    def read(self, shard: int, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """The vectors of selected rows of one shard. Eager.

        Parameters
        ----------
        shard : int
        rows : sequence of int
            Positions in the shard, in any order.

        Returns
        -------
        numpy.ndarray
            (len(rows), dim), in the file's own dtype.

        Raises
        ------
        EmbeddingsError
            When the shard or a row does not exist.
        """
        return self._file(shard).read(rows)

    def read_scaled(self, shard: int, rows) -> tuple[np.ndarray, np.ndarray | None]:
        """As `read`, with a factor that scales each row to length one. Eager.

        Returns
        -------
        rows : (len(rows), dim) array
        scale : (len(rows),) float64 array, or None
            Reciprocal of the row's length; NaN for a row without direction. For local files it is
            computed once per process, as long as their memory maps are cached. None if every row
            has length one up to float16 rounding, see `dot_products.NEAR`.
        """
        return self._file(shard).read_scaled(rows)

    def span(self, shard: int, rows: np.ndarray | range) -> tuple[str, int] | None:
        """The location of a run of rows in a local file. Eager.

        Returns
        -------
        (path, position of the first byte), or None
            None if the rows are not a run, or not stored uncompressed in a local file. Raises as
            `read`.
        """
        return self._file(shard).span(rows)

    def identity(self, shard: int) -> tuple:
        """A key that distinguishes a shard's vectors from those of other or rewritten files."""
        return self._file(shard).identity()

    def _file(self, shard: int) -> EmbeddingFile | ExportedEmbeddings:
        must_be("shard", shard, (int, np.integer), "the number of a shard, from 0")
        if not 0 <= shard < len(self.files):
            raise EmbeddingsError(
                f"Shard {shard} was requested. Expected a number from 0 to {len(self.files) - 1}."
            )
        return self.files[shard]

    def paired_with(self, shards: Sequence[Shard]) -> Embeddings:
        """The same embeddings, in the order of a frame's shards. Eager, but reads no vectors.

        For parts of an export, this reads their recipes and footers, and their column ``shard`` if
        embeddings of some source shards are missing.

        Parameters
        ----------
        shards : sequence of Shard

        Raises
        ------
        PairingError
            When a shard or its embeddings are missing, row counts differ, or the source of a part
            of an export is unknown.
        """
        return Embeddings(pair_files(shards, self.files), self.model)

    def recipe(self) -> dict:
        """The manifest entry of the embeddings: the files that contain them."""
        files = stored_files(self.files)
        return {
            "embeddings": [{"path": f.path, "rows": f.n_rows, "bytes": f.size} for f in files],
            "field": files[0].field if files else None,
            "rows": sum(f.n_rows for f in files),
            "dim": self.dim,
            "dtype": self.dtype,
            "model": self.model.recipe(),
        }
