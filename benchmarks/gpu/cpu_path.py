"""Run the same verb on the same files in a process that sees no GPU; the GPU must not be slower.

``python cpu_path.py BENCHMARK FOLDER`` prints one line of JSON: the seconds of each run, keyed by
task. The first run of each task is discarded. `measured` starts this script.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

REPEATS = 2


def measured(benchmark: str, folder: Path) -> dict[str, list[float]] | str:
    """Return the seconds of each run by task, or an error message if the process failed."""
    completed = subprocess.run(
        [sys.executable, __file__, benchmark, str(folder)],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
    )
    if completed.returncode:
        message = completed.stderr.strip().splitlines() or [f"exit code {completed.returncode}"]
        return message[-1][:300]
    return json.loads(completed.stdout.splitlines()[-1])


def run(benchmark: str, folder: Path) -> dict[str, list[float]]:
    """Time every contender of ``benchmark.cpu_ways(folder)`` in this process."""
    from timing import in_turn

    ways = importlib.import_module(benchmark).cpu_ways(folder)
    runs = in_turn(ways, "cpu", repeats=REPEATS)
    for name, each in runs.items():
        if each.error:
            raise SystemExit(f"{name}: {each.error}")
    return {name: each.seconds for name, each in runs.items()}


if __name__ == "__main__":
    print(json.dumps(run(sys.argv[1], Path(sys.argv[2]))))
