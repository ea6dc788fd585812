"""Exports by child processes that are killed at a chosen step."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from support.paths import ROOT

#: Forks once per step: SIGKILL before the record of that number is created, or the named function
#: of ``os`` is called.
_KILLED = """
import os, signal, sys
sys.path[:0] = sys.argv[1:3]
import dask
import laion_dask as ld
from laion_dask.exports import records
from support import killed_exports
os.fsync = lambda descriptor: None

def dying(owner, name, at):
    function, steps = getattr(owner, name), []
    def call(*args, **options):
        steps.append(name)
        if len(steps) > at:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **options)
    setattr(owner, name, call)

def child(source, name, out, step, at):
    owner = records if hasattr(records, step) else os
    dying(owner, step, int(at))
    with dask.config.set(scheduler="sync"):
        killed_exports.FRAMES[name](source).laion.export(out, rows_per_part=20)
    os._exit(0)

for job in sys.argv[3:]:
    pid = os.fork()
    if not pid:
        child(*job.split(","))
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


def scanned(source: str):
    """A plain scan with a filter."""
    import laion_dask as ld

    return ld.read_shards(source, where="width >= 300", max_rows_per_partition=50)


def masked(source: str):
    """A frame that is not a plain scan, with unscored rows."""
    import laion_dask as ld

    frame = ld.read_shards(source, max_rows_per_partition=50).laion.where("punsafe < 0.9")
    return frame[frame["height"] >= 200].assign(area=lambda f: f["width"] * f["height"])


FRAMES = {"scanned": scanned, "masked": masked}


def killed(jobs: Sequence[tuple[str, str, Path, str, int]]) -> list[int]:
    """The exit statuses of exports, each killed at a step, one after the other.

    Parameters
    ----------
    jobs : sequence of (source, frame, folder, step, number)
        The frame is a name among `FRAMES`; the step ``create_once`` is a record of a partition or
        of a part.
    """
    words = [",".join(map(str, job)) for job in jobs]
    command = [sys.executable, "-c", _KILLED, str(ROOT / "tests"), str(ROOT), *words]
    done = subprocess.run(command, check=True, timeout=300, capture_output=True, text=True)
    return [int(line) for line in done.stdout.split()]
