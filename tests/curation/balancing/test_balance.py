"""`concepts` and `balance`, against obvious loops and published counts."""

import json

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.paths import SHARED

import laion_dask as ld
from laion_dask.curation.balancing.concept_counts import tail_share, threshold_of
from laion_dask.errors import ColumnError, OptionError, ProvenanceError
from laion_dask.frame.provenance import Provenance

REFERENCE = SHARED / "reference/carve/metaclip_counts.json"
CAPTIONS = SHARED / "data/web_captions_10000.parquet"
ENTRIES = ["red", "blue", "a bird", "Bird", "never", "1"]
WORDS = ["a", "red", "blue", "bird", "Bird", "dog,", "1.", "", "blue;red"]


def mentioned(caption, entries):
    """MetaCLIP's ``substr_matching``, as it is published."""
    spaced = f" {caption} "
    for mark in ",.;:?!`":
        spaced = spaced.replace(mark, f" {mark} ")
    for blank in "\t\n\r":
        spaced = spaced.replace(blank, " ")
    return [i for i, entry in enumerate(entries) if f" {entry} " in spaced]


def loop(captions, entries, t):
    """The counts, and the probability of each caption; None for null."""
    found = [None if c is None else mentioned(c, entries) for c in captions]
    counts = [sum(f is not None and i in f for f in found) for i in range(len(entries))]
    chances = []
    for one in found:
        missed = 1.0
        for entry in one or []:
            missed *= 1 - t / max(counts[entry], t)
        chances.append(None if one is None else 1 - missed if one else 0.0)
    return counts, chances


