"""Quotas of clusters by the complexity of their concepts."""

from __future__ import annotations

import numpy as np
import pytest
from support.paths import SHARED

from laion_dask import stats
from laion_dask.errors import OptionError

REFERENCE = SHARED / "reference" / "carve"
needs_reference = pytest.mark.skipif(not REFERENCE.exists(), reason="no reference answers")


@needs_reference
@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_quotas_are_those_of_a_solver_of_quadratic_programs(number, temperature):
    given = np.load(REFERENCE / f"complexity_{number}.npz")
    n = int(given["n"])
    arguments = given["d_intra"], given["d_inter"], given["sizes"], n
    exact = stats.cluster_quotas(*arguments, temperature=temperature, exact=True)
    assert np.abs(exact - given[f"tau_{temperature}"]).max() < 1e-6 * n
    whole = stats.cluster_quotas(*arguments, temperature=temperature)
    assert whole.dtype == np.int64 and whole.sum() == n
    assert np.abs(whole - exact).max() <= 1
    assert (whole <= given["sizes"]).all()


def brute_force(wanted, low, high, n):
    """The nearest point by a bisection of the multiplier in a thousand steps."""
    below, above = -1e12, 1e12
    for _ in range(1000):
        middle = (below + above) / 2
        if np.clip(wanted + middle, low, high).sum() < n:
            below = middle
        else:
            above = middle
    return np.clip(wanted + below, low, high)


def test_random_quotas_stand_within_their_bounds_and_add_up():
    rng = np.random.default_rng(0)
    for _ in range(200):
        k = int(rng.integers(1, 30))
        sizes = rng.integers(0, 40, k)
        lower = int(rng.integers(0, 4))
        d = rng.random((2, k))
        d[:, rng.random(k) < 0.1] = np.nan
        low = np.maximum(0, np.minimum(lower, sizes - 1))
        n = int(rng.integers(low.sum(), sizes.sum() + 1))
        temperature = float(rng.choice([0.01, 0.1, 0.5, 5]))
        options = {"temperature": temperature, "lower": lower}
        exact = stats.cluster_quotas(*d, sizes, n, exact=True, **options)
        whole = stats.cluster_quotas(*d, sizes, n, **options)
        assert whole.sum() == n and (whole >= low).all() and (whole <= sizes).all()
        assert np.abs(whole - exact).max() < 1 + 1e-9
        c = d[0] * d[1]
        c = np.where(np.isnan(c), 0 if np.isnan(c).all() else np.nanmean(c), c)
        p = np.exp((c - c.max()) / temperature)
        np.testing.assert_allclose(
            exact, brute_force(n * p / p.sum(), low, sizes, n), atol=1e-5, rtol=1e-9
        )


def test_clusters_of_no_row_and_of_one_row():
    quotas = stats.cluster_quotas([0.3, np.nan, 0.3], [0.3, 0.3, 0.3], [0, 1, 9], 5, lower=2)
    assert quotas.tolist()[0] == 0 and quotas.sum() == 5
    assert stats.cluster_quotas([], [], [], 0).tolist() == []
    assert stats.cluster_quotas([np.nan], [np.nan], [3], 3).tolist() == [3]


def test_equal_remainders_go_to_the_first_clusters():
    assert stats.cluster_quotas([0.1] * 3, [0.1] * 3, [9] * 3, 5).tolist() == [2, 2, 1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sizes": [3, -1]}, "expected counts >= 0"),
        ({"sizes": [3, np.nan]}, "expected counts >= 0"),
        ({"sizes": [3, 1.5]}, "whole numbers of rows"),
        ({"sizes": [3, 4, 5]}, "one number per cluster"),
        ({"d_intra": [0.1]}, "one number per cluster"),
        ({"d_inter": 0.1}, "one number per cluster"),
        ({"d_intra": [-0.1, 0.2]}, "a d_intra below 0 or infinite"),
        ({"d_inter": ["a", "b"]}, "expected numbers"),
        ({"n": 8}, "at most 7, the rows of all clusters"),
        ({"n": 1}, "Expected at least 2, which is 1 of each cluster"),
        ({"n": 2.5}, "n is 2.5"),
        ({"n": True}, "n is True"),
        ({"temperature": 0}, "temperature is 0"),
        ({"lower": -1}, "lower is -1"),
    ],
)
def test_impossible_quotas_say_what_is_expected(change, message):
    given = {"d_intra": [0.1, 0.2], "d_inter": [0.1, 0.2], "sizes": [3, 4], "n": 5, **change}
    with pytest.raises(OptionError, match=message):
        stats.cluster_quotas(**given)
