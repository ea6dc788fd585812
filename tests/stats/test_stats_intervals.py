"""Ratios, tests and the bootstrap over shards: SciPy, statsmodels, published tables, simulation."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as theirs
from support.property_tests import examples

from laion_dask.errors import OptionError
from laion_dask.stats import (
    benjamini_hochberg,
    bootstrap,
    odds_ratio,
    risk_ratio,
    shard_bootstrap,
    two_proportions,
    welch,
    wilson,
)
from laion_dask.stats.exact import fisher
from laion_dask.stats.jeffreys import jeffreys
from laion_dask.stats.joint import npmi_interval
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


def test_two_shares():
    # The lady tasting tea, three cups of four right: Fisher (1935), The design of experiments,
    # chapter 2, one-sided 17/70; the convicts in his paper of the same year, one-sided 1/2150.
    assert two_proportions(3, 4, 1, 4) == pytest.approx(34 / 70)
    assert two_proportions(10, 13, 2, 17) == pytest.approx(0.0005367241, rel=1e-6)
    k = 1000 * np.array([20, 104, 3]), 1000 * np.array([12, 189, 9])
    n = 1000 * np.array([100, 11037, 10]), 1000 * np.array([200, 11034, 10])
    for i in range(3):
        table = [[k[j][i], n[j][i] - k[j][i]] for j in (0, 1)]
        wanted = theirs.chi2_contingency(table, correction=False).pvalue
        found = two_proportions(k[0][i], n[0][i], k[1][i], n[1][i])
        assert found == pytest.approx(wanted, rel=1e-9, abs=1e-300)
    assert two_proportions(0, 5, 0, 9) == two_proportions(5, 5, 9, 9) == 1
    assert two_proportions(3, 10, 6, 20) == 1
    assert math.isnan(two_proportions(0, 0, 3, 9)) and math.isnan(two_proportions(0, 0, 0, 0))
    assert two_proportions(10**9, 2 * 10**9, 0, 2 * 10**9) == 0


@pytest.mark.parametrize("rows", [8, 30, 500, 10_000, 10**6, 5 * 10**8])
def test_fisher_against_scipy_table_by_table(rows):
    """Tables near the expected counts, and tables far from them on both sides."""
    draw = np.random.default_rng(rows)
    n1 = draw.integers(1, rows, 60)
    k = draw.integers(0, min(rows, 2000) + 1, 60)
    k1 = draw.hypergeometric(k, rows - k, n1) + draw.integers(-40, 41, 60) * (np.arange(60) % 2)
    k1 = np.clip(k1, np.maximum(0, n1 + k - rows), np.minimum(n1, k))
    tables = np.array([[k1, n1 - k1], [k - k1, rows - n1 - k + k1]])
    wanted = [theirs.fisher_exact(tables[..., i]).pvalue for i in range(60)]
    found = fisher(*np.array([k1, n1, k - k1, rows - n1], float))
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-300)
    same = fisher(*np.array([n1 - k1, n1, rows - n1 - k + k1, rows - n1], float))
    np.testing.assert_allclose(same, found, rtol=1e-9, atol=1e-300)


def test_fisher_of_billions_of_rows_is_the_binomial_test():
    """If few of 5.85e9 rows are marked, the number of them in a group is binomial."""
    n1 = np.array([5_000, 10**4, 10**7, 2_000_000_000])
    k1, k = np.array([3, 2, 40, 11]), np.array([50, 10**6, 15_000, 33])
    found = two_proportions(k1, n1, k - k1, 5_850_000_000 - n1)
    wanted = [theirs.binomtest(*row).pvalue for row in zip(k1, k, n1 / 5.85e9, strict=True)]
    np.testing.assert_allclose(found, wanted, rtol=1e-3)
    assert two_proportions(10**5, 10**5, 0, 5_850_000_000) == 0  # below 1e-300
    assert two_proportions(1, 1, 0, 5_850_000_000) == pytest.approx(1 / 5_850_000_001)


@pytest.mark.parametrize("tests, expected", [(200, 0.05), (200, 1), (200, 6), (20, 100)])
def test_few_discoveries_where_nothing_differs(tests, expected):
    """The false discovery rate of groups of 1 % each, in 2,000 draws: standard error 0.005."""
    draw = np.random.default_rng([tests, int(expected)])
    n, k = 10_000, int(expected * 100)
    counts = draw.hypergeometric(k, 100 * n - k, n, (2000, tests))
    q = [benjamini_hochberg(p) for p in two_proportions(counts, n, k - counts, 99 * n)]
    assert np.mean([(one < 0.05).any() for one in q]) <= 0.05


def test_arrays_are_as_one_by_one():
    k1, n1 = np.array([[0, 3], [5, 9]]), np.array([10, 9])
    k2, n2 = 4, 16
    for function in (risk_ratio, lambda *a: (two_proportions(*a),)):
        whole = function(k1, n1, k2, n2)
        for i, j in np.ndindex(2, 2):
            one = function(int(k1[i, j]), int(n1[j]), k2, n2)
            assert all(isinstance(value, float) for value in one)
            assert [part[i, j] for part in whole] == pytest.approx(one, nan_ok=True)
    whole = odds_ratio(k1, 3, 4, pd.Series([5, 6]))
    assert whole[1][1, 0] == odds_ratio(5, 3, 4, 5)[1]
    lo, hi = wilson(pd.Series([0, 3, 5, 0]), np.array([10, 9, 5, 0]), 0.9)
    alone = [wilson(k, n, 0.9) for k, n in ((0, 10), (3, 9), (5, 5), (0, 0))]
    assert list(zip(lo, hi, strict=True)) == alone
    assert wilson([], [])[0].shape == (0,)
    assert two_proportions([], [], [], []).shape == (0,)


@pytest.mark.parametrize(
    "call",
    [
        lambda: risk_ratio(5, 4, 1, 2),
        lambda: risk_ratio(1, 4, -1, 2),
        lambda: risk_ratio(1, math.inf, 1, 2),
        lambda: risk_ratio(1, 4, 1, 2, level=1.5),
        lambda: risk_ratio("x", 4, 1, 2),
        lambda: risk_ratio([1, 2], [3, 4, 5], 1, 2),
        lambda: odds_ratio(-1, 1, 1, 1),
        lambda: odds_ratio(1, 1, 1, math.nan),
        lambda: odds_ratio(1, 1, 1, 1, level="0.95"),
        lambda: two_proportions(3, 2, 1, 2),
        lambda: two_proportions(None, 2, 1, 2),
        lambda: wilson(1, 2, level=True),
        lambda: wilson([1, 3], [2, 2]),
        lambda: benjamini_hochberg([0.5, 1.5]),
        lambda: benjamini_hochberg([-0.1]),
        lambda: benjamini_hochberg(["a"]),
        lambda: shard_bootstrap([1], [1, 2]),
        lambda: shard_bootstrap(1, 2),
        lambda: shard_bootstrap([3], [2]),
        lambda: shard_bootstrap([1, 2], [3, 4], level=0),
        lambda: shard_bootstrap([1, 2], [3, 4], n_resamples=1),
        lambda: shard_bootstrap([1, 2], [3, 4], n_resamples=10.0),
        lambda: shard_bootstrap([1, 2], [3, 4], seed=-1),
        lambda: welch([[1.0]], [1.0]),
        lambda: welch(["a"], [1.0]),
    ],
)
def test_what_is_impossible_is_refused(call):
    with pytest.raises(OptionError, match=r"[Ee]xpected|cannot be broadcast"):
        call()


def coverage(interval, truth, draws) -> float:
    return np.mean([lo <= truth <= hi for _, lo, hi in map(interval, draws)])


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


@given(st.lists(st.one_of(st.just(math.nan), st.floats(0, 1)), max_size=30))
@examples(100)
def test_benjamini_hochberg_against_scipy(p):
    p = np.array(p, dtype=float)
    known = ~np.isnan(p)
    found = benjamini_hochberg(p)
    assert np.isnan(found[~known]).all()
    if known.any():
        np.testing.assert_allclose(found[known], theirs.false_discovery_control(p[known]))


def test_benjamini_hochberg_by_its_own_example():
    """The 15 p-values of Benjamini and Hochberg (1995), section 3.2: the first 4 pass at 0.05."""
    p = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240,
         0.4262, 0.5719, 0.6528, 0.7590, 1.0000]  # fmt: skip
    q = benjamini_hochberg(p)
    assert (q <= 0.05).tolist() == [True] * 4 + [False] * 11
    assert benjamini_hochberg(p[::-1]).tolist() == q[::-1].tolist()
    assert benjamini_hochberg(np.reshape(p, (3, 5))).tolist() == q.reshape(3, 5).tolist()
    assert benjamini_hochberg([]).shape == (0,)
    assert benjamini_hochberg(0.3) == 0.3


def drawn_shards(draw, shards, mean, spread, rows):
    """Shards of different sizes and rates: beta-binomial counts."""
    n = draw.integers(rows // 2, rows * 3 // 2, shards)
    p = draw.beta(mean * spread, (1 - mean) * spread, shards)
    return draw.binomial(n, p), n


@pytest.mark.parametrize("shards", [2, 4, 8, 32])
def test_the_bootstrap_covers_where_wilson_does_not(shards):
    """1,000 draws: a binomial error of 0.007."""
    draw = np.random.default_rng(shards)
    held, wilson_held = [], []
    for _ in range(1000):
        k, n = drawn_shards(draw, shards, 0.2, 60, 500)
        lo, hi = shard_bootstrap(k, n, n_resamples=400)
        held.append(lo <= 0.2 <= hi)
        lo, hi = wilson(k.sum(), n.sum())
        wilson_held.append(lo <= 0.2 <= hi)
    assert 0.93 <= np.mean(held) <= 0.97
    assert np.mean(wilson_held) < 0.7


def test_the_bootstrap_is_wilsons_where_shards_do_not_differ():
    """For independent rows both cover, and their mean widths agree to within 10 %."""
    draw = np.random.default_rng(5)
    n = np.full(40, 300)
    widths = []
    for _ in range(200):
        k = draw.binomial(n, 0.1)
        widths.append([hi - lo for lo, hi in (shard_bootstrap(k, n), wilson(k.sum(), n.sum()))])
    ours, plain = np.mean(widths, axis=0)
    assert 0.95 < ours / plain < 1.1


def test_the_standard_error_is_the_linear_ones():
    """With many shards the bootstrap's error is that of a ratio estimate; Cochran (1977), 2.11."""
    draw = np.random.default_rng(2)
    k, n = drawn_shards(draw, 400, 0.3, 40, 200)
    p = k.sum() / n.sum()
    error = math.sqrt(400 / 399 * ((k - p * n) ** 2).sum()) / n.sum()
    half = theirs.t.ppf(0.975, 399) * error / (p * (1 - p))
    odds = p / (1 - p)
    wanted = [1 / (1 + math.exp(sign * half) / odds) for sign in (1, -1)]
    # 20,000 draws determine the error to 0.5 %.
    found = shard_bootstrap(k, n, n_resamples=20_000)
    np.testing.assert_allclose(np.subtract(found, p), np.subtract(wanted, p), rtol=0.02)


