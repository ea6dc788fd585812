"""Parameters of an index build: check and complete options, draw the sample, form groups."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from laion_dask.errors import EmbeddingsError, OptionError, must_be, parameter
from laion_dask.gpu_packages import require_cuvs
from laion_dask.io.embeddings.embeddings import Embeddings
from laion_dask.retrieval.index import ivf_pq
from laion_dask.retrieval.index.fill import Queries, Stretch, rows_at, stretches
from laion_dask.retrieval.index.recall import K

#: Default rows per group: about 1 GiB of codes and ids at 96 codes per row.
GROUP_ROWS = 10_000_000

#: Default size of the sample in memory, as float32.
SAMPLE_BYTES = 4 * 2**30


def check_options(requested: dict, embeddings: Embeddings) -> None:
    """Raise for invalid options, before any data is read."""
    for name in ("nlist", "pq_m", "sample", "group_rows", "recall_queries", "seed"):
        value, minimum = requested[name], 0 if name in ("recall_queries", "seed") else 1
        if value is None and name in ("nlist", "pq_m", "sample"):
            continue
        must_be(name, value, (int, np.integer), f"a whole number of at least {minimum}")
        if value < minimum or value >= 2**31 - 1:
            raise OptionError(
                f"{parameter(name)} is {value}. Expected a whole number of at least {minimum}."
            )
    if requested["device"] not in ("cpu", "cuda"):
        raise OptionError(
            f"{parameter('device')} is {requested['device']!r}. Expected 'cpu' or 'cuda'."
        )
    if requested["device"] == "cuda":
        require_cuvs()
    if requested["pq_m"] and embeddings.dim % requested["pq_m"]:
        raise OptionError(
            f"{parameter('pq_m')} is {requested['pq_m']}. Expected a divisor of the dimension "
            f"{embeddings.dim}, such as {ivf_pq.default_m(embeddings.dim)}."
        )
    if not len(embeddings):
        raise EmbeddingsError("The embeddings have no rows. Expected at least one to build from.")


def choose(requested: dict, embeddings: Embeddings) -> dict:
    """The options with all defaults filled in."""
    n, dim = len(embeddings), embeddings.dim
    queries = min(requested["recall_queries"], n // 8)
    n_sample = min(n - queries, requested["sample"] or SAMPLE_BYTES // (4 * dim))
    nlist = requested["nlist"] or ivf_pq.default_nlist(n, n_sample)
    if nlist > max(1, n_sample // ivf_pq.MIN_POINTS):
        raise OptionError(
            f"{parameter('nlist')} is {nlist:,}, which needs a sample of "
            f"{nlist * ivf_pq.MIN_POINTS:,} rows; "
            f"there are {n_sample:,}. Lower {parameter('nlist')}, or raise {parameter('sample')} "
            "if there are more rows."
        )
    chosen = {**requested, "nlist": nlist, "pq_m": requested["pq_m"] or ivf_pq.default_m(dim)}
    points = ivf_pq.MAX_POINTS if requested["sample"] else ivf_pq.POINTS
    chosen["sample"] = min(n_sample, max(points * nlist, ivf_pq.CODEBOOK_POINTS))
    chosen["recall_queries"] = queries
    return {name: value if name == "device" else int(value) for name, value in chosen.items()}


def draw(files: list, chosen: dict) -> tuple[np.ndarray, Queries]:
    """The positions of the sampled rows, ascending, and the rows to measure recall with."""
    n, n_queries = sum(f.n_rows for f in files), chosen["recall_queries"]
    generator = np.random.default_rng(chosen["seed"])
    drawn = generator.choice(n, n_queries + chosen["sample"], replace=False)
    rows, ids = rows_at(stretches(files, 0, n), np.sort(drawn[:n_queries]), lambda _: None)
    return np.sort(drawn[n_queries:]), Queries(rows, ids, K)


def groups(files: list, chosen: dict) -> list[list[Stretch]]:
    """The rows of each group: runs of equal length, at most ``group_rows``, in file order."""
    n = sum(f.n_rows for f in files)
    n_groups = -(-n // chosen["group_rows"])
    cuts = [n * at // n_groups for at in range(n_groups + 1)]
    return [stretches(files, *cut) for cut in pairwise(cuts)]
