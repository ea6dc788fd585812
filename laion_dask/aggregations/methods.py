"""Texts for pages: how each statistic is computed, and the order of the sections."""

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

#: All statistics, in the order in which a page explains them.
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
    """The method texts, by name, of all statistics that have any."""
    return {each.name: each.method for each in STATISTICS if each.method}


def section_positions() -> dict[str, float]:
    """The position of each statistic's section in a datasheet, by name."""
    return {each.name: each.section_position for each in STATISTICS}
