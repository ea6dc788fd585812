"""The contents of a frame and its embeddings by footers and headers; no data is read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from laion_dask.dtypes import column_type
from laion_dask.errors import OptionError, argument, must_be
from laion_dask.frame.provenance import Provenance
from laion_dask.frame.where_kernel import passes
from laion_dask.io.embeddings.embeddings import Embeddings
from laion_dask.io.embeddings.exported import ExportedEmbeddings, stored_files
from laion_dask.io.embeddings.file import EmbeddingFile
from laion_dask.io.parquet.column_sizes import ColumnSize, column_sizes
from laion_dask.io.parquet.shard import Piece, ScanPartition, Shard, shards_of
from laion_dask.schema import PROVENANCE

#: Above this number of shards, column sizes are read from this many evenly spread footers.
MAX_FOOTERS = 64
#: Maximum bytes of local embeddings that a process keeps mapped, except for one larger file
#: (io.embeddings.mmap_cache).
_MAX_MAPPED = 1 << 31
#: Bytes of remote embeddings fetched at once: 16 runs of 16 MiB (io.embeddings.stored_rows).
_MAX_FETCHED = 16 << 24
#: While a partition is created, it is in memory both as Arrow and as a frame.
_COPIES = 2


@dataclass(frozen=True)
class Data:
    """A frame as described by its footers.

    Attributes
    ----------
    partitions : tuple of ScanPartition
    columns : tuple of str
        The columns of the frame, including computed ones.
    filtered : frozenset of str
        Columns that the frame's filters read.
    sizes : dict of path to the columns' sizes
        By column name in the frame; read from some of the footers if there are many shards.
    fixed : dict of str to float
        Bytes per value in memory, for fixed-width columns.
    stored_types : dict of str to str
        Types of the columns that the scan can read; see `laion_dask.dtypes`.
    column_types : dict of str to str
        Types of the frame's columns, including computed ones.
    """

    partitions: tuple[ScanPartition, ...]
    columns: tuple[str, ...]
    filtered: frozenset[str]
    sizes: dict[str, dict[str, ColumnSize]]
    fixed: dict[str, float]
    stored_types: dict[str, str]
    column_types: dict[str, str]
    backend: str

    @property
    def rows(self) -> int:
        return sum(partition.n_rows for partition in self.partitions)

    @property
    def partition_rows(self) -> int:
        """Rows of the largest partition."""
        return max((partition.n_rows for partition in self.partitions), default=0)

    @property
    def group_rows(self) -> int:
        """Rows of the largest row group in the shards whose footers were read."""
        return max(
            (s.group_rows for sizes in self.sizes.values() for s in sizes.values()), default=0
        )

    @property
    def shards(self) -> list[Shard]:
        return list({shard.path: shard for shard in shards_of(self.partitions)}.values())

    @property
    def pieces(self) -> Iterator[Piece]:
        """The pieces of all partitions."""
        return (piece for partition in self.partitions for piece in partition.pieces)

    def stored(self, columns: Iterable[str]) -> int:
        """Bytes of some columns of the pieces, as stored in the files."""
        names = set(columns)
        stored_of = {
            p: sum(s.stored for n, s in c.items() if n in names) for p, c in self.sizes.items()
        }
        total_size = sum(shard.size for shard in self.shards if shard.path in stored_of)
        share = sum(stored_of.values()) / total_size if total_size else 0.0
        n_bytes = 0.0
        for piece in self.pieces:
            shard = piece.shard
            of_shard = stored_of.get(shard.path, share * shard.size)
            n_bytes += of_shard * piece.n_rows / max(1, shard.n_rows)
        return round(n_bytes)

    def row_memory(self, columns: Iterable[str]) -> float:
        """Bytes per row of some columns in memory, while a partition of them is created.

        A number takes its width and a byte for its mask; a text takes its uncompressed bytes in the
        file, and 8 bytes for its offset.
        """
        n = sum(shard.n_rows for shard in self.shards if shard.path in self.sizes)
        n_bytes = 4.0 + 8.0  # shard and row
        for name in set(columns) - set(PROVENANCE):
            if name in self.fixed:
                n_bytes += self.fixed[name] + 1
            else:
                plain = sum(sizes[name].plain for sizes in self.sizes.values() if name in sizes)
                n_bytes += plain / max(1, n) + 8
        return _COPIES * n_bytes


def open_data(provenance: Provenance) -> Data:
    """The facts known about a frame before it is read. Eager, but reads only footers.

    Raises
    ------
    ProvenanceError
        When the frame does not originate from `read_shards`.
    ShardError
        When a footer can no longer be read.
    """
    frame, scans = provenance.frame, provenance.sources
    partitions = tuple(partition for _, of_scan in scans for partition in of_scan)
    shards = list({shard.path: shard for shard in shards_of(partitions)}.values())
    positions = np.unique(np.linspace(0, len(shards) - 1, MAX_FOOTERS).round().astype(int))
    chosen = [shards[i] for i in positions] if shards else []
    sizes = {}
    for shard, column_size in zip(chosen, column_sizes([s.path for s in chosen]), strict=True):
        names = {old: new for old, new, _ in shard.columns}
        sizes[shard.path] = {names.get(old, old): size for old, size in column_size.items()}
    types = {name: type_ for scan, _ in scans for name, type_ in scan.types}
    used = {name for scan, _ in scans if scan.where is not None for name in scan.where.columns}
    used |= {name for _, (used_by,) in provenance.uses_of(passes) for name in used_by.columns}
    stored_types = {name: type_ for scan, _ in scans for name, type_ in scan.column_types.items()}
    column_types = {str(name): column_type(dtype) for name, dtype in frame.dtypes.items()}
    column_types |= {name: type_ for name, type_ in stored_types.items() if name in column_types}
    fixed = {name: width for name, t in types.items() if (width := _width(t)) is not None}
    for name, dtype in frame.dtypes.items():  # computed columns
        if name not in types:
            fixed[str(name)] = getattr(dtype, "itemsize", 8)
    columns = tuple(map(str, frame.columns))
    backend = scans[0][0].backend
    filtered = frozenset(used)
    return Data(partitions, columns, filtered, sizes, fixed, stored_types, column_types, backend)


def _width(type_: pa.DataType) -> float | None:
    try:
        return type_.bit_width / 8
    except ValueError:  # not a fixed width
        return None


def embeddings_of(provenance: Provenance, embeddings: Embeddings | None) -> Embeddings | None:
    """The embeddings for a plan, paired with the frame: the given ones, or the frame's only ones.

    Raises
    ------
    OptionError
        When ``embeddings`` is None, and the frame was computed with several sets.
    PairingError
        When ``embeddings`` do not belong to the frame's shards.
    """
    if embeddings is None:
        sets = provenance.objects_of_type(Embeddings)
        if len(sets) > 1:
            raise OptionError(
                f"The frame was computed with {len(sets)} sets of embeddings. Choose one for the "
                f"plan with {argument('embeddings')}."
            )
        return sets[0] if sets else None
    must_be("embeddings", embeddings, Embeddings, "what ld.open_embeddings(...) returns")
    return embeddings.paired_with(provenance.shards)


@dataclass(frozen=True)
class Vectors:
    """Embeddings of the pieces, as described by their headers."""

    files: tuple[tuple[EmbeddingFile | ExportedEmbeddings, int], ...]
    dim: int

    @property
    def row_bytes(self) -> float:
        """Bytes per row, averaged over the files."""
        rows = sum(n for _, n in self.files)
        return sum(file.dim * _item(file) * n for file, n in self.files) / max(1, rows)

    @property
    def stored(self) -> int:
        """Bytes that are read for the pieces' rows."""
        n_bytes = 0.0
        for file, n in self.files:
            file_bytes = file.size if file.is_packed else file.n_rows * file.dim * _item(file)
            n_bytes += file_bytes * n / max(1, file.n_rows)
        return round(n_bytes)

    @property
    def resident_bytes(self) -> int:
        """Bytes of all rows in memory."""
        return sum(file.n_rows * file.dim * _item(file) for file, _ in self.files)

    @property
    def max_resident_bytes(self) -> int:
        """Maximum bytes of the embeddings that a process holds at a time."""
        files = stored_files(file for file, _ in self.files)
        largest = max((file.n_rows * file.dim * _item(file) for file in files), default=0)
        n_bytes = 0
        if any(file.is_mapped for file in files):
            n_bytes = max(_MAX_MAPPED, largest)
        if any(file.is_packed for file in files):
            n_bytes = max(n_bytes, 2 * largest)  # the last two are cached unpacked
        if any(not file.is_packed and not file.is_mapped for file in files):
            n_bytes = max(n_bytes, _MAX_FETCHED)
        return n_bytes


def vectors_of(data: Data, embeddings: Embeddings) -> Vectors:
    """The embeddings of a frame's pieces."""
    rows: dict[int, int] = {}
    for piece in data.pieces:
        rows[piece.shard.index] = rows.get(piece.shard.index, 0) + piece.n_rows
    files = tuple((embeddings.files[index], n) for index, n in rows.items())
    return Vectors(files, embeddings.dim)


def _item(file: EmbeddingFile | ExportedEmbeddings) -> int:
    return np.dtype(file.dtype).itemsize
