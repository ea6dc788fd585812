"""Every verb refuses frames whose shard or row column was overwritten, and only those."""

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest

import laion_dask as ld
from laion_dask.errors import ProvenanceError
from laion_dask.frame.row_set import RowSet

IDS = ["shard", "row", "width", "hash"]


def swapped(frame):
    frame = frame.copy()
    frame.columns = [{"row": "shard", "shard": "row"}.get(name, name) for name in frame.columns]
    return frame


def zeroed(frame):
    frame = frame.copy()
    frame["row"] = 0
    return frame


def other(frame):
    """The same rows, but as another expression."""
    return frame.map_partitions(lambda part: part)


#: Steps after which shard or row differ from what read_shards returned.
WRITING_OVER = {
    "rename": lambda f: f.rename(columns={"row": "shard", "shard": "row"}),
    "rename with a function": lambda f: f.rename(columns=lambda n: {"hash": "row"}.get(n, n + "_")),
    "rename onto": lambda f: f.drop(columns="row").rename(columns={"hash": "row"}),
    "rename in two steps": lambda f: f.rename(columns={"row": "r", "shard": "row"}).rename(
        columns={"r": "shard"}
    ),
    "columns": swapped,
    "setitem": zeroed,
    "cumsum": lambda f: f.assign(row=f["row"].cumsum()),
    "assign shard": lambda f: f.assign(shard=f["shard"] + 1),
    "assign a lambda": lambda f: f.assign(row=lambda f: f["row"][::1] * 2),
    "assign another column": lambda f: f.assign(row=f["hash"].fillna(0)),
    "astype int8": lambda f: f.astype({"row": "int8"}),
    "astype float32": lambda f: f.astype({"row": "float32"}),
    "astype str": lambda f: f.astype({"row": str}),
    "arithmetic": lambda f: f[["shard", "row"]] + 1,
    "method": lambda f: f[["shard", "row"]].mul(2),
    "minus": lambda f: -f[IDS],
    "ufunc": lambda f: np.sqrt(f[IDS].astype("float64")),
    "clip": lambda f: f[IDS].clip(0, 100),
    "shift": lambda f: f[IDS].shift(1),
    "cumsum of a frame": lambda f: f[IDS].cumsum(),
    "replace": lambda f: f.replace({"row": {3: 1000}}),
    "replace anywhere": lambda f: f[IDS].replace(3, 1000),
    "eval": lambda f: f[IDS].eval("row = row + 1"),
    "index": lambda f: f.drop(columns="row").set_index("hash").rename_axis("row").reset_index(),
    "merge": lambda f: f.drop(columns="row").merge(
        other(f)[["hash", "row"]].assign(row=1), on="hash"
    ),
    "suffix": lambda f: f.merge(
        other(f)[["hash", "shard", "row"]], on="hash", suffixes=("_left", "")
    ),
    "where": lambda f: f[IDS].where(f["width"] > 300, 0),
    "fillna of blanks": lambda f: f[IDS].where(f["width"] > 300).fillna(0),
    "fillna after an outer merge": lambda f: f.merge(
        other(f)[["hash"]].assign(score=1), on="hash", how="outer"
    ).fillna({"shard": 0, "row": 0}),
    "round to tens": lambda f: f[IDS].round(-1),
    "round of one column": lambda f: f[IDS].round({"row": -1}),
    "concat of columns": lambda f: dd.concat(
        [f.drop(columns="row"), f["width"].rename("row")], axis=1
    ),
    "combine_first": lambda f: f[IDS].combine_first(other(f)[IDS]),
    "groupby": lambda f: f[IDS].groupby("hash").sum(),
    "groupby of two": lambda f: f[IDS].groupby("hash").agg({"row": "max", "shard": "min"}),
}


@pytest.mark.parametrize("step", WRITING_OVER)
def test_what_writes_over_an_identity_is_refused_by_every_verb(frame, two_shards, tmp_path, step):
    made = WRITING_OVER[step](frame)
    emb = ld.open_embeddings(two_shards.img_emb, model=two_shards.model, like=frame)
    verbs = {
        "rows": lambda: made.laion.rows(),
        "export": lambda: made.laion.export(tmp_path / "out"),
        "similarity": lambda: made.laion.similarity(
            emb, np.ones(two_shards.model.dim, np.float32), to="s"
        ),
        "search": lambda: made.laion.search(emb, np.ones(two_shards.model.dim, np.float32), k=2),
        "open_embeddings": lambda: ld.open_embeddings(
            two_shards.img_emb, model=two_shards.model, like=made
        ),
    }
    for verb in verbs.values():
        with pytest.raises(ProvenanceError, match=r"other values|must hold|no column"):
            verb()
    with pytest.raises(ProvenanceError, match=r"gives the column '(row|shard)' other values"):
        verbs["rows"]()


