"""Perceptual hashes of 64 bits, and the parts that near ones have in common."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from laion_dask.backend import Frame, frame_to_arrow
from laion_dask.curation.duplicates.near_lists import Lists
from laion_dask.numerics.murmur3 import hashes_of_rows

BITS = 64
_DIGITS = "^[0-9a-fA-F]{16}$"


@dataclass(frozen=True)
class Hashes:
    """Compares rows by the Hamming distance of a column of hashes of 64 bits.

    Attributes
    ----------
    column : str
    radius : int
        The largest distance of near duplicates.
    n_parts : int
        A hash is cut into that many parts. Two hashes that differ in at most ``radius`` bits agree
        in at least ``n_parts - radius`` of them (pigeonhole), so each choice of so many parts is a
        band.
    """

    column: str
    radius: int
    n_parts: int

    @property
    def reads(self) -> list[str]:
        return [self.column]

    def compared(self, part: Frame) -> tuple[Lists, np.ndarray]:
        """The hash of each row, and a mask of the rows that have one."""
        table = frame_to_arrow(part[[self.column]].reset_index(drop=True))
        values, valid = hashes_of_column(table[self.column])
        return Lists(np.arange(len(values) + 1), values), valid

    def sketch(self, lists: Lists) -> tuple[np.ndarray, np.ndarray]:
        """The hashes themselves, (n, 1) uint64, and zeros."""
        return lists.values.reshape(-1, 1), np.zeros(len(lists.values), np.int64)

    @property
    def is_sketch_exact(self) -> bool:
        """Whether a sketch tells which rows are near."""
        return True

    @property
    def limits(self) -> tuple[float, float]:
        """The most bits that differ, of hashes of any size."""
        return float(self.radius), 0.0

    @property
    def compared_rows(self) -> tuple[int, int]:
        """One pair is enough, because sketches tell exactly; it is searched among all rows."""
        return 1, 2**62

    def bands(self, lists: Lists) -> np.ndarray:
        """A hash of each choice of parts of each row, (n, bands) uint64."""
        values, n = lists.values, len(lists.values)
        masks = np.array(band_masks(self.radius, self.n_parts), np.uint64)
        chosen = np.empty((n, len(masks), 2), np.uint64)
        chosen[:, :, 0], chosen[:, :, 1] = values[:, None] & masks, masks
        return hashes_of_rows(chosen.reshape(-1, 2))[:, 0].reshape(n, len(masks))

    def near(
        self, one: Lists, at: np.ndarray, other: Lists, other_at: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The share of equal bits of each pair, and whether it is near."""
        distance = np.bitwise_count(one.values[at] ^ other.values[other_at])
        return 1 - distance / BITS, distance <= self.radius


def band_masks(radius: int, n_parts: int) -> list[int]:
    """The bits of each band: each choice of ``n_parts - radius`` parts of 64 bits."""
    ends = [BITS * number // n_parts for number in range(n_parts + 1)]
    parts = [(1 << end) - (1 << start) for start, end in pairwise(ends)]
    return [sum(chosen) for chosen in combinations(parts, n_parts - radius)]


def part_count(radius: int, n_rows: int) -> int:
    """Into how many parts hashes are cut: more for more rows, so that bands tell more apart."""
    more = 1 if n_rows < 1 << 20 else 2 if n_rows < 1 << 27 else 3
    return min(radius + more, BITS)


def hashes_of_column(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """The hashes of a column as uint64, (n,), and a mask of the rows that have one.

    Text that is not 16 hexadecimal digits is no hash.
    """
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    values = np.zeros(len(column), np.uint64)
    if not pa.types.is_integer(column.type):
        texts = column.cast(pa.large_string())
        valid = pc.fill_null(pc.match_substring_regex(texts, _DIGITS), False).to_numpy()
        joined = "".join(texts.filter(pa.array(valid)).to_pylist())
        values[valid] = np.frombuffer(bytes.fromhex(joined), ">u8")
        return values, valid
    valid = column.is_valid().to_numpy()
    unsigned = pa.types.is_unsigned_integer(column.type)
    wide = column.cast(pa.uint64() if unsigned else pa.int64())
    filled = pc.fill_null(wide, 0).to_numpy()
    return np.ascontiguousarray(filled).view(np.uint64), valid
