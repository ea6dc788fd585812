"""The inputs of a run: shards, and embeddings by name."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

import dask.dataframe as dd

from laion_dask.curation.recipes.definition import Definition
from laion_dask.errors import RecipeError, argument, did_you_mean, parameter
from laion_dask.frame.embeddings import open_embeddings
from laion_dask.io.embeddings.embeddings import Embeddings
from laion_dask.io.parquet.read_shards import read_shards

Source: TypeAlias = str | os.PathLike[str] | Iterable[str | os.PathLike[str]] | dd.DataFrame
OneEmbeddings: TypeAlias = Embeddings | str | os.PathLike[str]
EmbeddingsArgument: TypeAlias = OneEmbeddings | Mapping[str, OneEmbeddings] | None


def absolute(path: str) -> str:
    """A local path as an absolute one; an address unchanged."""
    return path if "://" in path else os.path.abspath(path)


def listed(source: Source | None) -> Source | None:
    """A source that can be read more than once: an iterator as a list."""
    if not isinstance(source, Iterator):
        return source
    return list(source)


def open_source(recipe: Definition, source: Source | None) -> dd.DataFrame:
    """The frame that a recipe works on.

    Raises
    ------
    RecipeError
        When there is no source; else as `read_shards`.
    """
    if isinstance(source, dd.DataFrame):
        if recipe.source:
            raise RecipeError(
                f"The recipe {recipe.name!r} says how shards are read ({', '.join(recipe.source)}),"
                " and the source is a frame that has been read. Pass the paths of the shards."
            )
        return source
    options = dict(recipe.source)
    paths = options.pop("paths", None) if source is None else source
    options.pop("paths", None)
    if paths is None:
        raise RecipeError(
            f"The recipe {recipe.name!r} has no source. Pass the paths of the shards, or write "
            "them as 'paths' below 'source'."
        )
    return read_shards(paths, **options)


def open_all(
    embeddings: EmbeddingsArgument, model: Any, like: dd.DataFrame
) -> dict[str, Embeddings]:
    """Embeddings by name; a single one is named ``image``.

    Raises
    ------
    RecipeError
        When a path is given without a model; else as `open_embeddings`.
    """
    if embeddings is None:
        return {}
    named = embeddings if isinstance(embeddings, Mapping) else {"image": embeddings}
    return {name: _opened(one, model, like) for name, one in named.items()}


def _opened(embeddings: OneEmbeddings, model: Any, like: dd.DataFrame) -> Embeddings:
    if isinstance(embeddings, Embeddings):
        return embeddings
    if model is None:
        raise RecipeError(
            f"The embeddings are the path {os.fspath(embeddings)!r}, and {parameter('model')} is "
            "not given. Expected the model that computed them, such as 'ViT-L-14:openai'."
        )
    return open_embeddings(embeddings, model=model, like=like)


def named(embeddings: Mapping[str, Embeddings], name: str, step: str) -> Embeddings:
    """The embeddings of a name.

    Raises
    ------
    RecipeError
    """
    if name not in embeddings:
        hint = did_you_mean(name, embeddings) if embeddings else ""
        raise RecipeError(
            f"{step!r} needs {name} embeddings, and {'others' if embeddings else 'none'} were "
            f"given.{hint} Add them, such as {argument('embeddings', {name: 'FOLDER'})}, "
            f"and their CLIP model, such as {argument('model', 'ViT-L-14:openai')}."
        )
    return embeddings[name]
