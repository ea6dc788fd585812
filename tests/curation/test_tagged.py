"""Rows chosen by hand: the same rows in a moved, renamed or grown data set, or an error."""

from __future__ import annotations

import json
import re
import shutil

import dask
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import laion_dask as ld
from laion_dask.errors import ColumnError, ExportError, LaionDaskError, OptionError, ProvenanceError

SIZES = {"a/0.parquet": 70, "a/1.parquet": 0, "b/0.parquet": 130, "b/c/2.parquet": 40}


def shard(path, name, n, extra=""):
    texts = [f"{name} {i}{extra}" for i in range(n)]
    path.parent.mkdir(parents=True, exist_ok=True)
    table = {"url": [f"http://{text.replace(' ', '/')}" for text in texts], "text": texts}
    pq.write_table(pa.table({k: pa.array(v, pa.string()) for k, v in table.items()}), path,
                   row_group_size=30)  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    for name, n in SIZES.items():
        shard(tmp_path / "data" / name, name, n)
    return tmp_path / "data"


@pytest.fixture
def chosen(folder):
    """The texts of some rows, with one of each kind of place in a shard."""
    rows = ld.read_shards(folder).compute()
    picked = rows.iloc[[0, 69, 70, 71, 100, 199, 200, 239]]
    assert set(picked["shard"]) == {0, 2, 3}
    return picked


@pytest.fixture
def file(folder, chosen, tmp_path):
    path = tmp_path / "set.json"
    ld.write_tags(path, ld.read_shards(folder), chosen, name="set")
    return path


def texts(frame) -> list[str]:
    return sorted(frame["text"].compute())


@pytest.mark.parametrize("max_rows", [30, 100, 10_000])
def test_the_rows_are_those_of_a_loop(folder, chosen, file, max_rows):
    frame = ld.read_shards(folder, max_rows_per_partition=max_rows)
    kept = frame.laion.tagged(file)
    wanted = set(zip(chosen["shard"], chosen["row"], strict=True))
    looped = [row.text for row in frame.compute().itertuples() if (row.shard, row.row) in wanted]
    assert kept["text"].compute().tolist() == looped == chosen["text"].tolist()
    rows = kept.laion.rows()
    assert (rows.read, rows.kept, rows.dropped, rows.unscored) == (240, 8, 232, 0)
    (clause,) = kept.laion.funnel().to_dict("records")
    assert (clause["before"], clause["dropped"], clause["after"]) == (240, 232, 8)
    assert clause["clause"].startswith("tagged('set', 8 rows, sha256 ")
    assert len(kept.laion.excluded()) == 232


def test_a_moved_renamed_grown_or_reordered_data_set_has_the_same_rows(
    folder, chosen, file, tmp_path
):
    expected = sorted(chosen["text"])
    moved = tmp_path / "elsewhere"
    shutil.copytree(folder, moved)
    assert texts(ld.read_shards(moved).laion.tagged(file)) == expected
    (moved / "b" / "0.parquet").rename(moved / "a" / "renamed.parquet")
    shard(moved / "0.parquet", "new", 50)
    shard(moved / "a" / "00.parquet", "newer", 50)
    grown = ld.read_shards(moved)
    assert texts(grown.laion.tagged(file)) == expected
    located = ld.read_tags(file).located(grown)
    joined = grown.compute().merge(located, on=["shard", "row"])
    assert sorted(joined["text"]) == expected
    for paths in ([folder / "b", folder / "a"], sorted(folder.rglob("*.parquet"), reverse=True)):
        assert texts(ld.read_shards([str(p) for p in paths]).laion.tagged(file)) == expected


def test_a_missing_or_changed_shard_is_named(folder, file):
    with pytest.raises(OptionError, match=r"'b/0.parquet'.*not among the 2 shards"):
        ld.read_shards(folder / "a").laion.tagged(file)
    shard(folder / "b" / "0.parquet", "b/0.parquet", 130, extra="!")
    with pytest.raises(OptionError, match=r"'b/0.parquet'.*has changed since"):
        ld.read_shards(folder).laion.tagged(file)
    (folder / "b" / "0.parquet").unlink()
    with pytest.raises(OptionError, match=r"'b/0.parquet'.*not among the 3 shards"):
        ld.read_shards(folder).laion.tagged(file)


