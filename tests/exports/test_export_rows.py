"""The rows, the recipe and the bytes of an export, whatever the workers and the partitioning."""

import hashlib
import json
import os
import platform
from importlib.metadata import version
from pathlib import Path

import dask.dataframe as dd
import duckdb
import fsspec
import numpy as np
import pandas as pd
import polars as pl
import pyarrow.parquet as pq
import pytest
from support.carved_exports import BESIDE, SIZES, carve, files_of, kept_by_hand, rows_of
from support.frames import both, on_host
from support.shards import collection, vectors

import laion_dask as ld
from laion_dask.errors import ExportError, SchemaError
from laion_dask.io.storage.export_manifest import KIND
from laion_dask.models import Vectors

pytestmark = both


def unscored_by_hand(source: str) -> int:
    """The number of rows where one condition is unknown and the other is not false."""
    n = 0
    for path in Path(source).glob("*.parquet"):
        for line in pq.read_table(path).to_pylist():
            similarity, width = line["similarity"], line["WIDTH"]
            known = similarity is not None and similarity == similarity
            tests = [similarity > 0.25 if known else None, None if width is None else width >= 300]
            n += None in tests and False not in tests
    return n


def test_rows_equal_a_loop_in_order(source, out):
    exported = carve(source).laion.export(out)
    wanted = kept_by_hand(source)
    assert rows_of(out) == wanted and len(wanted) > 10
    rows = exported.rows
    assert (rows.read, rows.kept, rows.rejected) == (sum(SIZES), len(wanted), 0)
    assert rows.unscored == unscored_by_hand(source) > 0
    assert rows.read == rows.kept + rows.dropped + rows.unscored
    assert "96 read" in str(exported) and "recipe.json" in str(exported)


def test_the_recipe_says_what_is_there(source, out):
    exported = carve(source).laion.where("height > 5").laion.export(out, seed=7)
    recipe = json.loads((out / "_recipe.json").read_text())
    assert recipe == exported.manifest
    shards = sorted(Path(source).glob("*"))
    for number, (entry, path) in enumerate(zip(recipe["inputs"], shards, strict=True)):
        data = path.read_bytes()
        footer = data[-8 - int.from_bytes(data[-8:-4], "little") :]
        assert entry == {
            "shard": number,
            "path": str(path),
            "rows": pq.read_metadata(path).num_rows,
            "bytes": len(data),
            "footer_sha256": hashlib.sha256(footer).hexdigest(),
        }
    assert recipe["seed"] == 7 and recipe["kind"] == KIND
    assert all("similarity > 0.25 and width >= 300" in text for text in recipe["where"])
    assert "height > 5" in " ".join(recipe["where"])
    assert recipe["versions"]["python"] == platform.python_version()
    assert recipe["versions"]["duckdb"] == version("duckdb")
    counts = recipe["counts"]
    others = ("kept", "dropped", "unscored", "rejected")
    assert counts["read"] == sum(counts[name] for name in others)
    assert counts["kept"] == sum(part["rows"] for part in recipe["parts"])
    parts = {part["file"] for part in recipe["parts"]}
    assert set(files_of(out)) == {*BESIDE, *(f"shards/{name}" for name in parts)}
    for part in recipe["parts"]:
        data = (out / "shards" / part["file"]).read_bytes()
        assert part["bytes"] == len(data)
        assert part["sha256"] == hashlib.sha256(data).hexdigest()
        assert part["rows"] == pq.read_metadata(out / "shards" / part["file"]).num_rows > 0
        schema = pq.read_schema(out / "shards" / part["file"])
        assert recipe["schema"] == [{"name": f.name, "type": str(f.type)} for f in schema]


def test_inputs_have_the_numbers_that_rows_carry(source, out):
    frame = ld.read_shards(source)
    last = frame.npartitions - 1
    recipe = frame.partitions[[last, 0]].laion.export(out).manifest
    named = {entry["shard"]: entry["path"] for entry in recipe["inputs"]}
    shards = [str(path) for path in sorted(Path(source).glob("*"))]
    written = ld.read_shards(str(out)).source_shard.compute()
    assert set(written) <= set(named)
    assert named == {number: shards[number] for number in named} and len(named) < len(shards)


def test_the_recipe_names_models_queries_and_embeddings(tmp_path, out):
    from support.heads import linear_head

    c = collection(tmp_path / "c", (20, 10))
    frame = ld.read_shards(c.metadata)
    emb = ld.open_embeddings(c.img_emb, model=c.model)
    head = linear_head(tmp_path, c.model)
    query = Vectors(vectors(1, seed=3)[0], c.model, "a red bird")
    scored = frame.laion.similarity(emb, query, to="q").laion.score(emb, head)
    exported = scored.laion.where("q > 0 and plain > -9").laion.export(out)
    models = exported.manifest["models"]
    assert emb.recipe() in models and head.recipe() in models
    double = np.asarray(query, dtype=float)
    digest = hashlib.sha256((double / np.linalg.norm(double)).astype(np.float32).tobytes())
    entry = {"column": "q", "query": "a red bird", "query_sha256": digest.hexdigest()}
    assert entry in models
    assert exported.manifest["renamed"]["TEXT"] == "text"
    files = {file["path"]: file["bytes"] for file in emb.recipe()["embeddings"]}
    assert files == {path: os.path.getsize(path) for path in files} and len(files) == 2
    again = ld.read_shards(out).compute()
    assert again["q"].dtype == np.float32 and (again["q"] > 0).all()
    assert exported.rows == scored.laion.where("q > 0 and plain > -9").laion.rows()


