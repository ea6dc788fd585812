"""An export to a store that is killed, or not answered, at any change mixes nothing."""

import errno
import subprocess
import sys
from collections import Counter

import dask
import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from support.carved_exports import BESIDE, carve
from support.paths import ROOT

import laion_dask as ld
from laion_dask.errors import ExportError
from laion_dask.io.storage.export_manifest import PARTS

pytestmark = pytest.mark.only_pandas
ROWS = 20

#: Forks once per folder, named ``…-before-N`` or ``…-after-N``: SIGKILL before or after the change
#: of that number. Prints the changes up to it.
KILLED = """
import os, signal, sys
sys.path[:0] = sys.argv[1:3]
import dask, s3fs
import laion_dask as ld
import laion_dask.exports.export
from laion_dask.exports import formats
from support.carved_exports import carve
formats.load("parquet")
source, rows, *folders = sys.argv[3:]

def child(where):
    _, when, at = where.rsplit("-", 2)
    changes, call = [], s3fs.S3FileSystem._call_s3

    async def dying(self, name, *args, **options):
        is_change = not name.startswith(("get_", "head_", "list_"))
        if is_change:
            changes.append(f"{name}:{options.get('Key', '').rpartition('/')[2][:9]}")
        last = is_change and len(changes) > int(at)
        if last and len(changes) == int(at) + 1:
            print(*changes, flush=True)
        if last and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        answer = await call(self, name, *args, **options)
        if last:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    s3fs.S3FileSystem._call_s3 = dying
    with dask.config.set(scheduler="sync"):
        carve(source, max_rows_per_partition=40).laion.export(where, rows_per_part=int(rows))
    print("done", flush=True)
    os._exit(0)

for where in folders:
    pid = os.fork()
    if not pid:
        child(where)
    os.waitpid(pid, 0)
"""


def export(source: str, where: str) -> dict:
    with dask.config.set(scheduler="sync"):
        return (
            carve(source, max_rows_per_partition=40)
            .laion.export(where, rows_per_part=ROWS)
            .manifest
        )


