"""Labels of the dense regions of a map: words that are frequent there and rare elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np

from laion_dask.explorer.caption_words import incidence
from laion_dask.explorer.safe_rows import safe_rows
from laion_dask.explorer.sample import Sample
from laion_dask.frame.row_hash import identity_hash

#: Maximum number of captions read; more would not change the labels much.
N_ROWS = 40_000
#: Labels of a view, and candidates for their places.
N_LABELS, _N_PLACES = 12, 36
#: Rows are counted in this many cells along each side of a view; a place is the middle of 5 x 5
#: cells.
_CELLS, _AROUND = 32, 2
#: Minimum distance between places, and the radius of a region, as shares of the view's width.
_APART, _RADIUS = 0.15, 0.09
#: Minimum rows of a region; minimum captions in it with the word, as a number and as a share.
_FEWEST_ROWS, _FEWEST_CAPTIONS, _LEAST_SHARE = 12, 4, 0.05
#: Minimum ratio of a word's frequency in the region to that in the rest of the view.
_LIFT = 1.5

Label = tuple[float, float, str]


class RegionLabels:
    """The labels of any part of a map. Immutable and deterministic.

    Words are ranked by the log-likelihood ratio of their frequencies in the region and in the rest
    of the view (Dunning 1993, "Accurate methods for the statistics of surprise and coincidence").

    Parameters
    ----------
    points : (n, 2) float array
        Rows with NaN are on no map.
    captions : sequence of n str or None
        Untrusted text.
    """

    def __init__(self, points: np.ndarray, captions: Sequence[str | None]) -> None:
        self._points = np.asarray(points, np.float64).reshape(-1, 2)
        self._words, self._caption, self._word = incidence(captions)

    @classmethod
    def of_sample(cls, sample: Sample, points: np.ndarray, name: str = "text") -> RegionLabels:
        """The labels of a sample's captions. Eager; reads up to 40,000 of them.

        Only captions of rows that are known to be safe are used: none if the sample has no column
        ``punsafe``.
        """
        if name not in sample.names:
            return cls(np.empty((0, 2)), [])
        usable = np.isfinite(points).all(axis=1)
        usable &= safe_rows(sample, "punsafe")
        chosen = np.flatnonzero(usable)
        if len(chosen) > N_ROWS:
            hashes = identity_hash(sample.shard[chosen], sample.row[chosen], 0)
            chosen = chosen[hashes <= np.partition(hashes, N_ROWS - 1)[N_ROWS - 1]]
        return cls(points[chosen], sample.texts(name, chosen))

    def __call__(
        self, x0: float, x1: float, y0: float, y1: float, n: int = N_LABELS
    ) -> list[Label]:
        """The labels of a view, at most ``n``: (x, y, word), the densest regions first."""
        corner, size = np.array([x0, y0]), np.array([x1 - x0, y1 - y0])
        if not (np.isfinite(size).all() and (size > 0).all()):
            return []
        at = (self._points - corner) / size
        in_view = ((at >= 0) & (at <= 1)).all(axis=1)
        if in_view.sum() < _FEWEST_ROWS:
            return []
        view = _View(at, in_view, *self._pairs(in_view), len(self._words))
        found = islice(view.labels(), n)
        return [(*(corner + middle * size).tolist(), self._words[word]) for middle, word in found]

    def _pairs(self, in_view: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The captions in the view, and their words."""
        there = in_view[self._caption]
        return self._caption[there], self._word[there]


class _View:
    """The rows of a view, in units of its sides, and the words of their captions."""

    def __init__(
        self,
        at: np.ndarray,
        in_view: np.ndarray,
        caption: np.ndarray,
        word: np.ndarray,
        n_words: int,
    ) -> None:
        self._at, self._in_view, self._caption, self._word = at, in_view, caption, word
        self._n_words, self._n = n_words, int(in_view.sum())
        self._total = np.bincount(word, minlength=n_words)

    def labels(self) -> Iterator[tuple[np.ndarray, int]]:
        """The middle of each labeled region, and the number of its word; each word once."""
        used: set[int] = set()
        for place in places(self._at[self._in_view]):
            inside = self._in_view & (((self._at - place) ** 2).sum(axis=1) <= _RADIUS**2)
            n_inside = int(inside.sum())
            if n_inside < _FEWEST_ROWS:
                continue
            in_region = inside[self._caption]
            counts = np.bincount(self._word[in_region], minlength=self._n_words)
            score = surprise(counts, n_inside, self._total - counts, self._n - n_inside)
            score[list(used)] = 0
            if not len(score) or score.max() <= 0:
                continue
            word = int(score.argmax())
            used.add(word)
            own = self._caption[in_region & (self._word == word)]
            yield self._at[own].mean(axis=0), word


def places(at: np.ndarray) -> list[np.ndarray]:
    """The middles of the densest parts of a view, the densest first, each (2,) in [0, 1].

    Parameters
    ----------
    at : (n, 2) array
        Points in [0, 1].
    """
    cells = np.minimum((at * _CELLS).astype(np.int64), _CELLS - 1)
    counts = np.bincount(cells[:, 0] * _CELLS + cells[:, 1], minlength=_CELLS**2)
    padded = np.pad(counts.reshape(_CELLS, _CELLS), _AROUND)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (2 * _AROUND + 1,) * 2)
    density = windows.sum(axis=(2, 3)).ravel()
    chosen: list[np.ndarray] = []
    for cell in np.argsort(-density, kind="stable").tolist():
        if density[cell] == 0 or len(chosen) == _N_PLACES:
            break
        middle = (np.array(divmod(cell, _CELLS)) + 0.5) / _CELLS
        if all(((middle - one) ** 2).sum() >= _APART**2 for one in chosen):
            chosen.append(middle)
    return chosen


def surprise(inside: np.ndarray, n_inside: int, outside: np.ndarray, n_outside: int) -> np.ndarray:
    """The log-likelihood ratio of each word; 0 if it is too rare inside, or as frequent outside.

    Parameters
    ----------
    inside, outside : (words,) int arrays
        Captions with each word.
    n_inside, n_outside : int
        All captions.
    """
    share = inside / n_inside
    rest = (outside + 0.5) / (n_outside + 1) if n_outside else np.zeros(len(outside))
    enough = np.maximum(_FEWEST_CAPTIONS, _LEAST_SHARE * n_inside)
    pooled = (inside + outside) / max(1, n_inside + n_outside)
    other = outside / max(1, n_outside)
    ratio = 2 * (
        _log_likelihood(inside, n_inside, share)
        + _log_likelihood(outside, n_outside, other)
        - _log_likelihood(inside, n_inside, pooled)
        - _log_likelihood(outside, n_outside, pooled)
    )
    # If nothing is left of the view outside the region, use the most frequent word.
    ratio = ratio if n_outside else inside.astype(float)
    return np.where((inside >= enough) & (share >= _LIFT * rest), ratio, 0.0)


def _log_likelihood(k: np.ndarray, n: int, p: np.ndarray) -> np.ndarray:
    """k log p + (n - k) log(1 - p), with 0 log 0 = 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        yes = np.where(k > 0, k * np.log(p), 0.0)
        no = np.where(n - k > 0, (n - k) * np.log1p(-p), 0.0)
    return np.asarray(yes + no)
