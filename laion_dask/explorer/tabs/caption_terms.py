"""The captions of a sample that mention terms of the packaged lists, found once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from laion_dask.aggregations.default_set import LISTS
from laion_dask.aggregations.grouping.terms import terms
from laion_dask.explorer.captions import caption_column
from laion_dask.explorer.exploration import Exploration
from laion_dask.explorer.jobs import Job, Jobs
from laion_dask.explorer.sample import Sample
from laion_dask.text.matcher import mentions

_BLOCK = 1 << 16


@dataclass(frozen=True, eq=False)
class CaptionTerms:
    """Mentions of terms in the captions of a sample.

    Attributes
    ----------
    lists : tuple of str
        The names of the lists.
    rows : (m,) int32 array
        Positions in the sample; a caption that mentions several groups occurs several times.
    groups : (m,) int32 array
        The group that the caption mentions, numbered list by list.
    without_caption : (k,) int32 array
        Positions of the rows without a caption.
    """

    lists: tuple[str, ...]
    rows: np.ndarray
    groups: np.ndarray
    without_caption: np.ndarray

    @classmethod
    def of(
        cls, sample: Sample, column: str, progress: Callable[[int, int], object]
    ) -> CaptionTerms:
        """Find the terms in a column of a sample. Eager; half a second for a million captions.

        Parameters
        ----------
        sample : Sample
        column : str
        progress : callable
            ``progress(done, total)`` is called with numbers of rows.
        """
        chosen = tuple(terms(name).terms for name in LISTS)
        rows, groups, missing = [_NONE], [_NONE], [_NONE]
        for start in range(0, sample.n, _BLOCK):
            progress(start, sample.n)
            part = slice(start, min(start + _BLOCK, sample.n))
            texts = pa.array(sample.values(column, part), pa.large_string(), from_pandas=True)
            at, group = mentions(pa.chunked_array([texts]), chosen)
            rows.append((at + start).astype(np.int32))
            groups.append(group.astype(np.int32))
            null = texts.is_null().to_numpy(zero_copy_only=False)
            missing.append((np.flatnonzero(null) + start).astype(np.int32))
        return cls(LISTS, *(np.concatenate(one) for one in (rows, groups, missing)))

    def labels(self, name: str) -> tuple[str, ...]:
        """The groups of a list."""
        return terms(name).labels

    def counts(self, name: str, of_row: np.ndarray, n: int) -> np.ndarray:
        """How many rows with each of ``n`` numbers mention each group of a list, (n, m) int64."""
        first = sum(len(self.labels(one)) for one in self.lists[: self.lists.index(name)])
        size = len(self.labels(name))
        here = (self.groups >= first) & (self.groups < first + size)
        at = of_row[self.rows[here]] * np.int64(size) + (self.groups[here] - first)
        return np.bincount(at, minlength=n * size).reshape(n, size)


class TermSearch:
    """Searches the captions of an exploration in the background, once for all tabs.

    Parameters
    ----------
    exploration : Exploration
    jobs : Jobs
    found : callable
        Called, without arguments, once ``exploration.caption_terms`` is there.
    """

    def __init__(self, exploration: Exploration, jobs: Jobs, found: Callable[[], object]) -> None:
        self._exploration, self._jobs, self._found = exploration, jobs, found
        self.job: Job | None = None

    @property
    def terms(self) -> CaptionTerms | None:
        """What was found; None before."""
        found: CaptionTerms | None = self._exploration.caption_terms
        return found

    @property
    def is_running(self) -> bool:
        return self.job is not None and not self.job.has_ended

    def start(self) -> None:
        """Start the search, unless it was started; a search that was canceled starts again."""
        was_canceled = self.job is not None and self.job.state == "canceled"
        has_captions = bool(caption_column(self._exploration.sample))
        if self.terms is None and has_captions and (self.job is None or was_canceled):
            self.job = self._jobs.start("finding terms in captions", self._search, then=self._keep)

    def _search(self, job: Job) -> CaptionTerms:
        sample = self._exploration.sample
        return self.terms or CaptionTerms.of(sample, caption_column(sample), job.progress)

    def _keep(self, terms: CaptionTerms) -> None:
        self._exploration.caption_terms = terms
        self._found()


_NONE = np.empty(0, np.int32)
