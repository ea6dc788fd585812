"""A filter over one partition: which rows pass, and how many it cannot decide on."""

from __future__ import annotations

import pandas as pd

from laion_dask.predicate import Predicate, certain_and_possible


def passes(part, predicate: Predicate):
    """True for the rows of a partition for which the expression is true.

    Returns
    -------
    Series of bool
        With the partition's index; False where the expression is false or unknown.
    """
    return certain_and_possible(predicate, part)[0]


def count_unscored(part, predicate: Predicate) -> pd.DataFrame:
    """One row: how many rows of a partition the expression is unknown for."""
    certain, possible = certain_and_possible(predicate, part)
    return pd.DataFrame({"unscored": [int((possible & ~certain).sum())], "rejected": [0]})
