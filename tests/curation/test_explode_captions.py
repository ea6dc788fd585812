"""One record for each caption of a row, and the account of both, against a loop."""

from __future__ import annotations

import math
from collections import defaultdict

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import laion_dask as ld
from laion_dask.curation.recipes.needs import needs_text
from laion_dask.errors import ColumnError, OptionError, ProvenanceError

N = 150
_TEXTS = [None, "", " \n", "a cat", "a cat", "ein Hund", "日本語", "b"]
_SCORES = [None, math.nan, 0.1, 0.5, 0.5, 0.9]


def _rows() -> list[dict]:
    draw = np.random.default_rng(7)
    rows = []
    for n in range(N):
        k = int(draw.integers(0, 5))
        captions = [_TEXTS[x] for x in draw.integers(0, len(_TEXTS), k)]
        scores = [_SCORES[x] for x in draw.integers(0, len(_SCORES), k)]
        row = {
            "url": f"http://{n}",
            "width": [None, 100, 200, 300][int(draw.integers(0, 4))],
            "captions": None if n % 17 == 0 else captions,
            "scores": None if n % 19 == 0 else scores + [0.3] * (n % 23 == 1),
        }
        row |= {f"c{m}": captions[m] if m < k else None for m in range(2)}
        row |= {f"s{m}": scores[m] if m < k else None for m in range(2)}
        rows.append(row)
    return rows


ROWS = _rows()
_TYPES = {
    "url": pa.string(),
    "width": pa.int32(),
    "captions": pa.list_(pa.string()),
    "scores": pa.list_(pa.float32()),
    **{"c0": pa.string(), "c1": pa.string(), "s0": pa.float64(), "s1": pa.float64()},
}


def _write(folder, types=_TYPES):
    for number, (a, b) in enumerate([(0, 60), (60, 60), (60, N)]):
        columns = {n: pa.array([row[n] for row in ROWS[a:b]], t) for n, t in types.items()}
        pq.write_table(pa.table(columns), folder / f"{number}.parquet", row_group_size=20)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return _write(tmp_path_factory.mktemp("captions"))


def _identity(n: int) -> tuple[int, int]:
    return (0, n) if n < 60 else (2, n - 60)


def _known(value) -> float | None:
    return None if value is None or math.isnan(value) else float(np.float32(value))


def expected(rows=ROWS, by_columns: bool = False) -> list[dict]:
    """The records, as a loop makes them."""
    records = []
    for n, row in enumerate(rows):
        captions = [row["c0"], row["c1"]] if by_columns else (row["captions"] or [])
        scores = [row["s0"], row["s1"]] if by_columns else (row["scores"] or [])
        scores = scores if len(scores) == len(captions) else [None] * len(captions)
        shard, at = _identity(n)
        base = {"url": row["url"], "width": row["width"], "shard": shard, "row": at}
        texts = [(i, t) for i, t in enumerate(captions) if t is not None and t.strip()]
        for i, text in texts:
            one = {"text": text, "caption_number": i, "caption_score": _known(scores[i])}
            records.append({**base, **one})
        if not texts:
            none = dict.fromkeys(("text", "caption_number", "caption_score"))
            records.append({**base, **none})
    return records


def records_of(frame) -> list[dict]:
    table = pa.Table.from_pandas(frame.compute(), preserve_index=False)
    names = ["url", "width", "shard", "row", "text", "caption_number", "caption_score"]
    return table.select(names).to_pylist()


def _rounded(records):
    score = "caption_score"
    return [
        {**r, score: None if r[score] is None else float(np.float32(r[score]))} for r in records
    ]


def outcomes(records, *tests) -> ld.Rows:
    """The account of filters, each of which says True, False or None of a record."""
    of_row = defaultdict(list)
    for record in records:
        answers = [test(record) for test in tests]
        kept = False if False in answers else None if None in answers else True
        of_row[record["shard"], record["row"]].append(kept)
    kept = sum(True in all_ for all_ in of_row.values())
    unscored = sum(None in all_ and True not in all_ for all_ in of_row.values())
    n = sum(one.count(True) for one in of_row.values())
    return ld.Rows(len(of_row), kept, len(of_row) - kept - unscored, unscored, 0, n)


def wide(record):
    return None if record["width"] is None else record["width"] > 150


def scored(record):
    return None if record["caption_score"] is None else record["caption_score"] > 0.3


def cat(record):
    return None if record["text"] is None else "cat" in record["text"]


