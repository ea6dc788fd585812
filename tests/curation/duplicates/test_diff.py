"""Two data sets compared: as a loop over dictionaries by key compares them."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.shards import laion_table, write_shard

import laion_dask as ld
from laion_dask.errors import OptionError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("diff")
    draw = np.random.default_rng(0)
    for side, sizes in (("a", (90, 0, 50)), ("b", (120,))):
        (folder / side).mkdir()
        for number, n in enumerate(sizes):
            ids = draw.integers(0, 100, n)
            scores = [[0.5, math.nan, None][x] for x in draw.integers(0, 3, n)]
            columns = {
                "url": pa.array([f"u{i}" if i else None for i in ids], pa.string()),
                "text": [f"t{i % 7}" if i % 2 else f"{side}" for i in ids],
                "punsafe": pa.array(scores, pa.float32()),
                "tags": pa.array([[1]] * n),
                side: [1] * n,
                "mixed": pa.array([1] * n) if side == "a" else ["1"] * n,
            }
            pq.write_table(
                pa.table(columns), folder / side / f"{number}.parquet", row_group_size=30
            )
    return folder


def firsts(rows) -> dict:
    found: dict = {}
    for row in rows.sort_values(["shard", "row"]).to_dict("records"):
        if isinstance(row["url"], str):
            found.setdefault(row["url"], row)
    return found


@pytest.mark.parametrize("size", [30, 1000])
def test_as_a_loop_compares_them(folder, size):
    frames = [ld.read_shards(folder / side, max_rows_per_partition=size) for side in "ab"]
    found = ld.diff(*frames)
    rows = [frame.compute() for frame in frames]
    first = [firsts(one) for one in rows]
    common = set(first[0]) & set(first[1])
    for number, side in enumerate("ab"):
        urls = rows[number]["url"].dropna()
        assert found.rows.loc[side].to_dict() == {
            "rows": len(rows[number]),
            "without_key": rows[number]["url"].isna().sum(),
            "only_here": (~urls.isin(common)).sum(),
            "in_both": urls.isin(common).sum(),
            "keys": len(common),
        }
    changed = found.changed.set_index("column")["changed"].to_dict()
    texts = sum(first[0][key]["text"] != first[1][key]["text"] for key in common)
    scores = [[math.isnan(one[key]["punsafe"]) for key in sorted(common)] for one in first]
    assert changed == {
        "text": texts,
        "punsafe": sum(x != y for x, y in zip(*scores, strict=True)),
    }
    assert found.only_in_a == ("a",) and found.only_in_b == ("b",)
    assert found.not_compared == ("tags", "mixed")
    assert f"text: {texts} changed" in str(found)


def test_a_frame_and_itself_or_nothing(folder):
    frame = ld.read_shards(folder / "a", max_rows_per_partition=30)
    same = ld.diff(frame, frame, by=["url", "text"])
    assert same.rows["only_here"].tolist() == [0, 0] and same.changed["changed"].sum() == 0
    nothing = ld.diff(frame, frame.laion.where("text == 'x'"))
    assert nothing.rows.loc["b"].sum() == 0 and nothing.rows.loc["a", "in_both"] == 0
    assert math.isnan(nothing.changed["share"].iloc[0])


def test_keys_of_different_types_are_refused(folder, no_compute):
    a, b = (ld.read_shards(folder / side) for side in "ab")
    with pytest.raises(OptionError, match="holds integer in a and text in b"):
        ld.diff(a, b, by="mixed")


def test_a_path_is_no_frame(folder):
    with pytest.raises(OptionError, match="a Dask DataFrame"):
        ld.diff(ld.read_shards(folder / "a"), str(folder / "a"))


def test_statistics_side_by_side(tmp_path):
    for number in range(2):
        write_shard(tmp_path / f"{number}.parquet", laion_table(200, number))
    a = ld.read_shards(tmp_path)
    b = a.laion.where("width > 300")
    found = ld.diff(a, b, by="hash").statistics
    for side, frame in (("a", a), ("b", b)):
        table = frame.laion.statistics(*ld.standard_statistics(frame))
        own = found[found[f"n_{side}"].notna()]
        assert len(own) == len(table)
        for name in ("n", "k", "rate", "value", "lo", "hi"):
            expected = table[name].astype("float64").sort_values().to_numpy()
            actual = own[f"{name}_{side}"].sort_values().to_numpy()
            np.testing.assert_array_equal(actual, expected)
    missing = found.query("statistic == 'describe' and term == 'url' and group == 'missing'")
    assert missing[["n_a", "n_b"]].to_numpy().tolist() == [[len(a), len(b)]]
    assert list(found["statistic"].iloc[[0]]) == ["describe"] and len(b) < len(a)
    chosen = ld.diff(a, b, by="hash", statistics=ld.rates("punsafe > 0.5"), min_n=0).statistics
    assert set(chosen["statistic"]) == {"rates"}
    assert ld.diff(a, b, by="hash", statistics=False).statistics.empty
    none = ld.diff(a, a.laion.where("width < 0"), by="hash").statistics
    assert none["n_a"].notna().any()


def test_statistics_of_rows_without_captions(folder, tmp_path):
    table = pa.table({"url": [f"u{n}" for n in range(40)], "width": range(40)})
    pq.write_table(table, tmp_path / "0.parquet")
    frame = ld.read_shards(tmp_path / "0.parquet")
    found = ld.diff(frame, ld.read_shards(folder / "a"))
    assert found.only_in_a == ("width",)
    assert found.statistics["n_a"].notna().any()
    with pytest.raises(OptionError, match="level"):
        ld.diff(frame, frame, level=2)


def test_repeated_keys_and_what_is_not_compared_are_told(tmp_path):
    columns = {"url": ["a", "a", "b", "c"], "tags": [["x"], ["y"], [], None], "n": [1, 2, 3, 4]}
    write_shard(tmp_path / "a" / "0.parquet", pa.table(columns))
    frame = ld.read_shards(str(tmp_path / "a"))
    found = ld.diff(frame, frame.laion.where("n != 4"), by="url", statistics=False)
    assert str(found) == (
        "1 row only in a, 0 only in b; 2 keys in both, of 3 rows of a and 3 of b: the key repeats, "
        "and the first row of each is compared; not compared: tags"
    )
    with pytest.raises(OptionError, match=r"a is 'folder'\. .* ld\.read_shards\(path\)"):
        ld.diff("folder", frame)
