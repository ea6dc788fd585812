"""Open many files of vectors as `Embeddings`: read headers, and compare dimensions."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from laion_dask.errors import EmbeddingsError, OptionError, argument, parameter
from laion_dask.io.embeddings.embeddings import Embeddings
from laion_dask.io.embeddings.file import EmbeddingFile
from laion_dask.io.embeddings.file_state import storage_format
from laion_dask.io.embeddings.headers import SUFFIXES, open_file
from laion_dask.io.storage.paths import expand
from laion_dask.models import ClipModel, EmbeddingSpace, as_model
from laion_dask.models.clip_names import nearest_arch

_THREADS = 16


def open_files(
    paths: str | os.PathLike | Iterable,
    model: ClipModel | EmbeddingSpace | str,
    field: str | None,
) -> Embeddings:
    """Embeddings in one or more files, in natural order of names. Eager, but reads headers only.

    Parameters and errors are those of `laion_dask.open_embeddings`.
    """
    model = _model_or_space(model)
    file_paths = _embedding_paths(paths)
    with ThreadPoolExecutor(min(_THREADS, len(file_paths))) as pool:
        files = tuple(pool.map(lambda path: open_file(path, field), file_paths))
    model, dim = _check_widths(files, model)
    # An empty list column does not show the length of its lists.
    files = tuple(f if f.n_rows else replace(f, dim=dim) for f in files)
    return Embeddings(files, model)


def _embedding_paths(paths: str | os.PathLike | Iterable) -> list[str]:
    """The files; Parquet beside an array of the same name is its metadata, as in DataComp."""
    expanded = expand(paths, SUFFIXES)
    tables = {path for path in expanded if storage_format(path) == "parquet"}
    arrays = {path.rpartition(".")[0] for path in expanded if path not in tables}
    return [p for p in expanded if p not in tables or p.rpartition(".")[0] not in arrays]


def _model_or_space(model) -> ClipModel | EmbeddingSpace:
    """The model of embeddings; a name that is not an open_clip architecture names a space."""
    try:
        return as_model(model)
    except OptionError as error:
        if not isinstance(model, str) or not model.strip():
            raise
        if near := nearest_arch(model):
            raise OptionError(
                f"{parameter('model')} is {model!r}, not an architecture of open_clip. "
                f"Did you mean {near!r}? For another model's embeddings give "
                f"EmbeddingSpace({model!r})."
            ) from error
        return EmbeddingSpace(model)


def _check_widths(
    files: Sequence[EmbeddingFile], model: ClipModel | EmbeddingSpace
) -> tuple[ClipModel | EmbeddingSpace, int]:
    """The model with its dimension, which all files must share, and that dimension."""
    filled = [f for f in files if f.n_rows] or [f for f in files if f.dim]
    dim = model.dim
    if isinstance(model, EmbeddingSpace) and dim is None:
        if not filled:
            raise EmbeddingsError(
                f"{files[0].path} has no rows, so the dimension of {model.name!r} is unknown. "
                f"Give it: EmbeddingSpace({model.name!r}, dim)."
            )
        dim = filled[0].dim
        model = replace(model, dim=dim)
    assert dim is not None
    filled = filled or [replace(files[0], dim=dim)]
    for file in filled:
        if file.dim != filled[0].dim:
            raise EmbeddingsError(
                f"{filled[0].path} has {filled[0].dim} dimensions, {file.path} has {file.dim}. "
                "Open embeddings of different models separately."
            )
    if filled[0].dim != dim:
        raise EmbeddingsError(
            f"{filled[0].path} has {filled[0].dim} dimensions, but {model.name} has {dim}. "
            f"Name the model that they came from with {argument('model')}."
        )
    return model, dim
