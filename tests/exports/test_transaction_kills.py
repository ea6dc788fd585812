"""A process that is killed at any step of a commit leaves the old state or the new one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.one_row_exports import NEW, OLD, by_glob, by_recipe, write, write_flat
from support.paths import ROOT

from laion_dask.errors import ShardError
from laion_dask.exports.state import STAGING
from laion_dask.exports.transaction import ExportTransaction
from laion_dask.io.storage.export_manifest import MANIFEST, PARTS

pytestmark = pytest.mark.usefixtures("no_fsync")

KILLED = """
import os, signal, sys
sys.path[:0] = sys.argv[1:3]
from support import one_row_exports
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
    one_row_exports.write(folder, one_row_exports.NEW)
    os._exit(0)

for folder in sys.argv[3:]:
    pid = os.fork()
    if not pid:
        child(folder, int(folder.rpartition("-")[2]))
    os.waitpid(pid, 0)
"""


def test_a_kill_at_any_step_leaves_the_old_state_or_the_new_one(tmp_path):
    """The case ``plain`` is a file system without an atomic exchange of two folders."""
    kinds = {"none": 10, "flat": 10, "shards": 10, "plain": 11}
    folders = {old: [tmp_path / f"{old}-{at}" for at in range(3, n)] for old, n in kinds.items()}
    for old in ("flat", "shards", "plain"):
        for folder in folders[old]:
            (write_flat if old == "flat" else write)(folder, OLD)
    command = [sys.executable, "-c", KILLED, str(ROOT / "tests"), str(ROOT)]
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
