"""The expression of a filter whose rows Dask counts correctly after another filter."""

from __future__ import annotations

from typing import Any

import dask.dataframe as dd

from laion_dask.runtime.dask_expressions import Expr, Filter, Index, new_collection


def filtered(frame: dd.DataFrame, mask: dd.Series) -> dd.DataFrame:
    """The rows of a frame for which a boolean column of it is true. Lazy."""
    expr = RowFilter(frame.expr, mask.expr)
    kept: dd.DataFrame = new_collection(expr)
    return kept


class RowFilter(Filter):
    """The rows of a frame for which a boolean column of it is true.

    For ``len(frame)``, Dask applies each filter to the index alone. It then combines the masks of
    two filters, although the second has only the rows that passed the first, and aligns them by
    label. That raises an IndexError where labels repeat in a partition, as after a repartition or a
    sort.
    """

    def _simplify_up(self, parent: Expr, dependents: dict[str, Any]) -> Expr | None:
        if not isinstance(parent, Index):
            simplified: Expr | None = super()._simplify_up(parent, dependents)
            return simplified
        columns = list(self.frame.columns)
        if len(columns) < 2:
            return None
        least = "row" if "row" in columns else columns[0]
        return Index(type(self)(self.frame[[least]], self.predicate))
