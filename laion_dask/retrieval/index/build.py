"""Build an approximate index of embeddings: train on a sample, fill by group, measure recall."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version

import numpy as np
from dask.system import CPU_COUNT

from laion_dask.cost import EMBEDDINGS, Cost, PlannedFrame
from laion_dask.errors import EmbeddingsError, must_be
from laion_dask.io.embeddings.embeddings import Embeddings
from laion_dask.io.embeddings.exported import check_stored
from laion_dask.io.embeddings.file import EmbeddingFile
from laion_dask.io.embeddings.fingerprint import full_hash_limit, identities, identity
from laion_dask.numerics.torch_threads import one_torch_thread
from laion_dask.retrieval.index import ivf_pq, ivf_pq_files
from laion_dask.retrieval.index.brute_force import best
from laion_dask.retrieval.index.fill import Queries, Stretch, index_rows
from laion_dask.retrieval.index.folder import IndexFolder
from laion_dask.retrieval.index.index import Index, open_index
from laion_dask.retrieval.index.manifest import FORMAT, TRAINED
from laion_dask.retrieval.index.parameters import GROUP_ROWS, check_options, choose, draw, groups
from laion_dask.retrieval.index.recall import CANDIDATES, K, measure
from laion_dask.retrieval.index.training import sampled_rows, train
from laion_dask.runtime.process_cache import ProcessCache
from laion_dask.runtime.tasks import Run, run_each, verb_bar
from laion_dask.runtime.workers import waiting_client

#: The default nprobe is the smallest measured one that reaches this recall after re-scoring.
GOOD = 0.95

#: The default nprobe if there are no rows to measure recall with.
UNMEASURED_PROBES = 64

_LIBRARIES = ("laion_dask", "numpy", "torch", "faiss-cpu")
_trained = ProcessCache()


@dataclass(frozen=True)
class _Work:
    """State shared by the tasks of one build."""

    folder: IndexFolder
    trained: dict
    queries: Queries
    device: str
    n_concurrent: int


def build_index(
    embeddings: Embeddings,
    out: str | os.PathLike,
    *,
    nlist: int | None = None,
    pq_m: int | None = None,
    sample: int | None = None,
    group_rows: int = GROUP_ROWS,
    recall_queries: int = 100,
    seed: int = 0,
    device: str = "cpu",
    progress: bool | None = None,
) -> Index:
    """An approximate index (IVF-PQ) of embeddings, for ``search(index=…)``. Eager.

    Centroids and codebooks are trained once, in this process, on rows that are drawn from all files
    with ``seed``. Then groups of rows are encoded, one task per group, on the distributed client of
    this process if there is one, else on threads. The same pass finds the exact neighbors of some
    rows that were excluded from the sample. Recall@100 against these neighbors is stored in the
    index, and ``print(index)`` shows it for each ``nprobe``.

    If the build is interrupted, the same call resumes with the missing groups. For a finished
    index, it rebuilds files that are missing or altered. The files do not depend on the number of
    workers.

    A row without a direction (zero, NaN or infinite) is excluded and counted: indexed + unscored
    is the number of rows read.

    Memory: this process holds the sample (``sample * dim * 4`` bytes, at most 4 GiB unless
    ``sample`` is given; twice that while the sample is assembled). A task holds its group's codes
    (``group_rows * (pq_m + 8)`` bytes, up to twice that while they grow), the centroids, and a few
    blocks of 8,192 rows.

    Parameters
    ----------
    embeddings : Embeddings
    out : path
        A folder visible to every worker: new, empty, or the folder of an earlier identical call.
    nlist : int, optional
        Number of centroids; by default the greatest power of two up to 4 sqrt(rows) for which the
        sample has 39 rows each.
    pq_m : int, optional
        Codes per row, one byte each; a divisor of the dimensions. By default one per eight
        dimensions.
    sample : int, optional
        Rows to train on; by default 64 per centroid, and at least 65,536 if there are as many.
        faiss uses at most 256 per centroid.
    group_rows : int
        Rows per file of the index.
    recall_queries : int
        Number of rows that recall is measured with; at most an eighth of all.
    seed : int
        Seed of the sample and of k-means.
    device : {"cpu", "cuda"}
        With ``"cuda"``, cuVS trains and torch encodes on the GPU. This code was written without
        access to a GPU and has never been run; its index is searched like any other.
    progress : bool, optional
        Whether to show progress bars; by default as set with ``set_options(progress=…)``, and only
        in a terminal or notebook.

    Returns
    -------
    Index
        Its ``nprobe`` is the smallest measured one that reaches a recall of 0.95 after re-scoring
        1,000 candidates, or else the one with the best recall.

    Raises
    ------
    OptionError, MissingExtraError, PairingError
        Immediately; the last if the embeddings are those of a part of an export.
    EmbeddingsError
        When the embeddings changed since they were opened, or no row of the sample has a
        direction.
    ExportError
        Immediately, when ``out`` is not empty and contains anything but this index.
    IndexFileError
        Immediately, when the manifest or the build plan in ``out`` is damaged.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> images = ld.open_embeddings("demo-corpus/embedded/img_emb", model="demo", like=frame)
    >>> index = ld.build_index(images, "index")
    >>> hits = frame.laion.search(images, "a red star", k=3, index=index)
    >>> list(hits["rank"])
    [1, 2, 3]
    """
    must_be("embeddings", embeddings, Embeddings, "what ld.open_embeddings(...) returns")
    files = check_stored(embeddings.files)
    ivf_pq.require_faiss()
    requested: dict[str, int | str | None] = {"nlist": nlist, "pq_m": pq_m, "sample": sample}
    requested |= {"group_rows": group_rows, "recall_queries": recall_queries}
    requested |= {"seed": seed, "device": device}
    check_options(requested, embeddings)
    folder, model = IndexFolder(os.path.abspath(out)), embeddings.model.recipe()
    _build(files, model, folder, choose(requested, embeddings), progress)
    return open_index(out)


def build_index_cost(frame: PlannedFrame) -> Cost:
    """The cost of `build_index` for the embeddings of the rows, including measuring recall."""
    flop = 2.0 * frame.embeddings_for("build_index").dim
    note = "build_index: the rate was measured with 2,048 lists of a million rows; more take longer"
    return Cost(("build_index",), reads=EMBEDDINGS, flop=flop, is_pass=False, notes=(note,))


def _build(
    files: list[EmbeddingFile], model: dict, folder: IndexFolder, chosen: dict, progress
) -> None:
    """Run the remaining steps of the build."""
    limit = full_hash_limit(file.size for file in files)
    inputs = [(file, limit) for file in files]
    sizes = [1] * len(files)
    file_identities = run_each(
        _identify, inputs, sizes=sizes, label="look", unit="file", progress=progress
    )
    plan = {
        "format": FORMAT,
        "embeddings": file_identities,
        "model": model,
        "parameters": chosen,
    }
    if folder.begin(plan):
        return
    try:
        ids, queries = draw(files, chosen)
        trained_entry = folder.trained()
        if trained_entry is None:
            trained = train(sampled_rows(files, ids, chosen, progress), chosen, progress)
            trained_entry = folder.write_trained(
                lambda path: ivf_pq_files.write_trained(trained, path)
            )
        n_groups = _fill(files, folder, trained_entry, queries, chosen, progress)
        if identities(files, limit) != file_identities:
            raise EmbeddingsError(
                "The embeddings changed while the index was built. Remove the folder, open the "
                "embeddings again and rebuild."
            )
        previous = folder.manifest_under_repair(n_groups, trained_entry)
        if previous is not None:
            folder.restore(previous)
        else:
            folder.finish(_manifest(plan, folder, trained_entry, n_groups, queries, progress))
    finally:
        folder.sweep()


def _identify(run: Run, file, limit: int) -> dict:
    with run:
        file_identity = identity(file, limit)
        run.advance(1)
    return file_identity


def _fill(
    files: list, folder: IndexFolder, trained_entry: dict, queries, chosen: dict, progress
) -> int:
    """Write the missing groups; return the total number of groups."""
    all_groups = groups(files, chosen)
    for _ in range(2):  # again if a rebuilt file differs from the original
        todo = folder.missing(len(all_groups), trained_entry)
        if not todo:
            break
        is_local = waiting_client() is None  # on workers, tasks run concurrently, blocks do not
        n_concurrent = max(1, CPU_COUNT // len(todo)) if is_local else 1
        work = _Work(folder, trained_entry, queries, chosen["device"], n_concurrent)
        run_each(
            _fill_group,
            [(all_groups[number], number, work) for number in todo],
            sizes=[sum(map(len, all_groups[number])) for number in todo],
            label="index",
            unit="row",
            progress=progress,
        )
    return len(all_groups)


def _fill_group(run: Run, parts: list[Stretch], number: int, work: _Work) -> None:
    with run, one_torch_thread():
        path = work.folder.path / TRAINED
        key = (path, work.trained["sha256"])
        trained = _trained.get(key, lambda: ivf_pq_files.read_trained(path))
        group, unscored, nearest = index_rows(
            parts,
            trained,
            work.queries,
            n_concurrent=work.n_concurrent,
            device=work.device,
            advance=run.advance,
        )
        counts = {"indexed": group.ntotal, "unscored": unscored}
        write = partial(ivf_pq_files.write_lists, group)
        work.folder.write_group(number, work.trained, write, counts, nearest)


def _manifest(
    plan: dict, folder: IndexFolder, trained_entry: dict, n_groups: int, queries, progress
):
    """The manifest of an index whose files are complete; measures its recall."""
    receipts = folder.receipts(n_groups, trained_entry)
    trained = ivf_pq_files.read_trained(folder.path / trained_entry["name"])
    lists = [
        partial(ivf_pq_files.read_lists, folder.path / r.entry["name"], trained) for r in receipts
    ]
    scores, ids = (np.concatenate([getattr(r, n) for r in receipts], 1) for n in ("scores", "ids"))
    with verb_bar("recall", None, progress) as bar:
        steps = measure(trained, lists, queries, best(scores, ids, K)[1], CPU_COUNT, bar.update)
    good = [step["nprobe"] for step in steps if step["rescored"] >= GOOD]
    last = steps[-1]["nprobe"] if steps else min(UNMEASURED_PROBES, trained.nlist)
    size = {"dim": trained.d, "nlist": trained.nlist, "m": trained.pq.M, "nbits": trained.pq.nbits}
    counts = {n: sum(r.entry[n] for r in receipts) for n in ("indexed", "unscored")}
    measured = {"k": K, "candidates": CANDIDATES, "queries": len(queries.ids), "steps": steps}
    return {
        **plan,
        "index": {**size, "nprobe": min(good, default=last)},
        "counts": {"read": sum(counts.values()), **counts},
        "recall": measured,
        "trained": trained_entry,
        "groups": [receipt.entry for receipt in receipts],
        "versions": {name: version(name) for name in _LIBRARIES},
    }
