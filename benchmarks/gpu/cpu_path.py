"""The same verb on the same files in a process that sees no card: what the card must not lose to.

``python cpu_path.py BENCHMARK FOLDER`` prints one line of JSON, the seconds of each run by the name
of what was done; a first run of each is not counted. `measured` starts it.
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
    """The seconds of each run, or the reason why there are none."""
    done = subprocess.run(
        [sys.executable, __file__, benchmark, str(folder)],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        return (done.stderr.strip().splitlines() or [f"code {done.returncode}"])[-1][:300]
    return json.loads(done.stdout.splitlines()[-1])


def run(benchmark: str, folder: Path) -> dict[str, list[float]]:
    """As `measured`, in this process: every way of ``benchmark.cpu_ways(folder)``."""
    from timing import in_turn

    ways = importlib.import_module(benchmark).cpu_ways(folder)
    runs = in_turn(ways, "cpu", repeats=REPEATS)
    for name, each in runs.items():
        if each.error:
            raise SystemExit(f"{name}: {each.error}")
    return {name: each.seconds for name, each in runs.items()}


if __name__ == "__main__":
    print(json.dumps(run(sys.argv[1], Path(sys.argv[2]))))
