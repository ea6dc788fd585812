"""Fit a projection on a sample of embeddings."""

from __future__ import annotations

import numpy as np

from laion_dask.errors import must_be, one_of
from laion_dask.extras import require_extra
from laion_dask.io.embeddings.embeddings import Embeddings
from laion_dask.projections.landmarks import umap_landmarks
from laion_dask.projections.pca import principal_components
from laion_dask.projections.projection import Projection
from laion_dask.projections.sampled_rows import sampled_blocks, sampled_rows
from laion_dask.stats.checks import check_integer

#: Rows that a projection is fitted on by each method, unless another number is given. Every row
#: that is projected by UMAP is compared with all of them.
N_ROWS = {"pca": 50_000, "umap": 4_096}
METHODS = tuple(N_ROWS)


def fit_projection(
    embeddings: Embeddings, method: str = "pca", *, n: int | None = None, seed: int = 0
) -> Projection:
    """A projection of embeddings to two dimensions, fitted on a sample. Eager.

    Rows are drawn by a hash of the seed and their position, and scaled to length one. By ``"pca"``,
    the result is the same for any order of the files, and number of threads.

    Parameters
    ----------
    embeddings : Embeddings
        All of its rows may be drawn, also those that a frame does not have.
    method : {"pca", "umap"}
        The first two principal components, in a second or two. Or UMAP (McInnes, Healy and Melville
        2018), which shows neighborhoods better, but takes a minute, needs the extra ``umap``, and
        projects thirty times fewer rows a second. UMAP is fitted on the drawn rows, which become
        landmarks: another row is at the weighted mean of the places of the 8 nearest.
    n : int, optional
        How many rows are drawn; all, if there are fewer. By default 50,000, for UMAP 4,096.
    seed : int
        Of the draw, and of UMAP.

    Returns
    -------
    Projection

    Raises
    ------
    OptionError, MissingExtraError
        Immediately, when an argument is wrong, or UMAP is not installed.
    EmbeddingsError
        When no row has a direction (for UMAP: fewer than 20), or a file cannot be read.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> images = ld.open_embeddings("demo-corpus/embedded/img_emb", model="demo", like=frame)
    >>> ld.fit_projection(images).method
    'pca'
    """
    must_be("embeddings", embeddings, Embeddings, "what ld.open_embeddings(...) returns")
    n = check_method(method, n)
    check_integer("seed", seed, 0)
    n_rows = sum(len(rows) for _, rows in sampled_rows(embeddings, n, seed))
    blocks = sampled_blocks(embeddings, n, seed)
    if method == "umap":
        none = np.empty((0, embeddings.dim), np.float32)
        tensors = umap_landmarks(np.concatenate([none, *blocks]), seed)
    else:
        mean, components, explained = principal_components(blocks, n_rows, embeddings.dim)
        tensors = {"mean": mean, "components": components, "explained": explained}
    return Projection(method, embeddings.model.name, embeddings.dim, n_rows, seed, tensors)


def check_method(method: str, n: int | None) -> int:
    """The number of rows that a method is fitted on.

    Raises
    ------
    OptionError, MissingExtraError
    """
    if method not in METHODS:
        raise one_of("method", method, METHODS)
    if method == "umap":
        require_extra("umap", "The projection 'umap'")
    if n is None:
        return N_ROWS[method]
    check_integer("n", n, 1)
    return n
