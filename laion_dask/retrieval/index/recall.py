"""The recall of an index by the number of lists it visits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from laion_dask.retrieval.index import ivf_pq
from laion_dask.retrieval.index.brute_force import recall, without
from laion_dask.retrieval.index.fill import Queries

#: Recall is measured at this many neighbors, and re-scoring considers this many candidates.
K, CANDIDATES = 100, 1000

#: The measurement stops at this recall.
ENOUGH = 0.99

#: The greatest nprobe that is measured.
MAX_PROBES = 1024


def measure(
    trained,
    groups: Sequence[Callable[[], Any]],
    queries: Queries,
    truth: np.ndarray,
    threads: int,
    after_step: Callable[[], object],
) -> list[dict]:
    """Recall@100 by nprobe, which grows fourfold until recall suffices or all lists are visited.

    Parameters
    ----------
    trained, groups, threads
        As `ivf_pq.search`.
    queries : Queries
    truth : (q, K) int64 array
        The ids of the exact neighbors; -1 where there are fewer.
    after_step : callable
        Called after each step.

    Returns
    -------
    list of dict
        ``nprobe``; ``found``, the recall of the first 100 by approximate score; ``rescored``, the
        recall after exact re-scoring of the first 1,000, which equals the fraction of the true
        neighbors among these candidates. Empty if there are no queries.
    """
    steps: list[dict] = []
    last = min(trained.nlist, MAX_PROBES)
    if (truth < 0).all():
        return steps
    for nprobe in sorted({last, *(4**i for i in range(6) if 4**i < last)}):
        # One more than needed, since a row finds itself.
        result = ivf_pq.search(trained, groups, queries.vectors, CANDIDATES + 1, nprobe, threads)
        ids = without(*result, queries.ids)[1]
        order = np.argsort(ids < 0, axis=1, kind="stable")  # missing ids go last
        ids = np.take_along_axis(ids, order, axis=1)
        step = {"nprobe": nprobe, "found": recall(truth, ids[:, :K])}
        steps.append({**step, "rescored": recall(truth, ids[:, :CANDIDATES])})
        after_step()
        if steps[-1]["rescored"] >= ENOUGH:
            break
    return steps
