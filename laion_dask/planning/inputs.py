"""What footers and headers tell of a frame and its embeddings; no data is read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from laion_dask.dtypes import kind_of
from laion_dask.errors import OptionError, argument, must_be
from laion_dask.frame.provenance import Provenance
from laion_dask.frame.where_kernel import passes
from laion_dask.io.embeddings.embeddings import Embeddings
from laion_dask.io.embeddings.exported import ExportedEmbeddings, stored_files
from laion_dask.io.embeddings.file import EmbeddingFile
from laion_dask.io.parquet.column_sizes import ColumnSize, column_sizes
from laion_dask.io.parquet.shard import Piece, Shard
from laion_dask.schema import PROVENANCE

#: Of more shards than this only some footers are read for their columns' sizes, evenly spread.
MOST_FOOTERS = 64
#: What a process keeps mapped of local embeddings at most, but for one larger file (io.kept_maps).
_KEPT = 1 << 31
#: What is fetched at once of embeddings in a store: 16 runs of 16 MiB (io.embedding_files).
_FETCHED = 16 << 24
#: A partition is there as Arrow and as a frame while it is made.
_COPIES = 2


@dataclass(frozen=True)
class Data:
    """A frame as its footers describe it.

    Attributes
    ----------
    pieces : tuple of Piece
    columns : tuple of str
        Of the frame, computed ones included.
    filtered : frozenset of str
        Columns that the frame's filters read.
    sizes : dict of path to the columns' sizes
        By their names in the frame; of some shards, where there are many.
    fixed : dict of str to float
        Bytes of a value in memory, for columns of a fixed width.
    kinds : dict of str to str
        Of the columns that the scan can read; see `laion_dask.dtypes`.
    all_kinds : dict of str to str
        Of the frame's columns, computed ones included.
    """

    pieces: tuple[Piece, ...]
    columns: tuple[str, ...]
    filtered: frozenset[str]
    sizes: dict[str, dict[str, ColumnSize]]
    fixed: dict[str, float]
    kinds: dict[str, str]
    all_kinds: dict[str, str]
    backend: str

    @property
    def rows(self) -> int:
        return sum(piece.n_rows for piece in self.pieces)

    @property
    def partition_rows(self) -> int:
        """Rows of the largest partition."""
        return max((piece.n_rows for piece in self.pieces), default=0)

    @property
    def group_rows(self) -> int:
        """Rows of the largest row group, of the shards whose footers were read."""
        return max(
            (s.group_rows for sizes in self.sizes.values() for s in sizes.values()), default=0
        )

    @property
    def shards(self) -> list[Shard]:
        return list({piece.shard.path: piece.shard for piece in self.pieces}.values())

    def stored(self, columns: Iterable[str]) -> int:
        """Bytes of some columns of the pieces, as the files hold them."""
        wanted = set(columns)
        known = {
            p: sum(s.stored for n, s in c.items() if n in wanted) for p, c in self.sizes.items()
        }
        whole = sum(shard.size for shard in self.shards if shard.path in known)
        share = sum(known.values()) / whole if whole else 0.0
        found = 0.0
        for piece in self.pieces:
            shard = piece.shard
            of_shard = known.get(shard.path, share * shard.size)
            found += of_shard * piece.n_rows / max(1, shard.n_rows)
        return round(found)

    def row_memory(self, columns: Iterable[str]) -> float:
        """Bytes of a row of some columns in memory, while a partition of them is made.

        A number takes its width and a byte for its mask; a text its bytes in the file before
        compression, and 8 for where it starts.
        """
        n = sum(shard.n_rows for shard in self.shards if shard.path in self.sizes)
        found = 4.0 + 8.0  # shard and row
        for name in set(columns) - set(PROVENANCE):
            if name in self.fixed:
                found += self.fixed[name] + 1
            else:
                plain = sum(sizes[name].plain for sizes in self.sizes.values() if name in sizes)
                found += plain / max(1, n) + 8
        return _COPIES * found


def open_data(provenance: Provenance) -> Data:
    """What is known of a frame before it is read. Eager, but reads footers only.

    Raises
    ------
    ProvenanceError
        When the frame does not lead back to `read_shards`.
    ShardError
        When a footer can no longer be read.
    """
    frame, scans = provenance.frame, provenance.sources
    pieces = tuple(piece for _, some in scans for piece in some)
    shards = list({piece.shard.path: piece.shard for piece in pieces}.values())
    at = np.unique(np.linspace(0, len(shards) - 1, MOST_FOOTERS).round().astype(int))
    chosen = [shards[i] for i in at] if shards else []
    sizes = {}
    for shard, found in zip(chosen, column_sizes([s.path for s in chosen]), strict=True):
        names = {old: new for old, new, _ in shard.columns}
        sizes[shard.path] = {names.get(old, old): size for old, size in found.items()}
    types = {name: type_ for scan, _ in scans for name, type_ in scan.types}
    used = {name for scan, _ in scans if scan.where is not None for name in scan.where.columns}
    used |= {name for _, (said,) in provenance.uses_of(passes) for name in said.columns}
    kinds = {name: kind for scan, _ in scans for name, kind in scan.kinds.items()}
    all_kinds = {str(name): kind_of(dtype) for name, dtype in frame.dtypes.items()}
    all_kinds |= {name: kind for name, kind in kinds.items() if name in all_kinds}
    fixed = {name: width for name, t in types.items() if (width := _width(t)) is not None}
    for name, dtype in frame.dtypes.items():  # computed ones
        if name not in types:
            fixed[str(name)] = getattr(dtype, "itemsize", 8)
    columns = tuple(map(str, frame.columns))
    backend = scans[0][0].backend
    return Data(pieces, columns, frozenset(used), sizes, fixed, kinds, all_kinds, backend)


def _width(type_: pa.DataType) -> float | None:
    try:
        return type_.bit_width / 8
    except ValueError:  # not of a fixed width
        return None


def embeddings_of(provenance: Provenance, given: Embeddings | None) -> Embeddings | None:
    """The embeddings that are meant, paired with the frame: those given, or its only ones.

    Raises
    ------
    OptionError
        When none are given, and the frame was computed with several.
    PairingError
        When they are not those of the frame's shards.
    """
    if given is None:
        found = provenance.objects_of_type(Embeddings)
        if len(found) > 1:
            raise OptionError(
                f"The frame was computed with {len(found)} sets of embeddings. Say with "
                f"{argument('embeddings')} which of them the plan is to count."
            )
        return found[0] if found else None
    must_be("embeddings", given, Embeddings, "what ld.open_embeddings(...) returns")
    return given.paired_with(provenance.shards)


@dataclass(frozen=True)
class Vectors:
    """Embeddings of some pieces, as their headers describe them."""

    files: tuple[tuple[EmbeddingFile | ExportedEmbeddings, int], ...]
    dim: int

    @property
    def row_bytes(self) -> float:
        """Bytes of a row, the mean of the files."""
        rows = sum(n for _, n in self.files)
        return sum(file.dim * _item(file) * n for file, n in self.files) / max(1, rows)

    @property
    def stored(self) -> int:
        """Bytes that reading the pieces' rows takes."""
        found = 0.0
        for file, n in self.files:
            whole = file.size if file.is_packed else file.n_rows * file.dim * _item(file)
            found += whole * n / max(1, file.n_rows)
        return round(found)

    @property
    def held(self) -> int:
        """Bytes of all of them, in memory."""
        return sum(file.n_rows * file.dim * _item(file) for file, _ in self.files)

    @property
    def most_held(self) -> int:
        """Bytes that a process holds of them at most, however many there are."""
        files = stored_files(file for file, _ in self.files)
        largest = max((file.n_rows * file.dim * _item(file) for file in files), default=0)
        found = 0
        if any(file.is_mapped for file in files):
            found = max(_KEPT, largest)
        if any(file.is_packed for file in files):
            found = max(found, 2 * largest)  # the last two are kept unpacked
        if any(not file.is_packed and not file.is_mapped for file in files):
            found = max(found, _FETCHED)
        return found


def vectors_of(data: Data, embeddings: Embeddings) -> Vectors:
    """The embeddings of a frame's pieces."""
    rows: dict[int, int] = {}
    for piece in data.pieces:
        rows[piece.shard.index] = rows.get(piece.shard.index, 0) + piece.n_rows
    files = tuple((embeddings.files[index], n) for index, n in rows.items())
    return Vectors(files, embeddings.dim)


def _item(file: EmbeddingFile | ExportedEmbeddings) -> int:
    return np.dtype(file.dtype).itemsize
