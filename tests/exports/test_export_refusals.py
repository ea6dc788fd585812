"""What an export refuses: folders with other files, its own inputs, ambiguous columns and rows."""

import os

import dask.dataframe as dd
import pandas as pd
import pyarrow.parquet as pq
import pytest
from support.carved_exports import SIZES, carve, files_of
from support.frames import both

import laion_dask as ld
from laion_dask.errors import (
    DiscoveryWarning,
    ExportError,
    OptionError,
    ProvenanceError,
    SchemaError,
    ShardError,
)
from laion_dask.io.storage.export_manifest import UNFINISHED

pytestmark = both


def test_an_empty_path_is_not_the_current_folder(source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path / "in")
    with pytest.raises(ExportError, match="path is empty"):
        ld.read_shards(source).laion.export("")


def test_foreign_folders_are_refused(source, tmp_path):
    frame = carve(source)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    for name in ("recipe.json", "thesis.txt"):
        with pytest.raises(ExportError, match="not empty and was not written by export"):
            frame.laion.export(tmp_path / "mine")
        (tmp_path / "mine" / "recipe.json").write_text('{"kind": "cake", "parts": []}')
        assert (tmp_path / "mine" / "thesis.txt").read_text() == "x", name
    for text in ("[]", "null", "no json", '{"kind": "laion_dask export, version 1"}'):
        (tmp_path / "mine" / "recipe.json").write_text(text)
        with pytest.raises(ExportError, match="not written by export"):
            frame.laion.export(tmp_path / "mine")
    with pytest.raises(ExportError, match="is a file"):
        frame.laion.export(tmp_path / "mine" / "thesis.txt")
    with pytest.raises(ExportError, match="not empty"):
        frame.laion.export(source)
    (tmp_path / "empty").mkdir()
    frame.laion.export(tmp_path / "empty")
    with pytest.raises(OptionError, match="parquet"):
        frame.laion.export(tmp_path / "x", format="tsv")
    with pytest.raises(ProvenanceError, match="does not lead back"):
        ld.export(dd.from_pandas(pd.DataFrame({"a": [1]})), tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_a_foreign_file_in_an_export_is_kept(source, out):
    carve(source).laion.export(out)
    (out / "notes.txt").write_text("mine")
    carve(source).laion.export(out)
    assert (out / "notes.txt").read_text() == "mine"


def test_a_folder_that_reads_as_a_chain_of_file_systems(source, tmp_path):
    (tmp_path / "a").write_text("the user's")
    ld.read_shards(source).laion.export(tmp_path / "a::b" / "out")
    assert (tmp_path / "a").read_text() == "the user's"
    again = ld.read_shards(tmp_path / "a::b" / "out")
    assert len(again) == sum(SIZES) and ld.verify(tmp_path / "a::b" / "out")


def test_own_inputs_are_refused(source, out, tmp_path, monkeypatch):
    carve(source).laion.export(out)
    before = files_of(out)
    frame = ld.read_shards(out).laion.where("width > 900")
    (tmp_path / "link").symlink_to(out)
    monkeypatch.chdir(tmp_path)
    for path in (out, f"{out}/", "out", tmp_path / "in" / ".." / "out", tmp_path / "link"):
        with pytest.raises(ExportError, match="own input"):
            frame.laion.export(path)
    through_link = ld.read_shards(tmp_path / "link").laion.where("width > 900")
    with pytest.raises(ExportError, match="own input"):
        through_link.laion.export(out)
    assert files_of(out) == before


def test_multiplied_rows_are_refused(source, out):
    frame = carve(source)
    with pytest.raises(ProvenanceError, match="end to end"):
        dd.concat([frame, frame, frame]).laion.export(out)
    assert not out.exists() or not list(out.iterdir())


def test_shards_with_an_export_among_them_are_not_read_as_one(laion_shards, tmp_path):
    paths = laion_shards(5, 5)
    frame, folder = ld.read_shards(paths), os.path.dirname(paths[0])
    frame.laion.export(f"{folder}/subset")
    with pytest.raises(OptionError, match="is an export"):
        ld.read_shards(folder)
    assert len(ld.read_shards(f"{folder}/*.parquet")) == 10
    frame.laion.export(tmp_path / "two" / "a", rows_per_part=5)
    frame.laion.export(tmp_path / "two" / "b", rows_per_part=5)
    part = next((tmp_path / "two" / "a").glob("shards/*.parquet"))
    (part.parent / "stale.parquet").write_bytes(part.read_bytes())
    with pytest.warns(DiscoveryWarning, match="2 files .* may be a copy"):
        assert len(ld.read_shards(tmp_path / "two")) == 20  # exports only, read by their recipes
    (tmp_path / "two" / "b" / "_recipe.json").rename(tmp_path / "two" / "b" / UNFINISHED)
    with pytest.raises(ShardError, match="interrupted"):
        ld.read_shards(tmp_path / "two")


def test_a_shard_that_was_written_anew_is_not_read_as_the_old_one(laion_shards, out):
    path = laion_shards(10)[0]
    frame = ld.read_shards(path)
    pq.write_table(pq.read_table(path)[:7], path)
    for read in (
        lambda: frame.compute(),
        lambda: frame.laion.rows(),
        lambda: frame.laion.export(out),
    ):
        with pytest.raises(ShardError, match="rewritten after it was opened"):
            read()
    assert not out.exists()


def test_columns_that_differ_in_case_only_are_refused_at_once(write, out):
    path = write("a.parquet", {"url": ["u"], "caption": ["c"], "TEXT": ["t"]})
    with pytest.raises(SchemaError, match="'text' and 'TEXT' differ only in case"):
        ld.read_shards(path).laion.export(out)