def kill(source: str, folders: list[str]) -> list[list[str]]:
    """The changes that each child made before it was killed; ``["done"]`` if it was not."""
    command = [sys.executable, "-c", KILLED, str(ROOT / "tests"), str(ROOT), source, str(ROWS)]
    done = subprocess.run([*command, *folders], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    return [line.split() for line in done.stdout.splitlines()]


def look(where: str, clean: dict, source: str) -> None:
    """Resume the export, and compare it with one that was not killed."""
    manifest = export(source, where)
    names = ("rows", "bytes", "sha256")
    parts, expected = ([[p[n] for n in names] for p in m["parts"]] for m in (manifest, clean))
    assert parts == expected and manifest["counts"] == clean["counts"], where
    assert ld.verify(where).rows == clean["counts"]["kept"]
    fs, inner = fsspec.core.url_to_fs(where)
    fs.invalidate_cache()
    found = {name[len(inner) + 1 :] for name in fs.find(inner)}
    assert found == {*BESIDE, *(f"{PARTS}/{part['file']}" for part in manifest["parts"])}, where


def check(bucket: str, source: str, name: str, points: list[tuple[str, int]]) -> Counter[str]:
    clean = export(source, f"{bucket}/{name}-clean")
    folders = [f"{bucket}/{name}-{when}-{at}" for when, at in points]
    made = kill(source, folders)
    assert len(made) == len(folders)
    for where in folders:
        look(where, clean, source)
    return Counter(changes[-1] for changes in made)


def test_a_driver_that_is_killed_in_a_bucket_is_resumed(bucket, source):
    points = [("before", 7), ("after", 12), ("after", 16)]  # a part, its fragments, the documents
    last = check(bucket, source, "few", points)
    assert "done" not in last


@pytest.mark.simulation
def test_a_driver_that_is_killed_at_any_change_is_resumed(bucket, source):
    for start in range(0, 200, 10):
        points = [(when, at) for at in range(start, start + 10) for when in ("before", "after")]
        last = check(bucket, source, f"all-{start}", points)
        print(dict(last))
        if last["done"]:
            return
    raise AssertionError("an export of so few rows makes fewer changes")


#: The error that a client gets instead of an answer, and whether the request took effect.
FAULTS = {
    "no answer": (TimeoutError("no answer"), True),
    "reset": (ConnectionError("reset"), True),
    "not sent": (ConnectionError("not sent"), False),
    "slow down": (OSError(errno.EBUSY, "Please reduce your request rate."), False),
    "refused": (FileExistsError("PreconditionFailed"), True),  # of a request that was sent twice
    "denied": (PermissionError(errno.EACCES, "Access Denied"), False),
}


def failing(monkeypatch, store: str, fault: str, at: int) -> list[str]:
    """Let the change of a number fail; returns the changes, once there are any."""
    changes: list[str] = []
    error, took_effect = FAULTS[fault]
    if store == "s3":
        owner = fsspec.get_filesystem_class("s3")
        call = owner._call_s3

        async def instead(self, name, *args, **options):
            if name.startswith(("get_", "head_", "list_")):
                return await call(self, name, *args, **options)
            changes.append(name)
            is_chosen = len(changes) == at + 1
            answer = (
                None if is_chosen and not took_effect else await call(self, name, *args, **options)
            )
            if is_chosen:
                raise error
            return answer

        monkeypatch.setattr(owner, "_call_s3", instead)
        return changes
    for name in ("pipe_file", "rm_file", "cp_file", "_open"):
        method = getattr(MemoryFileSystem, name)

        def instead_of(self, path, *args, method=method, name=name, **options):
            if name == "_open" and (args or [options.get("mode", "rb")])[0] == "rb":
                return method(self, path, *args, **options)
            changes.append(name)
            is_chosen = len(changes) == at + 1
            if is_chosen and not took_effect:
                raise error
            answer = method(self, path, *args, **options)
            if is_chosen:
                raise error
            return answer

        monkeypatch.setattr(MemoryFileSystem, name, instead_of)
    return changes


def one_fault(monkeypatch, where: str, source: str, clean: dict, fault: str, at: int) -> bool:
    """Export with one fault, then without; False if the fault was not reached."""
    with monkeypatch.context() as patch:
        changes = failing(patch, where.partition(":")[0], fault, at)
        try:
            manifest = export(source, where)
            assert manifest["counts"] == clean["counts"]
        except ExportError as error:
            assert "\n" not in str(error), error
    fs, inner = fsspec.core.url_to_fs(where)
    fs.invalidate_cache()
    if fs.exists(f"{inner}/_recipe.json"):  # then its parts are whole, and there for a reader
        assert len(ld.read_shards(where)) == clean["counts"]["kept"]
    look(where, clean, source)
    return len(changes) > at


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("at", [4, 13])
def test_an_answer_that_is_lost_or_an_error_mixes_nothing(source, monkeypatch, fault, at):
    where = f"memory://test_faults/{fault.replace(' ', '-')}-{at}"
    clean = export(source, f"{where}-clean")
    assert one_fault(monkeypatch, where, source, clean, fault, at)


@pytest.mark.parametrize("fault", ["no answer", "slow down"])
def test_a_bucket_that_does_not_answer_mixes_nothing(bucket, source, monkeypatch, fault):
    clean = export(source, f"{bucket}/{fault.replace(' ', '-')}-clean")
    where = f"{bucket}/{fault.replace(' ', '-')}"
    assert one_fault(monkeypatch, where, source, clean, fault, 12)


@pytest.mark.simulation
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("store", ["memory", "s3"])
def test_a_fault_of_any_change_mixes_nothing(store, bucket, source, monkeypatch, fault):
    base = f"{bucket if store == 's3' else 'memory://test_faults'}/every-{fault.replace(' ', '-')}"
    clean = export(source, f"{base}-clean")
    at = 0
    while one_fault(monkeypatch, f"{base}-{at}", source, clean, fault, at):
        at += 1
    print(store, fault, at)
    assert at > 10
