"""Ratios of shares and of odds, and their intervals: statsmodels, SciPy, a published table."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as theirs
from support.property_tests import examples

from laion_dask.stats import odds_ratio, risk_ratio, two_proportions
from laion_dask.stats.significance import EXPECTED

#: a of a + b in the first group, c of c + d in the second: the ratio of shares with its interval,
#: the ratio of odds with its interval. From statsmodels 0.15.0, Table2x2.
STATSMODELS = {
    (20, 80, 12, 188): (
        (3.3333333333333335, 1.6985123682300325, 6.541672182634537),
        (3.9166666666666665, 1.828031337209966, 8.391693000838211),
    ),
    (104, 10933, 189, 10845): (
        (0.5501149812103875, 0.43367311590896745, 0.6978216574892077),
        (0.5458354566559085, 0.42904096794204766, 0.6944240014464232),
    ),
    (3, 7, 9, 1): (
        (0.3333333333333333, 0.1264833730497411, 0.8784641683094213),
        (0.047619047619047616, 0.004030580161012304, 0.5625923826250391),
    ),
    (1234, 998766, 2345, 1997655): (
        (1.052452025586354, 0.98239269152056, 1.1275076410089908),
        (1.0525168313562476, 0.9823710073415297, 1.1276713909606053),
    ),
}


@pytest.mark.parametrize("cells", STATSMODELS)
def test_ratios_against_statsmodels(cells):
    a, b, c, d = cells
    shares, odds = STATSMODELS[cells]
    assert risk_ratio(a, a + b, c, c + d) == pytest.approx(shares, rel=1e-12)
    assert odds_ratio(a, b, c, d) == pytest.approx(odds, rel=1e-12)


def test_ratios_against_a_published_example():
    """Heart attacks under placebo and aspirin; Agresti (2002), Categorical data analysis, 3.1.

    Published: odds ratio 1.832 with 1.44 to 2.33; ratio of shares 1.82.
    """
    found = odds_ratio(189, 10845, 104, 10933)
    assert [round(v, d) for v, d in zip(found, (3, 2, 2), strict=True)] == [1.832, 1.44, 2.33]
    assert round(risk_ratio(189, 11034, 104, 11037)[0], 2) == 1.82


@given(st.integers(1, 400), st.integers(1, 400), st.integers(0, 400), st.integers(1, 400))
@examples(80)
def test_ratios_against_scipy(k1, k2, more1, more2):
    n1, n2 = k1 + more1, k2 + more2
    result = theirs.contingency.relative_risk(k1, n1, k2, n2)
    interval = result.confidence_interval(0.9)
    wanted = (result.relative_risk, interval.low, interval.high)
    assert risk_ratio(k1, n1, k2, n2, 0.9) == pytest.approx(wanted, rel=1e-9)
    if more1:
        table = [[k1, more1], [k2, more2]]
        result = theirs.contingency.odds_ratio(table, kind="sample")
        interval = result.confidence_interval(0.9)
        wanted = (result.statistic, interval.low, interval.high)
        assert odds_ratio(k1, more1, k2, more2, 0.9) == pytest.approx(wanted, rel=1e-9)
        exact = theirs.fisher_exact(table).pvalue
        assert two_proportions(k1, n1, k2, n2) == pytest.approx(exact, rel=1e-6, abs=1e-300)
        chi = theirs.chi2_contingency([[n * 1000 for n in row] for row in table], correction=False)
        p = two_proportions(k1 * 1000, n1 * 1000, k2 * 1000, n2 * 1000)
        if chi.expected_freq.min() >= EXPECTED:
            assert p == pytest.approx(chi.pvalue, rel=1e-9, abs=1e-300)


def test_zero_cells_of_a_ratio_of_shares():
    ratio, lo, hi = risk_ratio(0, 50, 5, 50)
    halves = math.log((0.5 / 51) / (5.5 / 51))
    spread = 1.959963984540054 * math.sqrt(1 / 0.5 - 1 / 51 + 1 / 5.5 - 1 / 51)
    assert (ratio, lo) == (0, 0) and hi == pytest.approx(math.exp(halves + spread))
    assert risk_ratio(5, 50, 0, 50) == (math.inf, pytest.approx(1 / hi), math.inf)
    for nothing in ((0, 50, 0, 50), (0, 0, 5, 50), (5, 50, 0, 0), (0, 0, 0, 0)):
        ratio, lo, hi = risk_ratio(*nothing)
        assert math.isnan(ratio) and (lo, hi) == (0, math.inf)
    ratio, lo, hi = risk_ratio(7, 7, 40, 40)
    assert ratio == 1 and lo < 1 < hi
    ratio, lo, hi = risk_ratio(7, 7, 20, 40)
    assert ratio == 2 and lo < 2 < hi < math.inf


def test_zero_cells_of_a_ratio_of_odds():
    ratio, lo, hi = odds_ratio(0, 10, 3, 7)
    assert (ratio, lo) == (0, 0)
    halves = math.log((0.5 / 10.5) / (3.5 / 7.5))
    spread = 1.959963984540054 * math.sqrt(1 / 0.5 + 1 / 10.5 + 1 / 3.5 + 1 / 7.5)
    assert hi == pytest.approx(math.exp(halves + spread))
    assert odds_ratio(3, 7, 0, 10) == (math.inf, pytest.approx(1 / hi), math.inf)
    assert odds_ratio(10, 0, 7, 3) == (math.inf, pytest.approx(1 / hi), math.inf)
    assert odds_ratio(3, 0, 0, 4)[0] == math.inf and odds_ratio(0, 3, 4, 0)[0] == 0
    for nothing in ((0, 0, 3, 4), (3, 4, 0, 0), (0, 3, 0, 4), (3, 0, 4, 0), (0, 0, 0, 0)):
        ratio, lo, hi = odds_ratio(*nothing)
        assert math.isnan(ratio) and (lo, hi) == (0, math.inf)


def test_the_ratio_intervals_cover():
    """20,000 draws: a binomial error of 0.0015, and the log intervals are approximate."""
    draw = np.random.default_rng(7)
    k1, k2 = draw.binomial(2000, 0.03, 20_000), draw.binomial(3000, 0.05, 20_000)
    _, lo, hi = risk_ratio(k1, 2000, k2, 3000)
    assert 0.943 < np.mean((lo <= 0.6) & (hi >= 0.6)) < 0.957
    _, lo, hi = odds_ratio(k1, 2000 - k1, k2, 3000 - k2)
    truth = (0.03 / 0.97) / (0.05 / 0.95)
    assert 0.943 < np.mean((lo <= truth) & (hi >= truth)) < 0.957
    p = two_proportions(draw.binomial(2000, 0.05, 20_000), 2000, k2, 3000)
    assert 0.03 < np.mean(p < 0.05) < 0.05  # Fisher's p is never too small
    k1, k2 = draw.binomial(10**6, 0.05, 20_000), draw.binomial(2 * 10**6, 0.05, 20_000)
    assert 0.043 < np.mean(two_proportions(k1, 10**6, k2, 2 * 10**6) < 0.05) < 0.057


def test_the_halves_cover_where_events_are_rare():
    """With about one event per group the interval may only be too wide."""
    draw = np.random.default_rng(8)
    k1, k2 = draw.binomial(1000, 0.001, 20_000), draw.binomial(1000, 0.002, 20_000)
    _, lo, hi = risk_ratio(k1, 1000, k2, 1000)
    assert np.mean((lo <= 0.5) & (hi >= 0.5)) > 0.95
