"""Intervals and mergeable summaries against SciPy, NumPy and exact counts."""

import math
from fractions import Fraction
from functools import reduce

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from support.property_tests import examples
from support.shards import quantiles

from laion_dask.errors import OptionError
from laion_dask.stats import ACCURACY, Quantiles, wilson
from laion_dask.stats.sketches.quantiles import EXACT

SHARES = [0.0, 0.001, *(round(0.05 * i, 2) for i in range(1, 20)), 0.999, 1.0]


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95, 0.99, 0.999])
def test_wilson_against_scipy(level):
    for n in (1, 2, 3, 7, 10, 100, 1234, 10**6):
        for k in sorted({0, 1, n // 3, n // 2, n - 1, n}):
            theirs = binomtest(k, n).proportion_ci(level, method="wilson")
            assert wilson(k, n, level) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_wilson_by_default_and_at_the_edges():
    lo, hi = wilson(29, 1000)
    assert lo < 0.029 < hi
    assert wilson(29, 1000) == wilson(29, 1000, 0.95)
    assert wilson(0, 0) == (0.0, 1.0)
    assert wilson(0, 50)[0] == 0.0 and wilson(50, 50)[1] == 1.0
    for wrong in ((-1, 5), (6, 5), (0, -1), (1, 2, 0), (1, 2, 1), (1, 2, math.nan)):
        with pytest.raises(OptionError, match=r"expected 0 <=? (k <= n|level < 1)"):
            wilson(*wrong)


def check(values, reference=quantiles):
    for capacity in (0, 40, EXACT):
        check_one(values, reference, Quantiles.of(values, capacity))


def check_one(values, reference, sketch):
    finite = np.asarray(values, float)[np.isfinite(np.asarray(values, float))]
    assert sketch.n == len(finite)
    plain = reference(finite, SHARES)
    # A tolerance of one millionth: the edges of the bins are themselves rounded.
    np.testing.assert_allclose(sketch.at(SHARES), plain, rtol=ACCURACY * (1 + 1e-6), atol=1e-9)
    assert sketch.is_exact == (len(np.unique(finite)) <= sketch.capacity)
    if sketch.is_exact:
        assert sketch.at(SHARES) == list(plain)
    assert sketch.mean == float(sum(map(Fraction, finite.tolist())) / len(finite))


@pytest.mark.parametrize(
    "draw",
    [
        lambda r: r.uniform(0, 1, 5000),
        lambda r: r.normal(0, 1, 5000),
        lambda r: r.lognormal(5, 3, 5000),
        lambda r: r.choice([0.0, 0.25, -0.25], 999),
        lambda r: np.full(17, 0.3),
        lambda r: r.uniform(-1, 1, 4000).astype(np.float16),
        lambda r: np.concatenate([r.normal(size=50), [np.nan, np.inf, -np.inf, 0.0, -0.0]]),
    ],
)
def test_quantiles_against_numpy(draw):
    values = draw(np.random.default_rng(0))
    check(values)
    check(values, lambda finite, shares: np.quantile(finite, shares, method="inverted_cdf"))


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60))
@examples(60)
def test_quantiles_of_anything(values):
    check(values)


def test_whole_numbers_below_a_thousand_come_back_exactly():
    for n in range(-999, 1000):
        (found,) = Quantiles.of(np.array([n]), 0).at([0.5])
        assert round(found) == n
    draw = np.random.default_rng(1).integers(0, 1000, 3001)
    plain = np.quantile(draw, SHARES, method="inverted_cdf")
    assert [round(v) for v in Quantiles.of(draw, 0).at(SHARES)] == plain.tolist()


def test_the_ends_of_float64():
    huge = np.array([1.7e308, 1.7e308, -1.7e308, 5e-324, 1e-9, -1e-9, 2e-9])
    found = Quantiles.of(huge, 0).at(SHARES)
    plain = np.quantile(huge, SHARES, method="inverted_cdf")
    np.testing.assert_allclose(found, plain, rtol=ACCURACY * (1 + 1e-6), atol=1e-9)
    top = np.full(3, np.finfo(float).max)
    assert Quantiles.of(top).mean == top[0]
    assert Quantiles.of(top, 0).at([0.5])[0] == pytest.approx(top[0], rel=2 * ACCURACY)


def test_quantiles_of_nothing():
    for values in ([], [math.nan], [math.inf]):
        empty = Quantiles.of(np.array(values))
        assert empty.n == 0 and math.isnan(empty.mean)
        assert all(math.isnan(v) for v in empty.at(SHARES))
    some = Quantiles.of(np.array([1.5]))
    assert Quantiles().merge(some) == some == some.merge(Quantiles())


@pytest.mark.parametrize("capacity", [0, 300, 1000, 10_000])
@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "int64"])
def test_merge_order_does_not_matter(dtype, capacity):
    draw = np.random.default_rng(3)
    values = (draw.normal(0, 300, 4000) * draw.choice([1e-6, 1, 10], 4000)).astype(dtype)
    whole = Quantiles.of(values, capacity)
    assert whole.mean == float(sum(map(Fraction, values.tolist())) / len(values))
    for seed in range(5):
        cut = np.sort(np.random.default_rng(seed).integers(0, len(values), 9))
        parts = [Quantiles.of(v, capacity) for v in np.split(values, cut)]
        np.random.default_rng(seed).shuffle(parts)
        ahead = reduce(Quantiles.merge, parts)
        tree = reduce(Quantiles.merge, parts[:4]).merge(reduce(Quantiles.merge, parts[4:]))
        assert ahead == tree == whole
        assert ahead.mean == whole.mean  # bit for bit
        assert ahead.at(SHARES) == whole.at(SHARES)


@pytest.mark.parametrize("n", [100, 10**8, 5_850_000_000])
def test_ranks_are_exact_however_many_rows(n):
    for hundredths in range(1, 100):
        share, k = hundredths / 100, n // 100 * hundredths
        for low, value in ((k, 1.0), (k - 1, 2.0)):
            counts = np.array([low, n - low])
            assert Quantiles(np.array([1.0, 2.0]), counts).at([share]) == [value]
