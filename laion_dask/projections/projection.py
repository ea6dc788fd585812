"""A projection of embeddings to two dimensions."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import cached_property, partial
from typing import Any

import numpy as np
import numpy.typing as npt

from laion_dask.display.overview import Displayed, Overview
from laion_dask.errors import EmbeddingsError, ModelMismatchError, ProjectionError, must_be
from laion_dask.io.embeddings.embeddings import Embeddings
from laion_dask.models import check_same_space
from laion_dask.projections.landmarks import Landmarks
from laion_dask.projections.pca import offsets_of, points_of
from laion_dask.projections.tensor_file import digest_of, read_tensors, write_tensors

_FORMAT = "laion_dask projection 1"
#: The arrays of each method, with dtypes and shapes; ``dim`` is the width of embeddings.
_LAYOUTS: Mapping[str, Mapping[str, tuple[str, tuple[int | str, ...]]]] = {
    "pca": {
        "mean": ("float64", ("dim",)),
        "components": ("float64", (2, "dim")),
        "explained": ("float64", (2,)),
    },
    "umap": {"landmarks": ("int8", ("landmarks", "dim")), "places": ("float64", ("landmarks", 2))},
}


@dataclass(frozen=True, eq=False)
class Projection(Displayed):
    """A projection of embeddings to points in two dimensions, from `fit_projection`. Picklable.

    A row's point depends on its embedding alone: it has the same bits in a block of any size, and
    on any worker. Rows are scaled to length one first, as for cosines.

    Attributes
    ----------
    method : str
        ``"pca"`` or ``"umap"``.
    model : str
        The name of the model of the embeddings.
    dim : int
        The width of an embedding.
    n_rows : int
        How many rows it was fitted on.
    seed : int
        The seed by which they were drawn.
    tensors : mapping of str to array
        What was fitted. For ``"pca"``: ``mean``, (dim,) float64; ``components``, (2, dim) float64;
        ``explained``, (2,) float64: the share of the variance along each component. For
        ``"umap"``: ``landmarks``, (m, dim) int8, and ``places``, (m, 2) float64; a row is at the
        weighted mean of the places of the landmarks that are nearest to it.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> images = ld.open_embeddings("demo-corpus/embedded/img_emb", model="demo", like=frame)
    >>> projection = ld.fit_projection(images)
    >>> projection.project(images.read(0, [0, 1, 2])).shape
    (3, 2)
    """

    method: str
    model: str
    dim: int
    n_rows: int
    seed: int
    tensors: Mapping[str, np.ndarray]

    def __repr__(self) -> str:
        return (
            f"Projection({self.method} of {self.dim} dimensions, fitted on {self.n_rows:,} rows, "
            f"{self.model}, {self.digest[:15]}…)"
        )

    def _overview(self) -> Overview:
        facts = {
            "method": f"{self.method} of {self.dim:,} dimensions",
            "fitted on": f"{self.n_rows:,} rows, drawn by seed {self.seed}",
            "model": self.model,
            "digest": self.digest,
        }
        return Overview("Projection to two dimensions", facts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Projection) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __dask_tokenize__(self) -> tuple[str, str]:
        return "laion_dask.Projection", self.digest

    @cached_property
    def digest(self) -> str:
        """The digest of the content, as ``sha256:`` and 64 hexadecimal digits."""
        return digest_of(self._metadata, self.tensors)

    @property
    def _metadata(self) -> dict[str, str]:
        numbers = {"dim": self.dim, "n_rows": self.n_rows, "seed": self.seed}
        texts = {"format": _FORMAT, "method": self.method, "model": self.model}
        return texts | {name: str(value) for name, value in numbers.items()}

    def project(self, block: np.ndarray) -> npt.NDArray[np.float32]:
        """The points of embeddings. Eager; releases the GIL.

        Computed row by row: by ``"pca"`` in float64, and rounded to float32; by ``"umap"`` from
        products of integers.

        Parameters
        ----------
        block : (n, dim) float16 or float32 array

        Returns
        -------
        (n, 2) float32 array
            NaN for a row without a direction: zero, NaN or infinite.

        Raises
        ------
        EmbeddingsError
            When the shape or the dtype is wrong.
        """
        x = np.asarray(block)
        if x.ndim != 2 or x.shape[1] != self.dim or x.dtype not in (np.float16, np.float32):
            raise EmbeddingsError(
                f"The projection was given {x.dtype} of shape {x.shape}. Expected float16 or "
                f"float32 of shape (n, {self.dim})."
            )
        return self._projector(x)

    @cached_property
    def _projector(self) -> Callable[[np.ndarray], npt.NDArray[np.float32]]:
        if self.method == "umap":
            return Landmarks(self.tensors["landmarks"], self.tensors["places"]).project
        components = self.tensors["components"]
        offsets = offsets_of(self.tensors["mean"], components)
        return partial(points_of, components=components, offsets=offsets)

    def __reduce__(self) -> tuple[type[Projection], tuple[Any, ...]]:
        return Projection, tuple(getattr(self, one.name) for one in fields(self))

    def check_model(self, embeddings: Embeddings) -> None:
        """Raise unless embeddings are of the model that the projection was fitted on.

        Raises
        ------
        ModelMismatchError, EmbeddingsError
        """
        must_be("embeddings", embeddings, Embeddings, "what ld.open_embeddings(...) returns")
        if embeddings.dim != self.dim:
            raise EmbeddingsError(
                f"The projection is of {self.dim} dimensions ({self.model}), and the embeddings "
                f"have {embeddings.dim} ({embeddings.model.name}). Expected one model."
            )
        if self.model == embeddings.model.name:
            return
        try:
            check_same_space(embeddings.model, self.model, "The embeddings and the projection")
        except ModelMismatchError:
            raise
        except Exception as error:  # the name of a model that is not known here
            raise ModelMismatchError(
                f"The projection was fitted on embeddings of {self.model}, and these are of "
                f"{embeddings.model.name}. Expected embeddings of one model."
            ) from error

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the projection to a file, in the format of safetensors. Eager.

        Raises
        ------
        ExportError
            When it cannot be written.
        """
        write_tensors(path, self._metadata, self.tensors)

    def recipe(self) -> dict[str, Any]:
        """The entry of a manifest."""
        return {"projection": self.method, "digest": self.digest, "model": self.model}