def test_shards_in_any_order_and_empty_ones():
    draw = np.random.default_rng(4)
    k, n = drawn_shards(draw, 30, 0.1, 50, 100)
    found = shard_bootstrap(k, n)
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(30)
        assert shard_bootstrap(k[order], n[order]) == found
    assert shard_bootstrap([*k, 0, 0], [*n, 0, 0]) == found
    assert shard_bootstrap(k, n, seed=1) != found
    wide = shard_bootstrap(k, n, level=0.99)
    assert wide[0] < found[0] < k.sum() / n.sum() < found[1] < wide[1]


def test_very_many_shards_are_drawn_in_little_memory(monkeypatch):
    draw = np.random.default_rng(6)
    few = drawn_shards(draw, 50, 0.1, 50, 100)
    wanted = shard_bootstrap(*few)
    for name, value in (("_CACHED", 0), ("_BLOCK", 77)):  # the same draws, in other blocks
        monkeypatch.setattr(bootstrap, name, value)
        assert shard_bootstrap(*few) == wanted
    monkeypatch.undo()
    k, n = drawn_shards(draw, 200_000, 0.3, 40, 200)
    tracemalloc.start()
    shard_bootstrap(k, n, n_resamples=100)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 60e6  # all draws together would take 80 MB, or 160 MB as floats


