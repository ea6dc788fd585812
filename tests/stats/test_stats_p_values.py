"""p of two shares and of two means, and q of many tests: SciPy and published examples."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as theirs
from support.property_tests import examples

from laion_dask.stats import benjamini_hochberg, two_proportions, welch
from laion_dask.stats.exact import fisher


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


@given(st.lists(st.one_of(st.just(math.nan), st.floats(0, 1)), max_size=30))
@examples(100)
def test_benjamini_hochberg_against_scipy(p):
    p = np.array(p, dtype=float)
    known = ~np.isnan(p)
    found = benjamini_hochberg(p)
    assert np.isnan(found[~known]).all()
    if known.any():
        np.testing.assert_array_equal(found[known], theirs.false_discovery_control(p[known]))


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
