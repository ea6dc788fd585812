"""Parts have a sensible size, and bytes that depend on the rows alone."""

import itertools
import json
from pathlib import Path

import dask
import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from distributed import Client
from support.carved_exports import BESIDE, carve, files_of, kept_by_hand, rows_of
from support.frames import both
from support.shards import write_shard

import laion_dask as ld
from laion_dask.errors import OptionError
from laion_dask.exports import parts
from laion_dask.exports.formats.parquet import ParquetWriter

N = 3_000


def rich_table() -> pa.Table:
    """Rows with empty and long texts, nulls, dictionaries, and nested columns."""
    draw = np.random.default_rng(0)
    number = draw.integers(0, 1_000, N)
    texts = ["", "x" * 400, None, "a bird", "山の写真"]
    tags = pa.array(["a", "b", "", "long tag"] * 3).dictionary_encode().take(pa.array(number % 12))
    offsets = pa.array(np.concatenate([[0], np.cumsum(draw.multinomial(N, [1 / N] * N))]))
    lists = pa.ListArray.from_arrays(offsets.cast(pa.int32()), tags, mask=pa.array(number % 9 == 0))
    return pa.table(
        {
            "URL": [f"https://example.com/{i}/{'y' * int(n)}" for i, n in enumerate(number)],
            "TEXT": [texts[n % len(texts)] for n in number],
            "similarity": pa.array(draw.random(N)),
            "WIDTH": pa.array([None if n % 7 == 0 else int(n) for n in number], pa.int32()),
            "LANGUAGE": pa.array([("en", "de", None)[n % 3] for n in number]).dictionary_encode(),
            "tags": lists,
            "boxes": [[{"x": int(n), "label": str(i)}] * (n % 3) for i, n in enumerate(number)],
            "nothing": pa.nulls(N),
            "known": pa.array([bool(n % 2) for n in number]),
        }
    )


@pytest.fixture(scope="module")
def rich(tmp_path_factory):
    """A folder with the rows in three shards of unequal size, one of them empty."""
    folder, table = tmp_path_factory.mktemp("rich"), rich_table()
    for i, (start, stop) in enumerate([(0, 1_900), (1_900, 1_900), (1_900, N)]):
        write_shard(folder / f"metadata_{i}.parquet", table.slice(start, stop - start), 150)
    return str(folder)


def listed(manifest: dict) -> tuple:
    """What must not depend on partitions, workers, or where the export is."""
    return manifest["rows_per_part"], manifest["schema"], manifest["parts"]


def unnamed(manifest: dict) -> tuple:
    """`listed` without the names of parts, which contain an attempt's number in a store."""
    rows_per_part, schema, parts = listed(manifest)
    return rows_per_part, schema, [{**part, "file": None} for part in parts]


@pytest.mark.parametrize("rows_per_part", [None, 700, N - 1, N, 10**12])
def test_bytes_do_not_depend_on_partitions(rich, tmp_path, rows_per_part):
    expected = None
    frames = [ld.read_shards(rich, max_rows_per_partition=n) for n in (150, 400, 1_100, 10**6)]
    frames += [frames[0].repartition(npartitions=n) for n in (1, 5)]
    for i, frame in enumerate(frames):
        exported = frame.laion.export(tmp_path / str(i), rows_per_part=rows_per_part)
        got = listed(exported.manifest), files_of(tmp_path / str(i) / "shards")
        expected = expected or got
        assert got == expected


def test_bytes_do_not_depend_on_workers(rich, tmp_path, worker_processes):
    frame = ld.read_shards(rich, where="similarity > 0.2", max_rows_per_partition=400)
    expected = listed(frame.laion.export(tmp_path / "threads", rows_per_part=500).manifest)
    assert len(expected[2]) > 3
    address = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}
    for number, make in enumerate(
        [lambda: Client(worker_processes), lambda: Client(n_workers=1, **address)]
    ):
        with make():
            exported = frame.laion.export(tmp_path / str(number), rows_per_part=500)
        assert listed(exported.manifest) == expected


