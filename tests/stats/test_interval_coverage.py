"""The 95 % intervals contain the truth between 93 and 97 % of the time, over 200 seeds.

Rows are drawn with known probabilities and counted; the functions of `laion_dask.stats` then take
the counts of all seeds at once. A few seeds also go through the statistic itself (chunk, combine,
finalize), which must return the same intervals bit for bit.

Several intervals of each seed are pooled, so each number is based on at least 1,600 of them. Its
standard error is then at most 0.6 % if the intervals of a seed are independent.
"""

from __future__ import annotations

import pickle
from functools import cache
from itertools import pairwise

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy.stats import binom
from support.groupings import Coded
from support.simulated_rows import CHECKED, COLUMN_TYPES

from laion_dask.aggregations import Partition, ReportOptions
from laion_dask.aggregations.cooccurrence import cooccurrence
from laion_dask.aggregations.curve import curve
from laion_dask.aggregations.intersections import intersections
from laion_dask.aggregations.rates import rates
from laion_dask.stats import risk_ratio, shard_bootstrap, wilson
from laion_dask.stats.cooccurrence import pmi_bias
from laion_dask.stats.joint import npmi_gap_interval, npmi_interval, observed_over_expected

SEEDS = range(200)


def compute(measure, columns: dict) -> pd.DataFrame:
    """Compute a statistic of some columns, in three partitions."""
    measure, whole = measure.bind(COLUMN_TYPES), pa.table(columns)
    cuts = [0, len(whole) // 4, len(whole) // 2, len(whole)]
    parts = [whole[a:b].select(list(measure.reads)) for a, b in pairwise(cuts)]
    states = [pickle.loads(pickle.dumps(measure.chunk(Partition(part)))) for part in parts]
    state = measure.combine(states)
    return measure.finalize(state, ReportOptions())


def computed_rates(columns: dict, where: str | None) -> pd.DataFrame:
    """`rates` of the groups of column g, in their order."""
    table = compute(rates(where, by="g"), columns)
    table = table[table["axis"].eq("g") & table["group"].str.isdigit()]
    return table.iloc[table["group"].astype(int).argsort()]


def assert_same_interval(table: pd.DataFrame, columns: tuple[str, str], ends: tuple) -> None:
    """Assert that two columns of a statistic contain exactly this interval."""
    for column, end in zip(columns, ends, strict=True):
        np.testing.assert_array_equal(table[column].to_numpy(), np.ravel(end))


def covered(ends: tuple, truth: np.ndarray) -> list[bool]:
    """Whether each interval contains its truth; none may be missing."""
    lo, hi = (np.asarray(end) for end in ends)
    assert lo.shape == hi.shape and not (np.isnan(lo) | np.isnan(hi)).any()
    return ((lo <= truth) & (truth <= hi)).ravel().tolist()


def assert_nominal(hits: list[bool]) -> None:
    assert len(hits) >= 1600
    assert 0.93 <= np.mean(hits) <= 0.97, np.mean(hits)


def count_codes(codes: np.ndarray, *shape: int) -> np.ndarray:
    """Count the rows with each code, a flat index into an array of this shape."""
    return np.bincount(codes, minlength=np.prod(shape)).reshape(shape)


def bootstrapped(k: np.ndarray, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Apply `shard_bootstrap` along the last axis."""
    flat = zip(k.reshape(-1, k.shape[-1]), n.reshape(-1, n.shape[-1]), strict=True)
    ends = np.array([shard_bootstrap(*row) for row in flat]).reshape(*k.shape[:-1], 2)
    return ends[..., 0], ends[..., 1]


GROUPS = np.array([0.3, 0.2, 0.15, 0.1, 0.1, 0.08, 0.05, 0.02])
RATES = np.array([0.029, 0.061, 0.2, 0.5, 0.05, 0.1, 0.9, 0.3])


def independent_rows(seed: int) -> dict[str, np.ndarray]:
    """4,000 independent rows in ten shards."""
    draw = np.random.default_rng(seed)
    g = draw.choice(8, 4000, p=GROUPS)
    return {"x": draw.random(4000) < RATES[g], "g": g, "shard": np.arange(4000) // 400}


@cache
def independent_counts() -> tuple[np.ndarray, np.ndarray]:
    """``k`` of ``n`` rows for which x is true, by seed, group and shard."""
    cells = []
    for seed in SEEDS:
        rows = independent_rows(seed)
        cells.append(count_codes((rows["g"] * 10 + rows["shard"]) * 2 + rows["x"], 8, 10, 2))
    cells = np.stack(cells)
    return cells[..., 1], cells.sum(axis=-1)


def ratio_to_the_rest(k: np.ndarray, n: np.ndarray) -> tuple:
    """The interval of the ratio; groups are the last axis."""
    rest = (whole.sum(axis=-1, keepdims=True) - whole for whole in (k, n))
    return risk_ratio(k, n, *rest)[1:]


def test_wilson():
    k, n = (cells.sum(axis=-1) for cells in independent_counts())
    assert_nominal(covered(wilson(k, n), RATES))


def test_the_ratio_to_the_rest():
    k, n = (cells.sum(axis=-1) for cells in independent_counts())
    rest = (GROUPS @ RATES - GROUPS * RATES) / (1 - GROUPS)
    assert_nominal(covered(ratio_to_the_rest(k, n), RATES / rest))


def test_the_bootstrap_over_shards_of_independent_rows():
    assert_nominal(covered(bootstrapped(*independent_counts()), RATES))


@pytest.mark.parametrize("seed", CHECKED)
def test_the_statistic_tells_these_rates(seed):
    k, n = (cells[seed] for cells in independent_counts())
    table = computed_rates(independent_rows(seed), "x")
    assert_same_interval(table, ("boot_lo", "boot_hi"), bootstrapped(k, n))
    k, n = k.sum(axis=-1), n.sum(axis=-1)
    assert_same_interval(table, ("lo", "hi"), wilson(k, n))
    assert_same_interval(table, ("ratio_lo", "ratio_hi"), ratio_to_the_rest(k, n))


@pytest.mark.parametrize("shards", [2, 10])
def test_the_bootstrap_over_shards_that_differ(shards):
    """Rates of a group vary between shards as a beta with intraclass correlation 0.01."""
    groups, rows, p = 10, 3000, np.repeat([0.03, 0.1, 0.3, 0.5, 0.8], 2)
    cells = []
    for seed in SEEDS:
        draw = np.random.default_rng([seed, shards])
        shard = draw.choice(shards, rows * shards, p=draw.dirichlet(np.full(shards, 20)))
        g = draw.integers(0, groups, len(shard))
        of_shard = draw.beta(p * 99, (1 - p) * 99, (shards, groups))
        x = draw.random(len(shard)) < of_shard[shard, g]
        cells.append(count_codes((g * shards + shard) * 2 + x, groups, shards, 2))
        if seed in CHECKED:
            table = computed_rates({"x": x, "g": g, "shard": shard}, "x")
            k, n = cells[-1][..., 1], cells[-1].sum(axis=-1)
            assert_same_interval(table, ("boot_lo", "boot_hi"), bootstrapped(k, n))
    cells = np.stack(cells)
    k, n = cells[..., 1], cells.sum(axis=-1)
    assert_nominal(covered(bootstrapped(k, n), p))
    hits = covered(wilson(k.sum(axis=-1), n.sum(axis=-1)), p)
    assert np.mean(hits) < 0.75  # hence the bootstrap


def test_representation_and_the_curve():
    """Shares of groups, and the curve of uniform scores."""
    cuts = np.array([0.1, 0.5, 0.9, 0.97])
    cells, above = [], []
    for seed in SEEDS:
        draw = np.random.default_rng([seed, 1])
        g, score = draw.choice(8, 2000, p=GROUPS), draw.random(2000)
        shard = np.arange(2000) // 100
        cells.append(count_codes(g * 20 + shard, 8, 20))
        above.append((score[:, None] >= cuts).sum(axis=0))
        if seed in CHECKED:
            table = computed_rates({"g": g, "shard": shard}, None)
            assert_same_interval(table, ("lo", "hi"), wilson(cells[-1].sum(axis=-1), 2000))
            assert_same_interval(
                table, ("boot_lo", "boot_hi"), bootstrapped(cells[-1], np.full((8, 20), 100))
            )
            table = compute(curve("score", thresholds=cuts), {"score": score})
            assert_same_interval(table, ("lo", "hi"), wilson(above[-1], 2000))
    cells = np.stack(cells)
    hits = covered(wilson(cells.sum(axis=-1), 2000), GROUPS)
    hits += covered(bootstrapped(cells, np.full(cells.shape, 100)), GROUPS)
    assert_nominal(hits + covered(wilson(np.stack(above), 2000), 1 - cuts))


@pytest.mark.parametrize("apart", [True, False], ids=["no document in two groups", "some in two"])
def test_words_and_groups(apart):
    """nPMI, its gap and PMI bias of ten words that depend only on the set of groups."""
    people, jobs = Coded("people", "g", ("a", "b")), Coded("jobs", "w", tuple("0123456789"))
    sets = np.array([0.7, 0.2, 0.1, 0.0]) if apart else np.array([0.65, 0.2, 0.1, 0.05])
    draw = np.random.default_rng(9)
    p_word = draw.uniform(0.015, 0.06, (4, 10))  # of each word in documents of each set of groups
    p = [sets @ p_word, sets[[1, 3]] @ p_word[[1, 3]], sets[[2, 3]] @ p_word[[2, 3]]]
    p_a, p_b = sets[[1, 3]].sum(), sets[[2, 3]].sum()
    npmi_a, npmi_b = (np.log(p[0] * g) / np.log(j) - 1 for g, j in ((p_a, p[1]), (p_b, p[2])))

    def intervals(documents: np.ndarray, words: np.ndarray) -> dict[str, tuple]:
        """From documents in each set of groups, and those of them with each word."""
        n, n_w = 8000, words.sum(axis=-2)
        in_a, in_b, in_both = (documents[..., of].sum(axis=-1) for of in ([1, 3], [2, 3], [3]))
        n_a, n_b, n_ab = (size[..., None] for size in (in_a, in_b, in_both))
        n_wa, n_wb, n_wab = (words[..., of, :].sum(axis=-2) for of in ([1, 3], [2, 3], [3]))
        ends = ((n_wa, n_a), (n_wb, n_b), (n_wab, n_ab))
        both = npmi_interval(n_wa, n_w, n_a, n), npmi_interval(n_wb, n_w, n_b, n)
        return {
            "nPMI": tuple(np.stack(pair, axis=-1) for pair in zip(*both, strict=True)),
            "nPMI gap": npmi_gap_interval(*ends, n_w, n),
            "PMI bias": pmi_bias(n_wa, n_a, n_wb, n_b)[1:],
        }

    documents, words = [], []
    for seed in SEEDS:
        draw = np.random.default_rng([seed, 2])
        g = draw.choice(4, 8000, p=sets)
        has = draw.random((8000, 10)) < p_word[g]
        documents.append(count_codes(g, 4))
        words.append(np.stack([has[g == which].sum(axis=0) for which in range(4)]))
        if seed in CHECKED:
            columns = {"g": g, "w": has @ (1 << np.arange(10))}
            table = compute(cooccurrence(jobs, by=people, pairs=[("a", "b")]), columns)
            table = table.sort_values(["term", "group"])
            for measure, ends in intervals(documents[-1], words[-1]).items():
                assert_same_interval(table[table["measure"] == measure], ("lo", "hi"), ends)
    found = intervals(np.stack(documents), np.stack(words))
    assert_nominal(covered(found["nPMI"], np.stack([npmi_a, npmi_b], axis=-1)))
    assert_nominal(covered(found["nPMI gap"], npmi_a - npmi_b))
    hits = covered(found["PMI bias"], np.log(p[1] / p_a) - np.log(p[2] / p_b))
    if apart:
        assert_nominal(hits)
    else:  # the log odds ratio treats the two groups' documents as disjoint
        assert 0.95 <= np.mean(hits) <= 0.99


def test_intersections():
    joint = np.array([[0.2, 0.1, 0.02], [0.05, 0.15, 0.1], [0.1, 0.01, 0.27]])

    def interval(cells: np.ndarray) -> tuple:
        one, other = cells.sum(axis=-1, keepdims=True), cells.sum(axis=-2, keepdims=True)
        return observed_over_expected(cells, one, other, 3000)[1:]

    counts = []
    for seed in SEEDS:
        cell = np.random.default_rng([seed, 3]).choice(9, 3000, p=joint.ravel())
        counts.append(count_codes(cell, 3, 3))
        if seed in CHECKED:
            table = compute(intersections("g", "h"), {"g": cell // 3, "h": cell % 3})
            assert_same_interval(
                table.sort_values(["group", "group_2"]), ("lo", "hi"), interval(counts[-1])
            )
    assert_nominal(
        covered(interval(np.stack(counts)), joint / np.outer(joint.sum(1), joint.sum(0)))
    )


@pytest.mark.parametrize("n", [2000, 20_000])
def test_npmi_where_a_word_hardly_occurs_without_its_group(n):
    """0.5 to 20 documents are expected with the word only, 40 to 400 with both."""
    cells = [
        (both, *more) for both in (40, 100, 400) for more in ((1, 1), (1, 3), (3, 20), (10, 10))
    ]
    cells += [(100, 0.5, 20), (100, 20, 0.5), (400, 3, 3)]
    hits = []
    for both, word, group in cells:
        p = np.array([both, word, group, n - both - word - group]) / n
        both, word, group, _ = np.random.default_rng(6).multinomial(n, p, 4000).T
        lo, hi = npmi_interval(both, both + word, both + group, n)
        truth = np.log(p[0] / ((p[0] + p[1]) * (p[0] + p[2]))) / -np.log(p[0])
        assert (hi > lo).all()
        hits.append(np.mean((lo <= truth) & (truth <= hi)))
    assert min(hits) >= 0.93 and max(hits) <= 0.97, hits


def npmi_coverage(n: int, both: int, word: float, group: float) -> float:
    """The exact coverage: sum over all tables of counts that each have a probability above 1e-6."""
    cells = []
    for expected in (both, word, group):
        counts = np.arange(int(expected + 9 * np.sqrt(expected)) + 12)
        cells.append(counts[binom(n, expected / n).pmf(counts) > 1e-6])
    j, w, g = (cell.ravel() for cell in np.meshgrid(*cells, indexing="ij"))
    p = np.array([both, word, group]) / n
    chance = binom(n, p[0]).pmf(cells[0])[j - cells[0][0]] * binom.pmf(w, n - j, p[1] / (1 - p[0]))
    chance *= binom.pmf(g, n - j - w, p[2] / (1 - p[0] - p[1]))
    assert chance.sum() == pytest.approx(1, abs=1e-4)
    lo, hi = npmi_interval(j, j + w, j + g, n)
    truth = np.log(p[0] / ((p[0] + p[1]) * (p[0] + p[2]))) / -np.log(p[0])
    return chance[(lo <= truth) & (truth <= hi)].sum() / chance.sum()


HARDLY_APART = ((0.5, 0.5), (0.5, 1), (1, 1), (0.5, 20), (1, 3), (3, 3), (10, 10))


@pytest.mark.parametrize("n", [2000, 10**7])
def test_npmi_coverage_by_summing_over_all_tables(n):
    """Without draws. 40 to 400 are expected with both, 0.5 to 20 with either only."""
    for both in (40, 100, 400):
        for apart in HARDLY_APART:
            assert 0.93 <= npmi_coverage(n, both, *apart) <= 0.97, (both, apart)


@pytest.mark.parametrize("n", [2000, 10**7])
def test_npmi_coverage_where_few_have_both(n):
    """Few tables are likely, so coverage is uneven; cells with more than 97 % are listed."""
    more = {}
    for both in (1, 3, 5, 10, 20):
        for apart in HARDLY_APART:
            share = npmi_coverage(n, both, *apart)
            assert 0.93 <= share <= 0.986, (both, apart)
            if share > 0.97:
                more[both, *apart] = share
    known = {
        *((both, *apart) for both in (1, 3, 5, 10) for apart in HARDLY_APART[:3]),
        (1, 0.5, 20), (1, 10, 10), (20, 1, 1),
    }  # fmt: skip
    assert more.keys() <= known, more
