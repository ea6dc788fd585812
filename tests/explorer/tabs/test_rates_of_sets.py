"""Rates of two sets against a pandas loop and the verb `statistics`."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from support.explorations import exploration_of

import laion_dask as ld
from laion_dask.explorer.tabs.caption_terms import CaptionTerms
from laion_dask.explorer.tabs.rates import MIN_ROWS, Section, Sets, sections
from laion_dask.stats import risk_difference, wilson

N = 700


@pytest.fixture
def exploration(tmp_path):
    draw = np.random.default_rng(5)
    captions = ["a woman", "Two men and a girl", "a Muslim wedding", "a church", "a dog", "", None]
    languages = [["en", "de", "fr", None][at] for at in draw.integers(0, 4, N)]
    domains = draw.integers(0, 40, N)
    punsafe = draw.random(N).astype(np.float32)
    punsafe[::9] = np.nan
    punsafe[1] = 0.5
    table = {
        "URL": [f"https://img.site{d}.co.uk/{i}" if d else "data:," for i, d in enumerate(domains)],
        "TEXT": [captions[at] for at in draw.integers(0, len(captions), N)],
        "LANGUAGE": languages,
        "similarity": pa.array(draw.random(N), pa.float32()),
        "punsafe": pa.array([None if np.isnan(x) else x for x in punsafe], pa.float32()),
    }
    return exploration_of(tmp_path, pa.table(table))


@pytest.fixture
def rows(exploration):
    return exploration.frame.compute()


def found_terms(exploration) -> CaptionTerms:
    return CaptionTerms.of(exploration.sample, "text", lambda done, total: None)


def section(found: list[Section], title: str) -> Section:
    return next(one for one in found if one.title == title)


def overlapping(exploration) -> tuple[np.ndarray, np.ndarray]:
    values = exploration.sample.columns["similarity"].values
    return values > 0.4, values < 0.7


def test_the_numbers_are_those_of_a_loop(exploration, rows):
    first, second = overlapping(exploration)
    found = sections(exploration.sample, Sets.of(first, second), found_terms(exploration))
    masks = {1: first & ~second, 2: second & ~first, 3: first & second}
    gender = ld.terms("gender")
    mentioned = gender.masks(rows["text"].tolist())
    for group, mask in masks.items():
        part = rows[mask]
        scores = section(found, "unsafe images")
        assert scores.k[group, 0] == sum(x >= 0.5 for x in part["punsafe"].dropna())
        assert scores.n[group] == part["punsafe"].notna().sum()
        languages = section(found, "language")
        for at, label in enumerate(languages.labels):
            assert languages.k[group, at] == sum(x == label for x in part["language"])
        assert languages.n[group] == part["language"].notna().sum()
        domains = section(found, "domain")
        for at, label in enumerate(domains.labels):
            assert domains.k[group, at] == sum(f".{label}/" in x for x in part["url"])
        words = section(found, "gender terms in captions")
        shown = [gender.labels.index(label) for label in words.labels]
        assert words.k[group].tolist() == mentioned[mask].sum(axis=0)[shown].tolist()
        assert words.n[group] == part["text"].notna().sum()
    assert len(section(found, "domain").labels) == 10


def test_groups_that_no_row_mentions_are_left_out_and_counted(exploration):
    selected, _ = overlapping(exploration)
    found = sections(exploration.sample, Sets.of(selected, ~selected), found_terms(exploration))
    religions = section(found, "religion terms in captions")
    n = len(ld.terms("religion").labels)
    assert 0 < len(religions.labels) < n and (religions.k.sum(axis=0) > 0).all()
    assert f"; {n - len(religions.labels)} of {n} groups without a row left out" in religions.note
    nationalities = section(found, "nationality terms in captions")
    assert len(nationalities.labels) == 0 and "groups without a row left out" in nationalities.note


def test_rates_are_those_of_the_statistics(exploration):
    """The selected rows of a whole sample, by the verb `statistics` on the same rows."""
    values = exploration.sample.columns["similarity"].values
    selected = values >= np.float32(0.5)
    found = sections(exploration.sample, Sets.of(selected, ~selected), found_terms(exploration))
    frame = exploration.frame.laion.where("similarity >= 0.5")
    table = ld.statistics(frame, ld.rates("punsafe >= 0.5"))
    shown = section(found, "unsafe images").state()["rows"][0]["first"]
    assert shown["rate"] == pytest.approx(table["rate"].iloc[0], abs=0)
    assert (shown["lo"], shown["hi"]) == (table["lo"].iloc[0], table["hi"].iloc[0])


def test_intervals_are_those_of_stats(exploration):
    selected, _ = overlapping(exploration)
    found = sections(exploration.sample, Sets.of(selected, ~selected), None)
    one = section(found, "language")
    row = one.state()["rows"][0]
    k1, n1, k2, n2 = one.k[1, 0], one.n[1], one.k[2, 0], one.n[2]
    assert (row["first"]["lo"], row["first"]["hi"]) == tuple(map(float, wilson(int(k1), int(n1))))
    value, lo, hi = (100 * float(x) for x in risk_difference(int(k1), int(n1), int(k2), int(n2)))
    text = row["difference"]["text"].replace("[", "").replace("]", "").replace(",", "")
    assert [float(one) for one in text.split()] == pytest.approx([value, lo, hi], abs=0.051)
    verdict = "more" if lo > 0 else "less" if hi < 0 else "inconclusive"
    assert row["difference"]["verdict"] == verdict
    assert not any("terms" in each.title for each in found)


def test_few_rows_are_suppressed(exploration):
    few = np.zeros(N, bool)
    few[: MIN_ROWS - 1] = True
    for one in sections(exploration.sample, Sets.of(few, ~few), found_terms(exploration)):
        for row in one.state()["rows"]:
            assert row["first"]["rate"] is None and row["difference"] is None
            assert "too few" in row["first"]["text"]
    empty = Sets.of(few & False, few & False)
    for one in sections(exploration.sample, empty, None):
        assert all(row["second"]["rate"] is None for row in one.state()["rows"])


def test_a_frame_with_little_to_compare(tmp_path):
    exploration = exploration_of(tmp_path, pa.table({"n": [1, 2, 3]}))
    half = np.array([True, False, True])
    assert sections(exploration.sample, Sets.of(half, ~half), None) == []


def test_a_score_of_integers_with_nulls(tmp_path):
    values = [0, 1, None, 1] * 30
    table = pa.table({"URL": ["http://a.de/"] * 120, "punsafe": pa.array(values, pa.int8())})
    exploration = exploration_of(tmp_path, table)
    half = np.arange(120) < 60
    one = section(sections(exploration.sample, Sets.of(half, ~half), None), "unsafe images")
    assert (one.k[1, 0], one.n[1]) == (30, 45)


def test_labels_are_text(tmp_path):
    table = pa.table({"URL": ["http://a.de/"] * 80, "LANGUAGE": ["<img src=x>\u202e"] * 80})
    exploration = exploration_of(tmp_path, table)
    half = np.arange(80) % 2 == 0
    found = sections(exploration.sample, Sets.of(half, ~half), None)
    assert section(found, "language").state()["rows"][0]["label"] == "<img src=x>\\u202e"


@pytest.mark.parametrize("type_", [pa.float16(), pa.float32(), pa.float64()])
def test_a_score_at_the_threshold_counts_as_where_decides(tmp_path, type_):
    """0.8 in float16 is less than 0.8, and equals it in the ``where`` language."""
    scores = np.tile([0.8, 0.5, 0.79, 0.81, np.nan], 60)
    table = pa.table({"URL": ["u"] * 300, "pwatermark": pa.array(scores).cast(type_, safe=False)})
    exploration = exploration_of(tmp_path, table)
    sample, first = exploration.sample, np.arange(300) < 150
    found = section(sections(sample, Sets.of(first, ~first), None), "watermarks")
    assert found.k[:, 0].tolist() == [0, 60, 60, 0] and found.n.tolist() == [0, 120, 120, 0]
    assert len(exploration.frame.laion.where("pwatermark >= 0.8")) == 120