def test_what_the_bootstrap_cannot_know():
    assert shard_bootstrap([], []) == shard_bootstrap([3], [10]) == (0, 1)
    assert shard_bootstrap([3, 0], [10, 0]) == (0, 1)
    assert shard_bootstrap([0, 0], [10, 20]) == wilson(0, 30)
    assert shard_bootstrap([10, 20], [10, 20]) == wilson(30, 30)
    assert shard_bootstrap([1, 2, 3], [10, 20, 30], 0.9) == wilson(6, 60, 0.9)
    lo, hi = shard_bootstrap([0, 10], [10, 10])
    assert 0 <= lo < 0.01 and 0.99 < hi <= 1
    lo, hi = shard_bootstrap([0, 10**9], [10**9, 10**9], 0.999999)
    assert 0 <= lo < hi <= 1


@given(
    st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=20),
    st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=20),
)
@examples(60)
def test_welch_against_its_formula(a, b):
    if min(np.std(a), np.std(b)) < 1e-6:
        return
    u, v = np.var(a, ddof=1) / len(a), np.var(b, ddof=1) / len(b)
    t = (np.mean(a) - np.mean(b)) / math.sqrt(u + v)
    df = (u + v) ** 2 / (u**2 / (len(a) - 1) + v**2 / (len(b) - 1))
    wanted = (t, df, 2 * theirs.t.sf(abs(t), df))
    assert welch(a, b) == pytest.approx(wanted, rel=1e-7, abs=1e-12)


