"""Concentration and co-occurrence against scikit-learn, SciPy, plain loops and closed forms."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import entropy as their_entropy
from sklearn.metrics import mutual_info_score
from support.property_tests import examples

from laion_dask.errors import OptionError
from laion_dask.stats import (
    entropy,
    gini,
    herfindahl,
    npmi,
    npmi_gap,
    odds_ratio,
    pmi,
    pmi_bias,
    risk_ratio,
    top_share,
)

COUNTS = st.lists(st.integers(0, 10_000), min_size=1, max_size=40).filter(any)


@given(COUNTS)
@examples(100)
def test_gini_is_half_the_relative_mean_difference(counts):
    n = len(counts)
    difference = sum(abs(a - b) for a in counts for b in counts) / n**2
    assert gini(counts) == pytest.approx(difference / (2 * sum(counts) / n), rel=1e-9, abs=1e-12)


@given(COUNTS)
@examples(100)
def test_gini_is_the_area_over_the_lorenz_curve(counts):
    """Twice the area between the curve and the line of equality, by scikit-learn's trapezoids."""
    from sklearn.metrics import auc

    curve = np.concatenate([[0], np.cumsum(sorted(counts)) / sum(counts)])
    area = auc(np.linspace(0, 1, len(curve)), curve)
    assert gini(counts) == pytest.approx(1 - 2 * area, abs=1e-9)


@given(COUNTS)
@examples(100)
def test_herfindahl_and_top_shares_by_loops(counts):
    total = sum(counts)
    wanted = sum((c / total) ** 2 for c in counts)
    assert herfindahl(counts) == pytest.approx(wanted, rel=1e-12)
    for k in (1, 3, 100):
        most = sum(n for _, n in Counter(dict(enumerate(counts))).most_common(k))
        assert top_share(counts, k) == most / total


@given(COUNTS.filter(lambda counts: len(counts) > 1))
@examples(100)
def test_entropy_against_scipy(counts):
    wanted = their_entropy(counts) / math.log(len(counts))
    assert entropy(counts) == pytest.approx(wanted, abs=1e-12)
    assert 0 <= entropy(counts) <= 1


def test_closed_cases():
    assert gini([5, 5, 5, 5]) == 0 and gini([0, 0, 0, 9]) == 0.75
    assert gini([1, 2, 3, 4]) == pytest.approx(0.25)
    assert herfindahl([7]) == 1 and herfindahl([2, 2, 2, 2]) == 0.25
    assert entropy([3, 3, 3]) == pytest.approx(1) and entropy([4, 0]) == 0
    assert top_share([1, 2, 3, 4], 1) == 0.4 and top_share([1, 2], 9) == 1
    one = [12]
    assert (gini(one), herfindahl(one), entropy(one), top_share(one, 1)) == (0, 1, 0, 1)
    assert str(entropy([4, 0])) == "0.0"
    # For 1, 2, ..., n: half the mean difference, (n^2 - 1) / (6 n), over the mean, (n + 1) / 2.
    for n in (2, 10, 1000):
        assert gini(range(1, n + 1)) == pytest.approx((n - 1) / (3 * n))


def test_no_rows_at_all():
    for counts in ([], [0], [0, 0, 0], np.array([], int)):
        values = (gini(counts), herfindahl(counts), entropy(counts), top_share(counts, 3))
        assert all(map(math.isnan, values))


def test_the_order_of_labels_does_not_matter_to_the_last_bit():
    draw = np.random.default_rng(0)
    counts = draw.zipf(1.4, 5000) % 100_003
    for seed in range(3):
        other = np.random.default_rng(seed).permutation(counts)
        for function in (gini, herfindahl, entropy, lambda c: top_share(c, 10)):
            assert function(other) == function(counts)


@pytest.mark.parametrize("wrong", [[-1, 2], [math.nan], [[1, 2]], 3, ["a"], [math.inf], None])
def test_what_are_no_counts(wrong):
    for function in (gini, herfindahl, entropy, lambda c: top_share(c, 1)):
        with pytest.raises(OptionError, match="expected"):
            function(wrong)


