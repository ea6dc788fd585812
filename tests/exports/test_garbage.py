"""Files of killed exports are removed; those of a manifest or of a running export are not."""

import os
from dataclasses import replace

import fsspec
import pytest
from support.one_row_exports import NEW, OLD, by_glob, by_recipe, content, write

from laion_dask.errors import ExportError
from laion_dask.exports import lease, staging
from laion_dask.exports.garbage import collect_garbage
from laion_dask.exports.state import STAGING
from laion_dask.exports.transaction import ExportTransaction
from laion_dask.io.storage import folder_lock
from laion_dask.io.storage.export_manifest import MANIFEST, NEXT_PARTS, PARTS, UNFINISHED

pytestmark = pytest.mark.usefixtures("no_fsync")


def leave_killed(path: str) -> dict[str, int]:
    """What an export leaves that is killed after its first part: sizes by path in the folder."""
    transaction = ExportTransaction(str(path))
    transaction.__enter__()
    transaction.staging_folder.write("00000000.parquet", content(9))
    staging.open_stagings.discard(transaction.staging)
    fs, folder = transaction.fs, transaction.folder
    found = fs.find(folder, detail=True).items()
    sizes = {name[len(folder) + 1 :]: info["size"] for name, info in found}
    return {n: size for n, size in sizes.items() if n.startswith(STAGING) or "0000-" in n}


@pytest.fixture(params=["disk", "store"])
def where(request, tmp_path):
    return str(tmp_path / "out") if request.param == "disk" else request.getfixturevalue("store")


def test_files_of_a_killed_export_are_counted_and_removed(where):
    write(where, OLD)
    before = sorted(fsspec.core.url_to_fs(where)[0].find(fsspec.core.url_to_fs(where)[1]))
    leave_killed(where)
    fs, folder = fsspec.core.url_to_fs(where)
    left = {n: fs.size(n) for n in set(fs.find(folder)) - set(before)}
    assert sum(left.values()) >= len(content(9))
    dry = collect_garbage(where, dry_run=True)
    assert {f"{folder}/{name}": size for name, size in dry.files.items()} == left
    assert sorted(fs.find(folder)) == sorted([*before, *left])
    done = collect_garbage(where)
    assert done.bytes == dry.bytes and f"{done.bytes:,} bytes removed" in str(done)
    assert all(name in str(done) for name in done.files)
    assert sorted(fs.find(folder)) == before and by_recipe(where) == by_glob(where) == OLD
    assert collect_garbage(where).files == {}


def test_a_first_export_that_was_killed_leaves_nothing(where):
    leave_killed(where)
    collect_garbage(where)
    fs, folder = fsspec.core.url_to_fs(where)
    assert not fs.exists(folder) or fs.find(folder) == []
    write(where, NEW)
    assert by_recipe(where) == NEW


def test_files_of_a_running_export_are_kept(where):
    write(where, OLD)

    def during():
        assert collect_garbage(where).files == {}

    write(where, NEW, before_commit=during)
    assert by_recipe(where) == by_glob(where) == NEW


def test_files_of_an_export_on_another_machine_are_kept_while_it_may_run(where, monkeypatch):
    write(where, OLD)
    elsewhere = replace(folder_lock.owner(), machine="0" * 12)
    fs, folder = fsspec.core.url_to_fs(where)
    fs.makedirs(f"{folder}/{STAGING}{elsewhere}-{'ab' * 6}", exist_ok=True)
    fs.pipe_file(f"{folder}/{STAGING}{elsewhere}-{'ab' * 6}/plan.json", b"{}")
    fs.pipe_file(f"{folder}/{PARTS}/part-00000-{'ab' * 8}.parquet", content(7))
    if "://" in where:
        assert collect_garbage(where).files == {}
    monkeypatch.setattr(lease, "ABANDONED_S", -1.0)
    assert len(collect_garbage(where).files) == 2
    assert by_glob(where) == OLD


def test_other_files_are_never_removed(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(ExportError, match="holds no export"):
        collect_garbage(out)
    (out / PARTS).mkdir()
    (out / PARTS / "part-00000-01234567.parquet").write_bytes(b"mine")
    with pytest.raises(ExportError, match="not written by export"):
        collect_garbage(out)
    write(tmp_path / "damaged", OLD)
    (tmp_path / "damaged" / MANIFEST).write_text("{")
    with pytest.raises(ExportError, match="not written by export"):
        collect_garbage(tmp_path / "damaged")
    assert len(os.listdir(tmp_path / "damaged" / PARTS)) == len(OLD)
    assert (out / PARTS / "part-00000-01234567.parquet").read_bytes() == b"mine"


def test_a_mark_of_an_interrupted_export_is_removed(store):
    fs, folder = fsspec.core.url_to_fs(store)
    fs.pipe_file(f"{folder}/{UNFINISHED}", b"")
    fs.pipe_file(f"{folder}/{PARTS}/part-00000-01234567.parquet", content(1))
    assert len(collect_garbage(store).files) == 2 and fs.find(folder) == []


def test_links_with_the_names_of_staging_folders_are_left_alone(tmp_path):
    """Nothing is written to, or removed from, where they lead."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "a.txt").write_text("mine")
    write(tmp_path / "out", OLD)
    (tmp_path / "out" / f"{STAGING}0").symlink_to(tmp_path / "mine")
    os.utime(tmp_path / "mine" / "a.txt", (0, 0))
    collect_garbage(tmp_path / "out")
    write(tmp_path / "out", NEW)
    assert os.listdir(tmp_path / "mine") == ["a.txt"]
    assert by_recipe(tmp_path / "out") == NEW


def test_a_mark_that_a_kill_left_after_the_last_rename_is_removed(tmp_path):
    write(tmp_path / "out", OLD)
    (tmp_path / "out" / NEXT_PARTS).write_text("1")
    assert list(collect_garbage(tmp_path / "out").files) == [NEXT_PARTS]
    assert by_recipe(tmp_path / "out") == OLD and not (tmp_path / "out" / NEXT_PARTS).exists()