@pytest.mark.parametrize("most", [None, 20])
def test_one_record_for_each_caption(folder, most):
    frame = ld.read_shards(folder, max_rows_per_partition=most or 1_000_000)
    exploded = frame.laion.explode_captions("captions", scores="scores")
    assert _rounded(records_of(exploded)) == expected()
    rows = exploded.laion.rows()
    assert rows == ld.Rows(N, N, 0, 0, 0, len(expected()))
    assert str(rows).startswith(f"{N} read = {N} kept ({len(expected())} records) + 0 dropped")
    several = frame.laion.explode_captions(["c0", "c1"], scores=["s0", "s1"])
    assert _rounded(records_of(several)) == expected(by_columns=True)
    assert "c0" not in several.columns
    replaced = frame.laion.explode_captions(["c1", "c0"], to="c1", number="at")
    assert replaced.laion.rows().records == len(expected(by_columns=True))
    plain = exploded.drop(columns=["shard", "row"])
    assert plain.laion.rows() == rows


@pytest.mark.parametrize(("most", "at_scan"), [(None, True), (40, False)])
def test_filters_before_and_after(folder, most, at_scan):
    frame = ld.read_shards(folder, max_rows_per_partition=most or 1_000_000)
    frame = frame if at_scan else frame.assign(other=1)
    before = frame.laion.where("width > 150")
    exploded = before.laion.explode_captions("captions", scores="scores")
    one = exploded.laion.where("caption_score > 0.3")
    two = one.laion.where("text.contains('cat')")
    everything = expected()
    for kept, tests in ((exploded, [wide]), (one, [wide, scored]), (two, [wide, scored, cat])):
        account = outcomes(everything, *tests)
        assert kept.laion.rows() == account
        assert account.records == len(kept)
        if kept is one:
            continue  # the other two are enough for what takes long
        funnel = kept.laion.funnel()
        assert funnel["after"].iloc[-1] == account.kept
        assert funnel["dropped"].sum() == account.dropped
        assert funnel["unscored"].sum() == account.unscored
        lost = kept.laion.excluded().compute()
        both = pd.concat([lost[[*kept.columns]], kept.compute()])
        assert len(both) == len(everything)
        assert not both.duplicated(["shard", "row", "caption_number"]).any()
    mask = exploded[exploded["caption_score"] > 0.3]
    assert mask.laion.rows() == outcomes(everything, wide, scored)
    narrow = two[["url"]]
    assert narrow.laion.rows() == outcomes(everything, wide, scored, cat)
    assert len(narrow.laion.funnel()) == 3


def test_the_funnel_counts_a_row_where_its_last_caption_goes(folder):
    exploded = ld.read_shards(folder).laion.explode_captions("captions", scores="scores")
    kept = exploded.laion.where("caption_score > 0.3 and text.contains('cat')")
    last = defaultdict(list)
    for one in expected():
        answers = [scored(one), cat(one)]
        at = ("false", answers.index(False)) if False in answers else None
        at = at or (("unknown", answers.index(None)) if None in answers else ("kept", 2))
        last[one["shard"], one["row"]].append(at)
    counts = np.zeros((2, 2), int)
    for found in last.values():
        unknown = [n for kind, n in found if kind == "unknown"]
        if ("kept", 2) not in found:
            counts[max(unknown or [n for _, n in found]), int(bool(unknown))] += 1
    assert kept.laion.funnel()[["dropped", "unscored"]].to_numpy().tolist() == counts.tolist()


def _shuffled(frame):
    return frame.shuffle("url", npartitions=3)


_MORE = pd.DataFrame({"width": [100, 200, 300], "more": 1}).astype({"width": "Int32"})
_STEPS = {
    "repartition": lambda frame: frame.repartition(npartitions=2),
    "shuffle": _shuffled,
    "sort": lambda frame: frame.sort_values("url"),
    "map": lambda frame: frame.map_partitions(lambda part: part, meta=frame._meta),
    "merge": lambda frame: frame.merge(_MORE, on="width", how="left"),
    "set_index": lambda frame: frame.set_index("url", drop=False),
    "drop_duplicates": lambda frame: frame.drop_duplicates(["shard", "row", "caption_number"]),
}