def open_projection(path: str | os.PathLike[str], digest: str | None = None) -> Projection:
    """A projection that `Projection.save` wrote. Eager.

    Parameters
    ----------
    path : str or path
    digest : str, optional
        The digest that it must have, such as ``"sha256:1f3a…"``.

    Raises
    ------
    ProjectionError
        When the file is missing or damaged, is not a projection, or has another digest.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> images = ld.open_embeddings("demo-corpus/embedded/img_emb", model="demo", like=frame)
    >>> projection = ld.fit_projection(images)
    >>> projection.save("images.projection")
    >>> ld.open_projection("images.projection", projection.digest) == projection
    True
    """
    must_be("path", path, (str, os.PathLike), "the file that Projection.save wrote")
    metadata, tensors, found = read_tensors(path)
    try:
        if metadata["format"] != _FORMAT:
            raise ValueError(f"its format is {metadata['format']!r}, not {_FORMAT!r}")
        dim, n_rows, seed = (_whole(metadata[name]) for name in ("dim", "n_rows", "seed"))
        method, model = metadata["method"], metadata["model"]
        projection = Projection(method, model, dim, n_rows, seed, tensors)
        _check_layout(projection)
    except (KeyError, ValueError) as error:
        reason = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise ProjectionError(
            f"{os.fspath(path)} is not a projection: {reason}. Expected a file that "
            "Projection.save wrote."
        ) from error
    check_digest(projection, digest, os.fspath(path))
    assert projection.digest == found
    return projection


def check_digest(projection: Projection, digest: str | None, name: str) -> None:
    """Raise unless a projection has the digest that it must have, if one is given.

    Raises
    ------
    OptionError, ProjectionError
    """
    if digest is None:
        return
    must_be("digest", digest, str, "the digest of a projection, such as 'sha256:1f3a…'")
    if digest.removeprefix("sha256:").lower() != projection.digest.removeprefix("sha256:"):
        raise ProjectionError(
            f"{name} has the digest {projection.digest}. Expected {digest}: a polygon means other "
            "rows in another projection. Give the projection that the polygon was drawn in."
        )


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise ValueError(f"it has {text[:20]!r} instead of a number")
    return int(text)


def _check_layout(projection: Projection) -> None:
    layout = _LAYOUTS.get(projection.method)
    if layout is None:
        raise ValueError(f"its method is {projection.method[:40]!r}")
    if set(projection.tensors) != set(layout):
        raise ValueError(f"its arrays are {', '.join(sorted(projection.tensors))[:200]}")
    for name, (dtype, shape) in layout.items():
        tensor = projection.tensors[name]
        sizes: dict[int | str, int] = {
            "dim": projection.dim,
            "landmarks": len(next(iter(projection.tensors.values()))),
        }
        expected = tuple(sizes.get(size, size) for size in shape)
        if tensor.dtype != dtype or tensor.shape != expected or not tensor.size:
            raise ValueError(f"{name} is {tensor.dtype} of shape {tensor.shape}")
        if tensor.dtype.kind == "f" and not (np.abs(tensor) <= _LARGEST).all():
            raise ValueError(f"{name} has a value that is not finite, or too large")


#: Values of a projection are of vectors of length one; this is far above all of them.
_LARGEST = 1e6
