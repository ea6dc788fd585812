"""Keep the rows with the best scores: a share of all rows, or a number of them."""

from __future__ import annotations

from collections.abc import Sequence

import dask.dataframe as dd
import numpy as np
import pyarrow as pa

from laion_dask.backend import Frame, frame_from_arrow, is_cudf
from laion_dask.cost import Cost, PlannedFrame
from laion_dask.curation.ranking import Ranking
from laion_dask.errors import OptionError
from laion_dask.frame.selection import select_rows
from laion_dask.io.storage.spill import SpillFolder
from laion_dask.runtime import cancellation, graph
from laion_dask.runtime.disk_shuffle import spill_folder
from laion_dask.stats.checks import check_integer

#: Bits of a rank that are decided at a time.
_BITS = 8
_KEEP = "keep"


def top(
    frame: dd.DataFrame,
    column: str,
    fraction: float | None = None,
    *,
    n: int | None = None,
) -> dd.DataFrame:
    """The rows whose score is among the highest of the whole frame. Lazy.

    With ``fraction``, the threshold is that of DataComp (Gadre et al. 2023, ``baselines.py``): of
    the N scores in descending order, the one at position int(N * fraction), counted from 0. Rows
    with at least that score are kept: one more than N * fraction, and all that are equal to the
    last. N counts every row, including those without a score, which come last. Rows without a score
    (null or NaN) are unscored, never kept.

    The threshold is exact, for any number of rows and any partitioning. It is computed in a pass of
    its own when the result is computed, which writes 8 bytes a row to Dask's
    ``temporary_directory``. N and the threshold are those of the frame as it is passed: filters
    before `top` apply first.

    Parameters
    ----------
    frame : dask DataFrame
    column : str
        A column of numbers.
    fraction : float
        The share of rows to keep, in (0, 1].
    n : int
        Instead of ``fraction``: the number of rows to keep. Exactly n rows are kept, plus those
        whose score equals the last of them.

    Returns
    -------
    dask DataFrame
        The kept rows; `rows`, `funnel` and `excluded` count the others.

    Raises
    ------
    OptionError, ColumnError
        Immediately, when an argument does not fit.
    SpillError
        During the computation, when the disk is full.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> best = frame.laion.top("similarity", 0.3)
    >>> len(best) >= int(0.3 * len(frame)) + 1
    True
    """
    if (fraction is None) == (n is None):
        raise OptionError(
            f"fraction is {fraction!r} and n is {n!r}. Expected one of them, such as "
            "frame.laion.top('similarity', 0.3)."
        )
    if fraction is not None and (
        isinstance(fraction, bool)
        or not isinstance(fraction, (int, float, np.floating))
        or not 0 < fraction <= 1
    ):
        raise OptionError(f"fraction is {fraction!r}. Expected a number in (0, 1], such as 0.3.")
    if n is not None:
        check_integer("n", n, 1)
    ranking, folder = Ranking.of(frame, column), spill_folder()
    counted = graph.map_to_values(frame[[column]], _write_ranks, ranking, folder)
    threshold = graph.gathered(graph.parts(counted), _threshold, folder, fraction, n)
    meta = frame_from_arrow(_decided(np.empty(0, bool), np.empty(0, bool)), _backend(frame._meta))
    meta.index = frame._meta.index[:0]
    decided = graph.map_columns(frame, _decisions, ranking, threshold, reads=[column], meta=meta)
    how = f"{fraction}" if n is None else f"n={n}"
    return select_rows(frame, decided[_KEEP], f"top({column!r}, {how})")


def top_cost(frame: PlannedFrame, column: str | None = None) -> Cost:
    """The cost of `top`, which computes the column twice."""
    columns = frame.columns if column is None else (column,)
    note = "top: the rate is that of a filter; the column is read twice, and its values sorted"
    return Cost(("where", "where"), columns=columns, notes=(note,))


def _write_ranks(
    part: Frame, ranking: Ranking, folder: SpillFolder, partition_info: dict | None = None
) -> tuple[int, int]:
    """Write the sorted ranks of a partition's values; return its number and number of rows."""
    number: int = (partition_info or {}).get("number", 0)
    ranks, missing = ranking.ranks(part)
    with folder.file(number, "wb") as file:
        file.write(np.sort(ranks[~missing]))
    return number, len(part)


def _threshold(
    counted: Sequence[tuple[int, int]], folder: SpillFolder, fraction: float | None, n: int | None
) -> np.uint64:
    """The smallest rank that is kept.

    Found digit by digit: of the ranks that have the digits so far, how many have at least each next
    digit. No more than one file is open at a time.
    """
    n_rows = sum(rows for _, rows in counted)
    position = int(n_rows * fraction) if fraction is not None else (n or 1) - 1
    prefix = 0
    for shift in range(64 - _BITS, -1, -_BITS):
        bounds = prefix + np.arange(1 << _BITS, dtype=np.uint64) * np.uint64(1 << shift)
        at_least = np.zeros(len(bounds), np.int64)
        for number, _ in counted:
            cancellation.check()
            ranks = folder.mapped(number, np.uint64)
            at_least += len(ranks) - np.searchsorted(ranks, bounds)
        digit = int(np.count_nonzero(at_least > position)) - 1
        prefix = int(bounds[max(digit, 0)])
    return np.uint64(prefix)


def _decisions(part: Frame, ranking: Ranking, threshold: np.uint64) -> Frame:
    ranks, missing = ranking.ranks(part)
    result = frame_from_arrow(_decided(ranks >= threshold, missing), _backend(part))
    result.index = part.index
    return result


def _decided(keep: np.ndarray, missing: np.ndarray) -> pa.Table:
    return pa.table({_KEEP: pa.array(keep, pa.bool_(), mask=missing)})


def _backend(frame: Frame) -> str:
    return "cudf" if is_cudf(frame) else "pandas"
