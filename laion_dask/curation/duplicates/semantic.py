"""Semantic duplicates: rows whose embeddings are close, by the rule of SemDeDup."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import dask.dataframe as dd
import numpy as np
import pandas as pd

from laion_dask.cost import Cost, PlannedFrame, Work
from laion_dask.curation.clusters.chunks import check_embeddings, n_rows, rows_of_frame
from laion_dask.curation.clusters.kmeans import (
    check_clusters,
    clustered,
    plan_of,
    training,
)
from laion_dask.curation.clusters.stages import Workspace, check_folder
from laion_dask.curation.clusters.work import cluster_cost, clustering_work, search_work
from laion_dask.curation.duplicates.semantic_groups import SemanticDuplicates
from laion_dask.curation.duplicates.semantic_pass import (
    Search,
    batches,
    search_batch,
)
from laion_dask.curation.row_table import shards_per_block
from laion_dask.curation.row_writer import RowWriter
from laion_dask.curation.stored_decisions import SCHEMA, rows_decided, rule_text
from laion_dask.errors import OptionError, one_of
from laion_dask.frame.provenance import Provenance
from laion_dask.io.embeddings.embeddings import Embeddings
from laion_dask.runtime.tasks import run_each
from laion_dask.validation import number, whole_number

#: The rows of a cluster, by default, and the largest default number of clusters: those of SemDeDup
#: for 440 million rows of LAION (Abbas et al. 2023).
ROWS_PER_CLUSTER, MAX_CLUSTERS = 8_800, 50_000
#: Bytes of vectors that a task holds, by default.
MEMORY = 1 << 29


def semantic_duplicates(
    frame: dd.DataFrame,
    embeddings: Embeddings,
    *,
    eps: float = 0.05,
    n_clusters: int | None = None,
    keep: str = "hard",
    rule: str = "semdedup",
    seed: int = 0,
    iterations: int = 10,
    memory_limit: int | None = None,
    folder: str | os.PathLike | None = None,
) -> SemanticDuplicates:
    """Find rows whose embeddings are close to those of other rows, within k-means clusters. Eager.

    SemDeDup (Abbas et al. 2023): the rows of a cluster are ordered by their distance to the
    centroid. A row goes if its cosine with *any* earlier row is more than ``1 - eps``, even if that
    row goes as well. Duplicates in different clusters are not found.

    Only the rows of the frame as it stands take part. The passes are: rows, sample, k-means (see
    `kmeans`), assignment, which writes all embeddings to disk by cluster, and search.

    Parameters
    ----------
    frame : dask DataFrame
    embeddings : Embeddings
    eps : float
        In (0, 2].
    n_clusters : int, optional
        By default a cluster per 8,800 rows, up to 50,000, as in the paper for 440 million rows.
        Fewer if there are fewer rows.
    keep : {"hard", "easy", "random"}
        The order of a cluster: the farthest row from the centroid first (the paper's choice), the
        nearest first, or by a hash of (seed, shard, row). Ties by (shard, row).
    rule : {"semdedup", "components"}
        The published rule; or connected components of close rows, keeping the first of each.
    seed, iterations : int
        As for `kmeans`.
    memory_limit : int, optional
        Bytes of embeddings that each task holds; by default 512 MiB. A larger cluster is searched
        in blocks, through a memory map.
    folder : path, optional
        A new folder for all files, which is kept. The same call with the same folder continues an
        interrupted run. By default files go to Dask's ``temporary_directory``, and are removed.
        Each needs a little more room than the embeddings of the frame's rows.

    Raises
    ------
    OptionError, ProvenanceError, PairingError
        Immediately, when an argument is wrong.
    ProvenanceError
        When the frame contains a row more than once.
    SpillError
        When the disk is full or not writable.

    References
    ----------
    Abbas, A., Tirumala, K., Simig, D., Ganguli, S. and Morcos, A. (2023). SemDeDup: data-efficient
    learning at web-scale through semantic deduplication. arXiv:2303.09540.
    """
    paired, search = (
        check_embeddings(frame, embeddings),
        _search(eps, keep, rule, seed, memory_limit),
    )
    given = check_clusters(n_clusters)
    training(1, iterations, None, seed)
    check_folder(folder)
    rows = rows_of_frame(frame)
    options = [eps, keep, rule, seed, given, iterations, search.memory]
    workspace = Workspace.of(folder, plan_of(rows, paired, search=options))
    chunks = rows.chunks
    k = given or _default_clusters(n_rows(chunks))
    chosen = training(k, iterations, None, seed)
    centroids, assigned = clustered(chunks, paired, chosen, workspace, with_vectors=True)
    writer = RowWriter.create(SCHEMA, shards_per_block(Provenance.of(frame)))
    results = workspace.stage("duplicates")
    row_bytes = paired.dim * np.dtype(paired.dtype).itemsize
    planned = batches(assigned, row_bytes, search, results, writer)
    found = run_each(
        search_batch,
        list(enumerate(planned)),
        sizes=[int(assigned.sizes[one.first : one.stop].sum()) for one in planned],
        label="duplicates",
        unit="row",
        progress=None,
    )
    table = writer.finish([written for written, _, _ in found], label="decisions")
    return SemanticDuplicates(
        table,
        sum(kept for _, kept, _ in found),
        sum(dropped for _, _, dropped in found),
        assigned.unscored,
        len(centroids),
        results,
        len(planned),
    )


def semantic_dedup(frame: dd.DataFrame, embeddings: Embeddings, **options: Any) -> dd.DataFrame:
    """The rows of a frame without semantic duplicates, which are found first. Eager.

    Parameters are those of `semantic_duplicates`; the frame returned is lazy.
    """
    found = semantic_duplicates(frame, embeddings, **options)
    shown = {k: v for k, v in options.items() if k not in ("memory_limit", "folder")}
    return rows_decided(frame, found.table, rule_text("dedup", embeddings, shown))


def semantic_groups(
    frame: dd.DataFrame, embeddings: Embeddings, most: int, **options: Any
) -> pd.DataFrame:
    """The ``most`` largest groups of semantic duplicates, with the counts of all. Eager.

    The other parameters are those of `semantic_duplicates`.
    """
    found = semantic_duplicates(frame, embeddings, **options)
    table = found.groups(most)
    table.attrs.update(found.counts())
    return table


def semantic_cost(
    frame: PlannedFrame,
    embeddings: Embeddings,
    n_clusters: int | None = None,
    iterations: int = 10,
    label: str = "dedup",
) -> Cost:
    """The cost of finding semantic duplicates: of `kmeans`, and of comparing rows of a cluster."""
    given, dim = check_clusters(n_clusters), embeddings.dim
    iterations = training(1, iterations, None, 0).iterations
    row_bytes = dim * np.dtype(embeddings.dtype).itemsize

    def work(n: int) -> list[Work]:
        k = given or _default_clusters(n)
        batches = max(1, min(k, -(-n * row_bytes // MEMORY)))
        clustered = clustering_work(n, dim, k, iterations, with_vectors=True)
        return [*clustered, *search_work(n, dim, k, batches)]

    n = sum(file.n_rows for file in embeddings.files)
    note = (
        f"{label}: as if clusters were equally large, which rows of few topics are not. It also "
        "writes the embeddings to disk once, by cluster."
    )
    cost = cluster_cost(dim, given or _default_clusters(n), work, label, note)
    return replace(cost, embeddings=(embeddings,))


def _default_clusters(n: int) -> int:
    return min(MAX_CLUSTERS, max(1, round(n / ROWS_PER_CLUSTER)))


def _search(eps, keep, rule, seed, memory_limit) -> Search:
    eps = number("eps", eps, "a cosine distance above 0 and at most 2, such as 0.05")
    if eps > 2:
        raise OptionError(f"eps is {eps}. Expected a cosine distance of at most 2, such as 0.05.")
    if keep not in ("hard", "easy", "random"):
        raise one_of("keep", keep, ["hard", "easy", "random"])
    if rule not in ("semdedup", "components"):
        raise one_of("rule", rule, ["semdedup", "components"])
    seed = whole_number("seed", seed, "a whole number", minimum=0)
    if memory_limit is None:
        memory_limit = MEMORY
    memory = whole_number("memory_limit", memory_limit, "bytes of embeddings", minimum=1)
    return Search(eps, keep, rule, seed, memory)