def test_welch_at_the_edges():
    assert all(map(math.isnan, welch([1.0], [1.0, 2.0])))
    assert all(map(math.isnan, welch([], [])))
    assert all(map(math.isnan, welch([1.0, math.nan], [1.0, 2.0])))
    t, df, p = welch([2, 2], [1, 1, 1])
    assert (t, p) == (math.inf, 0) and math.isnan(df)
    t, _, p = welch([1, 1], [1, 1])
    assert math.isnan(t) and math.isnan(p)
    assert welch(pd.Series([1, 2, 4]), [2, 3, 5])[0] < 0


@pytest.mark.parametrize("level", [0.5, 0.95, 0.999])
def test_jeffreys_against_scipy(level):
    tails = (1 - level) / 2, (1 + level) / 2
    for n in (7, 2000, 10**7, 5_850_000_000):
        k = np.array([k for k in (1, 2, 3, 6, 100, 1999, 4999) if k < n])
        for count in (k, n - k):
            lo, hi = theirs.beta.ppf(np.c_[[*tails]], count + 0.5, n - count + 0.5)
            assert np.allclose(jeffreys(count, n, level), (lo, hi), rtol=1e-9, atol=0)


def test_jeffreys_at_the_ends_and_where_wilson_stands_in():
    n = np.array([1, 30, 10**6])
    lo, hi = jeffreys(0, n)
    # mid-p: the tail is half the probability that none of n has the property
    assert (lo == 0).all() and theirs.binom.pmf(0, n, hi) / 2 == pytest.approx(0.025, rel=1e-6)
    none, all_of = jeffreys(0, 30), jeffreys(30, 30)
    assert all_of == pytest.approx((1 - none[1], 1), rel=1e-12)
    assert jeffreys(0, 0) == (0, 1) and jeffreys([], 5)[0].shape == (0,)
    for k, n in ((5000, 10_000), (5000, 10**7), (10**5, 10**9)):
        wanted = theirs.beta.ppf((0.025, 0.975), k + 0.5, n - k + 0.5)
        assert jeffreys(k, n) == pytest.approx(wanted, rel=1e-4) == wilson(k, n)
    k, n = np.array([[3], [8]]), np.array([10, 20, 30])
    lo, hi = jeffreys(k, n)  # elementwise
    for i, j in np.ndindex(2, 3):
        assert (lo[i, j], hi[i, j]) == jeffreys(int(k[i, 0]), int(n[j]))
    for bad in ((-1, 2), (3, 2), ("x", 2)):
        with pytest.raises(OptionError):
            jeffreys(*bad)


def test_the_interval_of_npmi_from_quantiles_of_scipy():
    """40 documents with both, 1 with the word only and 7 with the group only."""
    cells, n = np.array([40, 1, 7]), 3000

    def npmi(both, word, group):
        return math.log(both / ((both + word) * (both + group))) / -math.log(both)

    shares = cells / n
    odds = shares / (1 - shares)
    slope = np.array([1, -1, -1])  # more with both raises nPMI, more with one only lowers it
    r = np.where(np.eye(3), 1, -np.sqrt(np.outer(odds, odds)))
    limits = theirs.beta.ppf([[0.025], [0.975]], cells + 0.5, n - cells + 0.5)
    ends = []
    for side, which in ((-1, (0, 1, 1)), (1, (1, 0, 0))):
        at = [np.where(np.arange(3) == i, limits[which[i]], shares) for i in range(3)]
        moved = slope * np.abs([npmi(*row) - npmi(*shares) for row in at])
        ends.append(npmi(*shares) + side * math.sqrt(moved @ r @ moved))
    assert npmi_interval(40, 41, 47, n) == pytest.approx(ends, rel=1e-9)
