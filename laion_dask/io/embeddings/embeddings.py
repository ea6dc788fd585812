"""Embeddings in: many files of vectors, paired with a frame's shards by key, read by row."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import dask.dataframe as dd
import numpy as np

from laion_dask.errors import (
    EmbeddingsError,
    OptionError,
    ProvenanceError,
    argument,
    must_be,
    parameter,
)
from laion_dask.frame import provenance as lineage
from laion_dask.io.embeddings.exported import ExportedEmbeddings, stored_files
from laion_dask.io.embeddings.file import EmbeddingFile, storage_format
from laion_dask.io.embeddings.headers import SUFFIXES, open_file
from laion_dask.io.embeddings.pairing import paired
from laion_dask.io.storage.paths import expand
from laion_dask.models import ClipModel, EmbeddingSpace, as_model
from laion_dask.models.clip_names import nearest_arch

_THREADS = 16


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

    def like(self, frame: dd.DataFrame) -> Embeddings:
        """The same embeddings, in the order of a frame's shards. Eager, but reads no vectors.

        For parts of an export, their recipe and their footers are read; and their columns
        ``shard`` where the embeddings of some shards of the source are not there.

        Raises
        ------
        PairingError
            When a shard is missing, there is one too many, row counts differ, or the
            source of a part of an export is unknown.
        """
        return Embeddings(paired(lineage.shards(frame), self.files), self.model)

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


def open_embeddings(
    paths: str | os.PathLike | Iterable,
    *,
    model: ClipModel | EmbeddingSpace | str,
    like: dd.DataFrame | None = None,
    field: str | None = None,
) -> Embeddings:
    """Embeddings over ``.npy``, ``.npz`` or Parquet files. Eager, but reads headers only.

    Parameters
    ----------
    paths : str, path or iterable of them
        Files, folders, patterns, or addresses that fsspec knows.
    model : ClipModel, EmbeddingSpace or str
        The model that they came from: a CLIP model of open_clip, such as ``"ViT-L-14:openai"`` or
        ``"openai/clip-vit-large-patch14"``; or any other one, such as
        ``EmbeddingSpace("dinov2-vitl14")`` or its bare name, whose dimension the files say.
    like : dask DataFrame, optional
        A frame of `read_shards`. The files are then paired with its shards by shard key
        (``metadata_0012.parquet`` with ``img_emb_0012.npy``) and row counts are compared with the
        Parquet footers. A part of an export pairs with the files of the shards that its rows came
        from, by its recipe, or with one that is named as the part. Without ``like``, files are in
        natural order of their names, and every verb pairs them with its frame.
    field : str, optional
        The member of an ``.npz`` (DataComp: ``l14_img``, ``b32_txt``, …), or the list column of a
        Parquet file. Needed where there are several.

    Raises
    ------
    ShardNotFoundError
        When a path names nothing.
    EmbeddingsError
        When a file is empty, short, of another dtype or rank, or the files differ in width.
    PairingError
        When they do not pair with ``like``.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> images = ld.open_embeddings("demo-corpus/embedded/img_emb", model="demo", like=frame)
    >>> images.dim, len(images) == len(frame)
    (128, True)
    """
    model = _model_or_space(model)
    found = _found(paths)
    with ThreadPoolExecutor(min(_THREADS, len(found))) as pool:
        files = tuple(pool.map(lambda path: open_file(path, field), found))
    model = _check_widths(files, model)
    # A list column without rows does not say how long its lists would be.
    files = tuple(f if f.n_rows else replace(f, dim=model.dim) for f in files)
    embeddings = Embeddings(files, model)
    return embeddings if like is None else embeddings.like(like)


def _found(paths: str | os.PathLike | Iterable) -> list[str]:
    """The files; Parquet beside an array of its name is that array's metadata, as in DataComp."""
    found = expand(paths, SUFFIXES)
    tables = {path for path in found if storage_format(path) == "parquet"}
    arrays = {path.rpartition(".")[0] for path in found if path not in tables}
    return [p for p in found if p not in tables or p.rpartition(".")[0] not in arrays]


def _model_or_space(model) -> ClipModel | EmbeddingSpace:
    """The model of embeddings; a name that means no architecture of open_clip names a space."""
    try:
        return as_model(model)
    except OptionError as error:
        if not isinstance(model, str) or not model.strip():
            raise
        if near := nearest_arch(model):
            raise OptionError(
                f"{parameter('model')} is {model!r}, which is no architecture of open_clip. Did "
                "you mean "
                f"{near!r}? For another model's embeddings give EmbeddingSpace({model!r})."
            ) from error
        return EmbeddingSpace(model)


def _check_widths(
    files: Sequence[EmbeddingFile], model: ClipModel | EmbeddingSpace
) -> ClipModel | EmbeddingSpace:
    """The model, with its dimension, which all files must have."""
    filled = [f for f in files if f.n_rows] or [f for f in files if f.dim]
    if model.dim is None:
        if not filled:
            raise EmbeddingsError(
                f"{files[0].path} has no rows, so the dimension of {model.name!r} is not known. "
                f"Give it: EmbeddingSpace({model.name!r}, dim)."
            )
        model = replace(model, dim=filled[0].dim)
    filled = filled or [replace(files[0], dim=model.dim)]
    for file in filled:
        if file.dim != filled[0].dim:
            raise EmbeddingsError(
                f"{filled[0].path} has {filled[0].dim} dimensions, {file.path} has {file.dim}. "
                "Open embeddings of different models apart."
            )
    if filled[0].dim != model.dim:
        raise EmbeddingsError(
            f"{filled[0].path} has {filled[0].dim} dimensions, but {model.name} makes {model.dim}. "
            f"Name the model that they came from with {argument('model')}."
        )
    return model


def provenance(frame: dd.DataFrame) -> None:
    """Check that a frame's rows still say where they came from.

    Raises
    ------
    ProvenanceError
        When ``shard`` or ``row`` is gone.
    """
    missing = [name for name in ("shard", "row") if name not in frame.columns]
    if missing:
        raise ProvenanceError(
            f"The frame has no column {' and '.join(missing)}, by which embeddings are found. "
            "Keep 'shard' and 'row' when you select columns."
        )
