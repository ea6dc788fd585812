"""Open the embeddings that belong to a frame's rows."""

from __future__ import annotations

import os
from collections.abc import Iterable

import dask.dataframe as dd

from laion_dask.frame.provenance import Provenance
from laion_dask.io.embeddings.embeddings import Embeddings
from laion_dask.io.embeddings.open_files import open_files
from laion_dask.models import ClipModel, EmbeddingSpace


def open_embeddings(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    model: ClipModel | EmbeddingSpace | str,
    like: dd.DataFrame | None = None,
    field: str | None = None,
) -> Embeddings:
    """Embeddings over ``.npy``, ``.npz``, safetensors or Parquet files. Eager; reads only headers.

    Parameters
    ----------
    paths : str, path or iterable of them
        Files, folders, patterns or fsspec addresses.
    model : ClipModel, EmbeddingSpace or str
        The model that computed them: a CLIP model of open_clip, such as ``"ViT-L-14:openai"`` or
        ``"openai/clip-vit-large-patch14"``; or any other model, such as
        ``EmbeddingSpace("dinov2-vitl14")`` or just its name, with the dimension read from the
        files.
    like : dask DataFrame, optional
        A frame from `read_shards`. The files are paired with its shards by shard key
        (``metadata_0012.parquet`` with ``img_emb_0012.npy``), and row counts are compared with the
        Parquet footers. A part of an export is paired with the files of the shards that its rows
        came from, according to its manifest, or with a file that has the part's name. Without
        ``like``, files are sorted naturally by name, and each verb pairs them with its frame.
    field : str, optional
        The member of an ``.npz`` (DataComp: ``l14_img``, ``b32_txt``, …), or the list column of a
        Parquet file. Required if there are several.

    Raises
    ------
    ShardNotFoundError
        When a path matches no file.
    EmbeddingsError
        When a file is empty, truncated, has an unsupported dtype or rank, or when widths differ.
    PairingError
        When the files do not pair with ``like``.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> images = ld.open_embeddings("demo-corpus/embedded/img_emb", model="demo", like=frame)
    >>> images.dim, len(images) == len(frame)
    (128, True)
    """
    embeddings = open_files(paths, model, field)
    return embeddings if like is None else embeddings.paired_with(Provenance.of(like).shards)