def test_rows_do_not_depend_on_how_shards_were_cut(tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "_MAX_BYTES", 200_000)
    table, expected = rich_table(), None
    for n_files in (1, 7, 50):
        edges = np.linspace(0, N, n_files + 1).astype(int)
        for i, (start, stop) in enumerate(itertools.pairwise(edges)):
            path = tmp_path / f"in{n_files}" / f"{i:02d}.parquet"
            write_shard(path, table.slice(start, stop - start), 500)
        out = tmp_path / f"out{n_files}"
        manifest = ld.read_shards(tmp_path / f"in{n_files}").laion.export(out).manifest
        written = [pq.read_table(out / "shards" / part["file"]) for part in manifest["parts"]]
        got = [part.drop_columns(["shard", "row"]) for part in written]
        expected = expected or got
        assert len(got) > 3 and got == expected


@both
@pytest.mark.parametrize("rows_per_part", [1, 7, 10**9])
def test_each_part_has_as_many_rows_as_requested(source, out, rows_per_part):
    wanted = kept_by_hand(source)
    exported = carve(source).laion.export(out, rows_per_part=np.int64(rows_per_part))
    sizes = [part["rows"] for part in exported.manifest["parts"]]
    full, last = divmod(len(wanted), rows_per_part)
    assert sizes == [rows_per_part] * full + [last] * (last > 0)
    assert exported.manifest["rows_per_part"] == rows_per_part
    assert type(exported.manifest["rows_per_part"]) is int
    assert rows_of(out) == wanted and ld.verify(out).parts == len(sizes)


@pytest.mark.parametrize("rows_per_part", [0, -1, 1.0, True, "7"])
def test_a_size_that_is_none(source, out, rows_per_part):
    with pytest.raises(OptionError, match=r"rows_per_part is .*at least 1"):
        carve(source).laion.export(out, rows_per_part=rows_per_part)
    assert not out.exists()


@both
def test_parts_are_equal_by_default(source, tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "_MAX_ROWS", 20)
    frame = ld.read_shards(source)
    exported = frame.laion.export(tmp_path / "rows")
    assert [part["rows"] for part in exported.manifest["parts"]] == [20, 20, 20, 20, 16]
    monkeypatch.setattr(parts, "_MAX_ROWS", 90)
    exported = frame.laion.export(tmp_path / "equal")
    assert [part["rows"] for part in exported.manifest["parts"]] == [48, 48]
    monkeypatch.setattr(parts, "_MAX_BYTES", 1)
    exported = frame.laion.export(tmp_path / "bytes")
    assert [part["rows"] for part in exported.manifest["parts"]] == [1] * 96
    again = frame.laion.export(tmp_path / "again", rows_per_part=exported.manifest["rows_per_part"])
    assert listed(again.manifest) == listed(exported.manifest)


def test_long_texts_make_parts_of_fewer_rows(write, tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "_MAX_BYTES", 3_000_000)
    texts = ["", "a" * 1_000_000, "", "b" * 1_000_000, "c" * 1_000_000, "", None, "d" * 1_000_000]
    path = write("a.parquet", {"url": [str(i) for i in range(8)], "caption": texts})
    expected = None
    for n in (1, 3, 8):
        frame = ld.read_shards(path).repartition(npartitions=n)
        manifest = frame.laion.export(tmp_path / str(n)).manifest
        expected = expected or listed(manifest)
        assert listed(manifest) == expected
    assert [part["rows"] for part in expected[2]] == [4, 4]
    assert ld.read_shards(tmp_path / "3")["text"].compute().fillna("").tolist() == [
        text or "" for text in texts
    ]


def test_zero_rows_are_one_part_of_the_same_bytes(rich, tmp_path):
    expected = None
    for n in (150, 10**6):
        frame = ld.read_shards(rich, where="similarity > 9", max_rows_per_partition=n)
        manifest = frame.laion.export(tmp_path / str(n)).manifest
        expected = expected or listed(manifest)
        assert listed(manifest) == expected and [p["rows"] for p in manifest["parts"]] == [0]


