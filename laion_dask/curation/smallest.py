"""Keep a number of rows with the smallest ranks, of the whole frame or of each of its strata.

The threshold is exact. Each partition writes its ranks, sorted, to a file of 8 bytes a row; the
threshold is then found digit by digit, with one file open at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import dask.dataframe as dd
import numpy as np
import pyarrow as pa
from dask.delayed import Delayed

from laion_dask.backend import Frame, frame_from_arrow, is_cudf
from laion_dask.errors import OptionError
from laion_dask.io.storage.spill import SpillFolder
from laion_dask.runtime import cancellation, graph
from laion_dask.runtime.disk_shuffle import spill_folder

#: The column of decisions.
KEEP = "keep"
#: Bits of a rank that are found at a time.
_BITS = 8
#: Strata are few: each is searched in every file.
MAX_STRATA = 10_000


@dataclass(frozen=True, eq=False)
class Ranked:
    """The rank of each row of a partition.

    Attributes
    ----------
    ranks : (n,) uint64 array
    missing : (n,) bool array
        Rows that lack what the rank or the stratum is made of; they are unscored.
    never : (n,) bool array or None
        Rows that are never kept, such as those of weight 0.
    strata : (n,) uint64 array or None
        A number for the stratum of each row; None: there is one stratum.
    """

    ranks: np.ndarray
    missing: np.ndarray
    never: np.ndarray | None = None
    strata: np.ndarray | None = None


class Quota(Protocol):
    """How many rows of a stratum are kept."""

    def __call__(self, n_rows: int) -> int:
        """For a stratum of ``n_rows`` rows, including those without a rank."""


@dataclass(frozen=True, eq=False)
class Thresholds:
    """The largest rank that is kept of each stratum.

    Attributes
    ----------
    strata : (s,) uint64 array
        In ascending order.
    ranks : (s,) uint64 array
    is_empty : (s,) bool array
        Strata of which no row is kept.
    """

    strata: np.ndarray
    ranks: np.ndarray
    is_empty: np.ndarray

    def keep(self, ranked: Ranked) -> np.ndarray:
        """Mask of the rows to keep; what it says of missing rows means nothing."""
        if not len(self.strata):
            return np.zeros(len(ranked.ranks), bool)
        strata = _strata(ranked)
        at = np.minimum(np.searchsorted(self.strata, strata), len(self.strata) - 1)
        keep = (ranked.ranks <= self.ranks[at]) & ~self.is_empty[at] & (self.strata[at] == strata)
        return keep if ranked.never is None else keep & ~ranked.never


def decisions(
    frame: dd.DataFrame,
    columns: Sequence[str],
    ranked_of: Callable[..., Ranked],
    quota: Quota,
    *args: object,
    pool: dd.DataFrame | None = None,
) -> dd.Series:
    """Whether each row is among the smallest of its stratum; null for missing rows. Lazy.

    Parameters
    ----------
    frame : dask DataFrame
    columns : sequence of str
        The columns that ``ranked_of`` reads.
    ranked_of : callable
        ``ranked_of(part, *args)``.
    quota : Quota
        Picklable.
    pool : dask DataFrame, optional
        The rows that the thresholds are computed from, with the same columns; by default the frame.
    """
    columns = list(dict.fromkeys(columns))
    thresholds = thresholds_of(frame if pool is None else pool, columns, ranked_of, quota, *args)
    meta = decided(frame._meta, np.empty(0, bool), np.empty(0, bool))
    decisions = graph.map_columns(
        frame, _decide, thresholds, ranked_of, *args, reads=columns, meta=meta
    )
    return decisions[KEEP]


def thresholds_of(
    pool: dd.DataFrame,
    columns: Sequence[str],
    ranked_of: Callable[..., Ranked],
    quota: Quota,
    *args: object,
) -> Delayed:
    """The `Thresholds` of the rows of a frame; arguments as for `decisions`. Lazy."""
    folder = spill_folder()
    written = graph.map_to_values(pool[list(columns)], _write, folder, ranked_of, *args)
    return graph.gathered(graph.parts(written), _thresholds, folder, quota)


def decided(part: Frame, keep: np.ndarray, missing: np.ndarray) -> Frame:
    """A frame of decisions with the index of a partition; null where ``missing``."""
    table = pa.table({KEEP: pa.array(keep, pa.bool_(), mask=missing)})
    result = frame_from_arrow(table, "cudf" if is_cudf(part) else "pandas")
    result.index = part.index[: len(keep)]
    return result


def _decide(part: Frame, thresholds: Thresholds, ranked_of, *args: object) -> Frame:
    ranked = ranked_of(part, *args)
    return decided(part, thresholds.keep(ranked), ranked.missing)


def _strata(ranked: Ranked) -> np.ndarray:
    return np.zeros(len(ranked.ranks), np.uint64) if ranked.strata is None else ranked.strata


@dataclass(frozen=True, eq=False)
class _File:
    """The ranks of a partition: by stratum, in ascending order."""

    number: int
    strata: np.ndarray
    starts: np.ndarray
    n_rows: np.ndarray


def _write(
    part: Frame,
    folder: SpillFolder,
    ranked_of: Callable[..., Ranked],
    *args: object,
    partition_info: dict | None = None,
) -> _File:
    number: int = (partition_info or {}).get("number", 0)
    ranked = ranked_of(part, *args)
    of_row = _strata(ranked)
    is_ranked = ~ranked.missing if ranked.never is None else ~(ranked.missing | ranked.never)
    counted = of_row if ranked.strata is None else of_row[~ranked.missing]
    strata, n_rows = np.unique(counted, return_counts=True)
    ranks, at = ranked.ranks[is_ranked], np.searchsorted(strata, of_row[is_ranked])
    ranks = ranks[np.lexsort((ranks, at))] if len(strata) > 1 else np.sort(ranks)
    starts = np.append(0, np.cumsum(np.bincount(at, minlength=len(strata))))
    with folder.file(number, "wb") as file:
        file.write(ranks)
    return _File(number, strata, starts, n_rows)


def _thresholds(files: Sequence[_File], folder: SpillFolder, quota: Quota) -> Thresholds:
    strata = np.unique(np.concatenate([np.empty(0, np.uint64), *(f.strata for f in files)]))
    if len(strata) > MAX_STRATA:
        raise OptionError(
            f"The column that rows are sampled by has {len(strata):,} different values. Expected "
            f"at most {MAX_STRATA:,} strata. Sample by a column of fewer values, or without one."
        )
    n_rows, n_ranked = (np.zeros(len(strata), np.int64) for _ in range(2))
    for one in files:
        at = np.searchsorted(strata, one.strata)
        n_rows[at] += one.n_rows
        n_ranked[at] += np.diff(one.starts)
    n_kept = np.minimum([quota(n) for n in n_rows.tolist()], n_ranked).astype(np.int64)
    prefix = np.zeros(len(strata), np.uint64)
    for shift in range(64 - _BITS, -1, -_BITS):
        digits = np.arange(1 << _BITS, dtype=np.uint64) * np.uint64(1 << shift)
        below = np.zeros((len(strata), len(digits)), np.int64)
        for one in files:
            cancellation.check()
            ranks = folder.mapped(one.number, np.uint64)
            for n, s in enumerate(np.searchsorted(strata, one.strata).tolist()):
                own = ranks[one.starts[n] : one.starts[n + 1]]
                below[s] += np.searchsorted(own, prefix[s] + digits)
        digit = np.count_nonzero(below < np.maximum(n_kept, 1)[:, None], axis=1) - 1
        prefix += digits[digit]
    return Thresholds(strata, prefix, n_kept == 0)