@pytest.mark.parametrize("step", _STEPS)
def test_steps_that_move_records(folder, tmp_path, step):
    frame = ld.read_shards(folder, max_rows_per_partition=40)
    frame = frame.laion.explode_captions("captions", scores="scores")
    moved = _STEPS[step](frame.laion.where("width > 150")).laion.where("text.contains('cat')")
    account = outcomes(expected(), wide, cat)
    assert moved.laion.rows() == account
    done = moved.laion.export(tmp_path / "out", rows_per_part=7)
    assert done.rows == account
    assert done.manifest["counts"]["records"] == account.records
    assert ld.verify(done.path).rows == account.records
    table = pq.read_table(tmp_path / "out" / "shards")
    got = table.select(["shard", "row", "caption_number"]).to_pandas()
    if step in ("map", "merge"):
        assert (got == got.sort_values(["shard", "row", "caption_number"])).to_numpy().all()
    wanted = [r for r in expected() if wide(r) and cat(r)]
    assert sorted(map(tuple, got.astype(int).to_numpy().tolist())) == [
        (r["shard"], r["row"], r["caption_number"]) for r in wanted
    ]


def test_captions_that_a_step_repeats_are_an_error(folder):
    frame = ld.read_shards(folder).laion.explode_captions("captions")
    twice = frame.merge(pd.DataFrame({"width": [100, 100]}).astype("Int32"), on="width", how="left")
    with pytest.raises(ProvenanceError, match="more than once"):
        twice.laion.rows()
    with pytest.raises(ProvenanceError, match="caption_number"):
        twice.drop(columns="caption_number").laion.rows()
    with pytest.raises(ProvenanceError, match="two parts of the same shards"):
        dd.concat([frame, frame]).laion.rows()


def test_concat_of_shards(folder):
    first, rest = ld.read_shards(folder).partitions[0], ld.read_shards(folder)
    frame = ld.read_shards(folder, max_rows_per_partition=60)
    parts = [frame.partitions[[n]] for n in range(frame.npartitions)]
    exploded = [one.laion.explode_captions("captions", scores="scores") for one in parts]
    joined = dd.concat(exploded).laion.where("text.contains('cat')")
    assert joined.laion.rows() == outcomes(expected(), cat)
    assert first is not rest


@pytest.mark.parametrize(
    "type_",
    [
        pa.large_list(pa.large_string()),
        pa.list_(pa.string(), 3),
        pa.list_(pa.dictionary(pa.int32(), pa.string())),
        pa.list_(pa.string_view()),
        pa.list_(pa.null()),
    ],
    ids=str,
)
def test_types_of_lists(tmp_path, type_):
    lists = [["a", None, "b"], None, [" ", "", "c"], [None, None, None], ["d", "d", "d"]]
    if pa.types.is_null(type_.value_type):
        lists = [None, [], [None], [None, None], []]
    tables = [
        pa.table({"url": [str(n) for n in range(len(part))], "l": pa.array(part, type_)})
        for part in (lists[:2], lists[2:])
    ]
    for n, table in enumerate(tables):
        pq.write_table(table, tmp_path / f"{n}.parquet")
    frame = ld.read_shards(tmp_path).laion.explode_captions("l", to="caption text")
    wanted = []
    for one in lists:
        texts = [(t, i) for i, t in enumerate(one or []) if t is not None and t.strip()]
        wanted += texts or [(None, None)]
    got = pa.Table.from_pandas(frame.compute(), preserve_index=False)
    names = ("caption text", "caption_number")
    assert [*zip(*(got[name].to_pylist() for name in names), strict=True)] == wanted
    assert frame.laion.rows() == ld.Rows(5, 5, 0, 0, 0, len(wanted))


def test_categories_and_other_columns(folder):
    frame = ld.read_shards(folder)
    frame["c0"] = frame["c0"].astype("category")
    frame["kind"] = frame["c1"].astype("category")
    exploded = frame.laion.explode_captions(["c0", "c1"])
    assert exploded.dtypes["kind"] == "category"
    assert exploded["text"].compute().notna().sum() == sum(
        r["text"] is not None for r in expected(by_columns=True)
    )
    lists = exploded["captions"].compute()
    of_row = exploded["url"].compute().str.removeprefix("http://").astype(int)
    for n, found in zip(of_row, lists, strict=True):
        wanted = ROWS[n]["captions"]
        assert (found is None or found is pd.NA) if wanted is None else [*found] == wanted


def test_no_rows(folder, tmp_path):
    frame = ld.read_shards(folder, where="url == 'x'").laion.explode_captions("captions")
    assert frame.laion.rows() == ld.Rows(N, 0, N, 0, 0, 0)
    done = frame.laion.export(tmp_path / "none")
    assert len(ld.read_shards(done.path)) == 0
    assert "No row was kept" in str(done)


