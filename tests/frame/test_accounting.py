"""Row accounts after arbitrary Dask steps are either correct or refused."""

from __future__ import annotations

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from support.shards import collection

import laion_dask as ld
from laion_dask.errors import ProvenanceError
from laion_dask.frame.row_set import RowSet

#: Warnings that Dask raises itself, with or without an account.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Merging dataframes with merge column"),
    pytest.mark.filterwarnings("ignore:Boolean Series key will be reindexed"),
]
FIRST, SECOND = "similarity > 0.3", "punsafe < 0.6"


def table(n: int, start: int = 0) -> pa.Table:
    i = np.arange(start, start + n)
    return pa.table(
        {
            "URL": [f"https://a.example/{k}" for k in i],
            "TEXT": [f"boat {k}" for k in i],
            "WIDTH": pa.array(i * 2, pa.int32()),
            "similarity": np.where(i % 7 == 0, np.nan, i % 10 / 10),
            "punsafe": pa.array([None if k % 11 == 0 else k % 13 / 13 for k in i], pa.float32()),
            "LANGUAGE": [["en", "de", "fr"][k % 3] for k in i],
            "hash": i * 7919,
        }
    )


@pytest.fixture
def folder(write):
    with dask.config.set(scheduler="sync"):
        for at, (n, start) in enumerate(((40, 0), (0, 40), (30, 40), (20, 70))):
            path = write(f"set/part_{at}.parquet", table(n, start), row_group_size=20)
        yield path.rsplit("/", 1)[0]


@pytest.fixture
def frame(folder):
    return ld.read_shards(folder)


@pytest.fixture
def scores(frame):
    """Scores of the first 60 rows only."""
    known = frame[["hash"]].compute().head(60).reset_index(drop=True)
    return dd.from_pandas(known.assign(score=np.arange(60) / 60), npartitions=2)


def again(frame, n: int):
    return dd.concat([frame, frame.partitions[0].map_partitions(lambda part: part.head(n))])


#: Steps that keep all rows, so that the filters around them give one account.
KEEPING = {
    "nothing": lambda f, s: f,
    "assign": lambda f, s: f.assign(twice=f["width"] * 2),
    "columns": lambda f, s: f[["similarity", "punsafe", "shard", "row", "hash", "width"]],
    "drop": lambda f, s: f.drop(columns=["url"]),
    "identity dropped": lambda f, s: f.drop(columns=["shard", "row"]),
    "rename": lambda f, s: f.rename(columns={"url": "link"}),
    "astype": lambda f, s: f.astype({"width": "float64"}),
    "fillna": lambda f, s: f.fillna({"text": "none"}),
    "dropna": lambda f, s: f.dropna(subset=["width"]),
    "isin": lambda f, s: f[f["language"].isin(["en", "de", "fr"])],
    "mask": lambda f, s: f[f["width"] >= 0],
    "loc": lambda f, s: f.loc[f["width"] >= 0],
    "query": lambda f, s: f.query("width >= 0"),
    "categorize": lambda f, s: f.categorize(["language"]),
    "reset_index": lambda f, s: f.reset_index(drop=True),
    "repartition": lambda f, s: f.repartition(npartitions=2),
    "partition_size": lambda f, s: f.repartition(partition_size="3kB"),
    "shuffle": lambda f, s: f.shuffle("width"),
    "sort_values": lambda f, s: f.sort_values("width"),
    "set_index": lambda f, s: f.set_index("width"),
    "set_index, kept": lambda f, s: f.set_index("hash", drop=False),
    "drop_duplicates": lambda f, s: f.drop_duplicates(["shard", "row"]),
    "merge": lambda f, s: f.merge(s, on="hash", how="left"),
    "merge from the right": lambda f, s: s.merge(f, on="hash", how="right"),
    "map_partitions": lambda f, s: f.map_partitions(lambda part: part.iloc[::-1], meta=f._meta),
    "concat": lambda f, s: dd.concat([f.partitions[:2], f.partitions[2:]]),
}


@pytest.mark.parametrize("step", KEEPING)
@pytest.mark.parametrize("pushed", [True, False])
def test_two_filters_give_one_account_whatever_stands_between(frame, scores, step, pushed):
    plain = frame.compute()
    one, two = plain["similarity"], plain["punsafe"]
    refused = (one <= 0.3) | (two >= 0.6)
    missing = one.isna() | two.isna()
    right = ld.Rows(90, int(((one > 0.3) & (two < 0.6)).sum()), int(refused.sum()), 0, 0)
    right = ld.Rows(90, right.kept, right.dropped, int((missing & ~refused).sum()), 0)
    start = frame if pushed else frame.assign(one=1)
    made = KEEPING[step](start.laion.where(FIRST), scores).laion.where(SECOND)
    assert made.laion.rows() == right