def texts_of(frame):
    return [None if pd.isna(text) else text for text in frame["text"]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    draw = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("captions")
    for i, n in enumerate((300, 0, 500, 1200)):
        texts = [" ".join(draw.choice(WORDS, 4)) for _ in range(n)]
        texts = [None if draw.random() < 0.05 else text for text in texts]
        columns = {"URL": [f"u{i}-{j}" for j in range(n)], "TEXT": pa.array(texts, pa.string())}
        columns["WIDTH"] = pa.array(draw.integers(0, 100, n), pa.int32())
        columns["language"] = pa.array(draw.choice(["en", "de", "xx", None], n), pa.string())
        pq.write_table(pa.table(columns), path / f"part_{i}.parquet", row_group_size=97)
    return path


@pytest.mark.skipif(not REFERENCE.exists(), reason="no reference")
def test_the_counts_are_those_of_the_published_code():
    reference = json.loads(REFERENCE.read_text())
    table = ld.read_shards(CAPTIONS).laion.concepts(reference["entries"])
    assert table["entry"].tolist() == reference["entries"]
    assert table["count"].tolist() == reference["counts"]


def test_the_probabilities_are_those_of_a_loop(folder):
    frame = ld.read_shards(folder)
    whole = frame.compute()
    counts, chances = loop(texts_of(whole), ENTRIES, 150)
    table = frame.laion.concepts(ENTRIES)
    assert table["count"].tolist() == counts and counts[4] == 0
    balanced = frame.laion.balance(ENTRIES, t=150, to="chance")
    rows = balanced.laion.rows()
    assert rows.unscored == chances.count(None)
    kept = balanced.compute()
    by_row = dict(zip(zip(whole["shard"], whole["row"], strict=True), chances, strict=True))
    for shard, row, chance in zip(kept["shard"], kept["row"], kept["chance"], strict=True):
        assert chance == pytest.approx(by_row[shard, row], abs=1e-15) and chance > 0
    certain = sum(chance == 1 for chance in chances)
    assert (kept["chance"] == 1).sum() == certain > 0
    known = np.array([chance for chance in chances if chance is not None])
    deviation = (known * (1 - known)).sum() ** 0.5
    assert abs(len(kept) - known.sum()) < 4 * deviation
    sizes = [frame.laion.balance(ENTRIES, t=150, seed=seed).laion.rows().kept for seed in range(6)]
    assert len(set(sizes)) > 3
    assert abs(np.mean(sizes) - known.sum()) < 4 * deviation / 6**0.5


def identities(frame):
    result = frame.compute()
    return set(result["url"])


def test_draws_depend_on_no_partition_and_no_order_of_shards(folder, tmp_path):
    paths = sorted(map(str, folder.glob("*.parquet")))
    right = identities(ld.read_shards(folder).laion.balance(ENTRIES, t=100))
    moved = tmp_path / "z" / "a"
    moved.parent.mkdir()
    moved.symlink_to(folder)
    for frame in (
        ld.read_shards(folder, max_rows_per_partition=100),
        ld.read_shards(folder).repartition(npartitions=2),
        ld.read_shards(paths[::-1]),
        ld.read_shards(str(moved)),
        ld.read_shards(folder).assign(one=1).map_partitions(lambda part: part),
        ld.read_shards(folder).partitions[[2, 0, 3, 1]],
    ):
        assert identities(frame.laion.balance(ENTRIES, t=100)) == right
    assert identities(ld.read_shards(folder).laion.balance(ENTRIES, t=100, seed=1)) != right


def test_filters_before_count_and_filters_after_do_not(folder):
    frame = ld.read_shards(folder).assign(one=1)
    narrow = frame.laion.where("width < 50")
    balanced = narrow.laion.balance(ENTRIES, t=80)
    rows = balanced.laion.rows()
    assert rows.read == 2000 and rows.kept == len(balanced.compute())
    counts, chances = loop(texts_of(narrow.compute()), ENTRIES, 80)
    assert narrow.laion.concepts(ENTRIES)["count"].tolist() == counts
    funnel = balanced.laion.funnel()
    assert funnel["clause"].tolist() == ["width < 50", "balance(6 entries, t=80, seed=0)"]
    assert funnel["after"].tolist()[-1] == rows.kept
    assert funnel["unscored"].tolist() == [0, chances.count(None)]
    excluded = balanced.laion.excluded().compute()
    assert len(excluded) + rows.kept == 2000
    later = balanced.laion.where("width > 10").compute()
    before = balanced.compute()
    assert set(later["url"]) == set(before.loc[before["width"] > 10, "url"])
    twice = balanced.laion.balance(["red"], t=10, seed=3)
    assert twice.laion.rows().read == 2000


def test_languages_are_counted_and_cut_each_by_itself(folder):
    frame = ld.read_shards(folder)
    whole = frame.compute()
    lists = {"en": ENTRIES, "de": ["red", "bird"], "fr": ["a"]}
    table = frame.laion.concepts(lists, language="language")
    assert table["language"].unique().tolist() == ["de", "en"]
    counts = {}
    for language, entries in lists.items():
        texts = whole.loc[whole["language"] == language, "text"].dropna()
        counts[language] = loop(texts, entries, 1)[0]
        if language != "fr":
            listed = table[table["language"] == language]
            assert listed["count"].tolist() == counts[language]
    t = sorted(counts["en"])[3]
    share = sum(c for c in counts["en"] if c < t) / sum(counts["en"])
    nearest = min(sorted(counts["de"]), key=lambda c: abs(
        sum(x for x in counts["de"] if x <= c) / sum(counts["de"]) - share))  # fmt: skip
    assert threshold_of(np.array(counts["de"]), share) == nearest
    kept = frame.laion.balance(lists, t=t, language="language", to="p").compute()
    assert set(kept["language"].dropna()) == {"en", "de"}
    for language, threshold in (("en", t), ("de", nearest)):
        rows = whole[whole["language"] == language]
        chances = loop(texts_of(rows), lists[language], threshold)[1]
        by_url = dict(zip(rows["url"], chances, strict=True))
        for url, p in kept.loc[kept["language"] == language, ["url", "p"]].to_numpy():
            assert p == pytest.approx(by_url[url])
    balanced = frame.laion.balance(lists, t=t, language="language")
    unknown = whole["language"].isna() | (whole["text"].isna() & (whole["language"] != ""))
    assert balanced.laion.rows().unscored == unknown.sum()
    other = frame.laion.concepts({"en": ["a"], "other": ["red"]}, language="language")
    assert other.groupby("language")["entry"].first().to_dict() == {
        "de": "red", "en": "a", "xx": "red"
    }  # fmt: skip
    one_list = frame.laion.concepts(ENTRIES, language="language")
    assert len(one_list) == 3 * len(ENTRIES)


def test_t_needs_english_captions(folder):
    frame = ld.read_shards(folder, where="language == 'de'")
    with pytest.raises(OptionError, match="No English caption has an entry"):
        frame.laion.balance(ENTRIES, language="language").compute(scheduler="sync")
    assert tail_share(np.array([1, 2, 7]), 7) == 0.3
    assert threshold_of(np.zeros(3, int), 0.5) == 1


def test_chinese_needs_no_space_in_version_2(write):
    texts = ["黑猫在这里", "my猫", "mycat 猫cat", "cat猫", "ไทยแมวดำ", "a b"]
    frame = ld.read_shards(write("a.parquet", {"URL": ["u"] * 6, "TEXT": texts}))
    entries = ["猫", "cat", "แมว", "猫cat", "b"]
    assert frame.laion.concepts(entries)["count"].tolist() == [0, 0, 0, 1, 1]
    in_two = frame.laion.concepts(entries, version=2)["count"].tolist()
    assert in_two == [4, 0, 1, 1, 1]


def test_lists_are_read_from_files_and_recorded(folder, tmp_path):
    frame = ld.read_shards(folder)
    right = frame.laion.concepts(ENTRIES)
    assert frame.laion.concepts(set(ENTRIES))["entry"].tolist() == sorted(ENTRIES)
    (tmp_path / "e.json").write_text(json.dumps([*ENTRIES, "red"]))
    (tmp_path / "e.txt").write_text("\r\n".join([*ENTRIES, ""]))
    pq.write_table(pa.table({"entry": ENTRIES, "n": [1] * 6}), tmp_path / "e.parquet")
    for name in ("e.json", "e.txt", "e.parquet"):
        pd.testing.assert_frame_equal(frame.laion.concepts(tmp_path / name), right)
    for given in (pa.array(ENTRIES), pd.Series(ENTRIES), iter(ENTRIES), np.array(ENTRIES)):
        pd.testing.assert_frame_equal(frame.laion.concepts(given), right)
    balanced = frame.laion.balance(str(tmp_path / "e.json"), t=100)
    [recorded] = Provenance.of(balanced).lists
    assert recorded["list"] == str(tmp_path / "e.json") and recorded["values"] == 6
    balanced.laion.export(tmp_path / "out")
    recipe = (tmp_path / "out/_recipe.json").read_text()
    assert recorded["sha256"] in recipe and "a bird" not in recipe
    (tmp_path / "l.json").write_text(json.dumps({"en": ["a"], "de": ["red"]}))
    by_language = frame.laion.concepts(tmp_path / "l.json", language="language")
    assert by_language["entry"].tolist() == ["red", "a"]


@pytest.mark.parametrize(
    ("entries", "options", "error", "why"),
    [
        ([], {}, OptionError, "is empty"),
        (["a", ""], {}, OptionError, "holds ''"),
        (["\ud800"], {}, OptionError, "not valid Unicode"),
        ([1], {}, OptionError, "quote numbers"),
        (7, {}, OptionError, "Expected a list of texts"),
        (pd.DataFrame({"entry": ["a"]}), {}, OptionError, "Expected a list of texts"),
        ({"en": ["a"]}, {}, OptionError, "no column of languages is named"),
        ({"en": []}, {"language": "language"}, OptionError, "of 'en' is empty"),
        ("/no/such.json", {}, OptionError, "cannot be read"),
        ("/no/such.txt", {}, OptionError, "cannot be read"),
        (["a"], {"t": 0}, OptionError, "t"),
        (["a"], {"seed": -1}, OptionError, "seed"),
        (["a"], {"version": 3}, OptionError, "version"),
        (["a"], {"to": "url"}, OptionError, "name of a new column"),
        (["a"], {"column": "txt"}, ColumnError, "Did you mean 'text'"),
        (["a"], {"language": "lang"}, ColumnError, "Did you mean 'language'"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_read(folder, entries, options, error, why):
    with pytest.raises(error, match=why):
        ld.read_shards(folder).laion.balance(entries, **options)


def test_odd_frames(folder):
    frame = ld.read_shards(folder)
    with pytest.raises(ProvenanceError):
        frame[["text"]].laion.balance(["a"])
    with pytest.raises(OptionError, match="Expected a column of texts"):
        frame.laion.balance(["a"], column="width").compute(scheduler="sync")
    none = frame.laion.where("width > 1000").laion.balance(["a"], t=5)
    assert len(none.compute()) == 0 and none.laion.rows().dropped == 2000
    pair = dd.concat([frame.partitions[:1], frame.partitions[1:]])
    assert identities(pair.laion.balance(ENTRIES, t=100)) == identities(
        frame.laion.balance(ENTRIES, t=100)
    )
