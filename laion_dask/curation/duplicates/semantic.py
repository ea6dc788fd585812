"""Semantic duplicates: rows whose embeddings are close, by the rule of SemDeDup."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

import dask.dataframe as dd
import numpy as np
import pandas as pd

from laion_dask.curation.clusters.chunks import check_embeddings, chunks_of_frame, n_rows
from laion_dask.curation.clusters.kmeans import check_clusters, check_folder, clustered, training
from laion_dask.curation.clusters.stages import Workspace, read_arrays
from laion_dask.curation.duplicates.semantic_pass import (
    GROUP_FIELDS,
    Search,
    batches,
    search_batch,
)
from laion_dask.curation.row_table import (
    RowTable,
    shard_and_row,
    shards_per_block,
)
from laion_dask.curation.row_writer import RowWriter
from laion_dask.curation.stored_decisions import SCHEMA, rows_decided, rule_text
from laion_dask.errors import OptionError, one_of
from laion_dask.frame.provenance import Provenance
from laion_dask.io.embeddings.embeddings import Embeddings
from laion_dask.io.storage.spill import SpillFolder
from laion_dask.runtime.tasks import run_each
from laion_dask.validation import number, whole_number

#: The rows of a cluster, by default, and the largest default number of clusters: those of SemDeDup
#: for 440 million rows of LAION (Abbas et al. 2023).
ROWS_PER_CLUSTER, MAX_CLUSTERS = 8_800, 50_000
#: Bytes of vectors that a task holds, by default.
MEMORY = 1 << 29
#: The largest number of rows in groups that are returned as one table.
MAX_TABLE_ROWS = 50_000_000


@dataclass(frozen=True, eq=False)
class SemanticDuplicates:
    """The semantic duplicates of a frame's rows, on disk.

    Attributes
    ----------
    table : RowTable
        ``keep`` (bool) of every row with a direction.
    kept, dropped, unscored : int
        Rows. Unscored ones have no direction.
    n_clusters : int
    """

    table: RowTable
    kept: int
    dropped: int
    unscored: int
    n_clusters: int
    results: SpillFolder
    n_batches: int

    def parts(self) -> Iterator[pd.DataFrame]:
        """The rows in groups of two or more, in parts that have whole groups; see `groups`."""
        for batch in range(self.n_batches):
            arrays = read_arrays(self.results, batch)[2:]
            yield _table(dict(zip(GROUP_FIELDS, map(np.asarray, arrays), strict=True)))

    def groups(self) -> pd.DataFrame:
        """All rows in groups of two or more, ordered by group and rank.

        Returns
        -------
        pandas.DataFrame
            ``group`` (int64, from 0, in the order of the kept rows), ``rank`` (int64, from 1, the
            row that is kept), ``shard`` (int32), ``row`` (int64), ``kept`` (bool),
            ``representative_shard`` (int32), ``representative_row`` (int64): the earlier row that
            it duplicates, or itself if it is kept; ``similarity`` (float64): the cosine with that
            row, NaN for a kept row.

        Raises
        ------
        OptionError
            When more than 50 million rows are in groups.
        """
        parts, n = [_table({name: np.empty(0, np.int64) for name in GROUP_FIELDS})], 0
        for part in self.parts():
            n += len(part)
            if n > MAX_TABLE_ROWS:
                raise OptionError(
                    f"More than {MAX_TABLE_ROWS:,} rows are in groups of duplicates. Expected a "
                    "table that fits into memory: look at a sample of the rows first."
                )
            parts.append(part)
        table = pd.concat(parts, ignore_index=True)
        kept = table["kept"].to_numpy()
        keys = table["group"].to_numpy()
        table["group"] = np.searchsorted(np.sort(keys[kept]), keys)
        return table.sort_values(["group", "rank"], kind="stable", ignore_index=True)


def _table(arrays: dict[str, np.ndarray]) -> pd.DataFrame:
    shard, row = shard_and_row(arrays["key"])
    other_shard, other_row = shard_and_row(arrays["representative"])
    return pd.DataFrame(
        {
            "group": arrays["group"],
            "rank": arrays["rank"],
            "shard": shard.astype(np.int32),
            "row": row,
            "kept": arrays["key"] == arrays["group"],
            "representative_shard": other_shard.astype(np.int32),
            "representative_row": other_row,
            "similarity": arrays["similarity"].astype(np.float64),
        }
    )


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
    plan = {
        "rows": frame._name,
        "embeddings": repr(paired.__dask_tokenize__()),
        "search": [eps, keep, rule, seed, given, iterations, search.memory],
    }
    workspace = Workspace.of(folder, plan)
    chunks = chunks_of_frame(frame, workspace.stage("rows"))
    k = given or min(MAX_CLUSTERS, max(1, round(n_rows(chunks) / ROWS_PER_CLUSTER)))
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


def semantic_dedup(frame: dd.DataFrame, embeddings: Embeddings, **options) -> dd.DataFrame:
    """The rows of a frame without semantic duplicates, which are found first. Eager.

    Parameters are those of `semantic_duplicates`; the frame returned is lazy.
    """
    found = semantic_duplicates(frame, embeddings, **options)
    shown = {k: v for k, v in options.items() if k not in ("memory_limit", "folder")}
    return rows_decided(frame, found.table, rule_text("dedup", embeddings, shown))


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
