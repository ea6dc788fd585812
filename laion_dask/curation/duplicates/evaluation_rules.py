"""How rows are compared with an evaluation set: by hash, by caption, and by embedding."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from laion_dask.backend import Frame, frame_to_arrow
from laion_dask.curation.clusters.nearest import Nearest
from laion_dask.curation.duplicates.near_captions import shingle_sets
from laion_dask.curation.duplicates.near_hashes import band_masks, hashes_of_column
from laion_dask.curation.duplicates.near_lists import Lists
from laion_dask.curation.smallest import decided
from laion_dask.errors import OptionError
from laion_dask.io.embeddings.embeddings import Embeddings
from laion_dask.io.embeddings.vector_blocks import vector_blocks
from laion_dask.numerics.torch_threads import one_torch_thread
from laion_dask.runtime import cancellation

_WORD = re.compile(r"\w+")
#: Rows that are compared at once.
_ROWS = 1 << 14


def word_list(text: str) -> list[str]:
    """The words of a caption: runs of letters, digits and underscores, in lower case."""
    return _WORD.findall(text.lower())


def whole(text: str) -> list[str]:
    """The words of a caption, as one."""
    words = word_list(text)
    return [" ".join(words)] if words else []


@dataclass(frozen=True, eq=False)
class NearHashes:
    """The hashes of an evaluation set, to find those within a radius of others.

    Attributes
    ----------
    hashes : (n,) uint64 array
        Different and in ascending order.
    radius : int
    """

    hashes: np.ndarray
    radius: int

    @classmethod
    def of(cls, entries: pa.ChunkedArray, radius: int) -> NearHashes:
        """The hashes of a list; nulls are left out.

        Raises
        ------
        OptionError
            When an entry is not a hash of 64 bits.
        """
        values, valid = hashes_of_column(entries)
        wrong = np.flatnonzero(~valid & entries.is_valid().to_numpy())
        if len(wrong):
            raise OptionError(
                f"An entry of the evaluation set is {entries[int(wrong[0])].as_py()!r}. Expected "
                "hashes of 64 bits: integers, or 16 hexadecimal digits."
            )
        return cls(np.unique(values[valid]), radius)

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.hashes.tobytes()).hexdigest()

    def near(self, values: np.ndarray) -> np.ndarray:
        """Mask of the values, (n,) uint64, within the radius of some hash, exactly."""
        found = np.zeros(len(values), bool)
        for mask in band_masks(self.radius, min(self.radius + 2, 64)):
            cancellation.check()
            bits = np.uint64(mask)
            order = np.argsort(self.hashes & bits, kind="stable")
            own = self.hashes[order]
            keys = own & bits
            for at in range(0, len(values), _ROWS):
                left = np.flatnonzero(~found[at : at + _ROWS]) + at
                self._add(found, left, values, own, keys, bits)
        return found

    def _add(self, found, left, values, own, keys, bits) -> None:
        wanted = values[left] & bits
        first, end = (np.searchsorted(keys, wanted, side=side) for side in ("left", "right"))
        while len(left):
            open_ = first < end
            left, first, end = left[open_], first[open_], end[open_]
            near = np.bitwise_count(values[left] ^ own[first]) <= self.radius
            found[left[near]] = True
            left, first, end = left[~near], first[~near] + 1, end[~near]


@dataclass(frozen=True, eq=False)
class Grams:
    """The n-grams of the captions of an evaluation set, as hashes of 64 bits.

    Attributes
    ----------
    hashes : (n,) uint64 array
        Different and in ascending order.
    size : int or None
        Words of an n-gram; None: whole captions. A caption of fewer words is an n-gram of its own.
    """

    hashes: np.ndarray
    size: int | None

    @classmethod
    def of(cls, entries: pa.ChunkedArray, size: int | None) -> Grams:
        """Those of the captions of a list; nulls and captions without words are left out."""
        texts = [text for text in entries.to_pylist() if text is not None and word_list(text)]
        column = pa.chunked_array([pa.array(texts, pa.large_string())])
        return cls(np.unique(_grams(column, size).values), size)

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.hashes.tobytes()).hexdigest()

    def shared(self, texts: pa.ChunkedArray) -> np.ndarray:
        """Mask of the captions that share an n-gram, (n,) bool."""
        lists = _grams(texts, self.size)
        found = np.zeros(len(texts), bool)
        if len(self.hashes):
            at = np.minimum(np.searchsorted(self.hashes, lists.values), len(self.hashes) - 1)
            rows = np.repeat(np.arange(len(texts)), lists.sizes)
            found[rows[self.hashes[at] == lists.values]] = True
        return found


def _grams(texts: pa.ChunkedArray, size: int | None) -> Lists:
    if size is None:
        return shingle_sets(texts, "words", 1, whole)
    return shingle_sets(texts, "words", size, word_list)


def far_from_hashes(part: Frame, column: str, hashes: NearHashes, keep_missing: bool) -> Frame:
    """Decisions: keep the rows that are not within the radius of a hash."""
    values, valid = hashes_of_column(_column(part, column))
    return _decisions(part, hashes.near(values), valid, keep_missing)


def without_grams(part: Frame, column: str, grams: Grams, keep_missing: bool) -> Frame:
    """Decisions: keep the rows whose caption shares no n-gram."""
    texts = _column(part, column).cast(pa.large_string())
    return _decisions(part, grams.shared(texts), texts.is_valid().to_numpy(), keep_missing)


def far_from_vectors(
    part: Frame, embeddings: Embeddings, vectors: np.ndarray, cosine: float, keep_missing: bool
) -> Frame:
    """Decisions: keep the rows whose cosine with every vector is below a threshold, exactly."""
    found = np.full(len(part), np.nan)
    with one_torch_thread():
        nearest = Nearest(vectors)
        for (x,), positions in vector_blocks(part, [embeddings]):
            _, found[positions] = nearest.of(x)
    return _decisions(part, found >= cosine, ~np.isnan(found), keep_missing)


def _column(part: Frame, name: str) -> pa.ChunkedArray:
    return frame_to_arrow(part[[name]].reset_index(drop=True))[name]


def _decisions(part: Frame, near: np.ndarray, valid: np.ndarray, keep_missing: bool) -> Frame:
    return decided(part, ~(near & valid), np.zeros(len(part), bool) if keep_missing else ~valid)
