"""IVF-PQ by faiss: training, encoding, and searching inverted lists.

A normalized row belongs to the list of the nearest of ``nlist`` centroids (inner product), and its
difference from that centroid is stored as ``m`` codes of ``nbits`` bits (Jégou, Douze and
Schmid 2011, "Product quantization for nearest neighbor search"). Centroids and codebooks are
trained once and shared by all groups of rows; a group's file contains only its inverted lists.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from laion_dask.errors import MissingExtraError, argument
from laion_dask.extras import installation
from laion_dask.retrieval.index.brute_force import best
from laion_dask.runtime.ordered_map import in_order

#: K-means iterations for the centroids; faiss's default for IVF (IndexIVF.cpp, Level1Quantizer).
STEPS = 10

#: K-means iterations for the codebooks; faiss's default (Clustering.h, niter).
CODEBOOK_STEPS = 25

#: faiss warns below this number of points per centroid (Clustering.h, min_points_per_centroid).
MIN_POINTS = 39

#: Default number of points per centroid, and the number beyond which faiss subsamples
#: (Clustering.h, max_points_per_centroid).
POINTS, MAX_POINTS = 64, 256

#: Maximum number of points that codebooks are trained on: 256 for each of 256 codes.
CODEBOOK_POINTS = 256 * MAX_POINTS


def require_faiss():
    """The ``faiss`` module.

    Raises
    ------
    MissingExtraError
        When faiss is not installed.
    """
    try:
        import faiss
    except ImportError as error:
        raise MissingExtraError(
            "An approximate index needs faiss, from the extra 'index', which is not installed. "
            f"{installation('index')}, or search without {argument('index')}, which is exact."
        ) from error
    return faiss


def one_thread() -> None:
    """Limit faiss to one thread when it is called from the current thread."""
    require_faiss().omp_set_num_threads(1)


def default_m(dim: int) -> int:
    """Codes per row: a divisor of ``dim``, one per eight dimensions, at least 64 if possible."""
    limit = max(dim // 8, min(dim, 64))
    return next(m for m in range(limit, 0, -1) if dim % m == 0)


def default_nlist(n_rows: int, n_sample: int) -> int:
    """The greatest power of two up to 4 sqrt(n_rows) that the sample can train.

    4 sqrt(n) is the lower end in faiss's "Guidelines to choose an index" (its wiki).
    """
    limit = min(4 * math.sqrt(n_rows), n_sample / MIN_POINTS)
    return 2 ** int(math.log2(max(1, limit)))


def train(
    sample: np.ndarray,
    nlist: int,
    m: int,
    seed: int,
    after_step: Callable[[], object],
    threads: int = 1,
) -> Any:
    """Centroids and codebooks, as an empty ``IndexIVFPQ``.

    A small sample gives fewer lists or shorter codes, so that each centroid has ``MIN_POINTS``
    rows. The same sample on the same kind of machine gives the same result.

    Parameters
    ----------
    sample : (n, dim) float32 array
        Unit norm; at least one row.
    nlist, m : int
    seed : int
    after_step : callable
        Called after each of ``STEPS`` steps of k-means; an error that it raises stops training.
    threads : int
        Codebooks trained concurrently.
    """
    faiss = require_faiss()
    dim = sample.shape[1]
    if len(sample) < 2 * MIN_POINTS:  # the smallest sample for two centroids
        sample = np.resize(sample, (2 * MIN_POINTS, dim))
    nlist = min(nlist, len(sample) // MIN_POINTS)
    clustering = faiss.Clustering(dim, nlist)
    clustering.niter, clustering.spherical, clustering.seed = 1, True, seed + 1
    for _ in range(STEPS):
        clustering.train(sample, faiss.IndexFlatIP(dim))
        after_step()
    centroids = faiss.vector_to_array(clustering.centroids).reshape(nlist, dim)
    nbits = min(8, int(math.log2(len(sample) / MIN_POINTS)))
    n = min(len(sample), CODEBOOK_POINTS)
    points = sample[np.random.default_rng(seed).choice(len(sample), n, replace=False)]
    coarse = faiss.IndexFlatIP(dim)
    coarse.add(centroids)
    parts = (points - centroids[coarse.search(points, 1)[1][:, 0]]).reshape(n, m, dim // m)

    def codes_of(subspace: int) -> np.ndarray:
        fitted = faiss.Clustering(dim // m, 2**nbits)
        fitted.niter, fitted.seed = CODEBOOK_STEPS, seed + 1
        fitted.train(np.ascontiguousarray(parts[:, subspace]), faiss.IndexFlatL2(dim // m))
        return faiss.vector_to_array(fitted.centroids).reshape(2**nbits, dim // m)

    # One thread per codebook; faiss would train them one by one, each on several threads.
    return assemble(centroids, np.stack([*in_order(codes_of, range(m), threads, one_thread)]))


def assemble(centroids: np.ndarray, codebook: np.ndarray) -> Any:
    """An empty ``IndexIVFPQ`` from centroids and codebooks that another library trained.

    Parameters
    ----------
    centroids : (nlist, dim) float32 array
    codebook : (m, 2**nbits, dim / m) float32 array
    """
    faiss = require_faiss()
    nlist, dim = centroids.shape
    m, nbits = len(codebook), int(math.log2(codebook.shape[1]))
    coarse = faiss.IndexFlatIP(dim)
    coarse.add(np.ascontiguousarray(centroids, dtype=np.float32))
    empty = faiss.IndexIVFPQ(coarse, dim, nlist, m, nbits, faiss.METRIC_INNER_PRODUCT)
    faiss.copy_array_to_vector(np.ascontiguousarray(codebook).ravel(), empty.pq.centroids)
    empty.is_trained = True
    return empty


def encoder(trained, device: str = "cpu") -> Callable[[np.ndarray], np.ndarray]:
    """A function from rows to their list numbers and codes, in faiss's standalone format.

    Parameters
    ----------
    trained : IndexIVFPQ
        It must outlive the function.
    device : str
        On ``"cpu"`` faiss encodes; on another device torch performs the same arithmetic.

    Returns
    -------
    callable
        (n, dim) float32 of unit norm → (n, code_size) uint8.
    """
    if device == "cpu":
        return lambda x: trained.sa_encode(np.ascontiguousarray(x))
    return torch_encoder(trained, device)


def torch_encoder(trained, device: str) -> Callable[[np.ndarray], np.ndarray]:
    """As `encoder`, by torch on any device; codes have eight bits."""
    import torch

    faiss = require_faiss()
    coarse = faiss.downcast_index(trained.quantizer).reconstruct_n(0, trained.nlist)
    centroids = torch.from_numpy(coarse).to(device)
    codebook = torch.from_numpy(faiss.vector_to_array(trained.pq.centroids)).to(device)
    codebook = codebook.reshape(trained.pq.M, 256, trained.pq.dsub)
    half = codebook.square().sum(2)[:, None] / -2
    width = trained.coarse_code_size()

    def encode(x: np.ndarray) -> np.ndarray:
        rows = torch.from_numpy(np.ascontiguousarray(x)).to(device)
        lists = (rows @ centroids.T).argmax(1)
        parts = (rows - centroids[lists]).reshape(len(rows), *codebook.shape[::2]).transpose(0, 1)
        # The nearest code maximizes the inner product minus half the squared length.
        codes = torch.baddbmm(half, parts, codebook.transpose(1, 2)).argmax(2).T
        numbers = lists.cpu().numpy().astype("<i8").view(np.uint8).reshape(-1, 8)
        return np.concatenate([numbers[:, :width], codes.cpu().numpy().astype(np.uint8)], axis=1)

    return encode


def group_of(trained) -> Any:
    """An empty index that shares the centroids of ``trained``, which must outlive it."""
    faiss = require_faiss()
    metric = faiss.METRIC_INNER_PRODUCT
    pq = trained.pq
    group = faiss.IndexIVFPQ(trained.quantizer, trained.d, trained.nlist, pq.M, pq.nbits, metric)
    group.pq, group.is_trained = pq, True
    return group


def add(group, codes: np.ndarray, ids: np.ndarray) -> None:
    """Append encoded rows under their ids, in order."""
    if len(ids):
        group.add_sa_codes(np.ascontiguousarray(codes), np.ascontiguousarray(ids, dtype=np.int64))


def search(
    trained,
    groups: Sequence[Callable[[], Any]],
    queries: np.ndarray,
    n: int,
    nprobe: int,
    threads: int,
) -> tuple[np.ndarray, np.ndarray]:
    """The n best rows of all groups by approximate inner product, ties by the smaller id.

    Centroids are compared once for all groups. Groups are searched concurrently; if there are fewer
    groups than threads, each uses several. Results are merged in the order of the groups.

    Parameters
    ----------
    trained : IndexIVFPQ
    groups : sequence of callables
        Each returns the inverted lists of a group.
    queries : (q, dim) float32 array
    n : int
    nprobe : int
        The number of lists that are searched in each group.
    threads : int

    Returns
    -------
    scores : (q, n) float32
        -inf where there are fewer rows.
    ids : (q, n) int64
        -1 where there are fewer rows.
    """
    faiss = require_faiss()
    queries = np.ascontiguousarray(queries, dtype=np.float32)
    near, lists = trained.quantizer.search(queries, min(nprobe, trained.nlist))
    nearest = best(
        np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64), n
    )
    side_by_side = max(1, min(threads, len(groups)))

    def in_group(open_lists) -> tuple[np.ndarray, np.ndarray]:
        faiss.omp_set_num_threads(max(1, threads // side_by_side))
        group = group_of(trained)
        inverted_lists = open_lists()
        group.replace_invlists(inverted_lists, False)
        group.ntotal, group.nprobe = inverted_lists.compute_ntotal(), lists.shape[1]
        scores, ids = group.search_preassigned(queries, n, lists, near)
        return np.where(ids < 0, -np.inf, scores).astype(np.float32), ids

    for scores, ids in in_order(in_group, groups, side_by_side):
        combined = np.concatenate([nearest[0], scores], 1), np.concatenate([nearest[1], ids], 1)
        nearest = best(*combined, n)
    return nearest
