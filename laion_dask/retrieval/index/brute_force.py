"""The k best of many scores, with one order for ties; exact search of rows against few queries."""

from __future__ import annotations

import numpy as np


def best(scores: np.ndarray, ids: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k greatest scores of each row; ties by the smaller id.

    Parameters
    ----------
    scores : (m, n) float32 array
        No NaN.
    ids : (m, n) or (n,) int64 array
        -1 with the score -inf stands for nothing.
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
    top, which = np.full((m, k), -np.inf, np.float32), np.full((m, k), -1, np.int64)
    for row in range(m):
        keep = np.arange(n)
        if n > k:
            keep = np.flatnonzero(scores[row] >= np.partition(scores[row], n - k)[n - k])
        order = keep[np.lexsort((ids[row, keep], -scores[row, keep]))][:k]
        top[row, : len(order)], which[row, : len(order)] = scores[row, order], ids[row, order]
    return top, which


def exact(
    queries: np.ndarray, own: np.ndarray, x: np.ndarray, ids: np.ndarray, k: int, device: str
) -> tuple[np.ndarray, np.ndarray]:
    """The k rows of a block nearest to each query, a query's own row left out.

    Parameters
    ----------
    queries : (m, dim) float32 array
    own : (m,) int64 array
        The id of the row that each query is.
    x : (n, dim) float32 array
    ids : (n,) int64 array
    k : int
    device : str
        Of torch.
    """
    import torch

    rows, wanted = (torch.from_numpy(a).to(device) for a in (x, queries))
    scores = (rows @ wanted.T).T.cpu().numpy()
    return best(*without(scores, np.broadcast_to(ids, scores.shape), own), k)


def without(scores: np.ndarray, ids: np.ndarray, own: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same, with each query's own id replaced by nothing."""
    mine = ids == own[:, None]
    return np.where(mine, -np.inf, scores).astype(np.float32), np.where(mine, -1, ids)


def recall(truth: np.ndarray, found: np.ndarray) -> float:
    """The share of the true ids that are among those found, over all queries.

    Parameters
    ----------
    truth : (m, k) int64 array
        -1 stands for nothing and is not asked for.
    found : (m, n) int64 array

    Returns
    -------
    float
        In [0, 1]; NaN where nothing is asked for.
    """
    hits = sum(np.isin(t[t >= 0], f).sum() for t, f in zip(truth, found, strict=True))
    asked = (truth >= 0).sum()
    return float(hits / asked) if asked else float("nan")
