"""Manifests and files that this release did not write are kept, read or refused."""

import json
import os
from contextlib import suppress

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from support.one_row_exports import NEW, OLD, by_glob, by_recipe, content, write, write_flat

import laion_dask as ld
from laion_dask.errors import ExportError, ShardError
from laion_dask.exports.transaction import ExportTransaction
from laion_dask.exports.verify import verify
from laion_dask.io.storage.export_manifest import (
    FLAT_MANIFEST,
    KIND,
    MANIFEST,
    NEXT_MANIFEST,
    PARTS,
    UNFINISHED,
)
from laion_dask.io.storage.paths import expand

pytestmark = pytest.mark.usefixtures("no_fsync")


def test_an_export_of_an_earlier_release_is_read_and_replaced(tmp_path):
    write_flat(tmp_path / "out", OLD)
    assert by_recipe(tmp_path / "out") == OLD
    write(tmp_path / "out", NEW)
    assert by_recipe(tmp_path / "out") == by_glob(tmp_path / "out") == NEW
    assert sorted(os.listdir(tmp_path / "out")) == [MANIFEST, PARTS]


def test_the_folder_of_parts_holds_nothing_else(tmp_path):
    write(tmp_path / "out", OLD)
    (tmp_path / "out" / PARTS / "thesis.txt").write_text("mine")
    with pytest.raises(ExportError, match=r"thesis\.txt, which export did not write"):
        write(tmp_path / "out", NEW)
    assert (tmp_path / "out" / PARTS / "thesis.txt").read_text() == "mine"
    with pytest.raises(ExportError, match="not empty"):
        write(tmp_path / "out" / PARTS, NEW)


@pytest.mark.parametrize("own", ["recipe.json", "part-00000-01234567.parquet"])
def test_a_file_beside_an_export_is_not_taken_for_a_part_of_it(tmp_path, own):
    write(tmp_path / "out", OLD)
    (tmp_path / "out" / own).write_text('{"mine": 1}')
    write(tmp_path / "out", NEW)
    assert (tmp_path / "out" / own).read_text() == '{"mine": 1}'
    assert by_recipe(tmp_path / "out") == NEW


@pytest.mark.parametrize("name", [MANIFEST, NEXT_MANIFEST])
def test_a_foreign_file_in_the_place_of_a_recipe_is_kept(tmp_path, name):
    write_flat(tmp_path / "out", OLD)
    (tmp_path / "out" / name).write_text('{"mine": 1}')
    with pytest.raises(ExportError, match="not written by export"):
        write(tmp_path / "out", NEW)
    assert (tmp_path / "out" / name).read_text() == '{"mine": 1}'


def test_a_file_in_the_place_of_the_folder_of_parts_is_kept(tmp_path):
    write_flat(tmp_path / "out", OLD)
    (tmp_path / "out" / PARTS).write_text("mine")
    with pytest.raises(ExportError, match="is a file, but export needs a folder"):
        write(tmp_path / "out", NEW)
    assert (tmp_path / "out" / PARTS).read_text() == "mine"


def test_the_next_recipe_holds_once_its_parts_are_in_place(tmp_path):
    write(tmp_path / "out", OLD)
    write(tmp_path / "new", NEW)
    (tmp_path / "new" / MANIFEST).rename(tmp_path / "out" / NEXT_MANIFEST)
    assert by_recipe(tmp_path / "out") == OLD
    (tmp_path / "out" / PARTS).rename(tmp_path / "gone")
    (tmp_path / "new" / PARTS).rename(tmp_path / "out" / PARTS)
    assert by_recipe(tmp_path / "out") == NEW


def test_a_folder_that_was_cut_off_says_so(store):
    fs = MemoryFileSystem()
    fs.pipe_file(f"/test_transaction/out/{UNFINISHED}", b"")
    fs.pipe_file(f"/test_transaction/out/{PARTS}/part-00000-01234567.parquet", content(1))
    with pytest.raises(ShardError, match="interrupted"):
        by_recipe(store)
    write(store, NEW)
    assert by_recipe(store) == by_glob(store) == NEW


ODD = {
    "deep": "[" * 50_000,
    "deep parts": '{"parts": ' + "[" * 50_000,
    "empty": "",
    "list": "[]",
    "no number": '{"parts": %s}' % ("9" * 5_000),
}
NAMES = ("a\0b", "../src", "/etc/hosts", "..", "", ".hidden", "link", "pipe", "\ud800", "a\\b", 5)


@pytest.mark.parametrize("flat", [True, False])
@pytest.mark.parametrize("odd", [*ODD, *NAMES, "missing"])
def test_an_odd_recipe_is_one_clear_error_and_names_nothing_outside(tmp_path, flat, odd):
    folder = tmp_path / "out"
    parts = folder if flat else folder / PARTS
    parts.mkdir(parents=True)
    (tmp_path / "src").write_bytes(content(1))
    (folder / "src").write_bytes(content(1))
    (parts / "link").symlink_to(tmp_path / "src")
    os.mkfifo(parts / "pipe")
    listed = [{"file": odd}]
    if odd == "missing":
        listed = [{"file": f"part-{i:05d}-01234567.parquet"} for i in range(20_000)]
    text = ODD.get(odd) if isinstance(odd, str) else None
    text = json.dumps({"kind": KIND, "parts": listed}) if text is None else text
    (folder / (FLAT_MANIFEST if flat else MANIFEST)).write_text(text)
    before = sorted(p for p in tmp_path.rglob("*"))
    for attempt in (by_recipe, verify, ld.read_shards):
        with pytest.raises(ShardError) as error:
            attempt(str(folder))
        str(error.value).encode()
    with suppress(ExportError):  # either replaced or refused
        ExportTransaction(str(folder))
    assert sorted(p for p in tmp_path.rglob("*")) == before


def test_verify_reads_every_digest_and_reading_checks_sizes_and_rows(tmp_path, store):
    write(tmp_path / "out", OLD)
    write(store, OLD)
    for where in (str(tmp_path / "out"), store):
        assert (verify(where).parts, verify(where).rows) == (3, 3)
        assert "3 parts, 3 rows" in str(verify(where)) and "\n" not in str(verify(where))
    with pytest.raises(ExportError, match="no manifest"):
        verify(tmp_path)
    part = sorted((tmp_path / "out" / PARTS).iterdir())[1]
    good = part.read_bytes()
    part.write_bytes(good[:20] + bytes([good[20] ^ 1]) + good[21:])
    assert len(by_recipe_unread(tmp_path / "out")) == 3
    with pytest.raises(ShardError, match=f"{part.name} has sha256"):
        verify(tmp_path / "out")
    part.write_bytes(good + b"x")
    with pytest.raises(ShardError, match=f"{part.name} has .* bytes, not"):
        ld.read_shards(tmp_path / "out")
    part.write_bytes(good)
    recipe = tmp_path / "out" / MANIFEST
    recipe.write_text(recipe.read_text().replace('"rows": 1', '"rows": 2', 1))
    with pytest.raises(ShardError, match="has 1 rows, not 2"):
        ld.read_shards(tmp_path / "out" / PARTS)
    part.unlink()
    with pytest.raises(ShardError, match="does not exist"):
        ld.read_shards(tmp_path / "out")


def by_recipe_unread(path) -> list[str]:
    return expand(str(path), (".parquet",))