#: Steps that repeat rows.
REPEATING = {
    "merge": lambda f, s: f.merge(dd.concat([s, s.partitions[0]]), on="hash"),
    "left merge": lambda f, s: f.merge(dd.concat([s, s.partitions[0]]), on="hash", how="left"),
    "merge on a group": lambda f, s: f.merge(f[["language"]], on="language", how="inner"),
    "sample": lambda f, s: f.sample(frac=0.9, replace=True, random_state=3),
    "explode": lambda f, s: f.assign(part=f["text"].str.split(" ")).explode("part"),
    "map_partitions": lambda f, s: f.map_partitions(
        lambda part: pd.concat([part, part.head(4)]), meta=f._meta
    ),
    "end to end": lambda f, s: again(f, 3),
}


@pytest.mark.parametrize("step", REPEATING)
@pytest.mark.parametrize("after", [None, SECOND])
def test_a_row_that_stands_there_twice_is_refused(frame, scores, tmp_path, step, after):
    made = REPEATING[step](frame.laion.where("width >= 0"), scores)
    made = made if after is None else made.laion.where(after)
    with pytest.raises(ProvenanceError, match=r"part_\d\.parquet"):
        made.laion.export(tmp_path / "out")
    with pytest.raises(ProvenanceError, match=r"part_\d\.parquet"):
        made.laion.rows()


#: Steps that select a partition twice.
TAKEN_TWICE = {
    "of a scan": lambda f: f.partitions[[1, 1]],
    "of a filter": lambda f: f.laion.where("width >= 0").partitions[[0, 1, 0]],
    "before a filter": lambda f: f.partitions[[0, 0]].laion.where("width >= 0"),
    "of a repartition": lambda f: f.repartition(npartitions=2).partitions[[0, 0]],
}


@pytest.mark.parametrize("step", TAKEN_TWICE)
def test_a_partition_that_is_taken_twice_is_refused(frame, tmp_path, step):
    made = TAKEN_TWICE[step](frame)
    with pytest.raises(ProvenanceError, match=r"partition [01] 2 times"):
        made.laion.export(tmp_path / "out")
    with pytest.raises(ProvenanceError, match=r"partition [01] 2 times"):
        made.laion.rows()


#: Steps that overwrite the columns that identify rows.
WRITING_OVER = {
    "where": lambda f: f.where(f["width"] < 5),
    "mask": lambda f: f.mask(f["width"] < 5),
    "clip": lambda f: f[["shard", "row", "width"]].clip(0, 1),
    "replace": lambda f: f.replace({"row": {3: 4}}),
    "isna": lambda f: f.isna(),
    "astype": lambda f: f.astype({"row": bool}),
    "apply": lambda f: f[["shard", "row"]].apply(
        lambda row: row * 0, axis=1, meta=f._meta[["shard", "row"]]
    ),
}


@pytest.mark.parametrize("step", WRITING_OVER)
def test_rows_whose_identity_is_written_over_are_refused(frame, tmp_path, step):
    with pytest.raises(ProvenanceError, match="shard"):
        WRITING_OVER[step](frame).laion.export(tmp_path / "out")


def test_an_example_of_a_repeated_row_does_not_depend_on_partitions(frame, scores):
    messages = set()
    for parts in (1, 2, 5):
        made = REPEATING["merge"](frame.repartition(npartitions=parts), scores)
        with pytest.raises(ProvenanceError, match="30 duplicates among 90") as error:
            made.laion.rows()
        messages.add(str(error.value))
    assert len(messages) == 1 and "Row 0 of" in messages.pop() and "laion.join" in str(error.value)


def test_rows_of_a_lookup_table_are_not_rows_read(frame, write, scores):
    lookup = ld.read_shards(write("other/part_0.parquet", table(60)))[["hash", "punsafe"]]
    lookup = lookup.drop(columns=["shard", "row"], errors="ignore").rename(columns={"punsafe": "p"})
    lookup = lookup.laion.where("p < 0.9")
    left = frame.merge(lookup, on="hash", how="left")
    assert left.laion.rows() == ld.Rows(90, 90, 0, 0, 0)
    inner = frame.merge(lookup, on="hash").laion.rows()
    assert (inner.read, inner.unscored) == (90, 0) and inner.kept == len(lookup)
    with pytest.raises(ProvenanceError, match="do not come from the data set"):
        frame.merge(scores.assign(hash=-scores["hash"] - 1), on="hash", how="outer").laion.rows()
    with pytest.raises(ProvenanceError, match="dropped or renamed"):
        frame.merge(frame, on="hash").laion.rows()


