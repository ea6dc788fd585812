"""Embeddings: vectors of one model over many files, read by shard and row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from laion_dask.errors import EmbeddingsError, must_be
from laion_dask.io.embeddings.exported import ExportedEmbeddings, stored_files
from laion_dask.io.embeddings.file import EmbeddingFile
from laion_dask.io.embeddings.pairing import pair_files
from laion_dask.io.parquet.shard import Shard
from laion_dask.models import ClipModel, EmbeddingSpace


@dataclass(frozen=True)
class Embeddings:
    """Vectors of one model over many files; opened, not read. Picklable.

    Attributes
    ----------
    files : tuple of EmbeddingFile or ExportedEmbeddings
        One a shard; the position is the shard's number. Those of a part of an export lead to the
        files of its source.
    model : ClipModel or EmbeddingSpace
    """

    files: tuple[EmbeddingFile | ExportedEmbeddings, ...]
    model: ClipModel | EmbeddingSpace

    def __dask_tokenize__(self):
        return ("laion_dask.Embeddings", [f.token for f in self.files], self.model.name)

    def __len__(self) -> int:
        return sum(f.n_rows for f in self.files)

    def __repr__(self) -> str:
        return (
            f"Embeddings({len(self):,} x {self.dim} {self.dtype}, {len(self.files)} shards, "
            f"{self.model.name})"
        )

    @property
    def dim(self) -> int:
        return self.model.dim

    @property
    def dtype(self) -> str:
        """The widest dtype of the files: ``"float16"`` or ``"float32"``."""
        return max(f.dtype for f in self.files)

    def read(self, shard: int, rows: Sequence[int] | np.ndarray | range) -> np.ndarray:
        """The vectors of some rows of one shard. Eager.

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
            When there is no such shard or row.
        """
        return self._file(shard).read(rows)

    def read_scaled(self, shard: int, rows) -> tuple[np.ndarray, np.ndarray | None]:
        """As `read`, and what brings each row to length one. Eager.

        Returns
        -------
        rows : (len(rows), dim) array
        scale : (len(rows),) float64 array, or None
            One over the row's length; NaN for a row without direction. Of local files it is
            computed once a process, as long as their maps are kept. None where every row is as
            long as one but for what float16 rounds, see `products.NEAR`.
        """
        return self._file(shard).read_scaled(rows)

    def span(self, shard: int, rows: np.ndarray | range) -> tuple[str, int] | None:
        """Where the bytes of a run of rows lie in a local file. Eager.

        Returns
        -------
        (path, position of the first byte), or None
            None where the rows are no run, or their bytes do not lie in a local file as such.
            Raises as `read`.
        """
        return self._file(shard).span(rows)

    def identity(self, shard: int) -> tuple:
        """What tells a shard's vectors from those of any other file, or of this one, rewritten."""
        return self._file(shard).identity()

    def _file(self, shard: int) -> EmbeddingFile | ExportedEmbeddings:
        must_be("shard", shard, (int, np.integer), "its number, counted from 0")
        if not 0 <= shard < len(self.files):
            raise EmbeddingsError(
                f"Shard {shard} was asked for; there are {len(self.files)}, counted from 0."
            )
        return self.files[shard]

    def paired_with(self, shards: Sequence[Shard]) -> Embeddings:
        """The same embeddings, in the order of a frame's shards. Eager, but reads no vectors.

        For parts of an export, their recipe and footers are read, and their column ``shard`` when
        embeddings of some shards of the source are missing.

        Parameters
        ----------
        shards : sequence of Shard

        Raises
        ------
        PairingError
            When a shard is missing, there is one too many, row counts differ, or the source of a
            part of an export is unknown.
        """
        return Embeddings(pair_files(shards, self.files), self.model)

    def recipe(self) -> dict:
        """What a manifest records of the embeddings: the files that hold them."""
        files = stored_files(self.files)
        return {
            "embeddings": [{"path": f.path, "rows": f.n_rows, "bytes": f.size} for f in files],
            "field": files[0].field if files else None,
            "rows": sum(f.n_rows for f in files),
            "dim": self.dim,
            "dtype": self.dtype,
            "model": self.model.recipe(),
        }