#: Steps that keep shard and row.
KEEPING = {
    "int64": lambda f: f.astype({"shard": "int64"}),
    "float64": lambda f: f.astype({"row": "float64"}),
    "nullable": lambda f: f.astype({"row": "Int64"}),
    "itself": lambda f: f.assign(row=f["row"], shard=f["shard"].astype("int64")),
    "itself, filtered": lambda f: (lambda g: g.assign(row=g["row"]))(f[f["row"] >= 0]),
    "rename others": lambda f: f.rename(columns={"url": "link"}),
    "rename to itself": lambda f: f.rename(columns={"row": "row"}),
    "fillna": lambda f: f.fillna({"text": "none", "row": 0}),
    "fillna, merged": lambda f: (
        f[IDS].merge(other(f)[["hash"]].assign(score=1), on="hash", how="left").fillna(0)
    ),
    "fillna, none blank": lambda f: (
        f[IDS].where(f["row"] >= 0).dropna(subset=["shard", "row"]).fillna({"row": 0, "shard": 0})
    ),
    "concat of columns": lambda f: dd.concat([f, f["width"].rename("wide")], axis=1),
    "concat of its own": lambda f: dd.concat([f.drop(columns="row"), f["row"]], axis=1),
    "reset_index": lambda f: f.reset_index(),
    "index and back": lambda f: f.set_index("row").reset_index(),
    "index of another": lambda f: f.set_index("hash").reset_index(),
    "replace of text": lambda f: f.replace({"text": {"x": "y"}}).replace("y", "z"),
    "round": lambda f: f[IDS].round(2).abs(),
    "eval": lambda f: f[IDS].eval("third = row == 3"),
    "merge": lambda f: f.merge(f[["hash"]].assign(score=1), on="hash"),
    "merge by identity": lambda f: f.merge(
        other(f)[["shard", "row"]].assign(score=1), on=["shard", "row"]
    ),
    "suffix": lambda f: f.merge(other(f)[["hash", "row"]], on="hash", suffixes=("", "_right")),
    "groupby first": lambda f: f[IDS].groupby("hash").first(),
    "groupby agg": lambda f: (
        f[IDS].groupby("hash").agg({"row": "first", "shard": "first", "width": "max"})
    ),
}


@pytest.mark.filterwarnings("ignore:Merging dataframes with merge column")
@pytest.mark.parametrize("step", KEEPING)
def test_what_keeps_an_identity_passes(frame, two_shards, step):
    made = KEEPING[step](frame)
    assert made.laion.rows() == ld.Rows(65, 65, 0, 0, 0)
    ld.open_embeddings(two_shards.img_emb, model=two_shards.model, like=made)


#: User functions, which the graph cannot describe.
UNKNOWN = {
    "zero": lambda part: part.assign(row=0),
    "plus": lambda part: part.assign(row=part["row"] + 1),
    "minus": lambda part: part.assign(row=-part["row"] - 1),
    "shard": lambda part: part.assign(shard=part["shard"] + 2),
    "huge": lambda part: part.assign(row=part["row"] + 2**62),
}


@pytest.mark.parametrize("step", UNKNOWN)
def test_an_identity_that_a_function_writes_over_is_seen_in_the_account(frame, tmp_path, step):
    made = frame.map_partitions(UNKNOWN[step], meta=frame._meta)
    with pytest.raises(ProvenanceError, match=r"more than once|no shard has"):
        made.laion.rows()
    with pytest.raises(ProvenanceError, match=r"more than once|no shard has"):
        made.laion.export(tmp_path / "out")


@pytest.mark.parametrize("seed", range(4))
def test_rows_outside_their_shards_equal_a_count_one_by_one(seed):
    draw = np.random.default_rng(seed)
    part = pd.DataFrame({"shard": draw.integers(0, 5, 500), "row": draw.integers(0, 300, 500)})
    part = part.drop_duplicates()
    rows_of = {0: 0, 1: 64, 2: 127, 3: 1000}
    expected = sum(row >= rows_of.get(shard, 0) for shard, row in part.itertuples(index=False))
    assert RowSet.of(part).outside(rows_of) == expected