@pytest.mark.parametrize("k", [0, -1, 1.5, True, "1", None])
def test_k_is_a_whole_number(k):
    with pytest.raises(OptionError, match="k is"):
        top_share([1, 2], k)


@st.composite
def documents(draw):
    """Numbers of documents with both, only the word, only the group, and neither."""
    return [draw(st.integers(0, 50)) for _ in range(4)]


def by_definition(both, word, group, n):
    """PMI ln[p(w, g) / (p(w) p(g))], and PMI over -ln p(w, g), from the paper's probabilities."""
    p, p_w, p_g = both / n, word / n, group / n
    return math.log(p / (p_w * p_g)), math.log(p / (p_w * p_g)) / -math.log(p)


@given(documents())
@examples(200)
def test_npmi_from_probabilities(cells):
    both, only_w, only_g, _ = cells
    word, group, n = both + only_w, both + only_g, sum(cells)
    found = npmi(both, word, group, n)
    assert math.isnan(found) or -1 <= found <= 1
    if 0 < both < n:
        plain, normal = by_definition(both, word, group, n)
        assert pmi(both, word, group, n) == pytest.approx(plain, abs=1e-9)
        assert found == pytest.approx(normal, abs=1e-9)
        assert npmi(both, group, word, n) == pytest.approx(found)
    elif word and group:
        assert found == (-1 if both == 0 else 1)
    else:
        assert math.isnan(found)


def test_pmi_adds_up_to_the_mutual_information_of_scikit_learn():
    """The mean PMI of the four cells, weighted by probability, is the mutual information."""
    cells = {(1, 1): 30, (1, 0): 120, (0, 1): 50, (0, 0): 800}
    n = sum(cells.values())
    w = np.repeat([key[0] for key in cells], list(cells.values()))
    g = np.repeat([key[1] for key in cells], list(cells.values()))
    total = sum(
        count / n * pmi(count, (w == i).sum(), (g == j).sum(), n) for (i, j), count in cells.items()
    )
    assert total == pytest.approx(mutual_info_score(w, g), rel=1e-9)


def test_the_limits_of_npmi():
    assert npmi(0, 10, 20, 100) == -1 and pmi(0, 10, 20, 100) == -math.inf
    assert npmi(10, 10, 10, 100) == 1 and npmi(1, 1, 1, 10**9) == 1
    assert npmi(5, 10, 50, 100) == 0 == pmi(5, 10, 50, 100)
    assert npmi(7, 7, 7, 7) == 1 and pmi(7, 7, 7, 7) == 0
    assert npmi(10, 100, 10, 100) == 0  # the word is everywhere and says nothing about the group
    for nothing in ((0, 0, 5, 10), (0, 5, 0, 10), (0, 0, 0, 10), (0, 0, 0, 0)):
        assert math.isnan(npmi(*nothing)) and math.isnan(pmi(*nothing))


def test_it_is_normalised_by_the_joint_probability():
    """Not by p(w) or p(g): a subset does not reach 1.

    10 of 100 captions have the word, all 10 among the 40 with the group: ln 2.5 / ln 10.
    """
    assert npmi(10, 10, 40, 100) == pytest.approx(math.log(2.5) / math.log(10))
    assert npmi(10, 10, 40, 100) != pytest.approx(math.log(2.5) / math.log(2.5))


def test_npmi_of_arrays():
    found = npmi(np.array([0, 5, 10]), 10, [[20], [50]], 100)
    assert found.shape == (2, 3) and found[1, 1] == 0 and found[0, 0] == -1
    assert isinstance(npmi(1, 2, 3, 10), float)
    assert npmi([], [], [], 5).shape == (0,)


