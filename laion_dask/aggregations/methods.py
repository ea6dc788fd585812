"""What a page says of each statistic: how its numbers are computed, and where they stand."""

from __future__ import annotations

from laion_dask.aggregations.concentration import Concentration
from laion_dask.aggregations.cooccurrence import Cooccurrence
from laion_dask.aggregations.curve import Curve
from laion_dask.aggregations.describe import Describe
from laion_dask.aggregations.distribution import Distributions
from laion_dask.aggregations.divergence import Divergence
from laion_dask.aggregations.duplicates import DuplicateShare
from laion_dask.aggregations.engine.base import Statistic
from laion_dask.aggregations.exclusion import Exclusion
from laion_dask.aggregations.hate import HateContentRate
from laion_dask.aggregations.intersections import Intersections
from laion_dask.aggregations.overlap import Overlap
from laion_dask.aggregations.perceived import Perceived
from laion_dask.aggregations.rates import Rates

#: Every statistic, in the order in which a page explains them.
STATISTICS: tuple[type[Statistic], ...] = (
    Describe,
    Rates,
    Concentration,
    DuplicateShare,
    Cooccurrence,
    Intersections,
    Divergence,
    Curve,
    Distributions,
    HateContentRate,
    Exclusion,
    Overlap,
    Perceived,
)


def methods() -> dict[str, tuple[str, ...]]:
    """The method texts of every statistic that has some, by its name."""
    return {each.name: each.method for each in STATISTICS if each.method}


def places() -> dict[str, float]:
    """Where the section of every statistic stands in a datasheet, by its name."""
    return {each.name: each.place for each in STATISTICS}
