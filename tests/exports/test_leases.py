"""An export on another machine is continued once it is not heard of; two never mix."""

import time
from dataclasses import replace

import fsspec
import pytest
from support.carved_exports import carve, files_of
from support.one_row_exports import NEW, OLD, by_glob, by_recipe, content, write

import laion_dask as ld
from laion_dask.errors import ExportConflictError, ExportError
from laion_dask.exports import lease, transaction
from laion_dask.exports.garbage import collect_garbage, release_exports
from laion_dask.exports.lease import CLAIM, Lease
from laion_dask.exports.state import STAGING, names_in
from laion_dask.exports.transaction import ExportTransaction
from laion_dask.io.storage import folder_lock
from laion_dask.io.storage.export_manifest import PARTS

pytestmark = pytest.mark.usefixtures("no_fsync")


@pytest.fixture(params=["disk", "store"])
def where(request, tmp_path):
    return str(tmp_path / "out") if request.param == "disk" else request.getfixturevalue("store")


@pytest.fixture
def elsewhere(monkeypatch):
    """Whatever runs inside is a process of another machine."""

    def on(letter: str, patch=monkeypatch):
        patch.setattr(folder_lock, "_machine", lambda: letter * 12)

    return on


def interrupted(source, where, elsewhere, monkeypatch) -> ExportTransaction:
    """An export on machine a that has written its parts, and is about to commit them."""
    held = []

    def stop(self, *args):
        held.append(self)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        elsewhere("a", patch)
        patch.setattr(ExportTransaction, "commit", stop)
        patch.setattr(ExportTransaction, "__exit__", lambda self, *error: None)
        with pytest.raises(KeyboardInterrupt):
            carve(source).laion.export(where, rows_per_part=20)
    transaction.open_stagings.clear()
    held[0]._lease.end()
    return held[0]


def stagings(where: str) -> list[str]:
    fs, folder = fsspec.core.url_to_fs(where)
    return [name for name in names_in(fs, folder) if name.startswith(STAGING)]


def test_a_running_export_says_that_it_lives_and_keeps_few_records(where, monkeypatch):
    monkeypatch.setattr(lease, "BEAT_S", 0.01)
    seen = []

    def wait():
        fs, folder = fsspec.core.url_to_fs(where)
        (staging,) = stagings(where)
        deadline = time.monotonic() + 20
        while not seen or (seen[-1] < f"{CLAIM}000005" and time.monotonic() < deadline):
            names = [n for n in names_in(fs, f"{folder}/{staging}") if n.startswith(CLAIM)]
            names = [name for name in names if "." not in name]
            assert len(names) <= 4
            seen.extend(names[-1:] or [""])
            time.sleep(0.005)

    write(where, NEW, before_commit=wait)
    assert seen[-1] >= f"{CLAIM}000005"
    assert by_recipe(where) == by_glob(where) == NEW and stagings(where) == []


def test_another_machine_continues_an_export_once_it_is_not_heard_of(
    where, source, elsewhere, monkeypatch, tmp_path
):
    clean = carve(source).laion.export(tmp_path / "clean", rows_per_part=20)
    interrupted(source, where, elsewhere, monkeypatch)
    elsewhere("b")
    assert collect_garbage(where).files == {}  # it may be running
    monkeypatch.setattr(lease, "ABANDONED_S", -1.0)
    monkeypatch.setattr("laion_dask.exports.parts._write_part", None)  # nothing is written again
    done = carve(source).laion.export(where, rows_per_part=20)
    assert [p["sha256"] for p in done.manifest["parts"]] == [
        part["sha256"] for part in clean.manifest["parts"]
    ]
    assert ld.verify(where).rows == done.rows.kept and stagings(where) == []


def test_a_released_export_is_continued_at_once_and_the_first_one_commits_nothing(
    where, source, elsewhere, monkeypatch, tmp_path
):
    first = interrupted(source, where, elsewhere, monkeypatch)
    before = stagings(where)
    elsewhere("b")
    assert release_exports(where) == 1 and release_exports(where) == 0
    with (
        pytest.raises(ExportConflictError, match="taken over") as caught,
        monkeypatch.context() as p,
    ):
        elsewhere("a", p)
        first._lease.check(first.path)
    assert "\n" not in str(caught.value)
    first.__exit__()
    assert stagings(where) == before  # it belongs to the next export
    done = carve(source).laion.export(where, rows_per_part=20)
    assert ld.verify(where).rows == done.rows.kept and stagings(where) == []
    if "://" not in where:
        carve(source).laion.export(tmp_path / "clean", rows_per_part=20)
        assert files_of(where) == files_of(tmp_path / "clean")


def test_of_two_machines_that_take_a_folder_over_one_has_it(where):
    write(where, OLD)
    with ExportTransaction(where) as running:
        one, other = (Lease(running.fs, running.staging) for _ in range(2))
        numbers = lease._numbers(running.fs, running.staging)
        assert one.take_over()
        other._next = max(numbers, default=-1) + 1  # it has looked before the other one
        assert not other.renew() and not other.look()
        assert one.renew() and one.look() and not running._lease.look()
        running.fs.rm(running.staging, recursive=True)
    assert by_recipe(where) == OLD


def test_an_export_whose_folder_was_taken_over_leaves_what_is_in_it(where):
    write(where, OLD)
    other = replace(folder_lock.owner(), machine="0" * 12)
    taken_over = pytest.raises(ExportConflictError, match="taken over")
    with taken_over, ExportTransaction(where) as running:
        file = running.staging_folder.write("00000000.parquet", content(1))
        running.fs.pipe_file(f"{running.staging}/{CLAIM}000000", f"{other}-ab".encode())
        running.commit([], (), {"inputs": []})
    fs, folder = running.fs, running.folder
    kept = f"{folder}/{PARTS}" if "://" in where else running.staging
    assert fs.exists(f"{kept}/{file.staged}")
    assert by_recipe(where) == OLD


def test_only_folders_of_exports_are_released(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ExportError, match="not written by export"):
        release_exports(tmp_path)
    with pytest.raises(ExportError, match="holds no export"):
        release_exports(tmp_path / "nowhere")
