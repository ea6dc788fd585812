"""Readers ask for the files that the manifest names, and never list the folder of parts."""

import os
import shutil

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from support.carved_exports import carve
from support.one_row_exports import NEW, OLD, by_recipe, content, write

import laion_dask as ld
from laion_dask.errors import ShardError
from laion_dask.io.storage import export_manifest
from laion_dask.io.storage.export_manifest import (
    MANIFEST,
    NEXT_MANIFEST,
    NEXT_PARTS,
    PARTS,
    current_manifest,
    folder_mark,
)

pytestmark = pytest.mark.usefixtures("no_fsync")


@pytest.fixture(params=["disk", "store"])
def where(request, tmp_path):
    return str(tmp_path / "out") if request.param == "disk" else request.getfixturevalue("store")


def refusing(list_):
    def call(*args, **options):
        paths = [str(one).rstrip("/") for one in args if isinstance(one, (str, os.PathLike))]
        assert not any(path.endswith(PARTS) for path in paths), f"{paths} were listed"
        return list_(*args, **options)

    return call


def refuse_listing_of_parts(patch) -> None:
    for owner, name in ((os, "scandir"), (os, "listdir"), (MemoryFileSystem, "ls")):
        patch.setattr(owner, name, refusing(getattr(owner, name)))


def test_files_beside_the_parts_do_not_matter(where, source, monkeypatch):
    done = carve(source).laion.export(where, rows_per_part=20)
    fs, folder = fsspec.core.url_to_fs(where)
    for name in ("zzz.parquet", "part-00009-01234567.parquet", "data/x.parquet"):
        fs.makedirs(f"{folder}/{PARTS}/data", exist_ok=True)
        fs.pipe_file(f"{folder}/{PARTS}/{name}", b"mine")
    with monkeypatch.context() as patch:
        refuse_listing_of_parts(patch)
        for address in (where, f"{where}/{PARTS}"):
            assert len(ld.read_shards(address)) == done.rows.kept > 0
        assert ld.verify(where).rows == done.rows.kept


@pytest.mark.parametrize("damage", ["missing", "truncated"])
def test_a_part_that_is_missing_or_truncated_is_named(where, source, damage):
    done = carve(source).laion.export(where, rows_per_part=20)
    name = done.manifest["parts"][1]["file"]
    fs, folder = fsspec.core.url_to_fs(where)
    path = f"{folder}/{PARTS}/{name}"
    rows = fs.cat_file(path)
    fs.rm_file(path)
    if damage == "truncated":
        fs.pipe_file(path, rows[:-1])
    said = "does not exist" if damage == "missing" else f"has {len(rows) - 1:,} bytes, not"
    for read in (ld.read_shards, ld.verify):
        with pytest.raises(ShardError, match=said) as caught:
            read(where)
        assert name in str(caught.value) and "\n" not in str(caught.value)


def test_a_folder_of_a_part_is_no_link_to_elsewhere(tmp_path, source):
    carve(source).laion.export(tmp_path / "out", format="huggingface")
    shutil.move(tmp_path / "out" / PARTS / "data", tmp_path / "elsewhere")
    (tmp_path / "out" / PARTS / "data").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ShardError, match="not a regular file in its folder"):
        ld.read_shards(tmp_path / "out")


def test_a_new_manifest_is_not_taken_for_that_of_old_files_of_the_same_names(tmp_path):
    """Between the two renames, files of both states have the same names and sizes."""
    folder = tmp_path / "out"
    write(folder, OLD)
    write(tmp_path / "new", OLD)
    old, new = (folder / MANIFEST).read_bytes(), (folder / MANIFEST).read_text()
    (folder / NEXT_MANIFEST).write_text(new.replace('"inputs": []', '"inputs": [1]'))
    (folder / NEXT_PARTS).write_bytes(folder_mark(str(tmp_path / "new" / PARTS)))
    fs = fsspec.filesystem("file")
    assert current_manifest(fs, str(folder)).content["inputs"] == []
    shutil.move(folder / PARTS, tmp_path / "aside")
    shutil.move(tmp_path / "new" / PARTS, folder / PARTS)
    assert current_manifest(fs, str(folder)).content["inputs"] == [1]
    assert (folder / MANIFEST).read_bytes() == old
    write(folder, NEW)  # the next export names the killed one's manifest first
    assert by_recipe(folder) == NEW
    assert sorted(os.listdir(folder)) == [MANIFEST, PARTS]


def test_a_copy_of_a_folder_between_two_renames_can_be_read(tmp_path):
    write(tmp_path / "out", NEW)
    (tmp_path / "out" / MANIFEST).rename(tmp_path / "out" / NEXT_MANIFEST)
    shutil.copytree(tmp_path / "out", tmp_path / "copy")
    assert by_recipe(tmp_path / "copy") == NEW
    (tmp_path / "copy" / PARTS / "x.parquet").write_bytes(content(3))
    assert by_recipe(tmp_path / "copy") == NEW
    assert not export_manifest.is_switched(fsspec.filesystem("file"), str(tmp_path / "copy"))
