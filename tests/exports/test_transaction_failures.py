"""A commit that fails at any step leaves the old state or the new one, on disks and in stores."""

import errno
import os

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from support.one_row_exports import NEW, OLD, by_glob, by_recipe, write, write_flat

from laion_dask.errors import ExportError
from laion_dask.io.storage import folder_lock
from laion_dask.io.storage.export_manifest import MANIFEST, PARTS

pytestmark = pytest.mark.usefixtures("no_fsync")


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES, errno.ENOTDIR])
def test_a_folder_that_cannot_be_listed_is_one_clear_error(tmp_path, monkeypatch, number):
    error = OSError(number, os.strerror(number))
    raised = []
    for at in range(12):
        folder = tmp_path / str(at)
        write(folder, OLD)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "scandir", failing(os.scandir, [], at, False, error))
            try:
                write(folder, NEW)
            except ExportError as caught:
                raised.append(str(caught))
        assert by_recipe(folder) == by_glob(folder) and by_recipe(folder) in (OLD, NEW)
        write(folder, [6])
        assert by_recipe(folder) == [6] and sorted(os.listdir(folder)) == [MANIFEST, PARTS]
    assert len(raised) >= 4 and all(os.strerror(number) in message for message in raised)


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "disk full"), KeyboardInterrupt()])
@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("old", ["none", "flat", "shards", "same"])
def test_a_step_that_fails_leaves_the_old_state_or_the_new_one(tmp_path, old, late, error):
    for at in range(24):
        folder = tmp_path / f"{old}-{at}"
        if old == "flat":
            write_flat(folder, OLD)
        elif old != "none":
            write(folder, NEW if old == "same" else OLD)
        failed = False
        with pytest.MonkeyPatch.context() as patch:
            steps = []
            for name in ("rename", "replace", "unlink", "mkdir", "fsync"):
                patch.setattr(os, name, failing(getattr(os, name), steps, at, late, error))
            try:
                write(folder, NEW)
            except (ExportError, KeyboardInterrupt):
                failed = True
        before = {"none": [], "flat": OLD, "shards": OLD, "same": NEW}[old]
        if not folder.exists():
            assert failed and old == "none"
            continue
        globbed = by_glob(folder)
        if not (old == "flat" and set(globbed) == {*OLD, *NEW}):
            assert globbed in (before, NEW) if failed else globbed == NEW
        if not globbed:
            with pytest.raises(FileNotFoundError):
                by_recipe(folder)
        else:
            assert by_recipe(folder) in ((before, NEW) if old == "flat" else (globbed,))
        write(folder, [6])
        assert by_recipe(folder) == by_glob(folder) == [6]
        assert sorted(os.listdir(folder)) == [MANIFEST, PARTS]


def failing(function, steps: list, at: int, late: bool, error: BaseException):
    def call(*args, **options):
        steps.append(1)
        if len(steps) - 1 == at:
            if late:
                function(*args, **options)
            raise error
        return function(*args, **options)

    return call


@pytest.mark.parametrize(
    "error",
    [OSError(errno.EIO, "io"), KeyboardInterrupt(), TimeoutError(), RuntimeError("no route")],
)
@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("old", [False, True])
def test_a_store_that_fails_loses_nothing_that_its_recipe_lists(store, old, late, error):
    for at in range(20):
        where = f"{store}-{at}"
        if old:
            write(where, OLD)
        failed = False
        with pytest.MonkeyPatch.context() as patch:
            steps = []
            for name in ("cp_file", "pipe_file", "rm_file"):
                function = getattr(MemoryFileSystem, name)
                patch.setattr(MemoryFileSystem, name, failing(function, steps, at, late, error))
            try:
                write(where, NEW)
            except (ExportError, KeyboardInterrupt):
                failed = True
        try:
            got = by_recipe(where)
        except OSError:
            got = []
        assert got in ([OLD if old else [], NEW] if failed else [NEW])
        if isinstance(error, OSError) and not isinstance(error, TimeoutError) and got != NEW:
            assert by_glob(where) == got  # no orphans where the store reports an error
        remove_lock_file(where)
        write(where, [6])
        assert by_recipe(where) == by_glob(where) == [6]


def remove_lock_file(where: str) -> None:
    fs, inner = fsspec.core.url_to_fs(where)
    if fs.exists(f"{inner}/{folder_lock.LOCK_FILE}"):
        fs.rm_file(f"{inner}/{folder_lock.LOCK_FILE}")


@pytest.mark.parametrize("name", ["exists", "makedirs", "pipe_file", "cat_file"])
def test_a_store_with_errors_of_its_own_is_told_in_one_line(store, monkeypatch, name):
    def fails(*args, **options):
        raise RuntimeError("Name or service not known\nsecond line")

    write(store, OLD)
    with monkeypatch.context() as patch:
        patch.setattr(MemoryFileSystem, name, fails)
        with pytest.raises(ExportError, match="Name or service not known") as error:
            write(store, NEW)
    assert "\n" not in str(error.value)
    assert by_recipe(store) == OLD


def test_a_link_that_leads_back_to_itself(tmp_path):
    (tmp_path / "out").symlink_to("out")
    with pytest.raises(ExportError, match="cannot be created or written to: Too many levels"):
        write(tmp_path / "out", NEW)


def test_a_second_run_of_the_same_job_that_fails_at_its_recipe(store, monkeypatch):
    """All parts but one are the same as before."""
    write(store, OLD)
    pipe = MemoryFileSystem.pipe_file

    def refuse(self, path, *args, **options):
        if path.endswith(MANIFEST):
            raise PermissionError(errno.EACCES, "no")
        return pipe(self, path, *args, **options)

    monkeypatch.setattr(MemoryFileSystem, "pipe_file", refuse)
    with pytest.raises(ExportError, match="could not be written"):
        write(store, [*OLD[:2], 9])
    monkeypatch.undo()
    assert by_recipe(store) == by_glob(store) == OLD
