"""Where nothing differs, a group or a word stands out in at most 5 % of the seeds.

The functions of `laion_dask.stats` take the counts of all seeds at once. A few seeds also go
through the statistic itself, which must return the same q up to rounding: Fisher's sums run over
blocks of tables, which depend on the number of tests.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from support.groupings import Coded
from support.simulated_rows import CHECKED, COLUMN_TYPES

from laion_dask.aggregations import ReportOptions
from laion_dask.aggregations.contingency import ContingencyTable
from laion_dask.aggregations.cooccurrence import CooccurrenceCounts, cooccurrence
from laion_dask.aggregations.counts import ALL, NONE, Counts, Tally
from laion_dask.aggregations.exclusion import ExclusionCounts, excluded_by
from laion_dask.aggregations.intersections import intersections
from laion_dask.aggregations.rates import rates
from laion_dask.stats import benjamini_hochberg, two_proportions

LEAST_ROWS = ReportOptions().min_n


def adjusted(p: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """q within each family of tests, one per row; NaN if a test is not shown."""
    q = np.full(p.shape, np.nan)
    for family, is_shown, row in zip(p, shown, q, strict=True):
        row[is_shown] = benjamini_hochberg(family[is_shown])
    return q


def false_discovery_rate(q: np.ndarray, least: int) -> float:
    """The share of seeds, one per row, in which any q is below 0.05.

    There are no differences, so all discoveries are false and this is the false discovery rate.
    """
    assert ((~np.isnan(q)).sum(axis=1) >= least).all()
    return (q < 0.05).any(axis=1).mean()


@pytest.mark.parametrize(
    ("rows", "share", "seeds"),
    [
        (50, 0.0008, 200),
        pytest.param(50, 0.01, 200, marks=pytest.mark.simulation),
        pytest.param(50, 0.05, 200, marks=pytest.mark.simulation),
        pytest.param(50, 0.3, 200, marks=pytest.mark.simulation),
        pytest.param(1000, 0.0008, 200, marks=pytest.mark.simulation),
        pytest.param(1000, 0.01, 200, marks=pytest.mark.simulation),
        pytest.param(1000, 0.05, 200, marks=pytest.mark.simulation),
        pytest.param(1000, 0.3, 2000, marks=pytest.mark.simulation),
    ],
)
def test_no_group_stands_out_where_none_differs(rows, share, seeds):
    """In rates and in audits: in at most 5 % of the seeds.

    The expected number of true rows per group ranges from 0.04 to 300. With a share of 0.3, 20
    groups of 1,000 rows give 4.7 % of 3,000 seeds and 200 such groups 4.5 %; 20 groups of 10,000
    rows, where the z test takes over, give 4.2 %.
    """
    groups = 200
    draws = [
        np.random.default_rng([seed, 4]).binomial(rows, share, groups) for seed in range(seeds)
    ]
    k = np.stack(draws)
    p = two_proportions(k, rows, k.sum(axis=1, keepdims=True) - k, rows * (groups - 1))
    q = adjusted(p, np.full(p.shape, True))
    for seed in CHECKED:
        for computed_q in (q_of_rates(k[seed], rows), q_of_an_audit(k[seed], rows)):
            np.testing.assert_allclose(computed_q, q[seed], rtol=1e-12)
    assert false_discovery_rate(q, groups) <= 0.05


def q_of_rates(k: np.ndarray, rows: int) -> pd.Series:
    """q of groups of ``rows`` rows each, ``k`` of them true, from the statistic."""
    names = tuple(map(str, range(len(k))))
    counts = np.zeros((len(k) + 2, 3), np.int64)
    counts[1:-1, 1:] = np.stack([rows - k, k], axis=1)
    counts[0] = counts.sum(axis=0)
    labels = (ALL, *((1, name) for name in names), NONE)
    state = (Tally(Counts((labels,), counts), None),)
    table = rates("x", by="g").bind(COLUMN_TYPES).finalize(state, ReportOptions())
    return table.set_index("group")["q"].loc[list(names)]


def q_of_an_audit(k: np.ndarray, rows: int) -> pd.Series:
    """q of groups of ``rows`` rows each, ``k`` of them excluded, from an audit."""
    of = {str(name): (rows, rows - gone, 0) for name, gone in enumerate(k.tolist())}
    everyone = (rows * len(k), rows * len(k) - int(k.sum()), 0)
    state = ExclusionCounts(everyone, (of,), ((0, 0, 0),))
    table = excluded_by("not x", "g").bind(COLUMN_TYPES).finalize(state, ReportOptions())
    return table.set_index("group")["q"].loc[list(of)]


@pytest.mark.parametrize(
    ("share", "seeds"),
    [
        (0.005, 200),
        pytest.param(0.0008, 200, marks=pytest.mark.simulation),
        pytest.param(0.05, 200, marks=pytest.mark.simulation),
        pytest.param(0.3, 2000, marks=pytest.mark.simulation),
    ],
)
def test_no_word_stands_out_where_words_and_groups_are_independent(share, seeds):
    """In nPMI and PMI bias of a pair of groups, and in intersections, from 2 expected documents up.

    With many expected documents the rate is close to 5 %, and 200 seeds cannot tell it from more.
    """
    n = 50_000 if share < 0.005 else 10_000
    sizes = np.array([18, 1, 1]) * (n // 20)
    n_w, both = np.empty((seeds, 10), np.int64), np.empty((seeds, 10, 3), np.int64)
    for seed in range(seeds):
        draw = np.random.default_rng([seed, 4])
        n_w[seed] = draw.binomial(n, share, 10)
        both[seed] = [draw.multivariate_hypergeometric(sizes, k) for k in n_w[seed]]
    p = two_proportions(both, n_w[..., None], sizes - both, n - n_w[..., None])
    shown = np.minimum(n_w[..., None], sizes) >= LEAST_ROWS
    in_b_and_c = np.minimum(n_w, sizes[1]) >= LEAST_ROWS
    q = {
        "nPMI": adjusted(p[..., 1], shown[..., 1]),  # the words of group b are a family
        "PMI bias": adjusted(
            two_proportions(both[..., 1], sizes[1], both[..., 2], sizes[2]), in_b_and_c
        ),
        "intersections": adjusted(p.reshape(seeds, 30), shown.reshape(seeds, 30)),
    }
    for seed in CHECKED:
        for name, computed_q in q_of_words(n, sizes, n_w[seed], both[seed]).items():
            np.testing.assert_allclose(computed_q, q[name][seed], rtol=1e-12, err_msg=name)
    rate = {name: false_discovery_rate(of, 5) for name, of in q.items()}
    assert max(rate.values()) <= 0.05, rate


def q_of_words(n: int, sizes: np.ndarray, n_w: np.ndarray, both: np.ndarray) -> dict:
    """The same q from the statistics, sorted by word; intersections also by group."""
    jobs = Coded("jobs", "w", tuple("0123456789"))
    people = Coded("people", "g", ("a", "b", "c"))
    first, second = Counts((jobs.labels,), n_w), Counts((people.labels,), sizes)
    state = ContingencyTable(n, 0, first, second, Counts((jobs.labels, people.labels), both))
    none = np.zeros((10, 0), np.int64)
    pairs = (Counts(((),), none[0]), Counts((jobs.labels, ()), none))
    words = cooccurrence(jobs, by=people, pairs=[("b", "c")])
    table = words.finalize(CooccurrenceCounts(state, *pairs), ReportOptions()).sort_values("term")
    crossed = intersections(jobs, people).finalize((state,), ReportOptions())
    npmi = table[table["measure"].eq("nPMI") & table["group"].eq("b")]
    return {
        "nPMI": npmi["q"],
        "PMI bias": table[table["measure"] == "PMI bias"]["q"],
        "intersections": crossed.sort_values(["group", "group_2"])["q"],
    }