@pytest.mark.filterwarnings("ignore:Rows may count twice")
def test_equal_footers_are_told_apart_by_name(tmp_path):
    """Files without statistics, and with texts of equal lengths, have equal footers."""
    for name in ("x/0", "x/1", "y/0"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        table = pa.table({"text": [f"{name} {i}" for i in range(9)]})
        options = {"write_statistics": False, "compression": "none", "use_dictionary": False}
        pq.write_table(table, tmp_path / f"{name}.parquet", **options)
    frame = ld.read_shards(tmp_path)
    tags = ld.Tags.of(frame, [[0, 3], [1, 4], [2, 5]], "t")
    assert not any(one.shard.is_unique for one in tags.shards)
    assert texts(frame.laion.tagged(tags)) == ["x/0 3", "x/1 4", "y/0 5"]
    reordered = ld.read_shards([str(tmp_path / "y"), str(tmp_path / "x")])
    assert texts(reordered.laion.tagged(tags)) == ["x/0 3", "x/1 4", "y/0 5"]
    only = ld.Tags.of(frame, [[2, 5]], "t")
    with pytest.raises(OptionError, match="its name decides"):  # x/1 has that footer
        ld.read_shards(str(tmp_path / "x/1.parquet")).laion.tagged(only)
    (tmp_path / "z").mkdir()
    shutil.copy(tmp_path / "y/0.parquet", tmp_path / "z/5.parquet")
    with pytest.raises(OptionError, match="its name decides"):
        ld.read_shards([str(tmp_path / "x"), str(tmp_path / "z")]).laion.tagged(only)
    one_folder = ld.Tags.of(ld.read_shards([str(tmp_path / "x")]), [[0, 5]], "t")
    with pytest.raises(OptionError, match="its name decides"):  # x/0 or y/0?
        frame.laion.tagged(one_folder)


def test_filters_before_and_partitions_not_read(folder, chosen, file):
    frame = ld.read_shards(folder, max_rows_per_partition=100)
    after = frame.laion.where("text.startswith('b')").laion.tagged(file)
    wanted = [text for text in chosen["text"] if text.startswith("b")]
    assert texts(after) == sorted(wanted)
    some = frame.partitions[:1].laion.tagged(file)
    rule = some.laion.funnel()["clause"].iloc[0]
    assert f"8 rows, {8 - len(some)} of them not read" in rule
    first = ld.read_shards(folder, where="text.startswith('a')").laion.tagged(file)
    assert first.laion.rows().kept == 2


def test_zero_rows_duplicates_and_every_kind_of_argument(folder, tmp_path):
    frame = ld.read_shards(folder)
    empty = ld.write_tags(tmp_path / "none.json", frame, [], name="none")
    assert (len(empty), empty.shards) == (0, ())
    kept = frame.laion.tagged(tmp_path / "none.json")
    assert len(kept) == 0 and kept.laion.rows().dropped == 240
    pairs = [[2, 5], [0, 1], [2, 5], [0, 1]]
    expected = ld.Tags.of(frame, pairs, "t")
    assert len(expected) == 2
    columns = pd.DataFrame(pairs, columns=["shard", "row"])
    for rows in (np.array(pairs, np.uint32), columns, columns.convert_dtypes(), dict(columns),
                 columns.assign(caption="x")[["row", "caption", "shard"]]):  # fmt: skip
        assert ld.Tags.of(frame, rows, "t").sha256 == expected.sha256
    assert repr(expected) == "Tags('t', 2 rows of 2 shards)"


@pytest.mark.parametrize(
    ("rows", "error", "message"),
    [
        ([[9, 0]], OptionError, "shard 9"),
        ([[0, 70]], OptionError, "has 70 rows"),
        ([[0, -1]], OptionError, "row -1"),
        ([[1, 0]], OptionError, "has 0 rows"),
        ([[0.5, 1]], OptionError, "float64"),
        ([[0, None]], OptionError, "without a row"),
        ([[True, False]], OptionError, "bool"),
        ([0, 1], OptionError, "pairs such as"),
        ([[0, 1], [2]], OptionError, "pairs such as"),
        ("0,1", OptionError, "pairs such as"),
        (pd.DataFrame({"shard": [0]}), ColumnError, "'row'"),
        (pd.DataFrame({"shard": ["0"], "row": [1]}), OptionError, "Expected integers"),
        (np.array([[0, 2**63]], np.uint64), OptionError, "9223372036854775808"),
    ],
)
def test_rows_that_are_not_of_the_frame(folder, tmp_path, rows, error, message):
    with pytest.raises(error, match=message):
        ld.write_tags(tmp_path / "t.json", ld.read_shards(folder), rows, name="t")
    assert not (tmp_path / "t.json").exists()


def test_names_and_places(folder, tmp_path):
    frame = ld.read_shards(folder)
    name = "</script><b>\u202e 'é' \U0001f600"
    written = ld.write_tags(tmp_path / "t.json", frame, [[0, 1]], name=name)
    read = ld.read_tags(tmp_path / "t.json")
    assert read.name == name and read.sha256 == written.sha256
    (tmp_path / "t.json").read_text().encode("ascii")
    ld.write_tags(tmp_path / "t.json", frame, [[0, 2]], name="again")  # replaces its own file
    for bad in ("", "  ", "x" * 201, None, 3):
        with pytest.raises(OptionError, match="name"):
            ld.write_tags(tmp_path / "u.json", frame, [[0, 1]], name=bad)
    (tmp_path / "other.json").write_text('{"mine": 1}')
    with pytest.raises(OptionError, match="not a file of tags"):
        ld.write_tags(tmp_path / "other.json", frame, [[0, 1]], name="t")
    with pytest.raises(ExportError):
        ld.write_tags(tmp_path / "no" / "such" / "t.json", frame, [[0, 1]], name="t")
    with pytest.raises(ProvenanceError):
        ld.write_tags(tmp_path / "u.json", frame[["text"]], [[0, 1]], name="t")


def test_a_file_without_digests_of_bytes_is_read_with_a_warning(folder, file, chosen):
    head = file.read_text()
    old = re.sub(r'\s*"content_\w+": [^,\n]+,', "", head)
    assert "content_" in head and "content_" not in old
    file.write_text(old)
    with pytest.warns(UserWarning, match="no digests of its shards' bytes"):
        kept = ld.read_shards(folder).laion.tagged(file)
    assert texts(kept) == sorted(chosen["text"])


def test_a_line_a_row(file):
    lines = file.read_text().splitlines()
    numbers = [int(line.strip(" ,")) for line in lines if line.strip(" ,").isdigit()]
    assert len(numbers) == 8 and file.read_bytes().endswith(b"}\n")
    assert "http" not in file.read_text()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(format="x"), "not a file of tags"),
        (lambda c: c.update(version=2), "version 2"),
        (lambda c: c.update(name=""), "name"),
        (lambda c: c.pop("shards"), "list of shards"),
        (lambda c: c["shards"].append(3), "in shard 3"),
        (lambda c: c["shards"][0].update(shard=7), "name of a shard"),
        (lambda c: c["shards"][0].update(footer_sha256="ab"), "sha256"),
        (lambda c: c["shards"][0].update(rows_in_shard=True), "number of rows"),
        (lambda c: c["shards"][0]["rows"].append("5"), "row numbers"),
        (lambda c: c["shards"][0]["rows"].append(70), "row 70"),
        (lambda c: c["shards"].append(c["shards"][0]), "twice"),
    ],
)
def test_files_that_are_wrong(folder, file, change, message):
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))
    with pytest.raises(OptionError, match=message):
        ld.read_shards(folder).laion.tagged(file)


