"""Fit a projection on a sample of embeddings."""

from __future__ import annotations

from laion_dask.errors import must_be, one_of
from laion_dask.io.embeddings.embeddings import Embeddings
from laion_dask.projections.pca import principal_components
from laion_dask.projections.projection import Projection
from laion_dask.projections.sampled_rows import sampled_blocks, sampled_rows
from laion_dask.stats.checks import check_integer

#: Rows that a projection is fitted on, unless another number is given.
N_ROWS = 50_000
METHODS = ("pca",)


def fit_projection(
    embeddings: Embeddings, method: str = "pca", *, n: int = N_ROWS, seed: int = 0
) -> Projection:
    """A projection of embeddings to two dimensions, fitted on a sample. Eager.

    Rows are drawn by a hash of the seed and their position, and scaled to length one. The result is
    the same for any order of the files, and number of threads.

    Parameters
    ----------
    embeddings : Embeddings
        All of its rows may be drawn, also those that a frame does not have.
    method : {"pca"}
        The first two principal components.
    n : int
        How many rows are drawn; all, if there are fewer.
    seed : int

    Returns
    -------
    Projection

    Raises
    ------
    OptionError
        Immediately, when an argument is wrong.
    EmbeddingsError
        When no row has a direction, or a file cannot be read.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> images = ld.open_embeddings("demo-corpus/embedded/img_emb", model="demo", like=frame)
    >>> ld.fit_projection(images).method
    'pca'
    """
    must_be("embeddings", embeddings, Embeddings, "what ld.open_embeddings(...) returns")
    if method not in METHODS:
        raise one_of("method", method, METHODS)
    check_integer("n", n, 1)
    check_integer("seed", seed, 0)
    n_rows = sum(len(rows) for _, rows in sampled_rows(embeddings, n, seed))
    blocks = sampled_blocks(embeddings, n, seed)
    mean, components, explained = principal_components(blocks, n_rows, embeddings.dim)
    tensors = {"mean": mean, "components": components, "explained": explained}
    return Projection(method, embeddings.model.name, embeddings.dim, n_rows, seed, tensors)
