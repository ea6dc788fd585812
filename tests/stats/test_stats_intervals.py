"""Intervals by Jeffreys and of nPMI; arrays, and what all intervals and tests refuse."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats as theirs

from laion_dask.errors import OptionError
from laion_dask.stats import (
    benjamini_hochberg,
    odds_ratio,
    risk_ratio,
    shard_bootstrap,
    two_proportions,
    welch,
    wilson,
)
from laion_dask.stats.jeffreys import jeffreys
from laion_dask.stats.joint import npmi_interval


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