@pytest.mark.parametrize("data", [b"", b"\xff\xfe", b"[" * 100_000, b"[1]", b"{}", b"null"])
def test_bytes_that_are_no_tags(folder, tmp_path, data):
    (tmp_path / "t.json").write_bytes(data)
    with pytest.raises(OptionError, match=r"t\.json"):
        ld.read_shards(folder).laion.tagged(tmp_path / "t.json")
    with pytest.raises(OptionError, match="cannot be read"):
        ld.read_tags(tmp_path / "absent.json")
    with pytest.raises(OptionError, match="cannot be read"):
        ld.read_tags(tmp_path)


def test_a_line_that_a_person_added_or_repeated(folder, file):
    content = json.loads(file.read_text())
    content["shards"][0]["rows"] = [5, 5, 0, 69]
    file.write_text(json.dumps(content))
    kept = ld.read_shards(folder).laion.tagged(file)
    assert [t for t in texts(kept) if t.startswith("a")] == ["a/0.parquet 0", "a/0.parquet 5",
                                                            "a/0.parquet 69"]  # fmt: skip


def test_a_recipe_records_the_list_and_replay_notices_another(folder, chosen, file, tmp_path):
    recipe = ld.Recipe("by hand").tagged(str(file)).where("text.startswith('b')")
    out = tmp_path / "out"
    carve = recipe.run(folder, out)
    wanted = sorted(text for text in chosen["text"] if text.startswith("b"))
    assert sorted(pq.read_table(out / "shards")["text"].to_pylist()) == wanted
    assert carve.rows.kept == len(wanted)
    manifest = json.loads((out / "_recipe.json").read_text())
    (listed,) = manifest["lists"]
    assert listed == {"list": str(file), "sha256": ld.read_tags(file).sha256, "values": 8}
    assert ld.replay(out).rows == carve.rows
    content = file.read_text()
    file.write_text(content.replace("\n        69\n", "\n        68\n"))
    with pytest.raises(LaionDaskError, match=r"set\.json differs in sha256"):
        ld.replay(out)