def test_two_data_sets_of_one_numbering_are_not_exported(frame, folder, write, tmp_path):
    other = ld.read_shards(write("other/part_0.parquet", table(50, 200)))
    both = dd.concat([frame, other])
    assert both.laion.rows() == ld.Rows(140, 140, 0, 0, 0)
    with pytest.raises(ProvenanceError, match=r"Open both in one call, read_shards\(\[a, b\]\)"):
        both.laion.export(tmp_path / "out")
    (tmp_path / "link").symlink_to(folder)
    for same in (tmp_path / "link", folder):
        twice = dd.concat([frame, ld.read_shards(same, max_rows_per_partition=20)])
        with pytest.raises(ProvenanceError, match="end to end"):
            twice.laion.export(tmp_path / "out")


@pytest.mark.parametrize(
    ("mask", "text"),
    [
        (lambda f: f["similarity"] > 0.3, "similarity > 0.3"),
        (lambda f: ~(f["similarity"] <= 0.3) & f["similarity"].notnull(), None),
        (
            lambda f: (f["similarity"] > 0.3) | (f["width"] < 20),
            "similarity > 0.3 or width < 20",
        ),
        (
            lambda f: (f["similarity"] > 0.3) & (f["punsafe"] < 0.6),
            "similarity > 0.3 and punsafe < 0.6",
        ),
        (lambda f: f["language"].isin(["en"]), "language in ('en',)"),
        (lambda f: f["width"] > f["width"].mean(), None),
    ],
)
def test_a_mask_without_a_name_is_in_the_recipe_and_in_the_account(frame, tmp_path, mask, text):
    made = frame[mask(frame)]
    exported = made.laion.export(tmp_path / "out")
    assert exported.rows.kept == len(made)
    assert exported.rows == (made if text is None else frame.laion.where(text)).laion.rows()
    (messages,) = exported.manifest["where"]
    assert messages.startswith("pandas mask:") and messages in str(exported)


def test_a_query_and_dropna_are_told_too(frame, tmp_path):
    exported = (
        frame.query("similarity > 0.3").dropna(subset=["punsafe"]).laion.export(tmp_path / "out")
    )
    assert exported.manifest["where"] == [
        "pandas mask: similarity > 0.3",
        "pandas mask: dropna(subset=['punsafe'])",
    ]
    named = frame.laion.where("similarity > 0.3").laion.rows()
    assert exported.rows.unscored <= named.unscored and exported.rows.kept < named.kept


def test_what_fillna_has_filled_is_no_missing_value(frame, tmp_path):
    filled = frame[frame["similarity"].fillna(0) > 0.3]
    assigned = frame.assign(similarity=frame["similarity"].fillna(0))
    assert filled.laion.rows() == assigned.laion.where("similarity > 0.3").laion.rows()
    of_mask = frame[(frame["similarity"] > 0.3).fillna(False)]
    assert of_mask.laion.rows() == frame.laion.where("similarity > 0.3").laion.rows()


#: Steps that select rows, by the name that a recipe gives them.
CHOOSING = {
    "sample(frac=0.7)": lambda f, s: f.sample(frac=0.7, random_state=5),
    "random_split([0.5, 0.5])[1]": lambda f, s: f.random_split([0.5, 0.5], random_state=1)[1],
    "head(25)": lambda f, s: f.head(25, npartitions=-1, compute=False),
    "tail(3)": lambda f, s: f.tail(3, compute=False),
    "nlargest(9, 'similarity')": lambda f, s: f.nlargest(9, "similarity"),
    "nsmallest(9, ['similarity'])": lambda f, s: f.nsmallest(9, ["similarity"]),
    "drop_duplicates(subset=['language'])": lambda f, s: f.drop_duplicates(["language"]),
    "merge(how='inner', on='hash')": lambda f, s: f.merge(s[["hash"]], on="hash"),
    "merge(how='right', on='hash')": lambda f, s: f.merge(
        s[["hash"]], on="hash", how="right"
    ).dropna(subset=["shard", "row"]),
    "loc[2:5]": lambda f, s: f.reset_index(drop=True).loc[2:5],
    "groupby, one row per group": lambda f, s: (
        f[["shard", "row", "language"]].groupby("language").first().reset_index()
    ),
    "map_partitions(narrowed), which may drop rows": lambda f, s: f.map_partitions(narrowed),
}


def narrowed(part):
    return part[part["width"] > 21]


@pytest.mark.parametrize("step", CHOOSING)
def test_a_step_that_chooses_is_in_the_recipe(frame, scores, tmp_path, step):
    exported = CHOOSING[step](frame, scores).laion.export(tmp_path / "out")
    assert f"pandas step: {step}" in exported.manifest["where"] and step in str(exported)
    assert exported.rows.dropped > 0


