"""The embeddings that a frame's rows point at."""

from __future__ import annotations

import os
from collections.abc import Iterable

import dask.dataframe as dd

from laion_dask.frame.provenance import Provenance
from laion_dask.io.embeddings.embeddings import Embeddings
from laion_dask.io.embeddings.open_files import open_files
from laion_dask.models import ClipModel, EmbeddingSpace


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
    embeddings = open_files(paths, model, field)
    return embeddings if like is None else embeddings.paired_with(Provenance.of(like).shards)