def test_arguments(folder):
    frame = ld.read_shards(folder)
    with pytest.raises(ColumnError):
        frame.laion.explode_captions("caption")
    with pytest.raises(ColumnError):
        frame.laion.explode_captions("captions", scores="first")
    with pytest.raises(OptionError, match="to is 'url'"):
        frame.laion.explode_captions("captions", to="url")
    with pytest.raises(OptionError, match="another new column"):
        frame.laion.explode_captions("captions", number="text")
    with pytest.raises(OptionError, match="scores is \\['s0'\\]"):
        frame.laion.explode_captions(["c0", "c1"], scores=["s0"])
    with pytest.raises(ProvenanceError, match="no column row"):
        frame[["captions", "shard"]].laion.explode_captions("captions")
    exploded = frame.laion.explode_captions("captions")
    with pytest.raises(ProvenanceError, match="already"):
        exploded.laion.explode_captions(["c0"], to="again", number="number")


def test_verbs_that_decide_about_rows_refuse(folder):
    frame = ld.read_shards(folder).laion.explode_captions("captions", scores="scores")
    for call in (
        lambda: frame.laion.dedup("text"),
        lambda: frame.laion.duplicates("text"),
        lambda: frame.laion.drop_frequent("text"),
        lambda: frame.laion.balance(["cat"]),
        lambda: frame.laion.soft_cap("caption_score", 5),
        lambda: frame.laion.sample(n=4),
        lambda: frame.laion.where("width > 1").laion.dedup("text"),
        lambda: frame.laion.phash("images"),
        lambda: ld.diff(frame, frame, by="url"),
        lambda: ld.read_shards(folder).laion.join(frame, on="url", columns=["text"]),
    ):
        with pytest.raises(ProvenanceError, match="one record for each caption"):
            call()
    drawn = frame.laion.sample(0.3, seed=2)
    assert drawn.laion.rows().kept == len(frame.laion.sample(0.3, seed=2)["url"].unique().compute())
    whole, part = (one.groupby("url").size().compute() for one in (frame, drawn))
    assert part.to_dict() == whole[part.index].to_dict()
    best = frame.laion.top("caption_score", n=10)
    scores = [r["caption_score"] for r in expected() if r["caption_score"] is not None]
    least = sorted(scores, reverse=True)[9]
    assert len(best) == sum(score >= least for score in scores)
    assert best.laion.rows().records == len(best)


def test_an_export_is_read_back(folder, tmp_path):
    frame = ld.read_shards(folder).laion.explode_captions("captions", scores="scores")
    done = frame.laion.where("text.contains('cat')").laion.export(tmp_path / "out")
    back = ld.read_shards(done.path)
    wanted = [r for r in expected() if cat(r)]
    assert back["text"].compute().tolist() == [r["text"] for r in wanted]
    assert back["caption_number"].compute().tolist() == [r["caption_number"] for r in wanted]
    assert back.laion.rows().read == len(wanted)
    assert len(back.laion.dedup("text")) == len({r["text"] for r in wanted})
    texts = (tmp_path / "out" / "_datasheet.md").read_text()
    assert f"({len(wanted)} records, one for each caption)" in texts


def test_audits_count_captions(folder):
    frame = ld.read_shards(folder).laion.explode_captions("captions", scores="scores")
    kept = frame.laion.where("caption_score > 0.3")
    table = frame.laion.audit(kept, by="width", min_n=1)
    everyone = table[table["group"] == "(all)"].iloc[0]
    assert everyone["n"] == len(expected())
    assert everyone["n"] - everyone["k"] == sum(scored(r) is True for r in expected())
    filtered_before = ld.read_shards(folder, where="width > 150")
    exploded = filtered_before.laion.explode_captions("captions", scores="scores")
    table = frame.laion.audit(exploded, by="width", min_n=1)
    everyone = table[table["group"] == "(all)"].iloc[0]
    assert everyone["n"] - everyone["k"] == sum(wide(r) is True for r in expected())
    with pytest.raises(OptionError, match="one record for each caption"):
        ld.read_shards(folder).laion.audit(kept, by="width")
    assert frame.laion.summary().rows.records == len(expected())


def test_a_recipe_runs_and_is_replayed(folder, tmp_path):
    (tmp_path / "mine.yaml").write_text(
        "name: mine\nsteps:\n  - where: width > 150\n"
        "  - explode_captions: {columns: captions, scores: scores}\n"
        "  - where: caption_score > 0.3 and text.contains('cat')\n"
    )
    recipe = ld.Recipe.load(tmp_path / "mine.yaml")
    assert needs_text(recipe) == "width, captions"
    done = recipe.run(str(folder), tmp_path / "out")
    assert done.rows == outcomes(expected(), wide, scored, cat)
    assert done.funnel["kept"].iloc[-1] == done.rows.kept
    assert ld.replay(tmp_path / "out", tmp_path / "again").rows == done.rows
