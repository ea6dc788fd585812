"""The arguments of the export of a recipe: as a manifest records them, and as they are passed."""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Mapping
from typing import Any

from laion_dask.curation.recipes import inputs
from laion_dask.errors import RecipeError, one_of
from laion_dask.exports import formats
from laion_dask.exports.export import export
from laion_dask.io.embeddings.embeddings import Embeddings


def plain_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments as plain values, with absolute paths, so that a replay passes the same.

    Raises
    ------
    RecipeError
        When images are an object instead of paths.
    """
    images = options.get("images")
    if images is not None:
        is_one = isinstance(images, (str, os.PathLike))
        paths = [images] if is_one else images
        if not isinstance(paths, (list, tuple)) or not all(
            isinstance(path, (str, os.PathLike)) for path in paths
        ):
            raise RecipeError(
                f"The images to export are of type {type(images).__name__}. Expected the paths of "
                "the images, which the manifest records, so that the run can be replayed."
            )
        absolute = [inputs.absolute(os.fspath(path)) for path in paths]
        options = {**options, "images": absolute[0] if is_one else absolute}
    plain: dict[str, Any] = json.loads(json.dumps(dict(options), default=_plain))
    return plain


def _plain(value: Any) -> Any:
    """A number of NumPy as Python's; anything else as text."""
    return value.item() if hasattr(value, "item") else str(value)


def check_options(options: Mapping[str, Any]) -> None:
    """Raise unless `export` takes the arguments, before the steps are computed.

    Raises
    ------
    OptionError
    """
    format = options.get("format", "parquet")
    if format not in formats.names():
        raise one_of("format", format, formats.names())
    own = {"format", *inspect.signature(export).parameters}
    formats.check_options(format, {k: v for k, v in options.items() if k not in own})


def with_vectors(options: Mapping[str, Any], vectors: Mapping[str, Embeddings]) -> dict[str, Any]:
    """The arguments, with the embeddings of the run if the format writes some.

    A recipe names them (``embeddings: text``, or a list); by default they are all of the run. Of a
    single one, the files are named by their numbers alone.

    Raises
    ------
    RecipeError
        When the run has no embeddings of a name.
    """
    format = options.get("format", "parquet")
    if format not in formats.names() or "embeddings" not in formats.options_of(format):
        return dict(options)
    names = options.get("embeddings") or [*vectors] or ["image"]
    names = [names] if isinstance(names, str) else names
    chosen = {name: inputs.named(vectors, name, "export") for name in names}
    return {**options, "embeddings": chosen if len(chosen) > 1 else chosen[names[0]]}
