"""Keep rows by a decision that a kernel made about each of them, as `where` keeps them by a filter.

A decision is true, false or null. A row whose decision is null is unscored: it lacks what the rule
needs, such as an embedding. `rows`, `excluded`, `funnel`, `audit` and the manifest of an export
treat the rule like a clause of `where`, named by its text.
"""

from __future__ import annotations

import dask.dataframe as dd
import numpy as np
import pandas as pd

from laion_dask.backend import column_like
from laion_dask.frame.where_kernel import passes
from laion_dask.predicate.nodes import Name, Predicate, Truth
from laion_dask.runtime import graph
from laion_dask.runtime.row_filter import filtered


def decision_meta() -> pd.DataFrame:
    """The meta of a frame of decisions: one column ``keep``, a nullable boolean."""
    return pd.DataFrame({"keep": pd.array([], dtype="boolean")})


def select_rows(frame: dd.DataFrame, decisions: dd.Series, rule: str) -> dd.DataFrame:
    """The rows whose decision is true, with the columns of the frame. Lazy.

    A decision may depend on other rows only through values that are fixed when the graph is built,
    or through a delayed value. It may not be computed by an expression of the frame that crosses
    partitions: `funnel` evaluates each rule on the rows before every filter.

    Parameters
    ----------
    frame : dask DataFrame
    decisions : dask Series
        Nullable boolean, aligned with the frame's partitions; such as a column of
        `graph.map_columns` of the frame.
    rule : str
        The text of the rule, such as ``"sample(0.1, seed=0)"``; the name of the step in the funnel
        and in the manifest.
    """
    column = _unused_name(rule, frame.columns)
    decided = frame.assign(**{column: decisions})
    mask = mask_of_decisions(decided, column, rule)
    kept: dd.DataFrame = filtered(decided, mask)[list(frame.columns)]
    return kept


def mask_of_decisions(frame: dd.DataFrame, column: str, rule: str) -> dd.Series:
    """The mask of the rows whose decision, a column of the frame, is true. Lazy."""
    predicate = Predicate(rule, Truth(Name(column, "boolean")), (column,))
    meta = column_like(np.empty(0, bool), frame._meta)
    mask: dd.Series = graph.map_columns(frame, passes, predicate, reads=[column], meta=meta)
    return mask


def _unused_name(rule: str, columns: object) -> str:
    name, taken = rule, set(columns)  # type: ignore[call-overload]
    while name in taken:
        name += "'"
    return name
