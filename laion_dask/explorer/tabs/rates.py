"""Rates of properties among two sets of sampled rows, with their intervals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from laion_dask.explorer.columns import CategoryColumn, NumberColumn
from laion_dask.explorer.filters import mask_of
from laion_dask.explorer.published_thresholds import PUBLISHED
from laion_dask.explorer.sample import Sample
from laion_dask.explorer.tabs.caption_terms import CaptionTerms
from laion_dask.explorer.where_text import range_text
from laion_dask.formatting import counted, printable
from laion_dask.stats import overlap_difference, wilson

#: Rates of fewer rows are suppressed, as in `laion_dask.statistics`.
MIN_ROWS = 30
#: Number of labels shown per category: the most frequent in both sets combined.
TOP = 10
#: Scores with a published threshold, above which a row counts as unsafe or watermarked.
SCORES = {"punsafe": "unsafe images", "pwatermark": "watermarks"}


@dataclass(frozen=True, eq=False)
class Sets:
    """Two sets of rows of a sample, which may share rows.

    Attributes
    ----------
    group : (n,) uint8 array
        0: in neither set; 1: in the first only; 2: in the second only; 3: in both.
    """

    group: np.ndarray

    @classmethod
    def of(cls, first: np.ndarray, second: np.ndarray) -> Sets:
        """The sets of two masks, (n,) bool each."""
        return cls(first.view(np.uint8) + 2 * second.view(np.uint8))

    @property
    def sizes(self) -> np.ndarray:
        """The number of rows of each group, (4,) int64."""
        return np.bincount(self.group, minlength=4)


@dataclass(frozen=True, eq=False)
class Section:
    """Rates of one kind.

    Attributes
    ----------
    title, note : str
    labels : sequence of str
        What the rates are of.
    k : (4, m) int64 array
        Rows of each group of `Sets` that have each property.
    n : (4,) int64 array
        Rows of each group for which that is known.
    """

    title: str
    note: str
    labels: Sequence[str]
    k: np.ndarray
    n: np.ndarray

    def state(self) -> dict[str, Any]:
        """The section as text for the page."""
        return {
            "title": printable(self.title),
            "note": printable(self.note),
            "of": [f"of {int(self.n[one] + self.n[3]):,}" for one in (1, 2)],
            "rows": [self._row(at, label) for at, label in enumerate(self.labels)],
        }

    def _row(self, at: int, label: str) -> dict[str, Any]:
        k, n = self.k[:, at], self.n
        row: dict[str, Any] = {
            "label": printable(label),
            "first": _rate(k[1] + k[3], n[1] + n[3]),
            "second": _rate(k[2] + k[3], n[2] + n[3]),
            "difference": None,
        }
        if row["first"]["rate"] is not None and row["second"]["rate"] is not None:
            row["difference"] = _difference(k, n)
        return row


def _rate(k: int, n: int) -> dict[str, Any]:
    """A rate in percent with its 95 % interval; suppressed below `MIN_ROWS` rows."""
    if n < MIN_ROWS:
        return {"rate": None, "text": f"{counted(int(n), 'row')}: too few"}
    lo, hi = (float(end) for end in wilson(int(k), int(n)))
    rate = int(k) / int(n)
    text = f"{_percent(rate)} [{_percent(lo)}, {_percent(hi)}]"
    return {"rate": rate, "lo": lo, "hi": hi, "text": text, "of": f"{int(k):,} of {int(n):,}"}


def _difference(k: np.ndarray, n: np.ndarray) -> dict[str, Any]:
    """The rate of the first set minus that of the second, in percentage points."""
    only_first, both, only_second = ((int(k[group]), int(n[group])) for group in (1, 3, 2))
    found = overlap_difference(only_second, both, only_first)
    value, lo, hi = (float(one) for one in found)
    verdict = "more" if lo > 0 else "less" if hi < 0 else "inconclusive"
    return {"text": f"{_points(value)} [{_points(lo)}, {_points(hi)}]", "verdict": verdict}


def _percent(share: float) -> str:
    share = 100 * share
    digits = 1 if share >= 10 or share == 0 else 2
    return f"{share:.{digits}f}"


def _points(share: float) -> str:
    return f"{100 * share:+.{1 if abs(share) >= 0.1 else 2}f}"


def sections(sample: Sample, sets: Sets, terms: CaptionTerms | None) -> list[Section]:
    """All rates of two sets: scores, categories, and terms in captions if they were found."""
    found = [*_scores(sample, sets)]
    for name in ("language", "domain", "tld"):
        column = sample.columns.get(name)
        if isinstance(column, CategoryColumn) and len(column.labels):
            found.append(_category(column, sets))
    if terms is not None:
        found += [_terms(sets, one, terms) for one in terms.lists]
    return found


def _scores(sample: Sample, sets: Sets) -> Iterator[Section]:
    for name, title in SCORES.items():
        column, threshold = sample.columns.get(name), PUBLISHED[name]["LAION-Aesthetics"]
        if isinstance(column, NumberColumn):
            above = mask_of(sample, range_text(name, threshold, None))
            k = np.bincount(sets.group[above], minlength=4)
            n = sets.sizes - np.bincount(sets.group[column.missing()], minlength=4)
            note = f"rows with {name}; a model's guess"
            yield Section(title, note, [f"{name} ≥ {threshold}"], k[:, None], n)


def _category(column: CategoryColumn, sets: Sets) -> Section:
    size = column.size  # the rows without a value, which have the code -1, last
    codes = np.where(column.codes < 0, size - 1, column.codes).astype(np.int64)
    table = np.bincount(sets.group * np.int64(size) + codes, minlength=4 * size).reshape(4, size)
    known = table[:, :-1]
    top = np.argsort(-known[1:].sum(axis=0), kind="stable")[:TOP]
    top = top[known[1:, top].sum(axis=0) > 0]
    rest = len(column.labels) - len(top)
    note = f"rows with a {column.name}"
    note += f"; the {len(top)} most frequent of {len(column.labels):,}" if rest else ""
    names = [column.labels[int(at)] for at in top]
    return Section(column.name, note, names, known[:, top], known.sum(axis=1))


def _terms(sets: Sets, name: str, terms: CaptionTerms) -> Section:
    missing = np.bincount(sets.group[terms.without_caption], minlength=4)
    k, labels = terms.counts(name, sets.group, 4), terms.labels(name)
    found = k[1:].sum(axis=0)
    n_absent = int(np.count_nonzero(found == 0))
    shown = np.flatnonzero(found)
    note = "rows with a caption"
    if len(shown) > TOP:
        note += f"; the {TOP} most frequent of {len(shown):,}"
        shown = np.argsort(-found, kind="stable")[:TOP]
    if n_absent:
        note += f"; {n_absent:,} of {counted(len(labels), 'group')} without a row left out"
    chosen = tuple(labels[int(at)] for at in shown)
    return Section(f"{name} terms in captions", note, chosen, k[:, shown], sets.sizes - missing)
