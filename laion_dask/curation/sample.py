"""Draw rows at random: by a hash of each row's identity, so independent of partitions."""

from __future__ import annotations

from dataclasses import dataclass

import dask.dataframe as dd
import numpy as np
from dask.delayed import Delayed

from laion_dask.backend import Frame
from laion_dask.cost import Cost, PlannedFrame
from laion_dask.curation.draws import SAMPLE, draws
from laion_dask.curation.key import Key
from laion_dask.curation.ranking import Ranking
from laion_dask.curation.smallest import KEEP, Ranked, decided, decisions, thresholds_of
from laion_dask.errors import OptionError
from laion_dask.frame.exploded import refuse_exploded
from laion_dask.frame.provenance import Provenance
from laion_dask.frame.selection import select_rows
from laion_dask.runtime import graph
from laion_dask.schema import PROVENANCE
from laion_dask.stats.checks import check_integer


def sample(
    frame: dd.DataFrame,
    fraction: float | None = None,
    *,
    n: int | None = None,
    by: str | None = None,
    weights: str | None = None,
    seed: int = 0,
) -> dd.DataFrame:
    """Rows drawn at random, without replacement. Lazy.

    Each row has a number that is a hash of the seed and its ``shard`` and ``row``. The same seed
    draws the same rows from any partitioning; a larger fraction or n adds rows and removes none;
    a row that two filters of a frame keep is drawn from both or from neither. To draw from a sample
    again, use another seed. After `explode_captions`, all records of a row are drawn, or none.

    Parameters
    ----------
    frame : dask DataFrame
    fraction : float
        The share of rows to draw, in (0, 1]. Without ``by`` and ``weights`` each row is drawn on
        its own, so their number varies as in a binomial distribution, and no pass is needed. With
        them, exactly round(fraction * rows) are drawn.
    n : int
        Instead of ``fraction``: the number of rows to draw exactly; all, if there are fewer.
    by : str
        Draw from each stratum: ``n`` rows, or the same fraction, of each value of a column, such as
        ``"language"``. At most 10,000 values. Rows of no stratum (null) are unscored.
    weights : str
        A column of weights, at least 0: a row of twice the weight is drawn twice as often, as long
        as few rows are drawn. Drawn as by Efraimidis & Spirakis (2006), "Weighted random sampling
        with a reservoir": the rows with the smallest -log(u) / weight. Rows of weight 0 are
        dropped, those without a weight unscored.
    seed : int

    Returns
    -------
    dask DataFrame
        `rows`, `funnel` and `excluded` count the rows that were not drawn.

    Raises
    ------
    OptionError, ColumnError, ProvenanceError
        Immediately, when an argument or a column does not fit.
    OptionError
        During the computation, when a weight is negative or infinite.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> len(frame.laion.sample(n=100, seed=1))
    100
    >>> drawn = frame.laion.sample(n=5, by="language")
    >>> int(drawn["language"].value_counts().max().compute())
    5
    """
    Provenance.of(frame).check_row_identity()
    check_size(fraction, n, "frame.laion.sample(0.1)")
    check_integer("seed", seed, 0)
    if n is not None or by is not None or weights is not None:
        refuse_exploded(frame, "sample with n, by or weights")
    ranking = None if weights is None else Ranking.of(frame, weights)
    stratum = None if by is None else Key.of(frame, by)
    columns = [*PROVENANCE, *(() if by is None else [by]), *(() if weights is None else [weights])]
    if n is None and by is None and weights is None:
        meta = decided(frame._meta, np.empty(0, bool), np.empty(0, bool))
        keep = graph.map_columns(frame, _below, fraction, seed, reads=columns, meta=meta)[KEEP]
    else:
        keep = decisions(frame, columns, _ranked, Size(fraction, n), seed, stratum, ranking)
    shown = [f"{fraction}" if n is None else f"n={n}"]
    shown += [f"{name}={value!r}" for name, value in (("by", by), ("weights", weights)) if value]
    return select_rows(frame, keep, f"sample({', '.join([*shown, f'seed={seed}'])})")


def sample_thresholds(frame: dd.DataFrame, n: int, seed: int) -> Delayed:
    """The `Thresholds` of ``sample(frame, n=n, seed=seed)``: the hash up to which it draws. Lazy.

    The hash is `row_hash` of a row for the draw `SAMPLE`. Rows without an identity are not drawn.
    """
    return thresholds_of(frame, PROVENANCE, _ranked, Size(None, n), seed, None, None)


def sample_cost(frame: PlannedFrame) -> Cost:
    """The cost of `sample`."""
    return Cost(("where",), notes=("sample: the rate is that of a filter",))


def check_size(fraction: float | None, n: int | None, example: str) -> None:
    """Raise unless one of a fraction and a number of rows is given.

    Raises
    ------
    OptionError
    """
    if (fraction is None) == (n is None):
        raise OptionError(
            f"fraction is {fraction!r} and n is {n!r}. Expected one of them, such as {example}."
        )
    is_number = isinstance(fraction, (int, float, np.floating)) and not isinstance(fraction, bool)
    if fraction is not None and not (is_number and 0 < fraction <= 1):
        raise OptionError(f"fraction is {fraction!r}. Expected a number in (0, 1], such as 0.3.")
    if n is not None:
        check_integer("n", n, 1)


@dataclass(frozen=True)
class Size:
    """The number of rows to draw from a stratum."""

    fraction: float | None
    n: int | None

    def __call__(self, n_rows: int) -> int:
        return round(n_rows * self.fraction) if self.fraction is not None else self.n or 0


def _below(part: Frame, fraction: float, seed: int) -> Frame:
    hashes, valid = draws(part, seed, SAMPLE)
    limit = round(fraction * 2**64)
    keep = np.ones(len(hashes), bool) if limit >= 2**64 else hashes < np.uint64(limit)
    return decided(part, keep, ~valid)


def _ranked(part: Frame, seed: int, stratum: Key | None, ranking: Ranking | None) -> Ranked:
    hashes, valid = draws(part, seed, SAMPLE)
    missing, strata, never = ~valid, None, None
    if stratum is not None:
        hashed, in_stratum = stratum.hashes(part)
        strata = np.ascontiguousarray(hashed[:, 0])
        missing = missing | ~in_stratum
    if ranking is None:
        return Ranked(hashes, missing, None, strata)
    weights, without = ranking.values(part)
    missing = missing | without
    weights = np.where(missing, 1.0, weights)
    if not np.isfinite(weights).all() or (weights < 0).any():
        wrong = weights[~np.isfinite(weights) | (weights < 0)][0]
        raise OptionError(
            f"The column of weights {ranking.column!r} has the value {wrong}. Expected finite "
            "numbers of at least 0. Filter or clip it before sampling."
        )
    never = weights == 0
    uniform = (hashes >> np.uint64(11)).astype(np.float64) * 2.0**-53 + 2.0**-54  # in (0, 1)
    waiting = -np.log(uniform) / np.where(never, 1.0, weights)
    return Ranked(waiting.view(np.uint64), missing, never, strata)  # positive: sorted like floats