def test_a_plan_takes_the_set_and_a_recipe_that_lacks_its_file_says_so(folder, file, tmp_path):
    frame = ld.read_shards(folder)
    assert "tagged" in str(ld.plan(frame, [("tagged", file), ("tagged", ld.read_tags(file))]))
    recipe = ld.Recipe("by hand").tagged(str(file))
    assert "tagged" in str(recipe.plan(frame))
    with pytest.raises(LaionDaskError, match=r"absent\.json"):
        ld.Recipe("by hand").tagged(str(tmp_path / "absent.json")).run(frame, tmp_path / "out")


def test_a_million_rows_under_any_scheduler(tmp_path):
    n = 1_200_000
    pq.write_table(pa.table({"n": np.arange(n)}), tmp_path / "0.parquet")
    frame = ld.read_shards(tmp_path / "0.parquet", max_rows_per_partition=250_000)
    rows = pd.DataFrame({"shard": 0, "row": np.arange(0, n, dtype=np.int64)[:1_000_000][::-1]})
    tags = ld.write_tags(tmp_path / "t.json", frame, rows, name="many")
    assert (len(tags), len(ld.read_tags(tmp_path / "t.json"))) == (1_000_000, 1_000_000)
    with dask.config.set(scheduler="synchronous"):
        assert int(frame.laion.tagged(tags)["n"].sum().compute()) == 999_999 * 1_000_000 // 2


def test_a_shard_written_again_with_an_equal_footer_is_an_error(tmp_path):
    path, texts = tmp_path / "0.parquet", [f"caption {i:04d}" for i in range(200)]

    def write(values):
        pq.write_table(pa.table({"text": values}), path, compression="none")
        return path.read_bytes()

    before = write(texts)
    written = ld.write_tags(tmp_path / "t.json", ld.read_shards(path), [[0, 3]], name="t")
    (tmp_path / "moved").mkdir()
    shutil.copy(path, tmp_path / "moved")
    assert ld.read_shards(tmp_path / "moved").laion.tagged(written)["text"].compute().tolist() == [
        "caption 0003"
    ]
    swapped = [*texts[:3], texts[11], *texts[4:11], texts[3], *texts[12:]]
    after = write(swapped)
    size = int.from_bytes(before[-8:-4], "little") + 8
    assert before[-size:] == after[-size:]
    for rows in (written, tmp_path / "t.json"):
        with pytest.raises(OptionError, match=r"'0.parquet'.*its footer is equal"):
            ld.read_shards(path).laion.tagged(rows)
