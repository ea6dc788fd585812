"""A finished approximate index: opening it, pairing it with embeddings, querying it."""

from __future__ import annotations

import copy
import os
from pathlib import Path

import numpy as np
from dask.system import CPU_COUNT

from laion_dask.display.overview import Displayed, Overview
from laion_dask.errors import EmbeddingsError, IndexFileError, OptionError, must_be
from laion_dask.io.embeddings import fingerprint
from laion_dask.io.embeddings.embeddings import Embeddings
from laion_dask.io.embeddings.exported import check_stored
from laion_dask.retrieval.index import ivf_pq, ivf_pq_files
from laion_dask.retrieval.index.manifest import MANIFEST, REBUILD_HINT, checked, read_manifest
from laion_dask.runtime.process_cache import ProcessCache

_opened = ProcessCache()


class Index(Displayed):
    """An approximate index over embeddings, created by `build_index` or `open_index`.

    Printing it shows its counts and its recall. Picklable: only its path and the digest of its
    manifest are pickled, and unpickling fails if the index was rebuilt in the meantime.

    Attributes
    ----------
    path : Path
    manifest : dict
        The embeddings and parameters of the build, and the measured recall.
    nprobe : int
        Number of lists that a search visits in each group; more is slower and finds more.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> images = ld.open_embeddings("demo-corpus/embedded/img_emb", model="demo", like=frame)
    >>> index = ld.build_index(images, "small-index")
    >>> index.path.name
    'small-index'
    """

    def __init__(self, path: str | os.PathLike, *, sha256: str | None = None) -> None:
        self.path = Path(os.path.abspath(path))
        self.manifest, self._sha256 = read_manifest(self.path)
        if sha256 not in (None, self._sha256):
            raise IndexFileError(
                f"{self.path} was rebuilt after it was opened. Open it again with "
                "ld.open_index(...)."
            )
        self.nprobe: int = self.manifest["index"]["nprobe"]
        files = self.manifest["embeddings"]
        self._starts = np.cumsum([0, *(file["rows"] for file in files)])
        self._order = np.arange(len(files), dtype=np.int32)

    def __reduce__(self):
        return _unpickled, (str(self.path), self._sha256, self.nprobe, self._order)

    def __len__(self) -> int:
        return self.manifest["counts"]["indexed"]

    @property
    def dim(self) -> int:
        """The width of its vectors."""
        return self.manifest["index"]["dim"]

    def __repr__(self) -> str:
        return f"Index({str(self.path)!r}, {len(self):,} x {self.dim}, nprobe={self.nprobe})"

    def _overview(self) -> Overview:
        facts = {"path": self.path, "nprobe": f"{self.nprobe:,}"}
        return Overview("Index of embeddings", facts, code=str(self))

    def __str__(self) -> str:
        ivf, counts = self.manifest["index"], self.manifest["counts"]
        recall, n_groups = self.manifest["recall"], len(self.manifest["groups"])
        groups = f"{n_groups} group{'s' * (n_groups != 1)}"
        n_bytes = sum(e["bytes"] for e in (self.manifest["trained"], *self.manifest["groups"]))
        lines = [
            f"IVF-PQ of {self.dim} dimensions: {ivf['nlist']:,} lists, {ivf['m']} codes of "
            f"{ivf['nbits']} bits a row, {groups}, {n_bytes / 1e6:,.1f} MB",
            f"{counts['read']:,} read = {counts['indexed']:,} indexed + "
            f"{counts['unscored']:,} unscored",
            f"recall@{recall['k']} of {recall['queries']} rows against exact search, the row "
            "itself excluded:",
            f"  nprobe  as found  after re-scoring {recall['candidates']:,} candidates",
        ]
        for step in recall["steps"]:
            mark = "  <- nprobe" * (step["nprobe"] == self.nprobe)
            lines.append(
                f"  {step['nprobe']:>6,}  {step['found']:>8.3f}  {step['rescored']:.3f}{mark}"
            )
        return "\n".join(lines)

    def recipe(self) -> dict:
        """The record of the index in the manifest of a search."""
        return {"index": self.path.name, "sha256": self._sha256, "nprobe": self.nprobe}

    def with_nprobe(self, nprobe: int) -> Index:
        """The same index with a different nprobe."""
        must_be("nprobe", nprobe, (int, np.integer), "a number of lists, at least 1")
        if not 1 <= nprobe <= self.manifest["index"]["nlist"]:
            raise OptionError(
                f"nprobe is {nprobe}. Expected 1 to {self.manifest['index']['nlist']:,}, the "
                "number of lists."
            )
        other = copy.copy(self)
        other.nprobe = int(nprobe)
        return other

    def n_candidates(self, k: int) -> int:
        """The number of candidates to request for k results, the same as for measuring recall.

        Ten per result, and at least 1,000.
        """
        measured = self.manifest["recall"]
        return max(measured["candidates"], k * measured["candidates"] // measured["k"])

    def check(self, embeddings: Embeddings) -> None:
        """Check that the index was built from these embeddings; adopt their shard numbers. Eager.

        Reads all bytes of files up to 256 MiB if these total at most 4 GiB, and 1.5 MiB (16 blocks)
        of every other file, once per process. This can miss a change inside a larger file that
        keeps its size and touches none of the blocks; see ``io/embeddings/fingerprint.py``. Files
        may have moved or be in a different order: ``candidates`` returns shard numbers of the
        embeddings that were checked last.

        Raises
        ------
        PairingError
            Names the first file that is missing, differs, or is not in the index. Also raised if
            the embeddings are those of a part of an export.
        """
        must_be("embeddings", embeddings, Embeddings, "what ld.open_embeddings(...) returns")
        files = check_stored(embeddings.files)
        self._order = fingerprint.order(self.manifest["embeddings"], files)

    def candidates(self, queries: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
        """The nearest rows by the index's approximate scores, best first. Eager.

        Runs in this process, on all its cores: groups are searched concurrently, each on one
        thread, or on several if there are fewer groups than cores. Ties go to the row that comes
        first in the data that the index was built from. The first search of a process reads every
        group's file once, to verify its digest; later searches read only the lists they visit.

        Parameters
        ----------
        queries : (m, dim) float32 array
            Unit norm.
        n : int

        Returns
        -------
        shard : (m, n) int32
        row : (m, n) int64
            Both -1 where the visited lists have fewer rows.

        Raises
        ------
        EmbeddingsError
            When the queries have the wrong shape or are not finite.
        IndexFileError
            When a file of the index was truncated or altered.
        """
        queries = np.asarray(queries, dtype=np.float32)
        if queries.ndim != 2 or queries.shape[1] != self.dim or not np.isfinite(queries).all():
            raise EmbeddingsError(
                f"The queries have shape {queries.shape}. Expected (m, {self.dim}), all finite: "
                "vectors of the model that the index was built with."
            )
        must_be("n", n, (int, np.integer), "a number of rows, at least 1")
        if n < 1:
            raise OptionError(f"n is {n}. Expected a number of rows, at least 1.")
        if not len(queries):
            return np.empty((0, n), np.int32), np.empty((0, n), np.int64)
        return self._located(self.nearest(queries, int(n))[1])

    def nearest(self, queries: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Approximate scores (m, n) float32, and positions (m, n) int64 among all rows. Eager.

        Positions count over the files in the order of the manifest.
        """
        trained = self._trained()
        groups = [lambda entry=entry: self._lists(entry) for entry in self.manifest["groups"]]
        return ivf_pq.search(trained, groups, queries, n, self.nprobe, CPU_COUNT)

    def _located(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        file = np.searchsorted(self._starts, positions, side="right") - 1
        is_valid = positions >= 0
        if positions.size and positions.max() >= self._starts[-1]:
            raise IndexFileError(
                f"The groups of {self.path} hold row {int(positions.max()):,}; {MANIFEST} says "
                f"that there are {int(self._starts[-1]):,} rows. {REBUILD_HINT}"
            )
        file = np.where(is_valid, file, 0)
        shard = np.where(is_valid, self._order[file], -1).astype(np.int32)
        return shard, np.where(is_valid, positions - self._starts[file], -1)

    def _trained(self):
        expected = self.manifest["index"]
        trained = self._open(self.manifest["trained"], ivf_pq_files.read_trained)
        actual = {
            "dim": trained.d,
            "nlist": trained.nlist,
            "m": trained.pq.M,
            "nbits": trained.pq.nbits,
        }
        if any(expected[name] != value for name, value in actual.items()):
            raise IndexFileError(
                f"{self.path / MANIFEST} does not describe its centroids and codebooks ({actual}). "
                f"{REBUILD_HINT}"
            )
        return trained

    def _lists(self, entry: dict):
        def read(path: Path):
            lists = ivf_pq_files.read_lists(path, self._trained())
            if lists.compute_ntotal() != entry["indexed"]:
                raise ValueError(
                    f"it has {lists.compute_ntotal():,} rows; the manifest says "
                    f"{entry['indexed']:,}"
                )
            return lists

        return self._open(entry, read)

    def _open(self, entry: dict, read):
        path = checked(self.path, entry)
        stat = path.stat()  # the lists are memory-mapped: a replaced file has other lists
        key = (str(path), entry["sha256"], entry.get("indexed"), stat.st_ino, stat.st_mtime_ns)
        ivf_pq.require_faiss()
        try:
            return _opened.get(key, lambda: read(path))
        except (RuntimeError, ValueError) as error:
            raise IndexFileError(
                f"{path} is not a file of this index ({str(error)[:300]}). {REBUILD_HINT}"
            ) from error


def _unpickled(path: str, sha256: str, nprobe: int, order: np.ndarray) -> Index:
    """Unpickle an index."""
    index = Index(path, sha256=sha256)
    index.nprobe, index._order = nprobe, order
    return index


def open_index(path: str | os.PathLike, embeddings: Embeddings | None = None) -> Index:
    """An index written by `build_index`. Eager, but reads only its manifest.

    Parameters
    ----------
    path : path
        The folder of the index.
    embeddings : Embeddings, optional
        The embeddings that it was built from, in any order; checked by `Index.check`.

    Raises
    ------
    IndexFileError
        When the folder has no index, or one of its files is missing, truncated or damaged.
    PairingError
        When the index was built from other embeddings.
    MissingExtraError
        When faiss is not installed.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> images = ld.open_embeddings("demo-corpus/embedded/img_emb", model="demo", like=frame)
    >>> built = ld.build_index(images, "star-index")
    >>> index = ld.open_index("star-index", images)
    >>> hits = frame.laion.search(images, "a red star", k=3, index=index)
    >>> list(hits["rank"])
    [1, 2, 3]
    """
    ivf_pq.require_faiss()
    index = Index(path)
    if embeddings is not None:
        index.check(embeddings)
    return index
