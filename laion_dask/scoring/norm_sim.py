"""NormSim: how close rows are to a target set."""

from __future__ import annotations

import dask.dataframe as dd
import numpy as np

from laion_dask.cost import Cost, PlannedFrame
from laion_dask.errors import EmbeddingsError, OptionError, must_be
from laion_dask.extras import require_extra
from laion_dask.io.embeddings.embeddings import Embeddings
from laion_dask.models import check_same_space
from laion_dask.runtime import graph
from laion_dask.scoring import norm_sim_kernel as kernels
from laion_dask.scoring.norm_sim_kernel import NormSim, Target
from laion_dask.scoring.queries import as_units
from laion_dask.scoring.score import assigned, check_free, checked_provenance


def norm_sim(
    frame: dd.DataFrame,
    embeddings: Embeddings,
    target: Embeddings | np.ndarray,
    p: float | str = 2,
    to: str = "norm_sim",
) -> dd.DataFrame:
    """The frame with a column of norms of the cosines of its rows with a target set. Lazy.

    NormSim (Wang et al. 2024, "CLIPLoss and norm-based data selection methods for multimodal
    contrastive learning", section 3.2) is the norm of ``G @ f`` for the embedding f of a row and
    the embeddings G of the target set, such as the training images of downstream tasks; all have
    length one. With ``p=2`` it is computed from the matrix ``G.T @ G``, at the cost of ``dim`` dot
    products per row, and with ``p=inf``, the largest absolute cosine, from all products.

    Parameters
    ----------
    frame : dask DataFrame
        Must have ``shard`` and ``row``.
    embeddings : Embeddings
        Embeddings of the frame's rows.
    target : Embeddings, or array of shape (n, dim)
        The target set, not necessarily of the frame's shards. Embeddings are read block by block;
        those without a direction (zero, NaN or infinite) are skipped.
    p : {2, inf, "inf"}
        The norm.
    to : str
        The new column: float32, NaN where an embedding is NaN, infinite or zero. In [0, sqrt(n)]
        for ``p=2``, in [0, 1] for ``p=inf``.

    Raises
    ------
    EmbeddingsError
        When the target set is empty, or an array of it has the wrong shape or a row without a
        direction.
    ModelMismatchError
        When the target set is known to come from another CLIP model.
    PairingError, ProvenanceError, OptionError
        When the embeddings are not those of the frame's shards, the column already exists, or the
        norm is another one. All are raised immediately.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> images = ld.open_embeddings("demo-corpus/embedded/img_emb", model="demo", like=frame)
    >>> stars = ld.ClipModel("demo").text(["a red star", "a blue star"])
    >>> near = frame.laion.norm_sim(images, stars, p="inf")
    >>> str(near["norm_sim"].dtype)
    'float32'
    """
    must_be("to", to, str, "the new column's name")
    order = _order(p)
    provenance = checked_provenance(frame, embeddings)
    require_extra("clip", "NormSim")
    check_free(frame, [to])
    paired = graph.share(embeddings.paired_with(provenance.shards))
    spec = NormSim(to, order, embeddings.dim, _target(target, embeddings))
    shared = graph.share(spec)
    if np.isinf(order):
        return assigned(frame, [to], kernels.largest, paired, shared)
    return assigned(frame, [to], kernels.euclidean, paired, shared, _gram(spec.target))


def norm_sim_cost(
    frame: PlannedFrame, target: Embeddings | np.ndarray | None = None, p: float | str = 2
) -> Cost:
    """The cost of `norm_sim`; without a target set, of ``p=2``, which does not depend on it."""
    embeddings = frame.embeddings_for("norm_sim")
    if target is None:
        target = np.ones((1, embeddings.dim), np.float32)
    return NormSim("norm_sim", _order(p), embeddings.dim, _target(target, embeddings)).cost


def _order(p: object) -> float:
    if isinstance(p, str) and p.lower() in ("inf", "infinity", ".inf"):
        return float("inf")
    number = isinstance(p, (int, float, np.number)) and not isinstance(p, bool)
    if number and (p == 2 or p == float("inf")):
        return float(p)
    raise OptionError(f"p is {p!r}. Expected 2 or 'inf'.")


def _target(target: object, embeddings: Embeddings) -> Embeddings | Target:
    if isinstance(target, Embeddings):
        check_same_space(embeddings.model, target.model, "The embeddings and the target set")
        if target.dim != embeddings.dim:
            raise EmbeddingsError(
                f"The target set has {target.dim} dimensions and the embeddings {embeddings.dim}. "
                "Expected embeddings of one model."
            )
        if not len(target):
            raise EmbeddingsError("The target set is empty. Expected at least one embedding.")
        return target
    return Target(as_units(target, embeddings))


def _gram(target: Embeddings | Target):
    """The Gram matrix of a target set, as a delayed value. Lazy."""
    if isinstance(target, Target):
        return graph.share(kernels.gram_of(target.vectors))
    sizes = [file.n_rows for file in target.files]
    return graph.gathered(
        graph.tasks(kernels.gram_of_file, sizes, graph.share(target)), kernels.total
    )
