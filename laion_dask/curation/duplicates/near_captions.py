"""Captions as sets of shingles, and the bands of their MinHash signatures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa

from laion_dask.backend import Frame, frame_to_arrow
from laion_dask.curation.duplicates.near_lists import Lists
from laion_dask.numerics.murmur3 import hashes_of, hashes_of_rows
from laion_dask.runtime import cancellation

#: Captions whose shingles are sorted at once.
_TEXTS = 1 << 14
#: Fills a text of fewer tokens than a shingle has; no code point and hardly a hash of a word.
_FILL = np.uint64(2**64 - 1)
#: Permutations of a MinHash signature, datasketch's own default.
PERMUTATIONS = 128
#: The least probability that a pair at the threshold shares a band.
RECALL = 0.99
#: Words of 64 bits of a sketch.
WORDS = 2
#: Of the earlier rows that share a band, a row is compared with so many, the first of those that
#: its sketch does not rule out; they are searched among so many, the first ones of the band.
COMPARED, SEARCHED = 8, 1 << 14
#: Shingles: what they are made of, and by default how many of those.
SIZES = {"characters": 5, "words": 1}


@dataclass(frozen=True)
class Captions:
    """Compares rows by the Jaccard similarity of the shingles of a text column.

    Attributes
    ----------
    column : str
    similar : float
        The least similarity of near duplicates.
    shingles : {"characters", "words"}
    size : int
        Consecutive characters or words of a shingle.
    """

    column: str
    similar: float
    shingles: str
    size: int

    @property
    def reads(self) -> list[str]:
        return [self.column]

    def compared(self, part: Frame) -> tuple[Lists, np.ndarray]:
        """The shingles of each row, and a mask of the rows that have a caption."""
        column = frame_to_arrow(part[[self.column]].reset_index(drop=True))[self.column]
        texts = column.cast(pa.large_string())
        return shingle_sets(texts, self.shingles, self.size), texts.is_valid().to_numpy()

    def sketch(self, lists: Lists) -> tuple[np.ndarray, np.ndarray]:
        """What tells that rows cannot be near: (n, 2) uint64 bits, and the number of shingles.

        The shingles that only one of two rows has are at least as many as the bits that differ, and
        at least as many as their numbers differ by.
        """
        return lists.parities(WORDS), lists.sizes

    @property
    def is_sketch_exact(self) -> bool:
        """Whether a sketch tells which rows are near."""
        return False

    @property
    def limits(self) -> tuple[float, float]:
        """The most shingles that only one row of a near pair has: a number, and a share of all.

        Of a and b shingles with the similarity s, (1 - s) / (1 + s) * (a + b) are not shared.
        """
        return 1e-6, (1 - self.similar) / (1 + self.similar)

    @property
    def compared_rows(self) -> tuple[int, int]:
        """How many rows a row is compared with in a band, and among how many they are searched."""
        return COMPARED, SEARCHED

    def bands(self, lists: Lists) -> np.ndarray:
        """A hash of each band of each row's signature, (n, bands) uint64."""
        from datasketch import MinHash

        n, (bands, rows) = len(lists.sizes), bands_of(self.similar)
        signatures = np.empty((n, bands, rows), np.uint64)
        low = (lists.values & np.uint64(2**32 - 1)).tolist()
        ends = lists.offsets.tolist()
        each = (low[a:b] for a, b in pairwise(ends))
        options: dict[str, Any] = {"num_perm": PERMUTATIONS, "seed": 1, "hashfunc": _itself}
        for number, minhash in enumerate(MinHash.generator(each, **options)):
            if number % 1024 == 0:
                cancellation.check()
            signatures[number] = minhash.hashvalues[: bands * rows].reshape(bands, rows)
        numbered = np.empty((n, bands, rows + 1), np.uint64)
        numbered[:, :, :rows], numbered[:, :, rows] = signatures, np.arange(bands)
        return hashes_of_rows(numbered.reshape(n * bands, rows + 1))[:, 0].reshape(n, bands)

    def near(
        self, one: Lists, at: np.ndarray, other: Lists, other_at: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The similarity of each pair, and whether it is near."""
        similarity = one.jaccard(at, other, other_at)
        return similarity, similarity >= self.similar


def bands_of(similar: float) -> tuple[int, int]:
    """The number of bands of a signature, and of its values in each.

    Two texts of similarity s share one of b bands of r values with the probability 1 - (1 - sʳ)ᵇ
    (Leskovec, Rajaraman and Ullman 2020, Mining of Massive Datasets, section 3.4.2). The bands have
    as many values as leave that `RECALL` at the threshold.

    Examples
    --------
    >>> bands_of(0.8)
    (21, 6)
    """
    for rows in range(PERMUTATIONS, 1, -1):
        bands = PERMUTATIONS // rows
        if 1 - (1 - similar**rows) ** bands >= RECALL:
            return bands, rows
    return PERMUTATIONS, 1


def words_of(text: str) -> list[str]:
    """The words of a text between white space, in lower case."""
    return text.lower().split()


def shingle_sets(
    texts: pa.ChunkedArray,
    shingles: str,
    size: int,
    split: Callable[[str], list[str]] = words_of,
) -> Lists:
    """The set of shingles of each text, as hashes of 64 bits; those of a null mean nothing.

    Texts are compared in lower case, with single spaces between words and none at the ends. A
    shingle is every run of ``size`` characters (Unicode code points) or words. A text of fewer is
    one shingle.
    """
    sizes, values = [np.empty(0, np.int64)], [np.empty(0, np.uint64)]
    for at in range(0, len(texts), _TEXTS):
        cancellation.check()
        words = [split(text or "") for text in texts[at : at + _TEXTS].to_pylist()]
        tokens, lengths = _characters(words) if shingles == "characters" else _words(words)
        hashes, rows = _windows(tokens, lengths, size)
        lists = Lists.sets(hashes, rows, len(words))
        sizes.append(lists.sizes)
        values.append(lists.values)
    offsets = np.append(0, np.cumsum(np.concatenate(sizes)))
    return Lists(offsets.astype(np.int64), np.concatenate(values))


def _characters(words: list[list[str]]) -> tuple[np.ndarray, np.ndarray]:
    texts = [" ".join(one) for one in words]
    codes = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), np.uint32)
    return codes.astype(np.uint64), np.array([len(text) for text in texts], np.int64)


def _words(words: list[list[str]]) -> tuple[np.ndarray, np.ndarray]:
    flat = pa.array([word for one in words for word in one], pa.large_string())
    return hashes_of(flat)[:, 0], np.array([len(one) for one in words], np.int64)


def _windows(tokens: np.ndarray, lengths: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The hash of each run of tokens, and the number of its text."""
    padded = np.maximum(lengths, size)
    starts = np.cumsum(padded) - padded
    filled = np.full(int(padded.sum()), _FILL)
    filled[_positions(starts, lengths)] = tokens
    counts = padded - size + 1
    windows = np.lib.stride_tricks.sliding_window_view(filled, size) if len(filled) else None
    rows = np.repeat(np.arange(len(lengths)), counts)
    if windows is None:
        return np.empty(0, np.uint64), rows
    return hashes_of_rows(windows[_positions(starts, counts)])[:, 0], rows


def _positions(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The positions from each start on, as many as its count."""
    first = np.cumsum(counts) - counts
    return np.arange(int(counts.sum())) + np.repeat(starts - first, counts)


def _itself(value: int) -> int:
    return value
