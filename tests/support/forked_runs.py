"""Many short Python programs, each in a process of its own, behind one cold start.

An interpreter that imports torch and the package takes seconds of processor time to start. Here
one process imports them and forks for each program, one after the other. For programs whose
imports are not what is tested, and that need no thread of the process that they are forked from.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from subprocess import CompletedProcess

#: Reads the programs as JSON and prints the exit status of each as JSON. A fork leaves by
#: ``os._exit``: what the first process does when it ends is not for its children to do.
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
        Empty; their working directory, and beside it what they print.
    preload : str
        Code that imports what the programs have in common.
    env, flags
        The environment of all, and options of the interpreter such as ``("-W", "error")``.
    """
    printed = [
        [f"{folder}.{number}.{stream}" for stream in ("out", "err")]
        for number in range(len(programs))
    ]
    jobs = [
        [str(script), [str(word) for word in words], *files]
        for (script, *words), files in zip(programs, printed, strict=True)
    ]
    done = subprocess.run(
        [sys.executable, *flags, "-c", preload + _FORK, json.dumps(jobs)],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return [
        CompletedProcess(job[:2], status, *(Path(file).read_text() for file in files))
        for job, files, status in zip(
            jobs, printed, json.loads(done.stdout.splitlines()[-1]), strict=True
        )
    ]
