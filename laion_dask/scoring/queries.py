"""Queries as vectors: texts, images, rows, vectors and weighted sums of these."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from laion_dask.display.overview import Displayed
from laion_dask.errors import (
    EmbeddingsError,
    OptionError,
    QueryWarning,
    must_be,
    warn_caller,
)
from laion_dask.io.embeddings.embeddings import Embeddings
from laion_dask.io.images.decoding import is_pixels
from laion_dask.models import ClipModel, EmbeddingSpace, check_same_space
from laion_dask.numerics.normalization import unit

#: The longest path that an operating system accepts; a longer text is not a file name.
_LONGEST_PATH = 4096


@dataclass(frozen=True)
class Mix(Displayed):
    """A weighted sum of texts, images and rows, created by `mix`.

    Attributes
    ----------
    parts : tuple of (thing, weight)

    Examples
    --------
    >>> import laion_dask as ld
    >>> star = ld.mix({"a red star": 1, "a red picture": -0.6})
    >>> star.parts
    (('a red star', 1.0), ('a red picture', -0.6))
    """

    parts: tuple[tuple[object, float], ...]


def mix(parts: Mapping) -> Mix:
    """A weighted sum of queries: ``ld.mix({"king": 1, "man": -1, "woman": 1})``. Eager.

    Every part is normalized before it is weighted. Vectors need no `mix`: add and multiply them
    directly, ``clip.text("a dog") + 0.5 * rating``.

    Parameters
    ----------
    parts : mapping
        Texts, paths or bytes of images, Pillow images, or rows as (shard, row), each with its
        weight.

    Raises
    ------
    OptionError
        When ``parts`` is empty, a part is of an unsupported type, or a weight is not a finite
        number.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> images = ld.open_embeddings("demo-corpus/embedded/img_emb", model="demo", like=frame)
    >>> blue = ld.mix({"a red star": 1, "a red picture": -0.6, "a blue picture": 0.6})
    >>> hits = frame.laion.search(images, blue, k=1)
    >>> len(hits)
    1
    """
    must_be("The mixture", parts, Mapping, "a dict of parts and weights, {'a dog': 1}")
    if not parts:
        raise OptionError("The mixture is empty. Give it at least one text: {'a dog': 1}.")
    for item, weight in parts.items():
        if not _is_single_query(item):
            raise OptionError(
                f"A part of the mixture is {item!r}. Expected a text, an image's path or bytes, "
                "or a row as (shard, row); add vectors without mix."
            )
        number = isinstance(weight, (int, float, np.number)) and not isinstance(weight, bool)
        if not (number and np.isfinite(weight)):
            raise OptionError(f"The weight of {item!r} is {weight!r}. Expected a finite number.")
    return Mix(tuple((item, float(weight)) for item, weight in parts.items()))


def as_vectors(query, embeddings: Embeddings) -> np.ndarray:
    """Queries of any kind as normalized vectors. Eager.

    Parameters
    ----------
    query : as in `search`
    embeddings : Embeddings
        Their model embeds texts and images; a query may be one of their rows.

    Returns
    -------
    (m, dim) float32

    Raises
    ------
    EmbeddingsError
        When a vector has a different width, or no direction.
    ModelMismatchError
        When a vector is known to come from another CLIP model.
    WeightsError, ImageError
        When the model cannot be loaded, or an image cannot be read.
    """
    if _is_single_query(query):
        return as_units(_vector(query, embeddings), embeddings, many=False)
    kind = getattr(getattr(query, "dtype", None), "kind", None)
    if kind in ("O", "U", "T") and query.ndim == 1:  # a column or an array of texts
        query = list(query)
    if isinstance(query, np.ndarray) and query.ndim == 4 and query.dtype == np.uint8:  # images
        query = list(query)
    if isinstance(query, (list, tuple)) and any(_is_single_query(each) for each in query):
        if all(isinstance(each, str) for each in query):
            for text in query:
                _check_text(text)
            return as_units(embeddings.model.text(query), embeddings)
        if all(_is_picture(each) for each in query):
            return as_units(embeddings.model.image(list(query)), embeddings)
        return np.concatenate([as_vectors(each, embeddings) for each in query])
    return as_units(query, embeddings)


def as_units(query, embeddings: Embeddings, *, many: bool = True) -> np.ndarray:
    """One normalized vector, or with ``many`` several; (m, dim) float32.

    Raises as `as_vectors`.
    """
    for each in (query, *(query if isinstance(query, (list, tuple)) else ())):
        model = getattr(each, "model", None)
        if isinstance(model, (ClipModel, EmbeddingSpace, str)):
            check_same_space(embeddings.model, model, "The embeddings and the query")
    dim = embeddings.dim
    expected = f"expected ({dim},)" + (f" or (m, {dim})" if many else "")
    expected += f" numbers, as {embeddings.model.name} makes them; a text, an image (its path, "
    expected += "bytes, open file or pixels), a row as the tuple (shard, row), a list of these, or "
    expected += "ld.mix({...}) of them."
    try:
        vectors = np.asarray(_plain(query))
    except (
        ValueError,
        RuntimeError,
        TypeError,
    ) as error:  # for example, lists of different lengths
        raise EmbeddingsError(f"The query is not an array ({error}); {expected}") from error
    shape = vectors.shape
    fits = shape == (dim,) or (vectors.ndim == 2 and shape[1] == dim and (many or len(shape) == 1))
    if vectors.dtype.kind not in "fiu" or not (fits or shape == (1, dim)):
        raise EmbeddingsError(f"The query has shape {shape} and dtype {vectors.dtype}; {expected}")
    if not vectors.size:
        raise EmbeddingsError("There is no query. Give at least one vector.")
    units = unit(vectors.reshape(-1, dim))
    lost = np.flatnonzero(np.isnan(units).any(axis=1))
    if len(lost):
        subject = "The query is" if len(units) == 1 else f"Query {lost[0]} of {len(units):,} is"
        raise EmbeddingsError(f"{subject} NaN, infinite or of length zero; it has no direction.")
    return units


def _plain(query):
    """Convert tensors to the CPU and a dtype that NumPy has; return anything else unchanged."""
    if isinstance(query, (list, tuple)) and any(hasattr(each, "detach") for each in query):
        return [np.asarray(_plain(each)) for each in query]
    if not hasattr(query, "detach"):
        return query
    query = query.detach().cpu()
    return query.double() if query.is_floating_point() else query


def _is_picture(value) -> bool:
    picture = hasattr(value, "convert") and hasattr(value, "size")
    file = hasattr(value, "read") and hasattr(value, "seek")
    named = isinstance(value, (os.PathLike, bytes, bytearray, memoryview))
    pixels = is_pixels(value) and value.ndim == 3  # with two axes it may be vectors
    return picture or file or named or pixels


def _check_text(text: str) -> None:
    """Warn if a text query looks like the path or address of an image."""
    if re.match(r"(https?|s3|gs|hf|data):", text):
        advice = "It looks like an address, which is not downloaded; give the image's bytes"
    elif len(text) < _LONGEST_PATH and "\0" not in text and os.path.isfile(text):
        advice = "A file has this name; to search for its image give pathlib.Path(...)"
    else:
        return
    shown = text if len(text) <= 80 else text[:80] + "…"
    warn_caller(f"{shown!r} is searched as a text. {advice}.", QueryWarning)


def _is_row(value) -> bool:
    integers = (int, np.integer)
    pair = isinstance(value, tuple) and len(value) == 2
    return pair and all(isinstance(n, integers) and not isinstance(n, bool) for n in value)


def _is_single_query(value) -> bool:
    return isinstance(value, (str, Mix)) or _is_row(value) or _is_picture(value)


def _vector(query, embeddings: Embeddings) -> np.ndarray:
    """The vector of a text, an image, a row or a weighted sum, (dim,)."""
    if isinstance(query, str):
        _check_text(query)
        return embeddings.model.text(query)
    if isinstance(query, Mix):
        parts = [
            (as_vectors(component, embeddings)[0], weight) for component, weight in query.parts
        ]
        return sum(weight * vector.astype(np.float64) for vector, weight in parts)
    if _is_row(query):
        return embeddings.read(query[0], [query[1]])[0]
    return embeddings.model.image(query)