@both
def test_a_shuffled_frame_is_cut_by_rows_and_sorted_within_parts(source, tmp_path):
    shuffled = carve(source).shuffle("row", npartitions=5)
    expected = None
    for i, config in enumerate([{"scheduler": "sync"}, {"scheduler": "threads"}]):
        with dask.config.set(**config):
            manifest = shuffled.laion.export(tmp_path / str(i), rows_per_part=9).manifest
        expected = expected or listed(manifest)
        assert listed(manifest) == expected
    assert {part["rows"] for part in expected[2][:-1]} == {9}
    assert sorted(rows_of(tmp_path / "0")) == kept_by_hand(source)
    for part in (tmp_path / "0" / "shards").glob("part-*"):
        table = pq.read_table(part, columns=["shard", "row"]).to_pandas()
        assert table.equals(table.sort_values(["shard", "row"], ignore_index=True))


@both
def test_a_store_holds_the_same_parts(source, out):
    fs = fsspec.filesystem("memory")
    try:
        expected = unnamed(carve(source).laion.export(out, rows_per_part=7).manifest)
        exported = carve(source).laion.export("memory://test_parts/out", rows_per_part=7)
        assert unnamed(exported.manifest) == expected
        verified = ld.verify("memory://test_parts/out")
        assert verified.rows == len(kept_by_hand(source)) and verified.bytes > 0
    finally:
        if fs.exists("/test_parts"):
            fs.rm("/test_parts", recursive=True)


def test_fragments_are_removed_once_they_are_not_needed(rich, out, monkeypatch):
    seen, write = [], ParquetWriter.write

    def watched(self, part):
        seen.append(len(list(Path(self.staging.url).glob("fragment-*"))))
        return write(self, part)

    monkeypatch.setattr(ParquetWriter, "write", watched)
    with dask.config.set(scheduler="sync"):
        frame = ld.read_shards(rich, max_rows_per_partition=150)
        frame.laion.export(out, rows_per_part=300)
    assert seen[0] == frame.npartitions - 1  # all but the one without rows
    assert seen == sorted(seen, reverse=True) and seen[-1] <= 3
    names = {path.name for path in out.rglob("*")}
    assert names == {*BESIDE, "shards", *(p.name for p in (out / "shards").iterdir())}


def test_the_manifest_says_how_to_write_the_same_parts(rich, out):
    ld.read_shards(rich).laion.export(out)
    first = json.loads((out / "_recipe.json").read_text())
    assert first["rows_per_part"] == N
    ld.read_shards(rich).laion.export(out, rows_per_part=first["rows_per_part"])
    assert json.loads((out / "_recipe.json").read_text()) == first


@pytest.mark.only_pandas
def test_columns_of_the_user_have_one_type(source, tmp_path):
    """Partitions may hold no value of a column, or other categories."""
    expected = None
    for n in (3, 30, 10**6):
        frame = ld.read_shards(source, max_rows_per_partition=n)
        some = frame.map_partitions(_with_own_columns, meta=_with_own_columns(frame._meta))
        manifest = some.laion.export(tmp_path / str(n), rows_per_part=25).manifest
        types = {entry["name"]: entry["type"] for entry in manifest["schema"]}
        assert types["none"] == "null" and types["mixed"] == "double" and "string" in types["some"]
        assert "string" in types["kind"]
        for part in manifest["parts"]:
            schema = pq.read_schema(tmp_path / str(n) / "shards" / part["file"])
            assert {field.name: str(field.type) for field in schema} == types
        expected = expected or manifest["parts"]
        assert manifest["parts"] == expected


def _with_own_columns(part: pd.DataFrame) -> pd.DataFrame:
    row = part["row"]
    word, none = [f"w{r}" if r > 20 else None for r in row], [None] * len(part)
    number = [r + 0.5 if r > 30 else int(r) for r in row]
    return part.assign(
        some=pd.Series(word, part.index, dtype=object),
        none=pd.Series(none, part.index, dtype=object),
        mixed=pd.Series(number, part.index, dtype=object),
        kind=part["language"].astype("category"),
    )
