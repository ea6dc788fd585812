"""When several processes export to one folder, one commits and the others raise."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from support.one_row_exports import NEW, OLD, by_glob, by_recipe, write

from laion_dask.errors import ExportConflictError
from laion_dask.exports.state import STAGING
from laion_dask.exports.transaction import ExportTransaction
from laion_dask.io.storage import folder_lock
from laion_dask.io.storage.export_manifest import MANIFEST, PARTS

pytestmark = pytest.mark.usefixtures("no_fsync")


def hidden(path: Path) -> list[str]:
    return [n for n in os.listdir(path) if n.startswith(".")]


@pytest.mark.parametrize("writers", [2, 8])
def test_of_writers_into_one_folder_one_wins_and_the_others_are_told(tmp_path, writers):
    for number in range(20):
        folder = tmp_path / str(number)
        if number % 2:
            write(folder, [99])
        meet = Barrier(writers).wait

        def one(writer, folder=folder, meet=meet):
            try:
                write(folder, [writer, writer], meet)
            except ExportConflictError:
                return None
            return writer

        with ThreadPoolExecutor(writers) as pool:
            won = [w for w in pool.map(one, range(writers)) if w is not None]
        assert len(won) == 1
        assert by_recipe(folder) == by_glob(folder) == won * 2
        assert sorted(os.listdir(folder)) == [MANIFEST, PARTS]


def test_of_two_exports_into_a_store_the_second_is_told(store):
    def another():
        write(store, NEW)

    with pytest.raises(ExportConflictError, match="another export since this export began"):
        write(store, OLD, before_commit=another)
    assert by_recipe(store) == by_glob(store) == NEW
    held = folder_lock.locked(MemoryFileSystem(), "/test_transaction/out")
    with held, pytest.raises(ExportConflictError, match=f"process {os.getpid()}"):
        write(store, OLD)
    assert by_recipe(store) == by_glob(store) == NEW


def test_the_lock_of_a_process_that_ended_is_taken_over(store, monkeypatch):
    write(store, OLD)
    fs, path = MemoryFileSystem(), f"/test_transaction/out/{folder_lock.LOCK_FILE}"
    ended = replace(folder_lock.owner(), started=1)
    fs.pipe_file(path, str(ended).encode())
    write(store, NEW)
    assert by_recipe(store) == by_glob(store) == NEW
    fs.pipe_file(path, str(replace(ended, machine="0" * 12)).encode())
    with pytest.raises(ExportConflictError):
        write(store, [7])
    monkeypatch.setattr(folder_lock, "STALE_S", -1.0)  # treat every lock as stale
    write(store, [7])
    assert by_recipe(store) == by_glob(store) == [7]
    assert not fs.exists(path)


def test_a_lock_that_was_lost_stops_a_commit(store, monkeypatch):
    write(store, OLD)
    check = ExportTransaction._check_unchanged

    def lose(self):
        check(self)
        self.fs.pipe_file(f"/test_transaction/out/{folder_lock.LOCK_FILE}", b"{}")

    monkeypatch.setattr(ExportTransaction, "_check_unchanged", lose)
    with pytest.raises(ExportConflictError):
        write(store, NEW)
    assert by_recipe(store) == by_glob(store) == OLD


def test_a_file_system_without_locks_uses_a_lock_file(tmp_path, monkeypatch):
    monkeypatch.setattr(folder_lock, "fcntl", None)
    write(tmp_path / "out", OLD)
    held = folder_lock.locked(fsspec.filesystem("file"), str(tmp_path / "out"))
    with held, pytest.raises(ExportConflictError):
        write(tmp_path / "out", NEW)
    write(tmp_path / "out", NEW)
    assert by_recipe(tmp_path / "out") == by_glob(tmp_path / "out") == NEW
    assert hidden(tmp_path / "out") == []


def test_staging_of_who_still_writes_is_left_alone(tmp_path):
    with ExportTransaction(str(tmp_path / "out")) as transaction:
        elsewhere = replace(folder_lock.owner(), machine="0" * 12)
        ended = replace(folder_lock.owner(), started=1)
        other, gone = (tmp_path / "out" / f"{STAGING}{o}-0" for o in (elsewhere, ended))
        other.mkdir()
        gone.mkdir()
        with pytest.raises(ExportConflictError):
            write(tmp_path / "out", NEW, before_commit=lambda: write(tmp_path / "out", OLD))
        assert Path(transaction.staging).exists() and other.exists() and not gone.exists()
    assert by_recipe(tmp_path / "out") == OLD
