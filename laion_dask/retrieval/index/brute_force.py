"""The k best of many scores, with a fixed order for ties; exact search for a few queries."""

from __future__ import annotations

import numpy as np


def best(scores: np.ndarray, ids: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k greatest scores of each row; ties go to the smaller id.

    Parameters
    ----------
    scores : (m, n) float32 array
        No NaN.
    ids : (m, n) or (n,) int64 array
        -1, with the score -inf, marks a missing value.
    k : int

    Returns
    -------
    scores : (m, k) float32
        Descending; -inf where there are fewer.
    ids : (m, k) int64
        -1 where there are fewer.
    """
    m, n = scores.shape
    ids = np.broadcast_to(ids, (m, n))
    top, top_ids = np.full((m, k), -np.inf, np.float32), np.full((m, k), -1, np.int64)
    for row in range(m):
        keep = np.arange(n)
        if n > k:
            keep = np.flatnonzero(scores[row] >= np.partition(scores[row], n - k)[n - k])
        order = keep[np.lexsort((ids[row, keep], -scores[row, keep]))][:k]
        top[row, : len(order)], top_ids[row, : len(order)] = scores[row, order], ids[row, order]
    return top, top_ids


def exact(
    queries: np.ndarray, own_ids: np.ndarray, x: np.ndarray, ids: np.ndarray, k: int, device: str
) -> tuple[np.ndarray, np.ndarray]:
    """The k rows of a block nearest to each query, excluding the query's own row.

    Parameters
    ----------
    queries : (m, dim) float32 array
    own_ids : (m,) int64 array
        The id of each query's own row.
    x : (n, dim) float32 array
    ids : (n,) int64 array
    k : int
    device : str
        A torch device.
    """
    import torch

    rows, query_vectors = (torch.from_numpy(a).to(device) for a in (x, queries))
    scores = (rows @ query_vectors.T).T.cpu().numpy()
    return best(*without(scores, np.broadcast_to(ids, scores.shape), own_ids), k)


def without(
    scores: np.ndarray, ids: np.ndarray, own_ids: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The same scores and ids, with each query's own id marked as missing."""
    is_own = ids == own_ids[:, None]
    return np.where(is_own, -np.inf, scores).astype(np.float32), np.where(is_own, -1, ids)


def recall(truth: np.ndarray, result: np.ndarray) -> float:
    """The fraction of the true ids that were found, over all queries.

    Parameters
    ----------
    truth : (m, k) int64 array
        -1 marks a missing value, which is not counted.
    result : (m, n) int64 array

    Returns
    -------
    float
        In [0, 1]; NaN where no true id is given.
    """
    hits = sum(np.isin(t[t >= 0], f).sum() for t, f in zip(truth, result, strict=True))
    n_true = (truth >= 0).sum()
    return float(hits / n_true) if n_true else float("nan")
