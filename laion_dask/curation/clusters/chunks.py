"""The rows that are clustered, in chunks of bounded size: those of a frame as it stands."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import dask.dataframe as dd
import numpy as np

from laion_dask.curation.clusters.stages import read_arrays, write_arrays
from laion_dask.curation.row_table import keys_of, row_keys, shard_and_row
from laion_dask.errors import must_be
from laion_dask.frame.provenance import Provenance
from laion_dask.io.embeddings.embeddings import Embeddings
from laion_dask.io.storage.spill import SpillFolder
from laion_dask.runtime import cancellation, graph
from laion_dask.runtime.disk_shuffle import spill_folder
from laion_dask.schema import PROVENANCE

#: Rows of a chunk, except the last of a file: 100 MB of int8 at 768 dimensions.
CHUNK = 1 << 17
#: Rows that are read at a time.
BLOCK = 4096


@dataclass(frozen=True)
class Run:
    """Consecutive rows of a shard, or, if ``file`` is set, of a file of row keys.

    Attributes
    ----------
    number : int
        That of the shard or of the file.
    start, stop : int
    file : SpillFolder or None
    """

    number: int
    start: int
    stop: int
    file: SpillFolder | None = None

    def __len__(self) -> int:
        return self.stop - self.start


#: Runs that one task reads, in order.
Chunk = tuple[Run, ...]


def check_embeddings(frame: dd.DataFrame, embeddings: Embeddings) -> Embeddings:
    """The embeddings of a frame's rows, in the order of its shards.

    Raises
    ------
    OptionError, ProvenanceError, PairingError
    """
    must_be("embeddings", embeddings, Embeddings, "what ld.open_embeddings(...) returns")
    provenance = Provenance.of(frame)
    provenance.check_row_identity()
    return embeddings.paired_with(provenance.shards)


@dataclass(frozen=True)
class ClusteredRows:
    """The rows that are clustered.

    Attributes
    ----------
    chunks : list of Chunk
    digest : str
        Of the rows, and of the files that their keys are in.
    """

    chunks: list[Chunk]
    digest: str


def rows_of_frame(frame: dd.DataFrame) -> ClusteredRows:
    """The rows of a frame; a pass over it, unless they are known from footers. Eager.

    Rows without a shard or row number, as from an outer merge, are left out.
    """
    provenance = Provenance.of(frame)
    as_read = provenance.as_read
    if as_read is not None and as_read[0].where is None and as_read[0].invalid_text != "reject":
        pieces = [piece for partition in as_read[1] for piece in partition.pieces]
        runs = [Run(piece.shard.index, piece.start, piece.stop) for piece in pieces]
        return ClusteredRows(_grouped(runs), _digest(runs))
    columns = frame[list(PROVENANCE)]
    if provenance.is_cut_by_size:
        columns = graph.map_numbered(frame, _take, meta=frame._meta[list(PROVENANCE)])
    folder = spill_folder()
    tasks = graph.tasks(_write_keys, graph.parts(columns), folder)
    written = graph.compute(*tasks, label="rows")
    runs = [Run(number, 0, n, folder) for number, (n, _) in enumerate(written)]
    return ClusteredRows(_grouped(runs), _digest(written))


def _digest(rows: Sequence) -> str:
    return hashlib.sha256(repr((list(rows), CHUNK)).encode()).hexdigest()


def _take(partition):
    return partition[list(PROVENANCE)]


def _write_keys(part, number: int, folder: SpillFolder) -> tuple[int, str]:
    """Write the keys of a partition's rows; return their number and digest."""
    keys, valid = row_keys(part)
    keys = np.sort(keys[valid])
    write_arrays(folder, number, [keys])
    return len(keys), hashlib.sha256(keys.tobytes()).hexdigest()


def chunks_of_embeddings(embeddings: Embeddings) -> list[Chunk]:
    """All rows of the embeddings."""
    return _grouped([Run(n, 0, file.n_rows) for n, file in enumerate(embeddings.files)])


def _grouped(runs: Sequence[Run]) -> list[Chunk]:
    """Runs, cut where they are long, and joined where they are short."""
    chunks: list[list[Run]] = []
    n = CHUNK
    for run in runs:
        for start in range(run.start, run.stop, CHUNK):
            piece = Run(run.number, start, min(start + CHUNK, run.stop), run.file)
            if n + len(piece) > CHUNK:
                chunks.append([])
                n = 0
            chunks[-1].append(piece)
            n += len(piece)
    return [tuple(chunk) for chunk in chunks]


def n_rows(chunks: Sequence[Chunk]) -> int:
    """The rows of all chunks."""
    return sum(len(run) for chunk in chunks for run in chunk)


def keys_of_chunk(chunk: Chunk) -> Iterator[np.ndarray]:
    """The keys of a chunk's rows, (n,) int64, in blocks, each of one shard."""
    for run in chunk:
        if run.file is None:
            for start in range(run.start, run.stop, BLOCK):
                rows = np.arange(start, min(start + BLOCK, run.stop))
                cancellation.check()
                yield keys_of(np.full(len(rows), run.number), rows)
            continue
        keys = np.asarray(read_arrays(run.file, run.number)[0][run.start : run.stop])
        shard, _ = shard_and_row(keys)
        for one in np.split(keys, np.flatnonzero(np.diff(shard)) + 1):
            for start in range(0, len(one), BLOCK):
                cancellation.check()
                yield one[start : start + BLOCK]


def vectors_of(keys: np.ndarray, embeddings: Embeddings) -> np.ndarray:
    """The vectors of rows of one shard, (n, dim), in the dtype of its file."""
    shard, rows = shard_and_row(keys)
    if not len(rows):
        return np.empty((0, embeddings.dim), embeddings.dtype)
    is_run = rows[-1] - rows[0] == len(rows) - 1 and bool((np.diff(rows) == 1).all())
    return embeddings.read(int(shard[0]), range(rows[0], rows[-1] + 1) if is_run else rows)