@pytest.mark.parametrize(
    "wrong",
    [(5, 3, 10, 100), (5, 10, 3, 100), (5, 60, 60, 100), (1, 2, 3, 2), (-1, 2, 3, 9),
     (1, math.nan, 3, 9), ("a", 1, 1, 1), ([1, 2], [1, 2, 3], 4, 9)],
)  # fmt: skip
def test_impossible_counts(wrong):
    for function in (npmi, pmi):
        with pytest.raises(OptionError, match=r"[Ee]xpected|cannot be broadcast"):
            function(*wrong)


def test_the_gap_of_two_groups():
    found = npmi_gap(10, 50, 2, 60, 15, 1000)
    assert found == pytest.approx(npmi(10, 15, 50, 1000) - npmi(2, 15, 60, 1000))
    assert npmi_gap(2, 60, 10, 50, 15, 1000) == -found
    assert npmi_gap(5, 50, 5, 50, 15, 1000) == 0
    assert npmi_gap(15, 15, 0, 50, 15, 1000) == 2
    assert math.isnan(npmi_gap(0, 0, 5, 50, 15, 1000))
    assert npmi_gap([10, 5], 50, 2, 60, 15, 1000).tolist()[0] == found
    with pytest.raises(OptionError, match="Expected at most"):
        npmi_gap(10, 50, 20, 60, 15, 1000)


def test_the_bias_is_a_difference_of_pmis():
    found, lo, hi = pmi_bias(40, 2000, 25, 3000)
    n, n_w = 10_000, 200
    assert found == pytest.approx(pmi(40, n_w, 2000, n) - pmi(25, n_w, 3000, n))
    assert found == pytest.approx(math.log(risk_ratio(40, 2000, 25, 3000)[0]))
    spread = 1.959963984540054 * math.sqrt(1 / 40 + 1 / 1960 + 1 / 25 + 1 / 2975)
    assert (lo, hi) == (pytest.approx(found - spread), pytest.approx(found + spread))
    assert pmi_bias(25, 3000, 40, 2000) == pytest.approx((-found, -hi, -lo))


def test_the_bias_of_a_rare_word_is_the_log_odds_ratio():
    """Valentini et al.: the rarer the word, the closer they are."""
    for rare, tolerance in ((100, 2e-2), (10_000, 2e-4)):
        ours = pmi_bias(40, 40 * rare, 25, 30 * rare)
        odds = odds_ratio(40, 40 * rare - 40, 25, 30 * rare - 25)
        assert ours == pytest.approx(np.log(odds), abs=tolerance)


def test_zero_counts_of_the_bias():
    found, lo, hi = pmi_bias(0, 1000, 5, 1000)
    assert (found, lo) == (-math.inf, -math.inf) and math.isfinite(hi)
    assert pmi_bias(5, 1000, 0, 1000) == (math.inf, pytest.approx(-hi), math.inf)
    for nothing in ((0, 10, 0, 20), (0, 0, 5, 20), (5, 20, 0, 0)):
        found, lo, hi = pmi_bias(*nothing)
        assert math.isnan(found) and (lo, hi) == (-math.inf, math.inf)
    found, lo, hi = pmi_bias(10, 10, 5, 20)
    assert found == pytest.approx(math.log(4)) and lo < found < hi < math.inf
    for wrong in ((11, 10, 5, 20), (-1, 10, 5, 20), (1, 10, 5, math.nan)):
        with pytest.raises(OptionError, match="expected 0 <= k <= n"):
            pmi_bias(*wrong)
    with pytest.raises(OptionError, match="level"):
        pmi_bias(1, 10, 5, 20, level=95)


def test_the_interval_of_the_bias_covers():
    """Of 20,000 draws of rare words; for 10 % of the documents it is wider than necessary."""
    draw = np.random.default_rng(1)
    for p, low, high in ((0.01, 0.945, 0.96), (0.1, 0.96, 0.98)):
        a, b = draw.binomial(4000, p, 20_000), draw.binomial(6000, p / 2, 20_000)
        _, lo, hi = pmi_bias(a, 4000, b, 6000)
        assert low < np.mean((lo <= math.log(2)) & (hi >= math.log(2))) < high
