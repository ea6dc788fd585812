"""Jensen-Shannon divergence between groups and data sets, against SciPy."""

from __future__ import annotations

import math

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy.spatial.distance import jensenshannon
from support.shards import laion_table, write_shard

import laion_dask as ld
from laion_dask.errors import ColumnError, OptionError


@pytest.fixture
def frame(tmp_path):
    for i, n in enumerate((400, 0, 250, 310)):
        write_shard(tmp_path / "in" / f"part_{i:04d}.parquet", laion_table(n, i), row_group=100)
    frame = ld.read_shards(tmp_path / "in")
    return frame.assign(size=frame["width"] // 200)


def by_scipy(a: pd.Series, b: pd.Series) -> float:
    a, b = a.value_counts(), b.value_counts()
    labels = a.index.union(b.index)
    counts = (part.reindex(labels, fill_value=0).to_numpy(float) for part in (a, b))
    return jensenshannon(*counts, base=2) ** 2


def test_groups_against_scipy(frame):
    table = ld.statistics(frame, ld.divergence("language", by="size"), min_n=0)
    rows = frame[["language", "size"]].compute().dropna()
    sizes = rows["size"].astype(int).astype(str)
    groups = sorted(set(sizes))
    assert len(table) == len(groups) + math.comb(len(groups), 2)
    assert (table["undecided"] == 960 - len(rows)).all()
    for _, row in table.iterrows():
        mine = sizes == row["group"]
        theirs = ~mine if row["group_2"] == "(rest)" else sizes == row["group_2"]
        a, b = (rows["language"][part] for part in (mine, theirs))
        assert row["value"] == pytest.approx(by_scipy(a, b), abs=1e-12)
        assert (row["n_group"], row["n_group_2"], row["n"]) == (len(a), len(b), min(len(a), len(b)))
    moved = ld.statistics(frame.repartition(npartitions=2), ld.divergence("language", by="size"))
    assert moved.equals(ld.statistics(frame, ld.divergence("language", by="size")))


def test_data_sets_against_scipy(frame):
    one, other = frame.laion.where("width > 300"), frame.laion.where("width < 700")
    shares = ld.rates(None, by=["language", "size"])
    table = one.laion.statistics(shares).divergence(other.laion.statistics(shares))
    assert table["axis"].tolist() == ["language", "size"]
    languages = [part["language"].compute().dropna() for part in (one, other)]
    assert table.loc[0, "value"] == pytest.approx(by_scipy(*languages), abs=1e-12)
    assert tuple(table.loc[0, ["n_group", "n_group_2"]]) == tuple(map(len, languages))
    alone = one.laion.statistics(shares)
    assert alone.divergence(alone)["value"].eq(0).all() and "divergence" in table.to_markdown()


def test_expected_is_what_chance_makes_of_one_distribution():
    draw, shares = np.random.default_rng(1), np.array([0.5, 0.2, 0.2, 0.1])
    a, b = draw.multinomial(300, shares, 2000), draw.multinomial(900, shares, 2000)
    mean = np.mean([ld.stats.jensen_shannon(*two) for two in zip(a, b, strict=True)])
    assert mean == pytest.approx(ld.stats.divergence.by_chance(300, 900, 4), rel=0.05)


def test_one_group_no_rows_and_nulls(tmp_path):
    table = pa.table({"URL": ["u"] * 40, "LANGUAGE": ["en"] * 40, "WIDTH": [None, 1] * 20})
    frame = ld.read_shards(write_shard(tmp_path / "part_0.parquet", table))
    result = ld.statistics(frame, ld.divergence("language", by="width"), min_n=0)
    assert result["group"].tolist() == ["1"] and math.isnan(result.loc[0, "value"])  # no other rows
    none = frame.laion.where("width > 9")
    assert not len(ld.statistics(none, ld.divergence("language", by="width"), min_n=0))


def test_what_is_refused(frame):
    with pytest.raises(OptionError, match="both"):
        ld.divergence("language", by="language")
    with pytest.raises(ColumnError, match="langauge"):
        ld.statistics(frame, ld.divergence("langauge", by="size"))
    shares = frame.laion.statistics(ld.rates(None, by="language"))
    for other in (5, pd.DataFrame(), frame.laion.statistics(ld.rates(None, by="size"))):
        with pytest.raises(OptionError, match="Expected"):
            shares.divergence(other)


def test_labels_and_groups_of_the_names_of_no_group_are_compared(tmp_path):
    """The text ``(null)`` is an ordinary label; missing values have none."""
    reserved = ["(null)", "(all)", "(none)", "(others)", "(no term)", "'(null)'", None]
    sides = {"one": [*reserved, "en"] * 40, "two": [*reserved[2:], "de"] * 60}
    frames = []
    for name, languages in sides.items():
        n = len(languages)
        texts = (["a man", "a woman", "a bird"] * n)[: n if name == "one" else n // 2] + ["man"] * n
        table = pa.table({"URL": ["u"] * n, "LANGUAGE": languages, "TEXT": texts[:n]})
        frames.append(ld.read_shards(write_shard(tmp_path / name / "0.parquet", table)))
    mentions = ld.terms("gender")
    one, two = (f.laion.statistics(ld.rates(None, by=["language", mentions])) for f in frames)
    by_axis = one.divergence(two).set_index("axis")
    wanted = by_scipy(*(pd.Series(part).dropna() for part in sides.values()))
    assert by_axis.loc["language", "value"] == pytest.approx(wanted, abs=1e-12)
    assert tuple(by_axis.loc["language", ["n_group", "n_group_2"]]) == (280, 300)
    named = one[one["term"] == "rows"].set_index("axis").loc[mentions.axis]
    n_labelled = named.loc[named["group"] != "(no term)", "k"].sum()
    assert by_axis.loc[mentions.axis, "n_group"] == n_labelled < 320
    both = pd.concat([f.compute().assign(side=i) for i, f in enumerate(frames)])
    halves = dd.from_pandas(both, npartitions=3)
    compared = ld.statistics(halves, ld.divergence("language", by="side"))
    assert compared.loc[0, "value"] == pytest.approx(wanted, abs=1e-12)


def test_pooled_groups_are_not_compared(frame):
    every = frame.laion.statistics(ld.rates(None, by="language"))
    pooled = frame.laion.statistics(ld.rates(None, by="language", top=1))
    for one, other in ((pooled, every), (every, pooled)):
        with pytest.raises(OptionError, match=r"omit top="):
            one.divergence(other)
