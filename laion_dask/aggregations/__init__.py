"""Statistics of a frame that share one pass: chunk, combine, finalize."""

from laion_dask.aggregations.engine.base import Partition, ReportOptions, Statistic
from laion_dask.aggregations.grouping.base import ByColumn, Grouping, Members, members

__all__ = [
    "ByColumn",
    "Grouping",
    "Members",
    "Partition",
    "ReportOptions",
    "Statistic",
    "members",
]
