"""Terms as a grouping of captions: its members, its single scan, and statistics by it."""

import pickle
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from support.shards import write_shard

from laion_dask.aggregations import Grouping, Partition, Statistic, members
from laion_dask.aggregations.engine.statistics import statistics
from laion_dask.aggregations.grouping.terms import terms
from laion_dask.demo.planting import plan_rows, planted
from laion_dask.errors import ColumnError, OptionError
from laion_dask.io.parquet.read_shards import read_shards
from laion_dask.text import term_lists
from laion_dask.text.matcher import mentions


def test_the_demo_corpus_is_recovered():
    rows = plan_rows(3000, seed=5)
    captions = [row.text for row in rows]
    truth = planted(rows)["gender_words"]["by_occupation"]
    by_gender, by_job = terms("gender"), terms("occupations")
    gender, job = by_gender.masks(captions), by_job.masks(captions)
    she, he = (gender[:, by_gender.labels.index(label)] for label in ("woman", "man"))
    for occupation, counts in truth.items():
        there = job[:, by_job.labels.index(occupation)]
        assert int((there & she).sum()) == counts["she"], occupation
        assert int((there & he).sum()) == counts["he"], occupation
        assert int((there & ~she & ~he).sum()) == counts["neither"], occupation
        others = Counter(by_job.labels[j] for j in np.argwhere(job[there])[:, 1])
        assert set(others) == {occupation}


def part_of(captions, *asked) -> Partition:
    return Partition(pa.table({"text": pa.array(captions, pa.string())}), asked)


def test_members_of_a_part():
    captions = ["she and he", None, "her", "the old woman", "muslim"]
    got = members(part_of(captions), terms("gender"))
    assert got.labels == ("woman", "man", "non-binary") and got.n_rows == 5
    assert got.counts().tolist() == [3, 1, 0]
    assert sorted(zip(got.rows.tolist(), got.codes.tolist(), strict=True)) == [
        (0, 0), (0, 1), (2, 0), (3, 0)
    ]  # fmt: skip
    assert (np.diff(got.rows) >= 0).all()
    assert members(part_of([]), terms("gender")).counts().tolist() == [0, 0, 0]


def test_all_lists_of_a_pass_are_found_in_one_scan(monkeypatch):
    from laion_dask.aggregations.grouping import terms as grouping

    calls = []

    def spied(captions, lists):
        calls.append(lists)
        return mentions(captions, lists)

    monkeypatch.setattr(grouping, "mentions", spied)
    every = [terms(name) for name in term_lists().name]
    captions = ["a young black woman", "the deaf nurse", None, "Muslim men"] * 3
    part = part_of(captions, *every[1:], (every[0],))
    for which in every:
        got = members(part, which).matrix().toarray().astype(bool)
        np.testing.assert_array_equal(got, expected_alone(which, captions))
    assert len(calls) == 1 + len(every)  # one for the pass, one for each call of `expected_alone`
    assert len(calls[0]) == len(every)


def expected_alone(which, captions) -> np.ndarray:
    return which.masks(captions)


def test_terms_are_values():
    one, other = terms("gender"), terms("gender")
    assert one == other and hash(one) == hash(other)
    assert pickle.loads(pickle.dumps(one)) == one
    assert one != terms("gender", column="caption") and one != terms("age")
    assert terms("gender", column="caption").reads == ("caption",)
    assert one.version and "Zhao" in one.source and "version 2" in repr(one)
    assert one.axis == "gender" and one.words().axis == "gender words"
    assert {"she", "him", "enby"} <= set(one.words().labels)
    assert terms(["b", "a", "B"]).labels == ("b", "a")
    assert terms({"b", "a"}).labels == ("a", "b")
    assert terms(["a"], axis="letters").axis == "letters"
    assert repr(terms({"a": ["b"]})) != repr(terms({"a": ["c"]}))  # Dask names tasks by their repr
    assert one.digest == other.digest != one.words().digest
    table = terms("ethnicity").table()
    assert table.columns.tolist() == ["group", "term", "only_before_person_noun"]
    assert table.query("term == 'white'").only_before_person_noun.tolist() == [True]


def test_the_frame_must_have_captions():
    which = terms("gender")
    assert which.bind({"text": "string"}) == which
    with pytest.raises(ColumnError, match="text"):
        which.bind({"TXT": "string"})
    with pytest.raises(OptionError, match="holds integer"):
        which.bind({"text": "integer"})


def test_captions_of_any_kind():
    which = terms({"w": ["she"], "m": ["he"]})
    answer = [[True, False], [False, False], [False, True]]
    captions = ["She", None, "HE"]
    for given_as in (
        captions,
        tuple(captions),
        pd.Series(captions),
        pd.Series(captions, dtype=object),
        np.array(captions, object),
        pa.array(captions),
        pa.chunked_array([captions]),
    ):
        assert which.masks(given_as).tolist() == answer
    for wrong in ("she", [1, 2], [b"\xff"]):
        with pytest.raises(OptionError):
            which.masks(wrong)


@dataclass(frozen=True)
class Mentions(Statistic):
    """The number of captions that mention each group: a minimal statistic."""

    by: Grouping
    name = "mentions"

    def bind(self, column_types):
        return Mentions(self.by.bind(column_types))

    @property
    def reads(self):
        return self.by.reads

    def chunk(self, part):
        found = members(part, self.by)
        return dict(zip(found.labels, found.counts().tolist(), strict=True)), len(part)

    def combine(self, states):
        counts = sum((Counter(one) for one, _ in states), Counter())
        return dict(counts), sum(n for _, n in states)

    def finalize(self, state, how):
        counts, n = state
        rows = [
            {"axis": self.by.axis, "group": label, "n": n, "k": counts.get(label, 0)}
            for label in self.by.labels
        ]
        return pd.DataFrame(rows)


def test_a_statistic_by_terms_of_a_frame(tmp_path):
    captions = ["A woman", "Her dog", None, "two men", "", "the old man", "x\x00he"] * 20
    table = pa.table({"TEXT": captions, "URL": [f"http://a/{i}" for i in range(len(captions))]})
    asked = [Mentions(terms(name)) for name in ("gender", "age", "ethnicity")]
    results = []
    for cuts in ([0, 140], [0, 3, 3, 90, 140], [0, 70, 71, 72, 140]):
        folder = tmp_path / str(len(results))
        for i, (start, stop) in enumerate(pairwise(cuts)):
            write_shard(folder / f"{i}.parquet", table[start:stop])
        results.append(statistics(read_shards(str(folder)), *asked, min_n=0))
    assert results[0].equals(results[1]) and results[0].equals(results[2])
    counts = results[0].set_index(["axis", "group"]).k
    assert counts["gender", "woman"] == 40 and counts["gender", "man"] == 60
    assert counts["age", "older adult"] == 20 and counts["ethnicity", "Black"] == 0
