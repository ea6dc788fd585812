"""Prune clusters by the complexity of their concepts (Abbas et al. 2024)."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from numbers import Integral, Real

import dask.dataframe as dd
import numpy as np
import pandas as pd

from laion_dask.cost import Cost, PlannedFrame, Work
from laion_dask.curation.clusters.assignment import Assigned
from laion_dask.curation.clusters.chunks import check_embeddings, n_rows, rows_of_frame
from laion_dask.curation.clusters.complexity import complexity_table, rows_to_keep
from laion_dask.curation.clusters.kmeans import (
    check_clusters,
    clustered,
    plan_of,
    training,
)
from laion_dask.curation.clusters.stages import Workspace, check_folder
from laion_dask.curation.clusters.work import cluster_cost, clustering_work
from laion_dask.curation.row_table import shards_per_block
from laion_dask.curation.row_writer import RowWriter, Written
from laion_dask.curation.stored_decisions import KEEP, SCHEMA, rows_decided, rule_text
from laion_dask.errors import OptionError
from laion_dask.frame.exploded import refuse_exploded
from laion_dask.frame.provenance import Provenance
from laion_dask.io.embeddings.embeddings import Embeddings
from laion_dask.runtime.tasks import Run, run_each
from laion_dask.validation import number, whole_number

#: The paper's clusters: 100 for DataComp medium, of 128 million rows, and 500 for 280 million rows
#: of LAION.
MEDIUM_ROWS, MEDIUM_CLUSTERS, CLUSTERS = 128_000_000, 100, 500
#: Rows of the clusters that one task decides about, unless a cluster has more: 20 bytes each.
_ROWS_PER_TASK = 1 << 22


def prune(
    frame: dd.DataFrame,
    embeddings: Embeddings,
    keep: float | int = 0.28,
    *,
    n_clusters: int | None = None,
    temperature: float = 0.5,
    lower: int = 1,
    seed: int = 0,
    iterations: int = 10,
    folder: str | os.PathLike | None = None,
) -> dd.DataFrame:
    """The rows that pruning by concept complexity keeps, as a lazy frame. Eager.

    The embeddings are clustered by `kmeans`. Clusters that are wide and far from others are
    complex, and keep more rows: of N rows to keep, about p N, where p is the softmax of the
    complexities over ``temperature`` (Abbas et al. 2024), but at most all of the cluster; see
    `laion_dask.stats.cluster_quotas`. The share of its rows that a cluster of n rows keeps is about
    p N / n, so a small cluster may keep a larger share than one that is more complex: `complexity`
    shows both. Of each cluster, the rows farthest from the centroid are kept, those
    at equal distance by (shard, row). Only the rows of the frame as it stands take part. Rows
    without an embedding (zero, NaN or infinite) are unscored.

    Parameters
    ----------
    frame : dask DataFrame
    embeddings : Embeddings
    keep : float or int
        A share of the rows that have an embedding, as a float in (0, 1], rounded to whole rows; or
        a number of rows, as an int.
    n_clusters : int, optional
        By default the paper's: 100 up to 128 million rows, and 500 for more. Fewer if there are
        fewer rows.
    temperature, lower
        As for `laion_dask.stats.cluster_quotas`.
    seed, iterations : int
        As for `kmeans`.
    folder : path, optional
        A new folder in which all files are kept, so that the same call continues an interrupted
        run; by default in Dask's ``temporary_directory``. It needs 20 bytes a row, and room for the
        sample of `kmeans`.

    Returns
    -------
    dask DataFrame
        The kept rows, with the columns of the frame. `rows`, `funnel`, `excluded` and the manifest
        of an export count the others as dropped by ``prune(...)``.

    Raises
    ------
    OptionError, ProvenanceError, PairingError
        Immediately, when an argument is wrong; or, after the rows are counted, when there are fewer
        than ``keep``.
    ProvenanceError
        When the frame contains a row more than once.
    SpillError
        When the disk is full or not writable.

    References
    ----------
    Abbas, A., Rusak, E., Tirumala, K., Brendel, W., Chaudhuri, K. and Morcos, A. (2024). Effective
    pruning of web-scale datasets based on complexity of concept clusters. ICLR.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> images = ld.open_embeddings("demo-corpus/embedded/img_emb", model="demo", like=frame)
    >>> pruned = frame.laion.prune(images, keep=100, n_clusters=5)
    >>> pruned.laion.rows().kept
    100
    """
    refuse_exploded(frame, "prune")
    options = _checked(keep, n_clusters, temperature, lower, seed, iterations)
    writer = RowWriter.create(SCHEMA, shards_per_block(Provenance.of(frame)))
    centroids, assigned, table = _clustered(frame, embeddings, options, folder)
    quotas = np.zeros(len(centroids), np.int64)
    quotas[table["cluster"]] = table["kept"]
    batches = _batches(assigned.sizes)
    written = run_each(
        _decide,
        [(number, *batch, assigned, quotas, writer) for number, batch in enumerate(batches)],
        sizes=[int(assigned.sizes[first:stop].sum()) for first, stop in batches],
        label="prune",
        unit="row",
        progress=None,
    )
    decisions = writer.finish(written, label="decisions")
    return rows_decided(frame, decisions, rule_text("prune", embeddings, asdict(options)))


def prune_cost(
    frame: PlannedFrame, n_clusters: int | None = None, iterations: int = 10, label: str = "prune"
) -> Cost:
    """The cost of `prune`: that of `kmeans`; deciding about the rows takes a tenth of it."""
    given, dim = check_clusters(n_clusters), frame.embeddings_for(label).dim
    iterations = training(1, iterations, None, 0).iterations

    def work(n: int) -> list[Work]:
        return clustering_work(n, dim, given or _default_clusters(n), iterations)

    return cluster_cost(dim, given or CLUSTERS, work, label)


def complexity(
    frame: dd.DataFrame,
    embeddings: Embeddings,
    keep: float | int = 0.28,
    *,
    n_clusters: int | None = None,
    temperature: float = 0.5,
    lower: int = 1,
    seed: int = 0,
    iterations: int = 10,
    folder: str | os.PathLike | None = None,
) -> pd.DataFrame:
    """The complexity of the clusters of a frame's rows, and what `prune` keeps of each. Eager.

    Parameters are those of `prune`. Show the table with `laion_dask.complexity_plot`.

    Returns
    -------
    pandas.DataFrame
        One row per cluster that has rows: ``cluster`` (int64, its number), ``size`` (int64),
        ``d_intra`` and ``d_inter`` (float64 in [0, 2]): the mean cosine distance of its rows to its
        centroid, and of its centroid to the 20 nearest others, NaN if there is no other;
        ``complexity`` (float64), their product; ``kept`` (int64) and ``share`` (float64), of its
        rows.

    Raises
    ------
    OptionError, ProvenanceError, PairingError, SpillError
        As for `prune`.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> images = ld.open_embeddings("demo-corpus/embedded/img_emb", model="demo", like=frame)
    >>> table = frame.laion.complexity(images, keep=100, n_clusters=5)
    >>> int(table["kept"].sum())
    100
    """
    refuse_exploded(frame, "complexity")
    options = _checked(keep, n_clusters, temperature, lower, seed, iterations)
    return _clustered(frame, embeddings, options, folder)[2]


def complexity_cost(
    frame: PlannedFrame, n_clusters: int | None = None, iterations: int = 10
) -> Cost:
    """The cost of `complexity`, which is that of `prune`."""
    return prune_cost(frame, n_clusters, iterations, "complexity")


def _default_clusters(n: int) -> int:
    """The paper's number of clusters for so many rows."""
    return MEDIUM_CLUSTERS if n <= MEDIUM_ROWS else CLUSTERS


