"""Rates of exclusion by group: closed-form cases, SciPy, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest
from scipy.stats.contingency import relative_risk

from laion_dask.errors import OptionError
from laion_dask.stats.exclusion_rates import exclusion


def verdicts(table) -> list[str]:
    """The verdict of each group; "" where there is no test."""
    return table["verdict"].fillna("").tolist()


class TestPure:
    def test_rates_ratios_and_shares_of_a_worked_case(self):
        result = exclusion([600, 300, 100], [480, 240, 30], ["a", "b", "c"])
        assert result["group"].tolist() == ["a", "b", "c"]
        assert result["n"].tolist() == [600, 300, 100] and result["k"].tolist() == [120, 60, 70]
        assert result["kept"].tolist() == [480, 240, 30]
        assert result["rate"].tolist() == pytest.approx([0.2, 0.2, 0.7])
        assert result["overall"].tolist() == pytest.approx([0.25] * 3)
        assert result["ratio"].tolist() == pytest.approx([0.8, 0.8, 2.8])
        assert result["share_before"].tolist() == pytest.approx([0.6, 0.3, 0.1])
        assert result["share_after"].tolist() == pytest.approx([0.64, 0.32, 0.04])
        assert result["share_expected"].tolist() == pytest.approx([1 / 3] * 3)
        assert result["under_represented"].tolist() == [False, True, True]
        assert verdicts(result) == ["excluded less", "excluded less", "amplified"]

    @pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
    def test_intervals_against_scipy(self, level):
        n, kept = [600, 300, 100], [480, 210, 30]
        result = exclusion(n, kept, list("abc"), level=level)
        for i, row in result.iterrows():
            k = n[i] - kept[i]
            wilson = binomtest(k, n[i]).proportion_ci(level, method="wilson")
            assert (row["lo"], row["hi"]) == pytest.approx((wilson.low, wilson.high), abs=1e-12)
            k_rest, n_rest = sum(n) - sum(kept) - k, sum(n) - n[i]
            theirs = relative_risk(k, n[i], k_rest, n_rest)
            ends = theirs.confidence_interval(level)
            # The ratio to the overall rate, from the risk ratio rho; the rest's rate cancels.
            part = n[i] / sum(n)
            lo, hi = (rho / (part * rho + 1 - part) for rho in (ends.low, ends.high))
            assert (row["ratio_lo"], row["ratio_hi"]) == pytest.approx((lo, hi), rel=1e-9)
            rho = theirs.relative_risk
            assert row["ratio"] == pytest.approx(rho / (part * rho + 1 - part), rel=1e-12)
            assert (row["ratio"] > 1) == (rho > 1)

    def test_the_ratio_interval_covers(self):
        draw = np.random.default_rng(0)
        n, p = np.array([400, 1600]), np.array([0.3, 0.2])
        true = p[0] / (n @ p / n.sum())
        hits = 0
        for k in draw.binomial(n, p, (200, 2)):
            row = exclusion(n, n - k, ["a", "b"]).iloc[0]
            hits += row["ratio_lo"] <= true <= row["ratio_hi"]
        assert 0.93 <= hits / 200 <= 0.97

    def test_mappings_series_and_sequences_agree(self):
        want = exclusion([10, 20], [5, 20], ["x", "y"])
        arguments = [
            exclusion({"x": 10, "y": 20}, {"x": 5, "y": 20}),
            exclusion(pd.Series({"x": 10, "y": 20}), pd.Series({"x": 5, "y": 20})),
            exclusion(np.array([10, 20]), (5, 20), np.array(["x", "y"])),
            exclusion(pd.Series([10, 20]), pd.Series([5.0, 20.0]), pd.Index(["x", "y"])),
            exclusion({"y": 20, "x": 10}, {"y": 20, "x": 5}, ["x", "y"]),
        ]
        assert all(one.equals(want) for one in arguments)
        assert exclusion({"x": 1}, {}, "language")["axis"].tolist() == ["language"]
        named = pd.Series([1, 2], pd.Index(["a", "b"], name="gender"))
        assert set(exclusion(named, named)["axis"]) == {"gender"}
        assert exclusion({"x": 3, "y": 1}, {"x": 3}).loc[1, "rate"] == 1  # no rows of "y" are kept

    def test_zeros_by_definition(self):
        result = exclusion([50, 0, 50], [50, 0, 50], list("abc"))  # nothing was excluded
        assert result["rate"].tolist()[::2] == [0, 0] and math.isnan(result["rate"][1])
        assert result["ratio"].isna().all()
        assert verdicts(result) == ["inconclusive", "", "inconclusive"]
        assert (result["lo"][1], result["hi"][1]) == (0, 1)
        result = exclusion([50, 10, 0], [50, 0, 0], list("abc"))  # all of b excluded, none of a
        assert result["ratio"].tolist()[:2] == [0, 6] and result["ratio_lo"][0] == 0
        assert result["ratio_hi"][1] == 6  # 60 / 10 rows is the largest possible ratio
        assert verdicts(result) == ["excluded less", "amplified", ""]
        whole = exclusion([9], [3], ["only"])
        assert whole.loc[0, ["ratio", "ratio_lo", "ratio_hi"]].tolist() == [1, 1, 1]
        assert not len(exclusion({}, {}))
        assert exclusion({"a": 0}, {"a": 0})["rate"].isna().all()

    def test_totals_of_overlapping_groups(self):
        result = exclusion([60, 60], [30, 60], ["a", "b"], total=(100, 70))
        assert result["overall"].tolist() == pytest.approx([0.3, 0.3])
        assert result["ratio"].tolist() == pytest.approx([0.5 / 0.3, 0])
        assert result["share_before"].tolist() == [0.5, 0.5]

    def test_reference(self):
        result = exclusion([70, 30], [60, 20], ["a", "b"], reference={"a": 0.7, "b": 0.3})
        assert not result["under_represented"].any()  # 0.7 is not below 0.7, rounding aside
        result = exclusion([700, 300], [600, 200], ["a", "b"], reference={"b": 4, "a": 5, "c": 1})
        assert result["group"].tolist() == ["a", "b", "c"]
        assert result["share_expected"].tolist() == pytest.approx([0.5, 0.4, 0.1])
        assert result["under_represented"].tolist() == [False, True, True]
        assert verdicts(result) == ["excluded less", "amplified", ""]  # c has no rows
        result = exclusion([700, 300], [600, 200], ["a", "b"], reference={"a": 1})
        assert math.isnan(result["share_expected"][1])
        assert verdicts(result) == ["excluded less", "excluded more"]

    def test_a_ratio_a_little_above_1_is_no_verdict(self):
        result = exclusion([1000, 5000, 4000], [797, 4001, 3202], list("abc"))
        assert 1 < result["ratio"][0] < 1.02 and result["under_represented"][0]
        assert result["verdict"].eq("inconclusive").all()

    def test_groups_without_names_have_numbers(self):
        result = exclusion([10, 20], [5, 15], "gender")
        assert result["axis"].tolist() == ["gender"] * 2 and result["group"].tolist() == ["0", "1"]

    def test_sureness_allows_for_the_number_of_groups(self):
        draw = np.random.default_rng(1)
        n = np.full(200, 500)
        result = exclusion(n, n - draw.binomial(n, 0.3), [f"g{i}" for i in range(200)])
        assert (result["p"] < 0.05).sum() > 3 and not (result["q"] < 0.05).any()
        assert result["verdict"].eq("inconclusive").all()

    @pytest.mark.parametrize(
        ("arguments", "says"),
        [
            (([1], [2], ["a"]), "2 rows after and 1 before"),
            (([1, 2], [1], ["a", "b"]), "2 counts before, 1 after, and 2 groups"),
            (([1, 2], [1, 2], ["a", "a"]), "duplicate"),
            (([1, 2], [1, 2]), "groups' names"),
            (({"a": 1}, {"b": 0}), "not in n_before"),
            (([1.5], [1], ["a"]), "non-negative integer"),
            (([True], [1], ["a"]), "non-negative integer"),
            (([math.nan], [1], ["a"]), "non-negative integer"),
            (([-1], [-1], ["a"]), "non-negative integer"),
            ((["2"], [1], ["a"]), "non-negative integer"),
            ((5, 3, "a"), "as counts"),
        ],
    )
    def test_what_is_refused(self, arguments, says):
        with pytest.raises(OptionError, match=says):
            exclusion(*arguments)

    @pytest.mark.parametrize(
        "options",
        [
            {"level": 1},
            {"total": (5, 9)},
            {"total": (9, 9)},
            {"total": 9},
            {"total": ("a", 1)},
            {"reference": {}},
            {"reference": {"a": 0}},
            {"reference": {"a": -1}},
            {"reference": {"a": math.inf}},
            {"reference": {"a": "1"}},
            {"reference": 0.5},
        ],
    )
    def test_options_that_are_refused(self, options):
        with pytest.raises(OptionError):
            exclusion([6, 3], [5, 1], ["a", "b"], **options)