def test_order_and_bytes_do_not_depend_on_workers(source, tmp_path):
    import dask

    wanted = None
    for i, config in enumerate(
        (
            {"scheduler": "sync"},
            {"scheduler": "threads", "num_workers": 4},
            {"scheduler": "threads"},
        )
    ):
        with dask.config.set(**config):
            carve(source).laion.export(tmp_path / f"out{i}")
        got = files_of(tmp_path / f"out{i}")
        wanted = wanted or got
        assert got == wanted


def test_order_does_not_depend_on_partitioning(source, tmp_path):
    wanted = kept_by_hand(source)
    for i, frame in enumerate(
        (
            carve(source, max_rows_per_partition=1),
            carve(source).repartition(npartitions=1),
            carve(source).repartition(npartitions=7),
        )
    ):
        frame.laion.export(tmp_path / f"out{i}")
        assert rows_of(tmp_path / f"out{i}") == wanted
    carve(source).shuffle("row", npartitions=3).laion.export(tmp_path / "shuffled")
    assert sorted(rows_of(tmp_path / "shuffled")) == wanted
    for part in (tmp_path / "shuffled" / "shards").glob("part-*"):
        table = pq.read_table(part, columns=["shard", "row"]).to_pandas()
        assert table.equals(table.sort_values(["shard", "row"]))


def test_a_carve_of_a_carve_keeps_its_first_source(source, tmp_path):
    carve(source).laion.export(tmp_path / "one")
    second = ld.read_shards(tmp_path / "one").laion.where("width >= 900")
    exported = second.laion.export(tmp_path / "two")
    wanted = second.compute()
    got = ld.read_shards(tmp_path / "two").compute()
    for name in ("source_shard", "source_row", "url", "width"):
        assert got[name].tolist() == wanted[name].tolist()
    assert exported.rows.read == len(kept_by_hand(source))
    assert rows_of(tmp_path / "two") == [
        k for k in kept_by_hand(source) if k in rows_of(tmp_path / "two")
    ]


def test_zero_rows_kept_is_a_readable_empty_export(source, out):
    exported = ld.read_shards(source, where="width > 99999").laion.export(out)
    assert exported.rows.kept == 0 and len(exported.manifest["parts"]) == 1
    got = ld.read_shards(out)
    assert (
        len(got) == 0
        and "source_row" in got.columns
        and on_host(got._meta)["width"].dtype == "Int32"
    )
    assert ld.rows(got).read == 0


def test_in_memory(source):
    fs = fsspec.filesystem("memory")
    try:
        carve(source).laion.export("memory://test_export/out")
        carve(source).laion.export("memory://test_export/out")
        assert rows_of("memory://test_export/out") == kept_by_hand(source)
        names = [n.rpartition("/")[2] for n in fs.find("/test_export")]
        assert all(n in BESIDE or n.startswith("part-") for n in names)
        ld.read_shards("memory://test_export/out").laion.export("memory://test_export/again")
        with pytest.raises(ExportError, match="own input"):
            ld.read_shards("memory://test_export/out").laion.export("memory://test_export/out")
    finally:
        if fs.exists("/test_export"):
            fs.rm("/test_export", recursive=True)


@pytest.mark.only_pandas
def test_columns_of_the_users_own(source, out):
    frame = carve(source)
    days = frame["row"].map(lambda r: f"2024-05-0{r % 9 + 1}", meta=("row", str))
    frame["seen"] = dd.to_datetime(days, format="%Y-%m-%d")
    frame["word"] = frame["text"].map(lambda t: t, meta=("text", object))
    frame["tongue"] = frame["language"].astype("category")
    frame["known"] = frame["language"].astype("category").cat.as_known()
    frame["wide"] = frame["width"] >= 1000
    frame["ratio"] = frame["width"].astype("float64") / frame["height"]
    frame.laion.export(out)
    wanted, got = frame.compute(), ld.read_shards(out).compute()
    for name in ("seen", "word", "tongue", "known", "wide", "ratio"):
        one = [None if pd.isna(v) else v for v in wanted[name]]
        two = [None if pd.isna(v) else v for v in got[name]]
        assert one == two, name
    types = {f["name"]: f["type"] for f in json.loads((out / "_recipe.json").read_text())["schema"]}
    written = pq.read_schema(next(out.glob("shards/part-*")))
    assert types == {f.name: str(f.type) for f in written}


@pytest.mark.only_pandas
def test_columns_that_no_file_can_hold(source, out):
    frame = carve(source)
    mixed = frame.assign(odd=frame["row"].map(lambda r: r if r % 2 else "x", meta=("odd", object)))
    with pytest.raises(SchemaError, match="odd"):
        mixed.laion.export(out)
    lied = frame.assign(odd=frame["row"].map(lambda r: r + 0.5, meta=("odd", "int64")))
    with pytest.raises(SchemaError, match="'odd'"):
        lied.laion.export(out)
    assert not out.exists() or not list(out.iterdir())


def test_a_recipe_can_name_anything(laion_shards, out, tmp_path):
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.parquet")
    os.rename(laion_shards(3)[0], odd)
    ld.read_shards(odd).laion.export(out)
    recipe = json.loads((out / "_recipe.json").read_text())
    assert recipe["inputs"][0]["path"] == odd


def test_the_folder_opens_by_its_name_elsewhere(source, out):
    ld.read_shards(source).laion.where("width > 900").laion.export(out)
    kept = len(ld.read_shards(out))
    polars = pl.scan_parquet(out, hidden_file_prefix="_").collect()
    duck = duckdb.sql(f"from '{out}/**/*.parquet'").fetchall()
    opened = (pd.read_parquet(out), pq.read_table(out), polars, duck, dd.read_parquet(out))
    assert kept and all(len(rows) == kept for rows in opened)