def test_a_step_that_keeps_every_row_is_no_filter(frame, scores, tmp_path):
    made = frame.merge(scores[["hash"]].drop_duplicates(), on="hash", how="left").sort_values("row")
    made = made.assign(wide=made["width"] + 1).repartition(npartitions=2).loc[:, list(made.columns)]
    assert made.laion.export(tmp_path / "out").manifest["where"] == []


#: Steps for random chains; the rows kept are counted in the result.
NARROWING = {
    "sample": lambda f, s: f.sample(frac=0.7, random_state=5),
    "head": lambda f, s: f.head(25, npartitions=-1, compute=False),
    "inner merge": lambda f, s: f.merge(s[["hash"]], on="hash"),
    "random_split": lambda f, s: f.random_split([0.5, 0.5], random_state=1)[0],
    "partitions": lambda f, s: f.partitions[: f.npartitions // 2 + 1],
    "user mask": lambda f, s: f[f["width"] > 21],
}


@pytest.mark.parametrize("seed", range(12))
def test_random_chains_are_right_or_refused(frame, scores, tmp_path, seed):
    draw = np.random.default_rng(seed)
    taking = (
        "identity dropped",
        "rename",
        "set_index",
        "categorize",
    )  # remove columns that others need
    steps = {name: step for name, step in KEEPING.items() if name not in taking} | NARROWING
    if seed % 3 == 0:
        steps |= {name: REPEATING[name] for name in ("merge", "sample", "map_partitions")}
    made = frame
    for at, name in enumerate(draw.choice(list(steps), 4)):
        try:
            made = steps[name](made, scores)
        except (KeyError, ValueError):
            continue  # Dask does not support this combination
        if at == 1:
            made = made.laion.where(FIRST)
    made = made.laion.where(SECOND)
    repeated = seed % 3 == 0
    try:
        rows = made.laion.export(tmp_path / "out").rows
    except ProvenanceError as error:
        assert (repeated and "more than once" in str(error)) or "end to end" in str(error)
        return
    result = ld.read_shards(tmp_path / "out").compute()
    assert not result[["source_shard", "source_row"]].duplicated().any()
    assert rows.kept == len(result)
    assert rows.read == rows.kept + rows.dropped + rows.unscored + rows.rejected
    assert min(rows.dropped, rows.unscored) >= 0


def test_verbs_on_an_index_that_is_a_column_too(frame, tmp_path):
    made = frame.set_index("hash", drop=False)
    assert made.laion.export(tmp_path / "out").rows.kept == 90
    assert made.laion.summary().n_rows == 90
    result = made.laion.statistics(ld.rates("similarity > 0.5", by="language"), min_n=0)
    assert len(result) == len(
        frame.laion.statistics(ld.rates("similarity > 0.5", by="language"), min_n=0)
    )


def test_a_search_of_partitions_that_are_cut_by_size(tmp_path):
    c = collection(tmp_path, (40, 25))
    frame = ld.read_shards(c.metadata)
    emb = ld.open_embeddings(c.img_emb, model=c.model, like=frame)
    query = c.images[0][3]
    right = frame.laion.search(emb, query, k=5)
    for made in (
        frame.repartition(partition_size="2kB"),
        frame.assign(one=1).repartition(partition_size="2kB").laion.where("width > 0 or width < 1"),
        frame.set_index("hash", drop=False),
    ):
        result = made.laion.search(emb, query, k=5)
        assert result["row"].tolist()[:1] == right["row"].tolist()[:1]
        assert len(result) == 5


@pytest.mark.parametrize("seed", range(8))
def test_identities_equal_sets(seed):
    draw = np.random.default_rng(seed)
    parts, seen, repeats = [], set(), []
    for _ in range(int(draw.integers(1, 9))):
        n = int(draw.integers(0, 300))
        shard, row = draw.integers(0, 3, n), draw.integers(0, 40 + 3000 * (seed % 2), n)
        parts.append(pd.DataFrame({"shard": shard.astype("int32"), "row": row}))
        for pair in zip(shard.tolist(), row.tolist(), strict=True):
            repeats += [pair] if pair in seen else []
            seen.add(pair)
    whole = RowSet.union([RowSet.of(part) for part in parts])
    assert len(whole) == len(seen) and whole.repeats == len(repeats)
    assert whole.example == min(repeats, default=None)
    halves = [RowSet.union([RowSet.of(p, group, 2) for p in parts]) for group in (0, 1)]
    assert sum(map(len, halves)) == len(seen)
    assert sum(half.repeats for half in halves) == len(repeats)
