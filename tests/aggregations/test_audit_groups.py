"""The groups of an audit: the same table for the same rows kept, however the rows are counted."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy.stats import false_discovery_control, fisher_exact
from support.shards import write_shard

import laion_dask as ld

#: No caption mentions three of the religions, one of the genders, or "newts".
_WORDS = ["a woman", "the man", "a Muslim man", "a Jewish woman", "hindu temple", "a cat", "", None]
_PETS = {"cats": ["cat"], "dogs": ["dog", "temple"], "newts": ["newt"]}
_WHERE = "similarity > 0.3"
_MIN_N = 30


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder, draw = tmp_path_factory.mktemp("groups"), np.random.default_rng(5)
    for i, n in enumerate((500, 0, 300)):
        words = draw.choice(len(_WORDS), n, p=[0.3, 0.04, 0.05, 0.05, 0.1, 0.2, 0.16, 0.1])
        # French rows are all in the second half, so that a filter may leave a language unseen.
        languages = draw.choice(["en", "de", "fr"] if i else ["en", "de", "ja"], n)
        scores = draw.uniform(0.1, 0.5, n) + 0.1 * (words == 0) - 0.1 * np.isin(words, (1, 2))
        table = pa.table(
            {
                "URL": pa.array([f"https://{i % 3}.site{k % 9}.com/{i}/{k}" for k in range(n)]),
                "TEXT": pa.array([_WORDS[word] for word in words], pa.string()),
                "LANGUAGE": pa.array([None if k % 17 == 0 else str(languages[k]) for k in range(n)],
                                     pa.string()),
                "WIDTH": pa.array(draw.integers(1, 900, n), pa.int32()),
                "similarity": pa.array(
                    [None if k % 13 == 0 else math.nan if k % 29 == 0 else scores[k]
                     for k in range(n)],
                    pa.float64(),
                ),
            }
        )  # fmt: skip
        write_shard(folder / f"part_{i}.parquet", table, row_group=100)
    return folder


def axes() -> list:
    by_word = [ld.terms(_PETS, axis="pets"), ld.terms("gender"), ld.terms("religion")]
    return ["language", *by_word, ld.domains(), ld.language_class()]


def kept_in_other_ways(before, where) -> dict:
    """The rows of a filter, selected by steps that the audit counts in different ways."""
    filtered = before.laion.where(where)
    return {
        "expression": where,
        "filter": filtered,
        "two filters": filtered.laion.where("width > 0"),
        "no duplicates": filtered.laion.dedup("url"),
        "all of the largest": filtered.laion.top("width", fraction=1.0),
        "whole sample": filtered.laion.sample(1.0),
        "a step of the user's": filtered.map_partitions(lambda part: part, meta=filtered._meta),
        "repartitioned": filtered.repartition(npartitions=2),
    }


@pytest.mark.parametrize(
    ("first", "min_n"), [(None, _MIN_N), ("language != 'fr'", 0), ("width > 5000", 0)]
)
def test_the_table_does_not_depend_on_how_the_rows_are_counted(folder, first, min_n):
    frame = ld.read_shards(folder)
    before = frame if first is None else frame.laion.where(first)
    options = {"reference": {"language": {"en": 2, "xx": 1}}, "min_n": min_n}
    results = {
        name: before.laion.audit(after, by=axes(), **options)
        for name, after in kept_in_other_ways(before, _WHERE).items()
    }
    want = results.pop("expression")
    for name, result in results.items():
        known = [column for column in want if column in result]
        assert set(want) - set(known) <= {"undecided"}, name
        pd.testing.assert_frame_equal(
            pd.DataFrame(result), pd.DataFrame(want)[known], check_exact=True, obj=name
        )
        assert result.n_suppressed == want.n_suppressed, name
    one_pass = [name for name, result in results.items() if "undecided" in result]
    assert one_pass == list(results)[: len(one_pass)] and len(one_pass) >= 5


def by_loop(rows: pd.DataFrame, kept: pd.Series, groups: dict, every: pd.Series) -> pd.DataFrame:
    """The columns of an axis by the definitions, with `groups` as masks of the rows."""
    n_all, k_all = len(rows), int((~kept).sum())
    members = sum(int(mask.sum()) for mask in groups.values())
    lines = []
    for label, mask in {**groups, "(rest)": ~every}.items():
        n, k = int(mask.sum()), int((mask & ~kept).sum())
        is_group = label != "(rest)"
        p = fisher_exact([[k, n - k], [k_all - k, n_all - n - k_all + k]]).pvalue
        under = is_group and n / members < 1 / len(groups)
        lines.append((label, n, k, n - k, n / members if is_group else math.nan,
                      1 / len(groups) if is_group else math.nan, under, p))  # fmt: skip
    names = ["group", "n", "k", "kept", "share_before", "share_expected", "under", "p"]
    table = pd.DataFrame(lines, columns=names)
    shown = table[table["n"] >= _MIN_N].copy()
    shown["q"] = false_discovery_control(shown["p"])
    more = shown["k"] / shown["n"] > k_all / n_all
    verdicts = np.where(
        ~more, "excluded less", np.where(shown["under"], "amplified", "excluded more")
    )
    shown["verdict"] = np.where(shown["q"] > 0.05, "inconclusive", verdicts)
    return shown


@pytest.mark.parametrize("way", ["expression", "no duplicates", "repartitioned"])
def test_against_a_loop_over_the_rows(folder, way):
    frame = ld.read_shards(folder)
    rows = frame.compute().reset_index(drop=True)
    kept = rows["similarity"].gt(0.3).fillna(False).astype(bool)
    words = rows["text"].fillna("").str.lower().str.split()
    language = rows["language"].astype(object)
    masks = {
        "language": {one: language == one for one in sorted(language.dropna().unique())},
        "pets": {
            one: words.map(lambda found, terms=terms: bool({*terms} & {*found}))
            for one, terms in _PETS.items()
        },
        "gender": {
            one: words.map(lambda found, one=one: one in found)
            for one in ("woman", "man", "non-binary")
        },
    }
    after = kept_in_other_ways(frame, _WHERE)[way]
    result = frame.laion.audit(after, by=axes()[:3])
    suppressed = 0
    for axis, groups in masks.items():
        every = pd.concat(groups.values(), axis=1).any(axis=1)
        want = by_loop(rows, kept, groups, every).set_index("group")
        got = result[(result["axis"] == axis) & (result["group"] != "(all)")].set_index("group")
        got = got.rename(index={"(null)": "(rest)", "(no term)": "(rest)"})
        suppressed += len(groups) + 1 - len(want)
        assert set(got.index) == set(want.index)
        for label, row in want.iterrows():
            mine = got.loc[label]
            assert (mine["n"], mine["k"], mine["kept"]) == (row["n"], row["k"], row["kept"])
            for name in ("share_before", "share_expected", "p", "q"):
                assert mine[name] == pytest.approx(row[name], nan_ok=True), (label, name)
            assert mine["under_represented"] == row["under"]
            assert mine["verdict"] == row["verdict"], label
    assert result.n_suppressed == suppressed
    assert {"amplified", "excluded less"} <= {*result["verdict"]}


def test_runs_of_recipes_that_keep_the_same_rows_have_the_same_audit(folder, tmp_path):
    one = ld.Recipe("one").where(_WHERE).run(folder, tmp_path / "one").audit
    others = [
        ld.Recipe("x").where(_WHERE).dedup("url"),
        ld.Recipe("x").where(_WHERE).top("width", fraction=1.0),
        ld.Recipe("x").where("width > 0").dedup("url").where(_WHERE),
    ]
    for number, recipe in enumerate(others):
        other = recipe.run(folder, tmp_path / f"{number}").audit
        pd.testing.assert_frame_equal(pd.DataFrame(other), pd.DataFrame(one), check_exact=True)
        assert other.attrs == one.attrs


def test_two_subsets_are_compared_by_the_groups_that_either_has(folder):
    frame = ld.read_shards(folder)
    one, other = (frame.laion.where(f"language != 'fr' and {w}") for w in (_WHERE, "width > 300"))
    by = ["language", ld.terms(_PETS, axis="pets")]
    result = one.laion.audit(other, by=by, min_n=0)
    groups = {axis: {*part["group"]} for axis, part in result.groupby("axis")}
    assert groups["language"] == {"(all)", "en", "de", "ja", "(null)"}  # no row is French
    assert groups["pets"] == {"(all)", "cats", "dogs", "newts", "(no term)"}
