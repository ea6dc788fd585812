"""Skew and NDKL: closed-form cases, the paper's formulas as loops, search results by group."""

from __future__ import annotations

import math

import dask
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import entropy
from support.frames import both
from support.property_tests import examples
from support.shards import refuse, space, vectors, write_shard

import laion_dask as ld
from laion_dask.aggregations.grouping.terms import terms
from laion_dask.aggregations.representation import representation
from laion_dask.errors import ColumnError, OptionError
from laion_dask.stats.representation import max_skew, min_skew, ndkl, skew

inf, nan = math.inf, math.nan
HALVES = {"a": 0.5, "b": 0.5}


def share(items, group) -> float:
    known = [item for item in items if item is not None]
    return sum(item == group for item in known) / len(known)


def divergence(items, reference) -> float:
    """Kullback-Leibler divergence from SciPy."""
    return float(entropy([share(items, g) for g in reference], list(reference.values())))


def ndkl_by_hand(items, reference) -> float:
    """Geyik et al. 2019, definition 4, item by item."""
    total = weights = 0.0
    for i in range(1, len(items) + 1):
        if any(item is not None for item in items[:i]):
            weights += 1 / math.log2(i + 1)
            total += divergence(items[:i], reference) / math.log2(i + 1)
    return total / weights if weights else nan


def test_closed_cases():
    assert skew(["a", "b", "a", "b"], HALVES) == {"a": 0, "b": 0}
    assert skew(["a", "a", "b"], HALVES, 2) == {"a": math.log(2), "b": -inf}
    assert skew(["a"], {"a": 1, "b": 3}) == pytest.approx({"a": math.log(4), "b": -inf})
    assert (min_skew(["a", "a", "b"], HALVES, 2), max_skew(["a", "a", "b"], HALVES, 2)) == (
        -inf, math.log(2),
    )  # fmt: skip
    # One item cannot match a reference of two groups: D_1 = ln 2; two can: D_2 = 0.
    first, second = 1.0, 1 / math.log2(3)
    assert ndkl(["a", "b"], HALVES) == pytest.approx(math.log(2) * first / (first + second))
    assert ndkl(["a", "a"], {"a": 1}) == 0 and ndkl(["a"] * 9, HALVES) == pytest.approx(math.log(2))
    # The reference is a third each; a group twice as frequent as expected has skew ln 2.
    thirds = dict.fromkeys("xyz", 1)
    assert skew(["x", "x", "y"], thirds)["x"] == pytest.approx(math.log(2))


def test_empty_groups_by_definition():
    assert math.isnan(skew(["a"], {"a": 1, "b": 0})["b"])  # 0 of 0
    assert skew(["a", "b"], {"a": 1, "b": 0}) == {"a": math.log(0.5), "b": inf}
    assert ndkl(["a", "b"], {"a": 1, "b": 0}) == inf
    assert ndkl(["a", "a"], {"a": 1, "b": 0}) == 0
    assert min_skew(["a"], {"a": 1, "b": 0}) == max_skew(["a"], {"a": 1, "b": 0}) == 0
    for empty in ([], [None], [nan, pd.NA, ()]):
        assert all(math.isnan(v) for v in skew(empty, HALVES).values())
        assert math.isnan(min_skew(empty, HALVES)) and math.isnan(max_skew(empty, HALVES))
        assert math.isnan(ndkl(empty, HALVES))


def test_items_in_no_group_or_in_several():
    assert skew([None, "a", None, "b"], HALVES) == {"a": 0, "b": 0}
    assert skew([None, "a", "b"], HALVES, 2) == {"a": math.log(2), "b": -inf}
    assert skew([("a", "b"), ["a"], {"b"}], HALVES) == {"a": 0, "b": 0}
    assert skew([("a", "a"), "b"], HALVES) == {"a": 0, "b": 0}  # an item counts once per group
    assert skew([("a", "b"), "a"], HALVES)["a"] == pytest.approx(math.log(2 / 3 / 0.5))
    # No shares exist before the first item with a group; later items keep their discounts.
    late = 1 / math.log2(3), 1 / math.log2(4)
    assert ndkl([None, "a", "b"], HALVES) == pytest.approx(math.log(2) * late[0] / sum(late))


@given(
    st.lists(st.sampled_from(["a", "b", "c", None]), max_size=40),
    st.lists(st.floats(0.01, 1), min_size=3, max_size=3),
    st.integers(1, 45),
)
@examples(150)
def test_against_the_formulas(items, weights, k):
    reference = {g: w / sum(weights) for g, w in zip("abc", weights, strict=True)}
    top = items[:k]
    assert ndkl(items, reference, k) == pytest.approx(
        ndkl_by_hand(top, reference), rel=1e-9, abs=1e-12, nan_ok=True
    )
    result = skew(items, reference, k)
    if all(item is None for item in top):
        return
    for group, value in result.items():
        part = share(top, group)
        by_hand = math.log(part / reference[group]) if part else -inf
        assert value == pytest.approx(by_hand, rel=1e-9, abs=1e-12)
    # Both distributions sum to 1, so if one group exceeds its share, another falls short.
    assert min_skew(items, reference, k) <= 1e-12 and max_skew(items, reference, k) >= -1e-12
    assert min_skew(items, reference, k) == min(result.values())
    assert max_skew(items, reference, k) == max(result.values())


