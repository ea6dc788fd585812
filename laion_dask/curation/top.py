"""Keep the rows with the best scores: a share of all rows, or a number of them."""

from __future__ import annotations

from dataclasses import dataclass

import dask.dataframe as dd

from laion_dask.backend import Frame
from laion_dask.cost import Cost, PlannedFrame
from laion_dask.curation.ranking import Ranking
from laion_dask.curation.sample import check_size
from laion_dask.curation.smallest import Ranked, decisions
from laion_dask.errors import OptionError
from laion_dask.frame.selection import select_rows


def top(
    frame: dd.DataFrame,
    column: str,
    fraction: float | None = None,
    *,
    n: int | None = None,
    of: dd.DataFrame | None = None,
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
    of : dask DataFrame, optional
        The rows that N and the threshold are those of, such as the whole pool; it has the column.
        By default the frame.

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
    check_size(fraction, n, "frame.laion.top('similarity', 0.3)")
    ranking = Ranking.of(frame, column)
    if of is not None and Ranking.of(of, column) != ranking:
        raise OptionError(
            f"The column {column!r} is {frame.dtypes[column]} in the frame and "
            f"{of.dtypes[column]} in 'of'. Expected one type; convert it with astype."
        )
    keep = decisions(frame, [column], _ranked, _Position(fraction, n), ranking, pool=of)
    size = f"{fraction if n is None else f'n={n}'}{'' if of is None else ', of=...'}"
    return select_rows(frame, keep, f"top({column!r}, {size})")


def top_cost(frame: PlannedFrame, column: str | None = None) -> Cost:
    """The cost of `top`, which computes the column twice."""
    columns = frame.columns if column is None else (column,)
    note = "top: the rate is that of a filter; the column is read twice, and its values sorted"
    return Cost(("where", "where"), columns=columns, notes=(note,))


@dataclass(frozen=True)
class _Position:
    """Keep rows up to a position, counted from 0: DataComp's of a fraction, or that of row n."""

    fraction: float | None
    n: int | None

    def __call__(self, n_rows: int) -> int:
        return int(n_rows * self.fraction) + 1 if self.fraction is not None else self.n or 1


def _ranked(part: Frame, ranking: Ranking) -> Ranked:
    ranks, missing = ranking.ranks(part)
    return Ranked(~ranks, missing)  # the highest scores are the smallest ranks
