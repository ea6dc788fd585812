"""DataComp's subset files: the uids of the rows as one sorted array, ``uids.npy``.

The dtype is ``u8,u8``: the two halves of each uid, which has 32 hexadecimal digits. DataComp's
``resharder.py --subset-file`` finds the samples of a shard in it by ``searchsorted``, and repeats a
sample as often as its uid occurs, so repeated uids are kept. A column ``repeats`` says how often a
row is drawn; a row with 0 is not in the array.

Source: Gadre et al. 2023, "DataComp", and its ``baselines/apply_filter.py`` and ``resharder.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from laion_dask.errors import SchemaError
from laion_dask.exports.formats.base import Part, PartWriter, WrittenPart
from laion_dask.exports.formats.columns import need_text
from laion_dask.exports.formats.npy import npy_header
from laion_dask.exports.formats.repeats import check_repeats, repeats_of
from laion_dask.exports.formats.staged_files import StagedFile, StagingFolder
from laion_dask.io.storage.local_file import file_system
from laion_dask.runtime import cancellation

#: The columns that are read.
READS = ("uid", "repeats")
#: Two halves of a uid; little-endian, so that files are the same on every machine.
UID = np.dtype([("f0", "<u8"), ("f1", "<u8")])
#: Entries that are merged at a time; 64 MB.
_MERGED = 1 << 22
_DIGITS = 32
#: The value of each byte that is a hexadecimal digit; 255 for others.
_VALUES = np.full(256, 255, np.uint8)
for _characters, _first in ((b"0123456789", 0), (b"abcdef", 10), (b"ABCDEF", 10)):
    _VALUES[list(_characters)] = np.arange(_first, _first + len(_characters))


@dataclass(frozen=True)
class UidWriter(PartWriter):
    staging: StagingFolder

    def write(self, part: Part) -> list[StagedFile]:
        uids = sorted_uids(part.table)
        with self.staging.create(f"{part.stem}.npy") as sink:
            sink.write(npy_header(UID, uids.shape))
            sink.write(uids.tobytes())
        return [sink.staged.counted(uids=len(uids))]

    def merge(self, parts: Sequence[WrittenPart]) -> list[WrittenPart]:
        if len(parts) == 1:
            return list(parts)
        merged = _merge(self.staging, [part.files[0] for part in parts])
        return [WrittenPart(0, sum(part.rows for part in parts), (merged,))]

    def final_names(self, part: WrittenPart, n_parts: int) -> list[str]:
        return ["uids.npy"]


def open(staging: StagingFolder, schema: pa.Schema) -> UidWriter:
    """A writer of sorted uids.

    Raises
    ------
    ColumnError, SchemaError
        When the frame has no column ``uid`` of strings, or ``repeats`` are not integers.
    """
    need_text(schema, "uid", "datacomp")
    check_repeats(schema)
    return UidWriter(staging)


def sorted_uids(table: pa.Table) -> np.ndarray:
    """The sorted uids of a table, (n,) `UID`, each as often as its row is drawn.

    Raises
    ------
    SchemaError
        When a uid is null, or does not have 32 hexadecimal digits; when repeats are null or
        negative.
    """
    uids = _parsed(table["uid"])
    repeats = repeats_of(table)
    if repeats is not None:
        uids = np.repeat(uids, repeats)
    return uids[np.lexsort((uids["f1"], uids["f0"]))]


def _parsed(column: pa.ChunkedArray) -> np.ndarray:
    """The uids of a column, in its order."""
    if column.null_count:
        raise SchemaError(
            f"{column.null_count:,} rows have no uid, so DataComp's files cannot name them. Drop "
            "them with dropna(subset=['uid']), which the recipe records."
        )
    if not len(column):
        return np.zeros(0, UID)
    lengths = pc.binary_length(column.cast(pa.large_binary()))
    fits = pc.equal(lengths, _DIGITS)
    if not pc.all(fits).as_py():
        raise _malformed(column.filter(pc.invert(fits))[0].as_py())
    characters = np.frombuffer("".join(column.to_pylist()).encode(), np.uint8)
    digits = _VALUES[characters].reshape(-1, _DIGITS)
    wrong = (digits == 255).any(axis=1)
    if wrong.any():
        raise _malformed(column[int(wrong.argmax())].as_py())
    octets = (digits[:, 0::2] << 4) | digits[:, 1::2]
    halves = np.ascontiguousarray(octets).view(">u8").astype("<u8")
    return np.ascontiguousarray(halves).view(UID).reshape(-1)


def _malformed(uid: str) -> SchemaError:
    return SchemaError(
        f"The uid {uid!r} is not one of DataComp: expected 32 hexadecimal digits. Export in "
        "another format, or drop such rows first."
    )


def _merge(staging: StagingFolder, files: Sequence[StagedFile]) -> StagedFile:
    """Merge sorted files by ranges of their first halves; memory is that of one range."""
    total = sum(file.counts["uids"] for file in files)
    n_ranges = max(1, -(-total // _MERGED))
    edges = [2**64 * i // n_ranges for i in range(1, n_ranges)]
    bounds = np.array([_bounds(staging, file, edges) for file in files])
    with staging.create("00000000.npy") as sink:
        sink.write(npy_header(UID, (total,)))
        for i in range(n_ranges):
            pieces = [
                _read(staging, file, int(bounds[n, i]), int(bounds[n, i + 1]))
                for n, file in enumerate(files)
            ]
            uids = np.concatenate(pieces)
            sink.write(uids[np.lexsort((uids["f1"], uids["f0"]))].tobytes())
    return replace(sink.staged, counts={"uids": total})


def _bounds(staging: StagingFolder, file: StagedFile, edges: Sequence[int]) -> np.ndarray:
    firsts = np.ascontiguousarray(_read(staging, file, 0, file.counts["uids"])["f0"])
    inner = np.searchsorted(firsts, np.array(edges, np.uint64))
    return np.concatenate([[0], inner, [len(firsts)]])


def _read(staging: StagingFolder, file: StagedFile, start: int, stop: int) -> np.ndarray:
    """Entries ``start`` to ``stop`` of a staged file."""
    cancellation.check()
    fs, path = file_system(staging.locate(file.staged))
    skipped = file.bytes - file.counts["uids"] * UID.itemsize
    with fs.open(path, "rb") as opened:
        opened.seek(skipped + start * UID.itemsize)
        return np.frombuffer(opened.read((stop - start) * UID.itemsize), UID)
