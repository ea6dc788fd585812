"""The bootstrap over shards: its coverage, its standard error, its order and its memory."""

import math
import tracemalloc

import numpy as np
import pytest
from scipy import stats as theirs

from laion_dask.stats import bootstrap, shard_bootstrap, wilson


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
