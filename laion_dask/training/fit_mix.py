"""Fit the weights of a mixture of scores on a trusted set."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import dask.dataframe as dd
import numpy as np
import pandas as pd

from laion_dask.backend import to_numpy
from laion_dask.cost import Cost, PlannedFrame
from laion_dask.dtypes import column_type
from laion_dask.errors import OptionError, must_be
from laion_dask.extras import require_extra
from laion_dask.frame.exploded import refuse_exploded
from laion_dask.frame.provenance import Provenance
from laion_dask.predicate import Predicate, certain_and_possible, parse
from laion_dask.runtime import graph
from laion_dask.schema import PROVENANCE
from laion_dask.scoring.mixture import check_score, score_values
from laion_dask.stats.checks import check_integer
from laion_dask.training import fitting
from laion_dask.training.sample import identity_hash
from laion_dask.training.train import MAX_ROWS

#: The fewest rows of each kind.
_MIN_ROWS = 4
#: The largest range of a score, relative to its size, that counts as rounding.
_CONSTANT = 1e-12


def fit_mix(
    frame: dd.DataFrame,
    columns: Sequence[str],
    trusted: str,
    *,
    max_rows: int = MAX_ROWS,
    seed: int = 0,
) -> dict[str, float]:
    """The weights of score columns that best tell trusted rows from the others. Eager.

    A logistic regression on standardized scores, with the L2 penalty chosen on part of the rows;
    its coefficients are divided by the standard deviations, so the weights apply to the scores
    themselves, and their sum is a logit up to a constant, as `soft_cap` draws by. Learned mixtures
    of scores: Shechter and Carmon 2025 (M-FLYT), who fit them by gradients of downstream tasks.

    Rows are sampled by a hash of (seed, shard, row), so partitions do not matter.

    Parameters
    ----------
    frame : dask DataFrame
        Must have ``shard`` and ``row``.
    columns : sequence of str
        The columns of scores.
    trusted : str
        An expression, as for `where`: true for trusted rows, false for the others. Rows for which
        it is unknown, or without one of the scores, are not used.
    max_rows : int
        Maximum number of rows to sample.
    seed : int

    Returns
    -------
    dict of str to float
        For `mix`. 0 for a score that is the same for all rows.

    Raises
    ------
    OptionError, ColumnError, PredicateError, ProvenanceError
        Immediately, when an argument does not fit; or when there are fewer than four trusted rows,
        or four others, or no score differs between rows.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> weights = frame.laion.fit_mix(["similarity", "pwatermark"], trusted="punsafe < 0.02")
    >>> list(weights)
    ['similarity', 'pwatermark']
    >>> mixed = frame.laion.mix(weights)
    """
    refuse_exploded(frame, "fit_mix")
    provenance = Provenance.of(frame)
    provenance.check_identity_columns()
    must_be("columns", columns, (list, tuple), "a list of score columns")
    names = list(dict.fromkeys(columns))
    if not names:
        raise OptionError("columns is empty. Name at least one column of scores.")
    for name in names:
        check_score(frame, name)
    check_integer("max_rows", max_rows, 1)
    check_integer("seed", seed, 0)
    predicate = parse(trusted, provenance.column_types(column_type))
    require_extra("clip", "Fitting a mixture")
    x, y = _sampled(frame, names, predicate, max_rows, seed)
    if min(np.count_nonzero(y), np.count_nonzero(~y)) < _MIN_ROWS:
        raise OptionError(
            f"{np.count_nonzero(y):,} trusted and {np.count_nonzero(~y):,} other rows have all "
            f"scores. Expected at least {_MIN_ROWS} of each; change trusted, {trusted!r}."
        )
    standardized, deviation = _standardized(x)
    if np.isinf(deviation).all():
        raise OptionError(
            f"{', '.join(names)}: the same for all {len(x):,} rows, trusted or not. Expected at "
            "least one score that differs."
        )
    layers, _ = fitting.fit(standardized, y, (), seed)
    weights = np.asarray(layers[0][0])[0] / deviation
    return {name: float(weight) for name, weight in zip(names, weights, strict=True)}


def fit_mix_cost(
    frame: PlannedFrame, columns: Sequence[str] | None = None, trusted: str | None = None
) -> Cost:
    """The cost of `fit_mix`: a pass over the scores and the columns of the expression."""
    reads = tuple(columns or ())
    if trusted is not None:
        reads += tuple(parse(trusted, frame.column_types).columns)
    return Cost(("labels",), columns=(*dict.fromkeys(reads), *PROVENANCE))


def _standardized(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Standardized columns, and their standard deviations: infinite for constant columns."""
    low, high = x.min(axis=0), x.max(axis=0)
    size = np.maximum(np.abs(low), np.abs(high))
    divisor = np.where(size > 0, size, 1)
    constant = high / divisor - low / divisor <= _CONSTANT
    size[constant] = np.inf
    scaled = x / size  # a sum of squares of scores may overflow
    centered = scaled - scaled.mean(axis=0)
    deviation = np.where(constant, 1.0, centered.std(axis=0))
    return centered / deviation, deviation * size


def _sampled(
    frame: dd.DataFrame, names: list[str], predicate: Predicate, max_rows: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """The scores of sampled rows, (n, columns) float64, and whether each is trusted."""
    meta = _table(np.empty((0, len(names))), *(np.empty(0, np.int64),) * 2, np.empty(0, bool), seed)
    reads = list(dict.fromkeys([*names, *predicate.columns, *PROVENANCE]))
    parts = graph.map_columns(
        frame, _first, names, predicate, max_rows, seed, reads=reads, meta=meta
    )
    sample = graph.reduce(parts, partial(_merged, max_rows=max_rows), meta=meta)
    (sample,) = graph.compute(sample, label="sample scores")
    x = sample[[f"x{i}" for i in range(len(names))]].to_numpy(np.float64)
    return x, sample["y"].to_numpy(bool)


def _first(part, names: list[str], predicate: Predicate, max_rows: int, seed: int) -> pd.DataFrame:
    x = score_values(part, names)
    certain, possible = (
        to_numpy(mask).astype(bool) for mask in certain_and_possible(predicate, part)
    )
    present = ~to_numpy(part["shard"].isna() | part["row"].isna()).astype(bool)
    known = np.isfinite(x).all(axis=1) & (certain | ~possible) & present
    shard, row = (to_numpy(part[name])[known].astype(np.int64) for name in PROVENANCE)
    return _merged(_table(x[known], shard, row, certain[known], seed), max_rows)


def _table(
    x: np.ndarray, shard: np.ndarray, row: np.ndarray, y: np.ndarray, seed: int
) -> pd.DataFrame:
    columns = {f"x{i}": column for i, column in enumerate(x.T)}
    order = identity_hash(shard, row, seed)
    return pd.DataFrame({**columns, "shard": shard, "row": row, "y": y, "order": order})


def _merged(samples: pd.DataFrame, max_rows: int) -> pd.DataFrame:
    return samples.sort_values(["order", "shard", "row"])[:max_rows]
