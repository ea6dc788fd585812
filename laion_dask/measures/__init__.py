"""Statistics of a frame that share one pass: each is chunk, combine, finalize."""

from laion_dask.measures.base import Part, Reporting, Statistic
from laion_dask.measures.groups import ByColumn, Grouping, Members, grouping, members

__all__ = [
    "ByColumn",
    "Grouping",
    "Members",
    "Part",
    "Reporting",
    "Statistic",
    "grouping",
    "members",
]