@dataclass(frozen=True)
class _Options:
    keep: float | int
    n_clusters: int | None
    temperature: float
    lower: int
    seed: int
    iterations: int


def _checked(keep, n_clusters, temperature, lower, seed, iterations) -> _Options:
    is_share = isinstance(keep, Real) and not isinstance(keep, Integral)
    if is_share and not 0 < keep <= 1:
        raise OptionError(f"keep is {keep!r}. Expected a share in (0, 1], or a number of rows.")
    if not is_share:
        keep = whole_number("keep", keep, "a share of the rows, such as 0.28, or a number of rows")
    chosen = training(1, iterations, None, seed)
    return _Options(
        float(keep) if is_share else int(keep),
        check_clusters(n_clusters),
        number("temperature", temperature, "a number above 0, such as 0.5"),
        whole_number("lower", lower, "rows to keep of every cluster", minimum=0),
        chosen.seed,
        chosen.iterations,
    )


def _clustered(
    frame: dd.DataFrame, embeddings: Embeddings, options: _Options, folder
) -> tuple[np.ndarray, Assigned, pd.DataFrame]:
    """The centroids, the rows of each cluster, and the table of `complexity`."""
    paired = check_embeddings(frame, embeddings)
    check_folder(folder)
    rows = rows_of_frame(frame)
    clusters = [options.n_clusters, options.seed, options.iterations]
    workspace = Workspace.of(folder, plan_of(rows, paired, clusters=clusters))
    chunks = rows.chunks
    default = _default_clusters(n_rows(chunks))
    chosen = training(options.n_clusters or default, options.iterations, None, options.seed)
    centroids, assigned = clustered(chunks, paired, chosen, workspace, with_vectors=False)
    n = rows_to_keep(options.keep, int(assigned.sizes.sum()))
    table = complexity_table(centroids, assigned, n, options.temperature, options.lower)
    return centroids, assigned, table


def _batches(sizes: np.ndarray) -> list[tuple[int, int]]:
    """The first cluster of each batch, and the one after its last."""
    batches: list[tuple[int, int]] = []
    first, n = 0, 0
    for cluster, size in enumerate(sizes.tolist()):
        if n and n + size > _ROWS_PER_TASK:
            batches.append((first, cluster))
            first, n = cluster, 0
        n += size
    return [*batches, (first, len(sizes))] if n else batches


def _decide(
    run: Run,
    number: int,
    first: int,
    stop: int,
    assigned: Assigned,
    quotas: np.ndarray,
    writer: RowWriter,
) -> Written:
    """Keep the rows of some clusters that are farthest from their centroids."""
    with run:
        label, keys, cosine = assigned.rows(first, stop)
        order = np.lexsort((keys, cosine, label))
        sizes = np.bincount(label - first, minlength=stop - first)
        place = np.arange(len(order)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        keep = np.empty(len(order), bool)
        keep[order] = place < quotas[label[order]]
        run.advance(len(keys))
        return writer.write(number, keys, {KEEP: keep})
