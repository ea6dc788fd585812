"""What a manifest records of a run, so that it can be replayed: recipe, source and embeddings."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import dask.dataframe as dd

from laion_dask.curation.recipes import inputs
from laion_dask.curation.recipes.definition import Definition
from laion_dask.curation.recipes.parameters import escaped
from laion_dask.curation.recipes.step_files import step_files
from laion_dask.frame.embeddings import open_embeddings
from laion_dask.io.embeddings.embeddings import Embeddings
from laion_dask.io.embeddings.exported import stored_files
from laion_dask.io.embeddings.fingerprint import full_hash_limit, identities
from laion_dask.models import ClipModel, EmbeddingSpace


def run_record(
    resolved: Definition,
    source: inputs.Source | None,
    vectors: Mapping[str, Embeddings],
    export: Mapping[str, Any],
) -> dict[str, Any]:
    """The record of a run, as plain values.

    Parameters
    ----------
    resolved : Recipe
        With its parameters replaced and its paths absolute.
    source : as for `Recipe.run`
    vectors : dict of str to Embeddings
    export : mapping
        The arguments of `laion_dask.export`, as plain values.
    """
    return {
        "recipe": escaped_tree(resolved.tree),
        "source": source_record(source),
        "embeddings": {name: embeddings_record(one) for name, one in vectors.items()},
        "export": dict(export),
        "files": step_files(resolved, export),
    }


def escaped_tree(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The tree of a recipe whose parameters are replaced, so that no ``$`` in it is one."""
    keys = ("steps", "removal_lists", "source", "export")
    return {key: escaped(one) if key in keys else one for key, one in tree.items()}


def source_record(source: inputs.Source | None) -> list[str] | None:
    """The paths of the source, absolute; None for a frame, or if the recipe names them."""
    if source is None or isinstance(source, dd.DataFrame):
        return None
    listed = [source] if isinstance(source, (str, os.PathLike)) else list(source)
    return [inputs.absolute(os.fspath(one)) for one in listed]


def embeddings_record(embeddings: Embeddings) -> dict[str, Any]:
    """The files of embeddings, with digests, and their model. Eager; see `fingerprint`."""
    files = stored_files(embeddings.files)
    model = embeddings.model
    named = (
        {"space": model.name, "dim": model.dim}
        if isinstance(model, EmbeddingSpace)
        else {"arch": model.arch, "pretrained": model.pretrained}
    )
    return {
        "paths": [inputs.absolute(file.path) for file in files],
        "field": files[0].field if files else None,
        "model": named,
        "files": identities(files, full_hash_limit(file.size for file in files)),
    }


def open_recorded(record: Mapping[str, Any], like: dd.DataFrame) -> Embeddings:
    """The embeddings of a record, paired with a frame. Eager; reads only headers."""
    model = record["model"]
    known = EmbeddingSpace(**_renamed(model)) if "space" in model else ClipModel(**model)
    return open_embeddings(record["paths"], model=known, field=record["field"], like=like)


def _renamed(model: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": model["space"], "dim": model["dim"]}
