"""Run many short Python programs, each in its own process, after a single cold start.

Starting an interpreter that imports torch and the package takes seconds of CPU time. Here one
process imports them and forks once per program, one after the other. Suitable for programs whose
imports are not under test and that need no threads of the parent process.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from subprocess import CompletedProcess

#: Reads the programs as JSON and prints their exit statuses as JSON. Forks leave by ``os._exit``,
#: so that they do not run the parent's exit handlers.
_FORK = """
import json, os, runpy, sys, traceback

def status_of(ended):
    if ended.code is None or isinstance(ended.code, int):
        return ended.code or 0
    print(ended.code, file=sys.stderr)
    return 1

def run(script, words, out, err):
    for name, number in ((out, 1), (err, 2)):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT), number)
    sys.argv = [script, *words]
    sys.path[0] = os.path.dirname(script)
    try:
        runpy.run_path(script, run_name="__main__")
        return 0
    except SystemExit as ended:
        return status_of(ended)
    except BaseException:
        traceback.print_exc()
        return 1

statuses = []
for program in json.loads(sys.argv[1]):
    pid = os.fork()
    if not pid:
        status = run(*program)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    statuses.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
print(json.dumps(statuses))
"""


def forked_runs(
    programs: Sequence[Sequence[str | Path]],
    folder: Path,
    *,
    preload: str,
    env: Mapping[str, str] | None = None,
    flags: Sequence[str] = (),
) -> list[CompletedProcess]:
    """Run scripts as ``python script words...``, one after the other, in forks of one process.

    Parameters
    ----------
    programs : sequence of (script, *words)
    folder : Path
        Empty working directory of the programs; their output is written next to it.
    preload : str
        Code that imports what the programs have in common.
    env, flags
        Environment of all programs, and interpreter options such as ``("-W", "error")``.
    """
    printed = [
        [f"{folder}.{number}.{stream}" for stream in ("out", "err")]
        for number in range(len(programs))
    ]
    jobs = [
        [str(script), [str(word) for word in words], *files]
        for (script, *words), files in zip(programs, printed, strict=True)
    ]
    completed = subprocess.run(
        [sys.executable, *flags, "-c", preload + _FORK, json.dumps(jobs)],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
    )
    assert completed.returncode == 0, completed.stderr
    return [
        CompletedProcess(job[:2], status, *(Path(file).read_text() for file in files))
        for job, files, status in zip(
            jobs, printed, json.loads(completed.stdout.splitlines()[-1]), strict=True
        )
    ]