@pytest.mark.parametrize(
    "arguments",
    [
        (["c"], HALVES),
        (["a"], HALVES, 0),
        (["a"], HALVES, 1.5),
        (["a"], HALVES, True),
        ("ab", HALVES),
        (7, HALVES),
        (["a"], {}),
        (["a"], {"a": -1}),
        (["a"], {"a": nan}),
        (["a"], ["a"]),
    ],
)
@pytest.mark.parametrize("measure", [skew, min_skew, max_skew, ndkl])
def test_what_is_refused(measure, arguments):
    with pytest.raises(OptionError):
        measure(*arguments)


def hits() -> pd.DataFrame:
    """Hits of two queries, with their rows out of order."""
    return pd.DataFrame(
        {
            "query": [1, 0, 0, 1, 0, 0],
            "rank": [2, 3, 1, 1, 2, 4],
            "language": ["fr", "de", "en", "en", "en", None],
            "text": ["x"] * 6,
        }
    )


def test_queries_one_by_one():
    reference = {"en": 0.5, "de": 0.3, "fr": 0.2}
    result = representation(hits(), reference, by="language", k=[2, 9])
    assert (
        result["statistic"].tolist()
        == ["skew"] * 3
        + ["min_skew", "max_skew", "ndkl"]
        + (["skew"] * 3 + ["min_skew", "max_skew", "ndkl"]) * 3
    )
    rankings = {0: ["en", "en", "de", None], 1: ["en", "fr"]}
    for (query, top), rows in result.groupby(["query", "top"]):
        items = rankings[query][:top]
        by_group = rows[rows["statistic"] == "skew"].set_index("group")
        assert by_group["value"].to_dict() == skew(items, reference)
        assert by_group["reference"].to_dict() == reference
        assert by_group["k"].to_dict() == {g: items.count(g) for g in reference}
        assert set(by_group["n"]) == {sum(item is not None for item in items)}
        assert ((by_group["lo"] <= by_group["rate"]) & (by_group["rate"] <= by_group["hi"])).all()
        values = rows.set_index("statistic")["value"]
        for name, measure in (("min_skew", min_skew), ("max_skew", max_skew), ("ndkl", ndkl)):
            assert values[name] == measure(items, reference)
    assert set(result["axis"]) == {"language"}


def test_without_query_and_rank_and_without_hits():
    plain = hits()[["language"]]
    result = representation(plain, {"en": 1, "de": 1, "fr": 1}, by="language")
    assert set(result["query"]) == {0} and set(result["top"]) == {6}
    assert result.set_index("group").loc["en", "k"] == 3
    assert not len(representation(hits()[:0], {"en": 1}, by="language"))


def test_hits_by_what_their_captions_mention():
    captions = ["a cat", "a dog and a cat", "a car", None]
    pets = terms({"cats": ["cat"], "dogs": ["dog"]})
    result = representation(pd.DataFrame({"text": captions}), {"cats": 1, "dogs": 1}, by=pets)
    want = skew(["cats", ("cats", "dogs"), None, None], {"cats": 1, "dogs": 1})
    assert result.dropna(subset="group").set_index("group")["value"].to_dict() == want
    assert want["cats"] == math.log(2 / 3 / 0.5)


def test_hostile_groups_stay_text():
    label = "<script>alert(1)</script>"
    result = representation(pd.DataFrame({"language": [label]}), {label: 1}, by="language")
    assert "<script>" not in result.to_markdown() + result._repr_html_()


def test_hits_that_are_refused():
    with dask.config.set(scheduler=refuse):
        for wrong in ({"by": "langauge"}, {"by": 7}, {"k": 0}, {"k": []}, {"k": [2, "3"]}):
            with pytest.raises((OptionError, ColumnError)):
                representation(hits(), HALVES, **{"by": "language", **wrong})
        with pytest.raises(OptionError, match="not in reference"):
            representation(hits(), {"en": 1}, by="language")
        with pytest.raises(OptionError, match="hits"):
            representation([1], HALVES, by="language")
        with pytest.raises(OptionError, match="reference"):
            representation(hits(), 0.5, by="language")


@both
def test_a_search_against_the_frame_it_searched(tmp_path):
    n = 300
    languages = np.random.default_rng(0).choice(["en", "de", "fr"], n, p=[0.6, 0.3, 0.1])
    table = pa.table({"URL": ["u"] * n, "TEXT": ["t"] * n, "LANGUAGE": languages})
    frame = ld.read_shards(write_shard(tmp_path / "part_0.parquet", table))
    x = vectors(n)
    np.save(tmp_path / "img_emb_0.npy", x)
    embeddings = ld.open_embeddings(tmp_path / "img_emb_0.npy", model=space(tmp_path), like=frame)
    result = ld.search(frame, embeddings, x[:2], 40)
    by_group = representation(result, frame, by="language", k=[10, 40])
    shares = pd.Series(languages).value_counts(normalize=True)
    cosines = (x / np.linalg.norm(x, axis=1, keepdims=True)) @ (x[:2] / np.linalg.norm(
        x[:2], axis=1, keepdims=True)).T  # fmt: skip
    for number in (0, 1):
        order = np.argsort(-cosines[:, number], kind="stable")
        for top in (10, 40):
            rows = by_group[(by_group["query"] == number) & (by_group["top"] == top)]
            items = languages[order[:top]].tolist()
            want = skew(items, shares.to_dict())
            got = rows[rows["statistic"] == "skew"].set_index("group")["value"].to_dict()
            assert got == pytest.approx(want)
            value = rows[rows["statistic"] == "ndkl"]["value"].item()
            assert value == pytest.approx(ndkl_by_hand(items, shares.to_dict()))
    with pytest.raises(OptionError, match="No row"):
        representation(result[:0], frame.laion.where("language == 'xx'"), by="language")
