"""Processes that export into one folder at the same time, and readers that read all the while."""

import os
import subprocess
import sys
import threading
from contextlib import suppress

import pytest
from support.one_row_exports import by_glob, by_recipe, read, write
from support.paths import ROOT

from laion_dask.errors import ShardError
from laion_dask.io.storage.export_manifest import MANIFEST, PARTS
from laion_dask.io.storage.paths import expand

pytestmark = pytest.mark.usefixtures("no_fsync")

#: Several processes per round begin an export, wait for each other, and commit.
WRITERS = """
import multiprocessing, os, sys
sys.path[:0] = sys.argv[1:3]
from laion_dask.errors import ExportConflictError
from support.one_row_exports import write
folder, writers, rounds = sys.argv[3], int(sys.argv[4]), int(sys.argv[5])
os.fsync = lambda descriptor: None

def child(value, barrier):
    try:
        write(folder, [value] * 3, barrier.wait)
    except ExportConflictError as error:
        assert "\\n" not in str(error)
        os._exit(7)
    os._exit(0)

for round_ in range(rounds):
    barrier = multiprocessing.get_context("fork").Barrier(writers)
    pids = {}
    for writer in range(writers):
        value = round_ * writers + writer
        pid = os.fork()
        if not pid:
            child(value, barrier)
        pids[pid] = value
    codes = {pid: os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids}
    statuses = {value: codes[pid] for pid, value in pids.items()}
    won = [value for value, status in statuses.items() if status == 0]
    assert sorted(statuses.values()) == [0] + [7] * (writers - 1), statuses
    print(won[0], flush=True)
"""


def contend(folder, writers: int, rounds: int) -> tuple[list[int], list[list[int]]]:
    """The winner of each round, and the states that a reader saw in the meantime."""
    words = [str(ROOT / "tests"), str(ROOT), str(folder), str(writers), str(rounds)]
    seen, done = [], threading.Event()

    def look():
        while not done.is_set():
            # Replaced between the manifest and its parts: an error, never a mixture.
            with suppress(ShardError, FileNotFoundError):
                seen.append([read(path) for path in expand(str(folder), (".parquet",))])

    reader = threading.Thread(target=look)
    reader.start()
    try:
        ran = subprocess.run(
            [sys.executable, "-c", WRITERS, *words], capture_output=True, text=True, timeout=600
        )
    finally:
        done.set()
        reader.join()
    assert ran.returncode == 0, ran.stderr
    return [int(line) for line in ran.stdout.split()], seen


def check_contention(folder, writers: int, rounds: int) -> None:
    write(folder, [-1] * 3)
    won, seen = contend(folder, writers, rounds)
    assert len(won) == rounds
    assert by_recipe(folder) == by_glob(folder) == won[-1:] * 3
    assert sorted(os.listdir(folder)) == [MANIFEST, PARTS]
    assert seen and all(len(state) == 3 and len(set(state)) == 1 for state in seen)
    assert {state[0] for state in seen} <= {-1, *won}


def test_processes_that_export_into_one_folder(tmp_path):
    check_contention(tmp_path / "out", writers=4, rounds=3)


@pytest.mark.simulation
def test_many_processes_export_into_one_folder_again_and_again(tmp_path):
    check_contention(tmp_path / "out", writers=8, rounds=20)
