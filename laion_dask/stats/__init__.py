"""Statistics as pure functions of numbers: no frame, no Dask, no file.

What counts rows is in `laion_dask.measures`; it ends in these.
"""

from laion_dask.stats.calibration import reliability
from laion_dask.stats.intervals import odds_ratio, risk_ratio, shard_bootstrap, wilson
from laion_dask.stats.quantiles import ACCURACY, Quantiles
from laion_dask.stats.significance import benjamini_hochberg, two_proportions, welch
from laion_dask.stats.table import Table
from laion_dask.stats.top import Top

__all__ = [
    "ACCURACY",
    "Quantiles",
    "Table",
    "Top",
    "benjamini_hochberg",
    "odds_ratio",
    "reliability",
    "risk_ratio",
    "shard_bootstrap",
    "two_proportions",
    "welch",
    "wilson",
]
