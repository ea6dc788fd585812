"""The funnel: which rows each clause excluded, with counts that add up to the account."""

import re

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from distributed import Client
from hypothesis import given
from hypothesis import strategies as st
from support.property_tests import examples

import laion_dask as ld
from laion_dask.errors import ProvenanceError
from laion_dask.frame import funnel

CLAUSES = {
    "similarity > 0.3": lambda r: None if pd.isna(r["similarity"]) else r["similarity"] > 0.3,
    "width >= 256": lambda r: r["width"] >= 256,
    "punsafe < 0.5 or width > 900": lambda r: (
        True if r["width"] > 900 else (None if pd.isna(r["punsafe"]) else bool(r["punsafe"] < 0.5))
    ),
    "punsafe is not None": lambda r: not pd.isna(r["punsafe"]),
    "not text.contains('a')": lambda r: None if pd.isna(r["text"]) else "a" not in r["text"],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path, rng = tmp_path_factory.mktemp("funnel"), np.random.default_rng(0)
    for shard, n in enumerate((40, 0, 25)):
        similarity = rng.random(n)
        similarity[rng.random(n) < 0.2] = np.nan
        columns = {
            "URL": [f"u{shard}-{i}" for i in range(n)],
            "TEXT": [None if i % 9 == 0 else "ab"[i % 2] for i in range(n)],
            "WIDTH": rng.integers(0, 1000, n),
            "similarity": similarity,
            "punsafe": pa.array([None if r < 0.2 else r for r in rng.random(n)], pa.float64()),
        }
        columns["TEXT"] = pa.array(columns["TEXT"], pa.string())
        pq.write_table(pa.table(columns), path / f"{shard}.parquet", row_group_size=7)
    return str(path)


def by_hand(plain: pd.DataFrame, used: list[str]) -> tuple[dict, dict, set]:
    """The rows that each clause dropped, those it left unscored, and the rows kept."""
    dropped, unscored, kept = {c: set() for c in used}, {c: set() for c in used}, set()
    for row in plain.to_dict("records"):
        key = row["shard"], row["row"]
        answers = {clause: CLAUSES[clause](row) for clause in used}
        false = [c for c, answer in answers.items() if answer is not None and not answer]
        unknown = [c for c, answer in answers.items() if answer is None]
        if false:
            dropped[false[0]].add(key)
        elif unknown:
            unscored[unknown[0]].add(key)
        else:
            kept.add(key)
    return dropped, unscored, kept


def check(frame, plain, used) -> None:
    dropped, unscored, kept = by_hand(plain, used)
    excluded = frame.laion.excluded().compute()
    for why, right in (("dropped", dropped), ("unscored", unscored)):
        of_kind = excluded[excluded["excluded_why"] == why]
        for clause in used:
            here = of_kind[of_kind["excluded_by"].str.replace('"', "'") == clause]
            assert {*zip(here["shard"], here["row"], strict=True)} == right[clause], clause
    there = frame.compute()
    assert {*zip(there["shard"], there["row"], strict=True)} == kept
    assert len(excluded) + len(there) == len(plain)
    counted, account = frame.laion.funnel(), frame.laion.rows()
    assert counted["dropped"].tolist() == [len(rows) for rows in dropped.values()]
    assert counted["unscored"].tolist() == [len(rows) for rows in unscored.values()]
    assert counted["dropped"].sum() == account.dropped
    assert counted["unscored"].sum() == account.unscored
    assert counted["after"].iloc[-1] == account.kept
    rows = counted.to_dict("records")
    assert [(r["after"], r["undecided"]) for r in rows] == after_by_hand(plain, used)
    assert counted["undecided"].iloc[-1] == 0


def after_by_hand(plain: pd.DataFrame, used: list[str]) -> list[tuple[int, int]]:
    """The rows after each clause, and those of them for which an answer so far is unknown."""
    answers = [[CLAUSES[clause](row) for clause in used] for row in plain.to_dict("records")]
    counts = []
    for n in range(1, len(used) + 1):
        known = [row for row in answers if all(answer for answer in row[:n])]
        undecided = [
            row
            for row in answers
            if None in row[:n]
            and not any(answer is False for answer in row[:n])
            and any(answer is False for answer in row[n:])
        ]
        counts.append((len(known) + len(undecided), len(undecided)))
    return counts


@examples(5)
@given(
    st.lists(st.sampled_from(sorted(CLAUSES)), min_size=1, max_size=4, unique=True),
    st.integers(1, 3),
    st.booleans(),
    st.sampled_from([5, 10**6]),
)
def test_rows_and_counts_are_those_of_a_loop(folder, used, filters, mapped, most):
    frame = ld.read_shards(folder, max_rows_per_partition=most)
    plain = frame.compute()
    frame = frame.assign(more=1) if mapped else frame
    cuts = np.array_split(np.array(used, object), min(filters, len(used)))
    for clauses in cuts:
        frame = frame.laion.where(" and ".join(f"({clause})" for clause in clauses))
    check(frame, plain, used)


def test_after_scores_and_a_choice_of_columns(folder):
    frame = ld.read_shards(folder)
    plain = frame.compute()
    scored = frame.laion.where("similarity > 0.3").assign(half=lambda f: f["width"] / 2)
    subset = scored.laion.where("width >= 256")[["url", "half", "shard", "row"]]
    excluded = subset.laion.excluded()
    assert list(excluded.columns) == [*subset.columns, "excluded_by", "excluded_why"]
    check(subset, plain, ["similarity > 0.3", "width >= 256"])


def test_nothing_is_left_out(folder):
    frame = ld.read_shards(folder)
    assert len(frame.laion.excluded().compute()) == 0 and len(frame.laion.funnel()) == 0


@pytest.mark.parametrize(
    ("step", "named"),
    [
        (lambda f: f[f["width"] > 5], r"\(width > 5\)"),
        (lambda f: f.query("width > 5"), "width > 5"),
        (lambda f: f.sample(frac=0.5, random_state=1), "Sample"),
        (lambda f: f.dropna(), "dropna"),
        (lambda f: f.drop_duplicates(subset=["url"]), "DropDuplicates"),
        (lambda f: f.map_partitions(lambda part: part, meta=f._meta), "MapPartitions"),
        (lambda f: f.repartition(npartitions=2), "Repartition"),
        (lambda f: f.sort_values("width"), "SortValues"),
    ],
)
def test_steps_whose_rows_cannot_be_told_are_named(folder, step, named):
    frame = step(ld.read_shards(folder).laion.where("similarity > 0.3"))
    with pytest.raises(ProvenanceError, match=named):
        frame.laion.excluded()


def test_it_is_lazy(folder, no_compute):
    ld.read_shards(folder).laion.where("width > 3 and similarity > 0.3").laion.excluded()


def test_an_export_that_keeps_nothing_says_why(folder, tmp_path):
    frame = ld.read_shards(folder).laion.where("width >= 256 and similarity > 7")
    exported = frame.laion.export(tmp_path / "none")
    lines = str(exported).splitlines()
    assert (
        lines[0].startswith("65 read = 0 kept")
        and lines[1] == "No row was kept. Rows excluded, in order:"
    )
    assert re.fullmatch(r"  width >= 256: \d+ dropped, 0 unscored, \d+ left", lines[2])
    assert re.fullmatch(r"  similarity > 7: \d+ dropped, \d+ unscored, 0 left", lines[3])
    assert [one["clause"] for one in exported.manifest["funnel"]] == [
        "width >= 256",
        "similarity > 7",
    ]
    sampled = ld.read_shards(folder).sample(frac=1.0).laion.where("width > 5000")
    assert "No row was kept" in str(sampled.laion.export(tmp_path / "sampled"))
    assert "funnel" not in ld.read_shards(folder).laion.export(tmp_path / "all").manifest


def test_every_report_of_an_export_has_the_funnel(folder, tmp_path):
    frame = ld.read_shards(folder).laion.where("width >= 256 and similarity > 0.3")
    page = ld.write_report(frame.laion.export(tmp_path / "out"), tmp_path / "report.html")
    text = page.read_text()
    assert "Rows excluded by each clause" in text and "similarity &gt; 0.3" in text


def excluded_by_row(frame) -> pd.DataFrame:
    excluded = frame.laion.excluded().compute()
    return excluded.sort_values(["shard", "row"]).reset_index(drop=True)


def test_worker_processes_give_the_answer_of_threads(folder, worker_processes):
    """Clauses, reasons and rows are the same on worker processes and in this process."""
    where = "width >= 256 and (punsafe < 0.5 or width > 900)"
    subset = ld.read_shards(folder, where="similarity > 0.3").laion.where(where)
    funnel, rows = subset.laion.funnel(), excluded_by_row(subset)
    assert funnel["dropped"].sum() and funnel["unscored"].sum() and len(rows)
    here = {"host": "127.0.0.1", "protocol": "tcp", "dashboard_address": "127.0.0.1:0"}
    makers = [
        lambda: Client(worker_processes),
        lambda: Client(processes=False, n_workers=2, threads_per_worker=1, **here),
    ]
    for make in makers:
        with make():
            pd.testing.assert_frame_equal(subset.laion.funnel(), funnel)
            pd.testing.assert_frame_equal(excluded_by_row(subset), rows)


def test_later_filters_see_only_rows_that_the_scan_may_keep(folder, monkeypatch):
    """Scores of rows that a cheap filter drops are not computed for the funnel."""
    seen = []
    count = funnel.clause_codes

    def counted(part, parts, start):
        seen.append((start, len(part)))
        return count(part, parts, start)

    monkeypatch.setattr(funnel, "clause_codes", counted)
    frame = ld.read_shards(folder, where="width > 700 and similarity > 0.1")
    frame = frame.assign(double=frame["punsafe"] * 2).laion.where("double > 0.5")
    table = frame.laion.funnel()
    possible = table["before"].iloc[0] - table["dropped"].iloc[:2].sum()
    assert sum(n for start, n in seen if start == 2) <= possible < table["before"].iloc[0]


@pytest.mark.parametrize("later", [None, "punsafe > 0.5"])
def test_the_funnel_of_some_partitions_is_of_their_rows(folder, later):
    frame = ld.read_shards(folder, where="width > 500")
    frame = frame.partitions[[0, 2]] if later is None else frame.partitions[1:].laion.where(later)
    rows, table = frame.laion.rows(), frame.laion.funnel()
    assert table["before"].iloc[0] == rows.read == (65 if later is None else 25)
    assert table["after"].iloc[-1] == rows.kept == len(frame) > 0
    assert len(frame.laion.excluded().compute()) == rows.dropped + rows.unscored


def test_a_clause_gives_the_same_numbers_whatever_follows_it(folder):
    """A later clause may drop rows that lack a score; they are shown apart until it does."""
    alone = ld.read_shards(folder, where="similarity > 0.3")
    first, other = alone.laion.funnel().iloc[0], alone.laion.where("width >= 256").laion.funnel()
    assert first["undecided"] == 0 < other["undecided"].iloc[0]
    assert other["dropped"].iloc[0] == first["dropped"]
    assert other["unscored"].iloc[0] + other["undecided"].iloc[0] == first["unscored"]
    assert other["after"].iloc[0] - other["undecided"].iloc[0] == first["after"]


def test_undecided_rows_are_printed_where_no_row_is_kept(folder, tmp_path):
    frame = ld.read_shards(folder).laion.where("similarity > 0.3 and width > 5000")
    lines = str(frame.laion.export(tmp_path / "none")).splitlines()
    assert re.search(r", \d+ left \(\d+ of them undecided\)$", lines[2])
    assert lines[3].endswith("0 unscored, 0 left")
