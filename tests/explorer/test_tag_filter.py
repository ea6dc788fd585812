"""Tagged rows as a filter: the same rows of sample, frame, Python text and recipe."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import laion_dask as ld
from laion_dask.errors import ExportError, OptionError
from laion_dask.explorer.as_code import as_python, as_recipe, selected_frame
from laion_dask.explorer.exploration import Exploration
from laion_dask.explorer.filters import NumberRange
from laion_dask.explorer.sample import draw_sample
from laion_dask.explorer.tag_filter import MAX_SETS, TaggedRows, TagSets, in_set


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "data").mkdir()
    for number, n in enumerate((400, 0, 300, 1)):
        table = {"url": [f"http://{number}.de/{i}" for i in range(n)]}
        table["similarity"] = pa.array(np.linspace(0, 1, n), pa.float32())
        pq.write_table(pa.table(table), tmp_path / "data" / f"{number}.parquet")
    return tmp_path / "data"


@pytest.fixture
def exploration(folder):
    return Exploration(draw_sample(ld.read_shards(folder), 250, seed=3))


def pairs(frame) -> list[tuple[int, int]]:
    rows = frame[["shard", "row"]].compute()
    return sorted(zip(rows["shard"].tolist(), rows["row"].tolist(), strict=True))


def test_the_same_rows_everywhere(exploration, folder, tmp_path):
    frame, sample, selection = exploration.frame, exploration.sample, exploration.selection
    rows = pd.DataFrame({"shard": [0, 0, 2, 3] + [2] * 250, "row": [0, 399, 5, 0, *range(250)]})
    listed = set(zip(rows["shard"], rows["row"], strict=True))
    tags = ld.Tags.of(frame, rows, "some 'rows'")
    looped = [
        (s, r) in listed for s, r in zip(sample.shard.tolist(), sample.row.tolist(), strict=True)
    ]
    assert in_set(sample, tags).tolist() == looped and 40 < sum(looped) < 150
    selection.set("tags:a", TaggedRows(tags))
    assert selection.n == sum(looped)
    selection.set("similarity", NumberRange("similarity", 0.25, None))
    table = frame.compute()
    wanted = [
        (one.shard, one.row)
        for one in table.itertuples()
        if (one.shard, one.row) in listed and one.similarity >= 0.25
    ]
    assert pairs(selected_frame(exploration)) == sorted(wanted)
    for _ in range(2):  # the second time, the file is there
        namespace = {"frame": frame}
        with contextlib.redirect_stdout(io.StringIO()):
            exec(as_python(exploration), namespace)
        assert pairs(namespace["selected"]) == sorted(wanted)
    out = tmp_path / "out"
    (tmp_path / "r.yaml").write_text(as_recipe(exploration))
    carve = ld.recipe(tmp_path / "r.yaml").run(folder, out)
    assert carve.rows.kept == len(wanted)
    assert ld.replay(out).rows == carve.rows


def test_a_file_of_its_own_is_named_while_it_is_the_same(exploration, tmp_path):
    sets = TagSets(exploration.frame)
    sets.add("mine", [0, 2], [1, 1])
    saved = sets.save("mine", str(tmp_path / "mine.json"))
    assert TaggedRows(saved).file(exploration.frame) == tmp_path / "mine.json"
    sets.add("mine", [0], [7])
    sets.save("mine", str(tmp_path / "mine.json"))
    kept = TaggedRows(saved).file(exploration.frame)
    assert kept.parent == tmp_path / "cache" / "laion_dask" / "tags"
    assert ld.read_tags(kept).located(exploration.frame)["row"].tolist() == [1, 1]


def test_a_set_without_a_place_for_its_file_says_so(exploration, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    exploration.selection.set("tags:a", TaggedRows(ld.Tags.of(exploration.frame, [[0, 1]], "a")))
    for write in (as_python, as_recipe):
        with pytest.raises(ExportError, match=r"'a' cannot be kept.*XDG_CACHE_HOME"):
            write(exploration)


def test_filters_of_equal_content_are_equal(exploration):
    tags = [ld.Tags.of(exploration.frame, [[0, n]], "a") for n in (1, 1, 2)]
    one, same, other = map(TaggedRows, tags)
    assert one == same and hash(one) == hash(same) and one != other
    assert one.label == "tagged a (1 row)"


def test_sets_grow_and_are_refused(exploration, tmp_path):
    sets = TagSets(exploration.frame)
    assert len(sets.add("a", [0, 0], [3, 3])) == 1
    assert len(sets.add("a", [0, 2], [3, 9])) == 2
    with pytest.raises(OptionError, match="shard 9"):
        sets.add("a", [9], [0])
    assert len(sets.by_name["a"]) == 2
    sets.save("a", str(tmp_path / "a.json"))
    with pytest.raises(OptionError, match="already"):
        sets.open(str(tmp_path / "a.json"))
    sets.remove("a")
    assert len(sets.open(str(tmp_path / "a.json"))) == 2
    with pytest.raises(OptionError, match="no set 'b'"):
        sets.save("b", str(tmp_path / "b.json"))
    for number in range(MAX_SETS - 1):
        sets.add(f"n{number}", [0], [0])
    with pytest.raises(OptionError, match="Remove one"):
        sets.add("one more", [0], [0])


def test_a_set_of_other_shards_is_refused_and_nothing_changes(exploration, tmp_path):
    pq.write_table(pa.table({"url": ["a", "b"]}), tmp_path / "other.parquet")
    tags = ld.Tags.of(ld.read_shards(tmp_path / "other.parquet"), [[0, 1]], "other")
    with pytest.raises(OptionError, match=r"other\.parquet"):
        exploration.selection.set("tags:other", TaggedRows(tags))
    assert exploration.selection.n == 250
