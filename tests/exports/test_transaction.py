"""Export commits stay consistent when killed, failing or contended at any step."""

import errno
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from threading import Barrier

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.memory import MemoryFileSystem

import laion_dask as ld
from laion_dask.errors import ExportConflictError, ExportError, ShardError
from laion_dask.exports.formats.base import WrittenPart
from laion_dask.exports.state import STAGING
from laion_dask.exports.transaction import ExportTransaction
from laion_dask.exports.verify import verify
from laion_dask.io.storage import folder_lock
from laion_dask.io.storage.export_manifest import (
    FLAT_MANIFEST,
    KIND,
    MANIFEST,
    NEXT_MANIFEST,
    PARTS,
    UNFINISHED,
)
from laion_dask.io.storage.paths import expand


def content(value: int) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"value": [value]}), sink)
    return sink.getvalue().to_pybytes()


def write(path: str, values, before_commit=lambda: None) -> None:
    """Commit an export whose parts have one row each."""
    with ExportTransaction(str(path)) as transaction:
        write = transaction.staging_folder.write
        files = [write(f"{i:08d}.parquet", content(v)) for i, v in enumerate(values)]
        before_commit()
        parts = [WrittenPart(i, 1, (file,)) for i, file in enumerate(files)]
        transaction.commit(parts, (), {"inputs": []})


def by_recipe(path) -> list[int]:
    return [read(p) for p in expand(str(path), (".parquet",))]


def by_glob(path) -> list[int]:
    """The values in all ``*.parquet`` files at any depth, hidden files excluded."""
    fs, inner = fsspec.core.url_to_fs(str(path))
    paths = sorted(n for n in fs.find(inner) if n.endswith(".parquet"))
    return [read(fs.unstrip_protocol(n)) for n in paths if "/." not in n[len(inner) :]]


def read(path: str) -> int:
    with fsspec.open(path, "rb") as file:
        return pq.read_table(pa.BufferReader(file.read()))["value"][0].as_py()


def hidden(path: Path) -> list[str]:
    return [n for n in os.listdir(path) if n.startswith(".")]


def write_flat(folder: Path, values) -> None:
    """Write an export in the layout of earlier releases."""
    folder.mkdir()
    listed = []
    for i, value in enumerate(values):
        name = f"part-{i:05d}-0123456{i}.parquet"
        (folder / name).write_bytes(content(value))
        listed.append({"file": name, "rows": 1, "bytes": len(content(value)), "sha256": "0"})
    (folder / FLAT_MANIFEST).write_text(json.dumps({"kind": KIND, "parts": listed}))


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    """Skip fsync, to keep the tests fast."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def store():
    fs = MemoryFileSystem()
    yield "memory://test_transaction/out"
    if fs.exists("/test_transaction"):
        fs.rm("/test_transaction", recursive=True)


# -- killed at every step ---------------------------------------------------------------------

OLD, NEW = [1, 2, 3], [4, 5]

KILLED = """
import os, signal, sys
sys.path[:0] = [sys.argv[1], os.path.dirname(sys.argv[1]), sys.argv[2]]
import test_transaction
os.fsync = lambda descriptor: None
from laion_dask.io.storage import swap_folders

def dying(owner, name, steps, at):
    function = getattr(owner, name)
    def call(*args, **options):
        steps.append(name)
        if len(steps) > at:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **options)
    setattr(owner, name, call)

def child(folder, at):
    steps = []
    if "plain" in folder:
        swap_folders._swap = lambda one, other: False
    for name in ("rename", "replace", "unlink", "mkdir"):
        dying(os, name, steps, at)
    test_transaction.write(folder, test_transaction.NEW)
    os._exit(0)

for folder in sys.argv[3:]:
    pid = os.fork()
    if not pid:
        child(folder, int(folder.rpartition("-")[2]))
    os.waitpid(pid, 0)
"""


def test_a_kill_at_any_step_leaves_the_old_state_or_the_new_one(tmp_path):
    """The case ``plain`` is a file system without an atomic exchange of two folders."""
    kinds = {"none": 8, "flat": 8, "shards": 8, "plain": 9}
    folders = {old: [tmp_path / f"{old}-{at}" for at in range(3, n)] for old, n in kinds.items()}
    for old in ("flat", "shards", "plain"):
        for folder in folders[old]:
            (write_flat if old == "flat" else write)(folder, OLD)
    here = Path(__file__).parent
    command = [sys.executable, "-c", KILLED, str(here), str(here.parents[1])]
    command += [str(folder) for cases in folders.values() for folder in cases]
    subprocess.run(command, check=True, timeout=120)
    for old, cases in folders.items():
        look_at_killed(old, cases)


def look_at_killed(old: str, folders: list[Path]) -> None:
    seen = []
    for folder in folders:
        try:
            seen.append(by_recipe(folder))
        except OSError:
            seen.append(None)  # no export exists, and the error says so
            assert old in ("none", "plain")
        if folder.exists():
            globbed = by_glob(folder)
            assert globbed in (OLD, NEW, [], *([OLD + NEW, NEW + OLD] if old == "flat" else []))
            assert (globbed == []) == (seen[-1] is None)
        write(folder, [6])
        assert by_recipe(folder) == by_glob(folder) == [6]
        assert sorted(os.listdir(folder)) == [MANIFEST, PARTS]  # no leftovers of the killed run
    first, last = seen[0], seen[-1]
    assert first == (None if old == "none" else OLD) and last == NEW
    assert all(one in (first, last, None) for one in seen)
    if old != "plain":
        assert seen == sorted(seen, key=lambda s: s == NEW)  # a single switch from old to new


def test_a_kill_between_two_renames_loses_nothing(tmp_path):
    """Where folders cannot be exchanged, the next export restores the old one."""
    write(tmp_path / "out", OLD)
    staging = tmp_path / "out" / f"{STAGING}0"
    staging.mkdir()
    (tmp_path / "out" / PARTS).rename(staging / "replaced")
    with pytest.raises(ShardError, match="does not exist"):
        by_recipe(tmp_path / "out")
    ExportTransaction(str(tmp_path / "out"))
    assert by_recipe(tmp_path / "out") == by_glob(tmp_path / "out") == OLD


# -- failing at every step ---------------------------------------------------------------------


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


@pytest.mark.parametrize("name", ["exists", "makedirs", "pipe_file", "cp_file"])
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


# -- several writers ---------------------------------------------------------------------------


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

    with pytest.raises(ExportConflictError, match="another export since this one began"):
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
    copy = MemoryFileSystem.cp_file

    def lose(self, *args, **options):
        self.pipe_file(f"/test_transaction/out/{folder_lock.LOCK_FILE}", b"{}")
        return copy(self, *args, **options)

    monkeypatch.setattr(MemoryFileSystem, "cp_file", lose)
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


# -- manifests that this release did not write ---------------------------------------------------


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
