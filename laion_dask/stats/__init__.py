"""Statistics as pure functions of numbers: no frame, no Dask, no file.

Functions that count rows are in `laion_dask.aggregations` and call these.
"""

from laion_dask.stats.association import weat
from laion_dask.stats.bootstrap import shard_bootstrap
from laion_dask.stats.calibration import reliability
from laion_dask.stats.concentration import (
    effective_number,
    entropy,
    gini,
    herfindahl,
    theil,
    top_share,
)
from laion_dask.stats.cooccurrence import npmi, npmi_gap, pmi, pmi_bias
from laion_dask.stats.divergence import jensen_shannon
from laion_dask.stats.exclusion_rates import exclusion
from laion_dask.stats.hate import HateComparison, compare_hate, hate_content_rate
from laion_dask.stats.intervals import (
    odds_ratio,
    risk_difference,
    risk_ratio,
    wilson,
)
from laion_dask.stats.joint import npmi_gap_interval, npmi_interval, observed_over_expected
from laion_dask.stats.overlap import overlap_difference, overlap_test
from laion_dask.stats.quotas import cluster_quotas
from laion_dask.stats.representation import max_skew, min_skew, ndkl, skew
from laion_dask.stats.significance import benjamini_hochberg, two_proportions, welch
from laion_dask.stats.sketches.heavy_hitters import HeavyHitters
from laion_dask.stats.sketches.quantiles import ACCURACY, Quantiles
from laion_dask.stats.table import Table
from laion_dask.stats.weat_tests import WEAT_TESTS

__all__ = [
    "ACCURACY",
    "WEAT_TESTS",
    "HateComparison",
    "HeavyHitters",
    "Quantiles",
    "Table",
    "benjamini_hochberg",
    "cluster_quotas",
    "compare_hate",
    "effective_number",
    "entropy",
    "exclusion",
    "gini",
    "hate_content_rate",
    "herfindahl",
    "jensen_shannon",
    "max_skew",
    "min_skew",
    "ndkl",
    "npmi",
    "npmi_gap",
    "npmi_gap_interval",
    "npmi_interval",
    "observed_over_expected",
    "odds_ratio",
    "overlap_difference",
    "overlap_test",
    "pmi",
    "pmi_bias",
    "reliability",
    "risk_difference",
    "risk_ratio",
    "shard_bootstrap",
    "skew",
    "theil",
    "top_share",
    "two_proportions",
    "weat",
    "welch",
    "wilson",
]


def __dir__() -> list[str]:
    return sorted(__all__)
